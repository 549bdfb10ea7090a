//! The authority: it alone can vouch for an identity, and it lives in the control process alone.
//!
//! Two tiers. The **root** (two years) signs nothing but issuing certificates, so it is what everyone's bundle
//! holds. The **issuing** key (seven days) signs leaves, and is replaced at half its life, so that a leaf never
//! has to be cut short. The next root is published 30 days before it is needed; when it takes over, the old one
//! stays in the bundle until the last certificate below it has run out.
//!
//! Pure: moments are passed in, randomness comes from the system's generator, and keys are kept by
//! [`crate::store::Store`] through [`Authority::open`].

mod state;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, DnsName};
use time::OffsetDateTime;

use crate::bundle::{Bundle, BundleError, ROOTS_MAX};
use crate::certificate::{CertificateError, validity_of};
use crate::identity::{IdError, Serial, SpiffeId, TrustDomain};
use crate::key::{KeyError, NodeKey};
use crate::request::{ProvenKey, RequestError};
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of a root (defaults: identity).
pub const ROOT_LIFE: Duration = DAY.saturating_mul(730);
/// Life of an issuing certificate (defaults: identity).
pub const ISSUING_LIFE: Duration = DAY.saturating_mul(7);
/// How long before the root ends the next one is published (defaults: identity).
pub const NEXT_ROOT_AHEAD: Duration = DAY.saturating_mul(30);
/// How long before the root ends the next one takes over by itself: two lives of an issuing certificate.
pub const ROOT_HANDOVER_AHEAD: Duration = DAY.saturating_mul(14);
/// How long a root must have been published before it takes over by itself, so that every process has it.
pub const ROOT_PUBLISHED_MIN: Duration = DAY;
/// A leaf counts from this long before it was issued, for clocks that differ.
pub const LEAF_BACKDATE: Duration = Duration::from_secs(30);
/// The same for roots and issuing certificates, whose exact beginning nobody relies on.
const AUTHORITY_BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Most names of an edge certificate.
pub const EDGE_NAMES_MAX: usize = 100;
/// The store's name of the sealed state.
const FILE: &str = "authority";

/// Issues identities for one trust domain.
pub struct Authority {
    domain: TrustDomain,
    root: Signing,
    next_root: Option<Signing>,
    old_roots: Vec<OldRoot>,
    issuing: Signing,
}

/// A key that signs certificates, with its own.
struct Signing {
    issuer: Issuer<'static, NodeKey>,
    certificate: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// A root whose key is gone, and which is believed until everything below it has run out.
struct OldRoot {
    certificate: CertificateDer<'static>,
    until: SystemTime,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER, leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's number.
    pub serial: Serial,
    /// The leaf's first moment.
    pub not_before: SystemTime,
    /// The leaf's last moment.
    pub not_after: SystemTime,
}

/// What [`Authority::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// There is a new issuing certificate.
    pub issuing_replaced: bool,
    /// The bundle has one root more.
    pub next_root_published: bool,
    /// The next root took over.
    pub root_replaced: bool,
    /// The bundle has fewer roots.
    pub old_roots_dropped: bool,
}

