//! Change the manifest while the system runs.

use std::collections::BTreeSet;

use weft_testkit::http::{self, Request};
use weft_testkit::load::Load;
use weft_testkit::{Manifest, System, until};

use super::{ONE, WEFT};

#[test]
fn a_good_change_is_taken_without_a_failed_request() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let load = Load::start(system.edge, 4, &Request::get("/echo"));
    load.wait_for(50);
    let edge = system.edge;
    for n in 1..=3 {
        let route =
            format!("ANY /**: one\n    GET /round/{n}: {{ respond: {{ status: 200, body: \"{n}\" }} }}");
        system.rewrite(&Manifest::new(&ONE.replace("ANY /**: one", &route)));
        let is_there =
            || http::get(edge, &format!("/round/{n}")).ok().filter(|answer| answer.text() == n.to_string());
        until("the new route answers", is_there);
        load.wait_for(20);
    }
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_bad_change_is_refused_and_shown_while_the_old_plan_serves() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let load = Load::start(system.edge, 2, &Request::get("/echo"));
    system.rewrite(&Manifest::new(&ONE.replace("ANY /**: one", "ANY /**: nobody")));
    system.wait_event("the refusal is said", |event| event["event"] == "refused");
    let refused = until("status shows the refusal", || {
        let refused = system.status()["refused"].clone();
        refused.is_object().then_some(refused)
    });
    assert!(refused["rendered"].as_str().is_some_and(|text| text.contains("W1101")), "{refused}");
    load.wait_for(50);
    // And back again: the refusal goes with the mistake.
    system.rewrite(&Manifest::new(ONE));
    until("status shows no refusal", || system.status()["refused"].is_null().then_some(()));
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_service_whose_environment_changes_is_replaced_without_a_failed_request() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let pid = |system: &System| http::get(system.edge, "/echo").unwrap().json()["pid"].as_u64();
    let before = pid(&system);
    let load = Load::start(system.edge, 4, &Request::get("/echo"));
    load.wait_for(50);
    system
        .rewrite(&Manifest::new(&ONE.replace("health: /healthz", "health: /healthz, env: { COLOUR: red }")));
    until("another process answers", || (pid(&system) != before).then_some(()));
    until("the old process is gone", || {
        (system.processes(&["testkit-service", "one"]).len() <= 2).then_some(())
    });
    load.wait_for(50);
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn more_replicas_share_the_requests() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let edge = system.edge;
    system.rewrite(&Manifest::new(&ONE.replace("health: /healthz", "health: /healthz, replicas: 3")));
    let mut seen = BTreeSet::new();
    until("three processes answer", || {
        seen.extend(http::get(edge, "/echo").ok().and_then(|answer| answer.json()["pid"].as_u64()));
        (seen.len() == 3).then_some(())
    });
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
