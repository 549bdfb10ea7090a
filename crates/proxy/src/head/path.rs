//! The target of a request: path and query. What makes a path canonical is the model's ([`weft_model::path`]), whose patterns
//! are compared with it.

pub use weft_model::path::{PathRefusal, canonicalise, is_plain};

/// A target cut at its first `?`.
#[derive(Debug, Clone, Copy)]
pub struct SplitTarget<'a> {
    /// What stands before.
    pub path: &'a [u8],
    /// What stands after, if there was a `?`.
    pub query: Option<&'a [u8]>,
}

/// Cuts an origin-form target into path and query, and checks the bytes of the query. A query is not made
/// canonical: its meaning belongs to the service.
///
/// # Errors
/// [`PathRefusal::RawByte`] for a query that holds a control byte, a space, `#` or a byte beyond ASCII.
pub fn split_query(target: &[u8]) -> Result<SplitTarget<'_>, PathRefusal> {
    let Some(at) = memchr::memchr(b'?', target) else {
        return Ok(SplitTarget { path: target, query: None });
    };
    let query = &target[at + 1..];
    if query.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
        return Err(PathRefusal::RawByte);
    }
    Ok(SplitTarget { path: &target[..at], query: Some(query) })
}
