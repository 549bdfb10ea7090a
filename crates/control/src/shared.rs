//! What the listeners, streams and tasks of control share: the hub behind a lock, and who wakes whom.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weft_model::plan::{EdgeTlsPlan, Plans, RolePlan};
use weft_model::wire::{EdgePair, Report};
use weft_stdx::clock::{Clock, Tick};

use crate::edges::{Edge, Edges};
use crate::hub::{Caller, Hub, InstanceStatus};
use crate::identities::{Identities, IdentitiesError, Revoke};
use crate::metrics::{Counters, Format, Own, Reports, count};
use crate::status::Breaker;
use crate::store::{self, Durable};

/// Who was there, for a control that starts anew.
const REGISTRY_FILE: &str = "registry.json";
/// The plans in force, for a control that starts anew beside a manifest that is being edited.
const PLANS_FILE: &str = "plans.json";
/// Bytes of either file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Up to this many instances the registry is written before anybody is told of a change, so that a control that is killed
/// forgets nobody.
const REGISTRY_PROMPT_MAX: usize = 256;
/// A larger one is written at most this often; what changes meanwhile is written by the next [`Shared::tick`].
const REGISTRY_INTERVAL: Duration = Duration::from_millis(100);

/// Where control listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Admin API and console.
    pub admin: SocketAddr,
    /// gRPC for the data planes.
    pub mesh: SocketAddr,
    /// Metrics of the whole system, if they are served.
    pub metrics: Option<SocketAddr>,
}

/// A reload that was refused, or plans that a process refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When, milliseconds since the epoch.
    pub at_unix_ms: u64,
    /// The findings, as people read them.
    pub rendered: String,
}

/// Shared by everything in control.
pub(crate) struct Shared {
    pub(crate) identities: Identities,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    pub(crate) build: String,
    pub(crate) started_unix_ms: u64,
    pub(crate) data_dir: PathBuf,
    pub(crate) addresses: OnceLock<Addresses>,
    /// Where the plans wanted metrics to be served, at the start and last.
    metrics_wanted: Mutex<Option<MetricsWanted>>,
    hub: Mutex<Hub>,
    reports: Mutex<Reports>,
    edges: Mutex<Edges>,
    refused: Mutex<Option<RefusedReload>>,
    changes: watch::Sender<u64>,
    shows: watch::Sender<u64>,
    registry: Mutex<RegistryFile>,
}

struct MetricsWanted {
    at_start: Option<String>,
    last: Option<String>,
}

/// When the registry was written, and whether it is behind.
#[derive(Default)]
struct RegistryFile {
    written: Tick,
    behind: bool,
}

/// How the registry is written.
#[derive(Serialize, Deserialize)]
struct Remembered {
    mesh: String,
    instances: Vec<InstanceStatus>,
}

