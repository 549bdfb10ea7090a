//! A sidecar and its own service: the API it offers, whom it lets in, and how it starts and ends.

use std::sync::Arc;

use tokio::sync::watch;
use weft_proxy::{Config, Engine, Health, ListenerKind};
use weft_trust::peer::PeerCheck;

use crate::support::http2::Client;
use crate::support::load::Load;
use crate::support::wire::{Wire, answering, echo, get, ok, service};
use crate::support::{counted, listen, mesh, within};

const PAIR: &str = "
system: test
services:
  api: { run: x, calls: [back], health: { path: /healthz, interval: 10ms } }
  back: { run: x }
gateway: { auth: none, routes: { ANY /**: api } }
";

#[tokio::test]
async fn a_service_asks_its_sidecar_about_itself() {
    let port = echo("x").await;
    let mesh = mesh(PAIR).on("api", port).on("back", port).start().await;
    let mut client = Wire::to(mesh.beside("api").api).await;
    let read = |answer: crate::support::wire::Message| -> serde_json::Value {
        assert_eq!(answer.field("content-type"), Some("application/json"));
        serde_json::from_slice(&answer.body).unwrap()
    };
    assert_eq!(read(client.get("/v1/healthz").await)["status"], "ok");
    let ready = read(client.get("/v1/readyz").await);
    assert_eq!((ready["ready"].as_bool(), ready["identity"].as_bool()), (Some(true), Some(true)));
    let own = read(client.get("/v1/metadata").await);
    assert_eq!(own["service"], "api");
    assert_eq!(own["identity"], "spiffe://test.internal/ns/default/svc/api");
    assert_eq!(own["calls"], serde_json::json!(["back"]));
    assert_eq!(client.get("/v1/nothing").await.code(), "W2001");
    let other = client.ask("POST /v1/healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((other.status(), other.field("allow")), (405, Some("GET, HEAD")));
    mesh.beside("api").engine.drain().await;
    mesh.beside("api").engine.report().await;
    // On a connection that is open already: it takes one more request.
    let leaving = client.get("/v1/readyz").await;
    assert_eq!((leaving.status(), leaving.field("connection")), (503, Some("close")));
}

#[tokio::test]
async fn a_process_that_is_not_the_services_is_not_let_in() {
    let mesh = mesh(PAIR).on("back", echo("back").await).start().await;
    let (outbound, to_back) = listen(ListenerKind::Outbound("back".to_owned()));
    let (proxy, forward) = listen(ListenerKind::Forward);
    let (api, own) = listen(ListenerKind::Api);
    let engine = Engine::start(Config {
        // Nobody has been started for it, so nobody is its service.
        peers: Some(Arc::new(PeerCheck::new())),
        ..Config::new(vec![to_back, forward, own])
    })
    .unwrap();
    engine.set_mesh(&mesh.world.tls("api")).unwrap();
    engine.apply_plan(mesh.plans.sidecars["api"].clone()).unwrap();
    engine.apply_endpoints(weft_model::wire::Endpoints { instances: mesh.listed.clone() });
    for address in [outbound, proxy, api] {
        let mut client = Wire::to(address).await;
        client.try_write("GET / HTTP/1.1\r\nhost: back\r\n\r\n").await;
        let refused = client.answer().await;
        assert_eq!((refused.status(), refused.code().as_str()), (403, "W2020"));
        assert!(refused.text().contains("it cannot be told who the peer is: the service does not run"));
    }
    let report = engine.report().await;
    assert_eq!(counted(&report, "weft_downstream_rejected", &[("reason", "peer_not_owner")]), 3.0);
}

#[tokio::test]
async fn the_health_of_a_service_is_followed() {
    let (turn, well) = watch::channel(false);
    let port = answering(move |request| {
        assert_eq!(request.path(), "/healthz");
        match *well.borrow() {
            true => ok(&[], b""),
            false => b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec(),
        }
    })
    .await;
    let mesh = mesh(PAIR).on("api", port).start().await;
    let mut health = mesh.beside("api").engine.health();
    assert_eq!(*health.borrow(), Health::Starting);
    for (is_well, state) in [(true, Health::Ready), (false, Health::Unhealthy), (true, Health::Ready)] {
        turn.send_replace(is_well);
        within("the probe", health.wait_for(|health| *health == state)).await.unwrap();
    }
}

#[tokio::test]
async fn several_workers_share_a_listener_and_sum_what_they_count() {
    let mesh = mesh(PAIR).on("api", echo("api").await).threads(3).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    load.more(200).await;
    let done = load.end().await;
    let report = mesh.gateway().report().await;
    let seen = counted(&report, "http_server_request_duration_seconds", &[("weft_source", "outside")]);
    assert_eq!(seen, f64::from(u32::try_from(done).unwrap()));
    assert!(counted(&report, "weft_downstream_connections", &[("listener", "edge")]) >= 8.0);
}

#[tokio::test]
async fn what_is_counted_does_not_grow_with_every_instance_that_ever_was() {
    let mut mesh = mesh(PAIR).on("api", echo("api").await).start().await;
    let address = mesh.edge_address();
    for name in ["api-77", "api-78", "api-79"] {
        mesh.listed[0].instance = name.to_owned();
        mesh.publish().await;
        assert_eq!(get(address, "/").await.status(), 200);
    }
    let report = mesh.gateway().report().await;
    assert!(counted(&report, "weft_upstream_connections", &[("upstream", "api")]) >= 3.0);
    let samples = report.families.iter().flat_map(|family| &family.samples);
    let gone = |label: &&String| *label == "api-1" || *label == "api-77" || *label == "api-78";
    let gone: Vec<&String> = samples.flat_map(|sample| &sample.labels).filter(gone).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_nothing() {
    let port = service(|mut wire| async move {
        if wire.request().await.is_some() {
            wire.closed().await;
        }
    })
    .await;
    let mut mesh = mesh(PAIR).on("api", port).start().await;
    let address = mesh.edge_address();
    let mut client = Wire::to(address).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let rpc = Client::to(address).await;
    drop(mesh.gateway.take());
    client.closed().await;
    // However it ends, it ends.
    let _ = within("the connection to end", rpc.over).await;
    within("the port to be free", async { while tokio::net::TcpStream::connect(address).await.is_ok() {} })
        .await;
}

#[tokio::test]
async fn without_a_plan_connections_wait_and_without_an_identity_nobody_is_called() {
    let waiting = mesh(PAIR).on("api", echo("api").await).start().await;
    let (address, listener) = listen(ListenerKind::Edge);
    let engine = Engine::start(Config::new(vec![listener])).unwrap();
    let mut early = Wire::to(address).await;
    early.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    engine.apply_endpoints(weft_model::wire::Endpoints { instances: waiting.listed.clone() });
    engine.apply_plan(waiting.plans.gateway.clone().unwrap()).unwrap();
    let refused = early.answer().await;
    assert_eq!((refused.status(), refused.code().as_str()), (503, "W2033"));
    engine.set_mesh(&waiting.world.tls("weft-gateway")).unwrap();
    assert_eq!(get(address, "/").await.status(), 200);
}
