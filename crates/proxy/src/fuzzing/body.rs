//! Bodies of HTTP/1.1: chunks, their extensions, trailers.

use super::Cuts;
use crate::connection::http1::{
    BodyDecoder, BodyEvent, BodyFault, BodyFraming, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX, write_chunk,
    write_last_chunk,
};
use crate::head::Head;

/// Feeds bytes to the decoder of chunks, in pieces and as a whole, and writes what it read anew.
///
/// # Panics
/// If a cut changes anything, or if what is written does not decode to what was written: a finding.
pub fn check_body(data: &[u8]) {
    let Some((cuts, bytes)) = Cuts::take(data) else { return };
    let Ok(decoded) = check_pieces(bytes, &cuts, BodyFraming::Chunked) else { return };
    if !decoded.done {
        return;
    }
    assert!(
        decoded.trailers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            <= TRAILER_BYTES_MAX
    );
    assert!(decoded.trailers.len() <= TRAILER_FIELDS_MAX);

    let mut trailers = Head::new();
    trailers.start_trailers();
    for (name, value) in &decoded.trailers {
        assert!(trailers.push(name, value).is_ok(), "a trailer that was taken is a field");
    }
    let mut out = Vec::new();
    let ends = cuts.ends(decoded.data.len());
    let starts = std::iter::once(&0).chain(&ends);
    for (start, end) in starts.zip(&ends) {
        write_chunk(&decoded.data[*start..*end], &mut out);
    }
    write_last_chunk(Some(&trailers), &mut out);
    let again = decode(&out, &[out.len()], BodyFraming::Chunked);
    assert_eq!(again, Ok(Decoded { taken: out.len(), ..decoded }), "{:?}", String::from_utf8_lossy(&out));
}

/// What came of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    data: Vec<u8>,
    /// Bytes that belong to it, framing included.
    taken: usize,
    done: bool,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Decodes a body as a whole and in pieces, which must agree.
pub(super) fn check_pieces(
    bytes: &[u8],
    cuts: &Cuts<'_>,
    framing: BodyFraming,
) -> Result<Decoded, BodyFault> {
    let ends = cuts.ends(bytes.len());
    let whole = decode(bytes, &[bytes.len()], framing);
    assert_eq!(whole, decode(bytes, &ends, framing), "cuts at {ends:?} change a body");
    // Byte by byte is the cut at every place; long inputs show nothing new by it.
    if bytes.len() <= 512 {
        let singly: Vec<usize> = (1..=bytes.len()).collect();
        assert_eq!(whole, decode(bytes, &singly, framing), "a byte at a time changes a body");
    }
    whole
}

fn decode(bytes: &[u8], ends: &[usize], framing: BodyFraming) -> Result<Decoded, BodyFault> {
    let mut decoder = BodyDecoder::new(framing);
    let mut data = Vec::new();
    let mut at = 0;
    for end in ends {
        loop {
            let (taken, event) = decoder.decode(&bytes[at..*end])?;
            at += taken;
            let BodyEvent::Data(piece) = event else { break };
            assert!(!piece.is_empty() && piece.len() <= taken, "data is a part of what was taken");
            data.extend_from_slice(piece);
        }
    }
    let trailers = decoder.trailers().map_or_else(Vec::new, |head| {
        head.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
    });
    Ok(Decoded { data, taken: at, done: decoder.is_done(), trailers })
}
