//! A data-plane process from its first line on standard input to its last exchange: gateway and sidecar alike.
//!
//! The main thread runs the link to control, the supervisor's words and the signals on a runtime of its own; the engine's
//! threads carry traffic and are never waited for here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weft_control::link::{DataPlane, Link, Says, Settings};
use weft_model::plan::{Plan, RolePlan};
use weft_model::wire::{EdgePair, Endpoints, InstanceState, Presence, Report};
use weft_ops::words::{DrainGrace, LINE_BYTES_MAX, RoleStart, RoleWord, ServiceHealth, SupervisorWord};
use weft_proxy::{Config, Engine, Exporter, Health, Listener, ListenerKind, Metadata};
use weft_stdx::clock::Clock;
use weft_trust::bootstrap::Bootstrap;
use weft_trust::keepsake::Keepsake;
use weft_trust::peer::PeerCheck;

use super::edge::Edge;

/// How often a drain looks whether anything is still open.
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// What control is told at the end must be on its way so soon.
const FAREWELL: Duration = Duration::from_millis(500);

/// What distinguishes the roles.
pub(crate) struct Role {
    /// Sockets that were bound by ourselves, by the name they would be inherited under.
    pub(crate) bound: BTreeMap<String, TcpListener>,
    /// Worker threads.
    pub(crate) threads: usize,
    /// Whether to bind what the plan says where nothing was inherited.
    pub(crate) gateway: bool,
}

/// Runs a role until it is told to leave.
pub(crate) fn run(role: Role) -> anyhow::Result<ExitCode> {
    super::harden::harden();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = tokio::task::LocalSet::new().block_on(&runtime, serve(role));
    // A look at the edge's files may hang in a mount, and must not keep the process.
    runtime.shutdown_background();
    ended
}

/// Lines of standard input that wait to be obeyed.
const WORDS_MAX: usize = 16;

async fn serve(role: Role) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut words = lines();
    let start = first_line(&mut words).await?;
    let bootstrap = serde_json::to_vec(&start.bootstrap)?;
    let bootstrap = Bootstrap::from_json(&bootstrap).context("the first line on standard input")?;
    let clock = Clock::system();
    let peers = start
        .service
        .as_ref()
        .map(|service| Arc::new(if service.foreign { PeerCheck::relaxed() } else { PeerCheck::new() }));
    let (listeners, inbound) = listeners(role.bound)?;
    let metadata = Metadata { instance: bootstrap.instance.clone(), build: build() };
    let config = Config {
        threads: role.threads,
        service_port: start.service.as_ref().map(|service| service.port),
        peers: peers.clone(),
        clock: clock.clone(),
        metadata,
        ..Config::new(listeners)
    };
    let (engine, exporter, exported) = super::traces::engine_with_exporter(bootstrap.id.service(), config)?;
    let settings =
        Settings { bootstrap, data_dir: start.data_dir.clone(), build: build(), clock: clock.clone() };
    let mut early = Vec::new();
    let link = tokio::select! {
        link = Link::start(settings, start.keepsake) => link?,
        // Control may be away for long, and the supervisor may go meanwhile.
        () = until_orphaned(&mut words, &mut early) => return Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    engine.set_mesh(link.tls())?;

    let version = start.service.as_ref().map_or_else(String::new, |service| service.version.clone());
    let presence = Presence {
        address: inbound.map_or_else(String::new, |address| address.to_string()),
        version,
        state: if role.gateway { InstanceState::Ready } else { InstanceState::Starting } as i32,
        ..Presence::default()
    };
    let (presence, presence_seen) = watch::channel(presence);
    let (isolation, isolation_seen) =
        watch::channel(peers.as_ref().map_or_else(String::new, |peers| peers.tier().to_owned()));
    let (stop, stop_seen) = watch::channel(false);
    let (applied, applied_seen) = watch::channel(Applied::Nothing);
    let edge = Arc::new(Edge::new(engine.clone(), clock, start.manifest_dir.clone(), presence.clone()));
    if role.gateway {
        tokio::task::spawn_local(Arc::clone(&edge).follow());
    }
    let plane =
        Plane { engine: engine.clone(), edge, applied, exporter: exporter.clone(), keeps: start.keeps };
    let says = Says { presence: presence_seen, isolation: isolation_seen, stop: stop_seen };
    let linked = tokio::task::spawn_local(link.run(Arc::new(plane), says));
    let mut process =
        Process { engine, presence, isolation, peers, grace: start.grace, words, terminate, interrupt };
    let grace = match process.catch_up(early).await? {
        Some(grace) => grace,
        None => process.until_told_to_leave(applied_seen).await?,
    };
    process.drain(grace).await;
    // Neither a control nor a receiver of traces that cannot be reached must keep the process.
    let _ = stop.send(true);
    exporter.finish();
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(linked, exported) }).await;
    Ok(ExitCode::SUCCESS)
}

