//! Long: seventy percent of what the machine can serve, over HTTP/1.1, HTTP/2 and gRPC, beside WebSockets and server-sent events that stay open, while identities are renewed, the
//! manifest changes every second, instances come and go, and now and then somebody writes a manifest that is wrong.
//!
//! No answer may be unexpected, and nothing may grow: memory by less than 1 MiB in an hour (a regression over the samples
//! after warming up, told with its error; in ten minutes it can show a leak of some MiB an hour and nothing smaller),
//! descriptors not at all.

use std::collections::BTreeMap;

use rustix::process::Signal;
use weft_testkit::offer::{Kind, Offer, Running, Speaks};
use weft_testkit::processes;
use weft_testkit::{Manifest, until};

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

/// The identities live twice as long as it takes until they are renewed.
const IDENTITY_LIFE: &str = "60s";
/// A service is restarted once in so many rounds: most sidecars shall live long enough to show what grows, in ten minutes those
/// that come last as well.
const RESTART_ROUNDS: u64 = 380;
/// While warming up they need not live as long, and shall have been replaced by warm ones more than once.
const RESTART_ROUNDS_WARMING: u64 = 60;
/// Requests that are open at once, of all kinds, where nothing else is said; at 70 % some 30 are open on average. What processes keep for
/// the most that was ever open wanders by as much as it is large, and hides what grows: with 640 by half a MiB.
const OPEN_MAX: u64 = 96;
/// Capacity is measured with so many open at most: with more, requests only wait for each other.
const OPEN_MEASURING: u64 = 64;
/// Instances of `web` are two for so many rounds, then three for as many.
const WEB_ROUNDS: u64 = 4;
/// Once while there are two, for one round, as many requests as may be are open at once: a pool is as large as the most that was
/// needed, and a connection as large as the most that was open on it. Connections of the mesh are replaced each half
/// minute or so; those that met no burst yet would look smaller than those that did, so bursts come several times as often.
const BURST_EACH: u64 = 2 * WEB_ROUNDS;
/// In which of these rounds: the third instance is gone by then, so that as many are asked in each burst.
const BURST_AT: u64 = WEB_ROUNDS - 1;
/// In a burst all instances of `web` and `rpc` stand still for so long, as one does that collects its garbage. So what may be
/// open is open, on each hop, and each burst needs as much as the first: how much would be chance otherwise, and the
/// most that was ever needed would go on growing, ever slower.
const STILL: Duration = Duration::from_millis(300);
/// So much of the run is for warming up, in which each round has its burst, with three instances as well. Of pieces of each size each thread
/// keeps as many as it ever needed at once, which rises with the logarithm of how often it could need more: whoever lives from
/// the beginning has then seen more than all that follows.
const WARM_UP_TENTHS: u32 = 3;
/// So much of a process's life is not judged: whoever is new fills its pools first, whenever it came.
const SETTLING_TENTHS: usize = 3;
/// Requests in a second with which as many are open as may be.
const MORE_THAN_CAN_BE: u64 = 100_000;
/// Between two samples of what processes hold.
const SAMPLE: Duration = Duration::from_secs(1);
/// A page of the allocator, from which it serves pieces of one size. Whether one more is taken just now is chance, so a
/// slope is known no better than by one over the time that was watched: in two minutes by 1.9 MiB an hour, in two hours by 32 KiB.
const PAGE_KIB: f64 = 64.0;
/// Growth that is none, in an hour.
const SLOPE_KIB_MAX: f64 = 1024.0;
/// A slope is believed from so many samples on; a test alone has fewer, and looks for answers only.
const SAMPLES_MIN: usize = 120;

/// What a process held: when, KiB, descriptors.
type Sample = (f64, f64, usize);

