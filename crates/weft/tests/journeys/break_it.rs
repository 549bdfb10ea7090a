//! End each part at once, without a word to it, while requests come in.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use weft_testkit::http::{self, Client, Request};
use weft_testkit::load::{Load, Outcomes};
use weft_testkit::tls::Tls;
use weft_testkit::{Manifest, System, ports, processes, until};

use super::{ONE, WEFT};

/// Two copies, so that one can be missed.
fn two() -> Manifest {
    Manifest::new(&ONE.replace("health: /healthz", "health: /healthz, replicas: 2"))
}

/// Runs load, breaks something, waits until the system is whole again, and goes on for a while.
fn under_load(system: &System, break_it: impl Fn() -> usize, is_whole: impl Fn() -> Option<()>) -> Outcomes {
    let load = Load::start(system.edge, 4, &Request::get("/echo"));
    load.wait_for(100);
    assert_eq!(break_it(), 1, "exactly one process is broken\n{}", system.log());
    load.wait_for(100);
    until("the system is whole again", is_whole);
    load.wait_for(100);
    load.stop()
}

/// Whether nothing but good answers came.
fn all_good(outcomes: &Outcomes) -> bool {
    outcomes.keys().all(|outcome| outcome == "200")
}

/// All instances are connected, ready, and run the current plan.
fn is_whole(system: &System, instances: usize) -> Option<()> {
    let run = system.weft(&["status", "--output", "json"]);
    let status = run.json();
    let services = status["services"].as_array()?;
    let mut all = services.iter().flat_map(|service| service["instances"].as_array().into_iter().flatten());
    let good = |one: &serde_json::Value| {
        one["state"] == "ready" && one["connected"] == true && one["current"] == true
    };
    let ready = all.by_ref().filter(|one| good(one)).count();
    (ready == instances).then_some(())
}

