//! What `std` lacks and every other crate needs. Knows no word of the domain, and does no IO but reading a clock.
//!
//! - [`clock`]: time as a value that pure cores take as a parameter, and the one place that reads the wall clock
//! - [`units`]: durations, ranges, byte sizes, rates and percentages as people write them, parsed and printed
//! - [`rng`]: random numbers from a seed, for whatever is drawn but need not be secret
//! - [`drain`]: the states of something that stops accepting and finishes what is open

#![forbid(unsafe_code)]

pub mod clock;
pub mod drain;
pub mod rng;
pub mod units;
