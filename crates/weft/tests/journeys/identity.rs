//! End an identity, and let it come back.

use weft_testkit::http::{self, Request};
use weft_testkit::load::Load;
use weft_testkit::{Manifest, System, until};

use super::WEFT;

const MANIFEST: &str = "
system: revoked
services:
  front: { run: \"{service} front\", health: /healthz, protocol: http, calls: [back] }
  back: { run: \"{service} back\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /front/**: { to: front, rewrite: / }
    ANY /back/**: { to: back, rewrite: / }
";

#[test]
fn a_revoked_service_reaches_nobody_and_others_go_on() {
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let edge = system.edge;
    let ask = || http::get(edge, "/front/call/back/echo").ok().map(|answer| answer.json()["status"].clone());
    assert_eq!(ask(), Some(200.into()));
    let others = Load::start(edge, 2, &Request::get("/back/echo"));

    let run = system.weft(&["identity", "revoke", "--service", "front"]);
    assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    until("calls of the revoked service end", || (ask() != Some(200.into())).then_some(()));

    let run = system.weft(&["identity", "reinstate", "--service", "front"]);
    assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    until("the service is heard again, without a restart", || (ask() == Some(200.into())).then_some(()));

    let outcomes = others.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn identities_are_renewed_without_a_failed_request() {
    // The shortest life that is taken: renewed at about half of it.
    let mut system = System::start(WEFT, &Manifest::new(MANIFEST), &["--identity-lifetime", "10s"]);
    system.wait_serving();
    let serials = || {
        let status = system.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        services.iter().map(|service| service["instances"][0]["serial"].clone()).collect::<Vec<_>>()
    };
    let before = serials();
    let load = Load::start(system.edge, 4, &Request::get("/front/call/back/echo"));
    until("every sidecar has another certificate", || {
        let now = serials();
        (now.len() == before.len() && now.iter().zip(&before).all(|(now, before)| now != before))
            .then_some(())
    });
    load.wait_for(100);
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