/// Why the authority does not issue, or cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The identity is of another trust domain.
    #[error("{0} is not of the authority's trust domain")]
    ForeignId(SpiffeId),
    /// The issuing certificate does not count now; [`Authority::maintain`] replaces it.
    #[error("the issuing certificate is not valid at this moment")]
    IssuingExpired,
    /// A life of no time.
    #[error("a certificate's life must be at least a second")]
    Lifetime,
    /// A name that cannot stand in an edge certificate.
    #[error("`{0}` is neither a host name nor an address")]
    EdgeName(String),
    /// No name, or too many.
    #[error("an edge certificate has 1 to {EDGE_NAMES_MAX} names")]
    EdgeNames,
    /// A root takes over only after it was published.
    #[error("the next root was not published yet")]
    NoNextRoot,
    /// More roots than a bundle may hold.
    #[error("there are {ROOTS_MAX} roots already; the oldest must run out first")]
    TooManyRoots,
    /// The moment is outside what a certificate can say.
    #[error("the clock shows a moment that no certificate can say")]
    Moment,
    /// Making a key, or signing, failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Making a certificate failed.
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate of the state cannot be read.
    #[error(transparent)]
    Unreadable(#[from] CertificateError),
    /// A name of the state cannot be read.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The roots make no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The stored state is damaged.
    #[error("the authority's stored state is damaged: {0}")]
    Damaged(String),
    /// The stored state is of another trust domain.
    #[error(
        "the stored authority is of trust domain {found}, not {expected}; give it a data directory of its own"
    )]
    OtherDomain {
        /// What is stored.
        found: TrustDomain,
        /// What was asked for.
        expected: TrustDomain,
    },
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Authority {
    /// Opens the authority that `store` keeps, or creates one on the first start, and maintains it.
    ///
    /// # Errors
    /// A store that refuses, a damaged state, or one of another trust domain.
    pub fn open(store: &Store, domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let (mut authority, mut dirty) = match store.read(FILE)? {
            Some(bytes) => (Self::from_state(&bytes)?, false),
            None => (Self::create(domain.clone(), now)?, true),
        };
        if authority.domain != *domain {
            return Err(AuthorityError::OtherDomain { found: authority.domain, expected: domain.clone() });
        }
        dirty |= authority.maintain(now)?.changed();
        if dirty {
            authority.save(store)?;
        }
        Ok(authority)
    }

    /// Whether `store` keeps an authority, so that [`Authority::open`] makes no new one.
    ///
    /// # Errors
    /// A store that refuses.
    pub fn is_kept_in(store: &Store) -> Result<bool, StoreError> {
        Ok(store.read(FILE)?.is_some())
    }

    /// Writes the state. To be called whenever [`Maintained::changed`], before the new bundle is sent to anyone.
    ///
    /// # Errors
    /// Where the store fails; what was stored before is then still there.
    pub fn save(&self, store: &Store) -> Result<(), AuthorityError> {
        Ok(store.write(FILE, &self.to_state()?)?)
    }

    /// A new authority with new keys.
    ///
    /// # Errors
    /// Where the system has no randomness, or the clock shows nonsense.
    pub fn create(domain: TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let root = Signing::new_root(&domain, now)?;
        let issuing = root.new_issuing(&domain, now)?;
        Ok(Self { domain, root, next_root: None, old_roots: Vec::new(), issuing })
    }

    /// Does what is due: replaces the issuing key at half its life, publishes the next root and lets it take over,
    /// drops old roots. To be called at the start and about hourly.
    ///
    /// # Errors
    /// Where a key or certificate cannot be made; what was in force stays so.
    pub fn maintain(&mut self, now: SystemTime) -> Result<Maintained, AuthorityError> {
        let mut done = Maintained::default();
        let roots = self.old_roots.len();
        self.old_roots.retain(|old| now <= old.until);
        done.old_roots_dropped = self.old_roots.len() < roots;
        if self.next_root.is_none() && self.root.remaining(now) <= NEXT_ROOT_AHEAD {
            self.publish_next_root(now)?;
            done.next_root_published = true;
        }
        if self.handover_is_due(now) {
            self.rotate_root(now)?;
            done.root_replaced = true;
            done.issuing_replaced = true;
        } else if self.issuing.remaining(now) <= ISSUING_LIFE / 2 || now < self.issuing.not_before {
            self.issuing = self.root.new_issuing(&self.domain, now)?;
            done.issuing_replaced = true;
        }
        Ok(done)
    }

    /// Adds the next root to the bundle, so that every process believes it before it signs anything. Does nothing
    /// where one is published already.
    ///
    /// # Errors
    /// Where a key cannot be made, or the bundle is full.
    pub fn publish_next_root(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        if self.next_root.is_some() {
            return Ok(());
        }
        if self.old_roots.len() + 2 > ROOTS_MAX {
            return Err(AuthorityError::TooManyRoots);
        }
        self.next_root = Some(Signing::new_root(&self.domain, now)?);
        Ok(())
    }

    /// Lets the published next root take over, with a new issuing key below it. The old root's key is forgotten; its
    /// certificate is believed until what it vouches for has run out.
    ///
    /// # Errors
    /// [`AuthorityError::NoNextRoot`]; where a key cannot be made, everything stays as it was.
    pub fn rotate_root(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        let next = self.next_root.as_ref().ok_or(AuthorityError::NoNextRoot)?;
        let issuing = next.new_issuing(&self.domain, now)?;
        let Some(next) = self.next_root.take() else { return Err(AuthorityError::NoNextRoot) };
        let old = std::mem::replace(&mut self.root, next);
        let until = self.issuing.not_after.min(old.not_after);
        self.old_roots.push(OldRoot { certificate: old.certificate, until });
        self.issuing = issuing;
        Ok(())
    }

    /// What everyone is to verify against: the root in force, the next one, and old ones.
    ///
    /// # Errors
    /// Only where a certificate of the state is damaged.
    pub fn bundle(&self) -> Result<Bundle, AuthorityError> {
        let roots = std::iter::once(&self.root.certificate)
            .chain(self.next_root.iter().map(|next| &next.certificate))
            .chain(self.old_roots.iter().map(|old| &old.certificate));
        Ok(Bundle::new(self.domain.clone(), roots.map(|root| root.to_vec()))?)
    }

    /// Whom the authority speaks for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The last moment of the root in force, for `weft status`.
    pub fn root_not_after(&self) -> SystemTime {
        self.root.not_after
    }

    /// Issues the identity `id` for the key of `request` (PKCS#10, DER). Nothing but the key is taken from the
    /// request. The certificate lives `lifetime` from `now`, or until the issuing certificate ends.
    ///
    /// # Errors
    /// A request that does not prove its key, an identity of another trust domain, a life of no time.
    pub fn issue(
        &self,
        request: &[u8],
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        self.issue_for(&ProvenKey::from_request(request)?, id, lifetime, now)
    }

    /// [`Authority::issue`] for a key that was proven already.
    pub(crate) fn issue_for(
        &self,
        key: &ProvenKey,
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        if !id.is_of(&self.domain) {
            return Err(AuthorityError::ForeignId(id.clone()));
        }
        let names = vec![uri(id.as_str())?];
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(key, names, usages, lifetime, now)
    }

    /// Issues a server certificate for the edge: `names` are host names, also `*.example.test`, and addresses. It
    /// is of no use in the mesh, because it names no identity.
    ///
    /// # Errors
    /// As [`Authority::issue`], and names that cannot stand in a certificate.
    pub fn issue_edge(
        &self,
        request: &[u8],
        names: &[String],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        let key = ProvenKey::from_request(request)?;
        if names.is_empty() || names.len() > EDGE_NAMES_MAX {
            return Err(AuthorityError::EdgeNames);
        }
        let names: Result<Vec<_>, _> = names.iter().map(|name| edge_name(name)).collect();
        self.leaf(&key, names?, vec![ExtendedKeyUsagePurpose::ServerAuth], lifetime, now)
    }

    fn leaf(
        &self,
        key: &ProvenKey,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        if lifetime < Duration::from_secs(1) {
            return Err(AuthorityError::Lifetime);
        }
        if now < self.issuing.not_before || now >= self.issuing.not_after {
            return Err(AuthorityError::IssuingExpired);
        }
        let end = now.checked_add(lifetime).unwrap_or(self.issuing.not_after).min(self.issuing.not_after);
        let mut params = blank(now, LEAF_BACKDATE, end)?;
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        let (leaf, serial) = sign(params, key, &self.issuing.issuer)?;
        let (not_before, not_after) = validity_of(&leaf)?;
        let chain = vec![leaf.to_vec(), self.issuing.certificate.to_vec()];
        Ok(Issued { chain, serial, not_before, not_after })
    }

    fn handover_is_due(&self, now: SystemTime) -> bool {
        let Some(next) = &self.next_root else { return false };
        let left = self.root.remaining(now);
        let published = now.duration_since(next.not_before).unwrap_or_default();
        (left <= ROOT_HANDOVER_AHEAD && published >= ROOT_PUBLISHED_MIN) || left <= ROOT_PUBLISHED_MIN
    }
}

