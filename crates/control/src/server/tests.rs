//! Control and links in one process, over real sockets and TLS on loopback.

use std::collections::VecDeque;
use std::net::TcpListener as StdListener;
pub(super) use std::pin::Pin;
pub(super) use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
pub(super) use weft_model::plan::Plan;
pub(super) use weft_model::wire::{EdgePair, Endpoints, Report};
use weft_model::wire::{EnrolRequest, Hello, InstanceState, Issued, Presence, RenewRequest, Up, UpKind};
use weft_trust::bootstrap::Bootstrap;
use weft_trust::identity::SpiffeId;
use weft_trust::keepsake::Keepsake;
use weft_trust::mesh::{MeshTls, mesh_server_name};

pub(super) use super::*;
use crate::grpc::client::Connection;
use crate::grpc::{Code, Status};
pub(super) use crate::hub::tests::{plan, plans};
use crate::identities::Revoke;
pub(super) use crate::link::DataPlane;
use crate::link::{Link, LinkError, Says, Settings as LinkSettings};
pub(super) use crate::store::tests::Folder;

/// Nothing here takes longer, however busy the machine: it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A control that runs, and a manifest that can be changed.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    mesh: SocketAddr,
    pub(super) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

pub(super) type Source = Arc<Mutex<Result<Plans, String>>>;

fn shop() -> Plans {
    plans(&[("orders", &["catalog"]), ("catalog", &[])])
}

fn source() -> Source {
    Arc::new(Mutex::new(Ok(shop())))
}

impl Control {
    pub(super) fn start(folder: &Folder, source: &Source, mesh: Option<StdListener>) -> Self {
        Self::with_clock(folder, source, mesh, Clock::system())
    }

    fn with_clock(folder: &Folder, source: &Source, mesh: Option<StdListener>, clock: Clock) -> Self {
        Self::start_with(folder, source, mesh, None, clock)
    }

    fn start_with(
        folder: &Folder,
        source: &Source,
        mesh: Option<StdListener>,
        metrics: Option<StdListener>,
        clock: Clock,
    ) -> Self {
        let free = || StdListener::bind("127.0.0.1:0").unwrap();
        let source = Arc::clone(source);
        let manifest_file = folder.0.join("weft.yaml");
        let manifest =
            move || Loaded { files: vec![manifest_file.clone()], outcome: source.lock().unwrap().clone() };
        let settings = Settings {
            data_dir: folder.0.clone(),
            admin: free(),
            mesh: mesh.unwrap_or_else(free),
            metrics,
            manifest: Arc::new(manifest),
            passphrase: None,
            identity_lifetime: Duration::from_secs(3_600),
            build: "test".to_owned(),
            clock,
        };
        let server = Server::start(settings).unwrap();
        let (shared, addresses) = (Arc::clone(&server.shared), server.addresses());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { shared, mesh: addresses.mesh, admin: addresses.admin, stop: Some(stop), running }
    }

    /// As a kill does: no goodbye, but the sockets close.
    async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        patiently("the stop", self.running).await.unwrap();
    }

    fn bootstrap(&self, service: &str, instance: &str) -> Bootstrap {
        let identities = &self.shared.identities;
        let token = identities.mint(service, instance).unwrap();
        let (bundle, id) = (identities.bundle().unwrap(), identities.id_of(service).unwrap());
        Bootstrap::new(self.mesh.to_string(), bundle, id, instance.to_owned(), token).unwrap()
    }
}

/// What a data plane was told.
#[derive(Debug, PartialEq)]
enum Told {
    Plan(String),
    Endpoints(Vec<String>),
    Trust,
}

/// A data plane that writes down what it is told, and refuses plans while it is told to.
struct Recorder {
    told: mpsc::Sender<Told>,
    refuses: Mutex<bool>,
}

impl DataPlane for Recorder {
    fn apply_plan(&self, plan: Plan, _: Option<EdgePair>) -> Result<(), String> {
        if *self.refuses.lock().unwrap() {
            return Err("told to refuse".to_owned());
        }
        let names: Vec<String> = plan.upstreams.into_iter().map(|upstream| upstream.name).collect();
        self.told.try_send(Told::Plan(names.join(","))).unwrap();
        Ok(())
    }

