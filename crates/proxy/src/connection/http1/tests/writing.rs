//! Writing: framing is ours alone, hop-by-hop fields never go out, and nothing can be injected.

use super::*;
use crate::head::{HeadError, Known};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parsed(bytes: &[u8]) -> (ParsedRequest, Head) {
    let mut head = Head::new();
    let parsed = parse_request(bytes, &mut HeadScan::default(), &HeadLimits::MESH, &mut head);
    (parsed.unwrap().unwrap(), head)
}

fn forwarded(bytes: &[u8]) -> String {
    let (parsed, head) = parsed(bytes);
    let mut out = Vec::new();
    let wire =
        RequestWire { framing: parsed.framing, upgrade: parsed.upgrade != Upgrade::None, close: false };
    assert_eq!(write_request(&head, &wire, &mut out), parsed.framing);
    text(&out)
}

const PLAIN: RequestWire = RequestWire { framing: BodyFraming::None, upgrade: false, close: false };

#[test]
fn a_request_is_written_anew() {
    assert_eq!(
        forwarded(
            b"POST /a/../%7eb//c?q=1 HTTP/1.1\r\nUser-Agent: x\r\nHOST: Shop.Example:80\r\nCONTENT-LENGTH:   007\r\n\
            Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: s\r\nX-End:  v \r\n\r\n"
        ),
        "POST /~b/c?q=1 HTTP/1.1\r\nhost: shop.example:80\r\nuser-agent: x\r\nx-end: v\r\ncontent-length: 7\r\n\r\n"
    );
}

