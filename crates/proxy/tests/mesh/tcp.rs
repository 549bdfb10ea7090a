//! Raw TCP through the mesh: bytes with an identity and the allow graph, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use weft_proxy::Limits;
use weft_trust::mesh::{MeshTls, mesh_server_name};

use crate::support::wire::{Wire, connect, echo, nobody, service};
use crate::support::{Mesh, counted, mesh, noise, within};

const SHOP: &str = "
system: test
services:
  api: { run: x, calls: [db, web] }
  other: { run: x }
  db: { run: x, protocol: tcp }
  web: { run: x }
";

/// Sends back what it gets, says goodbye when the peer has finished.
async fn parrot() -> u16 {
    service(|mut wire| async move {
        loop {
            let heard = wire.some().await;
            if heard.is_empty() {
                wire.try_write("bye").await;
                wire.finish().await;
                return;
            }
            if !wire.try_write(heard).await {
                return;
            }
        }
    })
    .await
}

async fn shop(db: u16) -> Mesh {
    let web = echo("web").await;
    mesh(SHOP).on("db", db).on("api", web).on("other", web).on("web", web).start().await
}

/// A connection to the mesh port of `callee`, by a process that proves to be what `tls` says.
async fn as_peer(mesh: &Mesh, tls: &MeshTls, callee: &str, alpn: &[u8]) -> Wire {
    let config = tls.client_for(&mesh.world.id(callee), &[alpn]);
    let tcp = connect(mesh.beside(callee).inbound).await;
    Wire::new(
        within("a handshake", TlsConnector::from(config).connect(mesh_server_name(), tcp)).await.unwrap(),
    )
}

#[tokio::test]
async fn bytes_pass_in_both_directions_and_each_ends_by_itself() {
    let mesh = shop(parrot().await).await;
    for _ in 0..3 {
        let mut client = Wire::to(mesh.toward("api", "db")).await;
        client.write("select 1").await;
        assert_eq!(client.bytes(8).await, b"select 1");
        for size in [16_384, 16_390, 70_001] {
            client.write(noise(size)).await;
            assert!(client.bytes(size).await == noise(size), "{size}");
        }
        client.finish().await;
        assert_eq!(client.rest().await, b"bye");
    }
    let report = mesh.beside("db").engine.report().await;
    assert!(counted(&report, "weft_tcp_received_bytes", &[]) >= 3.0 * 102_783.0);
}

#[tokio::test]
async fn bytes_are_counted_for_both_sides_of_an_edge_while_the_connection_is_open() {
    let mesh = shop(parrot().await).await;
    let mut client = Wire::to(mesh.toward("api", "db")).await;
    client.write("select 1").await;
    assert_eq!(client.bytes(8).await, b"select 1");
    client.write("select 22").await;
    assert_eq!(client.bytes(9).await, b"select 22");
    for (at, side, reporter) in [("api", "client", "source"), ("db", "server", "destination")] {
        let report = mesh.beside(at).engine.report().await;
        let count = |family, labels: &[(&str, &str)]| counted(&report, family, labels);
        let edge = [("weft_source", "api"), ("weft_destination", "db"), ("side", side)];
        assert!(count("weft_tcp_received_bytes", &edge) >= 17.0, "{at}");
        // The last bytes may be with the client before they are counted.
        assert!(count("weft_tcp_sent_bytes", &edge) >= 8.0, "{at}");
        assert_eq!(count("weft_tcp_connections_opened", &edge), 1.0, "{at}");
        assert_eq!(count("weft_tcp_connections_closed", &edge), 0.0, "{at}");
        let edge = [("reporter", reporter), ("source_workload", "api"), ("destination_service_name", "db")];
        assert!(count("istio_tcp_received_bytes", &edge) >= 17.0, "{at}");
        assert_eq!(count("istio_tcp_connections_opened", &edge), 1.0, "{at}");
    }
    client.finish().await;
    assert_eq!(client.rest().await, b"bye");
}

#[tokio::test]
async fn a_connection_in_which_nothing_moved_for_too_long_ends() {
    let limits = Limits { tunnel_idle: Duration::from_millis(300), ..Limits::default() };
    let (db, web) = (parrot().await, echo("web").await);
    let recipe = mesh(SHOP).on("db", db).on("api", web).on("other", web).on("web", web);
    let mesh = recipe.limits(limits).start().await;
    let mut client = Wire::to(mesh.toward("api", "db")).await;
    client.write("select 1").await;
    assert_eq!(client.bytes(8).await, b"select 1");
    client.closed().await;
}

