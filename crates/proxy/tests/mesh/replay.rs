//! A request that is sent a second time is the same request: with its body, whatever its client and its service speak.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::http2::{self, Client, framed};
use crate::support::wire::{Wire, answering, ok, service};
use crate::support::{Mesh, mesh};

const MANIFEST: &str = "
system: test
services: { api: { run: x, protocol: PROTOCOL, health: tcp } }
resilience: { api: { breaker: { failures: 1000, success: 0% } } }
gateway:
  auth: none
  routes: { ANY /**: api }
";

async fn meshed(protocol: &str, port: u16) -> Mesh {
    mesh(&MANIFEST.replace("PROTOCOL", protocol)).on("api", port).start().await
}

/// Answers each second request with its body, all others with 503.
async fn busy_in_turn() -> u16 {
    let asked = Arc::new(AtomicUsize::new(0));
    answering(move |request| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => ok(&[], &request.body),
    })
    .await
}

#[tokio::test]
async fn a_body_is_sent_again_as_it_was() {
    let mesh = meshed("http", busy_in_turn().await).await;
    let body = "x".repeat(5000);
    let mut client = Client::to(mesh.edge_address()).await;
    let answer = client.ask(http2::request("PUT", "/", &[]), body.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (200, body.clone()), "over HTTP/2");
    let announced = http2::request("PUT", "/", &[("content-length", "5000")]);
    let answer = client.ask(announced, body.as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (200, body.clone()), "over HTTP/2, with its length");
    let mut client = Wire::to(mesh.edge_address()).await;
    let put = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n{body}");
    assert_eq!(client.ask(put).await.text(), body, "over HTTP/1.1");
    let put =
        format!("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n");
    assert_eq!(client.ask(put).await.text(), body, "in chunks");
}

#[tokio::test]
async fn a_body_is_sent_again_by_a_sidecar_whose_connection_was_closed() {
    // Answers once on each connection, and closes it in the face of the next request.
    let port = service(|mut wire| async move {
        if let Some(request) = wire.request().await {
            wire.write(ok(&[], &request.body)).await;
            wire.request().await;
        }
    })
    .await;
    let mesh = meshed("http", port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..5 {
        let put = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(client.ask(put).await.text(), "hi");
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_made_again_with_its_message() {
    let asked = Arc::new(AtomicUsize::new(0));
    let port = http2::service(move |mut call| {
        let first = asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        async move {
            let message = http2::message(&mut call.body, &mut Vec::new()).await;
            match message {
                Some(_) if first => call.status(14, "busy"),
                Some(message) => call.reply(&message).await,
                None => call.status(13, "no message"),
            }
        }
    })
    .await;
    let mesh = meshed("grpc", port).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let answer = client.unary("/shop.Prices/Get", &[("idempotency-key", "1")], b"sku-1").await;
    assert_eq!((answer.grpc().0, answer.body), (0, framed(b"sku-1")));
}
