//! A mesh in one process: an authority, an engine as gateway, an engine as sidecar for each instance, and plain services.
//!
//! Plans are derived from the text of a `weft.yaml` by the real model, certificates are issued by the real authority, every
//! byte passes real sockets on loopback. What the test does by hand is what control does in a real system: it hands out
//! plans, endpoints and trust.

pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod wire;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use weft_model::plan::{Plan, Plans};
use weft_model::sources::{FileError, Files};
use weft_model::wire as control;
use weft_proxy::{Config, Engine, Limits, Listener, ListenerKind};
use weft_stdx::clock::Clock;
use weft_trust::authority::Authority;
use weft_trust::bundle::RevocationList;
use weft_trust::identity::{SpiffeId, TrustDomain};
use weft_trust::key::NodeKey;
use weft_trust::mesh::{MeshIdentity, MeshTls, MeshTrust};

/// How long anything may take before a test gives up. Nothing is measured with it: it only ends what hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Certificates of a test live longer than the test.
const HOUR: Duration = Duration::from_secs(3600);

/// Waits for what must come.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("gave up after {LIMIT:?}: {what}"),
    }
}

/// A trust domain: its authority, and whom its members believe.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) trust: Arc<MeshTrust>,
    pub(crate) clock: Clock,
}

impl World {
    pub(crate) fn new(domain: &str) -> Self {
        let clock = Clock::system();
        let authority = Authority::create(TrustDomain::parse(domain).unwrap(), clock.wall()).unwrap();
        let trust = MeshTrust::new(&authority.bundle().unwrap(), RevocationList::default()).unwrap();
        World { authority, trust, clock }
    }

    pub(crate) fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::of_service(self.authority.trust_domain(), service).unwrap()
    }

    fn chain(&self, key: &NodeKey, service: &str, life: Duration) -> Vec<Vec<u8>> {
        let request = key.request().unwrap();
        self.authority.issue(&request, &self.id(service), life, self.clock.wall()).unwrap().chain
    }

    pub(crate) fn identity(&self, service: &str) -> Arc<MeshIdentity> {
        let key = NodeKey::generate().unwrap();
        let chain = self.chain(&key, service, HOUR);
        MeshIdentity::from_issued(&key, &chain, &self.trust, self.clock.wall()).unwrap()
    }

    /// Gives the identity another key and certificate, as a renewal does.
    pub(crate) fn renew(&self, identity: &MeshIdentity, service: &str) {
        self.renew_for(identity, service, HOUR);
    }

    /// The same with a certificate of this life.
    pub(crate) fn renew_for(&self, identity: &MeshIdentity, service: &str, life: Duration) {
        let key = NodeKey::generate().unwrap();
        identity.replace(&key, &self.chain(&key, service, life), &self.trust, self.clock.wall()).unwrap();
    }

    /// TLS of a process that proves to be `service`.
    pub(crate) fn tls(&self, service: &str) -> MeshTls {
        MeshTls::new(self.identity(service), Arc::clone(&self.trust), &self.clock).unwrap()
    }

    /// Takes back what was issued to these services.
    pub(crate) fn revoke(&self, services: &[&str]) {
        let ids = services.iter().map(|service| self.id(service));
        let list = RevocationList::new([], ids).unwrap();
        self.trust.replace(&self.authority.bundle().unwrap(), list).unwrap();
    }
}

/// The files of a manifest.
struct InMemory(BTreeMap<String, String>);

impl Files for InMemory {
    fn read(&self, path: &str, _: usize) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or(FileError::Missing)
    }
}

/// The plans of a manifest.
pub(crate) fn plans(files: &[(&str, &str)]) -> Plans {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let compiled = weft_model::compile(&InMemory(files), "weft.yaml", None, &Default::default());
    match compiled.plans {
        Some(plans) => plans,
        None => panic!("the manifest is refused: {:#?}", compiled.findings),
    }
}

/// What a mesh is made of.
pub(crate) struct Recipe {
    files: Vec<(String, String)>,
    instances: Vec<(String, String, u16)>,
    limits: Limits,
    name_server: Option<SocketAddr>,
    threads: usize,
}

/// Begins with a manifest; services in it need `run: x` (nothing is run) or a `url`.
pub(crate) fn mesh(manifest: &str) -> Recipe {
    Recipe {
        files: vec![("weft.yaml".to_owned(), manifest.to_owned())],
        instances: Vec::new(),
        limits: Limits::default(),
        name_server: None,
        threads: 1,
    }
}

impl Recipe {
    /// A file that the manifest names.
    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// An instance of a service, version `v1`, that listens on this loopback port.
    pub(crate) fn on(self, service: &str, port: u16) -> Self {
        self.version(service, "v1", port)
    }

