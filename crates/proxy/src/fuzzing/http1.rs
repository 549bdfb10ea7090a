//! Heads of HTTP/1.1, and the bodies that follow them.

use super::body::check_pieces;
use super::{Cuts, http2};
use crate::connection::http1::{
    BodyFraming, HeadFault, HeadLimits, HeadRefusal, HeadScan, ParsedRequest, ParsedResponse, RequestWire,
    ResponseTo, ResponseWire, Upgrade, parse_request, parse_response, write_request, write_response,
};
use crate::head::{Head, Method, Version};

/// Feeds bytes to the codec as a request of a client.
///
/// # Panics
/// If a cut changes a verdict, or if what is written does not parse to what was written: a finding.
pub fn check_request(data: &[u8]) {
    let Some((cuts, bytes)) = Cuts::take(data) else { return };
    let ends = cuts.ends(bytes.len());
    let (mut head, mut other) = (Head::new(), Head::new());
    let whole = request_in_pieces(bytes, &[bytes.len()], &HeadLimits::EDGE, &mut head);
    let pieces = request_in_pieces(bytes, &ends, &HeadLimits::EDGE, &mut other);
    assert_eq!(whole, pieces, "cuts at {ends:?} change the verdict about a request");
    let Ok(Some(parsed)) = whole else { return };

    let wire =
        RequestWire { framing: parsed.framing, upgrade: parsed.upgrade != Upgrade::None, close: false };
    // A request of HTTP/1.0 may name no host; what is written for it waits for one to be set.
    if !head.authority().is_empty() {
        check_written(&head, &wire, parsed.upgrade);
        http2::check_translated(&head);
    }
    let _ = check_pieces(&bytes[parsed.head_bytes..], &cuts, parsed.framing);
}

/// What is written parses to what was written, and is written the same again.
pub(super) fn check_written(head: &Head, wire: &RequestWire, upgrade: Upgrade) {
    let mut other = Head::new();
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    let framing = write_request(head, wire, &mut once);
    let again = request_in_pieces(&once, &[once.len()], &HeadLimits::HOP, &mut other);
    let keeps = |parsed: ParsedRequest| (parsed.framing, parsed.upgrade, parsed.head_bytes);
    let shown = || String::from_utf8_lossy(&once).into_owned();
    assert_eq!(again.map(|it| it.map(keeps)), Ok(Some((framing, upgrade, once.len()))), "{:?}", shown());
    assert_eq!(
        (head.method_str(), head.path(), head.query(), head.authority()),
        (other.method_str(), other.path(), other.query(), other.authority()),
        "{:?}",
        shown()
    );
    write_request(&other, wire, &mut twice);
    assert_eq!(once, twice, "writing what was written: {:?}", shown());
}

/// Feeds bytes to the codec as the answer of an upstream. The first byte says which request it answers.
///
/// # Panics
/// As [`check_request`].
pub fn check_response(data: &[u8]) {
    let Some((to, data)) = data.split_first() else { return };
    let Some((cuts, bytes)) = Cuts::take(data) else { return };
    let methods = [Method::Get, Method::Head, Method::Connect, Method::Post];
    let asked = ResponseTo { method: methods[usize::from(to & 3)], upgrade: to & 4 != 0 };
    let version = if to & 8 == 0 { Version::Http11 } else { Version::Http10 };
    let ends = cuts.ends(bytes.len());
    let (mut head, mut other) = (Head::new(), Head::new());
    let whole = response_in_pieces(bytes, &[bytes.len()], &HeadLimits::MESH, asked, &mut head);
    let pieces = response_in_pieces(bytes, &ends, &HeadLimits::MESH, asked, &mut other);
    assert_eq!(whole, pieces, "cuts at {ends:?} change the verdict about a response");
    let Ok(Some(parsed)) = whole else { return };
    if parsed.interim {
        return;
    }
    let wire = ResponseWire {
        to: asked,
        version,
        framing: parsed.framing,
        length_declared: parsed.length_declared,
        keep_alive: parsed.keep_alive,
    };
    let mut out = Vec::new();
    let written = write_response(&head, &wire, &mut out);
    let again = response_in_pieces(&out, &[out.len()], &HeadLimits::HOP, asked, &mut other);
    let keeps = |parsed: ParsedResponse| (parsed.status, parsed.framing, parsed.keep_alive, parsed.switched);
    let expected = (parsed.status, written.framing, written.keep_alive, parsed.switched);
    assert_eq!(again.map(|parsed| parsed.map(keeps)), Ok(Some(expected)), "written response");
    let _ = check_pieces(&bytes[parsed.head_bytes..], &cuts, parsed.framing);
    assert!(written.framing != BodyFraming::Chunked || version == Version::Http11);
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
