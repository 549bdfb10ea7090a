//! The engine as a gateway in front of real sockets: bytes in, bytes out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weft_model::plan::Plan;
use weft_proxy::{Config, Engine, Listener, ListenerKind};

/// An upstream that answers by path, and says what it got.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()))
        };
        let mut body = Vec::new();
        if let Some(length) = field("content-length:") {
            body.resize(length.parse().unwrap(), 0);
            input.read_exact(&mut body).unwrap();
        } else if field("transfer-encoding:").is_some() {
            body = chunked(&mut input);
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let say = match path.as_str() {
            "/api/close" => return,
            "/api/chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n".to_owned(),
            "/api/until-close" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end");
                return;
            }
            "/api/lies" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort");
                return;
            }
            "/api/both" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "/api/upgrade" => {
                let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n");
                let mut byte = [0; 1];
                while input.read_exact(&mut byte).is_ok() {
                    let _ = stream.write_all(&byte.map(|b| b.to_ascii_uppercase()));
                }
                return;
            }
            _ => {
                let text = format!("{head}{}", String::from_utf8_lossy(&body));
                if head.starts_with("HEAD") {
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len())
                } else {
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
                }
            }
        };
        if stream.write_all(say.as_bytes()).is_err() {
            return;
        }
    }
}

fn chunked(input: &mut impl std::io::BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        input.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn gateway(upstream: SocketAddr) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let origin = serde_json::json!({ "file": "weft.yaml", "line": 1, "column": 1 });
    let route = |key: &str, method: Option<&str>, path: &str, action: serde_json::Value| {
        serde_json::json!({
            "key": key, "origin": origin, "host": null, "method": method, "path": path, "action": action,
            "timeout_ms": null, "cors": null, "mirror": null,
        })
    };
    let forward = serde_json::json!({ "forward": {
        "targets": [{ "upstream": "api", "weight": 1 }], "rewrite": null, "replace": null } });
    let nobody = serde_json::json!({ "forward": {
        "targets": [{ "upstream": "gone", "weight": 1 }], "rewrite": null, "replace": null } });
    let to = |name: &str, port: u16| {
        serde_json::json!({
            "name": name, "origin": origin, "protocol": "http", "balance": "least_loaded", "versions": [],
            "reach": { "url": { "tls": false, "host": "127.0.0.1", "port": port, "prefix": "" } },
            "resilience": {
                "timeout_ms": 5000, "per_try_timeout_ms": null, "connect_timeout_ms": 1000, "retries": 1,
                "backoff_ms": [1, 2], "retry_budget_percent": 20, "retry_budget_floor": 10, "breaker_failures": 7,
                "breaker_success_percent": 80, "limit": { "open": 64, "queued": 64 }, "fallback": null,
            },
            "operations": [],
        })
    };
    let plan: Plan = serde_json::from_value(serde_json::json!({
        "format": weft_model::plan::PLAN_FORMAT, "system": "test", "trust_domain": "test",
        "role": { "gateway": {
            "listen": [address.to_string()], "tls": null, "trusted_proxies": [], "timeout_ms": 15000,
            "routes": [
                route("ANY /api/**", None, "/api/**", forward),
                route("GET /gone", Some("GET"), "/gone", nobody),
                route("GET /old/{id}", Some("GET"), "/old/{id}",
                      serde_json::json!({ "redirect": { "to": "/api/{id}", "status": 308 } })),
            ],
        } },
        "upstreams": [to("api", upstream.port()), to("gone", 1)],
        "observe": { "metrics": null, "istio_names": false, "istio_durations": false, "traces": null, "access_log": "off" },
    }))
    .unwrap();
    let engine =
        Engine::start(Config::new(vec![Listener { kind: ListenerKind::Edge, sockets: vec![socket] }]))
            .unwrap();
    engine.apply_plan(plan).unwrap();
    // The engine ends with its last handle; a test's process ends soon enough.
    std::mem::forget(engine);
    address
}

