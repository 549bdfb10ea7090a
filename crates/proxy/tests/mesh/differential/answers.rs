//! The other direction: whatever an upstream answers, the clients of Node and Python and a strict reader of ours read the
//! same answer of what Weft passes on, and see it where one broke off.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use super::backends::{have, program};
use super::seen::sum;
use crate::support::wire::{Wire, service};
use crate::support::{mesh, within};

/// An answer: its name, the method of the request, the upstream's bytes, what a client must read: a status, and the body
/// or `cut` where it must see that something is missing.
type Row = (&'static str, &'static str, &'static [u8], &'static str);

const ROWS: &[Row] = &[
    ("length", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200 hello"),
    ("length-zero", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200 "),
    ("length-and-more", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello", "200 he"),
    ("length-too-long", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "200 cut"),
    ("length-no-number", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello", "502 W3007"),
    ("length-negative", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello", "502 W3007"),
    ("length-with-sign", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello", "502 W3007"),
    ("length-list", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", "502 W3007"),
    ("lengths-differing", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", "502 W3007"),
    ("length-and-chunks", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "502 W3007"),
    ("chunks", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200 hello"),
    ("chunks-with-extensions", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n", "200 hello"),
    ("chunks-with-trailers", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n", "200 hello"),
    ("chunks-with-framing-trailers", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 9\r\n\r\n", "200 hello"),
    ("chunks-then-more", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil", "200 hello"),
    ("chunks-that-break-off", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "200 cut"),
    ("chunks-that-break-off-inside", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\nhello", "200 cut"),
    ("chunks-without-an-end", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "200 cut"),
    ("chunk-too-short", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "200 cut"),
    ("chunk-size-nonsense", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n0\r\n\r\n", "200 cut"),
    ("chunk-size-bare-lf", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\n!\r\n0\r\n\r\n", "200 cut"),
    ("coding-unknown", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "502 W3007"),
    ("coding-twice", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "502 W3007"),
    ("until-close", "GET", b"HTTP/1.1 200 OK\r\n\r\nto the end", "200 to the end"),
    ("until-close-empty", "GET", b"HTTP/1.1 200 OK\r\n\r\n", "200 "),
    ("http10", "GET", b"HTTP/1.0 200 OK\r\n\r\nold", "200 old"),
    ("http10-length", "GET", b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nold", "200 old"),
    ("http10-chunks", "GET", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n", "502 W3007"),
    ("head-with-length", "HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "200 "),
    ("head-with-body", "HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200 "),
    ("head-with-chunks", "HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200 "),
    ("head-without-length", "HEAD", b"HTTP/1.1 200 OK\r\n\r\n", "200 "),
    ("no-content", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", "204 "),
    ("no-content-with-body", "GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", "502 W3007"),
    ("no-content-with-chunks", "GET", b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "502 W3007"),
    ("not-modified-with-length", "GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "304 "),
    ("not-modified-with-body", "GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello", "304 "),
    ("reset-content", "GET", b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", "205 "),
    ("continue-unasked", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200 hello"),
    ("continue-with-length", "GET", b"HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "502 W3007"),
    ("continue-alone", "GET", b"HTTP/1.1 100 Continue\r\n\r\n", "502 W3005"),
    ("switch-unasked", "GET", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nevil", "502 W3007"),
    ("not-found", "GET", b"HTTP/1.1 404 whatever this says\r\ncontent-length: 4\r\n\r\nnone", "404 none"),
    ("status-odd", "GET", b"HTTP/1.1 299 X\r\ncontent-length: 1\r\n\r\nx", "299 x"),
    ("status-of-two-digits", "GET", b"HTTP/1.1 20 OK\r\n\r\n", "502 W3007"),
    ("status-of-four-digits", "GET", b"HTTP/1.1 2000 OK\r\n\r\n", "502 W3007"),
    ("status-beyond", "GET", b"HTTP/1.1 700 X\r\ncontent-length: 0\r\n\r\n", "502 W3007"),
    ("bare-lf", "GET", b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", "502 W3007"),
    ("folded", "GET", b"HTTP/1.1 200 OK\r\nx: a\r\n content-length: 3\r\n\r\nhello", "502 W3007"),
    ("space-before-colon", "GET", b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello", "502 W3007"),
    ("nul-in-value", "GET", b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello", "502 W3007"),
    ("split-by-a-return", "GET", b"HTTP/1.1 200 OK\r\nx: a\rcontent-length: 3\r\ncontent-length: 5\r\n\r\nhello", "502 W3007"),
    ("fields-of-the-connection", "GET", b"HTTP/1.1 200 OK\r\nconnection: x-a\r\nx-a: 1\r\nkeep-alive: timeout=1\r\ncontent-length: 5\r\n\r\nhello", "200 hello"),
    ("close", "GET", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", "200 hello"),
    ("garbage", "GET", b"\x00\x01\x02\x03\r\n\r\n", "502 W3007"),
    ("another-protocol", "GET", b"SSH-2.0-x\r\n", "502 W3007"),
    ("nothing", "GET", b"", "502 W3005"),
    ("half-a-head", "GET", b"HTTP/1.1 200 OK\r\ncontent-le", "502 W3005"),
];

/// What a client read.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    bytes: usize,
    sum: u32,
    whole: bool,
}

#[tokio::test]
async fn clients_read_what_is_passed_on_as_one() {
    if !have(&["node", "python3"]) {
        return;
    }
    let port = service(|mut wire| async move {
        let Some(request) = wire.request().await else { return };
        let number: usize = request.path()[1..].parse().unwrap();
        wire.try_write(ROWS[number].2).await;
        wire.finish().await;
    })
    .await;
    let url = format!("url: \"http://127.0.0.1:{port}\"");
    for (way, api) in [("edge", url.as_str()), ("edge and sidecar", "run: x")] {
        let manifest = format!(
            "system: test\nservices:\n  web: {{ run: x }}\n  api: {{ {api} }}\n\
             resilience: {{ api: {{ retry: none, breaker: {{ failures: 1000, success: 1% }} }} }}\n\
             gateway: {{ auth: none, routes: {{ ANY /**: api }} }}\n"
        );
        let recipe = mesh(&manifest).on(if api == "run: x" { "api" } else { "web" }, port);
        let mesh = recipe.start().await;
        let mut ours = Vec::new();
        let mut wrong = Vec::new();
        for (number, row) in ROWS.iter().enumerate() {
            let (read, text) = strictly(mesh.edge_address(), row.1, number).await;
            if !is(&read, &text, row.3) {
                wrong.push(format!("{} ({way}): not {:?} but {read:?} {text:?}", row.0, row.3));
            }
            ours.push(read);
        }
        for (program, script) in [("node", "client.js"), ("python3", "client.py")] {
            let theirs = others(program, script, mesh.edge_address()).await;
            assert_eq!(theirs.len(), ROWS.len(), "{program} gave up");
            for ((row, ours), theirs) in ROWS.iter().zip(&ours).zip(&theirs) {
                // How much of a broken answer came before the break is a matter of time, and an answer of ours names its
                // request.
                let same = ours == theirs || (ours.is_broken() && theirs.is_broken());
                if !same {
                    wrong.push(format!("{} ({way}): {program} read {theirs:?}, and we {ours:?}", row.0));
                }
            }
        }
        assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    }
}

impl Read {
    /// Whether the client knows that it did not get what the upstream meant to say: something is missing, or, where the
    /// break was known before anything was passed on, there is a fault in its place.
    fn is_broken(&self) -> bool {
        !self.whole || self.status == 502
    }
}

fn is(read: &Read, text: &str, expected: &str) -> bool {
    let (status, body) = expected.split_once(' ').unwrap();
    match body {
        "cut" => read.is_broken(),
        code if status == "502" => read.status == 502 && read.whole && text.contains(code),
        body => read.status.to_string() == status && read.whole && text == body,
    }
}

/// Reads an answer by the letter of RFC 9112, 6.3.
async fn strictly(edge: SocketAddr, method: &str, number: usize) -> (Read, String) {
    let mut wire = Wire::to(edge).await;
    wire.write(format!("{method} /{number} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    let mut head = wire.head().await.unwrap();
    while head.status() < 200 {
        head = wire.head().await.unwrap();
    }
    let (length, coding) = (head.field("content-length"), head.field("transfer-encoding"));
    assert!(length.is_none() || coding.is_none(), "{head:?}");
    let body = if method == "HEAD" || matches!(head.status(), 204 | 304) {
        Some(Vec::new())
    } else if coding.is_some() {
        wire.try_chunks().await
    } else if let Some(length) = length {
        wire.try_bytes(length.parse().unwrap()).await
    } else {
        Some(wire.rest().await)
    };
    let whole = body.is_some();
    // Nothing follows an answer.
    let body = body.unwrap_or_default();
    assert!(!whole || wire.rest().await.is_empty(), "more than an answer to {number}");
    let read = Read { status: head.status(), bytes: body.len(), sum: sum(&body), whole };
    (read, String::from_utf8_lossy(&body).into_owned())
}

async fn others(name: &str, script: &str, edge: SocketAddr) -> Vec<Read> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/differential").join(script);
    let methods: Vec<&str> = ROWS.iter().map(|row| row.1).collect();
    let mut client = tokio::process::Command::new(program(name).unwrap());
    client.arg(script).arg(edge.port().to_string()).arg(methods.join(",")).kill_on_drop(true);
    let output = within(name, client.stdin(Stdio::null()).output()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let reads: Vec<Read> = text
        .lines()
        .map(|line| {
            let said: Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| said[name].as_u64().unwrap();
            Read {
                status: u16::try_from(number("status")).unwrap(),
                bytes: usize::try_from(number("bytes")).unwrap(),
                sum: u32::try_from(number("sum")).unwrap(),
                whole: said["whole"].as_bool().unwrap(),
            }
        })
        .collect();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    reads
}