/// Kills the sidecar of the first instance, by the process id that `weft status` shows.
fn kill_instance_of_role(system: &System) -> usize {
    let status = system.status();
    let pid = status["services"][0]["instances"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    usize::from(pid.is_some_and(weft_testkit::processes::kill))
}

#[test]
fn a_killed_service_is_missed_by_nobody() {
    let mut system = System::up(WEFT, &two());
    let kill_one = || {
        let pid = http::get(system.edge, "/echo").unwrap().json()["pid"].as_u64();
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        usize::from(pid.is_some_and(weft_testkit::processes::kill))
    };
    let outcomes = under_load(&system, kill_one, || is_whole(&system, 2));
    assert!(all_good(&outcomes), "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn the_only_instance_may_be_killed_and_its_callers_wait() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let pid = || http::get(system.edge, "/echo").unwrap().json()["pid"].as_u64();
    let before = pid();
    let kill = || usize::from(before.and_then(|pid| u32::try_from(pid).ok()).is_some_and(processes::kill));
    let outcomes = under_load(&system, kill, || (pid() != before).then(|| is_whole(&system, 1)).flatten());
    assert!(all_good(&outcomes), "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// The keeper that holds a process.
fn keeper_of(system: &System, pid: u32) -> Option<u32> {
    let keepers = system.processes(&["weft", "keep"]).into_iter();
    let mut holding = keepers.filter(|keeper| processes::below(keeper.pid).iter().any(|one| one.pid == pid));
    holding.next().map(|keeper| keeper.pid)
}

#[test]
fn a_killed_keeper_is_missed_by_nobody() {
    for (manifest, instances) in [(two(), 2), (Manifest::new(ONE), 1)] {
        let mut system = System::up(WEFT, &manifest);
        let pid = || u32::try_from(http::get(system.edge, "/echo").ok()?.json()["pid"].as_u64()?).ok();
        let before = pid();
        let kill =
            || usize::from(before.and_then(|pid| keeper_of(&system, pid)).is_some_and(processes::kill));
        let gone = || system.processes(&[]).iter().all(|process| Some(process.pid) != before).then_some(());
        let outcomes = under_load(&system, kill, || gone().and_then(|()| is_whole(&system, instances)));
        assert!(all_good(&outcomes), "{instances}: {outcomes:?}");
        assert!(system.interrupt().success());
        system.assert_nothing_left();
    }
}

#[test]
fn a_killed_sidecar_is_missed_by_nobody() {
    let mut system = System::up(WEFT, &two());
    let outcomes = under_load(&system, || kill_instance_of_role(&system), || is_whole(&system, 2));
    assert!(all_good(&outcomes), "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn killed_control_is_missed_by_nobody_and_comes_back() {
    let mut system = System::up(WEFT, &two());
    let kill_control = || system.kill(&["weft", "control"]);
    let outcomes = under_load(&system, kill_control, || is_whole(&system, 2));
    assert!(all_good(&outcomes), "{outcomes:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_killed_gateway_comes_back_on_the_same_address() {
    let mut system = System::up(WEFT, &two());
    let pid = || system.processes(&["weft", "gateway"]).first().map(|process| process.pid);
    let before = pid();
    let kill_gateway = || system.kill(&["weft", "gateway"]);
    let is_new = || pid().filter(|now| Some(*now) != before).map(|_| ());
    let outcomes = under_load(&system, kill_gateway, || is_new().and_then(|()| is_whole(&system, 2)));
    // What was open in the gateway ends with it: an answer that had begun, one for each connection at most. New
    // connections wait in the backlog of the sockets that the supervisor holds.
    let cut: u64 = outcomes.iter().filter(|(outcome, _)| *outcome != "200").map(|(_, count)| count).sum();
    assert!(cut <= 4, "{outcomes:?}");
    assert!(
        outcomes.keys().all(|outcome| outcome == "200" || outcome.starts_with("failed: ")),
        "{outcomes:?}"
    );
    assert_eq!(http::get(system.edge, "/echo").unwrap().status, 200);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn a_role_that_never_found_control_ends_with_its_supervisor() {
    let mut system = System::up(WEFT, &Manifest::new(ONE));
    let data = system.folder().join(".weft");
    let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
    let place: serde_json::Value = serde_json::from_str(&read("control.json")).unwrap();
    let admin = place["admin"].as_str().unwrap().parse().unwrap();
    let asked = serde_json::json!({ "service": "weft-gateway", "instance": "late", "version": "v1" });
    let request = Request::new("POST", "/v1/tokens")
        .field("authorization", &format!("Bearer {}", read("admin.token").trim()))
        .field("content-type", "application/json")
        .body(asked.to_string());
    let bootstrap = http::send(admin, &request).unwrap().json()["bootstrap"].clone();
    assert!(system.interrupt().success());

    // Nobody is there to enrol with by now.
    let listen = format!("127.0.0.1:{}", ports::free());
    let mut gateway = Command::new(WEFT)
        .args(["gateway", "--listen", &listen])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = serde_json::json!({ "bootstrap": bootstrap, "data_dir": system.folder().join("late"), "service": null });
    let mut life_line = gateway.stdin.take().unwrap();
    life_line.write_all(format!("{start}\n").as_bytes()).unwrap();
    until("it listens", || TcpStream::connect(&listen).ok());
    assert!(gateway.try_wait().unwrap().is_none());
    drop(life_line);
    assert!(until("it ends", || gateway.try_wait().unwrap()).success());
    system.assert_nothing_left();
}

#[test]
fn what_dies_while_control_hangs_comes_back_as_itself() {
    // The pair of this edge is on no disk either.
    let manifest = ONE.replace("gateway:", "gateway:\n  tls: auto");
    let mut system = System::up(WEFT, &Manifest::new(&manifest));
    let roots = std::fs::read_to_string(system.folder().join(".weft/roots.pem")).unwrap();
    let tls = Tls::trusting([roots.as_str()]);
    let status = |path| {
        let answer =
            Client::connect_with(system.edge, Some(&tls)).and_then(|mut to| to.send(&Request::get(path)));
        answer.ok().map(|answer| answer.status)
    };
    let control = system.processes(&["control"]);
    assert_eq!(control.len(), 1);
    let to_control = |signal| control.iter().all(|control| processes::signal(control.pid, signal));
    assert!(to_control(Signal::STOP));
    for role in ["gateway", "sidecar"] {
        assert_eq!(system.kill(&[role]), 1, "{role}");
        until("it answers without control", || (status("/echo") == Some(200)).then_some(()));
    }
    assert!(to_control(Signal::CONT));
    until("control knows all of them", || is_whole(&system, 1));
    // A process that began without control is taken for what it was: it is told what is new.
    system.rewrite(&Manifest::new(&manifest.replace("ANY /**: one", "ANY /new/**: one")));
    until("a new plan is in force", || {
        (status("/new/x") == Some(200) && status("/echo") == Some(404)).then_some(())
    });
    assert!(!system.log().contains("keepsake"), "{}", system.log());
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
