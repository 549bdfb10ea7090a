//! The data plane: from an accepted socket to a finished response.
//!
//! The door is [`Engine`]: worker threads, one single-threaded runtime each, that share nothing on the hot path. Inside,
//! read in the order in which a request meets the files: `listener`, `connection`, `exchange` (the table of contents),
//! `stage`, `upstream`, `resilience`, `rescue`, `access`. `LIFECYCLE.md` tells the whole way.

#![forbid(unsafe_code)]

mod access;
mod body;
mod buffer;
mod compiled;
mod connection;
mod crowd;
mod engine;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod health;
mod limits;
mod listener;
mod metrics;
mod otlp;
mod rescue;
mod resilience;
mod stage;
mod stream;
mod timer;
mod trace;
mod upstream;
mod worker;

pub use compiled::PlanRefused;
pub use engine::{Config, Engine, Listener, ListenerKind, Metadata, StartError};
pub use health::Health;
pub use limits::Limits;
pub use otlp::{Export, Exporter, Resource};
pub use trace::{Span, TraceContext};
