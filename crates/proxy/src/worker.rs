//! One worker thread: its plan, its upstreams, its counters, its clock. Nothing in it is shared with another thread but
//! what [`Shared`] holds, which is set once or replaced whole.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use weft_model::defaults;
use weft_model::plan::{
    Balance, LimitPlan, Origin, Protocol, Reach, ResiliencePlan, SidecarPlan, UpstreamPlan,
};
use weft_model::wire;
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;
use weft_trust::identity::{Identity, SpiffeId, TrustDomain};
use weft_trust::mesh::MeshTls;
use weft_trust::peer::PeerCheck;

use crate::buffer;
use crate::compiled::{Compiled, Operations};
use crate::crowd::Crowd;
use crate::limits::Limits;
use crate::metrics::{Names, Stats};
use crate::resilience::spacing::Spacing;
use crate::timer::Timer;
use crate::trace::Span;
use crate::upstream::balance::Readiness;
use crate::upstream::connect;
use crate::upstream::lookup;
use crate::upstream::pool::Target;
use crate::upstream::{Listed, Upstream};

/// Outside hosts that a worker keeps connections to; the plan declares them, so this only bounds a mistake.
const EXTERNALS_MAX: usize = 1024;
/// Buffers that nobody needed for so long are freed.
const BUFFERS_TIDIED_SECONDS: u64 = 10;

/// What all workers of a process have in common.
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) clock: Clock,
    pub(crate) mesh: ArcSwapOption<MeshTls>,
    /// What the mesh port accepts with; always made of `mesh`.
    pub(crate) mesh_server: ArcSwapOption<rustls::ServerConfig>,
    pub(crate) edge_tls: ArcSwapOption<rustls::ServerConfig>,
    /// Set before a plan that needs it is in force.
    pub(crate) outside: OnceLock<OutsideTls>,
    /// Port of the local service, on loopback.
    pub(crate) service_port: Option<u16>,
    /// Told when the local service was started: its probes are eager anew.
    pub(crate) service_started: Notify,
    /// Whose processes may use the local listeners.
    pub(crate) peers: Option<Arc<PeerCheck>>,
    pub(crate) spans: Option<mpsc::Sender<Span>>,
    pub(crate) metadata: crate::engine::Metadata,
    pub(crate) limits: Limits,
    pub(crate) name_server: Option<SocketAddr>,
}

/// TLS toward names outside the mesh, one configuration for each protocol.
pub(crate) struct OutsideTls {
    pub(crate) http1: Arc<rustls::ClientConfig>,
    pub(crate) http2: Arc<rustls::ClientConfig>,
}

/// How far a process is in leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serves.
    Serving,
    /// Takes no new connections, and ends each when its exchange ends.
    Draining,
    /// Cuts what is open.
    Cutting,
}

/// What another thread asks of a worker.
pub(crate) enum Command {
    Plan(Arc<Compiled>),
    Endpoints(Arc<wire::Endpoints>),
    /// Roots or revocations changed.
    Trust,
    Collect(oneshot::Sender<Stats>),
    /// The sender is dropped when it is done.
    Drain(mpsc::Sender<()>),
    Cut,
}

/// One worker thread.
pub(crate) struct Worker {
    pub(crate) timer: Rc<Timer>,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) stats: RefCell<Stats>,
    pub(crate) shared: Arc<Shared>,
    active: RefCell<Option<Rc<Active>>>,
    upstreams: RefCell<HashMap<String, Rc<Upstream>>>,
    externals: RefCell<HashMap<(String, u16), Rc<Callee>>>,
    endpoints: RefCell<Option<Arc<wire::Endpoints>>>,
    lookups: RefCell<Vec<AbortHandle>>,
    phase: watch::Sender<Phase>,
    /// The same, for who only looks.
    phase_now: Cell<Phase>,
    /// Who is connected.
    pub(crate) crowd: Crowd,
    pub(crate) refusals: RefCell<Spacing>,
    /// True once a plan and the instances of its mesh upstreams are known.
    informed: watch::Sender<bool>,
    /// Grows when trust changed: connections with revoked peers end.
    trust_epoch: watch::Sender<u64>,
    /// Connections that are open; read by other threads.
    pub(crate) open: Arc<AtomicUsize>,
    /// Exchanges that came from outside or from the mesh and are not over; read by other threads.
    pub(crate) exchanges: Arc<AtomicUsize>,
}