#[test]
fn nothing_grows_and_no_answer_is_unexpected() {
    let length = Duration::from_secs(setting("WEFT_SOAK_SECONDS", 10));
    let open = setting("WEFT_SOAK_OPEN", OPEN_MAX);
    // How much of what was asked for, outside of bursts, has to be answered; 0: other tests share the machine.
    let percent = setting("WEFT_SOAK_SERVED_PERCENT", 0);
    let mut system = System::start(WEFT, &manifest(0, 2, true), &["--identity-lifetime", IDENTITY_LIFE]);
    system.wait_serving();
    let per_second = setting("WEFT_SOAK_PER_SECOND", 0);
    let per_second = if per_second > 0 { per_second } else { capacity(&system, open) * 7 / 10 };
    say(&format!("  {length:?} at {per_second} requests a second, {open} open at most"));

    let load = Running::start(offer(&system, per_second, open));
    let streams = Streams::start(system.edge);
    let mut samples: BTreeMap<(String, u32), Vec<Sample>> = BTreeMap::new();
    let mut served = Served::default();
    let warm_up = length * WARM_UP_TENTHS / 10;
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < length {
        round += 1;
        let warming = began.elapsed() < warm_up;
        // Every seventh is wrong; an instance of `web` comes or goes, and now and then all of `rpc` are replaced.
        let web = if (round / WEB_ROUNDS).is_multiple_of(2) { 2 } else { 3 };
        system.rewrite(&manifest(round, web, round % 7 != 0));
        let restart_rounds = if warming { RESTART_ROUNDS_WARMING } else { RESTART_ROUNDS };
        if round % restart_rounds == 5 {
            let run = system.weft(&["restart", "rpc"]);
            assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
        }
        let in_turn = round % BURST_EACH == BURST_AT;
        if warming || in_turn {
            load.change(MORE_THAN_CAN_BE);
            stand_still(&system);
            pass(SAMPLE - STILL);
            load.change(per_second);
        } else {
            served.pass(&load, per_second);
        }
        // What is kept for the next burst is looked at between bursts, which ask for the same each time.
        if !in_turn {
            sample(&system, began.elapsed(), &mut samples);
        }
    }
    // The last word is a good manifest, and it is taken.
    system.rewrite(&manifest(0, 2, true));
    until("the last manifest is taken", || is_whole(&admin(&system, "/v1/status").ok()?, 6).then_some(()));
    let offered = load.stop();
    say(&format!(
        "{round} reloads\n{}  outside of bursts {:.1} % of what was asked for",
        offered.table(),
        served.percent()
    ));
    let broken = streams.stop();
    let grown = judge(&samples);
    for role in ["supervisor", "control", "gateway"] {
        let seen = samples.keys().filter(|(name, _)| name == role).count();
        assert_eq!(seen, 1, "one {role} lives from the beginning to the end");
    }
    assert!(
        offered.unusual.is_empty(),
        "{:?}\n{}",
        &offered.unusual[..offered.unusual.len().min(10)],
        offered.table()
    );
    assert!(broken.is_empty(), "{broken:?}");
    assert!(grown.is_empty(), "{grown:?}");
    assert!(
        served.percent() >= f64::from(u32::try_from(percent).unwrap_or(u32::MAX)),
        "too little was answered"
    );
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

fn offer(system: &System, per_second: u64, open: u64) -> Offer {
    let shared = Kind { speaks: Speaks::Http2, ..Kind::get("http2", "/x") };
    let rpc = Kind { speaks: Speaks::Grpc, method: "POST", ..Kind::get("grpc", "/bench.Echo/Say") };
    let kinds = vec![Kind::get("http1", "/x"), Kind::get("http1", "/y"), shared, rpc];
    let open_max = usize::try_from(open).unwrap_or(usize::MAX);
    Offer { to: system.edge, kinds, per_second, open_max, patience: LIMIT }
}

/// What was asked for outside of bursts, and what was answered.
#[derive(Default)]
struct Served {
    asked: f64,
    answered: f64,
}

impl Served {
    /// Lets the load run until the next sample.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
    fn pass(&mut self, load: &Running, per_second: u64) {
        let (began, before) = (Instant::now(), load.answered());
        pass(SAMPLE);
        self.answered += (load.answered() - before) as f64;
        self.asked += per_second as f64 * began.elapsed().as_secs_f64();
    }

    /// Answered of what was asked for.
    fn percent(&self) -> f64 {
        100.0 * self.answered / self.asked.max(1.0)
    }
}

/// All who are asked stop, and go on.
fn stand_still(system: &System) {
    let asked = system.processes(&["fast"]);
    assert!(asked.iter().filter(|one| processes::signal(one.pid, Signal::STOP)).count() >= 4, "{asked:?}");
    pass(STILL);
    for one in &asked {
        // One that was to end has ended by now, or does so.
        processes::signal(one.pid, Signal::CONT);
    }
}

/// Requests in a second, with few open at once: the open system is asked for more than there can be.
fn capacity(system: &System, open: u64) -> u64 {
    let load = Running::start(offer(system, MORE_THAN_CAN_BE, open.min(OPEN_MEASURING)));
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
        "  | process | slope KiB/h | ± | descriptors, median of the first and last third | most | KiB, from start to end |",
    );
    for ((role, pid), all) in samples {
        let settled = &all[all.len() * SETTLING_TENTHS / 10..];
        // Ten seconds say nothing about an hour.
        if settled.len() < SAMPLES_MIN {
            young += 1;
            continue;
        }
        let line = Line::through(settled);
        let third = settled.len() / 3;
        let (first, last) = (&settled[..third], &settled[settled.len() - third..]);
        let (early, late) = (median(first), median(last));
        let most = |of: &[Sample]| of.iter().map(|one| one.2).max().unwrap_or(0);
        let (before, most) = (most(first), most(settled));
        let (slope, error) = line.in_an_hour(settled[settled.len() - 1].0 - settled[0].0);
        let course = course(all);
        say(&format!("  | {role} {pid} | {slope:.0} | {error:.0} | {early} → {late} | {most} | {course} |"));
        if grows(slope, error) {
            grown.push(format!("{role} {pid}: memory by {slope:.0} ± {error:.0} KiB an hour"));
        }
        // Pools hold as many connections as were needed at once, so the usual must not rise above what was the most.
        if late > before + DESCRIPTORS_SLACK {
            grown.push(format!("{role} {pid}: descriptors from at most {before} to {late}"));
        }
    }
    say(&format!("  {young} that lived too short for a slope"));
    grown
}

