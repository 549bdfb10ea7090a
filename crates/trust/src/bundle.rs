//! What peers are verified against: the roots of one trust domain, and what was revoked.
//!
//! Both come from control, both are replaced as a whole while connections live. A bundle holds several roots while
//! one root takes over from another.

use std::collections::HashSet;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weft_model::wire;

use crate::identity::{IdError, Identity, Serial, SpiffeId, TrustDomain};
use crate::request::KeyFingerprint;

/// Most roots of one bundle: one in force, one to come, and those whose last certificates run out.
pub const ROOTS_MAX: usize = 8;
/// Most bytes of one root.
pub const ROOT_BYTES_MAX: usize = 8 * 1024;
/// Most serial numbers of a revocation list: at 20 bytes each a list stays under 2 MiB in memory.
pub const REVOKED_SERIALS_MAX: usize = 65_536;
/// Most keys of a revocation list.
pub const REVOKED_KEYS_MAX: usize = 16_384;
/// Most identities of a revocation list.
pub const REVOKED_IDS_MAX: usize = 4_096;

/// The roots of one trust domain; at least one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BundleText", into = "BundleText")]
pub struct Bundle {
    domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
}

/// What is refused although it is valid otherwise: certificates by serial number, processes by key, services by identity.
///
/// Keys are there for connections that outlived the certificates they began with: those are in no registry any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationList {
    serials: HashSet<Serial>,
    keys: HashSet<KeyFingerprint>,
    ids: HashSet<SpiffeId>,
}

/// Why roots or revocations are refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// None, or more than the limit.
    #[error("a trust bundle has 1 to {ROOTS_MAX} roots")]
    Count,
    /// Root number `.0`, from 0, is not base64 or not a certificate that can anchor a chain.
    #[error("root {0} of the trust bundle is not a certificate")]
    Root(usize),
    /// More revocations than the limits.
    #[error(
        "a revocation list has at most {REVOKED_SERIALS_MAX} serial numbers, {REVOKED_KEYS_MAX} keys and {REVOKED_IDS_MAX} identities"
    )]
    TooManyRevoked,
    /// A revoked serial number or identity that cannot be read.
    #[error("the revocation list cannot be read: {0}")]
    Revoked(#[from] IdError),
    /// A revoked key that cannot be read.
    #[error("the revocation list has a key that is not a SHA-256")]
    RevokedKey,
}

impl Bundle {
    /// The bundle of `domain` with `roots`, DER.
    ///
    /// # Errors
    /// Too few or many roots, or one that is not a certificate.
    pub fn new<R: Into<Vec<u8>>>(
        domain: TrustDomain,
        roots: impl IntoIterator<Item = R>,
    ) -> Result<Self, BundleError> {
        let roots: Vec<_> =
            roots.into_iter().take(ROOTS_MAX + 1).map(|der| CertificateDer::from(der.into())).collect();
        if roots.is_empty() || roots.len() > ROOTS_MAX {
            return Err(BundleError::Count);
        }
        let bundle = Self { domain, roots };
        bundle.anchors()?;
        Ok(bundle)
    }

    /// Whose roots they are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The roots; the one in force first.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// SHA-256 of each root, hexadecimal, for people to compare.
    pub fn fingerprints(&self) -> Vec<String> {
        let hex = |der: &CertificateDer<'_>| {
            digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        self.roots.iter().map(hex).collect()
    }

    /// The roots as PEM, for programs that take a file.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|der| pem("CERTIFICATE", der)).collect()
    }

    pub(crate) fn anchors(&self) -> Result<RootCertStore, BundleError> {
        let mut store = RootCertStore::empty();
        for (index, root) in self.roots.iter().enumerate() {
            if root.len() > ROOT_BYTES_MAX {
                return Err(BundleError::Root(index));
            }
            store.add(root.clone()).map_err(|_| BundleError::Root(index))?;
        }
        Ok(store)
    }
}

impl RevocationList {
    /// A list of these serial numbers and identities.
    ///
    /// # Errors
    /// Beyond the limits.
    pub fn new(
        serials: impl IntoIterator<Item = Serial>,
        ids: impl IntoIterator<Item = SpiffeId>,
    ) -> Result<Self, BundleError> {
        let serials: HashSet<_> = serials.into_iter().take(REVOKED_SERIALS_MAX + 1).collect();
        let ids: HashSet<_> = ids.into_iter().take(REVOKED_IDS_MAX + 1).collect();
        if serials.len() > REVOKED_SERIALS_MAX || ids.len() > REVOKED_IDS_MAX {
            return Err(BundleError::TooManyRevoked);
        }
        Ok(Self { serials, keys: HashSet::new(), ids })
    }

