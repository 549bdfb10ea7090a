//! The first ten minutes: start a system, ask it, end it.

use weft_testkit::http::{self, Request};
use weft_testkit::{Manifest, System, processes};

use super::{ONE, WEFT};

#[test]
fn up_answers_and_ctrl_c_leaves_nothing() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let request = Request::new("POST", "/echo/a?b=c").field("x-mine", "yes").body("hello");
    let seen = http::send(system.edge, &request).unwrap();
    assert_eq!(seen.status, 200, "{}", seen.text());
    let seen = seen.json();
    assert_eq!((&seen["method"], &seen["target"]), (&"POST".into(), &"/echo/a?b=c".into()));
    assert_eq!(seen["body"], "hello");
    assert_eq!(seen["fields"]["x-mine"], serde_json::json!(["yes"]));
    assert!(seen["fields"]["traceparent"].is_array(), "{seen}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn the_death_of_the_supervisor_leaves_nothing() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    assert!(processes::below(system.pid()).len() >= 4, "control, gateway, sidecar, service");
    system.kill_supervisor();
    system.assert_nothing_left();
}

#[test]
fn what_no_route_matches_is_refused_with_a_code_and_a_remedy() {
    let manifest = ONE.replace("ANY /**: one", "GET /here: one");
    let mut system = System::up(WEFT, &Manifest::new(&manifest));
    let refused = http::get(system.edge, "/elsewhere").unwrap();
    assert_eq!(refused.outcome(), "404 W2001");
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert!(
        refused.json()["detail"].is_string() || refused.json()["title"].is_string(),
        "{}",
        refused.text()
    );
    assert!(refused.field("proxy-status").is_some_and(|status| status.contains("W2001")), "{refused:?}");
    let refused = http::send(system.edge, &Request::new("DELETE", "/here")).unwrap();
    assert_eq!(refused.outcome(), "405 W2002");
    assert!(refused.field("allow").is_some_and(|allow| allow.contains("GET")), "{refused:?}");
    assert_eq!(http::get(system.edge, "/here").unwrap().status, 200);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_service_that_cannot_start_is_shown_with_what_it_said_last() {
    let manifest = ONE.replace("{service} one", "{service} crash");
    let mut system = System::start(WEFT, &Manifest::new(&manifest), &[]);
    assert!(!system.wait_end().success());
    assert!(system.log().contains("service `one`"), "{}", system.log());
    system.assert_nothing_left();
}

#[test]
fn an_edge_that_is_taken_is_refused_and_names_the_address() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let mut system = System::start(WEFT, &Manifest::new(&ONE.replace("{edge}", &taken)), &[]);
    assert!(!system.wait_end().success());
    assert!(system.log().contains(&taken), "{}", system.log());
    system.assert_nothing_left();
}

/// The manifest was good when it was read, and the key is gone when the gateway wants it: the start fails at once, and says
/// why.
#[test]
fn a_gateway_that_cannot_do_what_its_plan_says_ends_the_start() {
    let files = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-plan");
    std::fs::create_dir_all(&files).unwrap();
    let (chain, key) = super::check::certificate();
    std::fs::write(files.join("edge.pem"), chain).unwrap();
    std::fs::write(files.join("edge.key"), key).unwrap();
    let manifest = ONE
        .replace("gateway:", "gateway:\n  tls: { cert: edge.pem, key: edge.key }")
        .replace("{service} one", "sh -c 'rm edge.key; exec {service} one'");
    let mut system = System::start(WEFT, &Manifest::new(&manifest).beside(&files), &[]);
    assert!(!system.wait_end().success());
    let log = system.log();
    assert!(log.contains("the gateway cannot do what its plan says") && log.contains("edge.key"), "{log}");
    assert!(!log.contains("did not get ready in time"), "{log}");
    system.assert_nothing_left();
}
