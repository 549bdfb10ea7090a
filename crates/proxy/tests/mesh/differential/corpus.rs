//! What is sent: the rows of the codec's table, cases of our own, and changes made of all of them at random.

use crate::table::{FIELDS, HTTP10, WHOLE};

/// A case: its name, its bytes, and the status that refuses it where that is known.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Of the edge.
    pub(super) refused: Option<u16>,
}

/// All cases that somebody thought of.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>, verdict: &str| {
        let refused =
            verdict.split(' ').next().and_then(|word| word.parse().ok()).filter(|status| *status >= 400);
        cases.push(Case { name, bytes, refused });
    };
    for (name, bytes, verdict) in WHOLE.iter().chain(HTTP10) {
        add((*name).to_owned(), bytes.to_vec(), verdict);
    }
    for (name, fields, verdict) in FIELDS {
        add((*name).to_owned(), [b"POST / HTTP/1.1\r\nHost: h\r\n", *fields, b"\r\n"].concat(), verdict);
    }
    for (name, lines, verdict) in OWN {
        add(format!("own/{name}"), lines.replace('\n', "\r\n").into_bytes(), verdict);
    }
    for (name, target, verdict) in TARGETS {
        add(
            format!("target/{name}"),
            format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes(),
            verdict,
        );
    }
    for (name, bytes, verdict) in BODIES {
        let head = b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
        add(format!("chunked/{name}"), [head, bytes].concat(), verdict);
    }
    sizes(&mut add);
    cases
}

/// Cases about limits, and about what is cut and joined on its way.
fn sizes(add: &mut dyn FnMut(String, Vec<u8>, &str)) {
    let long = |count: usize| "x".repeat(count);
    add("size/path".into(), format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", long(8_000)).into_bytes(), "");
    add(
        "size/path-too-long".into(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", long(9_000)).into_bytes(),
        "414",
    );
    add(
        "size/query".into(),
        format!("GET /?{} HTTP/1.1\r\nHost: h\r\n\r\n", "a=%20&".repeat(1_300)).into_bytes(),
        "",
    );
    add(
        "size/path-that-grows".into(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "[".repeat(8_000)).into_bytes(),
        "",
    );
    add(
        "size/field".into(),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", long(30_000)).into_bytes(),
        "",
    );
    add(
        "size/field-too-long".into(),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", long(33_000)).into_bytes(),
        "431",
    );
    let fields = |count: usize| (0..count).map(|at| format!("X-{at}: {at}\r\n")).collect::<String>();
    add("size/fields".into(), format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(98)).into_bytes(), "");
    add(
        "size/too-many-fields".into(),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields(120)).into_bytes(),
        "431",
    );
    let body = crate::support::noise(200_000);
    add(
        "size/body".into(),
        [b"POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n", &body[..]].concat(),
        "",
    );
    let chunks: Vec<u8> = body
        .chunks(777)
        .flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat())
        .collect();
    let head = b"POST /large HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    add("size/chunks".into(), [head, &chunks[..], b"0\r\n\r\n"].concat(), "");
    add("size/pipeline".into(), b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n".repeat(60), "");
}

