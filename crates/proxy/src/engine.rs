//! The data plane as its owner sees it: worker threads that are started once, and a handle that tells them what changed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use weft_model::plan::{Plan, RolePlan};
use weft_model::wire;
use weft_stdx::clock::Clock;
use weft_trust::mesh::MeshTls;
use weft_trust::peer::PeerCheck;

use crate::compiled::{Compiled, PlanRefused};
use crate::connection::Entry;
use crate::health::{self, Health};
use crate::limits::Limits;
use crate::listener;
use crate::metrics::{Istio, Names, Stats};
use crate::stream::turn;
use crate::trace::Span;
use crate::upstream::connect;
use crate::worker::{Command, OutsideTls, Shared, Worker};

/// Commands that wait for a worker at most; a sender waits for room.
const COMMANDS_MAX: usize = 64;
/// A worker that does not answer a scrape so soon is left out of it.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Stack of a worker thread; exchanges live on the heap.
const STACK_BYTES: usize = 1024 * 1024;

/// Where connections come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerKind {
    /// The gateway's edge.
    Edge,
    /// A sidecar's mesh port.
    Inbound,
    /// A sidecar's port toward one callee.
    Outbound(String),
    /// A sidecar's forward proxy.
    Forward,
    /// A sidecar's own API.
    Api,
}

/// One listener: its sockets are spread over the workers; with fewer sockets than workers, workers share them.
#[derive(Debug)]
pub struct Listener {
    /// What comes in there.
    pub kind: ListenerKind,
    /// At least one, bound and listening.
    pub sockets: Vec<TcpListener>,
}

/// What a process says about itself.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Instance name, e.g. `orders-1`.
    pub instance: String,
    /// Version of the executable.
    pub build: String,
}

/// How to start a data plane.
pub struct Config {
    /// Worker threads, at least one.
    pub threads: usize,
    /// Where connections come in.
    pub listeners: Vec<Listener>,
    /// Loopback port of the local service (sidecar).
    pub service_port: Option<u16>,
    /// Whose processes may use the local listeners (sidecar).
    pub peers: Option<Arc<PeerCheck>>,
    /// Where finished spans go.
    pub spans: Option<mpsc::Sender<Span>>,
    /// Clock of the process.
    pub clock: Clock,
    /// What the process says about itself.
    pub metadata: Metadata,
    /// Bounds on what peers may take.
    pub limits: Limits,
    /// DNS server to ask for names of `url` services; the system's resolver where absent.
    pub name_server: Option<SocketAddr>,
}

impl Config {
    /// One worker thread at these listeners, by the machine's clock, without a local service and with the default limits.
    pub fn new(listeners: Vec<Listener>) -> Config {
        Config {
            threads: 1,
            listeners,
            service_port: None,
            peers: None,
            spans: None,
            clock: Clock::system(),
            metadata: Metadata::default(),
            limits: Limits::default(),
            name_server: None,
        }
    }
}

/// A running data plane. Cheap to clone; the workers end, and cut what is open, when the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Command>>,
    open: Vec<Arc<AtomicUsize>>,
    exchanges: Vec<Arc<AtomicUsize>>,
    health: watch::Receiver<Health>,
    expected: Mutex<Option<String>>,
    /// What the plan in force wants for Istio's dashboards.
    istio: Mutex<Istio>,
}

/// Why a data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or a runtime could not be made, or a socket not be taken over.
    #[error("cannot start the worker threads: {0}")]
    Io(#[from] io::Error),
}

