//! The data plane's side of `Watch`: gets an identity, keeps it fresh, and keeps the process told.
//!
//! [`Link::enrol`] trades the single-use token for an identity; [`Link::run`] then keeps a stream to control open: plans,
//! endpoints and trust come down and are applied to the [`DataPlane`], acknowledgements, presence and counters go up.
//! Control may be away at any time: what was applied stays in force, the last good plan is on disk, and the stream is tried
//! again with full jitter. Keys are never on disk: a process that starts again while control is away is given what its
//! supervisor kept of the one before ([`Link::start`]), and takes the plan on disk. A new one waits in `enrol`.
//!
//! Call them on a current-thread runtime of their own, beside the runtimes that carry traffic.

mod kept;
mod plans;
mod renew;
mod watch_stream;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_model::plan::Plan;
use weft_model::wire::{EdgePair, Endpoints, EnrolRequest, Issued, Presence, RenewRequest, Report};
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;
use weft_trust::bootstrap::Bootstrap;
use weft_trust::bundle::trust_from_wire;
use weft_trust::identity::{Identity, SpiffeId};
use weft_trust::keepsake::Keepsake;
use weft_trust::key::NodeKey;
use weft_trust::mesh::{MeshIdentity, MeshTls, MeshTrust, mesh_server_name};

use crate::grpc::client::Connection;
use crate::grpc::{Code, Status};

use kept::{Keepsakes, Kept};
pub use plans::Stored;

/// Longest pause between two tries to reach control.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Shortest pause: a control that is just starting is there in a moment.
pub const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Time between reports of counters.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process without a plan waits for control's before it takes the one on disk.
pub const PLAN_WAIT: Duration = Duration::from_secs(1);

/// What is spoken with control.
const ALPN: &[&[u8]] = &[b"h2"];

/// What a link drives: the process's data plane. Calls come one at a time, from the link's thread.
pub trait DataPlane: Send + Sync {
    /// Acquire, then activate: on `Ok` the plan is in force, on `Err` (why, for people) the old one goes on.
    fn apply_plan(&self, plan: Plan, edge: Option<EdgePair>) -> Result<(), String>;
    /// The plan that control sent was not taken, for this reason. Nothing is to be done where another one is in force.
    fn plan_refused(&self, _reason: &str) {}
    /// All instances of all upstreams; replaces what was told before.
    fn apply_endpoints(&self, endpoints: Endpoints);
    /// Roots or revocations changed (they are in force in [`Link::tls`] already): close connections of peers that
    /// `MeshTrust::is_revoked` names.
    fn trust_changed(&self);
    /// What to start again with while control is away ([`Link::start`]); replaces what was given before.
    fn keep(&self, _keepsake: Keepsake) {}
    /// Counters since the start of the process.
    fn report(&self) -> Pin<Box<dyn Future<Output = Report> + Send>>;
}

/// What a link is made from.
#[derive(Debug)]
pub struct Settings {
    /// Where control is, the token, whom to believe, and who we are.
    pub bootstrap: Bootstrap,
    /// The system's data directory; the last good plan is `plans/<instance>.json` in it.
    pub data_dir: PathBuf,
    /// Version of the executable, for `weft status`.
    pub build: String,
    /// The process's clock.
    pub clock: Clock,
}

/// What the process says about itself; each change goes up at once.
#[derive(Debug, Clone)]
pub struct Says {
    /// Where the instance is reached and how it is.
    pub presence: watch::Receiver<Presence>,
    /// Isolation tier in force; empty where it does not apply.
    pub isolation: watch::Receiver<String>,
    /// `true` ends the link, once what was said before is on its way.
    pub stop: watch::Receiver<bool>,
}

/// Why there is no identity. All of them are final; being unable to reach control is not one of them.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The bootstrap cannot be used.
    #[error("the bootstrap cannot be used: {0}")]
    Bootstrap(String),
    /// Control refused: the token was used, ran out, or is not one.
    #[error("control refused to enrol this process: {0}")]
    Refused(Status),
    /// What control issued cannot be used.
    #[error("control issued an identity that cannot be used: {0}")]
    Issued(String),
    /// No key could be made.
    #[error("no key could be made")]
    Key,
}