/// Whole requests, with `\n` for CR LF.
const OWN: &[(&str, &str, &str)] = &[
    (
        "length-then-request",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 5\n\nhelloGET /next HTTP/1.1\nHost: h\n\n",
        "",
    ),
    ("length-shorter-than-sent", "POST / HTTP/1.1\nHost: h\nContent-Length: 3\n\nhello", ""),
    (
        "length-that-is-a-request",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 34\n\nGET /smuggled HTTP/1.1\nHost: evil\n\n",
        "",
    ),
    ("length-on-get", "GET / HTTP/1.1\nHost: h\nContent-Length: 4\n\nbody", ""),
    ("length-on-head", "HEAD / HTTP/1.1\nHost: h\nContent-Length: 4\n\nbody", ""),
    ("length-on-delete", "DELETE / HTTP/1.1\nHost: h\nContent-Length: 4\n\nbody", ""),
    ("length-on-options", "OPTIONS / HTTP/1.1\nHost: h\nContent-Length: 4\n\nbody", ""),
    ("length-with-zeros", "POST / HTTP/1.1\nHost: h\nContent-Length: 0004\n\nbody", ""),
    ("length-of-octal-looks", "POST / HTTP/1.1\nHost: h\nContent-Length: 010\n\n0123456789", ""),
    ("length-zero", "POST / HTTP/1.1\nHost: h\nContent-Length: 0\n\n", ""),
    ("length-none-on-post", "POST / HTTP/1.1\nHost: h\n\n", ""),
    ("length-none-on-put", "PUT / HTTP/1.1\nHost: h\n\n", ""),
    ("length-huge", "POST / HTTP/1.1\nHost: h\nContent-Length: 18446744073709551616\n\n", "400"),
    ("length-beyond-the-limit", "POST / HTTP/1.1\nHost: h\nContent-Length: 9000000000000000000\n\n", "413"),
    (
        "length-and-chunked",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
        "400",
    ),
    (
        "chunked-and-length",
        "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n",
        "400",
    ),
    ("chunked-get", "GET / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", ""),
    ("chunked-head", "HEAD / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", ""),
    (
        "chunked-twice",
        "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n",
        "400",
    ),
    ("chunked-upper-case", "POST / HTTP/1.1\nHost: h\nTRANSFER-ENCODING: CHUNKED\n\n3\nabc\n0\n\n", ""),
    ("chunked-of-http10", "POST / HTTP/1.0\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", "400"),
    ("identity", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: identity\nContent-Length: 3\n\nabc", "400"),
    ("gzip-chunked", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: gzip, chunked\n\n0\n\n", "400"),
    ("chunked-in-quotes", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: \"chunked\"\n\n0\n\n", "400"),
    ("chunked-with-parameter", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked;q=1\n\n0\n\n", "400"),
    (
        "coding-by-another-name",
        "POST / HTTP/1.1\nHost: h\nTransfer-Encodin: chunked\nContent-Length: 3\n\nabc",
        "",
    ),
    (
        "coding-with-a-dash-more",
        "POST / HTTP/1.1\nHost: h\nTransfer--Encoding: chunked\nContent-Length: 3\n\nabc",
        "",
    ),
    (
        "coding-listed-in-connection",
        "POST / HTTP/1.1\nHost: h\nConnection: transfer-encoding\nTransfer-Encoding: chunked\n\n0\n\n",
        "400",
    ),
    (
        "length-listed-in-connection",
        "POST / HTTP/1.1\nHost: h\nConnection: content-length\nContent-Length: 3\n\nabc",
        "400",
    ),
    ("host-listed-in-connection", "GET / HTTP/1.1\nHost: h\nConnection: host\n\n", "400"),
    ("field-listed-in-connection", "GET / HTTP/1.1\nHost: h\nConnection: x-a, close\nX-A: 1\nX-B: 2\n\n", ""),
    ("cookie-listed-in-connection", "GET / HTTP/1.1\nHost: h\nConnection: cookie\nCookie: a=b\n\n", ""),
    ("keep-alive-field", "GET / HTTP/1.1\nHost: h\nConnection: keep-alive\nKeep-Alive: timeout=5\n\n", ""),
    ("proxy-connection", "GET / HTTP/1.1\nHost: h\nProxy-Connection: keep-alive\n\n", ""),
    ("proxy-fields", "GET / HTTP/1.1\nHost: h\nProxy-Authorization: Basic AA\nProxy: evil\n\n", ""),
    ("te-trailers", "GET / HTTP/1.1\nHost: h\nTE: trailers\nConnection: te\n\n", ""),
    ("te-chunked", "GET / HTTP/1.1\nHost: h\nTE: chunked, deflate\nConnection: te\n\n", ""),
    (
        "trailer-announced",
        "POST / HTTP/1.1\nHost: h\nTrailer: x-t\nTransfer-Encoding: chunked\n\n3\nabc\n0\nx-t: 1\n\n",
        "",
    ),
    (
        "trailer-that-frames",
        "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\nContent-Length: 9\nTransfer-Encoding: x\nHost: evil\n\n",
        "",
    ),
    (
        "trailer-weft",
        "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\nweft-caller: me\nx-forwarded-for: 1.1.1.1\n\n",
        "",
    ),
    ("expect", "POST / HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 3\n\nabc", ""),
    ("expect-upper-case", "POST / HTTP/1.1\nHost: h\nExpect: 100-CONTINUE\nContent-Length: 3\n\nabc", ""),
    ("expect-something", "POST / HTTP/1.1\nHost: h\nExpect: magic\nContent-Length: 3\n\nabc", "417"),
    (
        "expect-twice",
        "POST / HTTP/1.1\nHost: h\nExpect: 100-continue\nExpect: 100-continue\nContent-Length: 3\n\nabc",
        "",
    ),
    ("expect-http10", "POST / HTTP/1.0\nHost: h\nExpect: 100-continue\nContent-Length: 3\n\nabc", ""),
    ("expect-without-body", "GET / HTTP/1.1\nHost: h\nExpect: 100-continue\n\n", ""),
    (
        "expect-chunked",
        "POST / HTTP/1.1\nHost: h\nExpect: 100-continue\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n",
        "",
    ),
    (
        "upgrade-websocket",
        "GET /ws HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n",
        "",
    ),
    (
        "upgrade-then-smuggled",
        "GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: foo\n\nGET /second HTTP/1.1\nHost: h\n\n",
        "",
    ),
    (
        "upgrade-h2c",
        "GET / HTTP/1.1\nHost: h\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n\n",
        "",
    ),
    ("upgrade-tls", "OPTIONS * HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: TLS/1.2\n\n", ""),
    (
        "upgrade-with-body",
        "POST / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: foo\nContent-Length: 3\n\nabc",
        "",
    ),
    ("upgrade-unlisted", "GET / HTTP/1.1\nHost: h\nUpgrade: foo\n\n", ""),
    ("hosts-alike", "GET / HTTP/1.1\nHost: h\nHost: h\n\n", "400"),
    ("hosts-differing", "GET / HTTP/1.1\nHost: h\nHost: evil\n\n", "400"),
    ("host-folded", "GET / HTTP/1.1\nHost: h\n evil\n\n", "400"),
    ("host-with-space-before-colon", "GET / HTTP/1.1\nHost : h\n\n", "400"),
    ("host-in-upper-case", "GET / HTTP/1.1\nHost: SHOP.Example:8080\n\n", ""),
    ("host-ends-with-a-dot", "GET / HTTP/1.1\nHost: shop.example.\n\n", ""),
    (
        "host-of-other-fields",
        "GET / HTTP/1.1\nHost: h\nX-Forwarded-Host: evil\nX-Host: evil\nForwarded: host=evil\n\n",
        "",
    ),
    ("host-and-absolute", "GET http://evil/ HTTP/1.1\nHost: h\n\n", "400"),
    ("absolute", "GET http://h/a/../b?c HTTP/1.1\nHost: h\n\n", ""),
    ("absolute-https", "GET https://h/secure HTTP/1.1\nHost: h\n\n", ""),
    ("absolute-with-user", "GET http://h@evil/ HTTP/1.1\nHost: h\n\n", "400"),
    ("absolute-without-path", "GET http://h HTTP/1.1\nHost: h\n\n", ""),
    ("absolute-query-alone", "GET http://h?a HTTP/1.1\nHost: h\n\n", ""),
    ("connect", "CONNECT h:443 HTTP/1.1\nHost: h:443\n\n", "501"),
    ("trace", "TRACE / HTTP/1.1\nHost: h\n\n", "501"),
    ("options-asterisk", "OPTIONS * HTTP/1.1\nHost: h\n\n", ""),
    ("method-unknown", "BREW /pot HTTP/1.1\nHost: h\n\n", ""),
    ("method-small", "get / HTTP/1.1\nHost: h\n\n", ""),
    ("method-symbols", "M-SEARCH * HTTP/1.1\nHost: h\n\n", "400"),
    ("method-odd", "A!#$%&'*+-.^_`|~9 / HTTP/1.1\nHost: h\n\n", ""),
    (
        "method-long",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\nHost: h\n\n",
        "",
    ),
    (
        "methods-known",
        "PUT /1 HTTP/1.1\nHost: h\n\nPATCH /2 HTTP/1.1\nHost: h\n\nDELETE /3 HTTP/1.1\nHost: h\n\nOPTIONS /4 HTTP/1.1\nHost: h\n\nHEAD /5 HTTP/1.1\nHost: h\n\n",
        "",
    ),
    ("webdav", "PROPFIND / HTTP/1.1\nHost: h\nDepth: 1\n\nMKCOL /a HTTP/1.1\nHost: h\n\n", ""),
    ("http10", "GET / HTTP/1.0\nHost: h\n\n", ""),
    ("http10-keep-alive", "GET / HTTP/1.0\nHost: h\nConnection: keep-alive\n\n", ""),
    ("http10-without-host", "GET / HTTP/1.0\n\n", ""),
    ("http10-body", "POST / HTTP/1.0\nHost: h\nContent-Length: 3\n\nabc", ""),
    ("http09", "GET /\n", "400"),
    ("close", "GET / HTTP/1.1\nHost: h\nConnection: close\n\nGET /unread HTTP/1.1\nHost: h\n\n", ""),
    (
        "empty-lines-between",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc\n\nGET /after HTTP/1.1\nHost: h\n\n",
        "",
    ),
    ("pair", "GET /1 HTTP/1.1\nHost: h\n\nGET /2 HTTP/1.1\nHost: h\n\n", ""),
    (
        "pair-of-bodies",
        "POST /1 HTTP/1.1\nHost: h\nContent-Length: 3\n\nabcPOST /2 HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n",
        "",
    ),
    ("pair-second-bad", "GET /1 HTTP/1.1\nHost: h\n\nGET /2 HTTP/1.1\nHost: h\nBad Name: 1\n\n", ""),
    (
        "pair-with-get-body",
        "GET /1 HTTP/1.1\nHost: h\nContent-Length: 34\n\nGET /smuggled HTTP/1.1\nHost: evil\n\n",
        "",
    ),
    ("values-empty", "GET / HTTP/1.1\nHost: h\nX-A:\nX-B: \nX-C:\t\n\n", ""),
    ("values-repeated", "GET / HTTP/1.1\nHost: h\nX-A: 1\nX-B: 2\nX-A: 3\nAccept: a\nAccept: b\n\n", ""),
    ("values-with-tabs", "GET / HTTP/1.1\nHost: h\nX-A: a\tb\n\n", ""),
    ("values-with-colons", "GET / HTTP/1.1\nHost: h\nX-A: b: c\nX-B::\n\n", ""),
    ("cookies", "GET / HTTP/1.1\nHost: h\nCookie: a=1\nCookie: b=2\n\n", ""),
    ("names-odd", "GET / HTTP/1.1\nHost: h\n!#$%&'*+-.^`|~: 1\n123: 4\n\n", ""),
    ("names-with-underscore", "GET / HTTP/1.1\nHost: h\nContent_Length: 5\n\n", "400"),
    (
        "names-long",
        "GET / HTTP/1.1\nHost: h\nXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX: 1\n\n",
        "",
    ),
    (
        "spoofed",
        "GET / HTTP/1.1\nHost: h\nWeft-Caller: spiffe://x\nWeft-Attempt: 9\nX-Forwarded-For: 1.1.1.1\nX-Real-IP: 1.1.1.1\n\n",
        "",
    ),
    (
        "range-and-conditions",
        "GET / HTTP/1.1\nHost: h\nRange: bytes=0-1\nIf-None-Match: \"a\"\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n\n",
        "",
    ),
    ("authorization", "GET / HTTP/1.1\nHost: h\nAuthorization: Bearer a.b.c\n\n", ""),
    (
        "method-override",
        "POST / HTTP/1.1\nHost: h\nX-HTTP-Method-Override: DELETE\nContent-Length: 0\n\n",
        "",
    ),
    ("original-url", "GET / HTTP/1.1\nHost: h\nX-Original-URL: /admin\nX-Rewrite-URL: /admin\n\n", ""),
];

/// Targets of `GET`.
const TARGETS: &[(&str, &str, &str)] = &[
    ("dots", "/a/./b/../c", ""),
    ("dots-encoded", "/a/%2e%2E/b", ""),
    ("dots-above-the-root", "/../etc/passwd", "400"),
    ("dots-encoded-above-the-root", "/%2e%2e/etc/passwd", "400"),
    ("dots-twice-encoded", "/%252e%252e/etc/passwd", ""),
    ("dots-with-parameter", "/a/..;/b", "400"),
    ("dots-with-named-parameter", "/a/..;x=y/b", "400"),
    ("dots-three", "/a/.../b", ""),
    ("dots-at-the-end", "/a/b/..", ""),
    ("dot-file", "/.git/config", ""),
    ("slashes", "//a///b//", ""),
    ("slashes-before-host", "//evil/a", ""),
    ("slash-encoded", "/a%2fb", "400"),
    ("slash-encoded-large", "/a%2Fb", "400"),
    ("slash-twice-encoded", "/a%252fb", ""),
    ("slash-overlong", "/a%c0%afb", ""),
    ("backslash", "/a\\b", "400"),
    ("backslash-encoded", "/a%5cb", "400"),
    ("nul-encoded", "/a%00b", "400"),
    ("newline-encoded", "/a%0d%0aX: y", "400"),
    ("newline-encoded-alone", "/a%0d%0aX:%20y", ""),
    ("percent-alone", "/a%", "400"),
    ("percent-half", "/a%2", "400"),
    ("percent-wrong", "/a%zz", "400"),
    ("percent-u", "/a%u002f", "400"),
    ("percent-of-plain", "/%61%62%7E", ""),
    ("percent-small-letters", "/%c3%a9", ""),
    ("percent-of-question-mark", "/a%3fb", ""),
    ("percent-of-hash", "/a%23b", ""),
    ("percent-of-semicolon", "/a%3bb", ""),
    ("percent-in-query", "/?a=%2f%00%5c&b=%zz", ""),
    ("hash", "/a#b", "400"),
    ("hash-in-query", "/a?b#c", "400"),
    ("query-empty", "/a?", ""),
    ("query-of-questions", "/a??b?c", ""),
    ("query-with-dots", "/a?b=../../c", ""),
    ("query-with-slashes", "/a?//b", ""),
    ("query-with-url", "/a?u=http://evil/", ""),
    ("query-with-quotes", "/a?b=\"c\"&d=<e>", ""),
    ("query-with-brackets", "/a?b[]=1&c={d}|^`", ""),
    ("parameters", "/a;x=1/b;y=2", ""),
    ("colon-first", "/:80/a", ""),
    ("at", "/@evil", ""),
    ("at-with-slashes", "//u@evil/", ""),
    ("brackets", "/[a]{b}|^`\"<c>", ""),
    ("subdelims", "/!$&'()*+,;=:@-._~", ""),
    ("like-absolute", "/http://evil/", ""),
    ("letters-beyond-ascii", "/caf\u{e9}", "400"),
    ("star-in-path", "/*", ""),
    ("no-slash", "a/b", "400"),
    ("space-inside", "/a b", "400"),
];

/// Chunked bodies.
const BODIES: &[(&str, &[u8], &str)] = &[
    ("plain", b"3\r\nabc\r\n0\r\n\r\n", ""),
    ("upper-case", b"A\r\n0123456789\r\n0\r\n\r\n", ""),
    ("zeros", b"0003\r\nabc\r\n000\r\n\r\n", ""),
    ("extension", b"3;a=b\r\nabc\r\n0;c\r\n\r\n", ""),
    ("extension-quoted", b"3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n", ""),
    ("extension-quoted-line", b"3;a=\"\r\nabc\r\n0\r\n\r\n", ""),
    ("extension-bare-lf", b"3;a\nabc\r\n0\r\n\r\n", ""),
    ("extension-bare-cr", b"3;a\rb\r\nabc\r\n0\r\n\r\n", ""),
    ("extension-space", b"3 ;a\r\nabc\r\n0\r\n\r\n", ""),
    ("size-space", b"3 \r\nabc\r\n0\r\n\r\n", ""),
    ("size-sign", b"+3\r\nabc\r\n0\r\n\r\n", ""),
    ("size-hex-prefix", b"0x3\r\nabc\r\n0\r\n\r\n", ""),
    ("size-overflow", b"10000000000000003\r\nabc\r\n0\r\n\r\n", ""),
    ("size-bare-lf", b"3\nabc\n0\n\n", ""),
    ("end-bare-lf", b"3\r\nabc\n0\r\n\r\n", ""),
    ("end-missing", b"3\r\nabc0\r\n\r\n", ""),
    ("too-long", b"3\r\nabcd\r\n0\r\n\r\n", ""),
    ("last-with-data", b"0\r\nabc\r\n\r\n", ""),
    ("then-a-request", b"3\r\nabc\r\n0\r\n\r\nGET /after HTTP/1.1\r\nHost: h\r\n\r\n", ""),
    ("a-request-inside", b"26\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n\r\n0\r\n\r\n", ""),
    ("trailer", b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", ""),
    ("trailer-folded", b"3\r\nabc\r\n0\r\nX-T: 1\r\n 2\r\n\r\n", ""),
    ("trailer-space-before-colon", b"3\r\nabc\r\n0\r\nX-T : 1\r\n\r\n", ""),
    ("trailer-bare-lf", b"3\r\nabc\r\n0\r\nX-T: 1\n\r\n", ""),
    ("trailer-like-a-request", b"3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n", ""),
    ("unfinished", b"3\r\nabc\r\n", ""),
    ("unfinished-chunk", b"30\r\nabc", ""),
];

/// Bytes that parsers stumble over.
const ODD: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b";",
    b",",
    b"\"",
    b"\x0b",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"0",
    b"1",
    b"/",
    b"..",
    b"%2f",
    b"#",
    b"?",
    b"chunked",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: evil\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    b" HTTP/1.1",
    b"HTTP/1.0",
];

/// A case that nobody thought of: one or two of the others, changed in up to four places.
pub(super) fn mutated(cases: &[Case], seed: u64) -> Case {
    let mut rng = fastrand::Rng::with_seed(seed);
    let pick = |rng: &mut fastrand::Rng| &cases[rng.usize(..cases.len())];
    let first = pick(&mut rng);
    let (mut name, mut bytes) = (format!("seed {seed} of {}", first.name), first.bytes.clone());
    if rng.u8(..4) == 0 {
        let second = pick(&mut rng);
        name += &format!(" and {}", second.name);
        let (cut, from) = (rng.usize(..=bytes.len()), rng.usize(..=second.bytes.len()));
        bytes.truncate(cut);
        bytes.extend_from_slice(&second.bytes[from..]);
    }
    bytes.truncate(4096);
    for _ in 0..rng.usize(1..=4) {
        change(&mut bytes, &mut rng);
    }
    Case { name, bytes, refused: None }
}

/// Changes bytes at one place.
pub(super) fn change(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..6) {
        0 | 1 => drop(bytes.splice(at..at, ODD[rng.usize(..ODD.len())].iter().copied())),
        2 => {
            let end = bytes.len().min(at + rng.usize(1..4));
            bytes.drain(at..end);
        }
        3 if at < bytes.len() => bytes[at] = rng.u8(..),
        4 if at < bytes.len() => bytes[at] ^= 0x20,
        // A line again.
        _ => {
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |found| found + 1);
            let line = bytes[start..at].to_vec();
            bytes.splice(at..at, line);
        }
    }
}
