//! Many of everything: routes, services, instances and connections. What a request costs, and how long a start and a reload
//! take, must not depend on them, but for what has to be written down of each.
//!
//! One service runs here. The instances of the others are simulated: each is a `weft sidecar` that the test starts itself with a
//! token of the admin API, as the supervisor would, and all of them stand before the one process of the service that runs. So
//! control, the gateway and the sidecars see nothing else than they would with a process of its own behind each.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use weft_testkit::http::Request;
use weft_testkit::offer::{Kind, Offer, Running};
use weft_testkit::{Manifest, build, http, ports, processes, until};

use super::*;

/// Simulated instances that enrol at the same time: handshakes with control have 5 s, and this machine may have one core.
const ENROL_AT_ONCE: u64 = 16;

/// How many of what.
#[derive(Clone, Copy, Debug)]
struct Size {
    services: u64,
    /// Of each service but the one that runs.
    instances: u64,
    routes: u64,
    connections: u64,
}

impl Size {
    fn simulated(self) -> u64 {
        (self.services - 1) * self.instances
    }
}

/// What was seen at one size.
struct Seen {
    /// From the command until the system serves, before there are instances that are simulated. Among other tests it also
    /// holds the wait for theirs to end.
    start: Duration,
    /// How long another gateway takes in the place of the first one, which has to learn of all that there is.
    again: Duration,
    reload: Duration,
    each: Duration,
}

#[test]
fn many_routes_services_and_connections_cost_a_request_nothing() {
    let connections = setting("WEFT_SCALE_CONNECTIONS", 400);
    let large = Size {
        services: setting("WEFT_SCALE_SERVICES", 20),
        instances: setting("WEFT_SCALE_INSTANCES", 1),
        routes: setting("WEFT_SCALE_ROUTES", 200),
        connections,
    };
    let small = Size { services: 1, instances: 0, routes: 1, connections: 0 };
    let effort =
        Effort { requests: setting("WEFT_SCALE_REQUESTS", 500), times: setting("WEFT_SCALE_TIMES", 1) };
    say(
        "| services | simulated instances | routes | idle connections | up after | gateway again | reload | CPU for a request | \
         gateway MiB: at first, with connections, at last | control MiB |",
    );
    say("|---|---|---|---|---|---|---|---|---|---|");
    let first = look(small, effort);
    let steps = [Size { connections: 0, ..large }, Size { connections, ..small }, large];
    let seen: Vec<Seen> = steps.into_iter().map(|size| look(size, effort)).collect();
    // A test has too few requests to say what one costs, and other tests beside it, so that only a run for long asserts.
    assert_flat("a request", setting("WEFT_SCALE_PERCENT", 0), &first, &seen, |seen| seen.each);
    let percent = setting("WEFT_SCALE_TIMES_PERCENT", 0);
    assert_flat("a start", percent, &first, &seen, |seen| seen.start);
    assert_flat("a start of the gateway", percent, &first, &seen, |seen| seen.again);
    assert_flat("a reload", percent, &first, &seen, |seen| seen.reload);
}

