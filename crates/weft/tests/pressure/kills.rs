//! `kill -9` of a sidecar, a service, control or the gateway, at random, under load.
//!
//! What a request may suffer, from `docs/resilience.md`, and nothing else:
//!
//! | how it ended | allowed if |
//! |---|---|
//! | the connection to the gateway broke | the gateway was killed that had this connection |
//! | an answer but 200, of a service with two instances | no instance was whole at one moment of the request; or two kills met it (both of its attempts); or it was a `POST`, and a process of the service was killed while it was open |
//! | the same, of a service with one instance | it was not whole at one moment of the request |
//! | no end within its deadline | never |

use std::collections::BTreeMap;

use serde_json::Value;
use weft_testkit::offer::{Kind, Offer, Offered, Running, Speaks, Unusual};
use weft_testkit::processes;
use weft_testkit::{Manifest, until};

use super::*;

const MANIFEST: &str = "
system: kills
services:
  pair: { run: \"{service} fast\", health: /healthz, protocol: http, replicas: 2 }
  lone: { run: \"{service} fast\", health: /healthz, protocol: http }
gateway:
  listen: \"{edge}\"
  auth: none
  routes:
    ANY /pair/**: pair
    ANY /lone/**: lone
";

/// The deadline of the gateway, and time for an answer to get through a busy machine.
const END_LIMIT: Duration = Duration::from_secs(15 + 5);
/// An instance that was told to be ready may be known to the gateway this much later (a look at the status goes another way).
const NEWS: Duration = Duration::from_millis(500);
/// Sidecars with their services, and the gateway.
const INSTANCES: usize = 4;

/// Whom a kill hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Sidecar,
    Service,
    Control,
    Gateway,
}

/// A kill, and from when on all was whole again as far as this instance goes.
#[derive(Debug)]
struct Kill {
    role: Role,
    /// The instance, e.g. `pair-1`; empty for control and gateway.
    instance: String,
    pid: u32,
    at: Instant,
    /// When the kernel was done with it: what it had open was broken by then.
    gone: Instant,
    whole: Option<Instant>,
}

impl Kill {
    fn hits(&self, service: &str) -> bool {
        matches!(self.role, Role::Sidecar | Role::Service) && self.instance.starts_with(service)
    }

    fn is_within(&self, from: Instant, to: Instant) -> bool {
        from <= self.gone && self.at <= to
    }

    /// Whether the instance was away at one moment of this time.
    fn away(&self, from: Instant, to: Instant) -> bool {
        self.at <= to && self.whole.is_none_or(|whole| from <= whole + NEWS)
    }
}

/// Descriptors and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    descriptors: usize,
    resident_kib: u64,
}

#[test]
fn processes_are_killed_at_random_and_only_their_own_requests_notice() {
    let seconds = setting("WEFT_KILL_SECONDS", 15);
    let seed = setting("WEFT_KILL_SEED", u64::from(std::process::id()));
    say(&format!("killing for {seconds} s; WEFT_KILL_SEED={seed} draws the same again"));
    let mut system = System::up(WEFT, &Manifest::new(MANIFEST));
    let warm = Running::start(offer(&system));
    until("some load", || (warm.answered() >= 200).then_some(()));
    let warm = warm.stop();
    assert!(warm.unusual.is_empty(), "before any kill\n{}", warm.table());
    let before = held(&system);

    let load = Running::start(offer(&system));
    let kills = kill(&system, seed, seconds);
    // Nothing is left to hurt: it goes on as before.
    let answered = load.answered();
    until("answers after the last kill", || (load.answered() >= answered + 100).then_some(()));
    let offered = load.stop();
    report(&kills, &offered);

    judge(&kills, &offered);
    no_leak(&before, &held(&system), &kills);
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

fn offer(system: &System) -> Offer {
    let post = |name, path: &str| Kind { method: "POST", ..Kind::get(name, path) };
    let shared = Kind { speaks: Speaks::Http2, ..Kind::get("pair GET h2", "/pair/x") };
    let kinds = vec![
        Kind::get("pair GET", "/pair/x"),
        Kind::get("lone GET", "/lone/x"),
        post("pair POST", "/pair/x"),
        shared,
    ];
    Offer { to: system.edge, kinds, per_second: 200, open_max: 1000, patience: 2 * END_LIMIT }
}

/// Draws whom to kill every one to three seconds, and notes when each is whole again.
fn kill(system: &System, seed: u64, seconds: u64) -> Vec<Kill> {
    let mut draw = Draw(seed);
    let mut kills: Vec<Kill> = Vec::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = Instant::now() + Duration::from_millis(1000 + draw.below(2000));
    loop {
        pass(Duration::from_millis(20));
        let status = admin(system, "/v1/status").unwrap_or_default();
        let now = Instant::now();
        for kill in kills.iter_mut().filter(|kill| kill.whole.is_none()) {
            // What it says within a moment of the kill is of before.
            let settled = now >= kill.at + Duration::from_millis(100);
            if settled && is_well(system, &status, kill) {
                kill.whole = Some(now);
            }
        }
        if now >= end {
            let all = is_whole(&status, INSTANCES) && kills.iter().all(|kill| kill.whole.is_some());
            assert!(all || now < end + LIMIT, "not whole again: {kills:?}\n{status:#}\n{}", system.log());
            if all {
                return kills;
            }
        } else if now >= next {
            kills.extend(one(system, &status, &mut draw));
            next = now + Duration::from_millis(1000 + draw.below(2000));
        }
    }
}

/// Kills one process.
fn one(system: &System, status: &Value, draw: &mut Draw) -> Option<Kill> {
    let role = [Role::Sidecar, Role::Service, Role::Control, Role::Gateway][draw.pick(4)];
    let mut all = parts(system, status);
    all.retain(|part| part.role == role);
    // It may be away since the kill before.
    let Part { role, instance, pid } = (!all.is_empty()).then(|| all.swap_remove(draw.pick(all.len())))?;
    let at = Instant::now();
    processes::kill(pid).then(|| Kill { role, instance, pid, at, gone: Instant::now(), whole: None })
}

/// A process of the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    role: Role,
    instance: String,
    pid: u32,
}

/// What runs, as far as control knows which instance a sidecar is of.
fn parts(system: &System, status: &Value) -> Vec<Part> {
    let said = system.said();
    let mut parts: Vec<Part> = Vec::new();
    for process in system.processes(&[]) {
        let words: Vec<&str> = process.command.split(' ').collect();
        let weft = words[0].ends_with("/weft");
        let found = match words.get(1) {
            Some(&"control") if weft => Some((Role::Control, String::new())),
            Some(&"gateway") if weft => Some((Role::Gateway, String::new())),
            Some(&"sidecar") if weft => Some((Role::Sidecar, sidecar_of(status, process.pid))),
            Some(&"fast") if !weft => Some((Role::Service, service_at(&said, process.pid))),
            _ => None,
        };
        let named = |(role, instance)| Part { role, instance, pid: process.pid };
        parts.extend(found.map(named));
    }
    parts.retain(|part| matches!(part.role, Role::Control | Role::Gateway) || !part.instance.is_empty());
    parts.sort();
    parts
}

fn instances(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services.flat_map(|service| service["instances"].as_array().into_iter().flatten())
}

fn sidecar_of(status: &Value, pid: u32) -> String {
    let found = instances(status).find(|one| one["pid"] == pid);
    found.and_then(|one| one["instance"].as_str()).unwrap_or_default().to_owned()
}

/// The instance whose service was last said to be at the port that this process listens on.
fn service_at(said: &[Value], pid: u32) -> String {
    let port = processes::variable(pid, "PORT").unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    let found =
        said.iter().rev().find(|event| event["event"] == "state" && event["address"] == address.as_str());
    found.and_then(|event| event["instance"].as_str()).unwrap_or_default().to_owned()
}

fn is_well(system: &System, status: &Value, kill: &Kill) -> bool {
    let good = |one: &Value| one["state"] == "ready" && one["connected"] == true && one["current"] == true;
    match kill.role {
        Role::Control => status.is_object(),
        Role::Gateway => status["gateway"]["instances"].as_array().is_some_and(|all| all.iter().any(good)),
        Role::Sidecar | Role::Service => {
            let well = instances(status).any(|one| one["instance"] == kill.instance.as_str() && good(one));
            let again = |part: &Part| {
                part.role == kill.role && part.instance == kill.instance && part.pid != kill.pid
            };
            well && parts(system, status).iter().any(again)
        }
    }
}

fn report(kills: &[Kill], offered: &Offered) {
    let mut count: BTreeMap<Role, (usize, Duration)> = BTreeMap::new();
    for kill in kills {
        let away = kill.whole.map_or(Duration::ZERO, |whole| whole - kill.at);
        let entry = count.entry(kill.role).or_default();
        *entry = (entry.0 + 1, entry.1.max(away));
    }
    for (role, (kills, away)) in count {
        say(&format!("  {role:?}: killed {kills} times, away for at most {away:.1?}"));
    }
    say(&offered.table());
}

/// Every unusual end must be allowed.
fn judge(kills: &[Kill], offered: &Offered) {
    let wrong: Vec<&Unusual> = offered.unusual.iter().filter(|one| !is_allowed(kills, one)).collect();
    let first = wrong.iter().take(10);
    let told: Vec<String> = first.map(|one| format!("{one:?} among {:#?}", near(kills, one))).collect();
    assert!(wrong.is_empty(), "{} ends that are not allowed, e.g. {}", wrong.len(), told.join("\n"));
    assert_eq!(offered.held_back, 0, "nothing piles up");
}

fn near<'k>(kills: &'k [Kill], one: &Unusual) -> Vec<&'k Kill> {
    let around = Duration::from_secs(3);
    kills.iter().filter(|kill| kill.is_within(one.began - around, one.ended + around)).collect()
}

fn is_allowed(kills: &[Kill], one: &Unusual) -> bool {
    let (from, to) = (one.began, one.ended);
    if to - from > END_LIMIT {
        return false;
    }
    if one.outcome.starts_with("failed: ") {
        let since = one.connected.unwrap_or(from);
        return kills.iter().any(|kill| kill.role == Role::Gateway && kill.is_within(since, to));
    }
    let service = if one.kind.starts_with("pair") { "pair" } else { "lone" };
    let of_service = || kills.iter().filter(|kill| kill.hits(service));
    let away = |instance: &str| of_service().any(|kill| kill.instance == instance && kill.away(from, to));
    let met = of_service().filter(|kill| kill.is_within(from, to)).count();
    match service {
        "lone" => away("lone-1"),
        _ => (away("pair-1") && away("pair-2")) || met >= 2 || (one.kind.contains("POST") && met >= 1),
    }
}

/// Descriptors and memory of every process, by what it is.
fn held(system: &System) -> BTreeMap<String, (u32, Held)> {
    let status = admin(system, "/v1/status").expect("the admin API answers");
    let mut all = BTreeMap::from([("supervisor".to_owned(), (system.pid(), of(system.pid())))]);
    for Part { role, instance, pid } in parts(system, &status) {
        all.insert(format!("{role:?} {instance}"), (pid, of(pid)));
    }
    all
}

fn of(pid: u32) -> Held {
    Held { descriptors: processes::descriptors(pid), resident_kib: processes::resident_kib(pid) }
}

/// Who lived through it all holds no more than before, but for connections that are kept; who was started anew, no more than
/// the one before.
fn no_leak(before: &BTreeMap<String, (u32, Held)>, after: &BTreeMap<String, (u32, Held)>, kills: &[Kill]) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "the same processes");
    for (name, (pid, now)) in after {
        let (pid_before, then) = &before[name];
        let lived = if pid == pid_before { "lived" } else { "new" };
        say(&format!("  {name:<16} {lived:<6} {then:?} → {now:?}"));
        // The supervisor keeps nothing for each kill; others keep some connections to each other.
        let kept = if name == "supervisor" { 0 } else { KEPT };
        let (most, most_kib) = (then.descriptors + kept, then.resident_kib + GROWTH_KIB);
        assert!(now.descriptors <= most, "{name}: descriptors leak over {} kills", kills.len());
        assert!(now.resident_kib <= most_kib, "{name}: memory leaks over {} kills", kills.len());
    }
}

/// Connections that requests left open for the next ones: as many as were open at once, when a service came back after some
/// seconds to all that waited for it.
const KEPT: usize = 300;
/// What a process may have grown by in all, whatever came; what grows with each kill is seen over many.
const GROWTH_KIB: u64 = 8 * 1024;

/// Seeded numbers: `SplitMix64` (Steele, Lea, Flood 2014).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }
}
