//! What changes while requests run: plans, instances, identities, and processes that leave. Nobody loses a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use weft_model::wire::InstanceState;

use crate::support::http2::{Client, answer, request};
use crate::support::load::Load;
use crate::support::wire::{Wire, echo, gated, service};
use crate::support::{Mesh, counted, mesh, within};

fn manifest(extra: &str) -> String {
    format!(
        "
system: test
services: {{ api: {{ run: x, calls: [back] }}, back: {{ run: x }} }}
gateway:
  auth: none
  routes:
    ANY /**: api
    {extra}
"
    )
}

#[tokio::test]
async fn plans_are_changed_under_load() {
    let mut mesh =
        mesh(&manifest("")).on("api", echo("api").await).on("api", echo("api").await).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    for number in 0..20 {
        load.more(20).await;
        mesh.reload(&manifest(&format!("GET /new/{number}: api"))).await;
    }
    load.more(20).await;
    assert!(load.end().await >= 400);
    // The last one is in force.
    let mut client = Wire::to(mesh.edge_address()).await;
    assert_eq!(client.get("/new/19").await.status(), 200);
}

#[tokio::test]
async fn a_plan_that_cannot_be_run_changes_nothing() {
    let mesh = mesh(&manifest("")).on("api", echo("api").await).start().await;
    let mut other = mesh.plans.gateway.clone().unwrap();
    other.format += 1;
    assert!(mesh.gateway().apply_plan(other).is_err());
    let foreign = mesh.plans.sidecars["api"].clone();
    assert!(mesh.gateway().apply_plan(foreign).is_err());
    assert_eq!(Wire::to(mesh.edge_address()).await.get("/").await.status(), 200);
}

#[tokio::test]
async fn an_exchange_keeps_the_plan_that_it_began_with() {
    let (port, mut told, go) = gated().await;
    let edited = |value: &str| {
        format!("GET /edit: {{ to: api, headers: {{ response: {{ set: {{ x-plan: {value} }} }} }} }}")
    };
    let mut mesh = mesh(&manifest(&edited("old"))).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET /edit HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", told.recv()).await.unwrap();
    mesh.reload(&manifest(&edited("new"))).await;
    go.add_permits(2);
    assert_eq!(client.answer().await.field("x-plan"), Some("old"));
    assert_eq!(client.get("/edit").await.field("x-plan"), Some("new"));
}

#[tokio::test]
async fn instances_come_and_go_under_load() {
    let mut mesh = mesh(&manifest("")).on("api", echo("first").await).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    for _ in 0..6 {
        load.more(20).await;
        let sidecar = mesh.sidecar("api", "v1", echo("next").await);
        mesh.list(&sidecar);
        mesh.sidecars.push(sidecar);
        mesh.publish().await;
        load.more(20).await;
        // As control tells it: first that it is leaving, then that it has left.
        mesh.listed[0].state = InstanceState::Draining as i32;
        mesh.publish().await;
        load.more(20).await;
        mesh.listed.remove(0);
        mesh.publish().await;
        let leaving = mesh.sidecars.remove(0);
        leaving.engine.drain().await;
        load.more(20).await;
        drop(leaving);
    }
    load.more(20).await;
    load.end().await;
}

#[tokio::test]
async fn a_sidecar_that_leaves_unannounced_loses_no_request() {
    let mut mesh =
        mesh(&manifest("")).on("api", echo("first").await).on("api", echo("second").await).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    for _ in 0..4 {
        load.more(40).await;
        let leaving = mesh.sidecars.remove(0);
        leaving.engine.drain().await;
        load.more(60).await;
        // It takes nothing new by now, and nothing is open at it.
        assert_eq!(leaving.engine.exchanges(), 0);
        mesh.listed.remove(0);
        let sidecar = mesh.sidecar("api", "v1", echo("next").await);
        mesh.list(&sidecar);
        mesh.sidecars.push(sidecar);
        mesh.publish().await;
        // Two that leave within the backoff of one retry are more than a retry is for.
        load.everybody().await;
    }
    load.end().await;
}

#[tokio::test]
async fn identities_are_renewed_under_load() {
    let mesh = mesh(&manifest("")).on("api", echo("api").await).on("api", echo("api").await).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    let serial = mesh.gateway.as_ref().unwrap().identity.current().serial;
    for _ in 0..10 {
        load.more(20).await;
        mesh.world.renew(&mesh.gateway.as_ref().unwrap().identity, "weft-gateway");
        for sidecar in &mesh.sidecars {
            mesh.world.renew(&sidecar.identity, &sidecar.service);
        }
        // All connect again, so that the new certificates are shown.
        mesh.trust_changed();
    }
    load.more(20).await;
    load.end().await;
    assert_ne!(mesh.gateway.as_ref().unwrap().identity.current().serial, serial);
}

#[tokio::test]
async fn a_connection_does_not_outlive_the_certificates_that_it_began_with_and_loses_no_request() {
    // Once the caller's certificate is the short one, once the callee's.
    for short in ["weft-gateway", "api"] {
        let mesh = mesh(&manifest("")).on("api", echo("api").await).start().await;
        let identity = match short {
            "api" => &mesh.beside("api").identity,
            _ => &mesh.gateway.as_ref().unwrap().identity,
        };
        mesh.world.renew_for(identity, short, Duration::from_secs(2));
        let to = watch::Sender::new(mesh.edge_address());
        let mut load = Load::start(&to.subscribe());
        load.everybody().await;
        // Who connects from now on may stay, as long as a connection may.
        mesh.world.renew(identity, short);
        let began = connections(&mesh).await;
        within("the end of what began with the short one", async {
            while connections(&mesh).await < began + began {
                load.more(20).await;
            }
        })
        .await;
        load.everybody().await;
        load.end().await;
        assert_eq!(connections(&mesh).await, began + began, "{short}");
    }
}

/// Connections that the edge has made to `api`.
async fn connections(mesh: &Mesh) -> u64 {
    let report = mesh.gateway().report().await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful")]
    let count = counted(&report, "weft_upstream_connections", &[("upstream", "api")]) as u64;
    count
}

#[tokio::test]
async fn an_edge_that_leaves_loses_no_request() {
    let mut mesh = mesh(&manifest("")).on("api", echo("api").await).start().await;
    let to = watch::Sender::new(mesh.edge_address());
    let mut load = Load::start(&to.subscribe());
    for _ in 0..5 {
        load.more(40).await;
        let next = mesh.another_edge();
        to.send_replace(next.address);
        let leaving = mesh.gateway.replace(next).unwrap();
        leaving.engine.drain().await;
        load.more(100).await;
        // Every client has moved by now, or will before the engine is dropped.
        within("the last connections", async {
            while leaving.engine.open() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    load.end().await;
}

#[tokio::test]
async fn what_is_open_is_finished_before_an_edge_has_left() {
    let go = Arc::new(Semaphore::new(0));
    let (tell, mut told) = mpsc::channel(8);
    let held = Arc::clone(&go);
    let port = service(move |mut wire| {
        let (held, tell) = (Arc::clone(&held), tell.clone());
        async move {
            while wire.request().await.is_some() {
                wire.write("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nbegun").await;
                tell.send(()).await.unwrap();
                held.acquire().await.unwrap().forget();
                wire.write(" ended").await;
            }
        }
    })
    .await;
    let mesh = mesh(&manifest("")).on("api", port).start().await;
    let mut one = Wire::to(mesh.edge_address()).await;
    one.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut two = Client::to(mesh.edge_address()).await;
    let (response, _stream) = two.start(request("GET", "/", &[]), true).await;
    for _ in 0..2 {
        within("both requests", told.recv()).await.unwrap();
    }
    assert_eq!(mesh.gateway().exchanges(), 2);
    mesh.gateway().drain().await;
    for sidecar in &mesh.sidecars {
        sidecar.engine.drain().await;
    }
    // Its obedience is seen by the listener, which is closed.
    within("the listener to close", async {
        while tokio::net::TcpStream::connect(mesh.edge_address()).await.is_ok() {}
    })
    .await;
    go.add_permits(2);
    assert_eq!(one.answer().await.text(), "begun ended");
    one.closed().await;
    assert_eq!(answer(response).await.unwrap().text(), "begun ended");
    within("the connection to end", two.over).await.unwrap().unwrap();
    within("the edge to be idle", async {
        while mesh.gateway().open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(mesh.gateway().exchanges(), 0);
}

#[tokio::test]
async fn what_is_still_open_is_cut_when_that_is_asked_for() {
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let (tell, mut told) = mpsc::channel(8);
    let port = service(move |mut wire| {
        let (count, tell) = (Arc::clone(&count), tell.clone());
        async move {
            while wire.request().await.is_some() {
                tell.send(()).await.unwrap();
                wire.closed().await;
                count.fetch_add(1, Ordering::Relaxed);
                tell.send(()).await.unwrap();
            }
        }
    })
    .await;
    let mesh = mesh(&manifest("")).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within("the request", told.recv()).await.unwrap();
    mesh.gateway().drain().await;
    mesh.gateway().cut();
    client.closed().await;
    within("the end at the service", told.recv()).await.unwrap();
    assert_eq!(heard.load(Ordering::Relaxed), 1);
}
