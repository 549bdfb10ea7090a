//! The streams that somebody thought of. A letter of these texts is a byte.

use super::{Asked, End, Field, Stream};
use End::{Either, Read, Refused};

type Pair = (&'static str, &'static str);

/// Takes a name, fields, data, trailers and what must become of them.
type Add<'a> = dyn FnMut(String, Vec<Field>, &[&str], Vec<Field>, End) + 'a;

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

fn fields(pairs: &[Pair]) -> Vec<Field> {
    pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

const GET: [Pair; 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
const POST: [Pair; 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

pub(super) fn all() -> Vec<Stream> {
    let mut streams = Vec::new();
    let mut add = |name: String, fields: Vec<Field>, data: &[&str], trailers: Vec<Field>, end: End| {
        let data = data.iter().map(|part| bytes(part)).collect();
        streams.push(Stream { name: format!("http2/{name}"), asked: Asked { fields, data, trailers }, end });
    };
    for (name, pseudo, value, end) in PSEUDO {
        let head = GET.map(|(have, old)| (have, if have == *pseudo { *value } else { old }));
        add(format!("{pseudo}/{name}"), fields(&head), &[], Vec::new(), *end);
    }
    for (name, head, end) in HEADS {
        add(format!("head/{name}"), fields(head), &[], Vec::new(), *end);
    }
    for (name, more, end) in FIELDS {
        add(format!("field/{name}"), fields(&[&GET, *more].concat()), &[], Vec::new(), *end);
        let smuggled = ["abc", "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"];
        let head = fields(&[&POST, *more].concat());
        add(format!("field-and-data/{name}"), head, &smuggled, Vec::new(), *end);
    }
    for (name, more, data, trailers, end) in BODIES {
        add(format!("body/{name}"), fields(&[&POST, *more].concat()), data, fields(trailers), *end);
    }
    sizes(&mut add);
    streams
}

/// Streams about limits.
fn sizes(add: &mut Add<'_>) {
    let long = |count: usize| vec![b'x'; count];
    let path = |count: usize| {
        let mut head = fields(&GET);
        head[2].1.extend(long(count));
        head
    };
    add("size/path".into(), path(8_000), &[], Vec::new(), Read);
    add("size/path-too-long".into(), path(9_000), &[], Vec::new(), Refused);
    let with = |more: Vec<Field>| [fields(&GET), more].concat();
    add("size/value".into(), with(vec![(b"x".to_vec(), long(30_000))]), &[], Vec::new(), Read);
    add("size/value-too-long".into(), with(vec![(b"x".to_vec(), long(40_000))]), &[], Vec::new(), Refused);
    add("size/name".into(), with(vec![(long(20_000), b"1".to_vec())]), &[], Vec::new(), Either);
    let many = |count: usize| (0..count).map(|at| (format!("x-{at}").into_bytes(), b"1".to_vec())).collect();
    add("size/fields".into(), with(many(98)), &[], Vec::new(), Read);
    add("size/too-many-fields".into(), with(many(120)), &[], Vec::new(), Refused);
    add("size/too-many-trailers".into(), fields(&POST), &["abc"], many(200), Either);
    let part = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n".repeat(400);
    add("size/body".into(), fields(&POST), &[part.as_str(); 4], Vec::new(), Read);
}

/// One pseudo-field of a `GET` has another value.
const PSEUDO: &[(&str, &str, &str, End)] = &[
    ("cr", ":path", "/a\rb", Refused),
    ("lf", ":path", "/a\nb", Refused),
    ("nul", ":path", "/a\0b", Refused),
    ("a-line-more", ":path", "/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /smuggled", Refused),
    ("a-line-more-in-the-query", ":path", "/?a HTTP/1.1\r\nhost: evil\r\n\r\nGET /smuggled", Refused),
    ("space", ":path", "/a b", Refused),
    ("space-in-the-query", ":path", "/a?b c", Refused),
    ("space-at-the-end", ":path", "/a ", Refused),
    ("space-first", ":path", " /a", Refused),
    ("tab", ":path", "/a\tb", Refused),
    ("version", ":path", "/ HTTP/1.0", Refused),
    ("empty", ":path", "", Refused),
    ("asterisk", ":path", "*", Refused),
    ("asterisk-and-more", ":path", "*evil", Refused),
    ("absolute", ":path", "http://evil/a", Refused),
    ("no-slash", ":path", "a", Refused),
    ("question-mark-first", ":path", "?a=b", Refused),
    // The codec of the h2 crate takes a fragment away before anybody sees it.
    ("hash", ":path", "/a#b", Either),
    ("hash-first", ":path", "#a", Either),
    ("hash-in-the-query", ":path", "/a?b#c", Either),
    ("query", ":path", "/a?b=c", Read),
    ("query-empty", ":path", "/a?", Read),
    ("query-of-questions", ":path", "/a??b?c", Read),
    ("query-with-url", ":path", "/a?u=http://evil/../%2f%00", Read),
    ("query-with-quotes", ":path", "/a?b=\"c\"&d=<e>", Either),
    ("slashes-before-host", ":path", "//evil/a", Read),
    ("slashes", ":path", "/a///b//", Read),
    ("slash-encoded", ":path", "/a%2fb", Refused),
    ("slash-encoded-large", ":path", "/a%2Fb", Refused),
    ("slash-twice-encoded", ":path", "/a%252fb", Read),
    ("backslash", ":path", "/a\\b", Refused),
    ("nul-encoded", ":path", "/a%00b", Refused),
    ("newline-encoded", ":path", "/a%0d%0ahost:%20evil", Read),
    ("percent-wrong", ":path", "/a%zz", Refused),
    ("dots", ":path", "/a/./b/../c", Read),
    ("dots-encoded", ":path", "/a/%2e%2E/b", Read),
    ("dots-above-the-root", ":path", "/../a", Refused),
    ("dots-with-parameter", ":path", "/a/..;/b", Refused),
    ("letters-beyond-ascii", ":path", "/caf\u{e9}", Refused),
    ("odd-letters", ":path", "/[a]{b}|^`\"<c>", Either),
    ("cr", ":authority", "h\rx", Refused),
    ("lf", ":authority", "h\nx", Refused),
    ("nul", ":authority", "h\0", Refused),
    ("a-line-more", ":authority", "h\r\ntransfer-encoding: chunked", Refused),
    ("space", ":authority", "h evil", Refused),
    ("space-first", ":authority", " h", Refused),
    ("tab", ":authority", "h\tevil", Refused),
    ("user", ":authority", "u@h", Refused),
    ("path", ":authority", "h/evil", Refused),
    ("query", ":authority", "h?evil", Refused),
    ("hash", ":authority", "h#evil", Refused),
    ("list", ":authority", "h,evil", Either),
    ("empty", ":authority", "", Refused),
    ("port", ":authority", "h:8080", Read),
    ("port-no-number", ":authority", "h:evil", Refused),
    ("port-too-large", ":authority", "h:99999", Either),
    ("capitals", ":authority", "SHOP.Example:80", Read),
    ("ends-with-a-dot", ":authority", "shop.example.", Either),
    ("address", ":authority", "[::1]:80", Read),
    ("address-broken", ":authority", "[::1", Refused),
    ("escape", ":authority", "%68", Either),
    ("cr", ":method", "GET\r", Refused),
    ("nul", ":method", "GET\0", Refused),
    ("a-whole-request", ":method", "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\nGET", Refused),
    ("request-line", ":method", "GET / HTTP/1.1", Refused),
    ("space", ":method", "GE T", Refused),
    ("space-first", ":method", " GET", Refused),
    ("tab", ":method", "GET\t/", Refused),
    ("colon", ":method", "GET:", Refused),
    ("beyond-ascii", ":method", "G\u{c9}T", Refused),
    ("empty", ":method", "", Refused),
    ("small", ":method", "get", Read),
    ("unknown", ":method", "BREW", Read),
    ("symbols", ":method", "A!#$%&'*+-.^_`|~9", Read),
    ("preface", ":method", "PRI", Either),
    ("head", ":method", "HEAD", Read),
    ("connect", ":method", "CONNECT", Refused),
    ("trace", ":method", "TRACE", Refused),
    ("https", ":scheme", "https", Either),
    ("capitals", ":scheme", "HTTP", Either),
    ("another", ":scheme", "ftp", Either),
    ("script", ":scheme", "javascript", Either),
    ("empty", ":scheme", "", Refused),
    ("a-whole-address", ":scheme", "http://evil/", Refused),
    ("a-line-more", ":scheme", "http\r\nx: y", Refused),
    ("space", ":scheme", "http ", Refused),
    ("nul", ":scheme", "http\0", Refused),
];

/// The fields of a whole head.
const HEADS: &[(&str, &[Pair], End)] = &[
    ("plain", &GET, Read),
    (
        "pseudo-after-a-field",
        &[(":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/"), (":authority", "h")],
        Refused,
    ),
    (
        "method-after-a-field",
        &[(":scheme", "http"), (":path", "/"), (":authority", "h"), ("x", "1"), (":method", "GET")],
        Refused,
    ),
    (
        "methods",
        &[(":method", "GET"), (":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")],
        Refused,
    ),
    (
        "paths",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":path", "/admin"), (":authority", "h")],
        Refused,
    ),
    (
        "paths-alike",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":path", "/"), (":authority", "h")],
        Refused,
    ),
    (
        "authorities",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h"), (":authority", "e")],
        Refused,
    ),
    (
        "schemes",
        &[(":method", "GET"), (":scheme", "http"), (":scheme", "https"), (":path", "/"), (":authority", "h")],
        Refused,
    ),
    ("no-method", &[(":scheme", "http"), (":path", "/"), (":authority", "h")], Refused),
    ("no-scheme", &[(":method", "GET"), (":path", "/"), (":authority", "h")], Refused),
    ("no-path", &[(":method", "GET"), (":scheme", "http"), (":authority", "h")], Refused),
    ("no-authority", &[(":method", "GET"), (":scheme", "http"), (":path", "/")], Refused),
    ("nothing", &[], Refused),
    ("host-alone", &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h")], Read),
    (
        "host-alone-with-a-line-more",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h\r\nx: y")],
        Refused,
    ),
    (
        "host-alone-with-a-user",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "u@h")],
        Refused,
    ),
    (
        "hosts-alone",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "h"), ("host", "evil")],
        Refused,
    ),
    (
        "pseudo-unknown",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h"), (":host", "evil")],
        Refused,
    ),
    (
        "pseudo-of-an-answer",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h"), (":status", "200")],
        Refused,
    ),
    (
        "pseudo-in-capitals",
        &[(":method", "GET"), (":scheme", "http"), (":Path", "/"), (":authority", "h")],
        Refused,
    ),
    (
        "pseudo-with-a-space",
        &[(":method", "GET"), (":scheme", "http"), (":path ", "/"), (":authority", "h")],
        Refused,
    ),
    (
        "options-asterisk",
        &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "h")],
        Either,
    ),
    ("connect", &[(":method", "CONNECT"), (":authority", "h:443")], Refused),
    (
        "connect-websocket",
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "h"),
        ],
        Refused,
    ),
    (
        "protocol-of-get",
        &[
            (":method", "GET"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "h"),
        ],
        Refused,
    ),
];

