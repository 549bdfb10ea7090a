//! The door for harnesses outside the crate: fuzz targets, benchmarks and the comparison with other servers call
//! the parsers here without a socket. Not an interface for anyone else.

use crate::connection::http1::{
    BodyDecoder, BodyEvent, BodyFault, BodyFraming, HeadFault, HeadLimits, HeadRefusal, HeadScan,
    ParsedRequest, ParsedResponse, RequestWire, ResponseTo, ResponseWire, Upgrade, parse_request,
    parse_response, write_request, write_response,
};
use crate::head::{Head, Method, Version};

/// The HTTP/1.1 codec.
pub mod http1 {
    pub use crate::connection::http1::*;
}

/// Heads.
pub mod head {
    pub use crate::head::*;
}

/// Feeds bytes to the HTTP/1.1 codec as a request and as a response. The first byte says where the network cuts
/// the rest; the second which request the response answers.
///
/// # Panics
/// If the cut changes a verdict, or if what is written does not parse to what was written: a finding.
pub fn check_http1(data: &[u8]) {
    let [cut, to, bytes @ ..] = data else { return };
    let cut = bytes.len() * usize::from(*cut) / 256;
    check_request(bytes, cut);
    let methods = [Method::Get, Method::Head, Method::Connect, Method::Post];
    let to = ResponseTo { method: methods[usize::from(to & 3)], upgrade: to & 4 != 0 };
    check_response(bytes, cut, to);
}

fn check_request(bytes: &[u8], cut: usize) {
    let (mut head, mut other) = (Head::new(), Head::new());
    let whole = request_in_pieces(bytes, &[bytes.len()], &HeadLimits::EDGE, &mut head);
    let pieces = request_in_pieces(bytes, &[cut, bytes.len()], &HeadLimits::EDGE, &mut other);
    assert_eq!(whole, pieces, "a cut at {cut} changes the verdict about a request");
    let Ok(Some(parsed)) = whole else { return };

    let wire =
        RequestWire { framing: parsed.framing, upgrade: parsed.upgrade != Upgrade::None, close: false };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    write_request(&head, &wire, &mut once);
    let again = request_in_pieces(&once, &[once.len()], &HeadLimits::HOP, &mut other);
    // A request of HTTP/1.0 may name no host; what is written for it waits for one to be set.
    if !head.authority().is_empty() {
        let keeps = |parsed: ParsedRequest| (parsed.framing, parsed.upgrade);
        assert_eq!(again.map(|parsed| parsed.map(keeps)), Ok(Some(keeps(parsed))), "written request");
        write_request(&other, &wire, &mut twice);
        assert_eq!(once, twice, "writing what was written");
    }
    check_body(&bytes[parsed.head_bytes..], cut, parsed.framing);
}

fn check_response(bytes: &[u8], cut: usize, to: ResponseTo) {
    let (mut head, mut other) = (Head::new(), Head::new());
    let whole = response_in_pieces(bytes, &[bytes.len()], &HeadLimits::MESH, to, &mut head);
    let pieces = response_in_pieces(bytes, &[cut, bytes.len()], &HeadLimits::MESH, to, &mut other);
    assert_eq!(whole, pieces, "a cut at {cut} changes the verdict about a response");
    let Ok(Some(parsed)) = whole else { return };
    if parsed.interim {
        return;
    }
    let wire = ResponseWire {
        to,
        version: Version::Http11,
        framing: parsed.framing,
        length_declared: parsed.length_declared,
        keep_alive: parsed.keep_alive,
    };
    let mut out = Vec::new();
    let written = write_response(&head, &wire, &mut out);
    let again = response_in_pieces(&out, &[out.len()], &HeadLimits::HOP, to, &mut other);
    let keeps = |parsed: ParsedResponse| (parsed.status, parsed.framing, parsed.keep_alive, parsed.switched);
    let expected = (parsed.status, written.framing, written.keep_alive, parsed.switched);
    assert_eq!(again.map(|parsed| parsed.map(keeps)), Ok(Some(expected)), "written response");
    check_body(&bytes[parsed.head_bytes..], cut, parsed.framing);
}

fn check_body(bytes: &[u8], cut: usize, framing: BodyFraming) {
    let whole = body_in_pieces(bytes, &[bytes.len()], framing);
    let pieces = body_in_pieces(bytes, &[cut.min(bytes.len()), bytes.len()], framing);
    assert_eq!(whole, pieces, "a cut at {cut} changes a body");
}

fn request_in_pieces(
    bytes: &[u8],
    ends: &[usize],
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<Option<ParsedRequest>, HeadRefusal> {
    let mut scan = HeadScan::default();
    for end in ends {
        if let Some(parsed) = parse_request(&bytes[..*end], &mut scan, limits, head)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

fn response_in_pieces(
    bytes: &[u8],
    ends: &[usize],
    limits: &HeadLimits,
    to: ResponseTo,
    head: &mut Head,
) -> Result<Option<ParsedResponse>, HeadFault> {
    let mut scan = HeadScan::default();
    for end in ends {
        if let Some(parsed) = parse_response(&bytes[..*end], &mut scan, limits, to, head)? {
            return Ok(Some(parsed));
        }
    }
    Ok(None)
}

/// The data, the bytes that were taken, and whether the body ended.
fn body_in_pieces(
    bytes: &[u8],
    ends: &[usize],
    framing: BodyFraming,
) -> Result<(Vec<u8>, usize, bool), BodyFault> {
    let mut decoder = BodyDecoder::new(framing);
    let mut data = Vec::new();
    let mut at = 0;
    for end in ends {
        loop {
            let (taken, event) = decoder.decode(&bytes[at..*end])?;
            at += taken;
            let BodyEvent::Data(piece) = event else { break };
            data.extend_from_slice(piece);
        }
    }
    Ok((data, at, decoder.is_done()))
}

#[cfg(test)]
mod tests {
    //! The kept corpus is replayed in every test run, with or without a fuzzer at hand.

    use super::*;

    #[test]
    fn the_corpus_holds() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/http1");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let data = std::fs::read(entry.unwrap().path()).unwrap();
            check_http1(&data);
            for cut in (0..=255).step_by(5) {
                check_http1(&[&[cut], data.get(1..).unwrap_or_default()].concat());
            }
            files += 1;
        }
        assert!(files >= 20, "{files} files");
    }
}