    /// An instance of a version of a service.
    pub(crate) fn version(mut self, service: &str, version: &str, port: u16) -> Self {
        self.instances.push((service.to_owned(), version.to_owned(), port));
        self
    }

    /// Other limits than the defaults.
    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whom to ask for names.
    pub(crate) fn name_server(mut self, address: SocketAddr) -> Self {
        self.name_server = Some(address);
        self
    }

    /// Worker threads of the gateway.
    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    pub(crate) fn plans(&self) -> Plans {
        let files: Vec<_> = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        plans(&files)
    }

    /// Starts everything; it serves when this returns.
    pub(crate) async fn start(self) -> Mesh {
        let plans = self.plans();
        let domain = plans.sidecars.values().chain(&plans.gateway).next().unwrap().trust_domain.clone();
        let mut mesh = Mesh {
            world: World::new(&domain),
            gateway: None,
            sidecars: Vec::new(),
            listed: Vec::new(),
            limits: self.limits,
            name_server: self.name_server,
            plans,
        };
        for (service, version, port) in &self.instances {
            let sidecar = mesh.sidecar(service, version, *port);
            mesh.list(&sidecar);
            mesh.sidecars.push(sidecar);
        }
        if mesh.plans.gateway.is_some() {
            mesh.gateway = Some(mesh.edge(self.threads));
        }
        mesh.publish().await;
        mesh
    }
}

/// The engine at the edge.
pub(crate) struct Gateway {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) identity: Arc<MeshIdentity>,
}

/// The engine beside one instance.
pub(crate) struct Sidecar {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) version: String,
    pub(crate) engine: Engine,
    pub(crate) identity: Arc<MeshIdentity>,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: HashMap<String, SocketAddr>,
    pub(crate) proxy: SocketAddr,
    pub(crate) api: SocketAddr,
}

/// All of it.
pub(crate) struct Mesh {
    pub(crate) world: World,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) sidecars: Vec<Sidecar>,
    /// What control would tell about instances.
    pub(crate) listed: Vec<control::Instance>,
    pub(crate) plans: Plans,
    limits: Limits,
    name_server: Option<SocketAddr>,
}

impl Mesh {
    /// Where clients from outside come in.
    pub(crate) fn edge_address(&self) -> SocketAddr {
        self.gateway.as_ref().unwrap().address
    }

    pub(crate) fn gateway(&self) -> &Engine {
        &self.gateway.as_ref().unwrap().engine
    }

    /// The first instance of a service.
    pub(crate) fn beside(&self, service: &str) -> &Sidecar {
        self.sidecars.iter().find(|sidecar| sidecar.service == service).unwrap()
    }

    /// The port through which `caller` reaches `callee`.
    pub(crate) fn toward(&self, caller: &str, callee: &str) -> SocketAddr {
        self.beside(caller).outbound[callee]
    }

    fn config(&self, threads: usize, listeners: Vec<Listener>, service_port: Option<u16>) -> Config {
        Config {
            threads,
            service_port,
            clock: self.world.clock.clone(),
            limits: self.limits.clone(),
            name_server: self.name_server,
            ..Config::new(listeners)
        }
    }

    fn edge(&self, threads: usize) -> Gateway {
        let (address, listener) = listen(ListenerKind::Edge);
        let engine = Engine::start(self.config(threads, vec![listener], None)).unwrap();
        let identity = self.world.identity("weft-gateway");
        set_identity(&engine, &self.world, &identity);
        engine.apply_endpoints(control::Endpoints { instances: self.listed.clone() });
        engine.apply_plan(self.plans.gateway.clone().unwrap()).unwrap();
        Gateway { engine, address, identity }
    }

    /// Another gateway with sockets of its own, for what the first one cannot show.
    pub(crate) fn another_edge(&self) -> Gateway {
        self.edge(1)
    }

    /// A sidecar for an instance of a service; nobody knows of it until it is listed and published.
    pub(crate) fn sidecar(&self, service: &str, version: &str, port: u16) -> Sidecar {
        self.sidecar_at(TcpListener::bind("127.0.0.1:0").unwrap(), service, version, port)
    }

