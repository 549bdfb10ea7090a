//! What can be seen of the traffic: edges with their labels, and never more of them than the plan has names.

use std::time::Duration;

use weft_model::wire::Report;
use weft_proxy::Limits;

use crate::support::http2::{self, Client, piece, request, send_all};
use crate::support::wire::{Wire, answering, get, ok};
use crate::support::{counted, mesh, within};

const SHOP: &str = "
system: test
services:
  api: { run: x, calls: [back], api: api.yaml }
  back: { run: x }
  prices: { run: x, protocol: grpc }
gateway:
  auth: none
  routes:
    GET /things/{id}: api
    ANY /any/**: api
    POST /shop.Prices/**: prices
";

const API: &str = "
openapi: 3.0.0
info: { title: api, version: '1' }
paths:
  /things/{id}: { get: { responses: { '200': { description: ok } } } }
";

fn series(report: &Report, family: &str) -> usize {
    report.families.iter().filter(|one| one.name == family).map(|one| one.samples.len()).sum()
}

#[tokio::test]
async fn every_edge_is_counted_on_both_of_its_sides() {
    let prices = http2::service(|call| async move {
        match call.path() {
            "/shop.Prices/Get" => call.reply(b"1").await,
            _ => call.status(5, "no such thing"),
        }
    })
    .await;
    let port = answering(|request| match request.path() {
        "/things/404" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => ok(&[], b"ok"),
    })
    .await;
    let mesh =
        mesh(SHOP).file("api.yaml", API).on("api", port).on("back", port).on("prices", prices).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for id in ["1", "2", "3", "404"] {
        client.get(&format!("/things/{id}")).await;
    }
    get(mesh.toward("api", "back"), "/stock").await;
    let mut rpc = Client::to(mesh.edge_address()).await;
    rpc.unary("/shop.Prices/Get", &[], b"").await;
    rpc.unary("/shop.Prices/Lost", &[], b"").await;

    let edge = mesh.gateway().report().await;
    let seen = |family: &str, labels: &[(&str, &str)]| counted(&edge, family, labels);
    let (server, caller) = ("http_server_request_duration_seconds", "http_client_request_duration_seconds");
    let thing = ("http_route", "GET /things/{id}");
    let outside =
        [("weft_source", "outside"), ("weft_destination", "gateway"), ("http_request_method", "GET")];
    assert_eq!(seen(server, &[&outside[..], &[thing, ("http_response_status_code", "200")]].concat()), 3.0);
    assert_eq!(seen(server, &[&outside[..], &[thing, ("http_response_status_code", "404")]].concat()), 1.0);
    assert_eq!(seen(caller, &[("weft_source", "gateway"), ("weft_destination", "api"), thing]), 4.0);
    let prices = [("weft_source", "gateway"), ("weft_destination", "prices")];
    assert_eq!(seen(caller, &[&prices[..], &[("rpc_grpc_status_code", "0")]].concat()), 1.0);
    assert_eq!(seen(caller, &[&prices[..], &[("rpc_grpc_status_code", "5")]].concat()), 1.0);
    assert_eq!(seen("rpc_client_call_duration_seconds", &prices), 2.0);

    let api = mesh.beside("api").engine.report().await;
    let asked = [("weft_source", "gateway"), ("weft_destination", "api"), thing];
    assert_eq!(counted(&api, server, &asked), 4.0);
    let back = [("weft_source", "api"), ("weft_destination", "back"), ("http_response_status_code", "200")];
    assert_eq!(counted(&api, caller, &back), 1.0);
    assert_eq!(counted(&mesh.beside("back").engine.report().await, server, &back), 1.0);
    let priced = mesh.beside("prices").engine.report().await;
    assert_eq!(
        counted(&priced, "rpc_server_call_duration_seconds", &[("rpc_response_status_code", "5")]),
        1.0
    );
}

#[tokio::test]
async fn the_names_of_istio_are_there_unless_the_manifest_leaves_them_out() {
    let port = answering(|_| ok(&[], b"ok")).await;
    let with = |observe: &str| format!("{SHOP}\nobserve: {{ {observe} }}\n");
    let all = with("istio_durations: true");
    let durations = with("istio_names: false, istio_durations: true");
    let none = with("istio_names: false");
    let expected =
        [(SHOP, true, false), (&all, true, true), (&durations, false, true), (&none, false, false)];
    for (manifest, names, durations) in expected {
        let mesh = mesh(manifest).file("api.yaml", API).on("api", port).start().await;
        Wire::to(mesh.edge_address()).await.get("/things/1").await;
        let report = mesh.gateway().report().await;
        assert!(series(&report, "http_server_request_duration_seconds") > 0);
        assert_eq!(series(&report, "istio_requests") > 0, names, "{manifest}");
        assert_eq!(series(&report, "istio_request_duration_milliseconds") > 0, durations, "{manifest}");
    }
}

#[tokio::test]
async fn what_clients_make_up_makes_no_new_series() {
    let port = answering(|_| ok(&[], b"ok")).await;
    let mesh = mesh(SHOP).file("api.yaml", API).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    for number in 0..300 {
        client.get(&format!("/nowhere/{number}")).await;
        client.get(&format!("/any/{number}?q={number}")).await;
        client.get(&format!("/things/{number}")).await;
        let method =
            format!("METHOD{number} /any/x HTTP/1.1\r\nhost: h{number}.test\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.ask(method).await.status(), 200);
    }
    for engine in mesh.engines() {
        let report = engine.report().await;
        for family in
            ["http_server_request_duration_seconds", "http_client_request_duration_seconds", "istio_requests"]
        {
            assert!(series(&report, family) <= 6, "{family}: {}", series(&report, family));
        }
    }
    let report = mesh.gateway().report().await;
    let made_up = [("http_request_method", "_OTHER"), ("http_route", "ANY /any/**")];
    assert_eq!(counted(&report, "http_server_request_duration_seconds", &made_up), 300.0);
    assert_eq!(
        counted(&report, "http_server_request_duration_seconds", &[("http_route", "unmatched")]),
        300.0
    );
    assert_eq!(counted(&report, "weft_refusals", &[("code", "no_route")]), 300.0);
}

#[tokio::test]
async fn who_leaves_with_the_whole_answer_was_answered() {
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    // Sends all that it announces and never says that this was the end.
    let port = http2::service(move |mut call| {
        let tell = tell.clone();
        async move {
            let announced = if call.path() == "/short" { 6 } else { 5 };
            let head = http::Response::builder().header("content-length", announced).body(()).unwrap();
            let mut stream = call.respond.send_response(head, false).unwrap();
            send_all(&mut stream, b"hello", false).await;
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            tell.send(()).await.unwrap();
        }
    })
    .await;
    let manifest = "
system: test
services: { api: { run: x, protocol: grpc } }
gateway: { auth: none, routes: { ANY /**: api } }
";
    let limits = Limits { half_close: Duration::ZERO, ..Limits::default() };
    let mesh = mesh(manifest).limits(limits).on("api", port).start().await;
    for path in ["/whole", "/short"] {
        let mut client = Wire::to(mesh.edge_address()).await;
        client.write(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")).await;
        assert_eq!(client.head().await.unwrap().status(), 200);
        assert_eq!(client.bytes(5).await, b"hello");
        drop(client);
        within("the service to hear of it", told.recv()).await;

        let mut client = Client::to(mesh.edge_address()).await;
        let (response, mut stream) = client.start(request("POST", path, &[]), false).await;
        send_all(&mut stream, b"hi", true).await;
        let mut body = within("an answer", response).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "hello");
        drop((body, stream));
        within("the service to hear of it", told.recv()).await;
    }
    for engine in [mesh.gateway(), &mesh.beside("api").engine] {
        let report = engine.report().await;
        for (status, exchanges) in [("200", 2.0), ("499", 2.0)] {
            let with = [("http_response_status_code", status)];
            assert_eq!(
                counted(&report, "http_server_request_duration_seconds", &with),
                exchanges,
                "{status}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_one_and_made_anew_if_not() {
    let port = answering(|request| ok(&[], request.field("x-request-id").unwrap().as_bytes())).await;
    let mesh = mesh(SHOP).file("api.yaml", API).on("api", port).start().await;
    let mut client = Wire::to(mesh.edge_address()).await;
    let mut seen = async |fields: &str| {
        client.ask(format!("GET /any/x HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await.text()
    };
    assert_eq!(seen("x-request-id: order-7/a\r\n").await, "order-7/a");
    for bad in [
        "x-request-id: 7 status=200\r\n",
        "x-request-id:\r\n",
        "",
        "x-request-id: a\r\nx-request-id: b c\r\n",
    ] {
        let made = seen(bad).await;
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
}