/// Nowhere more than so many percent of what it was where there was one of each, in the same run.
fn assert_flat(what: &str, percent: u64, first: &Seen, seen: &[Seen], of: impl Fn(&Seen) -> Duration) {
    if percent == 0 {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let most = of(first).mul_f64(percent as f64 / 100.0);
    let all: Vec<Duration> = seen.iter().map(of).collect();
    assert!(
        all.iter().all(|one| *one <= most),
        "{what} costs more than {most:.1?} where there is more: {all:.1?}"
    );
}

/// How much is done to know something.
#[derive(Clone, Copy)]
struct Effort {
    requests: u64,
    /// Starts and reloads, of which the median counts; not the first one, where a start reads the executable from the disk.
    times: u64,
}

impl Effort {
    fn median(self, once: impl FnMut(u64) -> Duration) -> Duration {
        let mut all: Vec<Duration> = (0..self.times).map(once).collect();
        if all.len() > 1 {
            all.remove(0);
        }
        all.sort();
        all[all.len() / 2]
    }
}

fn look(size: Size, effort: Effort) -> Seen {
    let port = ports::free();
    let mut running = None;
    let start = effort.median(|_| {
        if let Some(system) = running.take() {
            end(system);
        }
        let began = Instant::now();
        running = Some(System::up(WEFT, &manifest(size, port, 0)));
        began.elapsed()
    });
    let system = running.expect("it was started");
    let simulated = Simulated::come(&system, size, port);
    let again = effort.median(|_| {
        let began = Instant::now();
        let run = system.weft(&["restart", "gateway"]);
        assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
        began.elapsed()
    });
    ask_everybody(&system, size);
    let gateway = pid(&system, "gateway");
    let mib = || processes::resident_kib(gateway) / 1024;
    let at_first = mib();
    let crowd = (size.connections > 0).then(|| Crowd::come(&system, size.connections));
    let crowded = mib();
    let reload = effort.median(|round| {
        let began = Instant::now();
        system.rewrite(&manifest(size, port, round + 1));
        until_round(&system, &(round + 1).to_string());
        began.elapsed()
    });
    // Warm: connections are there and memory is grown.
    cost(&system, gateway, size, effort.requests / 5);
    let each = cost(&system, gateway, size, effort.requests);
    say(&format!(
        "| {} | {} | {} | {} | {start:.0?} | {again:.0?} | {reload:.0?} | {each:.1?} | {at_first}, {crowded}, {} | {} |",
        size.services,
        size.simulated(),
        size.routes,
        size.connections,
        mib(),
        processes::resident_kib(pid(&system, "control")) / 1024
    ));
    until("all instances are there at the end as well", || whole(&system, size));
    drop((crowd, simulated));
    end(system);
    Seen { start, again, reload, each }
}

fn end(mut system: System) {
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// Waits until the gateway answers from the plan of this round.
fn until_round(system: &System, round: &str) {
    let there = || http::get(system.edge, "/round").ok().filter(|answer| answer.text() == round);
    until("the plan is in force", there);
}

/// Whether the one instance that runs, the gateway, and all that are simulated are connected, ready and run the current plan.
fn whole(system: &System, size: Size) -> Option<()> {
    let instances = usize::try_from(size.simulated()).unwrap_or(usize::MAX) + 2;
    admin(system, "/v1/status").is_ok_and(|status| is_whole(&status, instances)).then_some(())
}

/// As many requests as there are instances, to each service: each is answered through an instance of it.
fn ask_everybody(system: &System, size: Size) {
    for n in 0..size.services.min(size.routes) {
        for _ in 0..size.instances.max(1) {
            let answer = http::get(system.edge, &format!("/api/v{n}/things/7")).expect("the gateway answers");
            assert_eq!(answer.status, 200, "s{n}: {}", answer.outcome());
        }
    }
}

/// One service that runs, and others that are run by nobody here; routes spread over all, of which the last ones are asked.
fn manifest(size: Size, port: u16, round: u64) -> Manifest {
    let mut text = "system: scale\nservices:\n".to_owned();
    let _ = writeln!(
        text,
        "  s0: {{ run: \"{{service}} fast\", port: {port}, health: /healthz, protocol: http }}"
    );
    for n in 1..size.services {
        // All are probed, by hundreds of sidecars, in the one process: rarely.
        let _ = writeln!(
            text,
            "  s{n}: {{ run: \"{{service}} fast\", replicas: 0, health: {{ path: /healthz, interval: 20s }}, protocol: http }}"
        );
    }
    text.push_str(
        "gateway:\n  listen: \"{edge}\"\n  auth: none\n  trusted_proxies: [127.0.0.1/32]\n  routes:\n",
    );
    let _ = writeln!(text, "    GET /round: {{ respond: {{ status: 200, body: \"{round}\" }} }}");
    for n in 0..size.routes {
        let _ = writeln!(text, "    GET /api/v{n}/things/{{id}}: s{}", n % size.services);
    }
    Manifest::new(&text)
}

/// Sidecars of services that nobody started.
struct Simulated(Vec<Child>);

impl Simulated {
    /// Starts them, and waits until all of them are known to control and ready.
    fn come(system: &System, size: Size, port: u16) -> Self {
        let mut all = Self(Vec::new());
        for n in 0..size.simulated() {
            let service = format!("s{}", 1 + n % (size.services - 1));
            let instance = format!("{service}-simulated-{n}");
            all.0.push(sidecar(system, &service, &instance, port));
            if (n + 1) % ENROL_AT_ONCE == 0 || n + 1 == size.simulated() {
                let now = Size { services: 2, instances: n + 1, ..size };
                until("the simulated instances are ready", || whole(system, now));
            }
        }
        all
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A sidecar with an identity of its own, as the supervisor starts it for a service that somebody else runs.
fn sidecar(system: &System, service: &str, instance: &str, port: u16) -> Child {
    let start = serde_json::json!({
        "bootstrap": bootstrap(system, service, instance).expect("control gives a token"),
        "data_dir": system.folder().join("simulated"),
        "service": { "port": port, "foreign": true },
    });
    let mut child = Command::new(WEFT)
        .args(["sidecar", "--inbound", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a sidecar can be started");
    // It lives as long as its standard input, which the child holds open here.
    let input = child.stdin.as_mut().expect("standard input is a pipe");
    input.write_all(format!("{start}\n").as_bytes()).expect("the sidecar reads its start");
    child
}

/// The process of a role, of which there is one.
fn pid(system: &System, role: &str) -> u32 {
    until("there is one process of the role", || {
        let mut found = system.processes(&[]);
        found.retain(|process| {
            let mut words = process.command.split(' ');
            words.next().is_some_and(|program| program.ends_with("/weft")) && words.next() == Some(role)
        });
        (found.len() == 1).then(|| found[0].pid)
    })
}

/// What a process is told so that it can enrol as this instance.
fn bootstrap(system: &System, service: &str, instance: &str) -> std::io::Result<Value> {
    let data = system.folder().join(".weft");
    let read = |name: &str| std::fs::read_to_string(data.join(name));
    let place: Value = serde_json::from_str(&read("control.json")?)?;
    let to = place["admin"].as_str().and_then(|address| address.parse().ok());
    let asked = serde_json::json!({ "service": service, "instance": instance });
    let request = Request::new("POST", "/v1/tokens")
        .field("authorization", &format!("Bearer {}", read("admin.token")?.trim()))
        .field("content-type", "application/json")
        .body(asked.to_string());
    let answer = http::send(to.ok_or_else(|| std::io::Error::other("control.json"))?, &request)?;
    let bootstrap = answer.json()["bootstrap"].take();
    if bootstrap.is_null() { Err(std::io::Error::other(answer.text())) } else { Ok(bootstrap) }
}

/// CPU of the gateway for each of so many requests, to the last routes of the service that runs.
fn cost(system: &System, gateway: u32, size: Size, requests: u64) -> Duration {
    let routes = (size.routes / size.services).max(1);
    let asked = (0..routes.min(16)).map(|n| (routes - 1 - n) * size.services);
    let kinds = asked.map(|n| Kind::get("one", &format!("/api/v{n}/things/7"))).collect();
    let before = processes::cpu(gateway);
    let offer = Offer { to: system.edge, kinds, per_second: 50_000, open_max: 64, patience: LIMIT };
    let load = Running::start(offer);
    let end = Instant::now() + 4 * LIMIT;
    while load.answered() < requests && Instant::now() < end {
        pass(Duration::from_millis(10));
    }
    let offered = load.stop();
    assert!(offered.unusual.is_empty(), "{}", offered.table());
    let used = processes::cpu(gateway) - before;
    used / u32::try_from(offered.of("200").count().max(1)).unwrap_or(u32::MAX)
}

/// Connections that were used once and are kept open by a process of their own.
struct Crowd(Child);

impl Crowd {
    fn come(system: &System, connections: u64) -> Self {
        let bench = build(std::path::Path::new(WEFT), "weft-testkit", "testkit-bench");
        let mut child = Command::new(bench)
            .args(["crowd", &system.edge.to_string(), "/api/v0/things/7", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the crowd can be started");
        let mut said = String::new();
        let out = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(out).read_line(&mut said).expect("the crowd says something");
        assert_eq!(said, "ready\n", "all connections are there");
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
