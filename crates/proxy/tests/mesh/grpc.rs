//! gRPC through gateway and mesh, and from service to service: all four kinds of call, deadlines, cancellation, and
//! refusals in its own words.

use tokio::sync::mpsc;

use crate::support::http2::{Client, answer, framed, grpc, message, send_all, service, trailers, try_send};
use crate::support::wire::echo;
use crate::support::{Mesh, mesh, within};

const SHOP: &str = "
system: test
services:
  front: { run: x, calls: [prices] }
  prices: { run: x, protocol: grpc }
  secret: { run: x, protocol: grpc }
  absent: { run: x, protocol: grpc }
gateway:
  auth: none
  routes:
    POST /shop.Prices/**: prices
    POST /shop.Absent/**: absent
";

/// What the prices service does, by method.
async fn prices() -> u16 {
    service(|mut call| async move {
        match call.path() {
            "/shop.Prices/Get" => {
                let mut buf = Vec::new();
                let asked = message(&mut call.body, &mut buf).await.unwrap();
                assert!(message(&mut call.body, &mut buf).await.is_none());
                call.reply(&[b"price of ", asked.as_slice()].concat()).await;
            }
            "/shop.Prices/Fail" => call.status(9, "not now"),
            "/shop.Prices/FailLate" => {
                let mut stream = call.begin();
                send_all(&mut stream, &framed(b"first"), false).await;
                stream.send_trailers(trailers(10)).unwrap();
            }
            "/shop.Prices/Limits" => {
                let limit = |name: &str| call.field(name).unwrap_or("none").to_owned();
                let said = format!("{} {}", limit("grpc-timeout"), limit("weft-deadline"));
                call.reply(said.as_bytes()).await;
            }
            "/shop.Prices/Sum" => {
                let (mut buf, mut count) = (Vec::new(), 0);
                while message(&mut call.body, &mut buf).await.is_some() {
                    count += 1;
                }
                call.reply(format!("{count} messages").as_bytes()).await;
            }
            "/shop.Prices/Talk" => {
                let mut stream = call.begin();
                let mut buf = Vec::new();
                while let Some(said) = message(&mut call.body, &mut buf).await {
                    send_all(&mut stream, &framed(&said.to_ascii_uppercase()), false).await;
                }
                stream.send_trailers(trailers(0)).unwrap();
            }
            other => panic!("unknown method {other}"),
        }
    })
    .await
}

async fn shop(port: u16) -> Mesh {
    mesh(SHOP).on("prices", port).on("front", port).on("secret", port).start().await
}

#[tokio::test]
async fn a_unary_call_keeps_its_message_and_its_status() {
    let mesh = shop(prices().await).await;
    for address in [mesh.edge_address(), mesh.toward("front", "prices")] {
        let mut client = Client::to(address).await;
        for _ in 0..3 {
            let answer = client.unary("/shop.Prices/Get", &[("x-tenant", "7")], b"tea").await;
            assert_eq!(answer.messages(), [b"price of tea"]);
            assert_eq!((answer.status, answer.grpc().0), (200, 0));
        }
        let failed = client.unary("/shop.Prices/Fail", &[], b"").await;
        assert_eq!((failed.status, failed.grpc()), (200, (9, "not now".to_owned())));
        let late = client.unary("/shop.Prices/FailLate", &[], b"").await;
        assert_eq!((late.messages(), late.grpc().0), (vec![b"first".to_vec()], 10));
    }
}

#[tokio::test]
async fn messages_stream_in_both_directions() {
    let mesh = shop(prices().await).await;
    for address in [mesh.edge_address(), mesh.toward("front", "prices")] {
        let mut client = Client::to(address).await;
        let (response, mut stream) = client.start(grpc("/shop.Prices/Sum", &[]), false).await;
        for _ in 0..100 {
            send_all(&mut stream, &framed(&[1; 1000]), false).await;
        }
        stream.send_data(bytes::Bytes::new(), true).unwrap();
        assert_eq!(answer(response).await.unwrap().messages(), [b"100 messages"]);

        let (response, mut stream) = client.start(grpc("/shop.Prices/Talk", &[]), false).await;
        let response = within("a head", response).await.unwrap();
        let (mut body, mut buf) = (response.into_body(), Vec::new());
        for (said, heard) in [("one", b"ONE"), ("two", b"TWO"), ("six", b"SIX")] {
            // The next one is said only after this one was heard.
            send_all(&mut stream, &framed(said.as_bytes()), false).await;
            assert_eq!(message(&mut body, &mut buf).await.unwrap(), heard);
        }
        stream.send_data(bytes::Bytes::new(), true).unwrap();
        assert!(message(&mut body, &mut buf).await.is_none());
        let trailers = std::future::poll_fn(|cx| body.poll_trailers(cx)).await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_timeout_gets_shorter_with_every_hop() {
    let mesh = shop(prices().await).await;
    for address in [mesh.edge_address(), mesh.toward("front", "prices")] {
        let mut client = Client::to(address).await;
        let said = client.unary("/shop.Prices/Limits", &[("grpc-timeout", "10S")], b"").await;
        let said = String::from_utf8(said.messages().remove(0)).unwrap();
        let (timeout, deadline) = said.split_once(' ').unwrap();
        let us: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
        assert!((1..10_000_000).contains(&us), "{said}");
        assert!((1..10_000).contains(&deadline.parse::<u64>().unwrap()), "{said}");
        let bad = client.unary("/shop.Prices/Limits", &[("grpc-timeout", "soon")], b"").await;
        assert_eq!(bad.grpc().0, 3, "{}", bad.grpc().1);
        assert!(bad.grpc().1.starts_with("W2030 "), "{}", bad.grpc().1);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_on_both_sides() {
    let (tell, mut told) = mpsc::channel(4);
    let port = service(move |mut call| {
        let tell = tell.clone();
        async move {
            let stream = (call.path() == "/shop.Prices/Stream").then(|| call.begin());
            if let Some(mut stream) = stream {
                send_all(&mut stream, &framed(b"first"), false).await;
                let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
                tell.send(reason).await.unwrap();
            } else {
                let reason = call.reset().await;
                tell.send(reason).await.unwrap();
            }
        }
    })
    .await;
    let mesh = shop(port).await;
    for address in [mesh.edge_address(), mesh.toward("front", "prices")] {
        let mut client = Client::to(address).await;
        let silent = client.unary("/shop.Prices/Silent", &[("grpc-timeout", "200m")], b"").await;
        assert_eq!(silent.grpc().0, 4, "{}", silent.grpc().1);
        assert!(silent.grpc().1.starts_with("W3009 "), "{}", silent.grpc().1);
        assert_eq!(within("the reset", told.recv()).await, Some(h2::Reason::CANCEL));
        let cut = client.unary("/shop.Prices/Stream", &[("grpc-timeout", "200m")], b"").await;
        assert_eq!((cut.messages(), cut.grpc().0), (vec![b"first".to_vec()], 4));
        assert_eq!(within("the reset", told.recv()).await, Some(h2::Reason::CANCEL));
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_service() {
    let (tell, mut told) = mpsc::channel(4);
    let port = service(move |mut call| {
        let tell = tell.clone();
        async move {
            let stream = (call.path() == "/shop.Prices/Stream").then(|| call.begin());
            tell.send(h2::Reason::NO_ERROR).await.unwrap();
            let reason = match stream {
                Some(mut stream) => std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap(),
                None => call.reset().await,
            };
            tell.send(reason).await.unwrap();
        }
    })
    .await;
    let mesh = shop(port).await;
    for address in [mesh.edge_address(), mesh.toward("front", "prices")] {
        for path in ["/shop.Prices/Silent", "/shop.Prices/Stream"] {
            // With the request still open, and after it was sent whole.
            for whole in [false, true] {
                let mut client = Client::to(address).await;
                let (response, mut stream) = client.start(grpc(path, &[]), false).await;
                assert!(try_send(&mut stream, &framed(b"x"), whole).await);
                assert_eq!(within("the call", told.recv()).await, Some(h2::Reason::NO_ERROR));
                drop((response, stream));
                assert_eq!(
                    within("the reset", told.recv()).await,
                    Some(h2::Reason::CANCEL),
                    "{path} {whole}"
                );
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_statuses_of_grpc() {
    let mesh = shop(prices().await).await;
    let mut client = Client::to(mesh.edge_address()).await;
    let (status, text) = client.unary("/shop.Nothing/Get", &[], b"").await.grpc();
    assert!(status == 12 && text.starts_with("W2001 no_route"), "{status} {text}");
    let (status, text) = client.unary("/shop.Absent/Get", &[], b"").await.grpc();
    assert!(status == 14 && text.starts_with("W3003 no_endpoint"), "{status} {text}");
    // `front` says that it is `prices`, and asks who does not expect it.
    let tls = mesh.world.tls("front");
    let config = tls.client_for(&mesh.world.id("secret"), &[b"h2"]);
    let tcp = tokio::net::TcpStream::connect(mesh.beside("secret").inbound).await.unwrap();
    let name = weft_trust::mesh::mesh_server_name();
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
    let mut intruder = Client::over(tls).await;
    let (status, text) = intruder.unary("/shop.Secret/Get", &[("weft-caller", "prices")], b"").await.grpc();
    assert!(status == 7 && text.starts_with("W2003 not_allowed"), "{status} {text}");
    assert!(text.contains("`front` declares no call to `secret`"), "{text}");
}

#[tokio::test]
async fn a_call_to_a_service_that_does_not_speak_http_2_says_what_to_do() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway: { auth: none, routes: { ANY /**: api } }
";
    let mesh = mesh(manifest).on("api", echo("api").await).start().await;
    let mut client = Client::to(mesh.edge_address()).await;
    let (status, text) = client.unary("/shop.Prices/Get", &[], b"x").await.grpc();
    assert!(status == 13 && text.starts_with("W3007"), "{status} {text}");
    assert!(text.contains("`api` did not answer in HTTP/2") && text.contains("`protocol: grpc`"), "{text}");
    // What it does speak it is asked in.
    assert_eq!(client.get("/").await.status, 200);
}