    fn apply_endpoints(&self, endpoints: Endpoints) {
        let names = endpoints.instances.into_iter().map(|one| one.instance).collect();
        self.told.try_send(Told::Endpoints(names)).unwrap();
    }

    fn trust_changed(&self) {
        self.told.try_send(Told::Trust).unwrap();
    }

    fn report(&self) -> Pin<Box<dyn Future<Output = Report> + Send>> {
        Box::pin(async { Report::default() })
    }
}

/// A running data plane.
pub(super) struct Instance {
    plane: Arc<Recorder>,
    told: mpsc::Receiver<Told>,
    seen: VecDeque<Told>,
    pub(super) presence: watch::Sender<Presence>,
    stop: watch::Sender<bool>,
    tls: MeshTls,
    running: JoinHandle<()>,
    _isolation: watch::Sender<String>,
}

impl Instance {
    async fn start(control: &Control, folder: &Folder, service: &str, instance: &str, port: u16) -> Self {
        let (sender, told) = mpsc::channel(1024);
        let plane = Arc::new(Recorder { told: sender, refuses: Mutex::new(false) });
        let driven = Arc::clone(&plane) as Arc<dyn DataPlane>;
        Self { plane, told, ..Self::start_with(control, folder, service, instance, port, driven).await }
    }

    pub(super) async fn start_with(
        control: &Control,
        folder: &Folder,
        service: &str,
        instance: &str,
        port: u16,
        driven: Arc<dyn DataPlane>,
    ) -> Self {
        let settings = LinkSettings {
            bootstrap: control.bootstrap(service, instance),
            data_dir: folder.0.clone(),
            build: "test".to_owned(),
            clock: Clock::system(),
        };
        let link = patiently("the enrolment", Link::enrol(settings)).await.unwrap();
        let presence = Presence {
            address: format!("127.0.0.1:{port}"),
            version: "v1".to_owned(),
            state: InstanceState::Ready as i32,
            ..Presence::default()
        };
        let (sender, told) = mpsc::channel(1024);
        let plane = Arc::new(Recorder { told: sender, refuses: Mutex::new(false) });
        let (presence, presence_seen) = watch::channel(presence);
        let (stop, stop_seen) = watch::channel(false);
        let (isolation, isolation_seen) = watch::channel("peer-credentials".to_owned());
        let says = Says { presence: presence_seen, isolation: isolation_seen, stop: stop_seen };
        let tls = link.tls().clone();
        let running = tokio::spawn(link.run(driven, says));
        Self { plane, told, seen: VecDeque::new(), presence, stop, tls, running, _isolation: isolation }
    }

    /// Waits until it is told this, whatever it is told before.
    async fn until(&mut self, expected: Told) {
        let what = format!("{expected:?} (seen {:?})", self.seen);
        let waiting = async {
            while let Some(told) = self.told.recv().await {
                if told == expected {
                    return;
                }
                self.seen.push_back(told);
            }
            panic!("the data plane ended before it was told {expected:?}");
        };
        patiently(&what, waiting).await;
    }
}