/// Fields that are added to a `GET` without a body, and to a `POST` whose data looks like a request.
const FIELDS: &[(&str, &[Pair], End)] = &[
    ("value-cr", &[("x", "1\r2")], Refused),
    ("value-lf", &[("x", "1\n2")], Refused),
    ("value-nul", &[("x", "1\x002")], Refused),
    ("value-cr-last", &[("x", "1\r")], Refused),
    ("value-lf-first", &[("x", "\n1")], Refused),
    ("value-with-a-field", &[("x", "1\r\ntransfer-encoding: chunked")], Refused),
    ("value-with-a-field-by-lf", &[("x", "1\ncontent-length: 0")], Refused),
    ("value-with-a-request", &[("x", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n")], Refused),
    ("value-folded", &[("x", "1\r\n 2")], Refused),
    ("value-escape", &[("x", "\x1b[2J")], Refused),
    ("value-vertical-tab", &[("x", "1\x0b2")], Refused),
    ("value-delete", &[("x", "1\x7f2")], Refused),
    ("value-tab", &[("x", "1\t2")], Read),
    ("value-spaces-around", &[("x", " 1 ")], Either),
    ("value-empty", &[("x", "")], Read),
    ("value-beyond-ascii", &[("x", "\u{e9}\u{ff}\u{85}\u{a0}")], Either),
    ("value-colons", &[("x", ": y: z")], Read),
    ("values-repeated", &[("x", "1"), ("y", "2"), ("x", "3"), ("accept", "a"), ("accept", "b")], Read),
    ("name-in-capitals", &[("X-A", "1")], Refused),
    ("coding-in-capitals", &[("Transfer-Encoding", "chunked")], Refused),
    ("length-in-capitals", &[("Content-Length", "3")], Refused),
    ("host-in-capitals", &[("Host", "evil")], Refused),
    ("name-empty", &[("", "1")], Refused),
    ("name-space", &[("x y", "1")], Refused),
    ("name-space-last", &[("content-length ", "0")], Refused),
    ("name-space-first", &[(" transfer-encoding", "chunked")], Refused),
    ("name-tab-last", &[("transfer-encoding\t", "chunked")], Refused),
    ("name-colon", &[("x:y", "1")], Refused),
    ("name-colon-last", &[("content-length:", "0")], Refused),
    ("name-holds-a-field", &[("transfer-encoding: chunked\r\nx", "1")], Refused),
    ("name-holds-a-request", &[("x: 1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost", "h")], Refused),
    ("name-cr", &[("x\r", "1")], Refused),
    ("name-lf", &[("x\ny", "1")], Refused),
    ("name-nul", &[("x\0", "1")], Refused),
    ("name-beyond-ascii", &[("x\u{e9}", "1")], Refused),
    ("name-kelvin", &[("x\u{df}", "1")], Refused),
    ("name-brackets", &[("x(y)", "1")], Refused),
    ("name-odd", &[("!#$%&'*+-.^`|~", "1"), ("123", "4")], Read),
    ("name-underscore-length", &[("content_length", "0")], Refused),
    ("name-underscore-coding", &[("transfer_encoding", "chunked")], Refused),
    ("name-like-a-coding", &[("transfer--encoding", "chunked"), ("transfer-encodin", "chunked")], Read),
    ("coding", &[("transfer-encoding", "chunked")], Refused),
    ("coding-with-a-space", &[("transfer-encoding", " chunked")], Refused),
    ("coding-with-a-length", &[("content-length", "3"), ("transfer-encoding", "chunked")], Refused),
    ("coding-identity", &[("transfer-encoding", "identity")], Refused),
    ("coding-gzip", &[("transfer-encoding", "gzip, chunked")], Refused),
    ("coding-empty", &[("transfer-encoding", "")], Refused),
    ("coding-twice", &[("transfer-encoding", "x"), ("transfer-encoding", "chunked")], Refused),
    ("content-coding-chunked", &[("content-encoding", "chunked")], Read),
    ("te-chunked", &[("te", "chunked")], Refused),
    ("te-trailers-and-chunked", &[("te", "trailers, chunked")], Refused),
    ("te-twice", &[("te", "trailers"), ("te", "chunked")], Refused),
    ("te-trailers", &[("te", "trailers")], Read),
    ("te-in-capitals", &[("te", "TRAILERS")], Either),
    ("connection-close", &[("connection", "close")], Refused),
    ("connection-keep-alive", &[("connection", "keep-alive")], Refused),
    ("connection-names-a-field", &[("connection", "x-a"), ("x-a", "1")], Refused),
    ("connection-names-host", &[("connection", "host, content-length")], Refused),
    ("connection-upgrade", &[("connection", "upgrade"), ("upgrade", "websocket")], Refused),
    ("upgrade", &[("upgrade", "websocket")], Refused),
    ("upgrade-h2c", &[("upgrade", "h2c"), ("http2-settings", "AAMAAABk")], Refused),
    ("settings", &[("http2-settings", "AAMAAABk")], Either),
    ("keep-alive", &[("keep-alive", "timeout=5")], Refused),
    ("proxy-connection", &[("proxy-connection", "keep-alive")], Refused),
    ("proxy-fields", &[("proxy-authorization", "Basic AA"), ("proxy", "evil")], Either),
    ("host-alike", &[("host", "h")], Read),
    ("host-differs", &[("host", "evil")], Refused),
    ("host-in-other-letters", &[("host", "H")], Either),
    ("host-with-a-port", &[("host", "h:81")], Refused),
    ("host-empty", &[("host", "")], Refused),
    ("host-with-a-line-more", &[("host", "h\r\nx: y")], Refused),
    ("hosts-alike", &[("host", "h"), ("host", "h")], Either),
    ("hosts-differ", &[("host", "h"), ("host", "evil")], Refused),
    ("hosts-differ-first", &[("host", "evil"), ("host", "h")], Refused),
    ("host-of-other-fields", &[("x-forwarded-host", "evil"), ("x-host", "evil")], Read),
    ("expect", &[("expect", "100-continue")], Read),
    ("expect-something", &[("expect", "magic")], Either),
    ("expect-twice", &[("expect", "100-continue"), ("expect", "100-continue")], Either),
    ("cookies", &[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("cookie", "c=3")], Read),
    ("cookie-with-a-line-more", &[("cookie", "a=1"), ("cookie", "b=2\r\nx: y")], Refused),
    ("cookie-empty", &[("cookie", ""), ("cookie", "")], Either),
    ("trailer-announced", &[("trailer", "content-length, transfer-encoding")], Either),
    ("forged", &[("weft-caller", "spiffe://x"), ("x-forwarded-for", "1.1.1.1")], Read),
    ("method-override", &[("x-http-method-override", "DELETE"), ("x-original-url", "/admin")], Read),
];

/// A row about the body of a `POST`: more fields, DATA frames, trailers.
type Body = (&'static str, &'static [Pair], &'static [&'static str], &'static [Pair], End);

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
const CHUNKS_AND_SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
const LENGTH: (&str, &str) = ("content-length", "3");

const BODIES: &[Body] = &[
    ("length", &[LENGTH], &["abc"], &[], Read),
    ("length-in-parts", &[LENGTH], &["a", "", "bc", ""], &[], Read),
    ("length-larger", &[("content-length", "4")], &["abc"], &[], Refused),
    ("length-smaller", &[("content-length", "2")], &["abc"], &[], Refused),
    ("length-smaller-in-parts", &[LENGTH], &["abc", "def"], &[], Refused),
    ("length-smaller-by-a-request", &[LENGTH], &["abc", SMUGGLED], &[], Refused),
    ("length-zero-and-a-request", &[("content-length", "0")], &[SMUGGLED], &[], Refused),
    ("length-zero", &[("content-length", "0")], &[], &[], Read),
    ("length-zero-and-empty-data", &[("content-length", "0")], &["", ""], &[], Read),
    ("length-without-data", &[LENGTH], &[], &[], Refused),
    ("length-and-empty-data", &[LENGTH], &[""], &[], Refused),
    ("lengths-alike", &[LENGTH, LENGTH], &["abc"], &[], Either),
    ("lengths-first-right", &[LENGTH, ("content-length", "0")], &["abc"], &[], Refused),
    ("lengths-last-right", &[("content-length", "0"), LENGTH], &["abc"], &[], Refused),
    ("lengths-one-no-number", &[LENGTH, ("content-length", "x")], &["abc"], &[], Refused),
    ("length-list", &[("content-length", "3, 3")], &["abc"], &[], Refused),
    ("length-plus", &[("content-length", "+3")], &["abc"], &[], Refused),
    ("length-minus", &[("content-length", "-3")], &["abc"], &[], Refused),
    ("length-minus-nothing", &[("content-length", "-0")], &[], &[], Refused),
    ("length-space-first", &[("content-length", " 3")], &["abc"], &[], Either),
    ("length-space-last", &[("content-length", "3 ")], &["abc"], &[], Either),
    ("length-space-inside", &[("content-length", "3 0")], &["abc"], &[], Refused),
    ("length-hex", &[("content-length", "0x3")], &["abc"], &[], Refused),
    ("length-point", &[("content-length", "3.0")], &["abc"], &[], Refused),
    ("length-zeros", &[("content-length", "0003")], &["abc"], &[], Either),
    ("length-empty", &[("content-length", "")], &["abc"], &[], Refused),
    ("length-empty-without-data", &[("content-length", "")], &[], &[], Refused),
    ("length-overflow", &[("content-length", "18446744073709551619")], &["abc"], &[], Refused),
    ("length-overflow-of-32-bits", &[("content-length", "4294967299")], &["abc"], &[], Refused),
    ("length-with-a-line-more", &[("content-length", "3\r\nx: y")], &["abc"], &[], Refused),
    ("no-length", &[], &["abc"], &[], Read),
    ("no-length-in-parts", &[], &["a", "", "b", "c", ""], &[], Read),
    ("empty-data", &[], &[""], &[], Read),
    ("a-request", &[], &[SMUGGLED], &[], Read),
    ("a-request-with-length", &[("content-length", "35")], &[SMUGGLED], &[], Read),
    ("a-request-in-parts", &[], &["GET /smuggled HTTP/1.1\r\n", "host: h\r\n", "\r\n"], &[], Read),
    ("chunks", &[], &["3\r\nabc\r\n0\r\n\r\n"], &[], Read),
    ("chunks-and-a-request", &[], &[CHUNKS_AND_SMUGGLED], &[], Read),
    ("chunks-and-a-request-with-length", &[("content-length", "40")], &[CHUNKS_AND_SMUGGLED], &[], Read),
    ("last-chunk-at-the-edge-of-frames", &[], &["abc\r\n", "0\r\n\r\n", SMUGGLED], &[], Read),
    ("coding-and-chunks", &[("transfer-encoding", "chunked")], &[CHUNKS_AND_SMUGGLED], &[], Refused),
    (
        "coding-and-length-and-chunks",
        &[("content-length", "40"), ("transfer-encoding", "chunked")],
        &[CHUNKS_AND_SMUGGLED],
        &[],
        Refused,
    ),
    ("expect-and-length", &[("expect", "100-continue"), LENGTH], &["abc"], &[], Read),
    ("expect-and-a-request", &[("expect", "100-continue")], &[SMUGGLED], &[], Read),
    ("trailer", &[], &["abc"], &[("x-t", "1")], Read),
    ("trailer-without-data", &[], &[], &[("x-t", "1")], Read),
    ("trailer-and-length", &[LENGTH], &["abc"], &[("x-t", "1")], Read),
    ("trailer-and-length-larger", &[("content-length", "4")], &["abc"], &[("x-t", "1")], Refused),
    ("trailer-length", &[], &["abc"], &[("content-length", "9")], Either),
    ("trailer-length-right", &[], &["abc"], &[("content-length", "3")], Either),
    ("trailer-length-no-number", &[], &["abc"], &[("content-length", "x")], Either),
    ("trailer-coding", &[], &["abc"], &[("transfer-encoding", "chunked")], Refused),
    ("trailer-coding-and-length", &[LENGTH], &["abc"], &[("transfer-encoding", "chunked")], Refused),
    ("trailer-host", &[], &["abc"], &[("host", "evil")], Either),
    ("trailer-connection", &[], &["abc"], &[("connection", "close")], Refused),
    ("trailer-upgrade", &[], &["abc"], &[("upgrade", "websocket")], Refused),
    ("trailer-te", &[], &["abc"], &[("te", "chunked")], Refused),
    ("trailer-expect", &[], &["abc"], &[("expect", "100-continue")], Either),
    ("trailer-cookies", &[], &["abc"], &[("cookie", "a=1"), ("cookie", "b=2")], Either),
    ("trailer-forged", &[], &["abc"], &[("weft-caller", "me"), ("x-forwarded-for", "1.1.1.1")], Either),
    ("trailer-authorization", &[], &["abc"], &[("authorization", "Bearer a.b.c")], Either),
    // The codec of the h2 crate takes these away as well.
    ("trailer-pseudo", &[], &["abc"], &[(":path", "/admin")], Either),
    ("trailer-pseudo-and-length", &[LENGTH], &["abc"], &[(":path", "/admin")], Either),
    ("trailer-in-capitals", &[], &["abc"], &[("X-T", "1")], Refused),
    ("trailer-in-capitals-and-length", &[LENGTH], &["abc"], &[("X-T", "1")], Refused),
    ("trailer-name-space", &[], &["abc"], &[("x t", "1")], Refused),
    ("trailer-name-colon", &[], &["abc"], &[("x-t:", "1")], Refused),
    ("trailer-name-empty", &[], &["abc"], &[("", "1")], Refused),
    ("trailer-underscore", &[], &["abc"], &[("content_length", "1")], Either),
    ("trailer-value-lf", &[], &["abc"], &[("x-t", "1\n2")], Refused),
    ("trailer-value-nul", &[], &["abc"], &[("x-t", "1\0")], Refused),
    (
        "trailer-with-a-request",
        &[],
        &["abc"],
        &[("x-t", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n")],
        Refused,
    ),
    (
        "trailer-name-with-a-request",
        &[],
        &["abc"],
        &[("x: 1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost", "h")],
        Refused,
    ),
];