/// A process's tie to control. Holds its key, which never leaves memory.
#[derive(Debug)]
pub struct Link {
    address: String,
    instance: String,
    role: &'static str,
    settings: Lasting,
    key: NodeKey,
    keepsakes: Arc<Keepsakes>,
    identity: Arc<MeshIdentity>,
    tls: MeshTls,
    anonymous: MeshTls,
    control: SpiffeId,
    rng: Rng,
}

#[derive(Debug)]
struct Lasting {
    data_dir: PathBuf,
    build: String,
    clock: Clock,
}

impl Link {
    /// Is again what it was, by what [`DataPlane::keep`] got of an earlier process; without that, or where it is too old,
    /// enrols.
    ///
    /// # Errors
    /// As [`Link::enrol`].
    pub async fn start(settings: Settings, keepsake: Option<Keepsake>) -> Result<Self, LinkError> {
        let Some(keepsake) = keepsake else { return Self::enrol(settings).await };
        match Self::resume(&settings, &keepsake) {
            Ok(link) => Ok(link),
            Err(error) => {
                tracing::warn!(%error, "the identity of before cannot be used");
                Self::enrol(settings).await
            }
        }
    }

    fn resume(settings: &Settings, keepsake: &Keepsake) -> Result<Self, LinkError> {
        let (trust, anonymous) = strangers(settings)?;
        let (key, kept) = kept::open(keepsake).map_err(|_| LinkError::Key)?;
        Self::with(settings, key, kept, trust, anonymous, Rng::from_process())
    }

    /// Gets an identity from control, waiting for control as long as it takes.
    ///
    /// # Errors
    /// Why there will be none with this bootstrap.
    pub async fn enrol(settings: Settings) -> Result<Self, LinkError> {
        let (trust, anonymous) = strangers(&settings)?;
        let bootstrap = &settings.bootstrap;
        let control = bootstrap.control_id();
        let key = NodeKey::generate().map_err(|_| LinkError::Key)?;
        let request = EnrolRequest {
            token: bootstrap.token().to_owned(),
            csr: key.request().map_err(|_| LinkError::Key)?,
        };
        let mut rng = Rng::from_process();
        let asking = Asking {
            address: &bootstrap.control,
            instance: &bootstrap.instance,
            tls: &anonymous,
            control: &control,
        };
        let issued = asking.until_answered(&request, &mut rng).await?;
        if issued.instance != bootstrap.instance {
            return Err(LinkError::Issued(format!("it is for instance `{}`", issued.instance)));
        }
        let kept = Kept { chain: issued.chain, trust: issued.trust, edge: None };
        Self::with(&settings, key, kept, trust, anonymous, rng)
    }

    fn with(
        settings: &Settings,
        key: NodeKey,
        kept: Kept,
        trust: Arc<MeshTrust>,
        anonymous: MeshTls,
        rng: Rng,
    ) -> Result<Self, LinkError> {
        let Settings { bootstrap, data_dir, build, clock } = settings;
        if let Some(told) = &kept.trust {
            replace_trust(&trust, told).map_err(LinkError::Issued)?;
        }
        let unusable = |error: weft_trust::mesh::MeshError| LinkError::Issued(error.to_string());
        let identity =
            MeshIdentity::from_issued(&key, &kept.chain, &trust, clock.wall()).map_err(unusable)?;
        if identity.current().id != bootstrap.id {
            return Err(LinkError::Issued(format!("it is that of {}", identity.current().id)));
        }
        let tls = MeshTls::new(Arc::clone(&identity), trust, clock).map_err(unusable)?;
        let gateway = identity.current().id.service() == crate::hub::GATEWAY;
        Ok(Self {
            address: bootstrap.control.clone(),
            instance: bootstrap.instance.clone(),
            role: if gateway { "gateway" } else { "sidecar" },
            settings: Lasting { data_dir: data_dir.clone(), build: build.clone(), clock: clock.clone() },
            keepsakes: Arc::new(Keepsakes::new(key.clone(), kept)),
            key,
            identity,
            tls,
            anonymous,
            control: bootstrap.control_id(),
            rng,
        })
    }

    /// TLS of the mesh with this process's identity, whatever it is at the moment of a handshake.
    pub fn tls(&self) -> &MeshTls {
        &self.tls
    }

    /// The identity in force.
    pub fn identity(&self) -> Identity {
        self.identity.current()
    }

