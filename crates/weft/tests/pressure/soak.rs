//! Long: seventy percent of what the machine can serve, over HTTP/1.1, HTTP/2 and gRPC, beside WebSockets and server-sent events that stay open, while identities are renewed, the
//! manifest changes every second, instances come and go, and now and then somebody writes a manifest that is wrong.
//!
//! No answer may be unexpected, and nothing may grow: memory by less than 1 MiB in an hour (see [`Slope`]; ten minutes show a
//! leak of ten, and two hours one of one and a half), descriptors not at all.

use std::collections::BTreeMap;

use weft_testkit::offer::{Kind, Offer, Running, Speaks};
use weft_testkit::processes;
use weft_testkit::{Manifest, until};

use super::slope::{PERIOD_S, Slope};
use super::streams::Streams;
use super::*;

const MANIFEST: &str = "
system: soak
services:
  web: { run: \"{service} fast\", health: /healthz, protocol: http, replicas: {web} }
  rpc: { run: \"{service} fast\", health: tcp, protocol: grpc, replicas: 2 }
  talk: { run: \"{service}\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    POST /bench.Echo/**: rpc
    GET /ws: talk
    GET /events/{count}: talk
    POST /next: talk
    GET /round/{round}: { respond: { status: 200, body: \"{round}\" } }
    ANY /**: {to}
observe: { metrics: \"{metrics}\" }
";

/// A service is restarted once in so many rounds: most sidecars shall live long enough to show what grows.
const RESTART_ROUNDS: u64 = 400;
/// Requests that are open at once, of all kinds.
const OPEN_MAX: usize = 512;
/// Once in so many rounds, for one, as many requests as may be are open at once: a pool is as large as the most that was
/// needed, and a connection as large as the most that was open on it. Connections of the mesh are replaced each half
/// minute or so; those that met no burst yet would look smaller than those that did, so bursts come several times as often.
const BURST_EACH: u64 = 10;
/// Requests in a second with which as many are open as may be.
const MORE_THAN_CAN_BE: u64 = 100_000;
/// Between two samples of what processes hold.
const SAMPLE: Duration = Duration::from_secs(1);
/// What a process held: when, KiB, descriptors.
type Sample = (f64, f64, usize);

#[test]
fn nothing_grows_and_no_answer_is_unexpected() {
    let seconds = setting("WEFT_SOAK_SECONDS", 10);
    let mut system =
        System::start(WEFT, &manifest(0, 2, true), &["--identity-lifetime", &format!("{PERIOD_S}s")]);
    system.wait_serving();
    let per_second = setting("WEFT_SOAK_PER_SECOND", 0);
    let per_second = if per_second > 0 { per_second } else { capacity(&system) * 7 / 10 };
    say(&format!("  {seconds} s at {per_second} requests a second"));

    let load = Running::start(offer(&system, per_second));
    let streams = Streams::start(system.edge);
    let mut samples: BTreeMap<(String, u32), Vec<Sample>> = BTreeMap::new();
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        // Every seventh is wrong; an instance of `web` comes or goes every four rounds, and now and then all of `rpc` are
        // replaced.
        system.rewrite(&manifest(round, if round / 4 % 2 == 0 { 2 } else { 3 }, round % 7 != 0));
        if round % RESTART_ROUNDS == 5 {
            let run = system.weft(&["restart", "rpc"]);
            assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
        }
        // What is kept for the next burst is looked at between bursts, which ask for the same each time.
        if round % BURST_EACH == 1 {
            load.change(MORE_THAN_CAN_BE);
            pass(SAMPLE);
            load.change(per_second);
        } else {
            pass(SAMPLE);
            sample(&system, began.elapsed(), &mut samples);
        }
    }
    // The last word is a good manifest, and it is taken.
    system.rewrite(&manifest(0, 2, true));
    until("the last manifest is taken", || is_whole(&admin(&system, "/v1/status").ok()?, 6).then_some(()));
    let offered = load.stop();
    say(&format!("{} reloads\n{}", round, offered.table()));
    let broken = streams.stop();
    let grown = judge(&samples);
    assert!(
        offered.unusual.is_empty(),
        "{:?}\n{}",
        &offered.unusual[..offered.unusual.len().min(10)],
        offered.table()
    );
    assert!(broken.is_empty(), "{broken:?}");
    assert!(grown.is_empty(), "{grown:?}");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

/// The manifest of a round; what is wrong in a wrong one is a route to nobody.
fn manifest(round: u64, web: u32, good: bool) -> Manifest {
    let to = if good { "web" } else { "nobody" };
    // Two good ones in turn: what is written anew each time, names of metrics too, is known after the second.
    let text = MANIFEST.replace("{round}", &(round % 2).to_string()).replace("{web}", &web.to_string());
    Manifest::new(&text.replace("{to}", to))
}

fn offer(system: &System, per_second: u64) -> Offer {
    let shared = Kind { speaks: Speaks::Http2, ..Kind::get("http2", "/x") };
    let rpc = Kind { speaks: Speaks::Grpc, method: "POST", ..Kind::get("grpc", "/bench.Echo/Say") };
    let kinds = vec![Kind::get("http1", "/x"), Kind::get("http1", "/y"), shared, rpc];
    Offer { to: system.edge, kinds, per_second, open_max: OPEN_MAX, patience: LIMIT }
}

/// Requests in a second, with few open at once: the open system is asked for more than there can be.
fn capacity(system: &System) -> u64 {
    let load = Running::start(Offer { open_max: 64, ..offer(system, MORE_THAN_CAN_BE) });
    pass(Duration::from_secs(3));
    let best = load.stop().good_per_second();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
    let best = best as u64;
    best.max(10)
}

fn sample(system: &System, at: Duration, samples: &mut BTreeMap<(String, u32), Vec<Sample>>) {
    let mut take = |role: &str, pid: u32| {
        #[expect(clippy::cast_precision_loss, reason = "memory of one process")]
        let kib = processes::private_kib(pid) as f64;
        if kib > 0.0 {
            let of_process = samples.entry((role.to_owned(), pid)).or_default();
            of_process.push((at.as_secs_f64(), kib, processes::descriptors(pid)));
        }
    };
    take("supervisor", system.pid());
    for process in system.processes(&[]) {
        let words: Vec<&str> = process.command.split(' ').collect();
        if let [program, role @ ("control" | "gateway" | "sidecar"), ..] = words[..]
            && program.ends_with("/weft")
        {
            take(role, process.pid);
        }
    }
}

/// A row for each process that lived long enough, and who grew.
fn judge(samples: &BTreeMap<(String, u32), Vec<Sample>>) -> Vec<String> {
    let mut grown = Vec::new();
    let mut young = 0;
    say(
        "  | process | slope KiB/h | descriptors, median of the first and last third | most | KiB, from start to end |",
    );
    for ((role, pid), all) in samples {
        // Whoever is new fills its pools first, whenever it came.
        let settled = &all[all.len() * 3 / 10..];
        let memory: Vec<(f64, f64)> = settled.iter().map(|one| (one.0, one.1)).collect();
        // Ten seconds say nothing about an hour; a test alone looks for answers only.
        let Some(slope) = Slope::of(&memory) else {
            young += 1;
            continue;
        };
        let third = settled.len() / 3;
        let (first, last) = (&settled[..third], &settled[settled.len() - third..]);
        let (early, late) = (median(first), median(last));
        let most = |of: &[Sample]| of.iter().map(|one| one.2).max().unwrap_or(0);
        let (before, most) = (most(first), most(settled));
        let course = course(all);
        say(&format!("  | {role} {pid} | {slope} | {early} → {late} | {most} | {course} |"));
        if slope.is_growth() {
            grown.push(format!("{role} {pid}: memory by {slope} KiB an hour"));
        }
        // Pools hold as many connections as were needed at once, so the usual must not rise above what was the most.
        if late > before + DESCRIPTORS_SLACK {
            grown.push(format!("{role} {pid}: descriptors from at most {before} to {late}"));
        }
    }
    say(&format!("  {young} that lived too short for a slope"));
    grown
}

/// Memory at moments that are equally far from each other: a leak climbs, a pool that is filled once makes a step.
fn course(all: &[Sample]) -> String {
    let step = all.len().div_ceil(COURSE_MOMENTS);
    let moments = all.iter().step_by(step).chain(all.last());
    moments.map(|one| format!("{:.0}", one.1)).collect::<Vec<_>>().join(" ")
}

/// How many moments of a process's life are told.
const COURSE_MOMENTS: usize = 24;

/// Instances come and go, some a little later.
const DESCRIPTORS_SLACK: usize = 8;

fn median(samples: &[Sample]) -> usize {
    let mut all: Vec<usize> = samples.iter().map(|one| one.2).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}