fn endpoints(names: &[&str]) -> Told {
    Told::Endpoints(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Waits for something in control to become true, by the wakes of whoever shows it.
async fn shown(control: &Control, what: &str, is_so: impl Fn(&Shared) -> bool) {
    let mut shows = control.shared.shows();
    let waiting = async {
        while !is_so(&control.shared) {
            shows.changed().await.unwrap();
        }
    };
    patiently(what, waiting).await;
}

#[tokio::test]
async fn a_data_plane_enrols_is_told_and_answers_and_leaves() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let mut orders = Instance::start(&control, &folder, "orders", "orders-1", 9_001).await;
    orders.until(Told::Plan("catalog".to_owned())).await;
    orders.until(endpoints(&[])).await;
    let catalog = Instance::start(&control, &folder, "catalog", "catalog-1", 9_002).await;
    orders.until(endpoints(&["catalog-1"])).await;
    shown(&control, "the acknowledgements", |shared| {
        let all = shared.hub().instances(shared.now());
        all.len() == 2
            && all.iter().all(|one| one.current && one.connected && one.isolation == "peer-credentials")
    })
    .await;

    // A plan that is refused is shown, and tried again.
    *orders.plane.refuses.lock().unwrap() = true;
    let other = plans(&[("orders", &["catalog", "users"]), ("catalog", &[]), ("users", &[])]);
    *source.lock().unwrap() = Ok(other.clone());
    control.shared.activate(other).unwrap();
    shown(&control, "the refusal", |shared| {
        shared
            .hub()
            .instances(shared.now())
            .iter()
            .any(|one| one.refused.as_deref() == Some("told to refuse"))
    })
    .await;
    // What it lacked is there: it takes the same plan, without a word of control.
    *orders.plane.refuses.lock().unwrap() = false;
    orders.until(Told::Plan("catalog,users".to_owned())).await;
    shown(&control, "the acknowledgement", |shared| {
        shared.hub().instances(shared.now()).iter().all(|one| one.refused.is_none() && one.current)
    })
    .await;
    *source.lock().unwrap() = Ok(shop());
    control.shared.activate(shop()).unwrap();
    orders.until(Told::Plan("catalog".to_owned())).await;

    // Draining leaves at once, and the end of the stream leaves nothing behind.
    catalog.presence.send_modify(|presence| presence.state = InstanceState::Draining as i32);
    orders.until(endpoints(&[])).await;
    catalog.stop.send(true).unwrap();
    patiently("the end of the link", catalog.running).await.unwrap();
    shown(&control, "the farewell", |shared| shared.hub().instances(shared.now()).len() == 1).await;
    control.stop().await;
    assert!(!folder.0.join(CONTROL_FILE).exists());
}

#[tokio::test]
async fn control_is_killed_and_comes_back_and_nobody_is_told_an_empty_list() {
    let (folder, source) = (Folder::new(), source());
    // As under `weft up`: the socket outlives the process.
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    let control = Control::start(&folder, &source, Some(socket.try_clone().unwrap()));
    let (mut orders, _catalog) = two_services(&control, &folder).await;
    orders.seen.clear();
    control.kill().await;

    let control = Control::start(&folder, &source, Some(socket));
    shown(&control, "both are back", |shared| {
        let all = shared.hub().instances(shared.now());
        all.len() == 2 && all.iter().all(|one| one.connected && one.current)
    })
    .await;
    // A third one makes control speak to orders again: what came before it is all that it was told.
    let _late = Instance::start(&control, &folder, "catalog", "catalog-2", 9_003).await;
    orders.until(endpoints(&["catalog-1", "catalog-2"])).await;
    assert!(!orders.seen.contains(&endpoints(&[])), "{:?}", orders.seen);
    assert!(!orders.seen.iter().any(|told| matches!(told, Told::Plan(_))), "the same plan is not told twice");
}

#[tokio::test]
async fn a_data_plane_starts_from_disk_when_control_goes_away_after_enrolling() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let mut first = Instance::start(&control, &folder, "orders", "orders-1", 9_001).await;
    first.until(Told::Plan("catalog".to_owned())).await;
    first.until(endpoints(&[])).await;
    first.stop.send(true).unwrap();
    patiently("the end of the first process", first.running).await.unwrap();
    let bootstrap = control.bootstrap("orders", "orders-1");
    let (data_dir, build, clock) = (folder.0.clone(), "test".to_owned(), Clock::system());
    let link = patiently("the enrolment", Link::enrol(LinkSettings { bootstrap, data_dir, build, clock }))
        .await
        .unwrap();
    assert!(link.stored().is_some());
    control.kill().await;
    let (sender, mut told) = mpsc::channel(16);
    let plane = Arc::new(Recorder { told: sender, refuses: Mutex::new(false) });
    let (_presence, presence) = watch::channel(Presence::default());
    let (_isolation, isolation) = watch::channel(String::new());
    let (_stop, stop) = watch::channel(false);
    let _running = tokio::spawn(link.run(plane, Says { presence, isolation, stop }));
    let first = patiently("the plan on disk", told.recv()).await.unwrap();
    assert_eq!(first, Told::Plan("catalog".to_owned()));
    assert_eq!(patiently("its endpoints", told.recv()).await.unwrap(), endpoints(&[]));
}

/// An instance of `orders`, which knows the one of `catalog`.
async fn two_services(control: &Control, folder: &Folder) -> (Instance, Instance) {
    let mut orders = Instance::start(control, folder, "orders", "orders-1", 9_001).await;
    let catalog = Instance::start(control, folder, "catalog", "catalog-1", 9_002).await;
    orders.until(endpoints(&["catalog-1"])).await;
    (orders, catalog)
}

