//! The door for harnesses outside the crate: fuzz targets, benchmarks and the comparison with other servers call
//! the parsers here without a socket. Not an interface for anyone else.
//!
//! Each `check_…` takes bytes of somebody hostile and panics if a promise is broken: that is a finding. The first bytes
//! of an input say how the network cuts the rest ([`Cuts`]), because no cut may change a verdict.

mod body;
mod fields;
mod http1;
mod http2;
mod path;

pub use body::check_body;
pub use fields::check_fields;
pub use http1::{check_request, check_response};
pub use http2::check_http2;
pub use path::{check_path, check_patterns};

/// Heads.
pub mod head {
    pub use crate::head::*;
}

/// The HTTP/1.1 codec.
pub mod codec {
    pub use crate::connection::http1::*;
}

/// Most places at which one input is cut.
const CUTS_MAX: usize = 7;

/// Where the network cuts a message: the first byte of an input says at how many places, one byte for each of them says
/// where, in parts of 256.
struct Cuts<'d> {
    places: &'d [u8],
}

impl<'d> Cuts<'d> {
    /// Takes the cuts from the front of an input.
    fn take(data: &'d [u8]) -> Option<(Self, &'d [u8])> {
        let (count, rest) = data.split_first()?;
        let (places, rest) = rest.split_at_checked(usize::from(*count) & CUTS_MAX)?;
        Some((Cuts { places }, rest))
    }

    /// Where the pieces of so many bytes end, in order; the last one ends with them.
    fn ends(&self, bytes: usize) -> Vec<usize> {
        let mut ends: Vec<usize> =
            self.places.iter().map(|place| bytes * usize::from(*place) / 256).collect();
        ends.sort_unstable();
        ends.push(bytes);
        ends
    }
}

#[cfg(test)]
mod tests;
