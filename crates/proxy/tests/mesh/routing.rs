//! What routes do: where a request goes, what it becomes on the way, and what is answered without anybody being asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::support::http2::{self, Client};
use crate::support::mesh;
use crate::support::wire::{Message, Wire, answering, echo, get, ok, service};

#[tokio::test]
async fn paths_are_rewritten_and_replaced() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  routes:
    GET /v1/products/**: { to: api, rewrite: /products }
    GET /me/{id}: api GET /users/{id}
    GET /by-header: { to: api GET /beta, match: { headers: { x-beta: \"yes\" } } }
    GET /by-query: { to: api GET /found, match: { query: { q: \"a b\" } } }
    GET /of/{id}: \"api GET /orders?customer={id}&limit=5\"
    GET b.test/host: api GET /other-host
    GET [0::1]/host: api GET /loopback
    ANY /**: api
";
    let mesh = mesh(manifest).on("api", echo("api").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for (asked, seen) in [
        ("GET /v1/products/7/page?x=1 HTTP/1.1\r\nhost: a\r\n\r\n", "GET /products/7/page?x=1 "),
        ("GET /v1/products HTTP/1.1\r\nhost: a\r\n\r\n", "GET /products "),
        ("GET /me/42?full=1 HTTP/1.1\r\nhost: a\r\n\r\n", "GET /users/42?full=1 "),
        ("GET /by-header HTTP/1.1\r\nhost: a\r\nx-beta: yes\r\n\r\n", "GET /beta "),
        ("GET /by-header HTTP/1.1\r\nhost: a\r\nx-beta: no\r\n\r\n", "GET /by-header "),
        ("GET /by-query?q=a+b HTTP/1.1\r\nhost: a\r\n\r\n", "GET /found?q=a+b "),
        ("GET /by-query?%71=%61%20b HTTP/1.1\r\nhost: a\r\n\r\n", "GET /found?%71=%61%20b "),
        ("GET /by-query?q=a HTTP/1.1\r\nhost: a\r\n\r\n", "GET /by-query?q=a "),
        (
            "GET /of/7&customer=8&limit=900 HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /orders?customer=7%26customer%3D8%26limit%3D900&limit=5 ",
        ),
        ("GET /host HTTP/1.1\r\nhost: b.test\r\n\r\n", "GET /other-host "),
        ("GET /host HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n", "GET /loopback "),
        ("GET /host HTTP/1.1\r\nhost: c.test\r\n\r\n", "GET /host "),
        ("GET /a/./b/%7euser HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a/b/~user "),
    ] {
        let answer = client.ask(asked).await;
        assert!(answer.text().starts_with(seen), "{asked} became {}", answer.text());
    }
}

#[tokio::test]
async fn some_answers_need_no_service() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  routes:
    GET /old/{id}: { redirect: { to: \"/new/{id}\", status: 308 } }
    GET /away: { redirect: \"https://example.org/\" }
    GET /part: { redirect: \"/whole#part\" }
    GET /about: { respond: { status: 200, body: \"tea\", headers: { x-made: here } } }
    GET /api/**: api
";
    let mesh = mesh(manifest).on("api", echo("api").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let moved = client.get("/old/7?page=2").await;
    assert_eq!((moved.status(), moved.field("location")), (308, Some("/new/7?page=2")));
    let away = client.get("/away").await;
    assert_eq!((away.status(), away.field("location")), (307, Some("https://example.org/")));
    let part = client.get("/part?page=2").await;
    assert_eq!(part.field("location"), Some("/whole?page=2#part"));
    let about = client.get("/about").await;
    assert_eq!((about.status(), about.text().as_str(), about.field("x-made")), (200, "tea", Some("here")));
    let nothing = client.get("/nothing").await;
    assert_eq!((nothing.status(), nothing.code().as_str()), (404, "W2001"));
    let other = client.ask("DELETE /about HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((other.status(), other.code().as_str(), other.field("allow")), (405, "W2002", Some("GET")));
}

#[tokio::test]
async fn fields_are_set_and_removed_in_both_directions() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  routes:
    ANY /**:
      to: api
      headers:
        request: { set: { x-set: \"1\" }, remove: [x-secret] }
        response: { set: { cache-control: no-store }, remove: [server] }
";
    let port = answering(|request| {
        let names: Vec<_> = request.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        ok(&[("server", "x"), ("cache-control", "public"), ("x-kept", "1")], names.join(",").as_bytes())
    })
    .await;
    let mesh = mesh(manifest).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask("GET / HTTP/1.1\r\nhost: a\r\nx-set: theirs\r\nx-secret: s\r\n\r\n").await;
    let seen = answer.text();
    assert!(seen.contains("x-set=1") && !seen.contains("theirs") && !seen.contains("x-secret"), "{seen}");
    assert_eq!((answer.field("cache-control"), answer.field("server")), (Some("no-store"), None));
    assert_eq!(answer.field("x-kept"), Some("1"));
}

#[tokio::test]
async fn pages_of_other_origins_get_what_the_rules_say() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  cors:
    origins: [\"https://shop.test\"]
    methods: [GET, POST]
    headers: [content-type]
    expose: [x-total]
    credentials: true
    max_age: 10m
  routes:
    ANY /**: api
";
    let mesh =
        mesh(manifest).on("api", answering(|_| ok(&[("access-control-allow-origin", "*")], b"")).await);
    let mesh = mesh.start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let preflight = |origin: &str, method: &str, field: &str| {
        format!(
            "OPTIONS /a HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\naccess-control-request-method: {method}\r\naccess-control-request-headers: {field}\r\n\r\n"
        )
    };
    let yes = client.ask(preflight("https://shop.test", "POST", "content-type")).await;
    assert_eq!((yes.status(), yes.field("access-control-allow-origin")), (204, Some("https://shop.test")));
    assert_eq!(yes.field("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(yes.field("access-control-allow-headers"), Some("content-type"));
    assert_eq!((yes.field("access-control-max-age"), yes.field("vary")), (Some("600"), Some("origin")));
    for (origin, method, field) in [
        ("https://evil.test", "GET", ""),
        ("https://shop.test", "DELETE", ""),
        ("https://shop.test", "GET", "x-other"),
    ] {
        let no = client.ask(preflight(origin, method, field)).await;
        assert_eq!((no.status(), no.code().as_str()), (403, "W2025"), "{origin} {method} {field}");
    }
    let answer = client.ask("GET /a HTTP/1.1\r\nhost: a\r\norigin: https://shop.test\r\n\r\n").await;
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://shop.test"));
    assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.field("access-control-expose-headers"), Some("x-total"));
    let other = client.ask("GET /a HTTP/1.1\r\nhost: a\r\norigin: https://evil.test\r\n\r\n").await;
    assert_eq!(other.field("access-control-allow-origin"), None);
}

/// How often each of them answered.
async fn tally(
    client: &mut Wire,
    requests: usize,
    fields: impl Fn(usize) -> String,
) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for number in 0..requests {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", fields(number))).await;
        assert_eq!(answer.status(), 200);
        *seen.entry(answer.field("x-echo").unwrap().to_owned()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn weights_and_canaries_choose_the_version() {
    let manifest = "
system: test
services:
  api: { run: x, versions: { v2: { env: { A: \"2\" } } } }
  next: { run: x }
rollout: { api: { v2: { weight: 25%, header: { x-canary: \"yes\" } } } }
gateway:
  auth: none
  routes:
    GET /: api
    GET /split: { to: { api: 50%, next: 50% } }
";
    let mesh = mesh(manifest)
        .version("api", "v1", echo("one").await)
        .version("api", "v2", echo("two").await)
        .on("next", echo("next").await)
        .start()
        .await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let canary = tally(&mut client, 20, |_| "x-canary: yes\r\n".to_owned()).await;
    assert_eq!(canary, BTreeMap::from([("two".to_owned(), 20)]));
    // So far from a quarter of 400 comes no fair draw in the life of this test.
    let drawn = tally(&mut client, 400, |_| "x-canary: no\r\n".to_owned()).await;
    assert!((40..190).contains(&drawn["two"]), "{drawn:?}");
    let mut split = BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        *split.entry(client.get("/split").await.field("x-echo").unwrap().to_owned()).or_default() += 1;
    }
    assert!((40..160).contains(&split["next"]), "{split:?}");
}

#[tokio::test]
async fn instances_are_chosen_in_turn_or_by_what_the_request_says() {
    let manifest = "
system: test
services: { turn: { run: x }, ring: { run: x, calls: [turn] }, jar: { run: x } }
resilience:
  turn: { balance: round_robin }
  ring: { balance: { ring: header x-user } }
  jar: { balance: { ring: cookie sid } }
gateway:
  auth: none
  routes: { GET /turn: turn, GET /ring: ring, GET /jar: jar }
";
    let mut mesh = mesh(manifest);
    for service in ["turn", "ring", "jar"] {
        for name in ["a", "b", "c"] {
            mesh = mesh.on(service, echo(name).await);
        }
    }
    let mesh = mesh.start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.push(client.get("/turn").await.field("x-echo").unwrap().to_owned());
    }
    let mut first = turns[..3].to_vec();
    first.sort();
    assert_eq!((first, &turns[..3]), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], &turns[3..]));
    for (path, field) in [("/ring", "x-user: "), ("/jar", "cookie: a=b; sid=")] {
        let mut chosen = BTreeMap::new();
        for user in 0..30 {
            for _ in 0..3 {
                let answer =
                    client.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{field}{user}\r\n\r\n")).await;
                let name = answer.field("x-echo").unwrap().to_owned();
                assert_eq!(*chosen.entry(user).or_insert(name.clone()), name, "{path} {user}");
            }
        }
        let mut used: Vec<_> = chosen.into_values().collect();
        used.sort();
        used.dedup();
        assert_eq!(used, ["a", "b", "c"], "{path}");
    }
}

#[tokio::test]
async fn a_mirror_gets_a_copy_and_nobody_waits_for_it() {
    let manifest = "
system: test
services: { api: { run: x }, shadow: { run: x } }
gateway:
  auth: none
  routes:
    ANY /v1/**: { to: api, rewrite: /, mirror: shadow 100%, headers: { request: { set: { x-set: \"1\" } } } }
";
    let (tell, mut told) = mpsc::channel::<Message>(16);
    // It hears, and never answers.
    let shadow = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while let Some(request) = wire.request().await {
                tell.send(request).await.unwrap();
                wire.closed().await;
            }
        }
    })
    .await;
    let mesh = mesh(manifest).on("api", echo("api").await).on("shadow", shadow).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let answer = client.ask("POST /v1/a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").await;
    assert!(answer.text().ends_with("\n\nbody"), "{}", answer.text());
    assert!(!answer.text().contains("x-weft-mirror"), "{}", answer.text());
    let copy = crate::support::within("the copy", told.recv()).await.unwrap();
    assert_eq!((copy.line.as_str(), copy.text().as_str()), ("POST /a?b HTTP/1.1", "body"));
    assert_eq!((copy.field("x-weft-mirror"), copy.field("x-set")), (Some("1"), Some("1")));
    assert_eq!(client.get("/v1/next").await.status(), 200);
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_not_believed() {
    let manifest = "
system: test
services: { api: { run: x, calls: [back] }, back: { run: x } }
gateway:
  auth: none
  routes: { ANY /**: api }
";
    let port = echo("api").await;
    let mesh = mesh(manifest).on("api", port).on("back", port).start().await;
    let forged = "GET / HTTP/1.1\r\nhost: a\r\nweft-caller: spiffe://test.internal/ns/default/svc/admin\r\nweft-principal: root\r\nweft-deadline: 1\r\nweft-attempt: 9\r\nx-forwarded-client-cert: x\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-forwarded-host: evil\r\nweft-ended-by: W3001\r\n\r\n";
    let seen = Wire::to(mesh.edge_address()).await.ask(forged).await.text();
    assert!(!seen.contains("6.6.6.6") && !seen.contains("admin") && !seen.contains("root"), "{seen}");
    assert!(!seen.contains("evil") && !seen.contains("client-cert"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("svc/weft-gateway\n"), "{seen}");
    // A service cannot be another one either.
    let seen = Wire::to(mesh.toward("api", "back"))
        .await
        .ask(forged.replace("weft-deadline: 1\r\n", ""))
        .await
        .text();
    assert!(seen.contains("weft-caller: spiffe://test.internal/ns/default/svc/api\n"), "{seen}");
    assert!(
        !seen.contains("admin") && !seen.contains("client-cert") && !seen.contains("principal"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  trusted_proxies: [127.0.0.0/8]
  routes: { ANY /**: api }
";
    let mesh = mesh(manifest).on("api", echo("api").await).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let seen = client
        .ask("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\nforwarded: for=9.9.9.9;proto=https\r\n\r\n")
        .await
        .text();
    assert!(seen.contains("x-forwarded-for: 9.9.9.9, 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: https\n"), "{seen}");
    assert!(seen.contains("forwarded: for=9.9.9.9;proto=https, for=127.0.0.1;proto=http\n"), "{seen}");
}

#[tokio::test]
async fn endpoints_that_are_not_declared_are_denied_where_they_arrive() {
    let manifest = "
system: test
services:
  api: { run: x, calls: [\"back GET /stock/{sku}\"] }
  back: { run: x }
gateway: { auth: none, routes: { GET /a: api } }
";
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let port = answering(move |request| {
        log.lock().unwrap().push(request.line.clone());
        ok(&[], b"")
    })
    .await;
    let mesh = mesh(manifest).on("api", port).on("back", port).start().await;
    let address = mesh.toward("api", "back");
    assert_eq!(get(address, "/stock/7").await.status(), 200);
    for request in ["GET /prices", "POST /stock/7", "GET /stock/7/8"] {
        let mut client = Wire::to(address).await;
        let denied = client.ask(format!("{request} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!((denied.status(), denied.code().as_str()), (403, "W2003"), "{request}");
        let problem: serde_json::Value = serde_json::from_slice(&denied.body).unwrap();
        assert_eq!(problem["rule"].as_str().unwrap().split(':').next(), Some("weft.yaml"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("`api` may call only"), "{problem}");
    }
    assert_eq!(*asked.lock().unwrap(), ["GET /stock/7 HTTP/1.1"]);
}

#[tokio::test]
async fn a_refusal_of_a_route_with_cross_origin_rules_can_be_read_by_the_script() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  cors: { origins: [\"https://shop.test\"], credentials: true }
  routes:
    ANY /api/**: { to: api, timeout: 100ms, headers: { response: { set: { x-edited: \"yes\" } } } }
";
    let silent = service(|mut wire| async move { while wire.request().await.is_some() {} }).await;
    let mesh = mesh(manifest).on("api", silent).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let ask =
        |path: &str, origin: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n\r\n");
    let late = client.ask(ask("/api/a", "https://shop.test")).await;
    assert_eq!((late.status(), late.code().as_str()), (504, "W3009"));
    assert_eq!(late.field("access-control-allow-origin"), Some("https://shop.test"));
    assert_eq!(late.field("access-control-allow-credentials"), Some("true"));
    assert_eq!((late.field("vary"), late.field("x-edited")), (Some("origin"), Some("yes")));
    let other = client.ask(ask("/api/a", "https://evil.test")).await;
    assert_eq!((other.status(), other.field("access-control-allow-origin")), (504, None));
    // Where no route takes it there are no rules to go by.
    let lost = client.ask(ask("/lost", "https://shop.test")).await;
    assert_eq!((lost.status(), lost.field("access-control-allow-origin")), (404, None));
}

#[tokio::test]
async fn a_match_sees_every_value_of_a_repeated_field_and_all_of_them_are_forwarded() {
    let manifest = "
system: test
services: { api: { run: x } }
gateway:
  auth: none
  routes:
    GET /a: { to: api GET /beta, match: { headers: { x-beta: \"yes\" } } }
    GET /b: { to: api GET /alike, match: { headers: { cookie: \"a=1\" } } }
    ANY /**: api
";
    let mesh = mesh(manifest).on("api", echo("api").await).start().await;
    let mut http1 = Wire::to(mesh.edge_address()).await;
    let mut http2 = Client::to(mesh.edge_address()).await;
    // What is decided on is what is forwarded: each value by itself, in the order of the wire. A list within one value is one
    // value.
    for (path, values, seen) in [
        ("/a", ["no", "yes"].as_slice(), "/beta"),
        ("/a", &["yes", "no"], "/beta"),
        ("/a", &["no", "maybe", "yes"], "/beta"),
        ("/a", &["yes", "yes"], "/beta"),
        ("/a", &["no", "maybe"], "/a"),
        ("/a", &["no, yes"], "/a"),
        ("/a", &["no", "YES"], "/a"),
        ("/a", &["", "yes"], "/beta"),
    ] {
        let fields: Vec<_> = values.iter().map(|value| ("x-beta", *value)).collect();
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let one = http1.ask(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{lines}\r\n")).await.text();
        let two = http2.ask(http2::request("GET", path, &fields), b"").await.text();
        for text in [one, two] {
            assert!(text.starts_with(&format!("GET {seen} HTTP/1.1\n")), "{values:?} became {text}");
            let forwarded: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("x-beta: ")).collect();
            assert_eq!(forwarded, values, "{text}");
        }
    }
    // Pieces of a cookie are matched as they came, each by itself, and put together on the way.
    let text =
        http2.ask(http2::request("GET", "/b", &[("cookie", "b=2"), ("cookie", "a=1")]), b"").await.text();
    assert!(text.starts_with("GET /alike ") && text.contains("\ncookie: b=2; a=1\n"), "{text}");
}