fn build() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The lines of standard input, each bounded. The sender is dropped at its end. A thread of its own: a read of standard
/// input cannot be given up, and must not keep the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(WORDS_MAX);
    std::thread::spawn(move || {
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            match input.by_ref().take(most).read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}

/// Completes when the supervisor is gone; until then it keeps what the supervisor says. Words that it does not take wait, and
/// their sender with them.
async fn until_orphaned(words: &mut mpsc::Receiver<String>, early: &mut Vec<String>) {
    while early.len() < WORDS_MAX {
        match words.recv().await {
            Some(line) => early.push(line),
            None => return,
        }
    }
    std::future::pending::<()>().await;
}

async fn first_line(words: &mut mpsc::Receiver<String>) -> anyhow::Result<RoleStart> {
    let Some(line) = words.recv().await else {
        bail!(
            "standard input holds no start: this role is started by `weft up`, or with a bootstrap on standard input"
        );
    };
    // The line holds a token: what serde says of it may quote it, so only the place is told.
    serde_json::from_str(&line).map_err(|error| {
        anyhow::anyhow!("the first line on standard input is no start of a role (column {})", error.column())
    })
}

/// Inherited and bound sockets as the engine's listeners, and where the inbound one listens.
fn listeners(bound: BTreeMap<String, TcpListener>) -> anyhow::Result<(Vec<Listener>, Option<SocketAddr>)> {
    let mut sockets = inherited()?;
    for (name, socket) in bound {
        sockets.entry(name).or_insert(socket);
    }
    let mut inbound = None;
    let mut edge = Vec::new();
    let mut all = Vec::new();
    for (name, socket) in sockets {
        let kind = match name.split_once('.') {
            Some(("edge", _)) => {
                edge.push(socket);
                continue;
            }
            Some(("outbound", callee)) => ListenerKind::Outbound(callee.to_owned()),
            _ if name == "inbound" => {
                inbound = Some(socket.local_addr()?);
                ListenerKind::Inbound
            }
            _ if name == "proxy" => ListenerKind::Forward,
            _ if name == "api" => ListenerKind::Api,
            _ => bail!("the inherited socket `{name}` belongs to no listener of this role"),
        };
        all.push(Listener { kind, sockets: vec![socket] });
    }
    if !edge.is_empty() {
        all.push(Listener { kind: ListenerKind::Edge, sockets: edge });
    }
    if all.is_empty() {
        bail!("there is nothing to listen on: no socket was inherited and none was named");
    }
    Ok((all, inbound))
}

/// The sockets that the supervisor handed down.
#[expect(clippy::disallowed_methods, reason = "the binary reads the environment for everyone")]
pub(crate) fn inherited() -> anyhow::Result<BTreeMap<String, TcpListener>> {
    let (fds, names) = (std::env::var("LISTEN_FDS").ok(), std::env::var("LISTEN_FDNAMES").ok());
    Ok(weft_ops::inherit::take(fds.as_deref(), names.as_deref())?)
}

/// A running role between control, supervisor and engine.
struct Process {
    engine: Engine,
    presence: watch::Sender<Presence>,
    isolation: watch::Sender<String>,
    peers: Option<Arc<PeerCheck>>,
    grace: DrainGrace,
    words: mpsc::Receiver<String>,
    terminate: Signal,
    interrupt: Signal,
}

impl Process {
    /// Obeys what was said before there was anything to obey with; returns how to drain if that was said.
    async fn catch_up(&mut self, early: Vec<String>) -> anyhow::Result<Option<DrainGrace>> {
        for line in early {
            if let Some(grace) = self.hear(&line).await? {
                return Ok(Some(grace));
            }
        }
        Ok(None)
    }

    async fn until_told_to_leave(
        &mut self,
        mut applied: watch::Receiver<Applied>,
    ) -> anyhow::Result<DrainGrace> {
        let mut health = self.engine.health();
        let mut ready = false;
        loop {
            tokio::select! {
                changed = applied.changed(), if !ready => {
                    changed?;
                    let now = applied.borrow_and_update().clone();
                    ready = now == Applied::Plan;
                    match now {
                        Applied::Nothing => {}
                        Applied::Refused(reason) => say(&RoleWord::refused(reason))?,
                        Applied::Plan => say(&RoleWord::ready())?,
                    }
                }
                Ok(()) = health.changed() => {
                    let state = *health.borrow_and_update();
                    self.service_is(state)?;
                }
                line = self.words.recv() => {
                    let Some(line) = line else { return Ok(DrainGrace::ORPHAN) };
                    if let Some(grace) = self.hear(&line).await? {
                        return Ok(grace);
                    }
                }
                _ = self.terminate.recv() => return Ok(self.grace),
                // Ctrl-C goes to the whole foreground group; the supervisor decides what it means.
                _ = self.interrupt.recv() => {}
            }
        }
    }

    fn service_is(&mut self, health: Health) -> anyhow::Result<()> {
        let (state, word) = match health {
            Health::Starting => (InstanceState::Starting, ServiceHealth::Starting),
            Health::Ready => (InstanceState::Ready, ServiceHealth::Ready),
            Health::Unhealthy => (InstanceState::Unhealthy, ServiceHealth::Unhealthy),
        };
        self.presence.send_if_modified(|presence| {
            let leaving = presence.state == InstanceState::Draining as i32;
            !leaving && std::mem::replace(&mut presence.state, state as i32) != state as i32
        });
        say(&RoleWord::service(word))
    }

    /// Obeys a word of the supervisor; returns how to drain if it says so.
    async fn hear(&mut self, line: &str) -> anyhow::Result<Option<DrainGrace>> {
        match serde_json::from_str(line) {
            Ok(SupervisorWord::Service(service)) => {
                self.engine.service_started();
                if let Some(peers) = &self.peers {
                    peers.set_keeper(service.session);
                    let tier = if service.landlock {
                        format!("{}+landlock", peers.tier())
                    } else {
                        peers.tier().to_owned()
                    };
                    self.isolation.send_if_modified(|now| std::mem::replace(now, tier.clone()) != tier);
                }
                Ok(None)
            }
            Ok(SupervisorWord::Retire(grace)) => {
                self.retire(grace).await?;
                Ok(None)
            }
            Ok(SupervisorWord::Drain(grace)) => Ok(Some(grace)),
            Err(error) => {
                tracing::warn!(%error, "a word of the supervisor is not understood");
                Ok(None)
            }
        }
    }

    fn leave(&self) {
        self.presence.send_modify(|presence| presence.state = InstanceState::Draining as i32);
    }

    /// Lets the inbound exchanges end while the service goes on.
    async fn retire(&mut self, grace: DrainGrace) -> anyhow::Result<()> {
        self.leave();
        tokio::time::sleep(Duration::from_millis(grace.unready_ms)).await;
        let until = tokio::time::Instant::now() + Duration::from_millis(grace.finish_ms);
        while self.engine.exchanges() > 0 && tokio::time::Instant::now() < until {
            tokio::select! {
                () = tokio::time::sleep(DRAIN_STEP) => {}
                _ = self.terminate.recv() => break,
            }
        }
        say(&RoleWord { retired: Some(true), ..RoleWord::default() })
    }

    /// Finishes what is open; a second signal cuts it.
    async fn drain(&mut self, grace: DrainGrace) {
        self.leave();
        let Process { engine, terminate, .. } = self;
        let drained = async {
            tokio::time::sleep(Duration::from_millis(grace.unready_ms)).await;
            engine.drain().await;
            while engine.open() > 0 {
                tokio::time::sleep(DRAIN_STEP).await;
            }
        };
        let most = Duration::from_millis(grace.unready_ms.saturating_add(grace.finish_ms));
        tokio::select! {
            finished = tokio::time::timeout(most, drained) => {
                if finished.is_err() {
                    tracing::warn!(open = engine.open(), "connections were still open at the end of the drain and were cut");
                }
            }
            _ = terminate.recv() => {}
        }
        engine.cut();
    }
}

/// Says a word to the supervisor.
fn say(word: &RoleWord) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(word)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// What came of the plans so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Applied {
    Nothing,
    /// None is in force; the last one was not taken for this reason.
    Refused(String),
    /// One is in force.
    Plan,
}

