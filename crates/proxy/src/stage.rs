//! The steps of an exchange, one file each, in the order in which [`crate::exchange`] takes them. Plain functions on
//! plain types; only `forward` touches a socket.

pub(crate) mod authorize;
pub(crate) mod cors;
pub(crate) mod forward;
pub(crate) mod grpc_web;
pub(crate) mod mirror;
pub(crate) mod respond;
pub(crate) mod route;
pub(crate) mod transform;
pub(crate) mod trie;