#[tokio::test]
async fn revocation_ends_the_stream_and_is_told_to_everybody_at_once() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let (mut orders, catalog) = two_services(&control, &folder).await;
    let victim = catalog.tls.identity().unwrap().current();
    assert!(!orders.tls.trust().is_revoked(&victim));
    assert!(control.shared.revoke(&Revoke::Instance("catalog-1".to_owned())).unwrap());
    orders.until(Told::Trust).await;
    assert!(
        orders.tls.trust().is_revoked(&victim),
        "in force before the data plane is asked to close connections"
    );
    orders.until(endpoints(&[])).await;
    shown(&control, "the stream's end", |shared| {
        shared.hub().instances(shared.now()).iter().all(|one| one.instance != "catalog-1")
    })
    .await;
    assert!(!control.shared.revoke(&Revoke::Instance("nobody-1".to_owned())).unwrap());
    // It may come back, if whoever placed it vouches for it again.
    let _again = Instance::start(&control, &folder, "catalog", "catalog-1", 9_004).await;
    orders.until(endpoints(&["catalog-1"])).await;
}

#[tokio::test]
async fn the_manifest_is_followed_and_a_bad_one_changes_nothing_but_what_is_shown() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let mut orders = Instance::start(&control, &folder, "orders", "orders-1", 9_001).await;
    orders.until(Told::Plan("catalog".to_owned())).await;
    // Read once more when the watch stands; from then on each save is seen.
    shown(&control, "the watch", |shared| {
        shared.counters.reloads.load(std::sync::atomic::Ordering::Relaxed) > 0
    })
    .await;
    let save = |content: &str| {
        // As editors do: a new file takes the old one's name.
        std::fs::write(folder.0.join("weft.yaml~"), content).unwrap();
        std::fs::rename(folder.0.join("weft.yaml~"), folder.0.join("weft.yaml")).unwrap();
    };
    *source.lock().unwrap() = Err("error: unknown key `cals`".to_owned());
    save("services: { orders: { cals: [users] } }");
    shown(&control, "the refusal", |shared| shared.refused_reload().is_some()).await;
    assert!(control.shared.refused_reload().unwrap().rendered.contains("cals"));
    *source.lock().unwrap() =
        Ok(plans(&[("orders", &["catalog", "users"]), ("catalog", &[]), ("users", &[])]));
    save("services: { orders: { calls: [users] } }");
    orders.until(Told::Plan("catalog,users".to_owned())).await;
    shown(&control, "the good reload", |shared| shared.refused_reload().is_none()).await;
    // Another trust domain would need another authority.
    let mut foreign = shop();
    foreign.sidecars.values_mut().for_each(|plan| plan.trust_domain = "other.test".to_owned());
    *source.lock().unwrap() = Ok(foreign);
    save("trust: { domain: other.test }");
    shown(&control, "the refusal of another trust domain", |shared| shared.refused_reload().is_some()).await;
    assert!(orders.told.try_recv().is_err(), "and nobody was told");
    control.kill().await;
    // Started again beside the bad manifest: what was in force is in force.
    let control = Control::start(&folder, &Arc::new(Mutex::new(Err("still bad".to_owned()))), None);
    assert!(control.shared.refused_reload().is_some());
    assert!(control.shared.hub().published().unwrap().plan_of("users").is_some());
}

#[tokio::test]
async fn a_mounted_manifest_is_followed_as_kubernetes_changes_it() {
    let (folder, source) = (Folder::new(), source());
    // The file is a link through a link, and only that one is turned.
    let turn_to = |version: &str| {
        std::fs::create_dir(folder.0.join(version)).unwrap();
        std::fs::write(folder.0.join(version).join("weft.yaml"), version).unwrap();
        std::os::unix::fs::symlink(version, folder.0.join("..next")).unwrap();
        std::fs::rename(folder.0.join("..next"), folder.0.join("..data")).unwrap();
    };
    turn_to("..1");
    let _ = std::fs::remove_file(folder.0.join("weft.yaml"));
    std::os::unix::fs::symlink("..data/weft.yaml", folder.0.join("weft.yaml")).unwrap();
    let control = Control::start(&folder, &source, None);
    for version in ["..2", "..3"] {
        let reloads = |shared: &Shared| shared.counters.reloads.load(std::sync::atomic::Ordering::Relaxed);
        shown(&control, "the watch", |shared| reloads(shared) > 0).await;
        let before = reloads(&control.shared);
        turn_to(version);
        shown(&control, "the reload", |shared| reloads(shared) > before).await;
    }
}

