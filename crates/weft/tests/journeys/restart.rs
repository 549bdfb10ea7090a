//! Restart each part in an orderly way: nobody notices.

use weft_testkit::http::Request;
use weft_testkit::load::Load;
use weft_testkit::{Manifest, System};

use super::{ONE, WEFT};

fn restarts_unnoticed(target: &str) {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let load = Load::start(system.edge, 4, &Request::get("/echo"));
    load.wait_for(50);
    let run = system.weft(&["restart", target]);
    assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    load.wait_for(100);
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{target}: {outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_service_is_restarted_without_a_failed_request() {
    restarts_unnoticed("one");
}

#[test]
fn sidecars_are_restarted_without_a_failed_request() {
    restarts_unnoticed("sidecars");
}

#[test]
fn the_gateway_is_restarted_without_a_failed_request() {
    restarts_unnoticed("gateway");
}

#[test]
fn control_is_restarted_without_a_failed_request() {
    restarts_unnoticed("control");
}

#[test]
fn down_ends_the_system_like_ctrl_c() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let run = system.weft(&["down"]);
    assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    assert!(system.wait_end().success());
    system.assert_nothing_left();
}
