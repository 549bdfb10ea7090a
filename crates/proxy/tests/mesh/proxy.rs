//! The sidecar as forward proxy: callees by name, outside hosts where they are declared, tunnels by CONNECT.

use crate::support::http2::{self, Client};
use crate::support::wire::{Wire, answering, echo, nobody, ok, service};
use crate::support::{Mesh, mesh};

async fn shop(external: u16) -> Mesh {
    let manifest = format!(
        "
system: test
services:
  api: {{ run: x, calls: [back], external: [\"127.0.0.1:{external}\", \"localhost:{external}\", \"[::1]:{external}\"] }}
  back: {{ run: x }}
  third: {{ run: x }}
"
    );
    let port = echo("back").await;
    mesh(&manifest).on("api", port).on("back", port).on("third", port).start().await
}

#[tokio::test]
async fn a_callee_is_reached_by_its_name() {
    let mesh = shop(1).await;
    let mut client = Wire::to(mesh.beside("api").proxy).await;
    for _ in 0..2 {
        let answer = client.ask("GET http://back/stock/1?a=b HTTP/1.1\r\nhost: back\r\n\r\n").await;
        assert_eq!((answer.status(), answer.field("x-echo")), (200, Some("back")));
        let seen = answer.text();
        assert!(seen.starts_with("GET /stock/1?a=b HTTP/1.1\nhost: back\n"), "{seen}");
        assert!(seen.contains("weft-caller: spiffe://test.internal/ns/default/svc/api\n"), "{seen}");
    }
}

#[tokio::test]
async fn what_is_not_declared_is_refused_and_named() {
    let mesh = shop(1).await;
    let mut client = Wire::to(mesh.beside("api").proxy).await;
    for (request, code, names) in [
        (
            "GET http://third/ HTTP/1.1\r\nhost: third\r\n\r\n",
            "W2018",
            "`api` does not declare calls to `third`",
        ),
        ("CONNECT third:443 HTTP/1.1\r\nhost: third:443\r\n\r\n", "W2018", "`third`"),
        ("GET http://localhost:2/ HTTP/1.1\r\nhost: localhost:2\r\n\r\n", "W2017", "`localhost:2`"),
        ("GET http://example.org/ HTTP/1.1\r\nhost: example.org\r\n\r\n", "W2017", "`example.org:80`"),
        ("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n", "W2017", "`example.org:443`"),
        // A tunnel would hide from `back` who asks what.
        ("CONNECT back:80 HTTP/1.1\r\nhost: back:80\r\n\r\n", "W2017", "`http://back/`"),
    ] {
        let refused = client.ask(request).await;
        assert_eq!((refused.status(), refused.code().as_str()), (403, code), "{request}");
        assert!(refused.text().contains(names), "{}", refused.text());
    }
    // Nobody is there, but it is declared.
    for declared in [
        "CONNECT [::1]:1 HTTP/1.1\r\nhost: [::1]:1\r\n\r\n",
        "GET http://[0::1]:1/ HTTP/1.1\r\nhost: [0::1]:1\r\n\r\n",
    ] {
        let failed = Wire::to(mesh.beside("api").proxy).await.ask(declared).await;
        assert_eq!(failed.status(), 502, "{declared}: {}", failed.text());
    }
    let origin = client.ask("GET / HTTP/1.1\r\nhost: back\r\n\r\n").await;
    assert_eq!((origin.status(), origin.code().as_str()), (400, "W2012"));
}

#[tokio::test]
async fn a_declared_outside_host_is_reached_by_connect() {
    let outside = service(|mut wire| async move {
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
    .await;
    let mesh = shop(outside).await;
    for host in ["127.0.0.1", "localhost"] {
        let mut client = Wire::to(mesh.beside("api").proxy).await;
        // What comes right behind the head is for the other end, too.
        client
            .write(format!("CONNECT {host}:{outside} HTTP/1.1\r\nhost: {host}:{outside}\r\n\r\nhello"))
            .await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status(), head.field("content-length")), (200, None));
        assert_eq!(client.bytes(5).await, b"HELLO");
        client.write("again").await;
        assert_eq!(client.bytes(5).await, b"AGAIN");
        client.finish().await;
        assert_eq!(client.rest().await, b"bye");
    }
}

#[tokio::test]
async fn a_declared_outside_host_is_reached_by_its_url() {
    let outside = answering(|request| {
        assert!(!request.fields.iter().any(|(name, _)| name.starts_with("weft-")), "{:?}", request.fields);
        ok(&[], format!("{} {}", request.line, request.field("host").unwrap()).as_bytes())
    })
    .await;
    let mesh = shop(outside).await;
    let mut client = Wire::to(mesh.beside("api").proxy).await;
    let request = format!("GET http://localhost:{outside}/a HTTP/1.1\r\nhost: localhost:{outside}\r\n\r\n");
    let answer = client.ask(request).await;
    assert_eq!(answer.text(), format!("GET /a HTTP/1.1 localhost:{outside}"));
}

#[tokio::test]
async fn an_outside_host_that_is_not_there_is_a_fault() {
    let (gone, _held) = nobody();
    let mesh = shop(gone).await;
    let mut client = Wire::to(mesh.beside("api").proxy).await;
    let request = format!("CONNECT 127.0.0.1:{gone} HTTP/1.1\r\nhost: 127.0.0.1:{gone}\r\n\r\n");
    let failed = client.ask(request).await;
    assert_eq!((failed.status(), failed.code().as_str()), (502, "W3019"));
}

#[tokio::test]
async fn a_tunnel_over_http_2_is_refused_by_name() {
    let outside = echo("outside").await;
    let mesh = shop(outside).await;
    let mut client = Client::to(mesh.beside("api").proxy).await;
    let connect =
        http::Request::builder().method("CONNECT").uri(format!("127.0.0.1:{outside}")).body(()).unwrap();
    let (response, _stream) = client.start(connect, false).await;
    let refused = http2::answer(response).await.unwrap();
    assert!(
        refused.status == 501 && refused.text().contains("W2016"),
        "{} {}",
        refused.status,
        refused.text()
    );
}

#[tokio::test]
async fn the_sidecar_tells_its_service_who_and_how_it_is() {
    let mesh = shop(1).await;
    let mut client = Wire::to(mesh.beside("api").api).await;
    let health = client.ask("GET /v1/healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((health.status(), health.text().contains("\"ok\"")), (200, true));
    let ready = client.ask("GET /v1/readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((ready.status(), ready.text().contains("\"ready\":true")), (200, true));
    let metadata = client.ask("GET /v1/metadata HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
    assert!(metadata.contains("spiffe://test.internal/ns/default/svc/api"), "{metadata}");
    assert!(metadata.contains("\"calls\":[\"back\"]"), "{metadata}");
    let unknown = client.ask("GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((unknown.status(), unknown.text().contains("W2001")), (404, true));
    let written = client.ask("POST /v1/healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((written.status(), written.field("allow")), (405, Some("GET, HEAD")));
}