async fn connect(control: &Control, tls: &MeshTls) -> Result<Connection, Status> {
    let id = SpiffeId::of_control(tls.trust().trust_domain());
    Connection::open(&control.mesh.to_string(), tls.client_for(&id, &[b"h2"]), mesh_server_name()).await
}

async fn watch_as(connection: &mut Connection, hello: Hello) -> Status {
    let (up, mut messages) = match connection.stream("Watch").await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    up.send(&Up { kind: Some(UpKind::Hello(hello)) }).await.unwrap();
    loop {
        match messages.next::<weft_model::wire::Down>().await {
            Ok(Some(_)) => {}
            Ok(None) => return messages.status().cloned().unwrap(),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn hostile_callers_get_nothing_and_disturb_nobody() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let orders = Instance::start(&control, &folder, "orders", "orders-1", 9_001).await;
    shown(&control, "orders is there", |shared| shared.hub().instances(shared.now()).len() == 1).await;

    // Bytes that are no TLS, on many connections.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], &[0xff; 4096], &[]] {
        let mut tcp = TcpStream::connect(control.mesh).await.unwrap();
        let _ = tcp.write_all(bytes).await;
        let _ = tcp.shutdown().await;
        let mut answer = Vec::new();
        let _ = patiently("the end of garbage", tcp.read_to_end(&mut answer)).await;
    }

    // A thousand guesses of a token.
    let anonymous = MeshTls::anonymous(Arc::clone(orders.tls.trust()), &Clock::system()).unwrap();
    let mut guessing = connect(&control, &anonymous).await.unwrap();
    let csr = weft_trust::key::NodeKey::generate().unwrap().request().unwrap();
    for guess in 0..1_000 {
        let request = EnrolRequest { token: format!("weft-enrol-{guess}"), csr: csr.clone() };
        let refused = guessing.unary::<Issued>("Enrol", &request).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated, "{refused}");
    }
    // Renewing as somebody else, with a key of one's own.
    let request = RenewRequest { instance: "orders-1".to_owned(), csr: csr.clone() };
    assert_eq!(guessing.unary::<Issued>("Renew", &request).await.unwrap_err().code, Code::Unauthenticated);
    // A certificate request that is none does not use a token up.
    let token = control.shared.identities.mint("catalog", "catalog-1").unwrap();
    let broken = EnrolRequest { token: token.clone(), csr: vec![0x30; 100] };
    assert_eq!(guessing.unary::<Issued>("Enrol", &broken).await.unwrap_err().code, Code::InvalidArgument);
    let good = EnrolRequest { token, csr };
    guessing.unary::<Issued>("Enrol", &good).await.unwrap();
    assert_eq!(
        guessing.unary::<Issued>("Enrol", &good).await.unwrap_err().code,
        Code::Unauthenticated,
        "used"
    );

    // Messages over the limit, methods that are not there, a stream without a certificate.
    let huge = EnrolRequest { token: "x".repeat(1 << 20), csr: Vec::new() };
    let refused = guessing.unary::<Issued>("Enrol", &huge).await.unwrap_err();
    assert!(matches!(refused.code, Code::ResourceExhausted | Code::Unavailable), "{refused}");
    let mut guessing = connect(&control, &anonymous).await.unwrap();
    assert_eq!(guessing.unary::<Issued>("Nothing", &good).await.unwrap_err().code, Code::Unimplemented);
    let hello = |instance: &str| Hello { instance: instance.to_owned(), ..Hello::default() };
    let refused = patiently("the refusal", watch_as(&mut guessing, hello("orders-1"))).await;
    assert_eq!(refused.code, Code::Unauthenticated);

    // With a certificate, but as another; and without any hello.
    let mut proven = connect(&control, &orders.tls).await.unwrap();
    let refused = patiently("the refusal", watch_as(&mut proven, hello("catalog-1"))).await;
    assert_eq!(refused.code, Code::PermissionDenied);
    let (up, mut messages) = proven.stream("Watch").await.unwrap();
    up.send(&Up { kind: Some(UpKind::Presence(Presence::default())) }).await.unwrap();
    assert_eq!(messages.next::<Up>().await.unwrap(), None);
    assert_eq!(messages.status().unwrap().code, Code::InvalidArgument);

    // Nobody noticed.
    let all = control.shared.hub().instances(control.shared.now());
    assert_eq!(all.len(), 1);
    assert!(all[0].connected && all[0].instance == "orders-1");
}

