//! Answers whose head is all of them, from services that speak HTTP/2 and do not say so by the end of the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use tokio::sync::mpsc;
use weft_proxy::Limits;

use crate::support::http2::{Call, Client, answer, piece, request, send_all, service, try_send};
use crate::support::wire::Wire;
use crate::support::{Mesh, mesh, within};

const EDGE: &str = "
system: test
services: { rpc: { run: x, protocol: grpc, health: tcp } }
resilience: { rpc: { retry: none } }
gateway: { auth: none, routes: { ANY /**: rpc } }
";

/// Whoever waits for more than the head waits for longer than any test.
async fn in_front_of(port: u16) -> Mesh {
    let limits = Limits { stream_idle: Duration::from_secs(3600), ..Limits::default() };
    mesh(EDGE).on("rpc", port).limits(limits).start().await
}

/// A head of this status and with these fields, that does not end its stream.
fn head(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

/// The answers that have no content: how to ask, and what comes.
const BODILESS: [(&str, &str, u16, Option<&str>); 4] = [
    ("HEAD", "/length", 200, Some("77")),
    ("HEAD", "/plain", 200, None),
    ("GET", "/gone", 204, None),
    ("GET", "/same", 304, Some("77")),
];

/// The head of the answer to `call` and what its stream can still be used for.
fn begin(call: &mut Call) -> h2::SendStream<bytes::Bytes> {
    let length: &[_] = &[("content-length", "77"), ("etag", "\"1\"")];
    let head = match call.path() {
        "/length" => head(200, length),
        "/plain" => head(200, &[]),
        "/gone" => head(204, &[]),
        "/same" => head(304, length),
        other => panic!("unknown path {other}"),
    };
    call.respond.send_response(head, false).unwrap()
}

/// Asks for all of them by HTTP/1.1 and HTTP/2, each on one connection, which lives on.
async fn ask_for_all(mesh: &Mesh) {
    let mut old = Wire::to(mesh.edge_address()).await;
    let mut new = Client::to(mesh.edge_address()).await;
    for (method, path, status, length) in BODILESS {
        old.write(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let said = old.head().await.unwrap();
        assert_eq!((said.status(), said.field("content-length")), (status, length), "{method} {path}");
        let said = new.ask(request(method, path, &[]), b"").await;
        let told = said.fields.get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!((said.status, told, said.body.len()), (status, length, 0), "{method} {path}");
    }
}

#[tokio::test]
async fn an_answer_without_content_ends_with_its_head_and_its_stream_is_given_up() {
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut call| {
        let tell = tell.clone();
        async move {
            let mut open = begin(&mut call);
            let reason = std::future::poll_fn(|cx| open.poll_reset(cx)).await.unwrap();
            tell.send(reason).await.unwrap();
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    ask_for_all(&mesh).await;
    for _ in 0..2 * BODILESS.len() {
        assert_eq!(within("a reset", told.recv()).await, Some(h2::Reason::CANCEL));
    }
}

#[tokio::test]
async fn what_follows_an_answer_without_content_reaches_nobody() {
    for content in [b"".as_slice(), b"content", &[7; 40_000]] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let port = service(move |mut call| {
            let count = Arc::clone(&count);
            async move {
                if call.path() == "/whole" {
                    call.respond.send_response(head(200, &[]), true).unwrap();
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let mut stream = begin(&mut call);
                // It may have been reset before all of it was sent.
                try_send(&mut stream, content, true).await;
            }
        })
        .await;
        let mesh = in_front_of(port).await;
        ask_for_all(&mesh).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2 * BODILESS.len(), "each was sent once");
        assert_eq!(Client::to(mesh.edge_address()).await.get("/whole").await.status, 200);
    }
}

#[tokio::test]
async fn a_head_that_announces_content_where_there_is_none_is_refused_as_in_http_1() {
    let port = service(|mut call| async move {
        let status = if call.path() == "/gone" { 204 } else { 200 };
        if call.path() == "/early" {
            call.respond.send_informational(head(103, &[("content-length", "5")])).unwrap();
        }
        let length = if call.path() == "/gone" { "5" } else { "0" };
        let _ = call.respond.send_response(head(status, &[("content-length", length)]), true);
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for path in ["/gone", "/early"] {
        let refused = client.get(path).await;
        assert_eq!((refused.status(), refused.code().as_str()), (502, "W3007"), "{path}");
    }
    assert_eq!(client.get("/well").await.status(), 200);
}

/// Answers without content come by the thousand where a page is asked for again; none may cost its neighbours anything.
#[tokio::test]
async fn thousands_of_them_leave_the_connection_as_it_was() {
    let port = service(|mut call| async move {
        if call.path() == "/slow" {
            let mut stream = call.respond.send_response(head(200, &[]), false).unwrap();
            let mut body = call.body;
            while let Some(part) = piece(&mut body).await {
                let Ok(part) = part else { return };
                assert!(try_send(&mut stream, &part, false).await);
            }
            let _ = stream.send_data(bytes::Bytes::new(), true);
            return;
        }
        let mut stream = begin(&mut call);
        try_send(&mut stream, b"", true).await;
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let (response, mut stream) = client.start(request("POST", "/slow", &[]), false).await;
    let mut other = Client::to(mesh.edge_address()).await;
    for _ in 0..1500 {
        assert_eq!(other.get("/same").await.status, 304);
    }
    send_all(&mut stream, b"still here", true).await;
    assert_eq!(answer(response).await.unwrap().text(), "still here");
}
