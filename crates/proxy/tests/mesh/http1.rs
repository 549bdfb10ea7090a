//! HTTP/1.1 through gateway and mesh, and from service to service.

use crate::support::wire::{Wire, answering, echo, get, ok, service};
use crate::support::{Mesh, mesh};

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
    let answer = get(mesh.from_to("api", "back"), "/stock/1").await;
    assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("back")));
    let seen = answer.text();
    assert!(seen.starts_with("GET /stock/1 HTTP/1.1\n"), "{seen}");
    assert!(seen.contains("host: back\n"), "{seen}");
    assert!(seen.contains("weft-caller: spiffe://test.internal/ns/default/svc/api\n"), "{seen}");
}