/// A plan in force on this thread.
pub(crate) struct Active {
    pub(crate) compiled: Arc<Compiled>,
    /// In the order of the plan's upstreams.
    pub(crate) callees: Vec<Rc<Callee>>,
    /// The service beside which we run.
    pub(crate) local: Option<Rc<Callee>>,
}

/// Whom a request goes to, and how.
pub(crate) struct Callee {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) plan: UpstreamPlan,
    pub(crate) operations: Arc<Operations>,
    pub(crate) kind: CalleeKind,
    /// Of a `url`: what `host` says to it.
    pub(crate) authority: String,
}

impl Callee {
    fn new(
        upstream: Rc<Upstream>,
        plan: UpstreamPlan,
        operations: Arc<Operations>,
        kind: CalleeKind,
    ) -> Self {
        let authority = match &plan.reach {
            Reach::Url { host, port, tls, .. } => {
                let default = if *tls { 443 } else { 80 };
                // In an authority an IPv6 address has brackets (RFC 3986, section 3.2.2).
                let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                match port {
                    Some(port) if *port != default => format!("{name}:{port}"),
                    Some(_) => name,
                    None if host.contains(':') => name,
                    None => lookup::domain_of(host).to_owned(),
                }
            }
            Reach::Mesh => String::new(),
        };
        Callee { upstream, plan, operations, kind, authority }
    }
}

/// What a callee is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalleeKind {
    /// Behind its sidecars.
    Mesh,
    /// Elsewhere.
    Url,
    /// The service beside which we run.
    Local,
}