/// Sends bytes and reads until the peer closes, or as many bytes as `until` ends with.
fn exchange(address: SocketAddr, bytes: &[u8], until: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut seen = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => break,
            Ok(count) => seen.extend_from_slice(&buf[..count]),
            Err(error) => panic!("{error}; so far: {}", String::from_utf8_lossy(&seen)),
        }
        if !until.is_empty() && String::from_utf8_lossy(&seen).contains(until) {
            break;
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_request_goes_through_and_is_written_anew() {
    let gateway = gateway(upstream());
    let seen = exchange(
        gateway,
        b"POST /api/x/../y?q=1 HTTP/1.1\r\nHost: shop.test\r\nWeft-Caller: me\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "",
    );
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    assert!(seen.contains("POST /api/y?q=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n") && !seen.contains("6.6.6.6"), "{seen}");
    assert!(!seen.to_lowercase().contains("weft-caller"), "{seen}");
    assert!(seen.contains("traceparent: 00-") && seen.contains("x-request-id: "), "{seen}");
    assert!(seen.ends_with("\r\n\r\nabc"), "{seen}");
}

#[test]
fn pipelined_requests_are_answered_in_order_and_head_has_no_body() {
    let gateway = gateway(upstream());
    let seen = exchange(
        gateway,
        b"GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /api/2 HTTP/1.1\r\nHost: a\r\n\r\nGET /old/7 HTTP/1.1\r\nHost: a\r\n\r\nPOST /api/3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nxyz\r\n0\r\n\r\n",
        "",
    );
    let (one, rest) = seen.split_once("GET /api/1 ").unwrap();
    assert!(one.starts_with("HTTP/1.1 200 OK"));
    let (_, rest) = rest.split_once("HTTP/1.1 200 OK").unwrap();
    let (head, rest) = rest.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: "), "{head}");
    assert!(rest.starts_with("HTTP/1.1 308 ") && rest.contains("location: /api/7\r\n"), "{rest}");
    assert!(rest.contains("POST /api/3 ") && rest.ends_with("xyz"), "{rest}");
}

#[test]
fn answers_of_every_framing_pass() {
    let gateway = gateway(upstream());
    let get = |path: &str, version: &str| {
        exchange(
            gateway,
            format!("GET {path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
            "",
        )
    };
    let chunked = get("/api/chunked", "1.1");
    assert!(chunked.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"), "{chunked}");
    assert!(get("/api/chunked", "1.0").ends_with("\r\n\r\nhello"));
    let until_close = get("/api/until-close", "1.1");
    assert!(until_close.contains("a\r\nto the end\r\n0\r\n\r\n"), "{until_close}");
}

#[test]
fn an_upstream_that_lies_is_a_fault_and_the_loss_is_seen() {
    let gateway = gateway(upstream());
    let get =
        |path: &str| exchange(gateway, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), "}\n");
    let short = exchange(gateway, b"GET /api/lies HTTP/1.1\r\nHost: a\r\n\r\n", "");
    assert!(short.contains("content-length: 100") && short.len() < 400, "{short}");
    let both = get("/api/both");
    assert!(both.starts_with("HTTP/1.1 502 ") && both.contains("W3007"), "{both}");
    let closed = get("/api/close");
    assert!(closed.starts_with("HTTP/1.1 502 ") && closed.contains("W3005"), "{closed}");
    let gone = get("/gone");
    assert!(gone.starts_with("HTTP/1.1 50") && gone.contains("W3001"), "{gone}");
}

#[test]
fn what_is_no_route_or_no_request_is_refused_with_its_code() {
    let gateway = gateway(upstream());
    let ask = |bytes: &[u8]| exchange(gateway, bytes, "}\n");
    let unknown = ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("application/problem+json"),
        "{unknown}"
    );
    assert!(unknown.contains("\"code\":\"W2001\""), "{unknown}");
    let method = ask(b"DELETE /gone HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(method.starts_with("HTTP/1.1 405 ") && method.contains("allow: GET\r\n"), "{method}");
    let smuggled = ask(
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert!(smuggled.starts_with("HTTP/1.1 400 ") && smuggled.contains("connection: close"), "{smuggled}");
    let http09 = ask(b"GET /\r\n\r\n");
    assert!(http09.starts_with("HTTP/1.1 "), "{http09}");
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let gateway = gateway(upstream());
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all(b"GET /api/upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
        .unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(input.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: echo"), "{head}");
    stream.write_all(b"ping").unwrap();
    let mut pong = [0; 4];
    input.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"PING");
}

#[test]
fn expect_is_answered_when_the_body_is_wanted() {
    let gateway = gateway(upstream());
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all(b"POST /api/e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("ok"), "{rest}");
}
