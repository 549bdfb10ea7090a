//! Who may speak at all: certificates of the right trust domain, for the right service, not taken back.

use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use weft_trust::mesh::{MeshTls, mesh_server_name};

use crate::support::wire::{Wire, connect, echo, get, ok, service};
use crate::support::{Mesh, World, counted, mesh, within};

const SHOP: &str = "
system: test
services: { api: { run: x, calls: [back] }, back: { run: x } }
gateway: { auth: none, routes: { ANY /**: api } }
";

async fn shop(api: u16, back: u16) -> Mesh {
    mesh(SHOP).on("api", api).on("back", back).start().await
}

#[tokio::test]
async fn a_plain_connection_is_told_that_this_is_a_port_of_the_mesh() {
    let port = echo("x").await;
    let mesh = shop(port, port).await;
    let mut client = Wire::to(mesh.beside("api").inbound).await;
    let refused = client.get("/").await;
    assert_eq!((refused.status(), refused.code().as_str()), (400, "W2031"));
    assert_eq!(refused.field("connection"), Some("close"));
    client.closed().await;
    // Not only HTTP.
    let mut client = Wire::to(mesh.beside("api").inbound).await;
    client.write([0, 1, 2, 3]).await;
    assert!(String::from_utf8_lossy(&client.rest().await).contains("W2031"));
    let report = mesh.beside("api").engine.report().await;
    assert_eq!(counted(&report, "weft_downstream_rejected", &[("reason", "plain")]), 2.0);
}

/// Whether `tls` gets an answer at the mesh port of `callee`, of which it believes that it is `expected`.
async fn is_served(mesh: &Mesh, tls: &MeshTls, callee: &str, expected: &World) -> bool {
    let config = tls.client_for(&expected.id(callee), &[b"http/1.1"]);
    let tcp = connect(mesh.beside(callee).inbound).await;
    let Ok(tls) = within("a handshake", TlsConnector::from(config).connect(mesh_server_name(), tcp)).await
    else {
        return false;
    };
    let mut wire = Wire::new(tls);
    // With TLS 1.3 a client learns only after its handshake that it was refused.
    wire.try_write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    wire.head().await.is_some_and(|head| head.status() == 200)
}

#[tokio::test]
async fn only_certificates_of_this_trust_domain_are_believed() {
    let port = echo("x").await;
    let mesh = shop(port, port).await;
    assert!(is_served(&mesh, &mesh.world.tls("api"), "back", &mesh.world).await);
    // The same names, from another authority.
    let impostor = World::new("test.internal");
    assert!(!is_served(&mesh, &impostor.tls("api"), "back", &mesh.world).await);
    let foreign = World::new("other.internal");
    assert!(!is_served(&mesh, &foreign.tls("api"), "back", &mesh.world).await);
    let nobody = MeshTls::anonymous(std::sync::Arc::clone(&mesh.world.trust), &mesh.world.clock).unwrap();
    assert!(!is_served(&mesh, &nobody, "back", &mesh.world).await);
}

#[tokio::test]
async fn an_address_that_proves_to_be_another_service_is_not_spoken_to() {
    let port = echo("x").await;
    let mut mesh = shop(port, port).await;
    // As if the port of `api` had been taken over.
    let back = mesh.beside("back").inbound.to_string();
    mesh.listed[0].address = back;
    mesh.publish().await;
    let refused = get(mesh.edge_address(), "/").await;
    assert_eq!((refused.status(), refused.code().as_str()), (502, "W3014"));
}

/// Answers with a head, and a body that never ends.
async fn endless(tell: mpsc::Sender<&'static str>) -> u16 {
    service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while let Some(request) = wire.request().await {
                if request.path() != "/stream" {
                    wire.write(ok(&[], b"ok")).await;
                    continue;
                }
                wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
                wire.closed().await;
                tell.send("left").await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_identity_that_is_taken_back_ends_what_is_open() {
    // Once the caller's, once the callee's.
    for revoked in ["api", "back"] {
        let (tell, mut told) = mpsc::channel(4);
        let mesh = shop(echo("api").await, endless(tell).await).await;
        let mut client = Wire::to(mesh.toward("api", "back")).await;
        client.write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.head().await.unwrap();
        assert_eq!(client.chunk().await.unwrap(), b"hi");
        mesh.world.revoke(&[revoked]);
        mesh.trust_changed();
        assert!(client.rest().await.is_empty(), "the stream ends without an end");
        assert_eq!(within("the end at the service", told.recv()).await, Some("left"));
        let refused = get(mesh.toward("api", "back"), "/").await;
        assert_eq!(refused.status(), 502, "{}", refused.text());
        // The edge's own identity is not concerned, nor is who was not revoked.
        let edge = get(mesh.edge_address(), "/").await.status();
        assert_eq!(edge, if revoked == "api" { 502 } else { 200 });
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_the_identity_that_opened_it() {
    const TCP: &str = "
system: test
services: { api: { run: x, calls: [db] }, db: { run: x, protocol: tcp } }
";
    for revoked in ["api", "db"] {
        let db = service(|mut wire| async move {
            loop {
                let heard = wire.some().await;
                if heard.is_empty() || !wire.try_write(heard).await {
                    return;
                }
            }
        })
        .await;
        let mesh = mesh(TCP).on("api", db).on("db", db).start().await;
        let mut client = Wire::to(mesh.toward("api", "db")).await;
        client.write("ping").await;
        assert_eq!(client.bytes(4).await, b"ping");
        mesh.world.revoke(&[revoked]);
        mesh.trust_changed();
        client.closed().await;
    }
}