#[tokio::test]
async fn a_used_token_is_final() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let first = control.bootstrap("orders", "orders-1");
    let copy = Bootstrap::from_json(first.to_json().unwrap().as_bytes()).unwrap();
    let link = |bootstrap| {
        let (data_dir, build, clock) = (folder.0.clone(), "test".to_owned(), Clock::system());
        Link::enrol(LinkSettings { bootstrap, data_dir, build, clock })
    };
    let enrolled = patiently("the enrolment", link(first)).await.unwrap();
    assert_eq!(enrolled.identity().id.service(), "orders");
    let refused = patiently("the refusal", link(copy)).await.unwrap_err();
    assert!(
        matches!(&refused, LinkError::Refused(status) if status.code == Code::Unauthenticated),
        "{refused}"
    );
}

/// Keeps what it is given.
#[derive(Default)]
struct Keeps(Mutex<Option<Keepsake>>);

impl DataPlane for Keeps {
    fn apply_plan(&self, _: Plan, _: Option<EdgePair>) -> Result<(), String> {
        Ok(())
    }

    fn apply_endpoints(&self, _: Endpoints) {}

    fn trust_changed(&self) {}

    fn keep(&self, keepsake: Keepsake) {
        *self.0.lock().unwrap() = Some(keepsake);
    }

    fn report(&self) -> Pin<Box<dyn Future<Output = Report> + Send>> {
        Box::pin(async { Report::default() })
    }
}

