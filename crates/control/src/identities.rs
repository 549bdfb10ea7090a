//! The authority and its registry of who enrolled, as the one process that has them uses them: whatever changes is stored
//! before anybody is answered.
//!
//! Open tokens are stored with the next change, not by themselves: who holds one that a crash made void asks for another,
//! and a system that starts mints one for each of its processes.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weft_model::wire::{EdgePair, Issued as IssuedMessage, Trust};
use weft_stdx::clock::Clock;
use weft_trust::authority::{Authority, AuthorityError, Issued};
use weft_trust::bundle::{Bundle, BundleError, RevocationList, trust_to_wire};
use weft_trust::enrol::{EnrolError, Enrolment, Placement, RevokedFull};
use weft_trust::identity::{IdError, Identity, Serial, SpiffeId, TrustDomain};
use weft_trust::key::{KeyError, NodeKey};
use weft_trust::mesh::{MeshError, MeshIdentity, MeshTls, MeshTrust};
use weft_trust::renewal::renew_at;
use weft_trust::store::{Passphrase, Store, StoreError, Warning};

use crate::hub::Caller;

/// How long a token waits for its process to start.
const TOKEN_TTL: Duration = Duration::from_secs(10 * 60);
/// How often keys and certificates are looked at where none of them is short-lived.
const MAINTAIN_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The store's name of the registry.
const REGISTRY: &str = "enrolment";

/// Why identities cannot be issued, stored or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentitiesError {
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority refuses.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The registry refuses.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The revocation list is full.
    #[error(transparent)]
    Revoked(#[from] RevokedFull),
    /// A name that cannot be part of an identity.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Control's own identity cannot be used.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The bundle cannot be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stored registry is damaged.
    #[error("the registry of enrolled instances is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// The certificate of the edge cannot be made.
    #[error("the edge's certificate request cannot be made: {0}")]
    Edge(#[from] rcgen::Error),
}

/// Whose identity is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoke {
    /// All of a service, until it is reinstated.
    Service(String),
    /// One instance; it may come back with a new token.
    Instance(String),
    /// Whoever holds the certificate with this serial number, hex.
    Serial(String),
}

/// Issues and revokes. One for the process.
pub(crate) struct Identities {
    inner: Mutex<Inner>,
    tls: MeshTls,
    own: Arc<MeshIdentity>,
    key: NodeKey,
    lifetime: Duration,
    clock: Clock,
}

struct Inner {
    authority: Authority,
    enrolment: Enrolment,
    store: Store,
    /// The registry as it was last stored. Kept for the next time, since it is written with every renewal, and a length of its
    /// own each time would take memory of a size of its own.
    text: Vec<u8>,
    edge: Option<Edge>,
    own_renewal: SystemTime,
    /// The authority changed, and that is neither stored nor told yet: the disk may be full.
    unsaved: bool,
}

/// The pair of the edge that was issued last.
struct Edge {
    names: Vec<String>,
    pair: EdgePair,
    renewal: SystemTime,
}

