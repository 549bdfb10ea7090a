//! The control process: joins the listeners with what they share, and runs until it is told to stop.

#[cfg(test)]
mod browser_test;
mod listen;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_model::plan::Plans;
use weft_stdx::clock::Clock;
use weft_trust::identity::TrustDomain;
use weft_trust::store::{Passphrase, Warning};

use crate::admin::AdminToken;
use crate::hub::Hub;
use crate::identities::{Identities, IdentitiesError};
use crate::reload::{self, Loaded, Manifest};
use crate::shared::{Addresses, Shared, trust_domain_of};
use crate::store::{self, Durable};

/// Where others find a running control: beside the data.
pub const CONTROL_FILE: &str = "control.json";
/// The authority's roots, PEM: what a client from outside must trust where the edge has `tls: auto`.
pub const ROOTS_FILE: &str = "roots.pem";
/// The admin API's token.
pub const TOKEN_FILE: &str = "admin.token";
/// How often what depends on time alone is looked at.
const TICK: Duration = Duration::from_millis(250);

/// What control is started with.
pub struct Settings {
    /// The system's data directory; exists.
    pub data_dir: PathBuf,
    /// Admin API and console; on loopback.
    pub admin: TcpListener,
    /// gRPC for the data planes.
    pub mesh: TcpListener,
    /// Metrics of the whole system. Where absent, the plan's address is bound, or a free port if that is taken.
    pub metrics: Option<TcpListener>,
    /// Where plans come from.
    pub manifest: Arc<dyn Manifest>,
    /// What the authority's keys are sealed with.
    pub passphrase: Option<Passphrase>,
    /// Life of the identities that are issued.
    pub identity_lifetime: Duration,
    /// Version of the executable.
    pub build: String,
    /// The process's clock.
    pub clock: Clock,
}

/// Why control does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifest is refused, and there are no plans from before.
    #[error("the manifest is refused\n{0}")]
    Manifest(String),
    /// The manifest makes no plan that could run.
    #[error("the manifest describes neither a service nor a gateway")]
    Nothing,
    /// The trust domain is not one.
    #[error("`{0}` cannot be a trust domain")]
    TrustDomain(String),
    /// The plans cannot be put in force.
    #[error("the plans cannot be put in force: {0}")]
    Activate(String),
    /// The authority does not open.
    #[error("the authority cannot be used: {0}")]
    Identities(#[from] IdentitiesError),
    /// The admin API would be open to others.
    #[error("the admin API must listen on a loopback address, not on {0}")]
    AdminNotLoopback(SocketAddr),
    /// TLS refuses its configuration.
    #[error("the mesh listener cannot be used: {0}")]
    Mesh(#[from] weft_trust::mesh::MeshError),
    /// The system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The content of [`CONTROL_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    /// `HOST:PORT` of the admin API.
    pub admin: String,
    /// `HOST:PORT` for the data planes.
    pub mesh: String,
    /// Process id.
    pub pid: u32,
}

/// A control that listens.
pub struct Server {
    shared: Arc<Shared>,
    manifest: Arc<dyn Manifest>,
    files: Vec<PathBuf>,
    listeners: listen::Listeners,
    addresses: Addresses,
    token: AdminToken,
    warning: Option<Warning>,
}

impl Server {
    /// Compiles the manifest, opens the authority, and listens. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Why it cannot start.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings {
            data_dir,
            admin,
            mesh,
            metrics,
            manifest,
            passphrase,
            identity_lifetime,
            build,
            clock,
        } = settings;
        let Loaded { files, outcome } = manifest.load();
        let (plans, refused) = first_plans(&data_dir, outcome)?;
        let named = trust_domain_of(&plans).ok_or(StartError::Nothing)?;
        let domain = TrustDomain::parse(named).map_err(|_| StartError::TrustDomain(named.to_owned()))?;
        let authority = data_dir.join("authority");
        let (identities, warning) =
            Identities::open(&authority, passphrase, &domain, identity_lifetime, &clock)?;
        let token = AdminToken::open(&data_dir.join(TOKEN_FILE)).map_err(io("make the admin token"))?;
        let hub = Hub::new(identities.trust()?);
        let shared = Shared::new(identities, hub, clock, build, data_dir.clone());
        shared.activate(plans).map_err(|error| StartError::Activate(error.to_string()))?;
        if let Some(rendered) = refused {
            shared.refuse_reload(rendered);
        }
        shared.write_roots();
        let wanted = shared.hub().published().and_then(|published| published.metrics().map(str::to_owned));
        let metrics = match metrics {
            Some(listener) => wanted.is_some().then_some(listener),
            None => {
                wanted.map(|address| bind_or_free(&address)).transpose().map_err(io("listen for metrics"))?
            }
        };
        let shared = Arc::new(shared);
        let listeners = listen::Listeners::new(&shared, admin, mesh, metrics)?;
        let addresses = listeners.addresses().map_err(io("listen"))?;
        shared.recall(addresses.mesh);
        // Set once, here: nothing was served before.
        let _ = shared.addresses.set(addresses);
        let file = ControlFile {
            admin: addresses.admin.to_string(),
            mesh: addresses.mesh.to_string(),
            pid: std::process::id(),
        };
        let json = serde_json::to_vec(&file).map_err(|error| io("describe itself")(error.into()))?;
        store::replace(&data_dir.join(CONTROL_FILE), &json, Durable::No).map_err(io("write control.json"))?;
        Ok(Self { shared, manifest, files, listeners, addresses, token, warning })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the operator should know.
    pub fn warning(&self) -> Option<&Warning> {
        self.warning.as_ref()
    }

    /// Serves until `stop`, and leaves no word of itself behind.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { shared, manifest, files, listeners, token, .. } = self;
        let following = reload::follow(Arc::clone(&shared), manifest, files);
        let following = async {
            following.await;
            // Without a watch the rest goes on.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop => {}
            () = listeners.serve(&shared, token) => {}
            () = following => {}
            () = keep_time(&shared) => {}
        }
        withdraw(&shared.data_dir.join(CONTROL_FILE));
    }
}

/// The plans to begin with, and the findings where they are not those of the manifest.
fn first_plans(
    data_dir: &Path,
    outcome: Result<Plans, String>,
) -> Result<(Plans, Option<String>), StartError> {
    match outcome {
        Ok(plans) => Ok((plans, None)),
        Err(rendered) => match Shared::plans_on_disk(data_dir) {
            Some(plans) => {
                tracing::error!("the manifest is refused, the plans before are in force again\n{rendered}");
                Ok((plans, Some(rendered)))
            }
            None => Err(StartError::Manifest(rendered)),
        },
    }
}

async fn keep_time(shared: &Shared) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let interval = shared.identities.maintain_interval();
    let mut maintained = shared.now();
    loop {
        ticks.tick().await;
        shared.tick();
        if shared.now().since(maintained) >= interval {
            maintained = shared.now();
            shared.maintain();
        }
    }
}

/// Removes the file if it is still ours: a successor may have written its own.
fn withdraw(path: &Path) {
    let ours = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ControlFile>(&bytes).ok())
        .is_some_and(|file| file.pid == std::process::id());
    if ours && let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, "control.json could not be removed");
    }
}

/// Binds `address`, or a free port of the same host where it is taken.
///
/// # Errors
/// The host is not one of this machine, or nothing is free.
pub fn bind_or_free(address: &str) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            TcpListener::bind(format!("{host}:0"))
        }
        bound => bound,
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}
