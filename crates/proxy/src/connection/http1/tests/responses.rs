//! Response heads: what an upstream may say, and what makes it a fault.

use super::*;
use std::time::Duration;

/// Rows answered to a plain GET.
const TO_GET: &[Row] = &[
    // RFC 9112, 4: the status line.
    ("9112-4/minimal", b"HTTP/1.1 200 OK\r\n\r\n", "200 body=close close"),
    ("9112-4/no-reason", b"HTTP/1.1 200 \r\n\r\n", "200 body=close close"),
    ("9112-4/no-space-no-reason", b"HTTP/1.1 200\r\n\r\n", "200 body=close close"),
    ("9112-4/long-reason", b"HTTP/1.1 404 no such thing here\r\n\r\n", "404 body=close close"),
    ("9112-4/reason-latin1", b"HTTP/1.1 404 caf\xe9\r\n\r\n", "404 body=close close"),
    ("9112-4/reason-control", b"HTTP/1.1 404 a\x01b\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/http10", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "200 body=5 close"),
    ("9112-4/http12", b"HTTP/1.2 200 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/http2", b"HTTP/2 200\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/lower-case", b"http/1.1 200 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/http09-body", b"<html>hello</html>\r\n", "fault status_line_invalid"),
    ("9112-4/other-protocol", b"SSH-2.0-x\r\n", "fault status_line_invalid"),
    ("9112-4/shoutcast", b"ICY 200 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/empty-line-first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/two-digits", b"HTTP/1.1 20 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/four-digits", b"HTTP/1.1 2000 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/two-spaces", b"HTTP/1.1  200 OK\r\n\r\n", "fault status_line_invalid"),
    ("9112-4/sign", b"HTTP/1.1 +20 OK\r\n\r\n", "fault status_line_invalid"),
    ("9110-15/status-099", b"HTTP/1.1 099 X\r\n\r\n", "fault status_invalid"),
    ("9110-15/status-600", b"HTTP/1.1 600 X\r\n\r\n", "fault status_invalid"),
    ("9110-15/status-599", b"HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", "599 body=0 keep"),
    ("9112-2.2/response-bare-lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "fault line_end"),
    ("9112-2.2/response-bare-cr", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "fault line_end"),
    (
        "9112-5.1/response-space-before-colon",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        "fault field_invalid",
    ),
    ("9112-5.2/response-folded", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "fault field_invalid"),
    ("9110-5.5/response-nul", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "fault field_invalid"),
    (
        "9112-5.1/response-underscore-passes",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx_y: a\r\n\r\n",
        "200 body=0 keep",
    ),
    // RFC 9112, 6.3: where the body ends.
    ("9112-6.3/length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 body=5 keep"),
    ("9112-6.3/chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 body=chunked keep"),
    ("9112-6.3/until-close", b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 body=close close"),
    (
        "9112-6.3/length-close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        "200 body=5 close",
    ),
    (
        "9112-6.3/http10-keep-alive",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
        "200 body=5 keep",
    ),
    ("9112-6.3/http10-until-close", b"HTTP/1.0 200 OK\r\n\r\n", "200 body=close close"),
    (
        "9112-6.3/response-cl-and-te",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault length_and_coding",
    ),
    (
        "9112-6.3/response-repeated-length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "fault length_invalid",
    ),
    (
        "9112-6.3/response-length-list",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "fault length_invalid",
    ),
    (
        "9112-6.3/response-length-sign",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "fault length_invalid",
    ),
    (
        "9112-6.1/response-identity",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "fault coding_unsupported",
    ),
    (
        "9112-6.1/response-gzip-chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "fault coding_unsupported",
    ),
    (
        "9112-6.1/response-http10-chunked",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault coding_unsupported",
    ),
    (
        "9110-7.6.1/response-names-length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\n",
        "fault connection_invalid",
    ),
    // RFC 9110, 15: statuses that have no body.
    ("9110-15.3.5/204", b"HTTP/1.1 204 No Content\r\n\r\n", "204 body=none keep"),
    (
        "9110-15.3.5/204-length-zero",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "204 body=none keep",
    ),
    (
        "9110-15.3.5/204-length",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "fault body_forbidden",
    ),
    (
        "9110-15.3.5/204-chunked",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault body_forbidden",
    ),
    ("9110-15.3.6/205-length-zero", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", "205 body=0 keep"),
    ("9110-15.4.5/304", b"HTTP/1.1 304 Not Modified\r\n\r\n", "304 body=none keep"),
    (
        "9110-15.4.5/304-length",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "304 body=none keep declared=5",
    ),
    (
        "9110-15.4.5/304-chunked",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "304 body=none keep",
    ),
    ("9110-15.2/100", b"HTTP/1.1 100 Continue\r\n\r\n", "100 body=none keep interim"),
    ("9110-15.2/103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "103 body=none keep interim"),
    ("9110-15.2/100-length", b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "fault body_forbidden"),
    (
        "9110-15.2/100-chunked",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault body_forbidden",
    ),
    (
        "9110-15.2.2/101-unasked",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
        "fault switch_unasked",
    ),
    ("9112-2.2/response-incomplete", b"HTTP/1.1 200 OK\r\nX: a\r\n", "more"),
    ("9112-2.2/response-nothing", b"", "more"),
];

const TO_HEAD: &[Row] = &[
    (
        "9110-9.3.2/head-length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "200 body=none keep declared=5",
    ),
    (
        "9110-9.3.2/head-chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "200 body=none keep",
    ),
    ("9110-9.3.2/head-nothing", b"HTTP/1.1 200 OK\r\n\r\n", "200 body=none keep"),
    ("9110-9.3.2/head-http10", b"HTTP/1.0 200 OK\r\n\r\n", "200 body=none close"),
    (
        "9110-9.3.2/head-cl-and-te",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "fault length_and_coding",
    ),
];

const TO_CONNECT: &[Row] = &[
    ("9110-9.3.6/connect-200", b"HTTP/1.1 200 OK\r\n\r\n", "200 body=none close switched"),
    (
        "9110-9.3.6/connect-200-length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "200 body=none close switched",
    ),
    ("9110-9.3.6/connect-403", b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n", "403 body=5 keep"),
];

const TO_UPGRADE: &[Row] = &[
    (
        "9110-15.2.2/101",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "101 body=none close switched",
    ),
    ("9110-15.2.2/101-no-upgrade", b"HTTP/1.1 101 Switching\r\n\r\n", "fault switch_unasked"),
    (
        "9110-15.2.2/101-no-connection",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
        "fault switch_unasked",
    ),
    (
        "9110-15.2.2/101-length",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\nContent-Length: 5\r\n\r\n",
        "fault body_forbidden",
    ),
    (
        "9110-15.2.2/101-http10",
        b"HTTP/1.0 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
        "fault switch_unasked",
    ),
    ("9110-7.8/200-instead-is-http", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 body=5 keep"),
];

/// The rows as they are on the wire.
pub(super) fn bytes() -> impl Iterator<Item = &'static [u8]> {
    [TO_GET, TO_HEAD, TO_CONNECT, TO_UPGRADE].into_iter().flatten().map(|(_, bytes, _)| *bytes)
}

pub(super) fn rows() -> usize {
    TO_GET.len() + TO_HEAD.len() + TO_CONNECT.len() + TO_UPGRADE.len()
}

type Outcome = Result<Option<(ParsedResponse, Seen)>, HeadFault>;

fn in_pieces(bytes: &[u8], cuts: impl Iterator<Item = usize>, to: ResponseTo) -> Outcome {
    let mut scan = HeadScan::default();
    let mut head = Head::new();
    for end in cuts.chain([bytes.len()]) {
        if let Some(parsed) = parse_response(&bytes[..end], &mut scan, &HeadLimits::MESH, to, &mut head)? {
            return Ok(Some((parsed, see(&head))));
        }
    }
    Ok(None)
}

fn words(name: &str, bytes: &[u8], to: ResponseTo) -> String {
    let whole = in_pieces(bytes, std::iter::empty(), to);
    assert_eq!(whole, in_pieces(bytes, 0..bytes.len(), to), "{name}: a byte at a time");
    for cut in 0..bytes.len() {
        assert_eq!(whole, in_pieces(bytes, std::iter::once(cut), to), "{name}: cut at {cut}");
    }
    match whole {
        Err(fault) => format!("fault {}", fault.reason()),
        Ok(None) => "more".to_owned(),
        Ok(Some((parsed, seen))) => {
            assert_eq!(parsed.status, seen.status, "{name}");
            let mut words = format!("{} body={}", parsed.status, framing_words(parsed.framing));
            words += if parsed.keep_alive { " keep" } else { " close" };
            if let Some(length) = parsed.length_declared.filter(|_| parsed.framing == BodyFraming::None) {
                words += &format!(" declared={length}");
            }
            words += if parsed.interim { " interim" } else { "" };
            words += if parsed.switched { " switched" } else { "" };
            words
        }
    }
}

#[test]
fn verdicts() {
    let to = |method, upgrade| ResponseTo { method, upgrade };
    check_rows(TO_GET, |name, bytes| words(name, bytes, to(Method::Get, false)));
    check_rows(TO_HEAD, |name, bytes| words(name, bytes, to(Method::Head, false)));
    check_rows(TO_CONNECT, |name, bytes| words(name, bytes, to(Method::Connect, false)));
    check_rows(TO_UPGRADE, |name, bytes| words(name, bytes, to(Method::Get, true)));
}

#[test]
fn the_announced_idle_time_is_read() {
    let idle = |value: &str| {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: {value}\r\n\r\n");
        let to = ResponseTo { method: Method::Get, upgrade: false };
        let mut head = Head::new();
        let parsed =
            parse_response(text.as_bytes(), &mut HeadScan::default(), &HeadLimits::MESH, to, &mut head);
        parsed.unwrap().unwrap().keep_alive_timeout
    };
    assert_eq!(idle("timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(idle("max=100, timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(idle("timeout=99999999999999"), None);
    assert_eq!(idle("timeout=-1"), None);
    assert_eq!(idle("5"), None);
}
