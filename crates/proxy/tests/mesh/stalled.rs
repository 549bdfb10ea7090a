//! Peers that stop in the middle, in each place where one can: what is answered, and what becomes of the connection. With
//! `hostile.rs` it is the evidence for `docs/hostile-input.md`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weft_proxy::Limits;

use crate::support::http2::{self, Client};
use crate::support::wire::{Wire, answering, echo, get, ok, service};
use crate::support::{Mesh, mesh, within};

const EDGE: &str = "
system: test
services: { api: { run: x } }
resilience: { api: { retry: none } }
gateway: { auth: none, routes: { ANY /**: api } }
";

/// Soon enough for a test to see them pass.
const SOON: Duration = Duration::from_millis(300);

async fn impatient(port: u16) -> Mesh {
    let manifest = EDGE.replace("retry: none", "retry: none, timeout: 2s");
    mesh(&manifest).on("api", port).start().await
}

#[tokio::test]
async fn a_body_that_is_no_body_is_refused_and_reaches_nobody() {
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            // Whole requests alone; the others end in the middle.
            if wire.until(b"\r\n0\r\n\r\n").await.is_some() {
                tell.send(()).await.unwrap();
            }
        }
    })
    .await;
    let mesh = mesh(EDGE).on("api", port).start().await;
    let long_trailer = format!("3\r\nabc\r\n0\r\nx: {}\r\n\r\n", "x".repeat(9_000));
    let many_trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(100));
    let long_extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(300));
    let many_extensions = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(100));
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nno field\r\n\r\n",
        "11111111111111111\r\nabc",
        &long_trailer,
        &many_trailers,
        &long_extension,
        &many_extensions,
    ] {
        let mut client = Wire::to(mesh.edge_address()).await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.try_write(format!("{head}{body}")).await;
        let refused = client.answer().await;
        let shown = &body[..body.len().min(40)];
        assert_eq!((refused.status(), refused.code().as_str()), (400, "W2005"), "{shown:?}");
        assert_eq!(refused.field("connection"), Some("close"), "{shown:?}");
        client.closed().await;
    }
    assert!(told.try_recv().is_err(), "a request that was none reached the service");
}

#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_noticed_by_the_service() {
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            wire.until(b"abc").await.unwrap();
            tell.send("began").await.unwrap();
            wire.rest().await;
            tell.send("ended").await.unwrap();
        }
    })
    .await;
    let mesh = mesh(EDGE).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc").await;
    assert_eq!(within("the body", told.recv()).await, Some("began"));
    drop(client);
    assert_eq!(within("the end", told.recv()).await, Some("ended"));
}

#[tokio::test]
async fn a_body_over_http_2_that_stops_coming_is_the_clients_fault() {
    let manifest = EDGE.replace("auth: none", "auth: none, timeout: 1s");
    let mesh = mesh(&manifest).on("api", echo("api").await).start().await;
    let mut client = Client::to(mesh.edge_address()).await;
    // With a connection to the service at hand, all the time is the body's.
    assert_eq!(client.get("/").await.status, 200);
    let (response, mut stream) = client.start(http2::request("POST", "/", &[]), false).await;
    stream.send_data(bytes::Bytes::from_static(b"abc"), false).unwrap();
    let late = http2::answer(response).await.unwrap();
    assert!(late.status == 408 && late.text().contains("W2024"), "{} {}", late.status, late.text());
    // The fault is of one stream, not of the connection.
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_of_a_request_is_given_up() {
    let port = service(|mut wire| async move {
        let head = wire.until(b"\r\n\r\n").await.unwrap();
        if head.starts_with(b"POST") {
            // Reads no further, and does not end by itself either.
            std::future::pending::<()>().await;
        } else {
            wire.write(ok(&[], b"ok")).await;
        }
    })
    .await;
    let mesh = impatient(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30000000\r\n\r\n").await;
    // As much as is taken; the answer comes when the time is over.
    let body = vec![b'x'; 30_000_000];
    client.try_write(&body).await;
    let late = client.answer().await;
    assert_eq!((late.status(), late.code().as_str()), (504, "W3009"), "{}", late.text());
    assert_eq!(get(mesh.edge_address(), "/well").await.status(), 200);
}

#[tokio::test]
async fn an_upstream_that_does_not_take_connections_is_given_up() {
    // A queue for one connection, which nobody takes out of it: the kernel leaves all others waiting.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    loop {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        match tokio::time::timeout(SOON, socket.connect(address)).await {
            Ok(connected) => held.push(connected.unwrap()),
            Err(_) => break,
        }
        assert!(held.len() < 64, "the queue has no end");
    }
    let manifest = EDGE
        .replace("run: x", &format!("url: \"http://{address}\""))
        .replace("retry: none", "retry: none, connect_timeout: 200ms");
    let mesh = mesh(&manifest).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let late = client.get("/").await;
    assert_eq!((late.status(), late.code().as_str()), (504, "W3002"), "{}", late.text());
    // The fault is not the client's: its connection lives on.
    assert_eq!(client.get("/").await.status(), 504);
}

#[tokio::test]
async fn an_answer_that_stops_is_cut_when_nothing_moved_for_too_long() {
    let port = service(|mut wire| async move {
        if wire.request().await.is_some() {
            wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            wire.closed().await;
        }
    })
    .await;
    let limits = Limits { stream_idle: SOON, ..Limits::default() };
    let mesh = mesh(EDGE).on("api", port).limits(limits).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    client.until(b"hello").await.unwrap();
    assert!(!client.rest().await.ends_with(b"0\r\n\r\n"), "it looks whole");
    let mut client = Client::to(mesh.edge_address()).await;
    let (response, _) = client.start(http2::request("GET", "/", &[]), true).await;
    let body = within("a head", response).await.unwrap().into_body();
    assert!(http2::read(body).await.is_err(), "the stream is reset, not ended");
    mesh.ended_with("stream_idle", 2.0).await;
}

/// A client in a tunnel, and the word of its service that the tunnel ended.
async fn tunnel(limits: Limits) -> (Mesh, Wire, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            wire.until(b"\r\n\r\n").await.unwrap();
            wire.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
            wire.rest().await;
            tell.send(()).await.unwrap();
        }
    })
    .await;
    let mesh = mesh(EDGE).on("api", port).limits(limits).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    (mesh, client, told)
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moved_for_too_long_ends_on_both_sides() {
    let (_mesh, mut client, mut told) = tunnel(Limits { tunnel_idle: SOON, ..Limits::default() }).await;
    client.closed().await;
    within("the service to be told", told.recv()).await.unwrap();
}

#[tokio::test]
async fn what_is_no_handshake_ends_and_nobody_else_notices() {
    let limits = Limits { handshake_timeout: SOON, ..Limits::default() };
    let mesh = mesh(EDGE).on("api", echo("api").await).limits(limits).start().await;
    mesh.gateway().set_edge_tls(Some(Arc::clone(&crate::conformance::certificate(&mesh))));
    mesh.gateway().report().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    for (address, bytes) in [
        (mesh.edge_address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice()),
        (mesh.edge_address(), &[0xff; 600]),
        (mesh.edge_address(), hello),
        (mesh.beside("api").inbound, hello),
        (mesh.beside("api").inbound, &[0x16; 600]),
    ] {
        let mut client = Wire::to(address).await;
        client.try_write(bytes).await;
        let said = client.rest().await;
        // An alert at most (RFC 8446, 6), or a word of HTTP to who speaks that.
        assert!(said.is_empty() || said[0] == 0x15 || said.starts_with(b"HTTP/1.1 4"), "{said:?}");
    }
}

#[tokio::test]
async fn a_tunnel_does_not_outlive_the_side_that_broke() {
    let (_mesh, client, mut told) = tunnel(Limits::default()).await;
    drop(client);
    within("the service to be told", told.recv()).await.unwrap();
}

#[tokio::test]
async fn hundreds_of_connections_that_wait_hold_up_nobody() {
    let port = answering(|_| ok(&[], b"ok")).await;
    let mesh = mesh(EDGE).on("api", port).start().await;
    let mut waiting = Vec::new();
    for number in 0..400 {
        let mut wire = Wire::to(mesh.edge_address()).await;
        // Nothing, half a head, half a body.
        match number % 3 {
            0 => {}
            1 => wire.write("GET / HTTP/1.1\r\nhost: ").await,
            _ => wire.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await,
        }
        waiting.push(wire);
    }
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_body_that_trickles_ends_and_a_stream_that_does_goes_on() {
    let limits = Limits { body_patience: SOON, ..Limits::default() };
    // The time of a try is looked at again and again as long as the body comes.
    let manifest = EDGE.replace("retry: none", "retry: none, per_try_timeout: 1s");
    let mesh = mesh(&manifest).limits(limits).on("api", echo("api").await).start().await;
    let mut trickling = Wire::to(mesh.edge_address()).await;
    trickling.write("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    let late = within("an end", async {
        loop {
            drops.tick().await;
            trickling.try_write("x").await;
            tokio::select! {
                biased;
                answer = trickling.answer() => return answer,
                () = std::future::ready(()) => {}
            }
        }
    });
    let late = late.await;
    assert_eq!((late.status(), late.code().as_str()), (408, "W2024"), "{}", late.text());
    // What says no length may be a stream: however slowly it comes.
    let mut stream = Wire::to(mesh.edge_address()).await;
    stream.write("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..70 {
        drops.tick().await;
        stream.write("1\r\nx\r\n").await;
    }
    stream.write("0\r\n\r\n").await;
    assert_eq!(stream.answer().await.status(), 200);
}
