//! The way between HTTP/2 and HTTP/1.1: what comes in one version must mean the same in the other.

#![expect(clippy::panic, reason = "a finding is a panic")]

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery};

use super::http1::check_written;
use crate::body::BodyLength;
use crate::connection::http1::{BodyFraming, HeadLimits, RequestWire, Upgrade};
use crate::connection::http2_io::{read_request, sayable, write_request};
use crate::head::{Head, Known, Scheme, TargetForm};

/// Lines: how the body is framed, `:method`, `:authority` (or nothing), `:path`, then a field each (`name: value`). What
/// the frame codec would not let through is skipped, as RFC 9113, 8.2 and 8.3 tell it to.
///
/// # Panics
/// If what is forwarded over HTTP/1.1 does not say the same: a finding.
pub fn check_http2(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let [Some(framing), Some(method), Some(authority), Some(path)] = std::array::from_fn(|_| lines.next())
    else {
        return;
    };
    let Some(parts) = as_the_codec_gives_it(method, authority, path, lines) else { return };
    let mut head = Head::new();
    if read_request(&parts, &mut head).is_err() || head.authority().is_empty() {
        return;
    }
    // What the server refuses for its size before anybody asks what it says.
    let limits = &HeadLimits::MESH;
    let target = head.path().len() + head.query().map_or(0, str::len);
    if head.len() > limits.fields_max || target > limits.line_bytes_max || data.len() > limits.head_bytes_max
    {
        return;
    }
    head.remove(Known::ContentLength);
    head.remove(Known::Expect);
    let framing = match framing {
        b"" => BodyFraming::None,
        b"chunked" => BodyFraming::Chunked,
        other => BodyFraming::Length(other.len() as u64),
    };
    check_written(&head, &RequestWire { framing, upgrade: false, close: false }, Upgrade::None);
    check_translated(&head);
}

fn as_the_codec_gives_it<'d>(
    method: &[u8],
    authority: &[u8],
    path: &[u8],
    fields: impl Iterator<Item = &'d [u8]>,
) -> Option<http::request::Parts> {
    let mut uri = http::uri::Parts::default();
    let method = http::Method::from_bytes(method).ok()?;
    if !authority.is_empty() {
        uri.authority = Some(Authority::try_from(authority).ok()?);
    }
    if method == http::Method::CONNECT {
        uri.authority.as_ref()?;
    } else {
        uri.path_and_query = Some(PathAndQuery::try_from(path).ok().filter(|_| !path.is_empty())?);
        uri.scheme = uri.authority.is_some().then_some(http::uri::Scheme::HTTP);
    }
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    for line in fields {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = http::HeaderName::from_lowercase(&line[..colon]).ok()?;
        let value = http::HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        let text = name.as_str();
        let is_of_a_connection =
            ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"].contains(&text);
        if is_of_a_connection || (text == "te" && value != "trailers") {
            return None;
        }
        request.headers_mut().append(name, value);
    }
    Some(request.into_parts().0)
}

/// What a head says as a request of HTTP/2 is what it says.
pub(super) fn check_translated(head: &Head) {
    if matches!(head.target_form(), TargetForm::Authority) {
        return;
    }
    let Some(request) = write_request(head, BodyLength::None, Scheme::Http) else {
        panic!("{head:?} cannot be said in HTTP/2");
    };
    let mut other = Head::new();
    let read = read_request(&request.into_parts().0, &mut other);
    assert_eq!(read, Ok(()), "{head:?}");
    assert_eq!(
        (head.method_str(), head.path(), head.query().map(sayable), head.authority()),
        (other.method_str(), other.path(), other.query().map(Cow::Borrowed), other.authority())
    );
    // A map keeps the values of a name in order, and names in any.
    let fields = |head: &Head| {
        let keeps = |known: Known| !known.is_hop_by_hop() || known == Known::Te;
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = head
            .iter()
            .filter(|field| keeps(field.known))
            .map(|field| (field.name.to_vec(), field.value.to_vec()))
            .collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    };
    assert_eq!(fields(head), fields(&other));
}
