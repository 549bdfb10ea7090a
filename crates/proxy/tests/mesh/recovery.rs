//! Deadlines, retries, limits and what is done when a service cannot: in the mesh, with instances that fail on command.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::wire::{Wire, answering, connect, echo, gated, get, hanging, nobody, ok, serve, service};
use crate::support::{Mesh, counted, mesh, within};

/// A gateway with one route to `api`, which has these settings.
fn with(resilience: &str) -> String {
    format!(
        "
system: test
services: {{ api: {{ run: x, calls: [back] }}, back: {{ run: x }} }}
resilience: {{ api: {resilience}, back: {resilience} }}
gateway:
  auth: none
  routes: {{ ANY /**: api }}
"
    )
}

/// Reads requests and answers none.
async fn silent() -> u16 {
    service(|mut wire| async move { while wire.request().await.is_some() {} }).await
}

/// Answers `answer`, and counts how often it was asked.
async fn counting(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = answering(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        answer.as_bytes().to_vec()
    })
    .await;
    (port, asked)
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_time_limit_of_a_route_or_a_service_is_kept() {
    let manifest = "
system: test
services: { api: { run: x }, slow: { run: x } }
resilience: { slow: { timeout: 100ms } }
gateway:
  auth: none
  routes:
    GET /route: { to: api, timeout: 100ms }
    GET /service: slow
";
    let port = silent().await;
    let mesh = mesh(manifest).on("api", port).on("slow", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for path in ["/route", "/service"] {
        let late = client.get(path).await;
        assert_eq!((late.status(), late.code().as_str()), (504, "W3009"), "{path}");
    }
}

#[tokio::test]
async fn a_time_limit_that_was_said_covers_the_body() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  routes: { GET /**: { to: api, timeout: 200ms } }
";
    let port = service(|mut wire| async move {
        while wire.request().await.is_some() {
            wire.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun").await;
            wire.closed().await;
        }
    })
    .await;
    let mesh = mesh(manifest).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    // What is cut must not look whole: the connection ends short of the length.
    assert_eq!(client.rest().await, b"begun");
}

#[tokio::test]
async fn a_deadline_travels_and_shrinks() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let port = answering(move |request| {
        log.lock().unwrap().push(request.field("weft-deadline").map(|text| text.parse::<u64>().unwrap()));
        ok(&[], b"")
    })
    .await;
    let mesh = mesh(&with("{ retry: none }")).on("api", port).on("back", port).start().await;
    let mut client = Wire::to(mesh.toward("api", "back")).await;
    assert_eq!(client.get("/").await.status(), 200);
    client.ask("GET / HTTP/1.1\r\nhost: a\r\nweft-deadline: 5000\r\n\r\n").await;
    let bad = client.ask("GET / HTTP/1.1\r\nhost: a\r\nweft-deadline: soon\r\n\r\n").await;
    assert_eq!((bad.status(), bad.code().as_str()), (400, "W2030"));
    let seen = seen.lock().unwrap().clone();
    // A default is not a deadline, and is not passed on as one.
    assert_eq!((seen.len(), seen[0]), (2, None));
    assert!((1..5000).contains(&seen[1].unwrap()), "{seen:?}");
}

#[tokio::test]
async fn a_deadline_of_the_caller_ends_the_call() {
    let mesh =
        mesh(&with("{ retry: none }")).on("api", silent().await).on("back", silent().await).start().await;
    let mut client = Wire::to(mesh.toward("api", "back")).await;
    let late = client.ask("GET / HTTP/1.1\r\nhost: a\r\nweft-deadline: 100\r\n\r\n").await;
    assert_eq!((late.status(), late.code().as_str()), (504, "W3009"));
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_made_elsewhere_if_it_may_be() {
    let settings = "{ per_try_timeout: 150ms, timeout: 5s, balance: round_robin, breaker: { failures: 1000, success: 0% } }";
    let mesh = mesh(&with(settings)).on("api", silent().await).on("api", echo("good").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..6 {
        let answer = client.get("/").await;
        assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("good")));
    }
    // In turn, one of two goes to the one that is silent, and is not asked for again.
    let (one, two) = (client.ask(POST).await, client.ask(POST).await);
    let (failed, passed) = if one.status() == 200 { (two, one) } else { (one, two) };
    assert_eq!((failed.status(), passed.status()), (504, 200));
    // The sidecar there knows how long it has, and mostly says first that it is too late.
    assert!(["W3009", "W3010"].contains(&failed.code().as_str()), "{}", failed.text());
}

#[tokio::test]
async fn a_try_that_was_too_long_is_called_so_whichever_clock_strikes_first() {
    for limit in ["60ms", "20ms"] {
        let settings = format!("{{ per_try_timeout: {limit}, timeout: 5s, retry: none }}");
        let mesh = mesh(&with(&settings)).on("api", silent().await).start().await;
        let mut client = Wire::to(mesh.edge_address()).await;
        for _ in 0..10 {
            let late = client.get("/").await;
            assert_eq!((late.status(), late.code().as_str()), (504, "W3010"));
        }
    }
}

#[tokio::test]
async fn the_time_of_a_try_runs_from_the_end_of_the_request() {
    // An answer that comes too late by half, and much sooner than twice the limit.
    let port = service(|mut wire| async move {
        while wire.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(600)).await;
            wire.try_write(ok(&[], b"")).await;
        }
    })
    .await;
    let settings = "{ per_try_timeout: 400ms, retry: none }";
    let mesh = mesh(&with(settings)).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for request in [POST, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let late = client.ask(request).await;
        assert_eq!((late.status(), late.code().as_str()), (504, "W3010"), "{request}");
    }
}

#[tokio::test]
async fn the_limit_of_a_try_is_not_that_of_an_answer_that_has_begun() {
    let settings = "{ per_try_timeout: 1s, timeout: 10s }";
    let mesh = mesh(&with(settings)).on("api", echo("good").await).start().await;
    let answer = Wire::to(mesh.edge_address()).await.get("/").await.text();
    let told = answer.lines().find_map(|line| line.strip_prefix("weft-deadline: ")).unwrap();
    assert!((5_000..10_000).contains(&told.parse::<u64>().unwrap()), "{told}");
}

#[tokio::test]
async fn only_what_may_be_done_twice_is_tried_twice() {
    let (busy, asked) = counting(BUSY).await;
    let settings = "{ balance: round_robin, breaker: { failures: 1000, success: 0% } }";
    let mesh = mesh(&with(settings)).on("api", busy).on("api", echo("good").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let keyed = "POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: 1\r\ncontent-length: 2\r\n\r\nhi";
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
        keyed,
    ] {
        for _ in 0..4 {
            let answer = client.ask(request).await;
            assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("good")), "{request}");
            assert!(request.starts_with("GET") || answer.text().ends_with("\n\nhi"), "{}", answer.text());
        }
    }
    assert!(asked.load(Ordering::Relaxed) > 0);
    let mut statuses = [client.ask(POST).await.status(), client.ask(POST).await.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let report = mesh.gateway().report().await;
    assert!(counted(&report, "weft_upstream_retries", &[("upstream", "api")]) >= 1.0);
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_is_sent_once() {
    let (busy, asked) = counting(BUSY).await;
    let mesh = mesh(&with("{ retry: { attempts: 3 } }")).on("api", busy).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let put = |size: usize| {
        format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{}", "x".repeat(size))
    };
    assert_eq!(client.ask(put(1_000_000)).await.text(), "busy");
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    assert_eq!(client.ask(put(60_000)).await.text(), "busy");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

/// A route may ask its callee for another method and path than the client asked for.
#[tokio::test]
async fn what_may_be_repeated_is_what_the_callee_is_asked_for() {
    let manifest = "
system: test
services: { api: { run: x, api: api.yaml } }
gateway:
  auth: none
  routes:
    GET /buy: api POST /orders
    POST /ask: api POST /search
    POST /search: api POST /orders
    POST /v1/**: { to: api, rewrite: / }
";
    let api = "
openapi: 3.1.0
info: { title: api, version: '1' }
paths:
  /orders: { post: { responses: {} } }
  /search: { post: { x-idempotent: true, responses: {} } }
";
    for (asked, times) in [
        ("GET /buy", 1),
        ("POST /ask", 2),
        ("POST /search", 1),
        ("POST /v1/search", 2),
        ("POST /v1/orders", 1),
    ] {
        let (port, count) = counting(BUSY).await;
        let mesh = mesh(manifest).file("api.yaml", api).on("api", port).start().await;
        let mut client = Wire::to(mesh.edge_address()).await;
        let busy = client.ask(format!("{asked} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")).await;
        assert_eq!((busy.status(), count.load(Ordering::Relaxed)), (503, times), "{asked}");
    }
}

#[tokio::test]
async fn retries_are_bounded_by_their_budget() {
    let (busy, asked) = counting(BUSY).await;
    let settings = "{ retry: { attempts: 5, backoff: 1ms..2ms, budget: 0%, floor: 1/s } }";
    let mesh = mesh(&with(settings)).on("api", busy).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.status(), 503);
    }
    let asked = asked.load(Ordering::Relaxed);
    // One a second, for the ten seconds of the window and for as long as the test runs.
    assert!((105..140).contains(&asked), "{asked}");
    let report = mesh.gateway().report().await;
    assert!(counted(&report, "weft_retry_budget_exhausted", &[("upstream", "api")]) >= 80.0);
}

/// Answers once on each connection and closes it when the next request comes.
async fn fickle() -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = service(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            if wire.request().await.is_some() {
                count.fetch_add(1, Ordering::Relaxed);
                wire.write(ok(&[], b"once")).await;
                wire.request().await;
            }
        }
    })
    .await;
    (port, asked)
}

#[tokio::test]
async fn a_connection_that_had_been_closed_costs_nobody_a_request() {
    let (port, asked) = fickle().await;
    let mesh = mesh(&with("{ retry: none }")).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "once");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    let report = mesh.beside("api").engine.report().await;
    assert_eq!(counted(&report, "weft_upstream_resends", &[]), 9.0);
    // It is not known whether the service did what it did not answer.
    let lost = client.ask(POST).await;
    assert_eq!((lost.status(), lost.code().as_str()), (502, "W3005"));
}

#[tokio::test]
async fn an_instance_that_fails_is_left_out() {
    let (broken, asked) = counting(BROKEN).await;
    let settings = "{ balance: round_robin, breaker: { failures: 3 } }";
    let mesh = mesh(&with(settings)).on("api", broken).on("api", echo("good").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut failed = 0;
    for _ in 0..60 {
        failed += usize::from(client.get("/").await.status() == 500);
    }
    assert_eq!(failed, asked.load(Ordering::Relaxed));
    // Three, and a probe for each second or two that the test may take.
    assert!((3..15).contains(&failed), "{failed}");
}

#[tokio::test]
async fn what_is_over_the_limit_waits_and_what_is_over_the_queue_is_refused() {
    let (port, mut told, places) = gated().await;
    let mesh = mesh(&with("{ limit: { open: 1, queued: 1 } }")).on("api", port).start().await;
    let mut clients = Vec::new();
    for number in 0..3 {
        clients.push(Wire::to(mesh.edge_address()).await);
        let path = ["/first", "/second", "/third"][number];
        clients[number].write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        if number == 0 {
            assert_eq!(within("the first", told.recv()).await.unwrap(), "/first");
        }
    }
    // Of the two that found the place taken one waits; which one is for the edge to say.
    let (second, third) = clients[1..].split_at_mut(1);
    let refused = tokio::select! {
        refused = second[0].answer() => refused,
        refused = third[0].answer() => refused,
    };
    assert_eq!((refused.status(), refused.code().as_str()), (503, "W2013"));
    assert!(refused.field("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    places.add_permits(2);
    assert_eq!(clients[0].answer().await.text(), "done");
    assert_ne!(within("the one that waited", told.recv()).await.unwrap(), "/first");
}

#[tokio::test]
async fn a_client_that_is_refused_again_and_again_is_still_heard() {
    let (port, mut told, places) = gated().await;
    let mesh = mesh(&with("{ limit: { open: 1, queued: 0 } }")).on("api", port).start().await;
    let mut first = Wire::to(mesh.edge_address()).await;
    first.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the first", told.recv()).await.unwrap();
    // More than are answered without a pause between them.
    let mut stubborn = Wire::to(mesh.edge_address()).await;
    for _ in 0..2100 {
        stubborn.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(stubborn.answer().await.code().as_str(), "W2013");
    }
    places.add_permits(2);
    assert_eq!(first.answer().await.text(), "done");
    // Its place may be free only a moment after the first has its answer.
    let heard = async {
        loop {
            stubborn.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let answer = stubborn.answer().await;
            if answer.status() != 503 {
                return answer.text();
            }
        }
    };
    assert_eq!(within("an answer", heard).await, "done");
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room_in_it() {
    let (port, mut told, places) = gated().await;
    let mesh = mesh(&with("{ limit: { open: 1, queued: 1 } }")).on("api", port).start().await;
    let mut first = Wire::to(mesh.edge_address()).await;
    first.write("GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(within("the first", told.recv()).await.unwrap(), "/first");
    for _ in 0..20 {
        let socket = connect(mesh.edge_address()).await;
        // It leaves by a reset: who only closes at once may have half-closed, and is answered.
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        let mut leaver = Wire::new(socket);
        leaver.write("GET /leaver HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Only who is queued, or refused for the one before that has not left yet, has been heard.
        drop(leaver);
    }
    places.add_permits(1);
    assert_eq!(first.answer().await.text(), "done");
    places.add_permits(100);
    assert_eq!(get(mesh.edge_address(), "/last").await.text(), "done");
}

#[tokio::test]
async fn a_fallback_answers_for_a_service_that_cannot() {
    let settings = "{ timeout: 200ms, fallback: { status: 200, body: \"[]\", headers: { content-type: application/json } } }";
    let (gone, _held) = nobody();
    for port in [gone, silent().await] {
        let mesh = mesh(&with(settings)).on("api", port).start().await;
        let mut client = Wire::to(mesh.edge_address()).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "[]"));
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
    // Who calls by gRPC would not understand it.
    let refusing = mesh(&with(settings)).on("api", gone).start().await;
    let call = "POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\ncontent-length: 0\r\n\r\n";
    let answer = Wire::to(refusing.edge_address()).await.ask(call).await;
    assert_eq!(
        (answer.field("grpc-status"), answer.field("content-type")),
        (Some("4"), Some("application/grpc"))
    );
    // What the service answers itself is its answer.
    let (broken, _) = counting(BROKEN).await;
    let mesh = mesh(&with(settings)).on("api", broken).start().await;
    assert_eq!(get(mesh.edge_address(), "/").await.status(), 500);
}

#[tokio::test]
async fn a_dead_instance_costs_no_request_while_another_lives() {
    let (gone, _held) = nobody();
    let mesh = mesh(&with("{ balance: round_robin }")).on("api", gone).on("api", echo("good").await);
    let mesh = mesh.start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for _ in 0..10 {
        // Nothing was sent to the service, as its sidecar says, so even this may go elsewhere.
        assert_eq!(client.ask(POST).await.status(), 200);
    }
}

#[tokio::test]
async fn load_goes_where_there_is_less_of_it() {
    let (slow, mut told) = hanging().await;
    let mesh = mesh(&with("{ retry: none }")).on("api", slow).on("api", echo("fast").await).start().await;
    // Requests that hang count as load, at one that has never answered, too.
    let (mut hanging, mut slow_ones) = (Vec::new(), 0);
    for _ in 0..50 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        tokio::select! {
            answer = client.answer() => assert_eq!(answer.status(), 200),
            _ = told.recv() => slow_ones += 1,
        }
        hanging.push(client);
    }
    assert!(slow_ones <= 5, "{slow_ones} of 50 went where they hang");
}

/// Waits until the sidecar of `api` has found nobody at its service's port.
async fn refused_by_its_service(mesh: &Mesh) {
    let refused = [("code", "connect_failed")];
    while counted(&mesh.beside("api").engine.report().await, "weft_refusals", &refused) == 0.0 {}
}

#[tokio::test]
async fn the_death_of_the_only_service_costs_its_callers_a_moment_and_no_request() {
    let (port, held) = nobody();
    let mesh = mesh(&with("{ retry: none }")).on("api", port).start().await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(POST).await;
        clients.push(client);
    }
    refused_by_its_service(&mesh).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    serve(held.listen(16).unwrap(), move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            while let Some(request) = wire.request().await {
                assert_eq!(request.text(), "hi");
                count.fetch_add(1, Ordering::Relaxed);
                wire.write(ok(&[], b"back")).await;
            }
        }
    });
    for client in &mut clients {
        assert_eq!(client.answer().await.text(), "back");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_service_that_stays_away_is_waited_for_once() {
    let (port, _held) = nobody();
    let mesh = mesh(&with("{ retry: none }")).on("api", port).start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(POST).await;
        clients.push(client);
    }
    for client in &mut clients {
        let failed = client.answer().await;
        assert_eq!((failed.status(), failed.code().as_str()), (502, "W3001"));
    }
    let tried = || async {
        let report = mesh.beside("api").engine.report().await;
        counted(&report, "weft_refusals", &[("code", "connect_failed")])
    };
    // Each at first and at last, and a look every 100 ms of three seconds, or less often where time is short.
    let before = tried().await;
    assert!((21.0..=75.0).contains(&before), "{before}");
    assert_eq!(clients[0].ask(POST).await.code(), "W3001");
    assert_eq!(tried().await, before + 1.0);
}

/// Closes each connection as soon as a request is on it, and counts these. `first`: answers the first request of each.
async fn hanging_up(first: bool) -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = service(move |mut wire| {
        let count = Arc::clone(&count);
        async move {
            if first && wire.head().await.is_some() {
                count.fetch_add(1, Ordering::Relaxed);
                wire.write(ok(&[], b"once")).await;
            }
            if !wire.some().await.is_empty() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    (port, asked)
}

#[tokio::test]
async fn one_hop_owns_the_attempts_of_a_request() {
    let manifest = "
system: test
services:
  api: { run: x, calls: [back] }
  back: { run: x, protocol: PROTOCOL, health: tcp }
resilience: { back: { breaker: { failures: 1000, success: 0% } } }
gateway: { auth: none, routes: { ANY /**: back } }
";
    let get = |line: &str| format!("GET {line} HTTP/1.1\r\nhost: back\r\n\r\n");
    let post = |line: &str| format!("POST {line} HTTP/1.1\r\nhost: back\r\ncontent-length: 2\r\n\r\nhi");
    for protocol in ["grpc", "http"] {
        let (port, asked) = hanging_up(false).await;
        let mesh =
            mesh(&manifest.replace("PROTOCOL", protocol)).on("api", port).on("back", port).start().await;
        let ways = [
            (mesh.edge_address(), "/"),
            (mesh.toward("api", "back"), "/"),
            (mesh.beside("api").proxy, "http://back/"),
        ];
        for (address, line) in ways {
            for (request, attempts) in [(get(line), 2), (post(line), 1)] {
                let failed = Wire::to(address).await.ask(&request).await;
                assert_eq!(failed.status(), 502, "{}", failed.text());
                assert_eq!(asked.swap(0, Ordering::Relaxed), attempts, "{protocol} {request}");
            }
        }
    }
    // The idle connection that is closed in the face of a request costs one more, at one hop and once.
    let (port, asked) = hanging_up(true).await;
    let mesh = mesh(&manifest.replace("PROTOCOL", "http")).on("api", port).on("back", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for expected in [1, 2, 2] {
        assert_eq!(client.ask(get("/")).await.text(), "once");
        assert_eq!(asked.swap(0, Ordering::Relaxed), expected);
    }
}