/// The engine, as the link to control drives it.
struct Plane {
    engine: Engine,
    edge: Arc<Edge>,
    applied: watch::Sender<Applied>,
    exporter: Exporter,
    /// Somebody at the end of standard output keeps what is said of our identity.
    keeps: bool,
}

impl DataPlane for Plane {
    fn apply_plan(&self, plan: Plan, pair: Option<EdgePair>) -> Result<(), String> {
        let tls = match &plan.role {
            RolePlan::Gateway(gateway) => gateway.tls.as_ref(),
            RolePlan::Sidecar(_) => None,
        };
        let prepared = self.edge.prepare(tls, pair.as_ref())?;
        let traces = plan.observe.traces.clone();
        self.engine.apply_plan(plan).map_err(|error| error.to_string())?;
        self.edge.put(prepared)?;
        self.exporter.set(traces);
        self.applied.send_replace(Applied::Plan);
        Ok(())
    }

    fn plan_refused(&self, reason: &str) {
        self.applied.send_if_modified(|applied| {
            let first = *applied != Applied::Plan;
            if first {
                *applied = Applied::Refused(reason.to_owned());
            }
            first
        });
    }

    fn apply_endpoints(&self, endpoints: Endpoints) {
        self.engine.apply_endpoints(endpoints);
    }

    fn trust_changed(&self) {
        self.engine.trust_changed();
    }

    fn keep(&self, keepsake: Keepsake) {
        if self.keeps {
            // Whoever kept it is gone: the end of standard input says so, too.
            let _ = say(&RoleWord { keepsake: Some(keepsake), ..RoleWord::default() });
        }
    }

    fn report(&self) -> Pin<Box<dyn Future<Output = Report> + Send>> {
        let engine = self.engine.clone();
        Box::pin(async move { engine.report().await })
    }
}
