//! Recovery, as pure cores: what may be tried again, for how long, how often, against whom, how many at once.
//!
//! Each core is plain data for one worker thread: no locks, no clock, no tasks. Time comes in as a
//! [`Tick`](weft_stdx::clock::Tick), randomness as an [`Rng`](weft_stdx::rng::Rng); the shell in `upstream` and
//! `stage/forward` acts on the answers. `simulation.rs` runs them together under scripted faults.
//!
//! One exchange meets them in this order:
//! `deadline` (how long) → `limit` (a place) → `comeback` (its turn, where those held are let go) → `balance` (which endpoint) → attempt → `breaker` (what it says of the
//! endpoint) → `retry` (again?), which asks `budget` last.

pub(crate) mod breaker;
pub(crate) mod budget;
pub(crate) mod comeback;
pub(crate) mod deadline;
pub(crate) mod limit;
pub(crate) mod line;
pub(crate) mod pace;
pub(crate) mod retry;
pub(crate) mod spacing;
pub(crate) mod window;

#[cfg(test)]
mod simulation;
