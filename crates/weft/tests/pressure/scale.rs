//! Many of everything: routes, services and connections. What a request costs, and how long a start and a reload take, must
//! not depend on them, but for what has to be written down of each.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use weft_testkit::offer::{Kind, Offer, Running};
use weft_testkit::{Manifest, build, http, ports, processes, until};

use super::*;

/// How many of what.
#[derive(Clone, Copy, Debug)]
struct Size {
    services: u64,
    routes: u64,
    connections: u64,
}

/// What was seen at one size.
struct Seen {
    start: Duration,
    reload: Duration,
    each: Duration,
    gateway_kib: u64,
    control_kib: u64,
}

#[test]
fn many_routes_services_and_connections_cost_a_request_nothing() {
    let connections = setting("WEFT_SCALE_CONNECTIONS", 400);
    let large = Size {
        services: setting("WEFT_SCALE_SERVICES", 20),
        routes: setting("WEFT_SCALE_ROUTES", 200),
        connections,
    };
    let small = Size { services: 1, routes: 1, connections: 0 };
    let requests = setting("WEFT_SCALE_REQUESTS", 500);
    say(
        "| services | routes | idle connections | up after | reload | CPU for a request | gateway MiB | control MiB |",
    );
    say("|---|---|---|---|---|---|---|---|");
    let first = look(small, requests);
    let steps = [Size { connections: 0, ..large }, Size { connections, ..small }, large];
    let seen: Vec<Seen> = steps.into_iter().map(|size| look(size, requests)).collect();
    // A test has too few requests to say what one costs.
    let percent = setting("WEFT_SCALE_PERCENT", 0);
    if percent > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let most = first.each.mul_f64(percent as f64 / 100.0);
        assert!(seen.iter().all(|seen| seen.each <= most), "a request costs more where there is more");
    }
}

fn look(size: Size, requests: u64) -> Seen {
    let port = ports::free();
    let began = Instant::now();
    let mut system = System::up(WEFT, &manifest(size, port, 0));
    let start = began.elapsed();
    let crowd = (size.connections > 0).then(|| Crowd::come(&system, size.connections));

    let began = Instant::now();
    system.rewrite(&manifest(size, port, 1));
    let there = || http::get(system.edge, "/round").ok().filter(|answer| answer.text() == "1");
    until("the new plan is in force", there);
    let reload = began.elapsed();

    let gateway = pid(&system, "gateway");
    // Warm: connections are there and memory is grown.
    cost(&system, gateway, size, requests / 5);
    let each = cost(&system, gateway, size, requests);
    let control_kib = processes::resident_kib(pid(&system, "control"));
    let seen = Seen { start, reload, each, gateway_kib: processes::resident_kib(gateway), control_kib };
    say(&format!(
        "| {} | {} | {} | {:.0?} | {:.0?} | {:.1?} | {} | {} |",
        size.services,
        size.routes,
        size.connections,
        seen.start,
        seen.reload,
        seen.each,
        seen.gateway_kib / 1024,
        seen.control_kib / 1024
    ));
    drop(crowd);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
    seen
}

/// One service that runs, and others elsewhere; routes spread over all, of which the last ones are asked.
fn manifest(size: Size, port: u16, round: u64) -> Manifest {
    let mut text = "system: scale\nservices:\n".to_owned();
    let _ = writeln!(
        text,
        "  s0: {{ run: \"{{service}} fast\", port: {port}, health: /healthz, protocol: http }}"
    );
    for n in 1..size.services {
        // The service itself, seen as one that runs elsewhere: it answers for all.
        let _ = writeln!(text, "  s{n}: {{ url: \"http://127.0.0.1:{port}\", protocol: http }}");
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

fn pid(system: &System, role: &str) -> u32 {
    let found = system.processes(&[]).into_iter().find(|process| {
        let mut words = process.command.split(' ');
        words.next().is_some_and(|program| program.ends_with("/weft")) && words.next() == Some(role)
    });
    found.expect("the role runs").pid
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
