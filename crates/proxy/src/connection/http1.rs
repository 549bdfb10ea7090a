//! The HTTP/1.1 codec: bytes to heads and bodies and back, without a socket, a clock or a task.
//!
//! One parse decides where a message ends, and everything that is forwarded is written anew from what was parsed;
//! the text that came in never goes out. That is the whole defence against request smuggling (threat 1), and it
//! holds only if the parse never guesses: what two servers could read in two ways is refused ([`HeadRefusal`] for
//! a client, [`HeadFault`] for an upstream) and the connection closes.
//!
//! The way of a message: [`parse_request`] or [`parse_response`] over the connection's buffer, with a [`HeadScan`]
//! that remembers how far earlier calls looked; then a [`BodyDecoder`] over what follows; then [`write_request`]
//! or [`write_response`] and [`write_chunk`] into an out buffer. After warm-up none of them allocates.

mod body;
mod framing;
mod parse;
mod response;
mod scan;
mod write;

pub use body::{BodyDecoder, BodyEvent, BodyFault, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};
pub use framing::{BodyFraming, Upgrade};
pub use parse::{HeadRefusal, ParsedRequest, parse_request};
pub use response::{HeadFault, ParsedResponse, ResponseTo, parse_response};
pub use scan::{HeadLimits, HeadScan};
pub use write::{
    ChunkHead, RequestWire, ResponseWire, ResponseWritten, write_chunk, write_interim, write_last_chunk,
    write_request, write_response,
};

#[cfg(test)]
pub(crate) mod tests;
