//! The control plane: derives plans, tells every process what to run, issues identities, and shows what happens.
//!
//! - [`server`] joins the rest: who listens where
//! - [`hub`] knows the plans in force and who is there; pure
//! - [`link`] is the other end of the wire, in the data planes

#![forbid(unsafe_code)]

pub mod edges;
mod grpc;
pub mod hub;
pub mod link;
mod metrics;
mod store;
