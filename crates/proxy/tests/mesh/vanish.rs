//! Sidecars that vanish: nobody listens at their addresses, and control has not told yet. What none of them began is not lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use weft_model::wire as control;

use crate::support::wire::{Wire, answering, echo, gated, hanging, nobody, ok};
use crate::support::{Mesh, Sidecar, checksum, counted, mesh, noise, within};

fn with(resilience: &str) -> String {
    format!(
        "
system: test
services: {{ api: {{ run: x }} }}
resilience: {{ api: {resilience} }}
gateway: {{ auth: none, routes: {{ ANY /**: api }} }}
"
    )
}

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// Lists an instance of `api` at this address, whoever is there.
fn list(mesh: &mut Mesh, address: SocketAddr) {
    mesh.listed.push(control::Instance {
        service: "api".into(),
        instance: format!("api-{}", mesh.listed.len() + 1),
        address: address.to_string(),
        version: "v1".into(),
        state: control::InstanceState::Ready as i32,
    });
}

/// A gateway that knows `count` instances, of which none is there; their sockets keep their addresses.
async fn of_the_vanished(count: usize, resilience: &str) -> (Mesh, Vec<TcpSocket>) {
    let mut mesh = mesh(&with(resilience)).start().await;
    let mut held = Vec::new();
    for _ in 0..count {
        let (port, socket) = nobody();
        list(&mut mesh, SocketAddr::from(([127, 0, 0, 1], port)));
        held.push(socket);
    }
    mesh.publish().await;
    (mesh, held)
}

/// The sidecar that comes back at its address.
fn back(mesh: &Mesh, socket: TcpSocket, port: u16) -> Sidecar {
    let socket = socket.listen(128).unwrap().into_std().unwrap();
    mesh.sidecar_at(socket, "api", "v1", port)
}

async fn gateway_counted(mesh: &Mesh, family: &str) -> f64 {
    counted(&mesh.gateway().report().await, family, &[])
}

/// Waits until a request was sent to another one.
async fn resent(mesh: &Mesh) {
    within("a resend", async { while gateway_counted(mesh, "weft_upstream_resends").await < 1.0 {} }).await;
}

#[tokio::test]
async fn what_nobody_began_waits_until_somebody_is_back() {
    for count in 1..=3 {
        let (mesh, mut held) = of_the_vanished(count, "{ retry: none }").await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = Wire::to(mesh.edge_address()).await;
            client.write(POST).await;
            clients.push(client);
        }
        // All are here, and whoever was asked was not there.
        while mesh.gateway().exchanges() < 5 {
            mesh.gateway().report().await;
        }
        while count > 1 && gateway_counted(&mesh, "weft_upstream_resends").await < 1.0 {}
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        let port = answering(move |request| {
            assert_eq!(request.text(), "hi");
            seen.fetch_add(1, Ordering::Relaxed);
            ok(&[], b"back")
        })
        .await;
        // The others stay away.
        let _sidecar = back(&mesh, held.pop().unwrap(), port);
        for client in &mut clients {
            assert_eq!(client.answer().await.text(), "back");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }
}

/// Requests that the gateway has sent and that have no answer yet.
async fn on_their_way(mesh: &Mesh) -> f64 {
    gateway_counted(mesh, "weft_upstream_requests_open").await
}

/// All at once they would be as many new connections to a process that has just begun.
#[tokio::test]
async fn those_who_waited_are_let_go_in_steps() {
    const HELD: usize = 512;
    let (mesh, mut held) = of_the_vanished(1, "{ retry: none }").await;
    let mut clients = Vec::new();
    for _ in 0..HELD {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(POST).await;
        clients.push(client);
    }
    while mesh.gateway().exchanges() < HELD {
        mesh.gateway().report().await;
    }
    let (port, mut told, gate) = gated().await;
    let _sidecar = back(&mesh, held.pop().unwrap(), port);
    within("the one that looks", told.recv()).await;
    gate.add_permits(1);
    within("the first one that waited", told.recv()).await;
    let asked = on_their_way(&mesh).await;
    let service = async {
        // Each answer lets more of them go.
        gate.add_permits(HELD - 1);
        while told.recv().await.is_some() {}
    };
    let answered = async {
        for client in &mut clients {
            assert_eq!(client.answer().await.status(), 200);
        }
    };
    tokio::select! {
        () = service => {}
        () = answered => {}
    }
    // A quarter of them needs more than a second without any answer.
    assert!((1.0..=128.0).contains(&asked), "{asked}");
}

#[tokio::test]
async fn who_stays_away_is_waited_for_once() {
    let (mesh, _held) = of_the_vanished(2, "{ retry: none }").await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(POST).await;
        clients.push(client);
    }
    for client in &mut clients {
        let failed = client.answer().await;
        assert_eq!((failed.status(), failed.code().as_str()), (502, "W3001"));
    }
    let moved = gateway_counted(&mesh, "weft_upstream_resends").await;
    assert!(moved <= 40.0, "{moved}");
    // The wait is over for all; who comes now hears it at once, and moves nowhere.
    assert_eq!(Wire::to(mesh.edge_address()).await.ask(POST).await.code(), "W3001");
    assert_eq!(gateway_counted(&mesh, "weft_upstream_resends").await, moved);
}

#[tokio::test]
async fn a_wait_for_the_vanished_ends_with_the_time_of_the_request() {
    let (mesh, _held) = of_the_vanished(2, "{ timeout: 200ms }").await;
    let late = Wire::to(mesh.edge_address()).await.ask(POST).await;
    assert_eq!((late.status(), late.code().as_str()), (504, "W3009"));
    assert!(late.text().contains("nobody is there to take it"), "{}", late.text());
}

#[tokio::test]
async fn who_waits_for_the_vanished_takes_a_place_under_the_limit() {
    let (mesh, _held) = of_the_vanished(1, "{ limit: { open: 1, queued: 1 } }").await;
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(POST).await;
        waiting.push(client);
        while mesh.gateway().exchanges() < number {
            mesh.gateway().report().await;
        }
    }
    let refused = Wire::to(mesh.edge_address()).await.ask(POST).await;
    assert_eq!((refused.status(), refused.code().as_str()), (503, "W2013"));
}

#[tokio::test]
async fn the_vanished_cost_no_request_while_one_lives() {
    let (mut mesh, _held) = of_the_vanished(3, "{ retry: none }").await;
    let sidecar = mesh.sidecar("api", "v1", echo("good").await);
    list(&mut mesh, sidecar.inbound);
    mesh.publish().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..50 {
        assert_eq!(client.ask(POST).await.status(), 200);
    }
}

/// A socket at this address, which may have others that do not listen.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Listens, as soon as the kernel has closed whoever did so at this address.
async fn listening(socket: TcpSocket) -> std::net::TcpListener {
    while let Err(error) = socket2::SockRef::from(&socket).listen(128) {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}");
        tokio::task::yield_now().await;
    }
    std::os::fd::OwnedFd::from(socket2::SockRef::from(&socket).try_clone().unwrap()).into()
}

/// The case that two kills within one backoff make: the first one takes the request with it, the second one the instance to
/// which it is sent again.
#[tokio::test]
async fn two_that_vanish_within_one_backoff_cost_no_request_that_may_be_repeated() {
    let (stuck, mut told) = hanging().await;
    let (mut mesh, _) = of_the_vanished(0, "{ retry: { attempts: 1, backoff: 1ms..2ms } }").await;
    // The first one's address is held by a second socket, which does not listen yet.
    let again = bound("127.0.0.1:0".parse().unwrap());
    let first = back(&mesh, bound(again.local_addr().unwrap()), stuck);
    list(&mut mesh, first.inbound);
    mesh.publish().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", told.recv()).await;
    // The second one is listed and not there, and then the first one is killed with the request.
    let (other, _other) = nobody();
    list(&mut mesh, SocketAddr::from(([127, 0, 0, 1], other)));
    mesh.publish().await;
    drop(first);
    resent(&mesh).await;
    let socket = listening(again).await;
    let _first = mesh.sidecar_at(socket, "api", "v1", echo("good").await);
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("good")), "{}", answer.text());
}

/// The supervisor holds the sockets of a sidecar that was killed, so that nobody refuses, and nobody answers either.
#[tokio::test]
async fn a_connection_that_nobody_took_is_made_again_once_somebody_is_listed() {
    let mut mesh = mesh(&with("{ retry: none, connect_timeout: 1s }")).start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    list(&mut mesh, listener.local_addr().unwrap());
    mesh.publish().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write(POST).await;
    let (mut taken, _) = within("a connection", listener.accept()).await.unwrap();
    mesh.listed[0].state = control::InstanceState::Starting as i32;
    mesh.publish().await;
    // It is given up in its handshake.
    let mut hello = Vec::new();
    within("the end", taken.read_to_end(&mut hello)).await.unwrap();
    let socket = listener.into_std().unwrap();
    let _sidecar = mesh.sidecar_at(socket, "api", "v1", echo("good").await);
    mesh.listed[0].state = control::InstanceState::Ready as i32;
    mesh.publish().await;
    assert_eq!(client.answer().await.status(), 200);
}

/// Nothing of a body is read before there is a connection to send it on.
#[tokio::test]
async fn a_large_body_waits_too() {
    let (mesh, mut held) = of_the_vanished(2, "{ retry: none }").await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let body = noise(1_000_000);
    client.write(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    resent(&mesh).await;
    let port = answering(|request| ok(&[("x-sum", &checksum(&request.body))], b"")).await;
    let _sidecar = back(&mesh, held.pop().unwrap(), port);
    client.write(&body).await;
    assert_eq!(client.answer().await.field("x-sum"), Some(checksum(&body).as_str()));
}
