//! HTTP/2 by the letter of RFC 9113 and RFC 7541: what an edge says to frames that break a rule, row by row, and the whole
//! of h2spec where that program is at hand.
//!
//! h2spec comes as Go source alone, so continuous integration runs the rows; who has it on the path runs both.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::hostile::{GET, frame};
use crate::support::wire::{Wire, echo};
use crate::support::{Mesh, mesh};

const EDGE: &str = "
system: test
services: { api: { run: x } }
gateway: { auth: none, routes: { ANY /**: api } }
";

/// A row: its name (`RFC-section/what`), the frames after preface and settings, and the answer: `connection` and `stream`
/// for an error of the one or the other, a status, or `alive`.
type Row = (&'static str, fn() -> Vec<u8>, &'static str);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// A request without a body.
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A head block: the fields of [`GET`] and more of them, as literals that are not indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = GET.to_vec();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    block
}

fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    }
}

/// A request with these pseudo-fields and fields, in this order.
fn asked(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    frame(HEADERS, flags, 1, &block)
}

const PSEUDO: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

/// A request in which one pseudo-field has another value, or is not there.
fn with(name: &str, value: Option<&str>) -> Vec<u8> {
    let fields: Vec<_> = PSEUDO
        .iter()
        .filter_map(
            |(have, old)| if *have == name { value.map(|value| (*have, value)) } else { Some((*have, *old)) },
        )
        .collect();
    asked(&fields, WHOLE)
}

/// `CONNECT` has neither scheme nor path.
fn connect(authority: &str) -> Vec<u8> {
    asked(&[(":method", "CONNECT"), (":authority", authority)], WHOLE)
}

const ROWS: &[Row] = &[
    ("9113-8.1/a-request", || frame(HEADERS, WHOLE, 1, GET), "200"),
    ("9113-4.1/unknown-type", || [frame(0xfa, 0, 0, b"?"), frame(HEADERS, WHOLE, 1, GET)].concat(), "200"),
    (
        "9113-4.1/unknown-flags",
        || [frame(PING, 0x7e, 0, &[0; 8]), frame(HEADERS, WHOLE, 1, GET)].concat(),
        "200",
    ),
    ("9113-4.2/larger-than-allowed", || frame(DATA, 0, 1, &[0; 17_000]), "connection"),
    ("9113-4.3/broken-compression", || frame(HEADERS, WHOLE, 1, &[0xff; 12]), "connection"),
    (
        "9113-4.3/another-frame-inside-a-block",
        || [frame(HEADERS, END_STREAM, 1, GET), frame(PING, 0, 0, &[0; 8])].concat(),
        "connection",
    ),
    ("9113-5.1/data-on-an-idle-stream", || frame(DATA, 0, 1, b"x"), "connection"),
    ("9113-5.1/reset-of-an-idle-stream", || frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), "connection"),
    ("9113-5.1/window-of-an-idle-stream", || frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), "connection"),
    (
        "9113-5.1/data-after-the-end",
        || [frame(HEADERS, WHOLE, 1, GET), frame(DATA, 0, 1, b"x")].concat(),
        "stream",
    ),
    ("9113-5.1.1/even-number", || frame(HEADERS, WHOLE, 2, GET), "connection"),
    (
        "9113-5.1.1/smaller-number",
        || [frame(HEADERS, WHOLE, 5, GET), frame(HEADERS, WHOLE, 3, GET)].concat(),
        "connection",
    ),
    ("9113-5.3/depends-on-itself", || frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9]), "stream"),
    ("9113-6.1/data-on-no-stream", || frame(DATA, 0, 0, b"x"), "connection"),
    (
        "9113-6.1/padding-longer-than-the-frame",
        || [frame(HEADERS, END_HEADERS, 1, GET), frame(DATA, PADDED, 1, &[9, b'x'])].concat(),
        "connection",
    ),
    ("9113-6.2/head-on-no-stream", || frame(HEADERS, WHOLE, 0, GET), "connection"),
    (
        "9113-6.2/padding-longer-than-the-head",
        || frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82]),
        "connection",
    ),
    ("9113-6.3/priority-on-no-stream", || frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 9]), "connection"),
    ("9113-6.4/reset-on-no-stream", || frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]), "connection"),
    (
        "9113-6.4/reset-of-a-wrong-length",
        || [frame(HEADERS, END_HEADERS, 1, GET), frame(RST_STREAM, 0, 1, &[0, 0, 8])].concat(),
        "connection",
    ),
    ("9113-6.5/settings-on-a-stream", || frame(SETTINGS, 0, 1, &[]), "connection"),
    ("9113-6.5/settings-of-a-wrong-length", || frame(SETTINGS, 0, 0, &[0, 3, 0]), "connection"),
    ("9113-6.5/acknowledgement-with-content", || frame(SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1]), "connection"),
    ("9113-6.5.2/push-neither-0-nor-1", || frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), "connection"),
    ("9113-6.5.2/window-too-large", || frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), "connection"),
    ("9113-6.5.2/frame-too-small", || frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), "connection"),
    ("9113-6.5.2/frame-too-large", || frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), "connection"),
    ("9113-6.5.2/unknown-setting", || frame(SETTINGS, 0, 0, &[0xff, 0, 0, 0, 0, 1]), "alive"),
    ("9113-6.6/push-by-a-client", || frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), "connection"),
    ("9113-6.7/ping-on-a-stream", || frame(PING, 0, 1, &[0; 8]), "connection"),
    ("9113-6.7/ping-of-a-wrong-length", || frame(PING, 0, 0, &[0; 7]), "connection"),
    ("9113-6.8/goodbye-on-a-stream", || frame(GOAWAY, 0, 1, &[0; 8]), "connection"),
    ("9113-6.9/window-of-nothing", || frame(WINDOW_UPDATE, 0, 0, &[0; 4]), "connection"),
    (
        "9113-6.9/window-of-nothing-on-a-stream",
        || [frame(HEADERS, END_HEADERS, 1, GET), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
        "stream",
    ),
    ("9113-6.9/window-of-a-wrong-length", || frame(WINDOW_UPDATE, 0, 0, &[0; 3]), "connection"),
    (
        "9113-6.9.1/window-overflows",
        || frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        "connection",
    ),
    ("9113-6.10/continuation-of-nothing", || frame(CONTINUATION, END_HEADERS, 1, GET), "connection"),
    (
        "9113-6.10/continuation-of-another",
        || [frame(HEADERS, END_STREAM, 1, GET), frame(CONTINUATION, END_HEADERS, 3, GET)].concat(),
        "connection",
    ),
    (
        "9113-8.1.1/length-that-is-not-met",
        || {
            [
                frame(HEADERS, END_HEADERS, 1, &block(&[("content-length", "5")])),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat()
        },
        "stream",
    ),
    (
        "9113-8.1.1/length-of-no-body",
        || frame(HEADERS, WHOLE, 1, &block(&[("content-length", "5")])),
        "stream",
    ),
    (
        "9113-8.1.1/length-no-number",
        || frame(HEADERS, END_HEADERS, 1, &block(&[("content-length", "5x")])),
        "stream",
    ),
    ("9113-8.2.1/name-in-capitals", || frame(HEADERS, WHOLE, 1, &block(&[("X-Large", "1")])), "stream"),
    ("9113-8.2.1/name-with-a-space", || frame(HEADERS, WHOLE, 1, &block(&[("x y", "1")])), "stream"),
    (
        "9113-8.2.1/value-with-a-line-end",
        || frame(HEADERS, WHOLE, 1, &block(&[("x", "1\r\nhost: evil")])),
        "stream",
    ),
    ("9113-8.2.1/value-with-nul", || frame(HEADERS, WHOLE, 1, &block(&[("x", "1\0")])), "stream"),
    ("9113-8.2.2/connection", || frame(HEADERS, WHOLE, 1, &block(&[("connection", "keep-alive")])), "stream"),
    (
        "9113-8.2.2/transfer-encoding",
        || frame(HEADERS, END_HEADERS, 1, &block(&[("transfer-encoding", "chunked")])),
        "stream",
    ),
    ("9113-8.2.2/upgrade", || frame(HEADERS, WHOLE, 1, &block(&[("upgrade", "foo")])), "stream"),
    ("9113-8.2.2/te", || frame(HEADERS, WHOLE, 1, &block(&[("te", "gzip")])), "stream"),
    ("9113-8.2.2/te-trailers", || frame(HEADERS, WHOLE, 1, &block(&[("te", "trailers")])), "200"),
    (
        "9113-8.3/pseudo-after-a-field",
        || {
            asked(
                &[(":method", "GET"), ("x", "1"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
                WHOLE,
            )
        },
        "stream",
    ),
    (
        "9113-8.3/pseudo-unknown",
        || {
            asked(
                &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), (":x", "1")],
                WHOLE,
            )
        },
        "stream",
    ),
    (
        "9113-8.3/pseudo-of-an-answer",
        || {
            asked(
                &[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a"),
                    (":status", "200"),
                ],
                WHOLE,
            )
        },
        "stream",
    ),
    (
        "9113-8.3.1/two-methods",
        || {
            asked(
                &[
                    (":method", "GET"),
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a"),
                ],
                WHOLE,
            )
        },
        "stream",
    ),
    (
        "9113-8.3.1/two-paths",
        || {
            asked(
                &[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":path", "/admin"),
                    (":authority", "a"),
                ],
                WHOLE,
            )
        },
        "stream",
    ),
    ("9113-8.3.1/no-method", || with(":method", None), "stream"),
    ("9113-8.3.1/no-scheme", || with(":scheme", None), "stream"),
    ("9113-8.3.1/no-path", || with(":path", None), "stream"),
    ("9113-8.3.1/path-empty", || with(":path", Some("")), "stream"),
    ("9113-8.3.1/path-without-a-slash", || with(":path", Some("a")), "stream"),
    ("9113-8.3.1/path-with-a-space", || with(":path", Some("/a HTTP/1.1")), "stream"),
    ("9113-8.3.1/path-with-an-encoded-slash", || with(":path", Some("/a%2fb")), "400"),
    ("9113-8.3.1/path-above-the-root", || with(":path", Some("/../a")), "400"),
    ("9113-8.3.1/no-authority", || with(":authority", None), "400"),
    ("9113-8.3.1/authority-with-a-user", || with(":authority", Some("u@a")), "400"),
    (
        "9113-8.3.1/host-alone",
        || asked(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")], WHOLE),
        "200",
    ),
    ("9113-8.3.1/host-that-differs", || frame(HEADERS, WHOLE, 1, &block(&[("host", "evil")])), "400"),
    (
        "9113-8.3.1/two-hosts",
        || {
            asked(
                &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a"), ("host", "b")],
                WHOLE,
            )
        },
        "400",
    ),
    ("9113-8.3.1/asterisk-of-get", || with(":path", Some("*")), "400"),
    ("9113-8.3.1/method-no-token", || with(":method", Some("GE T")), "stream"),
    ("9113-8.5/connect", || connect("a:443"), "501"),
    ("9113-8.5/connect-without-port", || connect("a"), "400"),
    ("9113-8.5/connect-with-path", || with(":method", Some("CONNECT")), "stream"),
    ("7541-2.3.3/index-beyond-the-tables", || frame(HEADERS, WHOLE, 1, &[0xff, 0x80, 0x08]), "connection"),
    (
        "7541-4.2/table-larger-than-allowed",
        || frame(HEADERS, WHOLE, 1, &[&[0x3f, 0xff, 0xff, 0x03], GET].concat()),
        "connection",
    ),
    (
        "7541-5.2/padding-too-long",
        || frame(HEADERS, WHOLE, 1, &[GET, &[0x00, 0x82, 0xff, 0xff, 0x01, b'v']].concat()),
        "connection",
    ),
];

/// What the edge says first: a goodbye, a reset, a status; `alive` where it says none of these before it has answered two
/// pings, the second of them sent after the answer to the first.
async fn answer(mesh: &Mesh, frames: &[u8], expects_status: bool) -> String {
    let mut wire = Wire::to(mesh.edge_address()).await;
    wire.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.write(frame(SETTINGS, 0, 0, &[])).await;
    wire.try_write(frames).await;
    wire.try_write(frame(PING, 0, 0, b"the-next")).await;
    loop {
        let Some(head) = wire.try_bytes(9).await else { return "connection".to_owned() };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = wire.try_bytes(length).await else { return "connection".to_owned() };
        match head[3] {
            GOAWAY => return "connection".to_owned(),
            RST_STREAM => return "stream".to_owned(),
            HEADERS => return status(&payload).to_string(),
            PING if payload == b"the-last" && !expects_status => return "alive".to_owned(),
            PING if payload == b"the-next" => drop(wire.try_write(frame(PING, 0, 0, b"the-last")).await),
            _ => {}
        }
    }
}

/// The status that begins a head block: an index of the static table (RFC 7541, appendix A), or a literal.
fn status(block: &[u8]) -> u16 {
    match block[0] {
        0x88 => 200,
        0x8c => 400,
        _ => literal_status(block),
    }
}

/// A literal status: three digits, as they are or in Huffman's code, where a digit has five or six bits.
fn literal_status(payload: &[u8]) -> u16 {
    let is_huffman = payload[1] & 0x80 != 0;
    let length = usize::from(payload[1] & 0x7f);
    let text = &payload[2..2 + length];
    if !is_huffman {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut take =
            |count: usize| (0..count).fold(0, |code, _| code << 1 | u16::from(bits.next().unwrap()));
        let five = take(5);
        // 0, 1 and 2 are 00000 to 00010; the others 011001 to 011111 (RFC 7541, appendix B).
        number = number * 10 + if five <= 2 { five } else { (five << 1 | take(1)) - 0b01_1001 + 3 };
    }
    number
}

#[tokio::test]
async fn frames_that_break_a_rule_get_the_answer_of_the_rule() {
    let mesh = mesh(EDGE).on("api", echo("api").await).start().await;
    assert!(ROWS.len() >= 70, "{} rows", ROWS.len());
    let mut wrong = Vec::new();
    for (name, frames, expected) in ROWS {
        let expects_status = expected.parse::<u16>().is_ok();
        let got = answer(&mesh, &frames(), expects_status).await;
        // An endpoint may treat what is wrong with a stream as wrong with the connection (RFC 9113, 5.4.1); which code it
        // names is its own choice.
        if got != *expected && !(*expected == "stream" && got == "connection") {
            wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

/// Reads frames until one of stream 1 ends it or resets it: its type.
async fn end_of_stream(wire: &mut Wire) -> u8 {
    loop {
        let head = wire.bytes(9).await;
        wire.bytes(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await;
        let of_stream = head[8] == 1;
        let ends = head[3] == RST_STREAM || matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0;
        if of_stream && ends {
            return head[3];
        }
    }
}

/// Whether stream 1 is reset before a ping is answered.
async fn is_reset(wire: &mut Wire) -> bool {
    wire.write(frame(PING, 0, 0, b"anything")).await;
    loop {
        let head = wire.bytes(9).await;
        wire.bytes(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await;
        match head[3] {
            RST_STREAM => return true,
            PING if head[4] == 1 => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_short_request_is_not_followed_by_a_reset() {
    let mesh = mesh(EDGE).on("api", echo("api").await).start().await;
    // Refused by the codec's first look, and by a stage.
    for (path, field) in [("/%zz", ("x-any", "1")), ("/", ("grpc-timeout", "soon"))] {
        let head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a"), field];
        for parts in [1, 4] {
            let mut wire = Wire::to(mesh.edge_address()).await;
            wire.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            wire.write([frame(SETTINGS, 0, 0, &[]), asked(&head, END_HEADERS)].concat()).await;
            assert_eq!(end_of_stream(&mut wire).await, DATA, "{path}: an answer");
            assert!(!is_reset(&mut wire).await, "{path}: a client that still sends would lose its answer");
            if parts == 1 {
                wire.write(frame(DATA, END_STREAM, 1, b"body")).await;
                assert!(!is_reset(&mut wire).await, "{path}: the request ended by itself");
                continue;
            }
            for _ in 0..parts {
                wire.write(frame(DATA, 0, 1, &[b'x'; 16 * 1024])).await;
            }
            assert_eq!(end_of_stream(&mut wire).await, RST_STREAM, "{path}: nobody listens for ever");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_only_a_head_ends_the_stream_at_once() {
    let mesh = mesh(EDGE).on("api", echo("api").await).start().await;
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let grpc = [("content-type", "application/grpc"), ("grpc-timeout", "soon")];
    let head = [&pseudo[..], &grpc].concat();
    let mut wire = Wire::to(mesh.edge_address()).await;
    wire.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.write([frame(SETTINGS, 0, 0, &[]), asked(&head, END_HEADERS)].concat()).await;
    assert_eq!(end_of_stream(&mut wire).await, HEADERS);
    assert!(is_reset(&mut wire).await, "a client that closes the stream itself may not see that it is over");
}

/// What h2spec finds fault with and is right by us: a port of ours without TLS speaks HTTP/1.1 too, so what is no preface
/// of HTTP/2 is a bad request of HTTP/1.1 and is answered as that.
const BY_US_RIGHT: [&str; 1] = ["Sends invalid connection preface"];

#[tokio::test]
async fn h2spec_finds_nothing() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(h2spec) = std::env::split_paths(&path).map(|one| one.join("h2spec")).find(|one| one.is_file())
    else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: h2spec is not on the path; see CONTRIBUTING.md");
        return;
    };
    let mesh = mesh(EDGE).on("api", echo("api").await).start().await;
    for tls in [false, true] {
        mesh.gateway().set_edge_tls(tls.then(|| certificate(&mesh)));
        mesh.gateway().report().await;
        let mut command = tokio::process::Command::new(&h2spec);
        command.args(["-h", "127.0.0.1", "-o", "5", "-p"]).arg(mesh.edge_address().port().to_string());
        if tls {
            command.args(["-t", "-k"]);
        }
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output =
            tokio::time::timeout(std::time::Duration::from_secs(300), output).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("146 tests"), "{text}");
        let failures = text.split_once("Failures:").map_or("", |(_, failures)| failures);
        let unexplained: Vec<&str> = failures
            .lines()
            .filter(|line| line.contains('×'))
            .filter(|line| tls || !BY_US_RIGHT.iter().any(|known| line.contains(known)))
            .collect();
        assert!(unexplained.is_empty(), "TLS {tls}: {unexplained:#?}\n{failures}");
    }
}

pub(crate) fn certificate(mesh: &Mesh) -> Arc<ServerConfig> {
    let key = weft_trust::key::NodeKey::generate().unwrap();
    let (names, now) = (["localhost".to_owned()], mesh.world.clock.wall());
    let hour = std::time::Duration::from_secs(3600);
    let issued = mesh.world.authority.issue_edge(&key.request().unwrap(), &names, hour, now).unwrap();
    let certificate = weft_trust::edge::EdgeCertificate::from_issued(&key, &issued.chain, now).unwrap();
    let tls = weft_trust::edge::EdgeTls::new(&[certificate], &mesh.world.clock).unwrap();
    Arc::clone(tls.config())
}