/// What can keep plans from being put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivateError {
    #[error(
        "`trust.domain` cannot change from `{from}` to `{to}` while the system runs: stop it, and start with a data directory of its own"
    )]
    TrustDomain { from: String, to: String },
    #[error(transparent)]
    Publish(#[from] crate::hub::PublishError),
    #[error(transparent)]
    Edge(#[from] IdentitiesError),
}

impl Shared {
    pub(crate) fn new(
        identities: Identities,
        hub: Hub,
        clock: Clock,
        build: String,
        data_dir: PathBuf,
    ) -> Self {
        Self {
            identities,
            counters: Counters::default(),
            started_unix_ms: clock.unix_ms(),
            clock,
            build,
            data_dir,
            addresses: OnceLock::new(),
            metrics_wanted: Mutex::default(),
            hub: Mutex::new(hub),
            reports: Mutex::default(),
            edges: Mutex::default(),
            refused: Mutex::default(),
            changes: watch::Sender::new(0),
            shows: watch::Sender::new(0),
            registry: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }

    /// Never held across an await.
    pub(crate) fn hub(&self) -> MutexGuard<'_, Hub> {
        lock(&self.hub)
    }

    // --- waking ---

    /// What data planes are told may be different now.
    pub(crate) fn changed(&self) {
        self.remember();
        self.changes.send_modify(|generation| *generation += 1);
        self.shown();
    }

    /// What people are shown is different now.
    pub(crate) fn shown(&self) {
        self.shows.send_modify(|generation| *generation += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn shows(&self) -> watch::Receiver<u64> {
        self.shows.subscribe()
    }

    /// To be called about four times a second.
    pub(crate) fn tick(&self) {
        let now = self.now();
        let changed = self.hub().tick(now);
        if changed {
            self.changed();
        } else if lock(&self.registry).behind {
            self.remember();
        }
        let instances = self.hub().instances(now);
        let gone = lock(&self.reports).retain(|name| instances.iter().any(|one| one.instance == name));
        let mut edges = lock(&self.edges);
        for name in gone {
            edges.forget(&name);
        }
    }

    // --- plans ---

    /// Puts plans in force, all of them or none. Says whether anything is different now.
    pub(crate) fn activate(&self, plans: Plans) -> Result<bool, ActivateError> {
        let domain = self.identities.tls().trust().trust_domain().as_str();
        if let Some(other) = trust_domain_of(&plans).filter(|other| *other != domain) {
            return Err(ActivateError::TrustDomain { from: domain.to_owned(), to: other.to_owned() });
        }
        let edge = self.edge_of(&plans)?;
        let kept = serde_json::to_vec(&plans);
        let (changed, metrics) = {
            let mut hub = self.hub();
            let changed = hub.publish(plans, edge)?;
            (changed, hub.published().and_then(|published| published.metrics().map(str::to_owned)))
        };
        self.look_at_metrics(metrics);
        if let Ok(bytes) = kept
            && let Err(error) = store::replace(&self.data_dir.join(PLANS_FILE), &bytes, Durable::Yes)
        {
            tracing::warn!(%error, "the plans in force could not be kept on disk");
        }
        if changed {
            self.changed();
        }
        Ok(changed)
    }

    fn edge_of(&self, plans: &Plans) -> Result<Option<EdgePair>, IdentitiesError> {
        let Some(plan) = &plans.gateway else { return Ok(None) };
        let RolePlan::Gateway(gateway) = &plan.role else { return Ok(None) };
        if gateway.tls != Some(EdgeTlsPlan::Auto) {
            return Ok(None);
        }
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let listened =
            gateway.listen.iter().filter_map(|address| address.rsplit_once(':')).map(|(host, _)| host);
        names.extend(listened.map(|host| host.trim_matches(['[', ']']).to_owned()));
        names.extend(gateway.routes.iter().filter_map(|route| route.host.clone()));
        names.retain(|name| !matches!(name.as_str(), "" | "0.0.0.0" | "::"));
        names.sort();
        names.dedup();
        self.identities.edge(&names).map(Some)
    }

    /// Makes the pair of the edge anew where it is half through its life.
    pub(crate) fn renew_edge(&self) {
        let plans = self.hub().published().map(|published| published.plans().clone());
        if let Some(plans) = plans.filter(|_| self.identities.edge_is_due())
            && let Err(error) = self.activate(plans)
        {
            tracing::error!(%error, "the edge's certificate could not be renewed");
        }
    }

    /// The plans that were in force when control ended.
    pub(crate) fn plans_on_disk(data_dir: &std::path::Path) -> Option<Plans> {
        let bytes = store::read(&data_dir.join(PLANS_FILE), FILE_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// The manifest was refused; what is in force goes on.
    pub(crate) fn refuse_reload(&self, rendered: String) {
        count(&self.counters.reloads_refused);
        *lock(&self.refused) = Some(RefusedReload { at_unix_ms: self.clock.unix_ms(), rendered });
        self.shown();
    }

    /// The manifest is good again.
    pub(crate) fn accept_reload(&self) {
        count(&self.counters.reloads);
        *lock(&self.refused) = None;
        self.shown();
    }

    pub(crate) fn refused_reload(&self) -> Option<RefusedReload> {
        lock(&self.refused).clone()
    }

    // --- identities ---

    /// Ends identities, everywhere. Says whether there was anything to end.
    pub(crate) fn revoke(&self, what: &Revoke) -> Result<bool, IdentitiesError> {
        let planned = match what {
            Revoke::Service(service) => self.is_planned(service),
            Revoke::Instance(_) | Revoke::Serial(_) => false,
        };
        let Some(trust) = self.identities.revoke(what, planned)? else { return Ok(false) };
        {
            let now = self.now();
            let mut hub = self.hub();
            let of_serial = |serial: &String| {
                hub.instances(now).into_iter().find(|one| one.serial == *serial).map(|one| one.instance)
            };
            let named = match what {
                Revoke::Serial(serial) => of_serial(serial),
                Revoke::Instance(instance) => Some(instance.clone()),
                Revoke::Service(_) => None,
            };
            hub.expel(|instance, service| match what {
                Revoke::Service(revoked) => revoked == service,
                Revoke::Instance(_) | Revoke::Serial(_) => named.as_deref() == Some(instance),
            });
            hub.set_trust(trust);
        }
        tracing::warn!(?what, "revoked");
        self.changed();
        Ok(true)
    }

    /// Whether a plan in force is for this service.
    pub(crate) fn is_planned(&self, service: &str) -> bool {
        self.hub().published().is_some_and(|published| published.plan_of(service).is_some())
    }

    /// Lets a revoked service come back.
    pub(crate) fn reinstate(&self, service: &str) -> Result<(), IdentitiesError> {
        let trust = self.identities.reinstate(service)?;
        self.hub().set_trust(trust);
        self.changed();
        Ok(())
    }

    /// Rotates what is due.
    pub(crate) fn maintain(&self) {
        match self.identities.maintain() {
            Ok(None) => {}
            Ok(Some(trust)) => {
                self.hub().set_trust(trust);
                self.write_roots();
                self.changed();
            }
            Err(error) => tracing::error!(%error, "the authority could not be maintained"),
        }
        self.renew_edge();
    }

    /// Keeps the roots where those find them who ask the edge by `tls: auto`. Nothing of the system itself reads them there.
    pub(crate) fn write_roots(&self) {
        let written = self.identities.bundle().map_err(|error| error.to_string()).and_then(|bundle| {
            let path = self.data_dir.join(crate::server::ROOTS_FILE);
            store::replace(&path, bundle.to_pem().as_bytes(), Durable::No).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(error, "the authority's roots could not be written for clients of the edge");
        }
    }

    // --- seeing ---

    pub(crate) fn reported(&self, caller: &Caller, report: Report, now: Tick) {
        let kept = lock(&self.reports).keep(&caller.instance, &caller.service, report);
        lock(&self.edges).observe(&caller.instance, &caller.service, &kept, now);
    }

    /// The address is that of a socket that was opened at the start: another one is said once, and waits for the next.
    fn look_at_metrics(&self, now: Option<String>) {
        let mut wanted = lock(&self.metrics_wanted);
        let wanted = wanted.get_or_insert_with(|| MetricsWanted { at_start: now.clone(), last: now.clone() });
        if wanted.last != now && wanted.at_start != now {
            tracing::warn!("`observe.metrics` changed: where metrics are served changes at the next start");
        }
        wanted.last = now;
    }

    /// Where the manifest wants metrics to be served, as it says so.
    pub(crate) fn metrics_address(&self) -> Option<String> {
        self.hub().published().and_then(|published| published.metrics().map(str::to_owned))
    }

    /// Breakers that are not closed.
    pub(crate) fn breakers(&self) -> Vec<Breaker> {
        lock(&self.reports).breakers()
    }

    pub(crate) fn edges(&self) -> Vec<Edge> {
        lock(&self.edges).table(self.now())
    }

    pub(crate) fn metrics(&self, format: Format) -> String {
        let (instances, plans) = {
            let hub = self.hub();
            let versions = hub.published().map(|published| {
                published
                    .versions()
                    .map(|(service, version)| (service.to_owned(), version.to_owned()))
                    .collect()
            });
            (hub.instances(self.now()), versions.unwrap_or_default())
        };
        let reports = lock(&self.reports);
        let own = Own {
            counted: self.counters.rows(),
            instances,
            plans,
            now_unix_s: self.clock.unix_s(),
            samples_left_out: reports.left_out(),
            series_left_out: lock(&self.edges).dropped(),
        };
        reports.render(&own.families(), format)
    }

    // --- restart ---

    /// Writes down who is there, so that a killed control knows it when it is back.
    fn remember(&self) {
        let Some(addresses) = self.addresses.get() else { return };
        let now = self.now();
        let mut file = lock(&self.registry);
        let instances = self.hub().instances(now);
        let early = file.written != Tick::ZERO && now.since(file.written) < REGISTRY_INTERVAL;
        file.behind = early && instances.len() > REGISTRY_PROMPT_MAX;
        if file.behind {
            return;
        }
        file.written = now;
        let remembered = Remembered { mesh: addresses.mesh.to_string(), instances };
        let written = serde_json::to_vec(&remembered)
            .map_err(std::io::Error::from)
            .and_then(|bytes| store::replace(&self.data_dir.join(REGISTRY_FILE), &bytes, Durable::No));
        if let Err(error) = written {
            tracing::warn!(%error, "the registry could not be kept on disk");
        }
    }

    /// Takes up who was there when control ended, if it was this run of the system: the mesh listener outlives control and
    /// has a port of its own in each run. A registry that cannot be read leaves control waiting for everybody to come back
    /// before it says who is there.
    pub(crate) fn recall(&self, mesh: SocketAddr) {
        let now = self.now();
        let read = store::read(&self.data_dir.join(REGISTRY_FILE), FILE_BYTES_MAX);
        let parsed = read.map(|bytes| bytes.map(|bytes| serde_json::from_slice::<Remembered>(&bytes)));
        match parsed {
            Ok(None) => {}
            Ok(Some(Ok(remembered))) if remembered.mesh == mesh.to_string() => {
                self.hub().restore(remembered.instances, now);
            }
            Ok(Some(Ok(_other_run))) => {}
            Ok(Some(Err(_))) | Err(_) => {
                tracing::warn!(
                    "the registry cannot be read; waiting for the instances to say that they are there"
                );
                self.hub().settle(now);
            }
        }
    }
}

/// The trust domain of a system's plans.
pub(crate) fn trust_domain_of(plans: &Plans) -> Option<&str> {
    plans.gateway.iter().chain(plans.sidecars.values()).map(|plan| plan.trust_domain.as_str()).next()
}

/// A lock that a panic elsewhere did not make useless: what it guards is replaced whole or only counted up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
