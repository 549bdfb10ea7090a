//! Change the manifest while the system runs.

use std::collections::BTreeSet;

use weft_testkit::http::{self, Request};
use weft_testkit::load::Load;
use weft_testkit::{Manifest, System, processes, until};

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
fn an_overlay_and_an_included_file_are_followed_as_the_main_file_is() {
    let main = ONE.replace("services:", "include: [team.yaml]\nservices:");
    let files = std::env::temp_dir().join(format!("weft-overlay-{}", std::process::id()));
    let team = |service: &str| {
        format!(
            "contexts: {{ team: [{service}] }}\nservices: {{ {service}: {{ url: \"http://127.0.0.1:9\" }} }}\n\
             gateway: {{ routes: {{ GET /{service}: {service} }} }}\n"
        )
    };
    let answers = |name: &str, route: &str, body: &str| {
        let text = format!(
            "gateway:\n  routes:\n    GET /{route}: {{ respond: {{ status: 200, body: {body} }} }}\n"
        );
        std::fs::write(files.join(name), text).unwrap();
    };
    std::fs::create_dir_all(&files).unwrap();
    answers("weft.prod.yaml", "overlay", "first");
    std::fs::write(files.join("team.yaml"), team("first")).unwrap();
    let manifest = Manifest::new(&main).beside(&files);
    let mut system = System::start(WEFT, &manifest, &["--env", "prod"]);
    std::fs::remove_dir_all(&files).unwrap();
    system.wait_serving();
    let edge = system.edge;
    let said = |path: &str| http::get(edge, path).ok().map(|answer| answer.text());
    assert_eq!(said("/overlay").as_deref(), Some("first"));
    for command in ["check", "plan"] {
        let run = system.weft(&[command, "--env", "prod"]);
        assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    }
    assert!(system.weft(&["plan", "--env", "prod", "--output", "json"]).out.contains("GET /overlay"));
    assert!(!system.weft(&["plan", "--output", "json"]).out.contains("GET /overlay"));

    let overlay = |text: &str| std::fs::write(system.folder().join("weft.prod.yaml"), text).unwrap();
    overlay("gateway: { routes: { GET /overlay: { respond: { status: 200, body: second } } } }\n");
    until("the changed overlay is in force", || (said("/overlay")? == "second").then_some(()));
    overlay("gateway: { nonsense: 1 }\n");
    until("status shows the refusal", || {
        let refused = system.status()["refused"]["rendered"].clone();
        refused.as_str()?.contains("weft.prod.yaml:1:12").then_some(())
    });
    assert_eq!(said("/overlay").as_deref(), Some("second"), "the overlay before serves on");
    overlay("{}\n");
    until("the route of the overlay is gone", || (said("/overlay")? != "second").then_some(()));

    std::fs::write(system.folder().join("team.yaml"), team("second")).unwrap();
    until("the included file's route is there", || {
        let status = system.status();
        let routes = status["gateway"]["routes"].as_array()?;
        routes.iter().any(|route| route["key"] == "GET /second").then_some(())
    });
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn findings_that_let_a_manifest_pass_are_shown_at_the_start_and_when_they_change() {
    let with = |name: &str| {
        ONE.replace("health: /healthz", &format!("health: /healthz, env: {{ {name}: hunter2 }}"))
    };
    let mut system = System::up(WEFT, &Manifest::new(&with("FIRST_TOKEN")));
    let warned = |name: &'static str| {
        move |event: &serde_json::Value| {
            event["event"] == "warning" && event["text"].as_str().is_some_and(|text| text.contains(name))
        }
    };
    system.wait_event("the first finding", warned("FIRST_TOKEN"));
    system.rewrite(&Manifest::new(&with("SECOND_TOKEN")));
    system.wait_event("the second finding", warned("SECOND_TOKEN"));
    assert!(!system.log().contains("hunter2"), "the secret itself is never shown");
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

/// The processes that answer for the one service, and the instances that control knows of it.
fn answering(system: &System) -> (BTreeSet<u64>, usize) {
    let answers = (0..20).filter_map(|_| http::get(system.edge, "/echo").ok()?.json()["pid"].as_u64());
    let pids = answers.collect();
    let status = system.status();
    let known = [&status["services"][0]["instances"], &status["others"]];
    (pids, known.into_iter().filter_map(|known| known.as_array()).map(Vec::len).sum())
}

#[test]
fn a_change_after_one_that_never_came_up_leaves_nothing_of_either() {
    let run = |command: &str| Manifest::new(&ONE.replace("{service} one", command));
    let mut system = System::up(WEFT, &run("{service} first"));
    let alone = |system: &System, name: &str| {
        until(&format!("only `{name}` is there"), || {
            let (pids, known) = answering(system);
            let says = http::get(system.edge, "/echo").ok()?.json()["name"] == name;
            let stopped = system.processes(&["sleep", "3600"]).is_empty();
            (pids.len() == 1 && known == 1 && says && stopped).then_some(pids)
        })
    };
    let first = alone(&system, "first");
    let open = processes::descriptors(system.pid());
    let load = Load::start(system.edge, 2, &Request::get("/echo"));
    let breaks = |system: &System| {
        // One that lives and never listens, and one that ends at once.
        system.rewrite(&run("sleep 3600"));
        until("it runs", || (!system.processes(&["sleep", "3600"]).is_empty()).then_some(()));
        let ended = |system: &System| {
            system.said().iter().filter(|event| event["event"] == "ended" && event["name"] == "one").count()
        };
        let before = ended(system);
        system.rewrite(&run("false"));
        until("it ended", || (ended(system) > before).then_some(()));
    };
    breaks(&system);
    system.rewrite(&run("{service} first"));
    assert_eq!(alone(&system, "first"), first, "whoever serves as it is wanted again stays");
    breaks(&system);
    system.rewrite(&run("{service} second"));
    let second = alone(&system, "second");
    until("the first is gone", || system.processes(&["testkit-service", "first"]).is_empty().then_some(()));
    assert_ne!(second, first);
    until("no socket of those that are gone is open", || {
        (processes::descriptors(system.pid()) <= open).then_some(())
    });
    let outcomes = load.stop();
    assert_eq!(outcomes.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
