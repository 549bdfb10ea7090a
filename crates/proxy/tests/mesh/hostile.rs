//! Peers that are slow, greedy or broken: each has a stated answer, and whoever is beside them is served.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use weft_model::code::Code;
use weft_proxy::Limits;

use crate::support::http2::{self, Client, grpc};
use crate::support::wire::{Wire, answering, echo, get, ok, service};
use crate::support::{Mesh, Recipe, counted, mesh, within};

const EDGE: &str = "
system: test
services: { api: { run: x }, rpc: { run: x, protocol: grpc } }
resilience: { api: { retry: none }, rpc: { retry: none } }
gateway:
  auth: none
  routes: { POST /shop.Rpc/**: rpc, ANY /**: api }
";

/// Soon enough for a test to see them pass, and long enough for what is not meant to meet them.
const SOON: Duration = Duration::from_millis(300);

async fn with(limits: Limits, port: u16) -> Mesh {
    mesh(EDGE).on("api", port).limits(limits).start().await
}

async fn in_front_of(port: u16) -> Mesh {
    with(Limits::default(), port).await
}

// --- clients ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_head_that_does_not_come_to_an_end_is_answered_and_closed() {
    let mesh = with(Limits { head_timeout: SOON, ..Limits::default() }, echo("api").await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    let late = client.answer().await;
    assert_eq!(
        (late.status(), late.code().as_str(), late.field("connection")),
        (408, "W2023", Some("close"))
    );
    client.closed().await;
    // The same on a connection that was good before.
    let mut client = Wire::to(mesh.edge_address()).await;
    assert_eq!(client.get("/").await.status(), 200);
    client.write("GE").await;
    assert_eq!(client.answer().await.code(), "W2023");
    client.closed().await;
}

/// What the parser of heads refuses ends the connection, as the table of codes says of each.
#[tokio::test]
async fn a_head_that_is_refused_ends_the_connection() {
    let mesh = in_front_of(echo("api").await).await;
    for (head, status, code) in [
        ("GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n", 400, Code::BadPath),
        ("GET /.. HTTP/1.1\r\nhost: a\r\n\r\n", 400, Code::BadPath),
        ("GET / HTTP/1.1\r\n\r\n", 400, Code::BadHost),
        ("GET / HTTP/1.1\r\nhost: a\r\na_b: c\r\n\r\n", 400, Code::BadFieldName),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", 417, Code::ExpectationFailed),
        ("GET / HTTP/2.5\r\nhost: a\r\n\r\n", 505, Code::VersionNotSupported),
    ] {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(head).await;
        let refused = client.answer().await;
        assert_eq!((refused.status(), refused.code().as_str()), (status, code.as_str()), "{head}");
        assert_eq!((refused.field("connection"), code.closes()), (Some("close"), true), "{head}");
        client.closed().await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let limits = Limits { handshake_timeout: SOON, idle_timeout: SOON, ..Limits::default() };
    let mesh = with(limits, echo("api").await).await;
    for address in [mesh.edge_address(), mesh.beside("api").inbound, mesh.beside("api").proxy] {
        Wire::to(address).await.closed().await;
    }
    let mut client = Wire::to(mesh.edge_address()).await;
    assert_eq!(client.get("/").await.status(), 200);
    client.closed().await;
    let client = Client::to(mesh.edge_address()).await;
    within("a goodbye", client.over).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_stops_coming_is_the_clients_fault() {
    let manifest = EDGE.replace("  auth: none", "  auth: none\n  timeout: 300ms");
    for chunked in [false, true] {
        let mesh = mesh(&manifest).on("api", echo("api").await).start().await;
        let mut client = Wire::to(mesh.edge_address()).await;
        let framing =
            if chunked { "transfer-encoding: chunked\r\n\r\n3\r\n" } else { "content-length: 10\r\n\r\n" };
        client.write(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}abc")).await;
        let late = client.answer().await;
        assert_eq!((late.status(), late.code().as_str()), (408, "W2024"), "{}", late.text());
        client.closed().await;
        let report = mesh.gateway().report().await;
        assert_eq!(counted(&report, "weft_breaker_state", &[]), 0.0);
    }
}

#[tokio::test]
async fn heads_that_are_too_large_name_the_limit() {
    let mesh = in_front_of(echo("api").await).await;
    for (field, says) in [
        (format!("x-large: {}\r\n", "x".repeat(40_000)), "32 KiB"),
        ((0..150).map(|number| format!("x-{number}: 1\r\n")).collect(), "100 fields"),
    ] {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.try_write(format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n")).await;
        let refused = client.answer().await;
        assert_eq!((refused.status(), refused.code().as_str()), (431, "W2007"));
        assert!(refused.text().contains(says), "{}", refused.text());
        client.closed().await;
    }
    let mut client = Wire::to(mesh.edge_address()).await;
    let long = client.get(&format!("/{}", "x".repeat(9_000))).await;
    assert_eq!((long.status(), long.code().as_str()), (414, "W2008"));
    // Over HTTP/2 it is the stream that is refused.
    let mut client = Client::to(mesh.edge_address()).await;
    let large = http2::request("GET", "/", &[("x-large", &"x".repeat(40_000))]);
    let refused = client.ask(large, b"").await;
    assert_eq!(refused.status, 431);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_at_once() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let refused = client.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000000000\r\n\r\nabc").await;
    assert_eq!((refused.status(), refused.code().as_str()), (413, "W2010"));
    client.closed().await;
}

#[tokio::test]
async fn one_source_cannot_take_every_place() {
    let limits = Limits { connections_per_source_max: 3, ..Limits::default() };
    let mesh = with(limits.clone(), echo("api").await).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Wire::to(mesh.edge_address()).await;
        assert_eq!(client.get("/").await.status(), 200);
        held.push(client);
    }
    let refused = Wire::to(mesh.edge_address()).await.answer().await;
    assert_eq!((refused.status(), refused.code().as_str()), (503, "W2028"));
    // Others come from elsewhere, and whoever leaves makes room.
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut elsewhere = Wire::new(elsewhere.connect(mesh.edge_address()).await.unwrap());
    assert_eq!(elsewhere.get("/").await.status(), 200);
    held.pop().unwrap().finish().await;
    within("a place to come free", async {
        while mesh.gateway().open() > 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(get(mesh.edge_address(), "/").await.status(), 200);
    // A trusted proxy speaks for many.
    let trusting = EDGE.replace("  auth: none", "  auth: none\n  trusted_proxies: [127.0.0.0/8]");
    let mesh = crate::support::mesh(&trusting).on("api", echo("api").await).limits(limits).start().await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut client = Wire::to(mesh.edge_address()).await;
        assert_eq!(client.get("/").await.status(), 200);
        held.push(client);
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while let Some(request) = wire.request().await {
                if request.path() == "/busy" {
                    tell.send(()).await.unwrap();
                    wire.closed().await;
                    return;
                }
                wire.write(ok(&[], b"ok")).await;
            }
        }
    })
    .await;
    let limits = Limits { connections_max: 3, ..Limits::default() };
    let mesh = with(limits, port).await;
    let mut busy = Wire::to(mesh.edge_address()).await;
    busy.write("GET /busy HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", told.recv()).await.unwrap();
    let (mut old, mut young) = (Wire::to(mesh.edge_address()).await, Wire::to(mesh.edge_address()).await);
    assert_eq!(old.get("/").await.status(), 200);
    assert_eq!(young.get("/").await.status(), 200);
    let mut new = Wire::to(mesh.edge_address()).await;
    assert_eq!(new.get("/").await.status(), 200);
    // The one that had been idle for longest had to go.
    old.closed().await;
    assert_eq!(young.get("/").await.status(), 200);
    // Where all are busy, there is no room.
    let mut others = [young, new];
    for other in &mut others {
        other.write("GET /busy HTTP/1.1\r\nhost: a\r\n\r\n").await;
        within("the request", told.recv()).await.unwrap();
    }
    let refused = Wire::to(mesh.edge_address()).await.answer().await;
    assert_eq!((refused.status(), refused.code().as_str()), (503, "W2028"));
}

#[tokio::test]
async fn who_takes_nothing_of_its_answer_is_given_up() {
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            if wire.request().await.is_some() {
                wire.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
                while wire.try_write(vec![1; 100_000]).await {}
                tell.send(()).await.unwrap();
            }
        }
    })
    .await;
    let mesh = with(Limits { stream_idle: SOON, ..Limits::default() }, port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the service to be let go", told.recv()).await.unwrap();
    drop(client);
    // One that takes nothing of what is answered here, and asks on and on.
    let mut client = Wire::to(mesh.edge_address()).await;
    let asked = "GET /../ HTTP/1.1\r\nhost: a\r\n\r\n";
    let asks = "PUT /%00 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    client.write(asked).await;
    while client.try_write(&asks).await {}
    within("the edge to be rid of them", async {
        while mesh.gateway().open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// --- upstreams --------------------------------------------------------------------------------------------------------

/// What a service answers, byte for byte, before it closes.
async fn saying(bytes: &'static [u8]) -> u16 {
    service(move |mut wire| async move {
        if wire.request().await.is_some() {
            wire.try_write(bytes).await;
            wire.finish().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_a_fault_with_a_code() {
    let endless = [b"HTTP/1.1 200 OK\r\nx-large: ".as_slice(), &[b'x'; 200_000]].concat().leak();
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500).leak();
    for (answer, code) in [
        (b"".as_slice(), "W3005"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "W3005"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "W3007"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "W3007"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "W3007"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "W3007"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "W3007"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "W3007"),
        (b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", "W3007"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "W3007"),
        (endless, "W3008"),
        (many.as_bytes(), "W3007"),
    ] {
        let mesh = in_front_of(saying(answer).await).await;
        let mut client = Wire::to(mesh.edge_address()).await;
        let fault = client.get("/").await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        assert_eq!((fault.status(), fault.code().as_str()), (502, code), "{shown}");
        // The fault is not the client's: its connection lives on.
        assert_eq!(client.get("/").await.status(), 502, "{shown}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello";
    for (begin, end) in [
        (length, ""),
        (chunked, ""),
        (chunked, "\r\n"),
        (chunked, "\r\nnonsense\r\n"),
        (chunked, "TOOLONG\r\n0\r\n\r\n"),
        (chunked, "\r\n0\r\nbad trailer: 1\r\n\r\n"),
    ] {
        let seen = Arc::new(Notify::new());
        let told = Arc::clone(&seen);
        let port = service(move |mut wire| {
            let told = Arc::clone(&told);
            async move {
                if wire.request().await.is_some() {
                    wire.write(begin).await;
                    within("the client to see it", told.notified()).await;
                    wire.try_write(end).await;
                }
            }
        })
        .await;
        let mesh = in_front_of(port).await;
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status(), 200);
        client.until(b"hello").await.unwrap();
        seen.notify_one();
        let rest = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{end:?}: it looks whole");
        let mut client = Client::to(mesh.edge_address()).await;
        let (response, _) = client.start(http2::request("GET", "/", &[]), true).await;
        let mut body = within("a head", response).await.unwrap().into_body();
        assert_eq!(&http2::piece(&mut body).await.unwrap().unwrap()[..], b"hello");
        seen.notify_one();
        assert!(http2::read(body).await.is_err(), "{end:?}: the stream is reset, not ended");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys_answer() {
    let port = service(|mut wire| async move {
        while wire.request().await.is_some() {
            let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
            wire.try_write(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{poison}")).await;
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    for _ in 0..5 {
        assert_eq!(get(mesh.edge_address(), "/").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_costs_its_caller_its_own_time_only() {
    let manifest = EDGE.replace("api: { retry: none }", "api: { retry: none, timeout: 300ms }");
    let port = service(|mut wire| async move {
        while let Some(request) = wire.request().await {
            match request.path() {
                "/silent" => wire.closed().await,
                "/half" => {
                    wire.write("HTTP/1.1 200 OK\r\nx-half: ").await;
                    wire.closed().await;
                }
                _ => wire.write(ok(&[], b"ok")).await,
            }
        }
    })
    .await;
    let mesh = mesh(&manifest).on("api", port).start().await;
    for path in ["/silent", "/half"] {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(get(mesh.edge_address(), "/well").await.status(), 200);
        let late = client.answer().await;
        assert_eq!((late.status(), late.code().as_str()), (504, "W3009"), "{path}");
        assert_eq!(client.get("/well").await.status(), 200);
    }
}

#[tokio::test]
async fn a_service_of_grpc_that_speaks_something_else_is_unavailable() {
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ] {
        let rpc = service(move |mut wire| async move {
            wire.bytes(24).await;
            wire.try_write(bytes).await;
            wire.finish().await;
            wire.rest().await;
        })
        .await;
        let mesh = mesh(EDGE).on("rpc", rpc).on("api", echo("api").await).start().await;
        let mut client = Client::to(mesh.edge_address()).await;
        let (status, text) = client.ask(grpc("/shop.Rpc/Get", &[]), b"x").await.grpc();
        assert!([13, 14].contains(&status), "{status} {text}");
        assert!(text.starts_with("W30"), "{text}");
        assert_eq!(client.get("/").await.status, 200);
    }
}

// --- floods of HTTP/2 -------------------------------------------------------------------------------------------------

/// HTTP/2 as bytes.
struct Raw(Wire);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// `GET http://a/` in HPACK.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

impl Raw {
    async fn to(address: std::net::SocketAddr) -> Self {
        let mut wire = Wire::to(address).await;
        wire.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.write(frame(SETTINGS, 0, 0, &[])).await;
        wire.write(frame(SETTINGS, 1, 0, &[])).await;
        Raw(wire)
    }

    /// Reads to the end; the reason of the last GOAWAY, if there was one.
    async fn goodbye(&mut self) -> Option<u32> {
        let bytes = self.0.rest().await;
        let (mut rest, mut reason) = (bytes.as_slice(), None);
        while rest.len() >= 9 {
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if rest.len() < 9 + length {
                break;
            }
            if rest[3] == GOAWAY {
                reason = Some(u32::from_be_bytes(rest[13..17].try_into().unwrap()));
            }
            rest = &rest[9 + length..];
        }
        reason
    }
}

/// `ENHANCE_YOUR_CALM` (RFC 9113, 7).
const CALM: u32 = 11;

/// Sends the same again and again until the other side has had enough; how often, and what it said.
async fn flood(mesh: &Mesh, begin: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> (usize, Option<u32>) {
    let mut raw = Raw::to(mesh.edge_address()).await;
    raw.0.write(begin).await;
    let mut sent = 0;
    for number in 0..1_000_000 {
        if number % 500 == 0 {
            // The neighbour notices nothing.
            assert_eq!(get(mesh.edge_address(), "/neighbour").await.status(), 200);
        }
        if !raw.0.try_write(next(number)).await {
            break;
        }
        sent += 1;
    }
    (sent, raw.goodbye().await)
}

async fn flooded() -> (Mesh, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel(100_000);
    let port = answering(move |request| {
        if request.path() == "/" {
            tell.try_send(()).unwrap();
        }
        ok(&[], b"ok")
    })
    .await;
    let limits = Limits { linger: SOON, ..Limits::default() };
    let recipe: Recipe = mesh(EDGE).on("api", port).limits(limits);
    (recipe.start().await, told)
}

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    let (mesh, mut told) = flooded().await;
    let (sent, _) = flood(&mesh, b"", |number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, 5, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
    assert!(sent < 200_000, "{sent}");
    let report = mesh.gateway().report().await;
    assert!(counted(&report, "weft_refusals", &[("code", "http2_abuse")]) >= 1.0);
    told.close();
    let mut asked = 0;
    while told.recv().await.is_some() {
        asked += 1;
    }
    assert!(asked <= 1_500, "{asked} requests reached the service");
}

#[tokio::test]
async fn frames_that_cost_their_sender_nothing_end_the_connection() {
    let (mesh, _told) = flooded().await;
    let open = frame(HEADERS, 4, 1, GET);
    type Next = fn(u32) -> Vec<u8>;
    let floods: [(&str, &[u8], Next); 5] = [
        ("settings", b"", |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("pings", b"", |_| frame(PING, 0, 0, &[0; 8])),
        ("empty data", &open, |_| frame(0, 0, 1, &[])),
        ("priorities", b"", |_| frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("frames of no known type", b"", |_| frame(250, 0, 0, &[])),
    ];
    for (count, (what, begin, next)) in floods.into_iter().enumerate() {
        let (sent, reason) = flood(&mesh, begin, |number| {
            let _ = number;
            next(number).repeat(10)
        })
        .await;
        assert!(sent < 100_000, "{what}: {sent}");
        // A reset may overtake the goodbye: we never stopped writing.
        assert!(reason.is_none_or(|reason| reason == CALM), "{what}: {reason:?}");
        let report = mesh.gateway().report().await;
        let ended = counted(&report, "weft_refusals", &[("code", "http2_abuse")]);
        assert!(ended >= (count + 1) as f64, "{what}: {ended}");
    }
}

#[tokio::test]
async fn a_flood_that_stops_reads_why_it_was_ended() {
    let (mesh, _told) = flooded().await;
    let mut raw = Raw::to(mesh.edge_address()).await;
    raw.0.write(frame(PING, 0, 0, &[0; 8]).repeat(1_500)).await;
    assert_eq!(raw.goodbye().await, Some(CALM));
}

#[tokio::test]
async fn a_head_block_without_an_end_is_cut() {
    let (mesh, _told) = flooded().await;
    let begin = frame(HEADERS, 0, 1, GET);
    // A literal field of a kilobyte each, never indexed.
    let field = [&[0x10, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'v'; 1024]].concat();
    let (sent, _) = flood(&mesh, &begin, |_| frame(CONTINUATION, 0, 1, &field)).await;
    assert!(sent < 50_000, "{sent}");
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    let (mesh, _told) = flooded().await;
    let mut raw = Raw::to(mesh.edge_address()).await;
    // A field of 3 KiB goes into the dynamic table once, and is named a thousand times by a byte each.
    let large = [&[0x40, 1, b'x', 0x7f, 0x81, 0x17][..], &[b'v'; 3072]].concat();
    let block = [GET, &large, &[0xbe; 1000]].concat();
    raw.0.write(frame(HEADERS, 5, 1, &block)).await;
    raw.0.write(frame(HEADERS, 5, 3, GET)).await;
    // The stream is refused or the connection ended; no such request goes on.
    assert_eq!(get(mesh.edge_address(), "/neighbour").await.status(), 200);
    raw.0.finish().await;
    raw.0.rest().await;
}

#[tokio::test]
async fn nonsense_in_place_of_frames_ends_the_connection_and_no_other() {
    let (mesh, _told) = flooded().await;
    for bytes in [
        // A frame larger than allowed, data on no stream, a window that overflows, a stream of an even number.
        frame(0, 0, 1, &[0; 20_000]),
        frame(0, 0, 7, b"x"),
        frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        frame(HEADERS, 5, 2, GET),
        frame(HEADERS, 5, 1, &[0xff; 10]),
        frame(SETTINGS, 0, 0, &[1]),
    ] {
        let mut raw = Raw::to(mesh.edge_address()).await;
        raw.0.try_write(&bytes).await;
        let reason = raw.goodbye().await;
        assert_ne!(reason, Some(0), "{:?}", &bytes[..9]);
        assert_eq!(get(mesh.edge_address(), "/neighbour").await.status(), 200);
    }
}
