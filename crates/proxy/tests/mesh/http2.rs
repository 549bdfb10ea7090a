//! HTTP/2 at the edge, with and without TLS: many streams at once, bodies both ways, what leaves and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::support::http2::{Client, answer, piece, read, request, send_all};
use crate::support::wire::{Wire, answering, echo, ok, service};
use crate::support::{Mesh, World, checksum, mesh, noise, within};

const EDGE: &str = "
system: test
services:
  api: { run: x }
gateway:
  auth: none
  routes:
    ANY /**: api
";

async fn in_front_of(port: u16) -> Mesh {
    mesh(EDGE).on("api", port).start().await
}

#[tokio::test]
async fn a_request_without_tls_goes_to_a_service_that_speaks_http_1() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let answer = client.ask(request("POST", "/a?b=c", &[("x-mine", "1")]), b"body").await;
    assert_eq!((answer.status, answer.fields["x-echo"].to_str().unwrap()), (200, "api"));
    let seen = answer.text();
    assert!(seen.starts_with("POST /a?b=c HTTP/1.1\n") && seen.ends_with("\n\nbody"), "{seen}");
    assert!(seen.contains("host: shop.test\n") && seen.contains("x-mine: 1\n"), "{seen}");
    assert_eq!(client.get("/again").await.status, 200);
    assert_eq!(answer.fields.get_all("date").iter().count(), 1, "{:?}", answer.fields);
    let head = client.ask(request("HEAD", "/", &[]), b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn hundreds_of_streams_share_one_connection() {
    let mesh = in_front_of(answering(|request| ok(&[], request.path().as_bytes())).await).await;
    let client = Client::to(mesh.edge_address()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let send = client.send.clone();
        tasks.spawn(async move {
            // Waits for a free stream: the edge has a hundred of them.
            let mut send = within("a free stream", send.ready()).await.unwrap();
            let (response, _) = send.send_request(request("GET", &format!("/{number}"), &[]), true).unwrap();
            let answer = answer(response).await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, format!("/{number}")));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions_at_once() {
    let port = answering(|request| ok(&[("x-sum", &checksum(&request.body))], &request.body)).await;
    let mesh = in_front_of(port).await;
    let client = Client::to(mesh.edge_address()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=4 {
        let send = client.send.clone();
        tasks.spawn(async move {
            let body = noise(number * 1_000_003);
            let mut send = within("a free stream", send.ready()).await.unwrap();
            let (response, mut stream) = send.send_request(request("POST", "/", &[]), false).unwrap();
            send_all(&mut stream, &body, true).await;
            let answer = answer(response).await.unwrap();
            assert_eq!(answer.fields["x-sum"].to_str().unwrap(), checksum(&body));
            assert!(answer.body == body, "another body came back, {} bytes", answer.body.len());
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn trailers_pass_between_the_two_versions() {
    let port = answering(|request| {
        let sum = &request.trailers.iter().find(|(name, _)| name == "x-sum").unwrap().1;
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n2\r\nok\r\n0\r\nx-back: {sum}\r\n\r\n")
            .into_bytes()
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let (response, mut stream) = client.start(request("POST", "/", &[("te", "trailers")]), false).await;
    send_all(&mut stream, b"data", false).await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "4".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = answer(response).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.trailers["x-back"].to_str().unwrap()), ("ok", "4"));
}

#[tokio::test]
async fn early_hints_reach_a_client_of_http_2() {
    let port = answering(|_| {
        [b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n".as_slice(), &ok(&[], b"page")].concat()
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let (mut response, _) = client.start(request("GET", "/", &[]), true).await;
    let hints = within("hints", std::future::poll_fn(|cx| response.poll_informational(cx))).await;
    let hints = hints.unwrap().unwrap();
    assert_eq!((hints.status().as_u16(), hints.headers()["link"].to_str().unwrap()), (103, "</a.css>"));
    assert_eq!(answer(response).await.unwrap().text(), "page");
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_at_the_service_and_no_other_does() {
    let (tell, mut told) = mpsc::channel(4);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while let Some(request) = wire.request().await {
                if request.path() == "/quick" {
                    wire.write(ok(&[], b"quick")).await;
                    continue;
                }
                tell.send("asked").await.unwrap();
                if request.path() == "/stream" {
                    wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
                }
                wire.closed().await;
                tell.send("left").await.unwrap();
                return;
            }
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Client::to(mesh.edge_address()).await;
    // Before the answer.
    let (response, mut stream) = client.start(request("GET", "/wait", &[]), true).await;
    assert_eq!(within("the request", told.recv()).await, Some("asked"));
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    assert_eq!(within("its end", told.recv()).await, Some("left"));
    // In the middle of it.
    let (response, stream) = client.start(request("GET", "/stream", &[]), true).await;
    assert_eq!(within("the request", told.recv()).await, Some("asked"));
    let mut body = within("a head", response).await.unwrap().into_body();
    assert_eq!(&piece(&mut body).await.unwrap().unwrap()[..], b"hi");
    drop((stream, body));
    assert_eq!(within("its end", told.recv()).await, Some("left"));
    assert_eq!(client.get("/quick").await.text(), "quick");
}

#[tokio::test]
async fn who_does_not_read_holds_up_no_other() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let port = service(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            while let Some(request) = wire.request().await {
                if request.path() != "/large" {
                    wire.write(ok(&[], b"small")).await;
                    continue;
                }
                wire.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PART * PARTS)).await;
                for _ in 0..PARTS {
                    if !wire.try_write(vec![7; PART]).await {
                        return;
                    }
                    count.fetch_add(PART, Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    // All of them share one connection between the edge and the sidecar.
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.head().await.unwrap();
        lazy.push(client);
    }
    let mut client = Client::to(mesh.edge_address()).await;
    let (response, _stream) = client.start(request("GET", "/large", &[]), true).await;
    let body = within("a head", response).await.unwrap().into_body();
    // What has no reader stands still once all buffers on its way are full, and until then takes no place of others.
    let mut before = 0;
    loop {
        for _ in 0..20 {
            assert_eq!(Client::to(mesh.edge_address()).await.get("/small").await.text(), "small");
        }
        let now = written.load(Ordering::Relaxed);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(
        before < lazy.len() * PART * PARTS / 2,
        "{before} bytes are on the way to clients that take none"
    );
    drop(lazy);
    let (body, _) = read(body).await.unwrap();
    assert_eq!(body.len(), PART * PARTS);
}

#[tokio::test]
async fn what_is_no_request_for_an_edge_is_refused_on_its_stream() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let connect = http::Request::builder().method("CONNECT").uri("db.test:5432").body(()).unwrap();
    let (response, _stream) = client.start(connect, false).await;
    let refused = answer(response).await.unwrap();
    assert!(
        refused.status == 501 && refused.text().contains("W2016"),
        "{} {}",
        refused.status,
        refused.text()
    );
    let without_port = http::Request::builder().method("CONNECT").uri("db.test").body(()).unwrap();
    let (response, _stream) = client.start(without_port, false).await;
    assert_eq!(answer(response).await.unwrap().status, 400);
    let of_the_server = http::Request::builder().method("GET").uri("*").body(()).unwrap();
    let (response, _stream) = client.start(of_the_server, true).await;
    let refused = answer(response).await.unwrap();
    assert!(refused.status == 400 && refused.text().contains("W2011"), "{}", refused.text());
    let underscore = client.ask(request("GET", "/", &[("x_y", "1")]), b"").await;
    assert!(underscore.status == 400 && underscore.text().contains("W2026"), "{}", underscore.text());
    let long = client.get(&format!("/{}", "x".repeat(9000))).await;
    assert!(long.status == 414 && long.text().contains("W2008"), "{} {}", long.status, long.text());
    assert_eq!(client.get("/still").await.status, 200);
}

/// What browsers encode in a query and other clients do not: the mesh's HTTP/2 has no room for it as it stands.
#[tokio::test]
async fn a_query_with_quotes_reaches_its_service() {
    let mesh = in_front_of(echo("api").await).await;
    let seen = Wire::to(mesh.edge_address()).await.get("/find?q=\"a<b>\"&raw=[{|}]").await;
    assert_eq!(seen.status(), 200, "{}", seen.text());
    assert!(seen.text().starts_with("GET /find?q=%22a%3Cb%3E%22&raw=[{|}] HTTP/1.1\n"), "{}", seen.text());
}

/// An edge with a certificate, and what a client believes it by.
fn with_tls(mesh: &Mesh, world: &World, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let key = weft_trust::key::NodeKey::generate().unwrap();
    let names = ["localhost".to_owned()];
    let hour = std::time::Duration::from_secs(3600);
    let now = world.clock.wall();
    let issued = world.authority.issue_edge(&key.request().unwrap(), &names, hour, now).unwrap();
    let certificate = weft_trust::edge::EdgeCertificate::from_issued(&key, &issued.chain, now).unwrap();
    let tls = weft_trust::edge::EdgeTls::new(&[certificate], &world.clock).unwrap();
    mesh.gateway().set_edge_tls(Some(Arc::clone(tls.config())));
    let roots = world.authority.bundle().unwrap();
    let roots = roots.roots().iter().map(|root| root.as_ref());
    weft_trust::edge::upstream_tls(roots, alpn, &world.clock).unwrap()
}

#[tokio::test]
async fn the_edge_speaks_what_alpn_chose() {
    let mesh = in_front_of(echo("api").await).await;
    for (alpn, chosen) in [
        ([b"h2".as_slice(), b"http/1.1"].as_slice(), Some(b"h2".as_slice())),
        ([b"http/1.1".as_slice()].as_slice(), Some(b"http/1.1")),
        (&[], None),
    ] {
        let config = with_tls(&mesh, &mesh.world, alpn);
        let tcp = TcpStream::connect(mesh.edge_address()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = within("a handshake", TlsConnector::from(config).connect(name, tcp)).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), chosen);
        let (hsts, seen) = if chosen == Some(b"h2") {
            let answer = Client::over(tls).await.get("/tls").await;
            (answer.fields["strict-transport-security"].to_str().unwrap().to_owned(), answer.text())
        } else {
            let answer = Wire::new(tls).get("/tls").await;
            (answer.field("strict-transport-security").unwrap().to_owned(), answer.text())
        };
        assert_eq!(hsts, "max-age=31536000");
        assert!(seen.contains("x-forwarded-proto: https\n"), "{seen}");
    }
}

#[tokio::test]
async fn large_bodies_pass_through_an_edge_with_tls() {
    let port = answering(|request| ok(&[("x-sum", &checksum(&request.body))], &request.body)).await;
    let mesh = in_front_of(port).await;
    let config = with_tls(&mesh, &mesh.world, &[b"http/1.1"]);
    let tcp = TcpStream::connect(mesh.edge_address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let tls = within("a handshake", TlsConnector::from(config).connect(name, tcp)).await.unwrap();
    let mut client = Wire::new(tls);
    // Around the size of a record and of a buffer, pipelined, so that a message may end anywhere in a record.
    let sizes = [1, 16_300, 16_384, 16_385, 32_768, 70_000, 3_000_001];
    let mut all = Vec::new();
    for size in sizes {
        all.extend_from_slice(
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").as_bytes(),
        );
        all.extend_from_slice(&noise(size));
    }
    let (whole, last) = all.split_at(all.len() - 3_000_001);
    client.write(whole).await;
    for size in &sizes[..6] {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.field("x-sum")), (200, Some(checksum(&noise(*size)).as_str())));
    }
    let answer = client.ask(last).await;
    assert_eq!(answer.field("x-sum"), Some(checksum(&noise(3_000_001)).as_str()));
}
