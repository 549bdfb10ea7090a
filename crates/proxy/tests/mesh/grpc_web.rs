//! gRPC-Web at the edge: what a browser sends and reads, in both spellings and over both versions of HTTP, and that
//! behind the edge there is only gRPC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::http2::{self, Client, framed, message, send_all, service, trailers};
use crate::support::wire::{Message, Wire};
use crate::support::{Mesh, mesh, within};

const SHOP: &str = "
system: test
services:
  prices: { run: x, protocol: grpc }
  absent: { run: x, protocol: grpc }
gateway:
  auth: none
  cors: { origins: [\"https://shop.test\"], methods: [POST], headers: [content-type, x-grpc-web], expose: [x-mine] }
  routes:
    POST /shop.Prices/**: prices
    POST /shop.Absent/**: absent
    POST /shop.Fixed/**: { respond: { status: 200, body: plain } }
";

async fn prices() -> u16 {
    service(|mut call| async move {
        let mut buf = Vec::new();
        match call.path() {
            "/shop.Prices/Get" => {
                let asked = message(&mut call.body, &mut buf).await.unwrap();
                assert!(message(&mut call.body, &mut buf).await.is_none());
                call.reply(&[b"price of ", asked.as_slice()].concat()).await;
            }
            "/shop.Prices/Fields" => {
                let field = |name: &str| call.field(name).unwrap_or("none").to_owned();
                let said = ["content-type", "te", "accept", "x-grpc-web"].map(field).join(" ");
                call.reply(said.as_bytes()).await;
            }
            "/shop.Prices/Fail" => call.status(9, "not now"),
            "/shop.Prices/FailLate" => {
                let mut stream = call.begin();
                send_all(&mut stream, &framed(b"first"), false).await;
                stream.send_trailers(trailers(10)).unwrap();
            }
            "/shop.Prices/Talk" => {
                let mut stream = call.begin();
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

async fn shop() -> Mesh {
    mesh(SHOP).on("prices", prices().await).start().await
}

const BYTES: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A request whose body came as one piece.
fn ask(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: shop.test\r\ncontent-type: {kind}\r\nx-grpc-web: 1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Base64 whose groups may be padded anywhere.
fn unpadded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}

/// Messages and trailers of a body.
fn frames(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (frame, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        if *flag == 0x80 {
            assert!(rest.is_empty(), "the trailers are the last frame");
            return (messages, String::from_utf8(frame.to_vec()).unwrap());
        }
        assert_eq!(*flag, 0);
        messages.push(frame.to_vec());
        body = rest;
    }
    assert!(body.is_empty());
    (messages, String::new())
}

fn kind(answer: &Message) -> &str {
    answer.field("content-type").unwrap_or("none")
}

#[tokio::test]
async fn a_call_is_answered_in_the_spelling_that_it_came_in() {
    let mesh = shop().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let question = framed(b"tea");
    // Padded in the middle, as senders do that encode part by part.
    let text = STANDARD.encode(&question[..5]) + &STANDARD.encode(&question[5..]);
    for _ in 0..3 {
        let answer = client.ask(ask("/shop.Prices/Get", BYTES, &question)).await;
        assert_eq!((answer.status(), kind(&answer)), (200, BYTES));
        let (messages, last) = frames(&answer.body);
        assert_eq!(messages, [b"price of tea"]);
        assert!(last.starts_with("grpc-status: 0\r\n"), "{last}");
        assert!(answer.trailers.is_empty());

        let answer = client.ask(ask("/shop.Prices/Get", TEXT, text.as_bytes())).await;
        assert_eq!((answer.status(), kind(&answer)), (200, TEXT));
        assert_eq!(frames(&unpadded(&answer.body)).0, [b"price of tea"]);
    }
}

#[tokio::test]
async fn behind_the_edge_there_is_only_grpc() {
    let mesh = shop().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask(ask("/shop.Prices/Fields", BYTES, &framed(b""))).await;
    assert_eq!(
        String::from_utf8_lossy(&frames(&answer.body).0[0]),
        "application/grpc+proto trailers none none"
    );
}

#[tokio::test]
async fn it_is_the_same_over_http2() {
    let mesh = shop().await;
    let mut client = Client::to(mesh.edge_address()).await;
    for (kind, body) in [(BYTES, framed(b"tea")), (TEXT, STANDARD.encode(framed(b"tea")).into_bytes())] {
        let request = http2::request("POST", "/shop.Prices/Get", &[("content-type", kind)]);
        let answer = client.ask(request, &body).await;
        assert_eq!(answer.fields["content-type"], kind);
        let bytes = if kind == TEXT { unpadded(&answer.body) } else { answer.body };
        let (messages, last) = frames(&bytes);
        assert_eq!(messages, [b"price of tea"]);
        assert!(last.starts_with("grpc-status: 0\r\n") && answer.trailers.is_empty(), "{last}");
    }
}

#[tokio::test]
async fn a_failure_is_in_the_head_or_in_the_last_frame() {
    let mesh = shop().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask(ask("/shop.Prices/Fail", BYTES, &framed(b""))).await;
    assert_eq!((answer.field("grpc-status"), answer.field("grpc-message")), (Some("9"), Some("not now")));
    assert_eq!((kind(&answer), answer.body.len()), (BYTES, 0));

    let answer = client.ask(ask("/shop.Prices/FailLate", BYTES, &framed(b""))).await;
    let (messages, last) = frames(&answer.body);
    assert_eq!(messages, [b"first"]);
    assert!(last.starts_with("grpc-status: 10\r\n"), "{last}");
}

#[tokio::test]
async fn a_page_of_another_origin_can_read_a_status_that_is_in_the_head() {
    let mesh = shop().await;
    let all = "x-mine, grpc-status, grpc-message, grpc-status-details-bin";
    // Said by the service, said by us, and an answer whose status is in its body.
    for (path, exposed) in [("Prices/Fail", all), ("Absent/Get", all), ("Prices/Get", "x-mine")] {
        let asked = String::from_utf8(ask(&format!("/shop.{path}"), BYTES, &framed(b"tea"))).unwrap();
        let mut client = Wire::to(mesh.edge_address()).await;
        let answer = client.ask(asked.replacen("\r\n", "\r\norigin: https://shop.test\r\n", 1)).await;
        assert_eq!(answer.field("access-control-expose-headers"), Some(exposed), "{path}");
    }
}

#[tokio::test]
async fn each_message_of_a_stream_can_be_read_before_the_next_one_comes() {
    let mesh = shop().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let head = format!(
        "POST /shop.Prices/Talk HTTP/1.1\r\nhost: a\r\ncontent-type: {TEXT}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.write(head).await;
    for (number, word) in ["a", "bc", "def", "ghij"].into_iter().enumerate() {
        let text = STANDARD.encode(framed(word.as_bytes()));
        client.write(format!("{:x}\r\n{text}\r\n", text.len())).await;
        if number == 0 {
            assert_eq!(client.head().await.map(|head| kind(&head).to_owned()).as_deref(), Some(TEXT));
        }
        let chunk = within("the message", client.chunk()).await.unwrap();
        assert_eq!(
            unpadded(&chunk),
            framed(word.to_uppercase().as_bytes()),
            "not held back for the next one"
        );
    }
    client.write("0\r\n\r\n").await;
    let last = within("the trailers", client.chunk()).await.unwrap();
    assert!(frames(&unpadded(&last)).1.starts_with("grpc-status: 0\r\n"));
}

#[tokio::test]
async fn our_own_refusals_are_in_its_words() {
    let mesh = shop().await;
    for (path, kind_sent, body, status, code) in [
        ("/shop.Unknown/Get", BYTES, "", "12", "W2001"),
        ("/shop.Absent/Get", TEXT, "", "14", ""),
        ("/shop.Prices/Get", TEXT, "AAAA!AAA", "3", "W2032"),
        ("/shop.Prices/Get", TEXT, "AAAAA", "3", "W2032"),
    ] {
        let mut client = Wire::to(mesh.edge_address()).await;
        let answer = client.ask(ask(path, kind_sent, body.as_bytes())).await;
        assert_eq!((answer.status(), kind(&answer)), (200, kind_sent), "{path} {body}");
        assert_eq!(answer.field("grpc-status"), Some(status), "{path} {body}");
        let said = answer.field("grpc-message").unwrap_or_default();
        assert!(said.starts_with(code), "{path} {body}: {said}");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn what_is_answered_here_or_is_not_grpc_stays_what_it_is() {
    let mesh = shop().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask(ask("/shop.Fixed/Get", BYTES, &framed(b""))).await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "plain"));
    let answer = Wire::to(mesh.edge_address()).await.get("/nowhere").await;
    assert_eq!((answer.status(), kind(&answer)), (404, "application/problem+json"));
}