    /// The same, with this socket for the mesh.
    pub(crate) fn sidecar_at(&self, socket: TcpListener, service: &str, version: &str, port: u16) -> Sidecar {
        let plan = self.plans.sidecars[service].clone();
        let inbound = socket.local_addr().unwrap();
        let listener = Listener { kind: ListenerKind::Inbound, sockets: vec![socket] };
        let (proxy, forward) = listen(ListenerKind::Forward);
        let (api, own) = listen(ListenerKind::Api);
        let mut listeners = vec![listener, forward, own];
        let mut outbound = HashMap::new();
        for callee in callees(&plan) {
            let (address, listener) = listen(ListenerKind::Outbound(callee.clone()));
            listeners.push(listener);
            outbound.insert(callee, address);
        }
        let engine = Engine::start(self.config(1, listeners, Some(port))).unwrap();
        let identity = self.world.identity(service);
        set_identity(&engine, &self.world, &identity);
        engine.apply_endpoints(control::Endpoints { instances: self.listed.clone() });
        engine.apply_plan(plan).unwrap();
        let number = self.sidecars.iter().filter(|sidecar| sidecar.service == service).count() + 1;
        let (service, version) = (service.to_owned(), version.to_owned());
        let instance = format!("{service}-{number}");
        Sidecar { service, instance, version, engine, identity, inbound, outbound, proxy, api }
    }

    /// Puts a sidecar on the list of instances.
    pub(crate) fn list(&mut self, sidecar: &Sidecar) {
        self.listed.push(control::Instance {
            service: sidecar.service.clone(),
            instance: sidecar.instance.clone(),
            address: sidecar.inbound.to_string(),
            version: sidecar.version.clone(),
            state: control::InstanceState::Ready as i32,
        });
    }

    /// Tells all processes which instances there are, and waits until they have heard it.
    pub(crate) async fn publish(&self) {
        for engine in self.engines() {
            engine.apply_endpoints(control::Endpoints { instances: self.listed.clone() });
            // Workers obey in order, so an answer means that all before it was done.
            engine.report().await;
        }
    }

    /// Puts the plans of another manifest in force.
    pub(crate) async fn reload(&mut self, manifest: &str) {
        self.plans = plans(&[("weft.yaml", manifest)]);
        if let Some(gateway) = &self.gateway {
            gateway.engine.apply_plan(self.plans.gateway.clone().unwrap()).unwrap();
            gateway.engine.report().await;
        }
        for sidecar in &self.sidecars {
            sidecar.engine.apply_plan(self.plans.sidecars[&sidecar.service].clone()).unwrap();
            sidecar.engine.report().await;
        }
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        let gateway = self.gateway.iter().map(|gateway| &gateway.engine);
        gateway.chain(self.sidecars.iter().map(|sidecar| &sidecar.engine))
    }

    /// Waits until so many requests ended with this code, in all processes together. What is left of an exchange whose client was cut
    /// off, or has left, ends behind its back.
    pub(crate) async fn ended_with(&self, code: &str, count: f64) {
        let counts = async {
            loop {
                let mut sum = 0.0;
                for engine in self.engines() {
                    sum += counted(&engine.report().await, "weft_refusals", &[("code", code)]);
                }
                if sum >= count {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{count} times {code}"), counts).await;
    }

    /// Tells all processes that roots or revocations changed.
    pub(crate) fn trust_changed(&self) {
        self.engines().for_each(Engine::trust_changed);
    }
}

fn set_identity(engine: &Engine, world: &World, identity: &Arc<MeshIdentity>) {
    let tls = MeshTls::new(Arc::clone(identity), Arc::clone(&world.trust), &world.clock).unwrap();
    engine.set_mesh(&tls).unwrap();
}

fn callees(plan: &Plan) -> Vec<String> {
    match &plan.role {
        weft_model::plan::RolePlan::Sidecar(sidecar) => {
            sidecar.outbound.iter().map(|outbound| outbound.callee.clone()).collect()
        }
        weft_model::plan::RolePlan::Gateway(_) => Vec::new(),
    }
}

pub(crate) fn listen(kind: ListenerKind) -> (SocketAddr, Listener) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    (socket.local_addr().unwrap(), Listener { kind, sockets: vec![socket] })
}

/// Sum of all samples of a family that have these labels.
pub(crate) fn counted(report: &control::Report, family: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = report.families.iter().filter(|one| one.name == family).flat_map(|one| &one.samples);
    let has = |sample: &&control::Sample| {
        labels
            .iter()
            .all(|(name, value)| sample.labels.chunks(2).any(|pair| pair[0] == *name && pair[1] == *value))
    };
    // A histogram's value is its sum of seconds; what is counted is its buckets.
    #[expect(clippy::cast_precision_loss, reason = "a test counts little")]
    samples
        .filter(has)
        .map(|sample| match sample.buckets.is_empty() {
            true => sample.value,
            false => sample.buckets.iter().sum::<u64>() as f64,
        })
        .sum()
}

/// Bytes without a pattern, the same ones each time.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(count as u64);
    std::iter::repeat_with(|| rng.u8(..)).take(count).collect()
}

/// Tells two bodies apart.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{sum:016x}")
}
