//! proxy

#![forbid(unsafe_code)]

mod connection;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod resilience;
mod upstream;