impl Identities {
    /// Opens or creates the authority in `dir`.
    pub(crate) fn open(
        dir: &Path,
        passphrase: Option<Passphrase>,
        domain: &TrustDomain,
        lifetime: Duration,
        clock: &Clock,
    ) -> Result<(Self, Option<Warning>), IdentitiesError> {
        let now = clock.wall();
        let store = Store::open(dir, passphrase)?;
        let warning = store.warning();
        let registry = store.read(REGISTRY)?;
        if let Some(lost) = what_is_lost(Authority::is_kept_in(&store)?, registry.is_some()) {
            tracing::warn!(dir = %dir.display(), "{lost}");
        }
        let authority = Authority::open(&store, domain, now)?;
        let enrolment = match &registry {
            Some(bytes) => serde_json::from_slice(bytes)?,
            None => Enrolment::default(),
        };
        let trust = MeshTrust::new(&authority.bundle()?, enrolment.revoked(now))?;
        let key = NodeKey::generate()?;
        let issued = authority.issue(&key.request()?, &SpiffeId::of_control(domain), lifetime, now)?;
        let own = MeshIdentity::from_issued(&key, &issued.chain, &trust, now)?;
        let tls = MeshTls::new(Arc::clone(&own), trust, clock)?;
        let own_renewal = renew_at(now, issued.not_after, 0.5);
        let mut inner =
            Inner { authority, enrolment, store, text: Vec::new(), edge: None, own_renewal, unsaved: false };
        if registry.is_none() {
            inner.save_registry()?;
        }
        Ok((Self { inner: Mutex::new(inner), tls, own, key, lifetime, clock: clock.clone() }, warning))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TLS of control's own listener.
    pub(crate) fn tls(&self) -> &MeshTls {
        &self.tls
    }

    /// The roots that everybody starts with.
    pub(crate) fn bundle(&self) -> Result<Bundle, IdentitiesError> {
        Ok(self.lock().authority.bundle()?)
    }

    /// The identity of a service here.
    pub(crate) fn id_of(&self, service: &str) -> Result<SpiffeId, IdentitiesError> {
        Ok(SpiffeId::of_service(self.tls.trust().trust_domain(), service)?)
    }

    /// A single-use token for a process that is about to be started.
    pub(crate) fn mint(&self, service: &str, instance: &str) -> Result<String, IdentitiesError> {
        let placement = Placement { instance: instance.to_owned(), id: self.id_of(service)? };
        Ok(self.lock().enrolment.mint(placement, TOKEN_TTL, self.clock.wall())?)
    }

    /// Trades a token.
    pub(crate) fn enrol(&self, token: &str, csr: &[u8]) -> Result<IssuedMessage, IdentitiesError> {
        let mut inner = self.lock();
        let Inner { authority, enrolment, .. } = &mut *inner;
        let (placement, issued) = enrolment.enrol(authority, token, csr, self.lifetime, self.clock.wall())?;
        inner.save_registry()?;
        self.message(&inner, &placement, issued)
    }

    /// Renews for the key that enrolled.
    pub(crate) fn renew(&self, instance: &str, csr: &[u8]) -> Result<IssuedMessage, IdentitiesError> {
        let mut inner = self.lock();
        let Inner { authority, enrolment, .. } = &mut *inner;
        let (placement, issued) =
            enrolment.renew(authority, instance, csr, self.lifetime, self.clock.wall())?;
        inner.save_registry()?;
        self.message(&inner, &placement, issued)
    }

    fn message(
        &self,
        inner: &Inner,
        placement: &Placement,
        issued: Issued,
    ) -> Result<IssuedMessage, IdentitiesError> {
        Ok(IssuedMessage {
            instance: placement.instance.clone(),
            chain: issued.chain,
            trust: Some(inner.trust(self.clock.wall())?.2),
            not_before: unix_s(issued.not_before),
            not_after: unix_s(issued.not_after),
        })
    }

    /// Who it is that proved `identity`, by the registry. `None`: nobody who enrolled here, or revoked.
    pub(crate) fn caller(&self, identity: &Identity) -> Option<Caller> {
        if self.tls.trust().is_revoked(identity) {
            return None;
        }
        let inner = self.lock();
        let (instance, enrolled) = inner.enrolment.instances().find(|(_, enrolled)| {
            enrolled.id == identity.id
                && enrolled.certificates.iter().any(|one| one.serial == identity.serial)
        })?;
        let newest = enrolled.certificates.last()?;
        Some(Caller {
            service: identity.id.service().to_owned(),
            instance: instance.to_owned(),
            serial: newest.serial.to_string(),
            expires_unix_s: newest.not_after_unix_s,
        })
    }

    /// The newest certificate of an instance: serial number in hex, and its end in seconds since the epoch.
    pub(crate) fn newest(&self, instance: &str) -> Option<(String, u64)> {
        let inner = self.lock();
        let newest = inner.enrolment.instance(instance)?.certificates.last()?;
        Some((newest.serial.to_string(), newest.not_after_unix_s))
    }

    /// Whether a caller that was let in would be refused now.
    pub(crate) fn is_revoked(&self, identity: &Identity) -> bool {
        self.tls.trust().is_revoked(identity)
    }

    /// Ends identities. Says whether there was anything to end; gives the trust that everybody must be told.
    /// A service is revoked for whoever may come, too: `planned` says whether the manifest has it. One that it lost counts
    /// while somebody is enrolled for it.
    pub(crate) fn revoke(&self, what: &Revoke, planned: bool) -> Result<Option<Trust>, IdentitiesError> {
        let now = self.clock.wall();
        let mut inner = self.lock();
        let found = match what {
            Revoke::Service(service) => {
                let id = self.id_of(service)?;
                let known = planned || inner.enrolment.instances().any(|(_, enrolled)| enrolled.id == id);
                if known {
                    inner.enrolment.revoke_service(&id)?;
                }
                known
            }
            Revoke::Instance(instance) => inner.enrolment.revoke_instance(instance, now)?,
            Revoke::Serial(serial) => inner.enrolment.revoke_serial(serial.parse::<Serial>()?, now)?,
        };
        if !found {
            return Ok(None);
        }
        inner.save_registry()?;
        self.apply(&inner, now).map(Some)
    }

    /// Lets a revoked service come back.
    pub(crate) fn reinstate(&self, service: &str) -> Result<Trust, IdentitiesError> {
        let now = self.clock.wall();
        let id = self.id_of(service)?;
        let mut inner = self.lock();
        inner.enrolment.reinstate(&id, now)?;
        inner.save_registry()?;
        self.apply(&inner, now)
    }

    /// An instance ended in order. Stored with the next change: lost in a crash, it is remembered for longer.
    pub(crate) fn leave(&self, instance: &str) {
        self.lock().enrolment.leave(instance);
    }

    /// What everybody must believe and refuse.
    pub(crate) fn trust(&self) -> Result<Trust, IdentitiesError> {
        Ok(self.lock().trust(self.clock.wall())?.2)
    }

    /// Puts roots and revocations in force for control itself.
    fn apply(&self, inner: &Inner, now: SystemTime) -> Result<Trust, IdentitiesError> {
        let (bundle, revoked, trust) = inner.trust(now)?;
        self.tls.trust().replace(&bundle, revoked)?;
        Ok(trust)
    }

    /// Does what is due: rotates keys of the authority, renews control's own identity, forgets what ran out. Gives the trust
    /// to be told where it changed.
    pub(crate) fn maintain(&self) -> Result<Option<Trust>, IdentitiesError> {
        let now = self.clock.wall();
        let mut inner = self.lock();
        inner.enrolment.sweep(now);
        inner.unsaved |= inner.authority.maintain(now)?.changed();
        // Control's own identity needs no disk: that is renewed before a full one is complained of.
        let told = if inner.unsaved { self.store_and_apply(&mut inner, now).map(Some) } else { Ok(None) };
        if now >= inner.own_renewal {
            let id = SpiffeId::of_control(inner.authority.trust_domain());
            let issued = inner.authority.issue(&self.key.request()?, &id, self.lifetime, now)?;
            self.own.replace(&self.key, &issued.chain, self.tls.trust(), now)?;
            inner.own_renewal = renew_at(now, issued.not_after, 0.5);
        }
        told
    }

    fn store_and_apply(&self, inner: &mut Inner, now: SystemTime) -> Result<Trust, IdentitiesError> {
        inner.authority.save(&inner.store)?;
        inner.unsaved = false;
        self.apply(inner, now)
    }

    /// Certificate and key of the edge (`tls: auto`). The same as before while the names are the same and it is not yet half
    /// through its life, so that a reload does not change it.
    pub(crate) fn edge(&self, names: &[String]) -> Result<EdgePair, IdentitiesError> {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if let Some(edge) = inner.edge.as_ref().filter(|edge| edge.names == names && now < edge.renewal) {
            return Ok(edge.pair.clone());
        }
        let key = rcgen::KeyPair::generate()?;
        let request = rcgen::CertificateParams::default().serialize_request(&key)?;
        let issued = inner.authority.issue_edge(request.der(), names, self.lifetime, now)?;
        let cert_pem = issued.chain.iter().map(|der| pem(der)).collect();
        let pair = EdgePair { cert_pem, key_pem: key.serialize_pem() };
        let renewal = renew_at(now, issued.not_after, 0.5);
        inner.edge = Some(Edge { names: names.to_vec(), pair: pair.clone(), renewal });
        Ok(pair)
    }

    /// How often [`Identities::maintain`] is to be called: a small part of the shortest life that it watches over.
    pub(crate) fn maintain_interval(&self) -> Duration {
        (self.lifetime / 10).clamp(Duration::from_secs(1), MAINTAIN_INTERVAL_MAX)
    }

    /// Whether the pair of the edge should be made anew.
    pub(crate) fn edge_is_due(&self) -> bool {
        let now = self.clock.wall();
        self.lock().edge.as_ref().is_some_and(|edge| now >= edge.renewal)
    }
}

impl Inner {
    fn save_registry(&mut self) -> Result<(), IdentitiesError> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, &self.enrolment)?;
        Ok(self.store.write(REGISTRY, &self.text)?)
    }

    fn trust(&self, now: SystemTime) -> Result<(Bundle, RevocationList, Trust), IdentitiesError> {
        let (bundle, revoked) = (self.authority.bundle()?, self.enrolment.revoked(now));
        let trust = trust_to_wire(&bundle, &revoked);
        Ok((bundle, revoked, trust))
    }
}

/// What to say where one of the two files of the store is there without the other: they are made together.
fn what_is_lost(authority: bool, registry: bool) -> Option<&'static str> {
    match (authority, registry) {
        (false, true) => Some(
            "the authority's keys are gone, so new ones are made: what runs with the old ones must be restarted \
             (`weft restart`), and clients of the edge need the new roots",
        ),
        (true, false) => Some(
            "the registry of enrolled instances is gone: what runs must be restarted (`weft restart`), and what was \
             revoked is not known any more",
        ),
        _ => None,
    }
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn unix_s(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
