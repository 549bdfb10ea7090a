//! The supervisor.
pub mod admin;
pub mod command;
pub mod machine;
pub mod process;
pub mod sockets;
