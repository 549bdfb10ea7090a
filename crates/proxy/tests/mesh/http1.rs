//! HTTP/1.1 through gateway and mesh, and from service to service: every framing, in both directions, to the byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use weft_proxy::Limits;
use weft_stdx::clock::Clock;

use crate::support::wire::{Wire, answering, echo, get, ok, service};
use crate::support::{Mesh, checksum, counted, mesh, noise, within};

/// A gateway in front of `api`, which may call `back`.
const PAIR: &str = "
system: test
services:
  api: { run: x, calls: [back] }
  back: { run: x }
gateway:
  auth: none
  routes:
    ANY /**: api
";

/// `api` at this port, through the edge.
async fn in_front_of(port: u16) -> Mesh {
    mesh(PAIR).on("api", port).start().await
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// The same, for clients that may end their side so soon after their request.
async fn closing_in_front_of(half_close: Duration, port: u16) -> Mesh {
    mesh(PAIR).limits(Limits { half_close, ..Limits::default() }).on("api", port).start().await
}

#[tokio::test]
async fn a_request_goes_through_edge_and_mesh_and_says_who_calls() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for number in 0..3 {
        let answer = client.get(&format!("/things/{number}?q=1")).await;
        assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("api")));
        let seen = answer.text();
        assert!(seen.starts_with(&format!("GET /things/{number}?q=1 HTTP/1.1\n")), "{seen}");
        assert!(seen.contains("host: shop.test\n"), "{seen}");
        assert!(seen.contains("weft-caller: spiffe://test.internal/ns/default/svc/weft-gateway\n"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");
    }
}

#[tokio::test]
async fn a_service_calls_another_through_both_sidecars() {
    let mesh = mesh(PAIR).on("api", echo("api").await).on("back", echo("back").await).start().await;
    let answer = get(mesh.toward("api", "back"), "/stock/1").await;
    assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("back")));
    let seen = answer.text();
    assert!(seen.starts_with("GET /stock/1 HTTP/1.1\n"), "{seen}");
    assert!(seen.contains("host: back\n"), "{seen}");
    assert!(seen.contains("weft-caller: spiffe://test.internal/ns/default/svc/api\n"), "{seen}");
}

#[tokio::test]
async fn chunks_and_trailers_pass_in_both_directions() {
    let port = answering(|request| {
        assert_eq!(request.field("transfer-encoding"), Some("chunked"), "{:?}", request.fields);
        let sum = request.trailers.iter().find(|(name, _)| name == "x-sum").unwrap();
        let body = request.text();
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-back: {}\r\n\r\n",
            body.len(),
            sum.1
        )
        .into_bytes()
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..2 {
        let answer = client
            .ask("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\n\r\n")
            .await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello world"));
        assert_eq!(answer.trailers, [("x-back".to_owned(), "11".to_owned())]);
    }
}

#[tokio::test]
async fn head_tells_the_length_and_the_connection_lives_on() {
    let port = answering(|request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\nx-head: yes\r\n\r\n".to_vec(),
        _ => ok(&[], b"body"),
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("1234")));
    assert_eq!(head.field("x-head"), Some("yes"));
    assert_eq!(client.get("/b").await.text(), "body");
}

#[tokio::test]
async fn every_answer_says_when_it_came_to_be() {
    let port = answering(|request| match request.path() {
        "/dated" => ok(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], b"old"),
        "/same" => b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n".to_vec(),
        _ => ok(&[], b"new"),
    })
    .await;
    let mesh = in_front_of(port).await;
    let clock = Clock::system();
    let asked = clock.wall();
    // Of a second since then, and of no other.
    let is_now = |text: &str| {
        let passed = clock.wall().duration_since(asked).unwrap().as_secs();
        (0..=passed + 1).any(|later| httpdate::fmt_http_date(asked + Duration::from_secs(later)) == text)
    };
    let mut client = Wire::to(mesh.edge_address()).await;
    for path in ["/new", "/same", "/new"] {
        let answer = client.get(path).await;
        let dates: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "date").collect();
        assert!(matches!(dates[..], [(_, date)] if is_now(date)), "{path}: {dates:?}");
    }
    // What says so itself is believed.
    assert_eq!(client.get("/dated").await.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    for refused in ["GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Wire::to(mesh.edge_address()).await;
        let answer = client.ask(refused).await;
        assert_eq!(answer.status(), 400, "{refused}");
        assert!(answer.field("date").is_some_and(is_now), "{refused}");
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without() {
    let port = answering(|request| match request.path() {
        "/gone" => b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n".to_vec(),
        "/same" => b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 77\r\n\r\n".to_vec(),
        "/empty" => ok(&[], b""),
        _ => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let gone = client.get("/gone").await;
    assert_eq!((gone.status(), gone.field("content-length")), (204, None));
    let same = client.get("/same").await;
    assert_eq!(
        (same.status(), same.field("content-length"), same.field("etag")),
        (304, Some("77"), Some("\"1\""))
    );
    let empty = client.get("/empty").await;
    assert_eq!((empty.status(), empty.body.len()), (200, 0));
    let chunked = client.get("/chunked").await;
    assert_eq!((chunked.status(), chunked.body.len()), (200, 0));
    assert_eq!(client.get("/empty").await.status(), 200);
}

#[tokio::test]
async fn early_hints_arrive_before_the_answer_is_made() {
    let heard = Arc::new(Notify::new());
    let told = Arc::clone(&heard);
    let port = service(move |mut wire| {
        let told = Arc::clone(&told);
        async move {
            while wire.request().await.is_some() {
                wire.write("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n").await;
                within("the client to hear it", told.notified()).await;
                wire.write(ok(&[], b"page")).await;
            }
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let hints = client.head().await.unwrap();
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(hints.field("date"), None);
    heard.notify_one();
    assert_eq!(client.answer().await.text(), "page");
}

#[tokio::test]
async fn who_expects_100_gets_it_when_the_body_is_wanted() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("PUT /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 100);
    client.write("abc").await;
    let answer = client.answer().await;
    assert!(answer.status() == 200 && answer.text().ends_with("\n\nabc"), "{}", answer.text());
    assert_eq!(client.get("/after").await.status(), 200);
    // Nobody is asked for a body that is not wanted.
    client.write("PUT /%00 HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 400);
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_passed_on_whole() {
    let port = service(|mut wire| async move {
        if wire.request().await.is_some() {
            wire.write("HTTP/1.1 200 OK\r\n\r\nto the ").await;
            wire.write("end").await;
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..2 {
        let answer = client.get("/a").await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "to the end"));
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_understands() {
    let port =
        answering(|_| b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec())
            .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.field("transfer-encoding"), answer.text().as_str()), (None, "hi"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mesh = in_front_of(echo("api").await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut all = String::new();
    for number in 0..20 {
        all.push_str(&format!(
            "POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{:02}",
            number
        ));
    }
    client.write(all).await;
    for number in 0..20 {
        let seen = client.answer().await.text();
        assert!(seen.starts_with(&format!("POST /{number} ")), "{seen}");
        assert!(seen.ends_with(&format!("\n\n{number:02}")), "{seen}");
    }
}

#[tokio::test]
async fn who_asks_for_much_before_reading_gets_all_of_it_in_order() {
    /// More than the buffers of the kernel take: the last answers wait at the edge.
    const ASKED: usize = 1500;
    const BODY_BYTES: usize = 8 * 1024;
    /// As many as the kernel holds of it.
    const ANSWERED: usize = 300;
    let (tell, mut told) = mpsc::channel(ASKED);
    let port = answering(move |request| {
        let mut body = request.path().as_bytes().to_vec();
        body.resize(BODY_BYTES, b' ');
        tell.try_send(()).unwrap();
        ok(&[], &body)
    })
    .await;
    let mesh = closing_in_front_of(LONG, port).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = Wire::new(socket.connect(mesh.edge_address()).await.unwrap());
    let all: String = (0..ASKED).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.write(all).await;
    client.finish().await;
    for _ in 0..ANSWERED {
        within("an answer", told.recv()).await.unwrap();
    }
    for number in 0..ASKED {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.body.len()), (200, BODY_BYTES));
        assert_eq!(answer.text().trim_end(), format!("/{number}"));
    }
    client.closed().await;
}

#[tokio::test]
async fn many_who_end_their_side_at_once_are_all_answered() {
    const CLIENTS: usize = 400;
    let mesh = closing_in_front_of(LONG, echo("api").await).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write("GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.finish().await;
        clients.push(client);
    }
    for mut client in clients {
        assert_eq!(client.answer().await.status(), 200);
        client.closed().await;
    }
}

#[tokio::test]
async fn large_bodies_arrive_unchanged_up_and_down() {
    let port = answering(|request| ok(&[("x-sum", &checksum(&request.body))], &request.body)).await;
    let mesh = mesh(PAIR).on("api", port).on("back", port).start().await;
    let body = noise(5 * 1024 * 1024 + 77);
    for address in [mesh.edge_address(), mesh.toward("api", "back")] {
        for chunked in [false, true] {
            let (mut client, mut sent) = (Wire::to(address).await, Vec::new());
            if chunked {
                sent.extend_from_slice(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
                for part in body.chunks(70_001) {
                    sent.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                    sent.extend_from_slice(part);
                    sent.extend_from_slice(b"\r\n");
                }
                sent.extend_from_slice(b"0\r\n\r\n");
            } else {
                let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
                sent.extend_from_slice(head.as_bytes());
                sent.extend_from_slice(&body);
            }
            let answer = client.ask(sent).await;
            assert_eq!((answer.status(), answer.field("x-sum")), (200, Some(checksum(&body).as_str())));
            assert!(answer.body == body, "the answer is another, {} bytes", answer.body.len());
        }
    }
}

/// What may be on the way between a service that writes and a client that does not read: buffers of three loopback
/// connections (10 MiB each where the kernel tunes them to the limit), and the windows of HTTP/2.
const ON_THE_WAY_MAX: usize = 48 * 1024 * 1024;

#[tokio::test]
async fn who_reads_slowly_slows_the_service_down() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 4096;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let port = service(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            if wire.request().await.is_none() {
                return;
            }
            wire.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PART * PARTS)).await;
            let part = vec![7; PART];
            for _ in 0..PARTS {
                wire.write(&part).await;
                count.fetch_add(PART, Ordering::Relaxed);
            }
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await.unwrap();
    let mut read = 0;
    while read < PART * PARTS {
        read += client.bytes(PART).await.len();
        let ahead = written.load(Ordering::Relaxed).saturating_sub(read);
        assert!(ahead < ON_THE_WAY_MAX, "{ahead} bytes are on the way");
    }
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (next, events) = mpsc::channel::<&'static str>(1);
    let events = Arc::new(tokio::sync::Mutex::new(events));
    let port = service(move |mut wire| {
        let events = Arc::clone(&events);
        async move {
            if wire.request().await.is_none() {
                return;
            }
            wire.write(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )
            .await;
            while let Some(event) = events.lock().await.recv().await {
                wire.write(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            wire.write("0\r\n\r\n").await;
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().field("content-type"), Some("text/event-stream"));
    for event in ["data: 1\n\n", "data: two\n\n", "data: 3\n\n"] {
        // The next one is made only after this one arrived.
        next.send(event).await.unwrap();
        assert_eq!(client.chunk().await.unwrap(), event.as_bytes());
    }
    drop(next);
    assert!(client.chunk().await.is_none());
}

#[tokio::test]
async fn a_service_may_answer_while_the_request_still_comes() {
    let port = service(|mut wire| async move {
        if wire.head().await.is_none() {
            return;
        }
        wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Some(chunk) = wire.chunk().await {
            let loud = String::from_utf8(chunk).unwrap().to_uppercase();
            wire.write(format!("{:x}\r\n{loud}\r\n", loud.len())).await;
        }
        wire.write("0\r\n\r\n").await;
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("POST /talk HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    for (said, heard) in [("one", "ONE"), ("two", "TWO")] {
        client.write(format!("3\r\n{said}\r\n")).await;
        assert_eq!(client.chunk().await.unwrap(), heard.as_bytes());
    }
    client.write("0\r\n\r\n").await;
    assert!(client.chunk().await.is_none());
}

#[tokio::test]
async fn an_upload_that_the_service_does_not_want_ends_with_its_answer() {
    let port = service(|mut wire| async move {
        if wire.head().await.is_some() {
            wire.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!")
                .await;
            wire.finish().await;
            wire.rest().await;
        }
    })
    .await;
    let mesh = in_front_of(port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\nabc").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no!"));
    assert_eq!(answer.field("connection"), Some("close"));
}

/// Answers an upgrade and then sends back what it gets, in capitals.
async fn shouting() -> u16 {
    service(|mut wire| async move {
        let Some(head) = wire.head().await else { return };
        assert_eq!(head.field("upgrade"), Some("shout"), "{:?}", head.fields);
        wire.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n").await;
        loop {
            let heard = wire.some().await;
            if heard.is_empty() {
                wire.write("bye").await;
                wire.finish().await;
                return;
            }
            wire.write(heard.to_ascii_uppercase()).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_through_the_mesh() {
    let mesh = mesh(PAIR).on("api", shouting().await).on("back", shouting().await).start().await;
    for address in [mesh.edge_address(), mesh.toward("api", "back")] {
        let mut client = Wire::to(address).await;
        client.write("GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status(), head.field("upgrade")), (101, Some("shout")));
        client.write("ping").await;
        assert_eq!(client.bytes(4).await, b"PING");
        // A record of TLS holds 16384 bytes: the last few of these come in a record of their own.
        for size in [16_384, 16_385, 16_390, 20_000, 100_001] {
            client.write(vec![b'x'; size]).await;
            assert!(client.bytes(size).await.iter().all(|byte| *byte == b'X'), "{size}");
        }
        // What is over in one direction is not over in the other.
        client.finish().await;
        assert_eq!(client.rest().await, b"bye");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_an_ordinary_answer() {
    let mesh = in_front_of(answering(|_| ok(&[], b"plain")).await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer =
        client.ask("GET / HTTP/1.1\r\nhost: a\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "plain"));
    assert_eq!(client.get("/").await.text(), "plain");
}

#[tokio::test]
async fn a_change_to_a_protocol_that_was_not_asked_for_is_refused() {
    let other = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: whisper\r\nconnection: upgrade\r\n\r\n";
    let mesh = in_front_of(answering(|_| other.to_vec()).await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..2 {
        let answer =
            client.ask("GET / HTTP/1.1\r\nhost: a\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n").await;
        assert_eq!((answer.status(), answer.code().as_str()), (502, "W3017"));
    }
}

#[tokio::test]
async fn a_refused_upgrade_says_through_the_mesh_what_should_have_been_asked_for() {
    let wants = "HTTP/1.1 426 Upgrade Required\r\nupgrade: shout/2\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno";
    let mesh = in_front_of(answering(move |_| wants.as_bytes().to_vec()).await).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..2 {
        let answer =
            client.ask("GET / HTTP/1.1\r\nhost: a\r\nupgrade: shout\r\nconnection: upgrade\r\n\r\n").await;
        assert_eq!((answer.status(), answer.text().as_str()), (426, "no"));
        let said = (answer.field("upgrade"), answer.field("connection"));
        assert_eq!(said, (Some("shout/2"), Some("upgrade")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_request_at_the_service() {
    let (tell, mut told) = mpsc::channel(4);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            if wire.request().await.is_none() {
                return;
            }
            tell.send("asked").await.unwrap();
            wire.closed().await;
            tell.send("left").await.unwrap();
        }
    })
    .await;
    let mesh = closing_in_front_of(Duration::ZERO, port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(within("the request", told.recv()).await, Some("asked"));
    drop(client);
    assert_eq!(within("the end of it", told.recv()).await, Some("left"));
    mesh.ended_with("downstream_gone", 1.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_stream_is_noticed() {
    let (tell, mut told) = mpsc::channel(4);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            if wire.request().await.is_none() {
                return;
            }
            wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
            wire.closed().await;
            tell.send("left").await.unwrap();
        }
    })
    .await;
    let mesh = closing_in_front_of(Duration::ZERO, port).await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap(), b"hi");
    drop(client);
    assert_eq!(within("the end of it", told.recv()).await, Some("left"));
}

#[tokio::test]
async fn a_client_that_only_ends_its_side_is_answered() {
    let (tell, mut told) = mpsc::channel(4);
    let answer = Arc::new(Notify::new());
    let wait = Arc::clone(&answer);
    let port = service(move |mut wire| {
        let (tell, wait) = (tell.clone(), Arc::clone(&wait));
        async move {
            while let Some(request) = wire.request().await {
                tell.send(request.text()).await.unwrap();
                wait.notified().await;
                wire.write(ok(&[], b"still here")).await;
            }
        }
    })
    .await;
    let mesh = closing_in_front_of(LONG, port).await;
    for request in
        ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"]
    {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(request).await;
        client.finish().await;
        let body = within("the request", told.recv()).await.unwrap();
        assert!(request.ends_with(&body), "{body}");
        answer.notify_one();
        assert_eq!(client.answer().await.text(), "still here");
        client.closed().await;
    }
    let report = mesh.gateway().report().await;
    let answered = [("http_response_status_code", "200")];
    assert_eq!(counted(&report, "http_server_request_duration_seconds", &answered), 2.0);
}