    /// The last good plan on disk, if there is one that this build understands.
    pub fn stored(&self) -> Option<Stored> {
        plans::read(&self.settings.data_dir, &self.instance)
    }

    /// Keeps the process told and its identity fresh until `says.stop`. Applies the plan on disk if control's does not
    /// come within [`PLAN_WAIT`].
    pub async fn run(mut self, plane: Arc<dyn DataPlane>, says: Says) {
        self.keepsakes.give(&*plane);
        let renewing = self.renewing();
        let renewed_plane = Arc::clone(&plane);
        // Renewal has a connection of its own and never ends; the stream ends on `stop`.
        tokio::select! {
            () = renewing.run(renewed_plane) => {}
            () = watch_stream::run(&mut self, plane, says) => {}
        }
    }

    fn renewing(&mut self) -> renew::Renewing {
        renew::Renewing {
            address: self.address.clone(),
            instance: self.instance.clone(),
            control: self.control.clone(),
            key: self.key.clone(),
            keepsakes: Arc::clone(&self.keepsakes),
            identity: Arc::clone(&self.identity),
            tls: self.tls.clone(),
            anonymous: self.anonymous.clone(),
            clock: self.settings.clock.clone(),
            rng: self.rng.fork(),
        }
    }

    /// Renews at once.
    #[cfg(test)]
    pub(crate) async fn renew(&mut self, plane: &dyn DataPlane) -> Result<(), Status> {
        self.renewing().renew(plane).await
    }
}

/// What is known before there is an identity: whom to believe, and TLS as nobody.
fn strangers(settings: &Settings) -> Result<(Arc<MeshTrust>, MeshTls), LinkError> {
    if !plans::is_file_name(&settings.bootstrap.instance) {
        return Err(LinkError::Bootstrap("the instance name cannot be that of a file".to_owned()));
    }
    let unusable = |error: weft_trust::mesh::MeshError| LinkError::Bootstrap(error.to_string());
    let trust = settings.bootstrap.trust().map_err(unusable)?;
    let anonymous = MeshTls::anonymous(Arc::clone(&trust), &settings.clock).map_err(unusable)?;
    Ok((trust, anonymous))
}

/// Whom to ask for an identity, and how.
struct Asking<'a> {
    address: &'a str,
    instance: &'a str,
    tls: &'a MeshTls,
    control: &'a SpiffeId,
}

impl Asking<'_> {
    /// Asks to enrol until there is an answer, or a refusal that no second try changes.
    async fn until_answered(&self, request: &EnrolRequest, rng: &mut Rng) -> Result<Issued, LinkError> {
        let mut step = 0_u32;
        let refused = loop {
            match self.once("Enrol", request).await {
                Ok(issued) => return Ok(issued),
                Err(status) if is_final(status.code) => break status,
                Err(status) => {
                    tracing::info!(control = self.address, reason = %status, "waiting for control to enrol");
                }
            }
            tokio::time::sleep(rng.backoff(BACKOFF_MIN, BACKOFF_MAX, step)).await;
            step = step.saturating_add(1);
        };
        if step > 0 {
            // An earlier try may have been answered and its answer lost: then the token is used, and the key is known.
            let request = RenewRequest { instance: self.instance.to_owned(), csr: request.csr.clone() };
            if let Ok(issued) = self.once("Renew", &request).await {
                return Ok(issued);
            }
        }
        Err(LinkError::Refused(refused))
    }

    async fn once(&self, method: &str, request: &impl prost::Message) -> Result<Issued, Status> {
        connect(self.address, self.tls, self.control).await?.unary(method, request).await
    }
}

/// Opens a connection to whoever proves to be control.
async fn connect(address: &str, tls: &MeshTls, control: &SpiffeId) -> Result<Connection, Status> {
    Connection::open(address, tls.client_for(control, ALPN), mesh_server_name()).await
}

fn is_final(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument)
}

/// Puts roots and revocations in force. They are of our own trust domain, or refused as a whole.
fn replace_trust(trust: &MeshTrust, told: &weft_model::wire::Trust) -> Result<bool, String> {
    let (bundle, revoked) = trust_from_wire(trust.trust_domain(), told).map_err(|error| error.to_string())?;
    trust.replace(&bundle, revoked).map_err(|error| error.to_string())
}