#[test]
fn http10_goes_on_as_http11() {
    assert_eq!(
        forwarded(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        "GET / HTTP/1.1\r\nhost: \r\n\r\n"
    );
}

#[test]
fn absolute_form_goes_on_in_origin_form() {
    assert_eq!(
        forwarded(b"GET http://Shop/a?b HTTP/1.1\r\nHost: shop\r\n\r\n"),
        "GET /a?b HTTP/1.1\r\nhost: shop\r\n\r\n"
    );
    assert_eq!(
        forwarded(b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n"),
        "OPTIONS * HTTP/1.1\r\nhost: shop\r\n\r\n"
    );
    assert_eq!(
        forwarded(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"
    );
}

#[test]
fn upgrade_and_te_say_so_in_connection() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, te\r\nUpgrade: websocket\r\nTE: trailers, deflate\r\n\r\n";
    assert_eq!(
        forwarded(bytes),
        "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nupgrade: websocket\r\nconnection: upgrade, te\r\n\r\n"
    );
    let mut out = Vec::new();
    write_request(&parsed(bytes).1, &RequestWire { close: true, ..PLAIN }, &mut out);
    assert_eq!(text(&out), "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: close, te\r\n\r\n");
}

/// What an HTTP/2 connection fills in must come out as one HTTP/1.1 request and no more (H2 to H1 smuggling).
#[test]
fn a_head_from_http2_cannot_frame_or_inject() {
    let mut head = Head::new();
    head.start_request(b"POST", Version::Http2).unwrap();
    head.set_authority(b"Shop").unwrap();
    head.set_target(b"/orders?x=1").unwrap();
    for (name, value) in [
        (b"content-length".as_slice(), b"5".as_slice()),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"x-a"),
        (b"upgrade", b"foo"),
        (b"cookie", b"a=1"),
        (b"x-a", b"1"),
        (b"cookie", b"b=2"),
        (b"te", b"trailers"),
    ] {
        head.push(name, value).unwrap();
    }
    assert_eq!(head.push(b"x-b", b"1\r\nx-c: 2"), Err(HeadError::ValueInvalid));
    assert_eq!(head.push(b"x-b", b"1\n"), Err(HeadError::ValueInvalid));
    assert_eq!(head.push(b"x-b", b"\0"), Err(HeadError::ValueInvalid));
    assert_eq!(head.push(b"x-b: 1\r\nx-c", b"2"), Err(HeadError::NameInvalid));
    assert_eq!(head.push(b"host", b"evil"), Err(HeadError::AuthorityMismatch));
    assert!(head.set_target(b"/a HTTP/1.1\r\nx: y").is_err());
    assert!(head.set_authority(b"a\r\nx: y").is_err());
    assert!(head.set_method(b"GET / HTTP/1.1\r\n").is_err());
    let mut out = Vec::new();
    let framing = write_request(&head, &RequestWire { framing: BodyFraming::UntilClose, ..PLAIN }, &mut out);
    assert_eq!(framing, BodyFraming::Chunked);
    assert_eq!(
        text(&out),
        "POST /orders?x=1 HTTP/1.1\r\nhost: shop\r\nx-a: 1\r\ncookie: a=1; b=2\r\nte: trailers\r\nconnection: te\r\n\
        transfer-encoding: chunked\r\n\r\n"
    );
}

/// A response head with one field, written under varied circumstances.
fn response(status: u16, wire: ResponseWire) -> (String, ResponseWritten) {
    let mut head = Head::new();
    head.start_response(status, Version::Http2);
    head.push(b"X", b"y").unwrap();
    head.push(b"Content-Length", b"99").unwrap();
    head.push(b"Connection", b"x").unwrap();
    let mut out = Vec::new();
    let written = write_response(&head, &wire, &mut out);
    (text(&out), written)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn responses_say_how_they_end() {
    let to = ResponseTo { method: Method::Get, upgrade: false };
    let head_to = ResponseTo { method: Method::Head, upgrade: false };
    let connect = ResponseTo { method: Method::Connect, upgrade: false };
    let wire = ResponseWire {
        to,
        version: Version::Http11,
        framing: BodyFraming::Length(5),
        length_declared: None,
        keep_alive: true,
    };
    let old = ResponseWire { version: Version::Http10, ..wire };
    let chunked = BodyFraming::Chunked;
    let rows = [
        ("length", 200, wire, "200 OK|content-length: 5", "5 keep"),
        (
            "chunked",
            200,
            ResponseWire { framing: chunked, ..wire },
            "200 OK|transfer-encoding: chunked",
            "chunked keep",
        ),
        (
            "none",
            200,
            ResponseWire { framing: BodyFraming::None, ..wire },
            "200 OK|content-length: 0",
            "0 keep",
        ),
        (
            "closing",
            404,
            ResponseWire { keep_alive: false, ..wire },
            "404 Not Found|connection: close|content-length: 5",
            "5 close",
        ),
        (
            "until close",
            200,
            ResponseWire { framing: BodyFraming::UntilClose, ..wire },
            "200 OK|connection: close",
            "close close",
        ),
        ("1.0", 200, old, "200 OK|connection: keep-alive|content-length: 5", "5 keep"),
        (
            "1.0 chunked",
            200,
            ResponseWire { framing: chunked, ..old },
            "200 OK|connection: close",
            "close close",
        ),
        ("204", 204, wire, "204 No Content", "none keep"),
        (
            "304",
            304,
            ResponseWire { length_declared: Some(7), ..wire },
            "304 Not Modified|content-length: 7",
            "none keep",
        ),
        ("304 plain", 304, wire, "304 Not Modified", "none keep"),
        (
            "head",
            200,
            ResponseWire { to: head_to, length_declared: Some(7), ..wire },
            "200 OK|content-length: 7",
            "none keep",
        ),
        ("head plain", 200, ResponseWire { to: head_to, ..wire }, "200 OK", "none keep"),
        ("connect", 200, ResponseWire { to: connect, ..wire }, "200 OK", "none close"),
        (
            "connect refused",
            403,
            ResponseWire { to: connect, ..wire },
            "403 Forbidden|content-length: 5",
            "5 keep",
        ),
        ("status without phrase", 599, wire, "599 |content-length: 5", "5 keep"),
    ];
    for (name, status, wire, expected, then) in rows {
        let (got, written) = response(status, wire);
        let (line, rest) = expected.split_once('|').unwrap_or((expected, ""));
        let rest = if rest.is_empty() { String::new() } else { rest.replace('|', "\r\n") + "\r\n" };
        assert_eq!(got, format!("HTTP/1.1 {line}\r\nx: y\r\n{rest}\r\n"), "{name}");
        let keep = if written.keep_alive { "keep" } else { "close" };
        assert_eq!(format!("{} {keep}", framing_words(written.framing)), then, "{name}");
    }
}

#[test]
fn a_switch_is_passed_on() {
    let mut head = Head::new();
    head.start_response(101, Version::Http11);
    head.push_known(Known::Upgrade, b"websocket").unwrap();
    head.push(b"sec-websocket-accept", b"x").unwrap();
    let wire = ResponseWire {
        to: ResponseTo { method: Method::Get, upgrade: true },
        version: Version::Http11,
        framing: BodyFraming::None,
        length_declared: None,
        keep_alive: true,
    };
    let mut out = Vec::new();
    let written = write_response(&head, &wire, &mut out);
    assert_eq!(
        text(&out),
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    );
    assert!(!written.keep_alive);
}

#[test]
fn chunks_and_trailers() {
    let mut trailers = Head::new();
    trailers.start_trailers();
    trailers.push(b"Grpc-Status", b"0").unwrap();
    trailers.push(b"Content-Length", b"5").unwrap();
    trailers.push(b"Weft-Anything", b"5").unwrap();
    let mut out = Vec::new();
    write_chunk(b"", &mut out);
    write_chunk(b"hello", &mut out);
    write_chunk(&[b'x'; 300], &mut out);
    write_last_chunk(Some(&trailers), &mut out);
    let expected = format!("5\r\nhello\r\n12c\r\n{}\r\n0\r\ngrpc-status: 0\r\n\r\n", "x".repeat(300));
    assert_eq!(text(&out), expected);
    out.clear();
    write_last_chunk(None, &mut out);
    assert_eq!(text(&out), "0\r\n\r\n");
    let largest = ChunkHead::new(std::num::NonZeroUsize::MAX);
    assert_eq!(largest.as_bytes(), format!("{:x}\r\n", usize::MAX).as_bytes());
}

#[test]
fn interim_responses_have_no_framing() {
    let mut head = Head::new();
    head.start_response(103, Version::Http11);
    head.push(b"Link", b"</a>").unwrap();
    head.push(b"Content-Length", b"5").unwrap();
    let mut out = Vec::new();
    write_interim(&head, &mut out);
    assert_eq!(text(&out), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
}
