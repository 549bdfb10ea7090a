//! Classes of request smuggling that other proxies had, replayed byte by byte.
//!
//! RUSTSEC-2026-0033 (CVE-2026-2833): a proxy went over to passing bytes through as soon as a *request* said
//! `Upgrade`, so what followed it reached the upstream unseen. RUSTSEC-2026-0034 (CVE-2026-2835): transfer codings
//! that were read loosely, and request bodies in HTTP/1.0 that lasted until the connection closed.
//! RUSTSEC-2026-0035 (CVE-2026-2836): two hosts or spellings of one target taken for one.

use super::*;

/// What a proxy makes of everything a client sent before the upstream has answered anything: the requests as it
/// would forward them, and how it ended.
fn forward_all(mut input: &[u8]) -> (Vec<String>, Result<(), HeadRefusal>) {
    let mut forwarded = Vec::new();
    while !input.is_empty() {
        let mut head = Head::new();
        let parsed = match parse_request(input, &mut HeadScan::default(), &HeadLimits::EDGE, &mut head) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => break,
            Err(refusal) => return (forwarded, Err(refusal)),
        };
        input = &input[parsed.head_bytes..];
        let wire =
            RequestWire { framing: parsed.framing, upgrade: parsed.upgrade != Upgrade::None, close: false };
        let mut out = Vec::new();
        write_request(&head, &wire, &mut out);
        let mut decoder = BodyDecoder::new(parsed.framing);
        while let Ok((taken, BodyEvent::Data(data))) = decoder.decode(input) {
            input = &input[taken..];
            out.extend_from_slice(data);
        }
        forwarded.push(String::from_utf8_lossy(&out).into_owned());
        if parsed.upgrade != Upgrade::None || !parsed.keep_alive {
            // After an upgrade nothing more goes out until the upstream said 101; after a close nothing at all.
            break;
        }
    }
    (forwarded, Ok(()))
}

const SMUGGLED: &[u8] = b"GET /admin HTTP/1.1\r\nHost: inside\r\n\r\n";

#[test]
fn bytes_after_an_upgrade_stay_here_until_101() {
    let sent =
        [b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", SMUGGLED].concat();
    let (forwarded, end) = forward_all(&sent);
    assert_eq!(end, Ok(()));
    assert_eq!(forwarded.len(), 1);
    assert!(!forwarded[0].contains("/admin"), "{forwarded:?}");

    // The upstream says 200: what followed is a request like any other, and is parsed as one.
    let mut head = Head::new();
    let to = ResponseTo { method: Method::Get, upgrade: true };
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let parsed = parse_response(answer, &mut HeadScan::default(), &HeadLimits::MESH, to, &mut head);
    let parsed = parsed.unwrap().unwrap();
    assert!(!parsed.switched && parsed.keep_alive);
}

#[test]
fn an_upgrade_with_a_body_is_a_request_with_a_body() {
    let head =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: foo\r\nContent-Length: 37\r\n\r\n";
    assert_eq!(SMUGGLED.len(), 37);
    let (forwarded, end) = forward_all(&[head.as_slice(), SMUGGLED, SMUGGLED].concat());
    assert_eq!(end, Ok(()));
    assert_eq!(forwarded.len(), 2, "the body is a body, what follows is a request: {forwarded:?}");
    assert!(!forwarded[0].contains("upgrade"), "{forwarded:?}");
    assert!(forwarded[1].starts_with("GET /admin"), "{forwarded:?}");
}

#[test]
fn h2c_is_never_asked_for() {
    let sent = [
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
            .as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .concat();
    let (forwarded, end) = forward_all(&sent);
    assert_eq!(forwarded, ["GET / HTTP/1.1\r\nhost: h\r\n\r\n"]);
    assert_eq!(end, Err(HeadRefusal::VersionUnsupported));
}

#[test]
fn an_unasked_101_is_a_fault() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n";
    let to = ResponseTo { method: Method::Get, upgrade: false };
    let parsed = parse_response(answer, &mut HeadScan::default(), &HeadLimits::MESH, to, &mut Head::new());
    assert_eq!(parsed, Err(HeadFault::SwitchUnasked));
}

/// Every way of saying a transfer coding that two servers have been seen to read differently.
#[test]
fn loosely_said_codings_never_pass() {
    for coding in [
        "identity",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunked ;",
        "chunked\t,",
        "\"chunked\"",
        "gzip, chunked",
        "chunked, chunked",
        "chunked\0",
        "\u{b}chunked",
        "CHUNKED,",
        "cow",
        "",
        ",",
    ] {
        let sent = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        let (forwarded, end) = forward_all(&[sent.as_bytes(), SMUGGLED].concat());
        assert!(forwarded.is_empty() && end.is_err(), "{coding:?}: {forwarded:?}");
        let both = sent.replace("\r\n\r\n0", "\r\nContent-Length: 5\r\n\r\n0");
        let (forwarded, end) = forward_all(&[both.as_bytes(), SMUGGLED].concat());
        assert!(forwarded.is_empty() && end.is_err(), "{coding:?} with a length: {forwarded:?}");
    }
}

/// In HTTP/1.0 a request never lasts until the connection closes, and what follows one that closes is not read.
#[test]
fn an_http10_request_has_no_body_without_a_length() {
    let sent = [b"POST / HTTP/1.0\r\nHost: h\r\n\r\n".as_slice(), SMUGGLED].concat();
    let (forwarded, end) = forward_all(&sent);
    assert_eq!(forwarded, ["POST / HTTP/1.1\r\nhost: h\r\n\r\n"]);
    assert_eq!(end, Ok(()));

    let kept =
        [b"POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n".as_slice(), SMUGGLED].concat();
    let (forwarded, _) = forward_all(&kept);
    assert_eq!(forwarded.len(), 2, "each is a request of its own: {forwarded:?}");

    let coded = b"POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(forward_all(coded), (vec![], Err(HeadRefusal::CodingOnHttp10)));
}

/// Two names of one thing must not come out as two, nor two things as one.
#[test]
fn one_host_and_one_path_whatever_the_spelling() {
    let path = |target: &str| {
        forward_all(format!("GET {target} HTTP/1.1\r\nHost: Shop\r\n\r\n").as_bytes()).0.concat()
    };
    let expected = "GET /admin HTTP/1.1\r\nhost: shop\r\n\r\n";
    for target in
        ["/admin", "/%61dmin", "/x/../admin", "//admin", "/./admin", "/x/%2e%2E/admin", "http://shop/admin"]
    {
        assert_eq!(path(target), expected, "{target}");
    }
    for target in
        ["/x%2f..%2fadmin", "/x\\..\\admin", "/x%5c..%5cadmin", "/admin%00.png", "/..;/admin", "/../admin"]
    {
        assert_eq!(path(target), "", "{target}");
    }
    assert_eq!(
        forward_all(b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        (vec![], Err(HeadRefusal::HostMismatch))
    );
}

/// CL.TE, TE.CL and TE.TE in their textbook forms: nothing of them is forwarded.
#[test]
fn the_textbook_forms() {
    for sent in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\n chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 37\r\n\r\nSMUGGLED",
    ] {
        let (forwarded, end) = forward_all(sent.as_bytes());
        assert!(forwarded.is_empty() && end.is_err(), "{sent:?}: {forwarded:?}");
    }
}