impl Maintained {
    /// Whether the state must be saved, and the bundle sent.
    pub fn changed(self) -> bool {
        self.issuing_replaced || self.next_root_published || self.root_replaced || self.old_roots_dropped
    }
}

impl Signing {
    fn new_root(domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = NodeKey::generate()?;
        let end = now.checked_add(ROOT_LIFE).ok_or(AuthorityError::Moment)?;
        let mut params = authority_params(domain, "Weft root", 1, now, end)?;
        params.serial_number = Some(random_serial()?);
        let certificate = params.self_signed(&key)?.der().clone();
        Self::of(key, certificate)
    }

    /// A new issuing certificate below this root.
    fn new_issuing(&self, domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = NodeKey::generate()?;
        let end = now.checked_add(ISSUING_LIFE).ok_or(AuthorityError::Moment)?.min(self.not_after);
        let params = authority_params(domain, "Weft issuing", 0, now, end)?;
        let (certificate, _) = sign(params, &key, &self.issuer)?;
        Self::of(key, certificate)
    }

    fn of(key: NodeKey, certificate: CertificateDer<'static>) -> Result<Self, AuthorityError> {
        let (not_before, not_after) = validity_of(&certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate, not_before, not_after })
    }

    fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }
}

/// Parameters of a certificate that signs others. It names its trust domain (X509-SVID section 3.2), and its
/// common name has a random part, so that two roots of one domain are told apart by every verifier.
fn authority_params(
    domain: &TrustDomain,
    what: &str,
    below_max: u8,
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = blank(now, AUTHORITY_BACKDATE, end)?;
    let mut tag = [0; 4];
    aws_lc_rs::rand::fill(&mut tag).map_err(|_| KeyError)?;
    params.distinguished_name.push(DnType::CommonName, format!("{what} {:08x}", u32::from_be_bytes(tag)));
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below_max));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Parameters that say nothing yet, valid from `backdate` before `now` to `end`.
fn blank(now: SystemTime, backdate: Duration, end: SystemTime) -> Result<CertificateParams, AuthorityError> {
    let start = now.checked_sub(backdate).ok_or(AuthorityError::Moment)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(start)?;
    params.not_after = moment(end)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn sign(
    mut params: CertificateParams,
    key: &impl PublicKeyData,
    issuer: &Issuer<'static, NodeKey>,
) -> Result<(CertificateDer<'static>, Serial), AuthorityError> {
    let number = random_serial()?;
    let serial = Serial::from_be_bytes(&number.to_bytes())?;
    params.serial_number = Some(number);
    Ok((params.signed_by(key, issuer)?.der().clone(), serial))
}

/// 128 bits of which 126 are random: positive, and always of one length (RFC 5280 section 4.1.2.2).
fn random_serial() -> Result<SerialNumber, KeyError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError)?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn moment(time: SystemTime) -> Result<OffsetDateTime, AuthorityError> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| AuthorityError::Moment)?;
    let seconds = i64::try_from(since_epoch.as_secs()).map_err(|_| AuthorityError::Moment)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Moment)
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

fn edge_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    if DnsName::try_from(host).is_err() {
        return Err(AuthorityError::EdgeName(name.to_owned()));
    }
    Ok(SanType::DnsName(Ia5String::try_from(name.to_ascii_lowercase())?))
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
