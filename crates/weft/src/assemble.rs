//! Joins the crates: the only place that knows every one of them.

pub(crate) mod control;
pub(crate) mod edge;
pub(crate) mod harden;
pub(crate) mod role;
pub(crate) mod traces;
pub(crate) mod up;
