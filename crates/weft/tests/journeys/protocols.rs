//! What goes through gateway and mesh, and comes out as it went in.

use std::io;
use std::process::Command;

use weft_testkit::http::{self, Client, Request};
use weft_testkit::{Manifest, System, tool, websocket};

use super::{ONE, WEFT};

#[test]
fn http_of_many_shapes_passes() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let edge = system.edge;
    let mut client = Client::connect(edge).unwrap();

    // Chunked both ways, with trailers.
    let chunks = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    client.write(chunks).unwrap();
    assert_eq!(client.read("POST").unwrap().json()["body"], "hello!");
    let trailers = client.send(&Request::get("/trailers").field("te", "trailers")).unwrap();
    assert!(trailers.trailers.contains(&("x-trailer".to_owned(), "last".to_owned())), "{trailers:?}");

    // A megabyte each way on the same connection.
    assert_eq!(client.send(&Request::get("/bytes/1000000")).unwrap().body.len(), 1_000_000);
    let large = client.send(&Request::new("PUT", "/echo").body(vec![b'x'; 1_000_000])).unwrap().json();
    assert_eq!(large["body"].as_str().map(str::len), Some(1_000_000));

    // HEAD has a head only.
    let head = client.send(&Request::new("HEAD", "/status/200")).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client.send(&Request::get("/status/204")).unwrap().status, 204);

    // A client that waits for 100 gets it.
    client
        .write(b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_head().unwrap().status, 100);
    client.write(b"ok").unwrap();
    assert_eq!(client.read("POST").unwrap().json()["body"], "ok");

    // Requests that come together are answered in their order.
    for n in 1..=3 {
        client.write(format!("GET /echo/{n} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    }
    for n in 1..=3 {
        assert_eq!(client.read("GET").unwrap().json()["target"], format!("/echo/{n}"));
    }
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn events_come_one_by_one_and_a_websocket_answers() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let mut events = Client::connect(system.edge).unwrap();
    events.write(b"GET /events/3 HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n").unwrap();
    for n in 1..=3 {
        assert_eq!(http::send(system.edge, &Request::new("POST", "/next")).unwrap().status, 204);
        if n == 1 {
            assert_eq!(events.read_head().unwrap().status, 200);
        }
        // The next event is let go only after this one has arrived: nothing holds it back.
        assert_eq!(events.read_chunk().unwrap().unwrap(), format!("data: {n}\n\n").into_bytes());
    }
    let mut socket = Client::connect(system.edge).unwrap();
    websocket::open(&mut socket, "/ws").unwrap();
    for text in ["hello", "again"] {
        websocket::send(&mut socket, text).unwrap();
        assert_eq!(websocket::receive(&mut socket).unwrap(), text);
    }
    drop((socket, events));
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn what_is_ambiguous_is_refused_and_what_breaks_is_told_apart() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let edge = system.edge;
    let answer = |bytes: &[u8]| {
        let mut client = Client::connect(edge).unwrap();
        client.write(bytes).unwrap();
        let answer = client.read("POST").unwrap();
        // And the connection ends: nothing behind it is taken for a request.
        let rest = client.read_to_end().unwrap_or_default();
        (answer.outcome(), rest.len())
    };
    for smuggled in [
        &b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"[..],
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
    ] {
        let (outcome, rest) = answer(smuggled);
        assert!(outcome.starts_with("400 W20"), "{outcome}: {}", String::from_utf8_lossy(smuggled));
        assert_eq!(rest, 0, "{}", String::from_utf8_lossy(smuggled));
    }
    // A service that closes without an answer, and one that closes in the middle of it.
    let dropped = http::send(edge, &Request::new("POST", "/drop").body("x")).unwrap();
    assert!(dropped.outcome().starts_with("502 W3"), "{}", dropped.outcome());
    // The break may be known before the head is sent on; else the answer is cut, and is never taken for a whole one.
    match http::get(edge, "/short") {
        Ok(answer) => assert!(answer.outcome().starts_with("502 W3"), "{}", answer.outcome()),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
    }
    assert_eq!(http::get(edge, "/echo").unwrap().status, 200);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn raw_tcp_reaches_a_declared_callee() {
    // A service of its own protocol has no route at the edge; another service calls it.
    let manifest = "
system: raw
services:
  bytes: { run: \"{service} tcp\", protocol: tcp }
  one: { run: \"{service} one\", health: /healthz, protocol: http, calls: [bytes] }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /**: one
";
    let mut system = System::up(WEFT, &Manifest::new(manifest));
    // What `one` sends to `bytes` as HTTP comes back as it is, which is no answer of HTTP: it is told so.
    let told = http::get(system.edge, "/call/bytes/hello").unwrap();
    assert_eq!(told.status, 502);
    assert!(told.text().contains("GET /hello HTTP/1.1"), "{}", told.text());
    // A client of HTTP that is told the address by accident notices.
    let one = system.processes(&["testkit-service", "one"]).first().unwrap().pid;
    let address = weft_testkit::processes::variable(one, "BYTES_URL").unwrap();
    assert!(address.starts_with("tcp://127.0.0.1:"), "{address}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_client_that_trusts_the_roots_of_the_authority_trusts_the_edge() {
    let Some(curl) = tool("curl") else { return };
    let manifest = ONE.replace("gateway:", "gateway:\n  tls: auto");
    let mut system = System::up(WEFT, &Manifest::new(&manifest));
    let roots = system.folder().join(".weft/roots.pem");
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/echo", system.edge.port());
        let ask = |more: &[&std::ffi::OsStr]| {
            Command::new(&curl).args(["-sS", "--max-time", "20"]).args(more).arg(&url).output().unwrap()
        };
        let trusted = ask(&["--cacert".as_ref(), roots.as_ref()]);
        assert!(trusted.status.success(), "{url}: {}", String::from_utf8_lossy(&trusted.stderr));
        assert_eq!(ask(&[]).status.code(), Some(60), "{url} is trusted by nobody else");
    }
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn http2_of_another_make_passes_with_and_without_tls() {
    let Some(h2load) = tool("h2load") else { return };
    for (scheme, tls) in [("http", ""), ("https", "\n  tls: auto")] {
        let manifest = ONE.replace("gateway:", &format!("gateway:{tls}"));
        let mut system = System::up(WEFT, &Manifest::new(&manifest));
        let url = format!("{scheme}://{}/echo", system.edge);
        let output = Command::new(&h2load).args(["-n", "400", "-c", "4", "-m", "10", &url]).output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains("400 succeeded, 0 failed, 0 errored, 0 timeout"), "{url}: {out}");
        assert!(out.contains("Application protocol: h2"), "{url}: {out}");
        assert!(system.interrupt().success());
        system.assert_nothing_left();
    }
}
