//! Peers that are slow, greedy or broken: each has a stated answer, and whoever is beside them is served.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsConnector;
use weft_model::code::Code;
use weft_proxy::{Engine, Limits};
use weft_trust::mesh::mesh_server_name;

use crate::support::http2::{self, Client, grpc};
use crate::support::wire::{Io, Wire, answering, connect, echo, get, ok, service};
use crate::support::{Mesh, counted, mesh, within};

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
async fn a_body_that_grows_too_large_is_refused_when_it_does() {
    let mesh = with(Limits { body_bytes_max: 10, ..Limits::default() }, reading().await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let most = client.ask(format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n")).await;
    assert_eq!(most.status(), 200, "{}", most.text());
    let refused = client.ask(format!("{chunked}a\r\n0123456789\r\n1\r\n0\r\n")).await;
    assert_eq!((refused.status(), refused.code().as_str()), (413, "W2010"), "{}", refused.text());
    client.closed().await;
    let mut client = Client::to(mesh.edge_address()).await;
    let refused = client.ask(http2::request("POST", "/", &[]), b"01234567890").await;
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert_eq!(client.ask(http2::request("POST", "/", &[]), b"0123456789").await.status, 200);
}

/// A service that answers a body that is whole, and leaves one that is not.
async fn reading() -> u16 {
    service(|mut wire| async move {
        while let Some(head) = wire.head().await {
            let length = head.field("content-length").map_or(Ok(0), str::parse);
            let whole = match head.field("transfer-encoding") {
                Some(_) => wire.try_chunks().await,
                None => wire.try_bytes(length.unwrap()).await,
            };
            if whole.is_none() || !wire.try_write(ok(&[], b"read")).await {
                return;
            }
        }
    })
    .await
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
    assert!(refused.field("retry-after").is_some());
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
    assert!(refused.field("retry-after").is_some());
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
        mesh.ended_with("upstream_truncated", 2.0).await;
    }
}

#[tokio::test]
async fn an_upstream_that_resets_a_stream_is_a_fault_with_a_code() {
    let port =
        http2::service(|mut call| async move { call.respond.send_reset(h2::Reason::INTERNAL_ERROR) }).await;
    let manifest = EDGE.replace("api: { run: x }", "api: { run: x, protocol: grpc }");
    let mesh = mesh(&manifest).on("api", port).start().await;
    let mut client = Client::to(mesh.edge_address()).await;
    for _ in 0..2 {
        let fault = client.get("/").await;
        assert_eq!(fault.status, 502, "{}", fault.text());
        assert!(fault.text().contains("W3004"), "{}", fault.text());
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
    let manifest = EDGE.replace("api: { retry: none }", "api: { retry: none, timeout: 1s }");
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

const FLOODED: &str = "
system: test
services: { web: { run: x, calls: [api] }, api: { run: x } }
resilience: { api: { retry: none } }
gateway: { auth: none, routes: { ANY /**: api } }
";

/// Where HTTP/2 comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    /// From anybody.
    Edge,
    /// From the local service, in plain text.
    Outbound,
    /// From another process of the mesh, by mutual TLS.
    Inbound,
}

const DOORS: [Door; 3] = [Door::Edge, Door::Outbound, Door::Inbound];

impl Door {
    /// Frames that cost their sender nothing, at once.
    fn burst(self) -> u32 {
        if self == Door::Edge { 1_000 } else { 10_000 }
    }

    /// Bytes of a head.
    fn head_bytes_max(self) -> usize {
        if self == Door::Edge { 32 * 1024 } else { 64 * 1024 }
    }

    fn engine(self, mesh: &Mesh) -> &Engine {
        match self {
            Door::Edge => mesh.gateway(),
            Door::Outbound => &mesh.beside("web").engine,
            Door::Inbound => &mesh.beside("api").engine,
        }
    }

    async fn open(self, mesh: &Mesh) -> Raw {
        self.open_with(mesh, &[]).await
    }

    /// With these settings of ours.
    async fn open_with(self, mesh: &Mesh, settings: &[u8]) -> Raw {
        match self {
            Door::Edge => Raw::over(connect(mesh.edge_address()).await, settings).await,
            Door::Outbound => Raw::over(connect(mesh.toward("web", "api")).await, settings).await,
            Door::Inbound => {
                let config = mesh.world.tls("web").client_for(&mesh.world.id("api"), &[b"h2"]);
                let tcp = connect(mesh.beside("api").inbound).await;
                let tls = TlsConnector::from(config).connect(mesh_server_name(), tcp);
                Raw::over(within("a handshake", tls).await.unwrap(), settings).await
            }
        }
    }

    /// Somebody else who comes in here is served; at the mesh's own port that is the edge.
    async fn serves_a_neighbour(self, mesh: &Mesh) {
        let address = if self == Door::Outbound { mesh.toward("web", "api") } else { mesh.edge_address() };
        let answer = get(address, "/neighbour").await;
        assert_eq!(answer.status(), 200, "{self:?}: {}", answer.text());
    }

    /// Connections that were ended because of what they sent.
    async fn refusals(self, mesh: &Mesh) -> f64 {
        counted(&self.engine(mesh).report().await, "weft_refusals", &[("code", "http2_abuse")])
    }
}

/// HTTP/2 as frames. What comes is read at any time, so a peer that says goodbye never waits for us.
struct Raw {
    out: WriteHalf<Box<dyn Io>>,
    came: mpsc::Receiver<Frame>,
}

/// Frames that wait to be looked at: more than any flood is answered with.
const FRAMES_MAX: usize = 1_000_000;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// A request without a body.
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// `GET http://a/` in HPACK.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

async fn read_frame(io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    io.read_exact(&mut payload).await?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}

impl Raw {
    async fn over(io: impl Io + 'static, settings: &[u8]) -> Self {
        let (read, out) = tokio::io::split(Box::new(io) as Box<dyn Io>);
        let (tell, came) = mpsc::channel(FRAMES_MAX);
        tokio::spawn(async move {
            let mut read = BufReader::new(read);
            while let Ok(frame) = read_frame(&mut read).await {
                if tell.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let mut raw = Raw { out, came };
        raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.write([frame(SETTINGS, 0, 0, settings), frame(SETTINGS, ACK, 0, &[])].concat()).await;
        raw
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_write(bytes).await, "the peer closed while we wrote");
    }

    /// Whether the peer still took it.
    async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = async {
            self.out.write_all(bytes.as_ref()).await?;
            self.out.flush().await
        };
        within("write", sent).await.is_ok()
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        within("a frame", self.came.recv()).await
    }

    /// The head that this stream is answered with.
    async fn head_of(&mut self, stream: u32) -> Vec<u8> {
        loop {
            let frame = self.next().await.unwrap();
            if frame.stream == stream {
                assert_eq!(frame.kind, HEADERS);
                return frame.payload;
            }
        }
    }

    /// Waits until what was sent was read; false where the peer says goodbye instead.
    async fn is_heard(&mut self) -> bool {
        if !self.try_write(frame(PING, 0, 0, b"is-heard")).await {
            return false;
        }
        while let Some(frame) = self.next().await {
            if frame.kind == PING && frame.flags == ACK && frame.payload == b"is-heard" {
                return true;
            }
            if frame.kind == GOAWAY {
                assert_eq!(frame.payload[4..8], CALM.to_be_bytes());
                return false;
            }
        }
        false
    }

    /// Reads to the end; the reason of the last GOAWAY, if there was one.
    async fn goodbye(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }
}

/// `ENHANCE_YOUR_CALM` (RFC 9113, 7).
const CALM: u32 = 11;

/// How much more than is allowed at once a flood sends, which is more than comes to be allowed while it lasts.
const FLOODS: u32 = 20;

/// Sends the same again and again until the other side has had enough; the reason that it gives.
async fn flood(door: Door, mesh: &Mesh, begin: &[u8], next: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut raw = door.open(mesh).await;
    raw.write(begin).await;
    for first in (0..FLOODS * door.burst()).step_by(100) {
        if first % 2_000 == 0 {
            // The neighbour notices nothing.
            door.serves_a_neighbour(mesh).await;
        }
        let frames: Vec<u8> = (first..first + 100).flat_map(&next).collect();
        if !raw.try_write(frames).await {
            break;
        }
    }
    raw.goodbye().await
}

/// How large the body at `/large` is.
const LARGE_BYTES: usize = 5_000_000;

/// Tells of every request for `/`.
async fn flooded() -> (Mesh, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel(100_000);
    let port = answering(move |request| match request.path() {
        "/large" => ok(&[], &[b'x'; LARGE_BYTES]),
        "/" => {
            tell.try_send(()).unwrap();
            ok(&[], b"ok")
        }
        _ => ok(&[], b"ok"),
    })
    .await;
    (mesh(FLOODED).on("web", port).on("api", port).start().await, told)
}

/// How many requests the service has seen.
fn asked(told: &mut mpsc::Receiver<()>) -> u32 {
    std::iter::from_fn(|| told.try_recv().ok()).map(|()| 1).sum()
}

/// A request that is given up at once.
fn given_up(number: u32) -> Vec<u8> {
    let stream = number * 2 + 1;
    [frame(HEADERS, WHOLE, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
}

/// Who has proven to be of the mesh passes on what others give up, and shares the connection with more of them.
#[tokio::test]
async fn what_a_proven_peer_passes_on_of_others_costs_nobody_the_connection() {
    let (mesh, _told) = flooded().await;
    let mut raw = Door::Inbound.open(&mesh).await;
    for first in (0..2 * Door::Inbound.burst()).step_by(100) {
        let frames: Vec<u8> = (first..first + 100).flat_map(given_up).collect();
        assert!(raw.try_write(frames).await && raw.is_heard().await, "ended after {first}");
    }
    Door::Inbound.serves_a_neighbour(&mesh).await;
    assert_eq!(Door::Inbound.refusals(&mesh).await, 0.0);
}

#[tokio::test]
async fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    for door in DOORS.into_iter().filter(|door| *door != Door::Inbound) {
        let (mesh, mut told) = flooded().await;
        let reason = flood(door, &mesh, b"", given_up).await;
        assert_eq!(reason, Some(CALM), "{door:?}");
        assert_eq!(door.refusals(&mesh).await, 1.0, "{door:?}");
        let asked = asked(&mut told);
        assert!(asked <= door.burst(), "{door:?}: {asked} requests reached the service");
    }
}

/// RFC 9113, 5.1.2: the stream is refused as one that was not processed, and those that are open go on.
#[tokio::test]
async fn a_stream_above_the_limit_is_refused_alone() {
    let (go, gone) = tokio::sync::watch::channel(());
    let port = service(move |mut wire| {
        let mut gone = gone.clone();
        async move {
            while wire.request().await.is_some() {
                let _ = gone.changed().await;
                wire.try_write(ok(&[], b"ok")).await;
            }
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut raw = Door::Edge.open(&mesh).await;
    let streams: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        raw.write(frame(HEADERS, WHOLE, *stream, GET)).await;
    }
    assert!(raw.is_heard().await);
    raw.write(frame(HEADERS, WHOLE, 201, GET)).await;
    let refused = loop {
        let frame = raw.next().await.unwrap();
        if frame.stream == 201 {
            break frame;
        }
    };
    assert_eq!((refused.kind, refused.payload.as_slice()), (RST_STREAM, &[0, 0, 0, 7][..]));
    drop(go);
    let mut answered = Vec::new();
    while answered.len() < streams.len() {
        let frame = raw.next().await.unwrap();
        if frame.kind == HEADERS {
            assert_eq!(frame.payload[0], OK, "stream {}", frame.stream);
            answered.push(frame.stream);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, streams);
}

/// Each of these has come to the service before it is given up.
#[tokio::test]
async fn requests_that_are_given_up_again_and_again_end_the_connection() {
    const ROUND: usize = 50;
    let (tell, mut told) = mpsc::channel(1_000);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while let Some(request) = wire.request().await {
                if request.path() != "/" {
                    wire.write(ok(&[], b"ok")).await;
                    continue;
                }
                tell.send(()).await.unwrap();
                wire.closed().await;
            }
        }
    })
    .await;
    let mesh = mesh(FLOODED).on("web", port).on("api", port).start().await;
    let mut raw = Door::Edge.open(&mesh).await;
    let (mut numbers, mut opened) = ((1..).step_by(2), 0);
    loop {
        let streams: Vec<u32> = numbers.by_ref().take(ROUND).collect();
        let open: Vec<u8> = streams.iter().flat_map(|stream| frame(HEADERS, WHOLE, *stream, GET)).collect();
        let reset = |stream: &u32| frame(RST_STREAM, 0, *stream, &[0, 0, 0, 8]);
        let reset: Vec<u8> = streams.iter().flat_map(reset).collect();
        if !raw.try_write(open).await || !raw.is_heard().await {
            break;
        }
        for _ in 0..ROUND {
            within("a request", told.recv()).await.unwrap();
        }
        opened += ROUND;
        assert!(opened <= (FLOODS * Door::Edge.burst()) as usize, "nothing ends it");
        if !raw.try_write(reset).await || !raw.is_heard().await {
            break;
        }
    }
    Door::Edge.serves_a_neighbour(&mesh).await;
    assert_eq!(Door::Edge.refusals(&mesh).await, 1.0);
    // Two for each, and one for each ping.
    let cost = 2 * opened + 2 * opened / ROUND;
    assert!(cost >= Door::Edge.burst() as usize - 2, "ended after {opened}");
    assert!(asked(&mut told) as usize <= ROUND, "more came than were sent");
}

#[tokio::test]
async fn frames_that_cost_their_sender_nothing_end_the_connection() {
    let open = frame(HEADERS, END_HEADERS, 1, GET);
    type Next = fn(u32) -> Vec<u8>;
    let floods: [(&str, &[u8], Next); 9] = [
        ("settings", b"", |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("pings", b"", |_| frame(PING, 0, 0, &[0; 8])),
        ("empty data", &open, |_| frame(DATA, 0, 1, &[])),
        ("data that is one byte of padding", &open, |_| frame(DATA, PADDED, 1, &[0])),
        ("data that is much padding", &open, |_| frame(DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat())),
        ("windows of the connection", b"", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("windows of a stream", &open, |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("priorities", b"", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("frames of no known type", b"", |_| frame(250, 0, 0, &[])),
    ];
    for door in DOORS {
        let (mesh, mut told) = flooded().await;
        let mut ended = 0.0;
        for (what, begin, next) in floods {
            let reason = flood(door, &mesh, begin, next).await;
            assert_eq!(reason, Some(CALM), "{door:?}: {what}");
            ended += 1.0;
            assert_eq!(door.refusals(&mesh).await, ended, "{door:?}: {what}");
        }
        assert_eq!(asked(&mut told), 0, "{door:?}: no request came to its end");
    }
}

#[tokio::test]
async fn what_is_allowed_at_once_goes_on() {
    for door in DOORS {
        let (mesh, mut told) = flooded().await;
        for (what, free) in [
            ("pings", frame(PING, 0, 0, &[0; 8])),
            ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ] {
            let mut raw = door.open(&mesh).await;
            raw.write(free.repeat(door.burst() as usize * 9 / 10)).await;
            raw.write(frame(HEADERS, WHOLE, 3, GET)).await;
            assert_eq!(raw.head_of(3).await[0], OK, "{door:?}: {what}");
            assert_eq!(asked(&mut told), 1, "{door:?}: {what}");
        }
        assert_eq!(door.refusals(&mesh).await, 0.0, "{door:?}");
    }
}

/// `:status: 200` in HPACK.
const OK: u8 = 0x88;

#[tokio::test]
async fn who_opens_windows_for_what_it_receives_is_never_refused() {
    let ask = [&[0x82, 0x86, 0x04, 6][..], b"/large", &[0x41, 1, b'a']].concat();
    // A window as usual, and one so small that each part of the answer waits for it; bytes that are read.
    for (door, window, bytes) in [
        (Door::Edge, 65_535_u32, LARGE_BYTES),
        (Door::Outbound, 65_535, LARGE_BYTES),
        (Door::Inbound, 65_535, LARGE_BYTES),
        (Door::Edge, 100, 200_000),
    ] {
        let (mesh, _told) = flooded().await;
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        let mut raw = door.open_with(&mesh, &settings).await;
        raw.write(frame(HEADERS, WHOLE, 1, &ask)).await;
        let (mut came, mut opened) = (0, 0);
        while came < bytes {
            let frame = raw.next().await.unwrap_or_else(|| panic!("{door:?}: ended after {opened} windows"));
            assert!(![GOAWAY, RST_STREAM].contains(&frame.kind), "{door:?}: after {opened} windows");
            if frame.kind == DATA {
                came += frame.payload.len();
                let pieces = came / 100 - opened / 2;
                opened += 2 * pieces;
                raw.write(window_of_both(1, 100).repeat(pieces)).await;
            }
        }
        assert!(opened >= 2 * (bytes / 100), "{opened}");
        raw.write(frame(HEADERS, WHOLE, 3, GET)).await;
        assert_eq!(raw.head_of(3).await[0], OK, "{door:?}");
        assert_eq!(door.refusals(&mesh).await, 0.0, "{door:?}");
    }
}

/// Opens the window of a stream and that of the connection.
fn window_of_both(stream: u32, bytes: u32) -> Vec<u8> {
    let bytes = bytes.to_be_bytes();
    [frame(WINDOW_UPDATE, 0, stream, &bytes), frame(WINDOW_UPDATE, 0, 0, &bytes)].concat()
}

#[tokio::test]
async fn a_flood_that_stops_reads_why_it_was_ended() {
    // As many as are taken in without anybody reading the answers; who floods the other doors reads meanwhile.
    let (mesh, _told) = flooded().await;
    let mut raw = Door::Edge.open(&mesh).await;
    raw.write(frame(PING, 0, 0, &[0; 8]).repeat(1_500)).await;
    assert_eq!(raw.goodbye().await, Some(CALM));
}

/// A field `x` of a kilobyte in HPACK, never indexed.
fn kilobyte() -> Vec<u8> {
    [&[0x10, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'v'; 1024]].concat()
}

#[tokio::test]
async fn a_head_block_without_an_end_is_cut() {
    for door in DOORS {
        let (mesh, mut told) = flooded().await;
        let largest = 16 * 1024;
        // A text of which the length is told as a megabyte, and which is never whole.
        let text = [&[0x10, 1, b'x', 0x7f, 0x81, 0xff, 0x3f][..], &vec![b'v'; largest - 7]].concat();
        let mut ended = 0.0;
        for (what, parts) in [
            ("short parts", vec![kilobyte(); 6]),
            ("empty parts", vec![Vec::new(); 6]),
            ("large parts", vec![kilobyte().repeat(15); 6]),
            ("one endless text", [vec![text], vec![vec![b'v'; largest]; 5]].concat()),
        ] {
            // However it is cut, this is as much of it as is ever read.
            let bytes: usize = parts.iter().map(Vec::len).sum();
            assert!(bytes <= 3 * door.head_bytes_max(), "{what}: {bytes}");
            let mut raw = door.open(&mesh).await;
            let block = parts.iter().flat_map(|part| frame(CONTINUATION, 0, 1, part));
            let block: Vec<u8> = frame(HEADERS, END_STREAM, 1, GET).into_iter().chain(block).collect();
            raw.try_write(block).await;
            assert_eq!(raw.goodbye().await, Some(CALM), "{door:?}: {what}");
            ended += 1.0;
            assert_eq!(door.refusals(&mesh).await, ended, "{door:?}: {what}");
            door.serves_a_neighbour(&mesh).await;
        }
        assert_eq!(asked(&mut told), 0, "{door:?}");
    }
}

/// A field of 3 KiB goes into the dynamic table once, and is named again by a byte each time.
fn bomb(times: usize) -> Vec<u8> {
    let large = [&[0x40, 1, b'x', 0x7f, 0x81, 0x17][..], &[b'v'; 3072]].concat();
    [GET, &large, &vec![0xbe; times]].concat()
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    for door in DOORS {
        let (mesh, mut told) = flooded().await;
        // Twice as much as is allowed: the request is refused, the next one is not.
        let mut raw = door.open(&mesh).await;
        raw.write(frame(HEADERS, WHOLE, 1, &bomb(2 * door.head_bytes_max() / 3072))).await;
        let refused = raw.head_of(1).await;
        // `:status: 431`, in Huffman's code.
        assert!(refused.starts_with(&[0x48, 0x83, 0x69, 0x90, 0xff]), "{door:?}: {refused:x?}");
        raw.write(frame(HEADERS, WHOLE, 3, GET)).await;
        assert_eq!(raw.head_of(3).await[0], OK, "{door:?}");
        assert_eq!((asked(&mut told), door.refusals(&mesh).await), (1, 0.0), "{door:?}");
        // Three megabytes: that is no mistake, and ends the connection before the next one is looked at.
        let mut raw = door.open(&mesh).await;
        let both = [frame(HEADERS, WHOLE, 1, &bomb(1_000)), frame(HEADERS, WHOLE, 3, GET)].concat();
        raw.write(both).await;
        assert_eq!(raw.goodbye().await, Some(CALM), "{door:?}");
        door.serves_a_neighbour(&mesh).await;
        assert_eq!((asked(&mut told), door.refusals(&mesh).await), (0, 1.0), "{door:?}");
    }
}

#[tokio::test]
async fn nonsense_in_place_of_frames_ends_the_connection_and_no_other() {
    let (mesh, _told) = flooded().await;
    for bytes in [
        // A frame larger than allowed, data on no stream, a window that overflows, a stream of an even number.
        frame(DATA, 0, 1, &[0; 20_000]),
        frame(DATA, 0, 7, b"x"),
        frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        frame(HEADERS, WHOLE, 2, GET),
        frame(HEADERS, WHOLE, 1, &[0xff; 10]),
        frame(SETTINGS, 0, 0, &[1]),
    ] {
        let mut raw = Door::Edge.open(&mesh).await;
        raw.try_write(&bytes).await;
        let reason = raw.goodbye().await;
        assert_ne!(reason, Some(0), "{:?}", &bytes[..9]);
        Door::Edge.serves_a_neighbour(&mesh).await;
    }
}