#[tokio::test]
async fn a_server_that_speaks_first_and_closes_first_is_heard() {
    let port = service(|mut wire| async move {
        wire.write("welcome").await;
        assert_eq!(wire.bytes(4).await, b"quit");
    })
    .await;
    let mesh = shop(port).await;
    let mut client = Wire::to(mesh.toward("api", "db")).await;
    assert_eq!(client.bytes(7).await, b"welcome");
    client.write("quit").await;
    client.closed().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_taken_for_one_that_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mesh = shop(listener.local_addr().unwrap().port()).await;
    for breaks in ["service", "client"] {
        let mut client = connect(mesh.toward("api", "db")).await;
        client.write_all(b"dump").await.unwrap();
        let mut heard = [0; 4];
        let service = loop {
            let (mut service, _) = within("the service's connection", listener.accept()).await.unwrap();
            // Whoever looks whether the service is well says nothing.
            if within("the question", service.read_exact(&mut heard)).await.is_ok() {
                break service;
            }
        };
        let (broken, mut other) = if breaks == "service" { (service, client) } else { (client, service) };
        broken.set_zero_linger().unwrap();
        drop(broken);
        let rest = within("the end", other.read(&mut heard)).await;
        let kind = rest.map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset), "broken off by the {breaks}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_is_not_taken_for_one_that_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mesh = shop(listener.local_addr().unwrap().port()).await;
    let mut heard = [0; 4];
    let mut client = connect(mesh.toward("api", "db")).await;
    client.write_all(b"dump").await.unwrap();
    let mut service = loop {
        let (mut service, _) = within("the service's connection", listener.accept()).await.unwrap();
        // Whoever looks whether the service is well says nothing.
        if within("the question", service.read_exact(&mut heard)).await.is_ok() {
            break service;
        }
    };
    mesh.beside("db").engine.drain().await;
    mesh.beside("db").engine.cut();
    for other in [&mut service, &mut client] {
        let rest = within("the end", other.read(&mut heard)).await;
        assert_eq!(rest.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once() {
    let mesh = shop(parrot().await).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4 {
        let address = mesh.toward("api", "db");
        tasks.spawn(async move {
            let sent = noise(2_000_000 + number);
            let (mut read, mut write) = connect(address).await.into_split();
            let writing = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut heard);
            let (_, read) = within("the echo", async { tokio::join!(writing, reading) }).await;
            read.unwrap();
            assert_eq!(heard.split_off(sent.len()), b"bye");
            assert!(heard == sent);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn records_that_come_together_are_all_passed_on() {
    let mesh = shop(parrot().await).await;
    let mut peer = as_peer(&mesh, &mesh.world.tls("api"), "db", b"weft-tcp").await;
    for size in [16_385, 18_000, 20_000, 33_000, 65_000] {
        // One write: several records in one segment, of which one read takes a part.
        peer.write(noise(size)).await;
        assert!(peer.bytes(size).await == noise(size), "{size}");
    }
}

#[tokio::test]
async fn who_declares_no_call_gets_no_byte_through() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let port = service(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(wire.rest().await.len(), Ordering::Relaxed);
        }
    })
    .await;
    let mesh = shop(port).await;
    let mut peer = as_peer(&mesh, &mesh.world.tls("other"), "db", b"weft-tcp").await;
    peer.try_write("drop table").await;
    peer.closed().await;
    let report = mesh.beside("db").engine.report().await;
    assert_eq!(counted(&report, "weft_refusals", &[("code", "not_allowed")]), 1.0);
    assert_eq!(heard.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bytes_are_no_way_round_the_checks_of_requests() {
    // `api` may call `web`. As bytes, it could say there that it is somebody else.
    let mesh = shop(parrot().await).await;
    let mut peer = as_peer(&mesh, &mesh.world.tls("api"), "web", b"weft-tcp").await;
    peer.try_write(
        "GET / HTTP/1.1\r\nhost: web\r\nweft-caller: spiffe://test.internal/ns/default/svc/other\r\n\r\n",
    )
    .await;
    peer.closed().await;
    let report = mesh.beside("web").engine.report().await;
    assert_eq!(counted(&report, "weft_refusals", &[("code", "not_allowed")]), 1.0);
    // And requests are none to a service that knows only bytes.
    let mut peer = as_peer(&mesh, &mesh.world.tls("api"), "db", b"http/1.1").await;
    let refused = peer.get("/").await;
    assert_eq!((refused.status(), refused.code().as_str()), (403, "W2003"));
}

#[tokio::test]
async fn a_service_that_is_not_there_closes_the_connection() {
    let (gone, _held) = nobody();
    let mesh = shop(gone).await;
    let asked = async {
        // The reset may come before the connection is seen to stand.
        let mut client = TcpStream::connect(mesh.toward("api", "db")).await?;
        client.read(&mut [0]).await
    };
    let end = within("the end", asked).await.map_err(|error| error.kind());
    assert_eq!(
        end,
        Err(std::io::ErrorKind::ConnectionReset),
        "it did not answer with nothing, it did not answer"
    );
    let report = mesh.beside("db").engine.report().await;
    assert_eq!(counted(&report, "weft_refusals", &[("code", "connect_failed")]), 1.0);
}