impl Engine {
    /// Starts the workers. They serve nothing before a plan is in force.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: Config) -> Result<Engine, StartError> {
        let shared = Arc::new(Shared {
            names: Names::default(),
            clock: config.clock.clone(),
            mesh: ArcSwapOption::empty(),
            mesh_server: ArcSwapOption::empty(),
            edge_tls: ArcSwapOption::empty(),
            outside: OnceLock::new(),
            service_port: config.service_port,
            service_started: Notify::new(),
            peers: config.peers,
            spans: config.spans,
            metadata: config.metadata,
            limits: config.limits,
            name_server: config.name_server,
        });
        let (health, seen) = watch::channel(Health::Starting);
        let mut health = Some(health);
        let threads = config.threads.max(1);
        let sockets = spread(config.listeners, threads)?;
        let (mut workers, mut open, mut exchanges) = (Vec::new(), Vec::new(), Vec::new());
        for (index, sockets) in sockets.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
            let count = Arc::new(AtomicUsize::new(0));
            let running = Arc::new(AtomicUsize::new(0));
            let thread = Thread {
                shared: Arc::clone(&shared),
                commands: receiver,
                sockets,
                open: Arc::clone(&count),
                exchanges: Arc::clone(&running),
                // One worker watches the local service for all.
                health: health.take(),
            };
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || thread.run())?;
            workers.push(sender);
            open.push(count);
            exchanges.push(running);
        }
        let inner = Inner {
            shared,
            workers,
            open,
            exchanges,
            health: seen,
            expected: Mutex::new(None),
            istio: Mutex::default(),
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    /// Puts a plan in force on all workers. Exchanges that run keep the plan that they began with.
    ///
    /// # Errors
    /// The plan cannot be run; the old one stays in force.
    pub fn apply_plan(&self, plan: Plan) -> Result<(), PlanRefused> {
        let who = match &plan.role {
            RolePlan::Gateway(_) => "the gateway".to_owned(),
            RolePlan::Sidecar(sidecar) => format!("a sidecar of `{}`", sidecar.service),
        };
        let mut expected = self.inner.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expected) = &*expected
            && *expected != who
        {
            return Err(PlanRefused::Role { found: who, expected: expected.clone() });
        }
        let compiled = Arc::new(Compiled::new(plan, &self.inner.shared.names)?);
        if compiled.calls_outside_by_tls() && self.inner.shared.outside.get().is_none() {
            let outside = outside_tls(&self.inner.shared.clock)?;
            // Plans come one at a time: the lock above is held.
            let _ = self.inner.shared.outside.set(outside);
        }
        *expected = Some(who);
        let observe = &compiled.plan.observe;
        let istio = Istio { names: observe.istio_names, durations: observe.istio_durations };
        *self.inner.istio.lock().unwrap_or_else(PoisonError::into_inner) = istio;
        self.tell(|| Command::Plan(Arc::clone(&compiled)));
        Ok(())
    }

    /// Replaces what is known of all instances.
    pub fn apply_endpoints(&self, endpoints: wire::Endpoints) {
        let endpoints = Arc::new(endpoints);
        self.tell(|| Command::Endpoints(Arc::clone(&endpoints)));
    }

    /// Sets how to prove who we are and whom we believe. Renewals happen inside of it.
    ///
    /// # Errors
    /// No server configuration can be made of it.
    pub fn set_mesh(&self, mesh: &MeshTls) -> Result<(), weft_trust::mesh::MeshError> {
        let server = mesh.server(&[connect::HTTP2, connect::HTTP1, connect::TCP])?;
        self.inner.shared.mesh_server.store(Some(server));
        self.inner.shared.mesh.store(Some(Arc::new(mesh.clone())));
        Ok(())
    }

    /// Sets TLS at the edge; plain where `None`.
    pub fn set_edge_tls(&self, config: Option<Arc<rustls::ServerConfig>>) {
        self.inner.shared.edge_tls.store(config);
    }

    /// Roots or revocations changed: connections to and from revoked peers end.
    pub fn trust_changed(&self) {
        self.tell(|| Command::Trust);
    }

    /// State of the local service, by its probes (sidecar).
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.clone()
    }

    /// The local service was started, for the first time or anew (sidecar): it is probed eagerly again. A sidecar is there before
    /// its service, which may wait for others until the pauses between probes are long.
    pub fn service_started(&self) {
        self.inner.shared.service_started.notify_one();
    }

    /// All that the workers counted since the start.
    pub async fn report(&self) -> wire::Report {
        let mut sum = Stats::default();
        for worker in &self.inner.workers {
            let (reply, answer) = oneshot::channel();
            if worker.try_send(Command::Collect(reply)).is_err() {
                continue;
            }
            if let Ok(Ok(stats)) = tokio::time::timeout(COLLECT_TIMEOUT, answer).await {
                sum.merge(&stats);
            }
        }
        let istio = *self.inner.istio.lock().unwrap_or_else(PoisonError::into_inner);
        sum.report(&self.inner.shared.names, istio)
    }

    /// Takes no new connections; those that are open end with their exchange. Completes when every worker has heard it: none is
    /// taken from then on, so [`open`](Self::open) counts all that are still to end.
    pub async fn drain(&self) {
        let (heard, mut all) = mpsc::channel::<()>(1);
        self.tell(|| Command::Drain(heard.clone()));
        drop(heard);
        // Nothing is ever said: it ends with the last of the senders.
        all.recv().await;
    }

    /// Ends what is still open.
    pub fn cut(&self) {
        self.tell(|| Command::Cut);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.inner.open.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    /// Exchanges from outside or from the mesh that are not over. What the local service itself asks is not counted.
    pub fn exchanges(&self) -> usize {
        self.inner.exchanges.iter().map(|running| running.load(Ordering::Relaxed)).sum()
    }

    /// Workers answer within microseconds; a full queue means that one is stuck, and its command is handed over by a
    /// thread that waits, so that the order of commands is kept for the others.
    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.inner.workers {
            if let Err(mpsc::error::TrySendError::Full(command)) = worker.try_send(command()) {
                let worker = worker.clone();
                std::thread::spawn(move || worker.blocking_send(command).is_ok());
            }
        }
    }
}

