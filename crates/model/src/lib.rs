//! Manifest → Model → Plan: parse what was said, lower it to what it means, derive what each process must do.
//!
//! Pure: no IO, no clock, no async. Files come in as text, findings and plans go out.

#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod code;
pub mod command;
mod compile;
pub mod defaults;
pub mod derive;
pub mod explain;
pub mod finding;
pub mod grammar;
mod load;
pub mod manifest;
pub mod model;
pub mod path;
pub mod pattern;
pub mod plan;
mod read;
pub mod render;
pub mod resolve;
pub mod route_order;
pub mod sources;
pub mod target;
pub mod wire;
pub mod yaml;

pub use compile::{API_BYTES_MAX, Compiled, compile};
pub use load::{Loaded, load};
