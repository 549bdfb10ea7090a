//! The supervisor.
pub mod machine;