impl Worker {
    /// A worker without a plan.
    pub(crate) fn new(shared: Arc<Shared>, open: Arc<AtomicUsize>, exchanges: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Worker {
            timer: Timer::new(shared.clock.clone()),
            rng: RefCell::new(Rng::from_process()),
            stats: RefCell::new(Stats::default()),
            shared,
            active: RefCell::new(None),
            upstreams: RefCell::new(HashMap::new()),
            externals: RefCell::new(HashMap::new()),
            endpoints: RefCell::new(None),
            lookups: RefCell::new(Vec::new()),
            phase: watch::Sender::new(Phase::Serving),
            phase_now: Cell::new(Phase::Serving),
            crowd: Crowd::default(),
            refusals: RefCell::default(),
            informed: watch::Sender::new(false),
            trust_epoch: watch::Sender::new(0),
            open,
            exchanges,
        })
    }

    /// The plan in force. An exchange takes it once and keeps it.
    pub(crate) fn active(&self) -> Option<Rc<Active>> {
        self.active.borrow().clone()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.shared.names
    }

    pub(crate) fn mesh(&self) -> Option<Arc<MeshTls>> {
        self.shared.mesh.load_full()
    }

    pub(crate) fn mesh_server(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.shared.mesh_server.load_full()
    }

    pub(crate) fn outside_tls(&self, alpn: &[u8]) -> Option<Arc<rustls::ClientConfig>> {
        let outside = self.shared.outside.get()?;
        Some(Arc::clone(if alpn == connect::HTTP2 { &outside.http2 } else { &outside.http1 }))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase_now.get()
    }

    pub(crate) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Does what another thread asked for.
    pub(crate) fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Plan(compiled) => self.activate(compiled),
            Command::Endpoints(endpoints) => {
                *self.endpoints.borrow_mut() = Some(endpoints);
                if let Some(active) = self.active() {
                    self.list_instances(&active);
                    self.inform(&active);
                }
            }
            Command::Trust => self.trust_changed(),
            Command::Collect(reply) => {
                let mut stats = self.stats.borrow().clone();
                for upstream in self.upstreams.borrow().values() {
                    upstream.states(&mut stats.endpoints);
                }
                // Whoever asked may have given up.
                let _ = reply.send(stats);
            }
            Command::Drain(_heard) => self.enter(Phase::Draining),
            Command::Cut => self.enter(Phase::Cutting),
        }
    }

    fn enter(&self, phase: Phase) {
        if phase > self.phase() {
            self.phase_now.set(phase);
            self.phase.send_replace(phase);
            self.crowd.stir();
        }
    }

    /// Completes when a peer's identity is revoked; never for a peer that has none.
    pub(crate) async fn until_revoked(&self, identity: Option<&Identity>) {
        let Some(identity) = identity else { return std::future::pending().await };
        let mut epoch = self.trust_epoch.subscribe();
        loop {
            epoch.borrow_and_update();
            if self.mesh().is_some_and(|mesh| mesh.trust().is_revoked(identity)) {
                return;
            }
            if epoch.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn trust_changed(&self) {
        self.trust_epoch.send_modify(|epoch| *epoch += 1);
        for upstream in self.upstreams.borrow().values() {
            upstream.reconnect();
        }
    }

    fn activate(self: &Rc<Self>, compiled: Arc<Compiled>) {
        for lookup in self.lookups.borrow_mut().drain(..) {
            lookup.abort();
        }
        let mut kept = HashMap::new();
        let mut callees = Vec::new();
        for (plan, numbers) in compiled.plan.upstreams.iter().zip(&compiled.upstreams) {
            let upstream = self.upstream(plan, &plan.name, &mut kept);
            let kind = if plan.reach == Reach::Mesh { CalleeKind::Mesh } else { CalleeKind::Url };
            if let Reach::Url { tls, host, port, .. } = &plan.reach {
                self.look_up(&upstream, *tls, host, *port);
            }
            let operations = Arc::clone(&numbers.operations);
            callees.push(Rc::new(Callee::new(upstream, plan.clone(), operations, kind)));
        }
        let local = compiled.sidecar().and_then(|(plan, sidecar)| {
            let plan = local_plan(plan);
            let port = self.shared.service_port?;
            // A service may call itself: then these are two.
            let upstream = self.upstream(&plan, &format!("{} (local)", plan.name), &mut kept);
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            upstream.update(&[single("local", address, Target::Plain)], self.timer.now());
            let operations = Arc::clone(&sidecar.inbound);
            Some(Rc::new(Callee::new(upstream, plan, operations, CalleeKind::Local)))
        });
        *self.upstreams.borrow_mut() = kept;
        self.externals.borrow_mut().clear();
        let active = Rc::new(Active { compiled, callees, local });
        self.list_instances(&active);
        self.inform(&active);
        *self.active.borrow_mut() = Some(active);
    }

    fn inform(&self, active: &Active) {
        let of_mesh = |callee: &Rc<Callee>| callee.kind == CalleeKind::Mesh;
        if self.endpoints.borrow().is_some() || !active.callees.iter().any(of_mesh) {
            self.informed.send_replace(true);
        }
    }

    /// Waits until requests can be sent on, or for `limit`: connections wait in the backlog meanwhile, which is kinder than
    /// to take them and to know nobody who could answer.
    pub(crate) async fn wait_informed(&self, limit: Duration) {
        let mut informed = self.informed.subscribe();
        let until = self.timer.now() + limit;
        let _ = self.timer.limit(until, pin!(informed.wait_for(|informed| *informed))).await;
    }

    /// The upstream of this name as it was, or a new one.
    fn upstream(
        &self,
        plan: &UpstreamPlan,
        label: &str,
        kept: &mut HashMap<String, Rc<Upstream>>,
    ) -> Rc<Upstream> {
        // Another way to reach it is another upstream: its endpoints mean something else.
        let key = format!("{label}|{:?}", plan.reach);
        let upstream = match self.upstreams.borrow().get(&key) {
            Some(upstream) => {
                upstream.reconfigure(plan, self.timer.now());
                Rc::clone(upstream)
            }
            None => Rc::new(Upstream::new(plan, label, self.names().intern(label), self.timer.now())),
        };
        kept.insert(key, Rc::clone(&upstream));
        upstream
    }

    fn list_instances(&self, active: &Active) {
        let Some(endpoints) = self.endpoints.borrow().clone() else { return };
        let Ok(domain) = TrustDomain::parse(&active.compiled.plan.trust_domain) else { return };
        for callee in active.callees.iter().filter(|callee| callee.kind == CalleeKind::Mesh) {
            let Ok(id) = SpiffeId::of_service(&domain, &callee.plan.name) else { continue };
            let of_callee = endpoints.instances.iter().filter(|one| one.service == callee.plan.name);
            let listed: Vec<Listed> =
                of_callee.filter_map(|one| Listed::from_wire(one, Target::Mesh(id.clone()))).collect();
            callee.upstream.update(&listed, self.timer.now());
        }
    }

    fn look_up(self: &Rc<Self>, upstream: &Rc<Upstream>, tls: bool, host: &str, port: Option<u16>) {
        let task =
            lookup::keep_listed(Rc::clone(self), Rc::clone(upstream), lookup::Name::new(tls, host, port));
        self.lookups.borrow_mut().push(tokio::task::spawn_local(task).abort_handle());
    }

    /// A declared outside host as a callee.
    pub(crate) fn external(self: &Rc<Self>, host: &str, port: u16) -> Rc<Callee> {
        let key = (host.to_owned(), port);
        if let Some(callee) = self.externals.borrow().get(&key) {
            return Rc::clone(callee);
        }
        let reach = Reach::Url { tls: false, host: host.to_owned(), port: Some(port), prefix: String::new() };
        let plan = plain_plan(&format!("{host}:{port}"), reach, Protocol::Http);
        let upstream =
            Rc::new(Upstream::new(&plan, &plan.name, self.names().intern("external"), self.timer.now()));
        self.look_up(&upstream, false, host, Some(port));
        let callee = Rc::new(Callee::new(upstream, plan, Arc::default(), CalleeKind::Url));
        let mut externals = self.externals.borrow_mut();
        if externals.len() < EXTERNALS_MAX {
            externals.insert(key, Rc::clone(&callee));
        }
        callee
    }

    /// Periodic work: closes idle connections whose time is over, and frees buffers that nobody needs.
    pub(crate) async fn tidy(&self) {
        for second in 1_u64.. {
            self.timer.sleep(Duration::from_secs(1)).await;
            for upstream in self.upstreams.borrow().values() {
                upstream.tidy(self.timer.now());
            }
            self.crowd.expire(self.timer.recent());
            if second.is_multiple_of(BUFFERS_TIDIED_SECONDS) {
                buffer::tidy();
            }
        }
    }
}

/// An endpoint that is always ready: whether it is, is seen by trying.
pub(crate) fn single(instance: &str, address: SocketAddr, target: Target) -> Listed {
    Listed {
        instance: instance.into(),
        address,
        version: "v1".to_owned(),
        weight: 1,
        readiness: Readiness::Ready,
        target,
    }
}

/// Toward the local service nothing is retried: the caller's side does that, once, where it can choose another instance.
fn local_plan(sidecar: &SidecarPlan) -> UpstreamPlan {
    let mut plan = plain_plan(&sidecar.service, Reach::Mesh, sidecar.inbound.protocol);
    plan.resilience.limit = sidecar.inbound.limit;
    plan.operations = sidecar.inbound.operations.clone();
    plan
}

fn plain_plan(name: &str, reach: Reach, protocol: Protocol) -> UpstreamPlan {
    UpstreamPlan {
        name: name.to_owned(),
        origin: Origin::default(),
        reach,
        protocol,
        balance: Balance::LeastLoaded,
        versions: Vec::new(),
        resilience: ResiliencePlan {
            timeout_ms: defaults::TIMEOUT_MS,
            timeout_whole: false,
            per_try_timeout_ms: None,
            connect_timeout_ms: defaults::CONNECT_TIMEOUT_MS,
            retries: 0,
            backoff_ms: defaults::BACKOFF_MS,
            retry_budget_percent: defaults::RETRY_BUDGET_PERCENT,
            retry_budget_floor: defaults::RETRY_BUDGET_FLOOR,
            breaker_failures: u32::MAX,
            breaker_success_percent: 0,
            limit: LimitPlan { open: defaults::LIMIT_OPEN, queued: defaults::LIMIT_QUEUED },
            fallback: None,
        },
        operations: Vec::new(),
    }
}
