//! The control plane: derives plans, tells every process what to run, issues identities, and shows what happens.
//!
//! - [`server`] joins the rest and listens; [`reload`] follows the manifest
//! - [`hub`] knows the plans in force and who is there; pure
//! - `service` answers the data planes over `grpc`; `identities` is the authority with its registry
//! - `admin` is the API and console for people, with [`status`], [`edges`] and `metrics` behind it
//! - [`link`] is the other end of the wire, in the data planes

#![forbid(unsafe_code)]

mod admin;
pub mod edges;
mod grpc;
pub mod hub;
mod identities;
pub mod link;
mod metrics;
pub mod reload;
pub mod server;
mod service;
mod shared;
pub mod status;
mod store;

pub use identities::{IdentitiesError, Revoke};
pub use shared::{Addresses, RefusedReload};
