//! The door for harnesses outside the crate: fuzz targets, benchmarks and the comparison with other servers call
//! the parsers here without a socket. Not an interface for anyone else.

/// The HTTP/1.1 codec.
pub mod http1 {
    pub use crate::connection::http1::*;
}

/// Heads.
pub mod head {
    pub use crate::head::*;
}
