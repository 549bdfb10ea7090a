//! What is measured: the scenarios, and the rounds in which all peers take turns.

use std::time::Instant;

use anyhow::Context as _;

use super::load::{self, Seen};
use super::peers::{Peer, Running};
use super::process::{Cpu, Process};
use super::{Options, Place, weft};
use crate::shell::Shell;

/// Where the upstream listens; the namespace is ours alone.
pub(super) const UPSTREAM_PORT: u16 = 9000;
/// Peers listen from here on, each with a few ports of its own.
const PEERS_PORT: u16 = 10_000;
const PORTS_PER_PEER: u16 = 10;
/// Connections that are idle at once.
const IDLE_CONNECTIONS: u32 = 2000;
/// Starts of which the median is told.
const STARTS: usize = 11;
/// Before the first round each peer is warmed up for so long.
const WARM_UP_SECONDS: u64 = 1;

/// One thing to measure.
pub(crate) struct Scenario {
    pub(super) name: &'static str,
    /// For the reader of the table.
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    pub(super) load: Load,
    /// TLS 1.3 toward the client.
    pub(super) tls: bool,
}

/// What stands between load and upstream, and what of it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One proxy: what a request costs.
    Edge,
    /// Two proxies with mutual TLS between them: what a request costs both.
    Pair,
    /// One proxy: what a connection costs that waits.
    Idle,
    /// How long a sidecar takes until it serves.
    Start,
}

/// What comes from the client.
#[derive(Clone, Copy)]
pub(super) enum Load {
    Http1 {
        connections: u32,
        large: bool,
        upload: bool,
    },
    /// Without TLS, from the first byte on. The upstream speaks HTTP/2 for gRPC, else HTTP/1.1.
    Http2 {
        connections: u32,
        streams: u32,
        grpc: bool,
    },
}

const fn http1(connections: u32) -> Load {
    Load::Http1 { connections, large: false, upload: false }
}

/// All of them, in the order of the table.
#[rustfmt::skip]
pub(super) const SCENARIOS: [Scenario; 11] = [
    Scenario { name: "http1", what: "HTTP/1.1, 64 connections, 200 bytes", kind: Kind::Edge, load: http1(64), tls: false },
    Scenario { name: "http1-512", what: "HTTP/1.1, 512 connections, 200 bytes", kind: Kind::Edge, load: http1(512), tls: false },
    Scenario { name: "tls", what: "HTTP/1.1 over TLS 1.3, 64 connections, 200 bytes", kind: Kind::Edge, load: http1(64), tls: true },
    Scenario { name: "large", what: "HTTP/1.1, 16 connections, answers of 1 MiB", kind: Kind::Edge, load: Load::Http1 { connections: 16, large: true, upload: false }, tls: false },
    Scenario { name: "upload", what: "HTTP/1.1, 16 connections, requests of 1 MiB", kind: Kind::Edge, load: Load::Http1 { connections: 16, large: false, upload: true }, tls: false },
    Scenario { name: "h2c", what: "HTTP/2, 8 connections of 32 streams, to HTTP/1.1, 200 bytes", kind: Kind::Edge, load: Load::Http2 { connections: 8, streams: 32, grpc: false }, tls: false },
    Scenario { name: "grpc", what: "gRPC, 8 connections of 32 streams, to HTTP/2, messages of 100 and 200 bytes", kind: Kind::Edge, load: Load::Http2 { connections: 8, streams: 32, grpc: true }, tls: false },
    Scenario { name: "pair", what: "two sidecars, mutual TLS between them, 64 connections, 200 bytes", kind: Kind::Pair, load: http1(64), tls: false },
    Scenario { name: "idle", what: "2000 idle connections", kind: Kind::Idle, load: http1(IDLE_CONNECTIONS), tls: false },
    Scenario { name: "idle-tls", what: "2000 idle connections, TLS 1.3", kind: Kind::Idle, load: http1(IDLE_CONNECTIONS), tls: true },
    Scenario { name: "start", what: "start of a sidecar until it serves", kind: Kind::Start, load: http1(0), tls: false },
];

/// The scenario of this name.
pub(super) fn named(name: &str) -> anyhow::Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.with_context(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario `{name}`; there are: {}", names.join(", "))
    })
}

impl Scenario {
    /// Path of the requests.
    pub(super) fn path(&self) -> &'static str {
        match self.load {
            Load::Http1 { large: true, .. } => "/api/v25/things/large",
            Load::Http1 { .. } => "/api/v25/things/42",
            Load::Http2 { grpc: true, .. } => "/bench.Echo/Say",
            Load::Http2 { .. } => "/api/v25/things/42",
        }
    }

    pub(super) fn grpc(&self) -> bool {
        matches!(self.load, Load::Http2 { grpc: true, .. })
    }

    pub(super) fn http2(&self) -> bool {
        matches!(self.load, Load::Http2 { .. })
    }

    fn takes(&self, peer: Peer) -> bool {
        match self.kind {
            // TLS, or HTTP/2 toward an upstream that speaks HTTP/1.1, is nothing that bytes could be copied for.
            Kind::Edge => peer != Peer::Forwarder || (!self.tls && (!self.http2() || self.grpc())),
            Kind::Pair => peer != Peer::Forwarder,
            Kind::Idle => peer != Peer::Forwarder,
            Kind::Start => peer == Peer::Weft,
        }
    }
}