    /// A list from its source, which keeps the limits itself; whatever it holds, nothing may be left out.
    pub(crate) fn of(
        serials: HashSet<Serial>,
        keys: HashSet<KeyFingerprint>,
        ids: HashSet<SpiffeId>,
    ) -> Self {
        Self { serials, keys, ids }
    }

    /// Whether `identity`, by its certificate, its key or its service, is on the list.
    pub fn contains(&self, identity: &Identity) -> bool {
        self.serials.contains(&identity.serial)
            || self.keys.contains(&identity.key)
            || self.ids.contains(&identity.id)
    }

    /// Serial numbers, keys and identities on the list.
    pub fn len(&self) -> usize {
        self.serials.len() + self.keys.len() + self.ids.len()
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What control sends its processes.
pub fn trust_to_wire(bundle: &Bundle, revoked: &RevocationList) -> wire::Trust {
    let mut serials: Vec<_> = revoked.serials.iter().map(|serial| serial.as_be_bytes().to_vec()).collect();
    let mut ids: Vec<_> = revoked.ids.iter().map(|id| id.as_str().to_owned()).collect();
    let mut keys: Vec<_> = revoked.keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    serials.sort_unstable();
    keys.sort_unstable();
    ids.sort_unstable();
    wire::Trust {
        roots: bundle.roots.iter().map(|root| root.to_vec()).collect(),
        revoked_serials: serials,
        revoked_ids: ids,
        revoked_keys: keys,
    }
}

/// What a process makes of what control sent. The trust domain is the one that it enrolled in, not one that is sent.
///
/// # Errors
/// Anything unreadable or beyond a limit: the whole of it is refused, and the old stays in force.
pub fn trust_from_wire(
    domain: &TrustDomain,
    trust: &wire::Trust,
) -> Result<(Bundle, RevocationList), BundleError> {
    let bundle = Bundle::new(domain.clone(), trust.roots.iter().cloned())?;
    if trust.revoked_serials.len() > REVOKED_SERIALS_MAX
        || trust.revoked_keys.len() > REVOKED_KEYS_MAX
        || trust.revoked_ids.len() > REVOKED_IDS_MAX
    {
        return Err(BundleError::TooManyRevoked);
    }
    let serials: Result<Vec<_>, _> =
        trust.revoked_serials.iter().map(|bytes| Serial::from_be_bytes(bytes)).collect();
    let ids: Result<Vec<_>, _> = trust.revoked_ids.iter().map(|text| SpiffeId::parse(text)).collect();
    let keys: Option<HashSet<_>> =
        trust.revoked_keys.iter().map(|bytes| KeyFingerprint::from_bytes(bytes)).collect();
    let mut revoked = RevocationList::new(serials?, ids?)?;
    revoked.keys = keys.ok_or(BundleError::RevokedKey)?;
    Ok((bundle, revoked))
}

/// How a bundle is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleText {
    trust_domain: TrustDomain,
    /// DER, base64.
    roots: Vec<String>,
}

impl TryFrom<BundleText> for Bundle {
    type Error = BundleError;

    fn try_from(text: BundleText) -> Result<Self, BundleError> {
        if text.roots.len() > ROOTS_MAX {
            return Err(BundleError::Count);
        }
        let mut roots = Vec::with_capacity(text.roots.len());
        for (index, root) in text.roots.iter().enumerate() {
            roots.push(BASE64_STANDARD.decode(root).map_err(|_| BundleError::Root(index))?);
        }
        Self::new(text.trust_domain, roots)
    }
}

impl From<Bundle> for BundleText {
    fn from(bundle: Bundle) -> Self {
        let roots = bundle.roots.iter().map(|root| BASE64_STANDARD.encode(root)).collect();
        Self { trust_domain: bundle.domain, roots }
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("domain", &self.domain).field("roots", &self.fingerprints()).finish()
    }
}

/// RFC 7468: base64 in lines of 64 between a pair of labels.
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64_STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