#[tokio::test]
async fn without_control_a_process_is_what_it_was_until_its_certificate_ends() {
    let (folder, source) = (Folder::new(), source());
    let (clock, hand) = Clock::manual(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let control = Control::with_clock(&folder, &source, None, clock.clone());
    let first = control.bootstrap("orders", "orders-1");
    let used = first.to_json().unwrap();
    let settings = |bootstrap| LinkSettings {
        bootstrap,
        data_dir: folder.0.clone(),
        build: "test".to_owned(),
        clock: clock.clone(),
    };
    let again = || settings(Bootstrap::from_json(used.as_bytes()).unwrap());
    let mut link = patiently("the enrolment", Link::enrol(settings(first))).await.unwrap();
    let plane = Keeps::default();
    hand.advance(Duration::from_secs(1_800));
    patiently("a renewal", link.renew(&plane)).await.unwrap();
    let kept = plane.0.lock().unwrap().take();
    assert!(kept.is_some());

    // With control there, the token would be refused: it was used.
    let same = patiently("a new start", Link::start(again(), kept.clone())).await.unwrap();
    assert_eq!(same.identity(), link.identity());
    // Too late: then it is as if nothing had been kept.
    hand.advance(Duration::from_secs(100_000));
    let refused = patiently("the refusal", Link::start(again(), kept)).await.unwrap_err();
    assert!(
        matches!(&refused, LinkError::Refused(status) if status.code == Code::Unauthenticated),
        "{refused}"
    );
    control.kill().await;
}

#[tokio::test]
async fn identities_are_renewed_by_their_key_also_after_their_end() {
    let (folder, source) = (Folder::new(), source());
    let (clock, hand) = Clock::manual(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let control = Control::with_clock(&folder, &source, None, clock.clone());
    let settings = LinkSettings {
        bootstrap: control.bootstrap("orders", "orders-1"),
        data_dir: folder.0.clone(),
        build: "test".to_owned(),
        clock: clock.clone(),
    };
    let mut link = patiently("the enrolment", Link::enrol(settings)).await.unwrap();
    let (sender, mut told) = mpsc::channel(16);
    let plane = Recorder { told: sender, refuses: Mutex::new(false) };
    let first = link.identity();
    hand.advance(Duration::from_secs(1_800));
    patiently("a renewal", link.renew(&plane)).await.unwrap();
    let second = link.identity();
    assert_eq!(second.id, first.id);
    assert!(told.try_recv().is_err(), "whom to believe is as before: no connection is asked for anew");
    assert!(second.not_after > first.not_after && second.serial != first.serial);
    // Long after its end: the certificate opens no stream any more, the key still renews.
    hand.advance(Duration::from_secs(100_000));
    control.shared.maintain();
    let hello = Hello { instance: "orders-1".to_owned(), ..Hello::default() };
    let refused = match connect(&control, link.tls()).await {
        Ok(mut connection) => patiently("a refusal", watch_as(&mut connection, hello.clone())).await,
        Err(status) => status,
    };
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
    patiently("a renewal after the end", link.renew(&plane)).await.unwrap();
    assert!(link.identity().not_after > clock.wall());
    let mut connection = connect(&control, link.tls()).await.unwrap();
    let (up, mut messages) = connection.stream("Watch").await.unwrap();
    up.send(&Up { kind: Some(UpKind::Hello(hello)) }).await.unwrap();
    assert!(patiently("a word", messages.next::<weft_model::wire::Down>()).await.unwrap().is_some());
    // Who was revoked is not renewed.
    assert!(control.shared.revoke(&Revoke::Service("orders".to_owned())).unwrap());
    assert_eq!(link.renew(&plane).await.unwrap_err().code, Code::PermissionDenied);
}

#[tokio::test]
async fn a_service_that_the_manifest_lost_is_revoked_and_one_that_never_was_is_not() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let catalog = Instance::start(&control, &folder, "catalog", "catalog-1", 9_002).await;
    shown(&control, "its enrolment", |shared| shared.hub().instances(shared.now()).len() == 1).await;
    let held = catalog.tls.identity().unwrap().current();
    let less = plans(&[("orders", &[])]);
    *source.lock().unwrap() = Ok(less.clone());
    control.shared.activate(less).unwrap();
    assert!(!control.shared.revoke(&Revoke::Service("nope".to_owned())).unwrap());
    assert!(control.shared.revoke(&Revoke::Service("catalog".to_owned())).unwrap());
    assert!(control.shared.identities.is_revoked(&held));
    // Nobody enrolled for it yet, and nobody shall.
    assert!(control.shared.revoke(&Revoke::Service("orders".to_owned())).unwrap());
    assert!(control.shared.identities.mint("orders", "orders-1").is_err());
}

#[tokio::test]
async fn a_reinstated_service_comes_back_by_itself_with_another_certificate() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let (mut orders, catalog) = two_services(&control, &folder).await;
    let before = catalog.tls.identity().unwrap().current();
    assert!(control.shared.revoke(&Revoke::Service("catalog".to_owned())).unwrap());
    orders.until(endpoints(&[])).await;
    let refused = || control.shared.counters.renewals_refused.load(std::sync::atomic::Ordering::Relaxed);
    patiently("a refused renewal", async {
        while refused() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    control.shared.reinstate("catalog").unwrap();
    orders.until(endpoints(&["catalog-1"])).await;
    let after = catalog.tls.identity().unwrap().current();
    assert!(after.serial != before.serial);
    assert!(orders.tls.trust().is_revoked(&before), "the old certificate stays out");
    assert!(!orders.tls.trust().is_revoked(&after));
}

#[tokio::test]
async fn who_was_revoked_while_control_was_away_comes_back_too() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let (_orders, _catalog) = two_services(&control, &folder).await;
    // Revoked and restarted before it is told: it meets the refusal in the handshake.
    control.shared.identities.revoke(&Revoke::Service("catalog".to_owned()), true).unwrap();
    let mesh = control.mesh;
    control.kill().await;
    let mesh = StdListener::bind(mesh).unwrap();
    let control = Control::start(&folder, &source, Some(mesh));
    let refused = || control.shared.counters.renewals_refused.load(std::sync::atomic::Ordering::Relaxed);
    patiently("a refused renewal", async {
        while refused() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    control.shared.reinstate("catalog").unwrap();
    shown(&control, "it is back", |shared| {
        shared.hub().instances(shared.now()).iter().any(|one| one.instance == "catalog-1")
    })
    .await;
}

#[tokio::test]
async fn metrics_on_loopback_are_not_for_a_name_that_was_bent_to_it() {
    let (folder, source) = (Folder::new(), source());
    for plan in source.lock().unwrap().as_mut().unwrap().sidecars.values_mut() {
        plan.observe.metrics = Some("laptop:9464".to_owned());
    }
    let metrics = StdListener::bind("127.0.0.1:0").unwrap();
    let loopback = metrics.local_addr().unwrap();
    let control = Control::start_with(&folder, &source, None, Some(metrics), Clock::system());
    let ask = |address: SocketAddr, host: String| {
        http(address, format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    for host in [loopback.to_string(), "localhost:1".to_owned(), "laptop:9464".to_owned()] {
        let (status, body) = ask(loopback, host).await;
        assert!(status == 200 && body.contains("weft_"), "{status} {body}");
    }
    let (status, body) = ask(loopback, "evil.test".to_owned()).await;
    assert!(status == 421 && !body.contains("weft_"), "{status} {body}");
    control.stop().await;

    // What listens for others is found by whatever name they know.
    let metrics = StdListener::bind("0.0.0.0:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], metrics.local_addr().unwrap().port()));
    let control = Control::start_with(&folder, &source, None, Some(metrics), Clock::system());
    assert_eq!(ask(address, "prometheus-target.internal".to_owned()).await.0, 200);
    control.stop().await;
}

async fn http(address: SocketAddr, request: String) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    patiently("an answer", tcp.read_to_end(&mut answer)).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn the_admin_api_answers_its_owner_only() {
    let (folder, source) = (Folder::new(), source());
    let control = Control::start(&folder, &source, None);
    let token = std::fs::read_to_string(folder.0.join(TOKEN_FILE)).unwrap();
    let ask = |method: &str, path: &str, more: &str, body: &str| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", control.admin);
        http(control.admin, format!("{head}content-length: {length}\r\n{more}\r\n{body}"))
    };
    let bearer = format!("authorization: Bearer {token}\r\n");
    let json = format!("{bearer}content-type: application/json\r\n");
    assert_eq!(ask("GET", "/", "", "").await.0, 200);
    for path in ["/v1/status", "/v1/edges", "/v1/findings"] {
        assert_eq!(ask("GET", path, "", "").await.0, 401, "{path}");
        let (status, body) = ask("GET", path, &bearer, "").await;
        assert_eq!(status, 200, "{path}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        assert_eq!(ask("POST", path, &json, "{}").await.0, 405, "{path}");
    }
    assert_eq!(ask("GET", "/v1/status", &format!("{bearer}origin: http://evil.test\r\n"), "").await.0, 403);
    assert_eq!(ask("GET", "/v1/nothing", &bearer, "").await.0, 404);
    let (status, body) =
        ask("POST", "/v1/tokens", &json, r#"{"service":"orders","instance":"orders-1"}"#).await;
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(answer["token"].as_str().unwrap().starts_with("weft-enrol-"));
    let bootstrap = Bootstrap::from_json(answer["bootstrap"].to_string().as_bytes()).unwrap();
    assert_eq!(bootstrap.control, control.mesh.to_string());
    let refused = [
        (r#"{"service":"nobody","instance":"nobody-1"}"#, 404),
        (r#"{"service":"weft-control","instance":"c-1"}"#, 404),
        (r#"{"service":"orders","instance":"../../etc"}"#, 422),
        (r#"{"service":"orders"}"#, 400),
        ("", 400),
    ];
    for (body, expected) in refused {
        assert_eq!(ask("POST", "/v1/tokens", &json, body).await.0, expected, "{body}");
    }
    assert_eq!(ask("POST", "/v1/tokens", &bearer, "{}").await.0, 415, "a form of another site");
    let large = format!("{{\"service\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(ask("POST", "/v1/tokens", &json, &large).await.0, 413);
    assert_eq!(ask("POST", "/v1/revoke", &json, r#"{"instance":"nobody-1"}"#).await.0, 404);
    let (status, body) = ask("POST", "/v1/revoke", &json, r#"{"service":"ordrs"}"#).await;
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("`ordrs`") && body.contains("did you mean `orders`?"), "{body}");
    assert_eq!(ask("POST", "/v1/revoke", &json, r#"{"service":"orders"}"#).await.0, 200);
    assert_eq!(ask("POST", "/v1/tokens", &json, r#"{"service":"orders","instance":"o-1"}"#).await.0, 422);
    assert_eq!(ask("POST", "/v1/reinstate", &json, r#"{"service":"orders"}"#).await.0, 200);
    assert_eq!(ask("POST", "/v1/tokens", &json, r#"{"service":"orders","instance":"o-1"}"#).await.0, 200);
}
