//! The data plane as a mesh: an edge, a sidecar beside each service, real sockets, real certificates, plans of a real
//! manifest. One file for each protocol or promise; `support` is the mesh itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bodiless;
mod change;
mod conformance;
mod differential;
mod dns;
mod grpc;
mod grpc_web;
mod hostile;
mod http1;
mod http2;
mod identity;
mod leaving;
mod local;
mod proxy;
mod recovery;
mod replay;
mod routing;
mod seen;
mod stalled;
mod support;
#[path = "../table/requests.rs"]
mod table;
mod tcp;
mod vanish;