/// What cannot be told from less than the most is no growth: twice the error is 95 %.
fn grows(slope: f64, error: f64) -> bool {
    slope - 2.0 * error > SLOPE_KIB_MAX
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

/// A line through memory over time, by least squares.
struct Line {
    slope: f64,
    /// Standard error of the slope, as wide as samples that follow each other depend on each other.
    error: f64,
}

impl Line {
    #[expect(clippy::cast_precision_loss, reason = "thousands of samples")]
    fn through(samples: &[Sample]) -> Self {
        let count = samples.len() as f64;
        let (mean_x, mean_y) =
            samples.iter().fold((0.0, 0.0), |(x, y), one| (x + one.0 / count, y + one.1 / count));
        let (mut xx, mut xy) = (0.0, 0.0);
        for (x, y, _) in samples {
            xx += (x - mean_x).powi(2);
            xy += (x - mean_x) * (y - mean_y);
        }
        let slope = xy / xx;
        let rest: Vec<f64> = samples.iter().map(|(x, y, _)| y - mean_y - slope * (x - mean_x)).collect();
        let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
        let pairs: f64 = rest.windows(2).map(|two| two[0] * two[1]).sum();
        // First-order autocorrelation: memory moves in steps, so that samples say less than their number.
        let together = if squares > 0.0 { (pairs / squares).clamp(0.0, 0.99) } else { 0.0 };
        let wider = ((1.0 + together) / (1.0 - together)).sqrt();
        Self { slope, error: (squares / (count - 2.0).max(1.0) / xx).sqrt() * wider }
    }

    /// Slope and error in an hour, of a process that was watched for so many seconds.
    fn in_an_hour(&self, seconds: f64) -> (f64, f64) {
        (self.slope * 3600.0, self.error.max(PAGE_KIB / seconds) * 3600.0)
    }
}

#[test]
fn a_slope_is_found_with_its_error() {
    let noise = [0.0, 40.0, -40.0, 10.0, -10.0];
    let samples: Vec<Sample> = (0..600_u32)
        .map(|n| (f64::from(n), 9000.0 + f64::from(n) * 0.5 + noise[n as usize % 5], 10))
        .collect();
    let line = Line::through(&samples);
    assert!((line.slope - 0.5).abs() < 2.0 * line.error + 0.001, "{} ± {}", line.slope, line.error);
    assert!(line.error < 0.05);
}

#[test]
fn a_page_that_is_taken_once_is_no_growth_and_a_leak_is() {
    let growing = |seconds: u32, kib: &dyn Fn(u32) -> f64| {
        let samples: Vec<Sample> = (0..seconds).map(|n| (f64::from(n), 2600.0 + kib(n), 21)).collect();
        let (slope, error) = Line::through(&samples).in_an_hour(f64::from(seconds));
        grows(slope, error)
    };
    for seconds in [120, 420, 5040] {
        assert!(!growing(seconds, &|n| if n > seconds / 2 { PAGE_KIB } else { 0.0 }), "{seconds} s");
    }
    let leak = |mib_in_an_hour: f64| {
        move |n: u32| (f64::from(n) * mib_in_an_hour * 1024.0 / 3600.0 / 4.0).round() * 4.0
    };
    assert!(growing(120, &leak(6.0)));
    assert!(growing(420, &leak(2.5)));
    assert!(growing(5040, &leak(1.25)));
    assert!(!growing(5040, &leak(0.9)));
}
