//! Callers that leave while their request waits, for a place or for its next attempt: that is for those who still wait.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::ResponseFuture;

use crate::support::http2::{Client, answer, request};
use crate::support::wire::{Wire, answering, connect, gated};
use crate::support::{Mesh, counted, mesh, within};

/// One place, and one to wait in.
const MANIFEST: &str = "
system: test
services: { api: { run: x } }
resilience: { api: { limit: { open: 1, queued: 1 } } }
gateway:
  auth: none
  routes: { ANY /**: api }
";

/// Asks until the request is not refused, which is when it waits: two on one connection come in order, so that what is not
/// refused by the time the second one is has the place.
async fn until_it_waits(client: &mut Client) -> ResponseFuture {
    loop {
        let (waiting, _) = client.start(request("GET", "/next", &[]), true).await;
        let (refused, _) = client.start(request("GET", "/refused", &[]), true).await;
        assert_eq!(answer(refused).await.unwrap().status, 503);
        let mut waiting = waiting;
        match pin!(&mut waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => assert_eq!(answer.unwrap().status(), 503),
            Poll::Pending => return waiting,
        }
    }
}

/// The place is taken, then somebody waits and leaves; whoever comes next can wait.
async fn left_by<K, F: Future<Output = K>>(leave: impl FnOnce(std::net::SocketAddr) -> F) {
    let (port, mut told, places) = gated().await;
    let mesh: Mesh = mesh(MANIFEST).on("api", port).start().await;
    let mut first = Wire::to(mesh.edge_address()).await;
    first.write("GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(within("the first", told.recv()).await.unwrap(), "/first");
    let _kept = leave(mesh.edge_address()).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let next = within("room in the queue", until_it_waits(&mut client)).await;
    places.add_permits(2);
    assert_eq!(first.answer().await.text(), "done");
    assert_eq!(answer(next).await.unwrap().text(), "done");
    assert_eq!(within("the next", told.recv()).await.unwrap(), "/next", "nobody works for who left");
}

#[tokio::test]
async fn who_resets_a_stream_in_the_queue_makes_room_in_it() {
    left_by(|edge| async move {
        let mut client = Client::to(edge).await;
        let (leaver, mut stream) = client.start(request("GET", "/leaver", &[]), true).await;
        let (refused, _) = client.start(request("GET", "/refused", &[]), true).await;
        assert_eq!(answer(refused).await.unwrap().status, 503, "the other one waits");
        stream.send_reset(h2::Reason::CANCEL);
        (client, leaver)
    })
    .await;
}

#[tokio::test]
async fn who_closes_a_connection_in_the_queue_makes_room_in_it() {
    left_by(|edge| async move {
        loop {
            let socket = connect(edge).await;
            // By a reset: who only closes at once may have half-closed, and is answered.
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            let mut leaver = Wire::new(socket);
            leaver.write("GET /leaver HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let mut other = Wire::to(edge).await;
            other.write("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await;
            // One of the two has the place to wait in. Whichever it is, it leaves now.
            tokio::select! {
                refused = other.answer() => return assert_eq!(refused.status(), 503),
                refused = leaver.answer() => assert_eq!(refused.status(), 503),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_leaves_in_the_pause_before_a_retry_ends_it() {
    let port = answering(|_| b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    // Longer than anything waits for here.
    let settings = "resilience: { api: { timeout: 5m, retry: { attempts: 5, backoff: 60s..60s } } }";
    let manifest = MANIFEST.replace("resilience: { api: { limit: { open: 1, queued: 1 } } }", settings);
    assert!(manifest.contains(settings));
    let mesh = mesh(&manifest).on("api", port).start().await;
    let comes_to = async |count: f64, family: &str, label: (&str, &str)| {
        while counted(&mesh.gateway().report().await, family, &[label]) < count {
            tokio::task::yield_now().await;
        }
    };
    let retries = "weft_upstream_retries";

    let mut client = Client::to(mesh.edge_address()).await;
    let (_answer, mut stream) = client.start(request("GET", "/", &[]), true).await;
    within("the pause", comes_to(1.0, retries, ("upstream", "api"))).await;
    stream.send_reset(h2::Reason::CANCEL);

    let socket = connect(mesh.edge_address()).await;
    // By a reset: who only closes at once may have half-closed, and is answered.
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    let mut leaver = Wire::new(socket);
    leaver.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the other pause", comes_to(2.0, retries, ("upstream", "api"))).await;
    drop(leaver);

    let left = ("http_response_status_code", "499");
    within("the end of both", comes_to(2.0, "http_server_request_duration_seconds", left)).await;
}