/// Each worker's own sockets.
fn spread(listeners: Vec<Listener>, threads: usize) -> io::Result<Vec<Vec<(Entry, TcpListener)>>> {
    let mut workers: Vec<Vec<(Entry, TcpListener)>> = (0..threads).map(|_| Vec::new()).collect();
    for listener in listeners {
        let count = listener.sockets.len();
        for (index, worker) in workers.iter_mut().enumerate().skip(count) {
            let Some(shared) = listener.sockets.get(index % count.max(1)) else { break };
            worker.push((entry(&listener.kind), shared.try_clone()?));
        }
        for (index, socket) in listener.sockets.into_iter().enumerate() {
            workers[index % threads].push((entry(&listener.kind), socket));
        }
    }
    Ok(workers)
}

/// TLS toward the services of others, by the system's root certificates. They are some hundred files: read when a plan first
/// calls such a service, and not by every sidecar at its start.
fn outside_tls(clock: &Clock) -> Result<OutsideTls, PlanRefused> {
    let roots = rustls_native_certs::load_native_certs().certs;
    let over = |alpn: &[u8]| {
        weft_trust::edge::upstream_tls(roots.iter().map(|root| root.as_ref()), &[alpn], clock)
            .map_err(|error| PlanRefused::Tls(error.to_string()))
    };
    Ok(OutsideTls { http1: over(connect::HTTP1)?, http2: over(connect::HTTP2)? })
}

fn entry(kind: &ListenerKind) -> Entry {
    match kind {
        ListenerKind::Edge => Entry::Edge,
        ListenerKind::Inbound => Entry::Inbound,
        ListenerKind::Outbound(callee) => Entry::Outbound(callee.as_str().into()),
        ListenerKind::Forward => Entry::Forward,
        ListenerKind::Api => Entry::Api,
    }
}

/// What one worker thread begins with.
struct Thread {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    sockets: Vec<(Entry, TcpListener)>,
    open: Arc<AtomicUsize>,
    exchanges: Arc<AtomicUsize>,
    health: Option<watch::Sender<Health>>,
}

impl Thread {
    fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker has no runtime");
                return;
            }
        };
        tokio::task::LocalSet::new().block_on(&runtime, self.serve());
    }

    async fn serve(mut self) {
        let worker = Worker::new(Arc::clone(&self.shared), self.open, self.exchanges);
        let timer = Rc::clone(&worker.timer);
        tokio::task::spawn_local(async move { timer.run().await });
        // All messages of a turn leave in it, however many they are.
        tokio::task::spawn_local(tokio::task::unconstrained(turn::run()));
        let tidying = Rc::clone(&worker);
        tokio::task::spawn_local(async move { tidying.tidy().await });
        if let Some(health) = self.health.take() {
            tokio::task::spawn_local(health::watch(Rc::clone(&worker), health));
        }
        let mut waiting = self.sockets;
        while let Some(command) = self.commands.recv().await {
            worker.obey(command);
            // Connections wait in the backlog until there is a plan to serve them by.
            if worker.active().is_some() {
                for (entry, socket) in waiting.drain(..) {
                    start(&worker, entry, socket);
                }
            }
        }
    }
}

fn start(worker: &Rc<Worker>, entry: Entry, socket: TcpListener) {
    let listener = socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket));
    match listener {
        Ok(listener) => {
            tokio::task::spawn_local(listener::accept(Rc::clone(worker), entry, listener));
        }
        Err(error) => tracing::error!(%error, listener = entry.label(), "cannot accept"),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::body::poll_once;

    /// Otherwise nothing is open yet, the process ends, and a connection that a worker takes in that moment ends unanswered.
    #[tokio::test]
    async fn a_drain_has_begun_when_every_worker_has_heard_of_it() {
        let mut engine = Engine::start(Config::new(Vec::new())).unwrap();
        let (slow, mut commands) = mpsc::channel(1);
        Arc::get_mut(&mut engine.inner).unwrap().workers.push(slow);
        let mut drain = pin!(engine.drain());
        assert!(poll_once(drain.as_mut()).await.is_none());
        let command = commands.recv().await;
        assert!(poll_once(drain.as_mut()).await.is_none(), "it is about to obey");
        drop(command);
        drain.await;
    }
}
