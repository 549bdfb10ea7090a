//! Callers that leave while their request waits for a place: it is for those who still wait.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::ResponseFuture;

use crate::support::http2::{Client, answer, request};
use crate::support::wire::{Wire, connect, gated};
use crate::support::{Mesh, mesh, within};

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
