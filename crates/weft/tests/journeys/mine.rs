//! Run one service oneself, e.g. in a debugger, and let `weft up` do the rest.

use std::process::{Command, Stdio};

use weft_testkit::{Manifest, System, build, http, ports, until};

use super::{ONE, WEFT};

#[test]
fn a_service_of_ones_own_takes_the_place_of_the_declared_one() {
    let port = ports::free();
    let service = build(WEFT.as_ref(), "weft-testkit", "testkit-service");
    let words = format!("one=127.0.0.1:{port}");
    let mut system = System::start(WEFT, &Manifest::new(ONE), &["--mine", &words]);
    let told = system.wait_event("the environment is told", |event| event["event"] == "mine");
    assert!(
        told["text"].as_str().is_some_and(|text| text.contains(&format!("export PORT={port}"))),
        "{told}"
    );
    let mut mine = Command::new(service)
        .arg("mine")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    system.wait_serving();
    let seen = http::get(system.edge, "/echo").unwrap().json();
    assert_eq!((&seen["name"], seen["pid"].as_u64()), (&"mine".into(), Some(mine.id().into())));
    assert!(system.processes(&["testkit-service", "one"]).is_empty(), "the declared one does not run");
    until("the tier is reported as it is", || {
        (system.status()["services"][0]["instances"][0]["isolation"] == "none").then_some(())
    });
    assert!(system.interrupt().success());
    // What was not started by `weft up` is not ended by it.
    assert!(mine.try_wait().unwrap().is_none());
    mine.kill().unwrap();
    mine.wait().unwrap();
    system.assert_nothing_left();
}