/// What was measured of a peer in a scenario.
pub(super) struct Measured {
    pub(super) peer: Peer,
    pub(super) rest_kib: u64,
    pub(super) result: Figures,
}

/// The figures of a scenario's kind.
pub(super) enum Figures {
    /// Each round's, in their order.
    Requests(Vec<Round>),
    /// Kibibytes of one idle connection.
    Idle(f64),
    /// Milliseconds of each start.
    Starts(Vec<f64>),
}

/// One round of one peer.
pub(super) struct Round {
    pub(super) cpu: Cpu,
    pub(super) seen: Seen,
    pub(super) loaded_kib: u64,
}

/// The results of a scenario.
pub(super) struct Outcome {
    pub(super) scenario: &'static Scenario,
    pub(super) measured: Vec<Measured>,
}

/// Measures all that was asked for.
pub(super) fn run(shell: &Shell, place: &Place, options: &Options) -> anyhow::Result<Vec<Outcome>> {
    let at = UPSTREAM_PORT.to_string();
    let log = place.folder.join("upstream.log");
    let mut upstream = Process::start(place.cores.1, &place.bench, &["upstream", &at], &log)?;
    upstream.wait_port(UPSTREAM_PORT).context("the upstream")?;
    let mut outcomes = Vec::new();
    for scenario in &options.scenarios {
        shell.say(&format!("{}: {}", scenario.name, scenario.what));
        outcomes.push(one(shell, place, options, scenario).with_context(|| scenario.name)?);
    }
    Ok(outcomes)
}

fn one(
    shell: &Shell,
    place: &Place,
    options: &Options,
    scenario: &'static Scenario,
) -> anyhow::Result<Outcome> {
    let mut running = Vec::new();
    let peers = options.peers.iter().filter(|peer| scenario.takes(**peer)).zip(0..);
    for (peer, index) in peers {
        let port = PEERS_PORT + PORTS_PER_PEER * index;
        if scenario.kind == Kind::Start {
            let starts = weft::sidecar_starts(place, port, STARTS)?;
            let (rest_kib, milliseconds) = starts;
            running.push((*peer, None, rest_kib, Figures::Starts(milliseconds)));
        } else if let Some(started) = peer.start(place, scenario, port).context(peer.name())? {
            let rest_kib = started.resident_kib()?;
            running.push((*peer, Some(started), rest_kib, Figures::Requests(Vec::new())));
        } else {
            shell.warn(&format!("{} is not here: it is left out", peer.name()));
        }
    }
    for (peer, started, _, figures) in &mut running {
        let Some(started) = started else { continue };
        match scenario.kind {
            Kind::Idle => *figures = Figures::Idle(idle(place, scenario, started).context(peer.name())?),
            _ => load::run(shell, place, scenario, started.port, WARM_UP_SECONDS, options.connections)
                .map(drop)
                .context(peer.name())?,
        }
    }
    for number in 1..=options.rounds {
        for (peer, started, _, figures) in &mut running {
            let (Some(started), Figures::Requests(rounds)) = (started, figures) else { continue };
            let round = round(shell, place, options, scenario, started).context(peer.name())?;
            let (name, total) = (peer.name(), round.cpu.total_us());
            shell.say(&format!(
                "  {number}/{} {name:<10} {total:8.2} µs  {:8.0} requests/s",
                options.rounds, round.seen.per_second
            ));
            rounds.push(round);
        }
    }
    let measured =
        running.into_iter().map(|(peer, _, rest_kib, result)| Measured { peer, rest_kib, result }).collect();
    Ok(Outcome { scenario, measured })
}

fn round(
    shell: &Shell,
    place: &Place,
    options: &Options,
    scenario: &Scenario,
    running: &Running,
) -> anyhow::Result<Round> {
    let before = running.cpu()?;
    let seen = load::run(shell, place, scenario, running.port, options.seconds, options.connections)?;
    let cpu = (running.cpu()? - before).per(seen.requests.max(1));
    Ok(Round { cpu, seen, loaded_kib: running.resident_kib()? })
}

/// What one idle connection adds to resident memory, each after one request: its share of what the process takes for the crowd
/// as a whole (tables, the allocator's own) is part of it.
fn idle(place: &Place, scenario: &Scenario, running: &Running) -> anyhow::Result<f64> {
    let count = IDLE_CONNECTIONS.to_string();
    let (address, ca) =
        (format!("127.0.0.1:{}", running.port), place.folder.join("ca.pem").display().to_string());
    let mut words = vec!["crowd", &address, scenario.path(), &count];
    words.extend(scenario.tls.then_some(ca.as_str()));
    let log = place.folder.join("crowd.log");
    let before = running.resident_kib()?;
    let mut crowd = Process::start(place.cores.1, &place.bench, &words, &log)?;
    crowd.read_line().context("the crowd")?;
    let held = running.resident_kib()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of one process")]
    Ok(held as f64 / f64::from(IDLE_CONNECTIONS))
}

/// Milliseconds since then.
pub(super) fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
