//! Tools for people: the supervisor behind `weft up`, the keeper of a service's processes, and the screen.
//!
//! - [`words`]: what the supervisor and a role say to each other
//! - [`inherit`]: listening sockets that outlive the process which accepts on them
//! - [`keep`]: holds one process and whatever it starts, and leaves nothing of it behind

#![deny(unsafe_code)]

pub mod data_dir;
pub mod inherit;
pub mod keep;
pub mod screen;
pub mod supervisor;
pub mod words;
