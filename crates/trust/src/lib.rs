//! Who is calling, proven: identities, the authority that vouches for them, and the TLS configurations that carry
//! them.
//!
//! Private keys leave this crate only as TLS configurations, and nothing here prints a secret. IO is confined to
//! [`store`] (files) and [`peer`] (questions to the kernel); everything else takes bytes and moments.
//!
//! The way of an identity, by the files that it meets:
//! - [`key`] makes a key and a request; [`bootstrap`] is what a process needs to know to ask with it
//! - [`enrol`] decides whether to answer: single-use tokens, the registry of who enrolled, revocation
//! - [`request`] reads what was asked, [`authority`] issues, [`store`] keeps the authority's keys
//! - [`mesh`] makes TLS between sidecars of it, and verifies the other side by [`certificate`] and [`bundle`]
//! - [`keepsake`] is what its supervisor keeps of it for a start without control
//! - [`renewal`] says when to ask again
//! - [`edge`] is TLS toward the world outside the mesh, where names count instead of identities
//!
//! Where there is no certificate, on the loopback between a sidecar and its service, [`peer`] says who it is.

#![forbid(unsafe_code)]

pub mod authority;
pub mod bootstrap;
pub mod bundle;
pub mod certificate;
pub mod edge;
pub mod enrol;
pub mod identity;
pub mod keepsake;
pub mod key;
pub mod mesh;
pub mod peer;
pub mod renewal;
pub mod request;
pub mod store;

#[cfg(test)]
mod testing;
