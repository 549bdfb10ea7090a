//! Change a service that has a port of its own, and make a mistake.

use serde_json::Value;
use weft_testkit::http::{self, Request};
use weft_testkit::load::{Load, Outcomes};
use weft_testkit::{Manifest, System, ports, until};

use super::{ONE, WEFT};

/// A system with a service on a port of its own.
struct Fixed {
    port: u16,
    system: System,
}

impl Fixed {
    fn up() -> Self {
        let port = ports::free();
        let system = System::up(WEFT, &manifest("{service} good", port));
        Self { port, system }
    }

    /// Changes what is run.
    fn change(&self, run: &str) {
        self.system.rewrite(&manifest(run, self.port));
    }

    /// Waits until the service of that name answers.
    fn wait_for(&self, name: &str) {
        let edge = self.system.edge;
        until("the service answers", || {
            http::get(edge, "/echo")
                .ok()
                .filter(|answer| answer.status == 200 && answer.json()["name"] == name)
        });
    }

    fn wait_event(&self, event: &str, text: &str) -> String {
        let matches = |said: &Value| {
            said["event"] == event && said["text"].as_str().is_some_and(|said| said.contains(text))
        };
        let said = self.system.wait_event(text, matches);
        said["text"].as_str().unwrap_or_default().to_owned()
    }

    fn load(&self) -> Load {
        let load = Load::start(self.system.edge, 4, &Request::get("/echo"));
        load.wait_for(50);
        load
    }

    /// All is well, and what there is can be ended.
    fn end(mut self) {
        let load = self.load();
        load.wait_for(100);
        only_answers(&load.stop());
        assert!(self.system.interrupt().success());
        self.system.assert_nothing_left();
    }
}

fn manifest(run: &str, port: u16) -> Manifest {
    let run = run.replace("{port}", &port.to_string());
    Manifest::new(&ONE.replace("\"{service} one\"", &format!("\"{run}\", port: {port}")))
}

fn only_answers(outcomes: &Outcomes) {
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
}

/// What callers may see while nobody serves: an answer of ours, no broken connection and nothing of another service.
fn answers_and_refusals(outcomes: &Outcomes) {
    let ours = |outcome: &String| outcome == "200" || outcome.contains(" W3");
    assert!(outcomes.contains_key("200") && outcomes.keys().all(ours), "{outcomes:?}");
}

#[test]
fn a_change_that_is_broken_costs_no_request_and_is_told_with_its_remedy() {
    let fixed = Fixed::up();
    let load = fixed.load();
    fixed.change("sh -c 'echo no such table >&2; exit 3'");
    let told = fixed.wait_event("failed", "exited with status 3");
    assert!(told.contains("the one before serves on"), "{told}");
    assert!(told.contains("no such table") && told.contains("`weft restart one`"), "{told}");
    let restart = fixed.system.weft(&["restart", "one"]);
    assert_eq!(restart.status, Some(1), "{}{}", restart.out, restart.err);
    assert!(restart.err.contains("exited with status 3): the one before serves on"), "{}", restart.err);
    load.wait_for(200);
    only_answers(&load.stop());
    fixed.change("{service} better");
    fixed.wait_for("better");
    fixed.end();
}

#[test]
fn a_service_that_listens_on_one_port_whatever_it_is_told_is_replaced_in_its_place() {
    let fixed = Fixed::up();
    let load = fixed.load();
    fixed.change("sh -c 'PORT={port} exec {service} moved'");
    fixed.wait_event("restart", "it says that an address is in use");
    fixed.wait_for("moved");
    load.wait_for(50);
    answers_and_refusals(&load.stop());
    let ended = fixed.system.said().iter().filter(|said| said["event"] == "ended").count();
    assert_eq!(ended, 1, "one start beside the other is enough");
    let restart = fixed.system.weft(&["restart", "one"]);
    assert_eq!(restart.status, Some(0), "{}{}", restart.out, restart.err);
    fixed.end();
}

/// As programs do that wait for a change of their files.
#[test]
fn a_service_that_says_so_and_hangs_is_replaced_in_its_place_soon() {
    let fixed = Fixed::up();
    let load = fixed.load();
    fixed.change("sh -c 'PORT={port} {service} moved || exec sleep 600'");
    fixed.wait_event("restart", "it says that an address is in use");
    fixed.wait_for("moved");
    load.wait_for(50);
    answers_and_refusals(&load.stop());
    fixed.end();
}

#[test]
fn a_service_that_is_broken_in_its_place_too_leaves_it_to_the_one_before() {
    let fixed = Fixed::up();
    let load = fixed.load();
    fixed.change("sh -c 'echo Error: listen EADDRINUSE >&2; exit 3'");
    fixed.wait_event("restart", "it says that an address is in use");
    let told = fixed.wait_event("failed", "exited with status 3");
    assert!(told.contains("the one before is started again"), "{told}");
    fixed.wait_for("good");
    load.wait_for(50);
    answers_and_refusals(&load.stop());
    fixed.end();
}

#[test]
fn a_build_that_fails_ends_the_restart_and_leaves_the_one_before() {
    let text = ONE.replace("health:", "build: \"test ! -e mistake\", health:").replace("} one", "} good");
    let port = ports::free();
    let fixed = Fixed { port, system: System::up(WEFT, &Manifest::new(&text)) };
    let (load, mistake) = (fixed.load(), fixed.system.folder().join("mistake"));
    std::fs::write(&mistake, "").unwrap();
    let restart = fixed.system.weft(&["restart", "one", "--build"]);
    assert_eq!(restart.status, Some(1), "{}{}", restart.out, restart.err);
    assert!(restart.err.contains("(its build failed): the one before serves on"), "{}", restart.err);
    let told = fixed.wait_event("failed", "the build of `one` failed");
    assert!(told.contains("one: the one before serves on"), "{told}");
    fixed.system.rewrite(&Manifest::new(&text.replace("service} good", "service} better")));
    let failed = || fixed.system.said().iter().filter(|said| said["event"] == "failed").count();
    until("the change is built, too", || (failed() == 2).then_some(()));
    std::fs::remove_file(&mistake).unwrap();
    let restart = fixed.system.weft(&["restart", "one"]);
    assert_eq!(restart.status, Some(0), "what failed is built again: {}{}", restart.out, restart.err);
    fixed.wait_for("better");
    only_answers(&load.stop());
    fixed.end();
}

#[test]
fn a_new_service_that_is_broken_has_no_one_before() {
    let fixed = Fixed::up();
    let more = |run: &str| {
        let services = format!("services:\n  more: {{ run: \"{run}\" }}");
        Manifest::new(&ONE.replace("services:", &services).replace("\"{service} one\"", "\"{service} good\""))
    };
    fixed.system.rewrite(&more("{service} crash"));
    let told = fixed.wait_event("failed", "service `more`");
    assert!(told.contains("it is tried on") && !told.contains("the one before"), "{told}");
    let restart = fixed.system.weft(&["restart", "more"]);
    assert_eq!(restart.status, Some(1), "{}{}", restart.out, restart.err);
    assert!(
        restart.err.contains("it is tried on") && !restart.err.contains("the one before"),
        "{}",
        restart.err
    );
    fixed.system.rewrite(&more("{service} more"));
    fixed.wait_for("good");
    fixed.end();
}
