//! What is read of API files, and what is refused.

use super::*;

const OPENAPI: &str = r#"
openapi: 3.0.3
info: { title: Orders, version: "1" }
paths:
  x-note: not a path
  /orders:
    summary: all of them
    get: { operationId: listOrders, x-published: true }
    post: { x-idempotent: true, responses: { "201": {} } }
  /orders/{id}:
    parameters: []
    get: {}
  /files/{name}.{ext}:
    get: {}
"#;

const PROTO: &str = r#"syntax = "proto3";
package shop.pricing;
service Pricing {
  rpc GetPrice (A) returns (B) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Watch (stream A) returns (stream B);
}
service Admin { rpc GetPrice (A) returns (B); }
message A {} message B {}
"#;

fn api(name: &str, text: &str) -> Api {
    let (api, findings) = read(FileId(3), name, text.as_bytes());
    assert_eq!(findings, []);
    api.unwrap()
}

fn codes(name: &str, text: &str) -> Vec<Code> {
    read(FileId(0), name, text.as_bytes()).1.into_iter().map(|finding| finding.code).collect()
}

fn resolve(api: &Api, endpoint: &str) -> Result<String, Mismatch> {
    api.resolve(&endpoint.parse().unwrap(), true).map(|found| found.to_string())
}

#[test]
fn openapi_gives_its_operations() {
    let api = api("orders.yaml", OPENAPI);
    let shown: Vec<String> = api.operations.iter().map(|operation| operation.endpoint.to_string()).collect();
    assert_eq!(shown, ["GET /files/*", "GET /orders", "GET /orders/{id}", "POST /orders"]);
    let post = api.operations.last().unwrap();
    assert!(post.idempotent && post.may_repeat() && !post.published);
    assert_eq!((post.span.line, post.span.column, post.span.file), (9, 5, FileId(3)));
    assert!(api.marks_published());
    assert_eq!(api.operations[1].id.as_deref(), Some("listOrders"));
}

/// Written in any spelling, a literal has the form of a request's path; a star is no wildcard here.
#[test]
fn literals_are_made_canonical() {
    let api = api("a.yaml", "openapi: 3.1.0\npaths: { /%7Eme/é: { get: {} }, /a*b/**: { get: {} } }\n");
    let endpoints: Vec<String> = api.operations.iter().map(|one| one.endpoint.to_string()).collect();
    assert_eq!(endpoints, ["GET /~me/%C3%A9", "GET /*/*"]);
    for path in ["/a%2fb", "/%zz", "/%2e%2e/a", "/a//b"] {
        let text = format!("openapi: 3.1.0\npaths: {{ {path}: {{ get: {{}} }} }}\n");
        assert_eq!(codes("a.yaml", &text), [Code::ApiUnreadable], "{path}");
    }
}

#[test]
fn json_is_read_as_it_is() {
    let api = api("a.json", r#"{"openapi":"3.1.0","paths":{"/a":{"get":{}}}}"#);
    assert_eq!(api.operations.len(), 1);
}

#[test]
fn proto_gives_its_methods() {
    let api = api("pricing.proto", PROTO);
    let shown: Vec<String> = api.operations.iter().map(|operation| operation.endpoint.to_string()).collect();
    assert_eq!(
        shown,
        ["shop.pricing.Admin/GetPrice", "shop.pricing.Pricing/GetPrice", "shop.pricing.Pricing/Watch"]
    );
    assert!(api.operations[1].idempotent && !api.operations[2].idempotent);
    assert_eq!((api.operations[1].span.line, api.operations[1].span.column), (4, 3));
}

#[test]
fn endpoints_are_resolved_against_the_file() {
    let orders = api("orders.yaml", OPENAPI);
    assert_eq!(resolve(&orders, "GET /orders/{x}").unwrap(), "GET /orders/{x}");
    assert_eq!(resolve(&orders, "GET /orders/**").unwrap(), "GET /orders/**");
    assert_eq!(resolve(&orders, "DELETE /orders/1"), Err(Mismatch::Method(vec!["GET".into()])));
    assert_eq!(resolve(&orders, "GET /ordesr"), Err(Mismatch::Unknown(Some("GET /orders".into()))));
    assert_eq!(resolve(&orders, "Pricing/Get"), Err(Mismatch::Protocol));
    let pricing = api("pricing.proto", PROTO);
    assert_eq!(resolve(&pricing, "Pricing/GetPrice").unwrap(), "shop.pricing.Pricing/GetPrice");
    assert_eq!(
        resolve(&pricing, "Pricing/GetPrize"),
        Err(Mismatch::Unknown(Some("Pricing/GetPrice".into())))
    );
    assert_eq!(resolve(&pricing, "Pricing/*").unwrap(), "shop.pricing.Pricing/*");
    assert_eq!(resolve(&pricing, "GET /prices"), Err(Mismatch::Protocol));
}

#[test]
fn what_is_not_read_is_refused() {
    assert_eq!(codes("a.yaml", "swagger: \"2.0\"\n"), [Code::ApiNotSupported]);
    assert_eq!(codes("a.yaml", "openapi: 4.0.0\n"), [Code::ApiNotSupported]);
    assert_eq!(codes("a.yaml", "paths: {}\n"), [Code::ApiUnreadable]);
    assert_eq!(codes("a.yaml", "openapi: 3.1.0\npaths: { /a: { $ref: b.yaml } }\n"), [Code::ApiNotSupported]);
    assert_eq!(codes("a.yaml", "openapi: 3.1.0\npaths: { a: {} }\n"), [Code::ApiUnreadable]);
    let flag = "openapi: 3.1.0\npaths: { /a: { put: { x-idempotent: false, x-published: yes } } }\n";
    assert_eq!(codes("a.yaml", flag), [Code::NotABoolean, Code::ApiNotSupported]);
    assert_eq!(codes("a.proto", "service {"), [Code::ApiUnreadable]);
    assert_eq!(codes("a.proto", "syntax = \"proto3\";"), [Code::ApiUnreadable]);
    assert_eq!(read(FileId(0), "a.proto", b"\xff").1[0].code, Code::NotUtf8);
    let deep = "message a{".repeat(50_000);
    assert_eq!(codes("a.proto", &deep), [Code::ApiUnreadable]);
}
