//! The authority's state as bytes, for the sealed store. It holds secret keys, so every buffer here is wiped.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Authority, AuthorityError, OldRoot, Signing};
use crate::bundle::ROOTS_MAX;
use crate::certificate::is_of_key;
use crate::identity::TrustDomain;
use crate::key::NodeKey;

/// What this build writes and reads.
const FORMAT: u32 = 1;
/// Room for the whole text, so that it is not moved while it grows and no copy of a key is left behind.
const STATE_BYTES_HINT: usize = 32 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    trust_domain: TrustDomain,
    root: SigningState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_root: Option<SigningState>,
    old_roots: Vec<OldRootState>,
    issuing: SigningState,
}

/// Both base64 of DER.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SigningState {
    certificate: String,
    key: String,
}

impl Drop for SigningState {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldRootState {
    certificate: String,
    until_unix_s: u64,
}

impl Authority {
    pub(super) fn to_state(&self) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
        let state = State {
            format: FORMAT,
            trust_domain: self.domain.clone(),
            root: self.root.to_state()?,
            next_root: self.next_root.as_ref().map(Signing::to_state).transpose()?,
            old_roots: self.old_roots.iter().map(OldRoot::to_state).collect(),
            issuing: self.issuing.to_state()?,
        };
        let mut text = Zeroizing::new(Vec::with_capacity(STATE_BYTES_HINT));
        serde_json::to_writer(&mut *text, &state).map_err(damaged)?;
        Ok(text)
    }

    pub(super) fn from_state(text: &[u8]) -> Result<Self, AuthorityError> {
        let state: State = serde_json::from_slice(text).map_err(damaged)?;
        if state.format != FORMAT {
            return Err(AuthorityError::Damaged(format!("format {} is not {FORMAT}", state.format)));
        }
        if state.old_roots.len() > ROOTS_MAX {
            return Err(AuthorityError::TooManyRoots);
        }
        let old_roots: Result<Vec<_>, _> = state.old_roots.iter().map(OldRoot::from_state).collect();
        Ok(Self {
            domain: state.trust_domain.clone(),
            root: Signing::from_state(&state.root)?,
            next_root: state.next_root.as_ref().map(Signing::from_state).transpose()?,
            old_roots: old_roots?,
            issuing: Signing::from_state(&state.issuing)?,
        })
    }
}

impl Signing {
    fn to_state(&self) -> Result<SigningState, AuthorityError> {
        let secret = self.issuer.key().secret_der()?;
        let certificate = BASE64_STANDARD.encode(&self.certificate);
        Ok(SigningState { certificate, key: BASE64_STANDARD.encode(&*secret) })
    }

    fn from_state(state: &SigningState) -> Result<Self, AuthorityError> {
        let secret = Zeroizing::new(decode(&state.key)?);
        let certificate = decode(&state.certificate)?;
        let (key, certificate) = (NodeKey::from_secret_der(&secret)?, CertificateDer::from(certificate));
        // Found here, and not when the first certificate that nobody believes is issued days later.
        if !is_of_key(&certificate, key.public_der())? {
            return Err(AuthorityError::Damaged("a key is not that of its certificate".to_owned()));
        }
        Self::of(key, certificate)
    }
}

impl OldRoot {
    fn to_state(&self) -> OldRootState {
        let until = self.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        OldRootState { certificate: BASE64_STANDARD.encode(&self.certificate), until_unix_s: until.as_secs() }
    }

    fn from_state(state: &OldRootState) -> Result<Self, AuthorityError> {
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(state.until_unix_s));
        Ok(Self {
            certificate: CertificateDer::from(decode(&state.certificate)?),
            until: until.ok_or(AuthorityError::Moment)?,
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, AuthorityError> {
    BASE64_STANDARD.decode(text).map_err(damaged)
}

/// The error's own text is left out: it may quote what it could not read.
fn damaged(error: impl Into<StateFault>) -> AuthorityError {
    AuthorityError::Damaged(error.into().0)
}

struct StateFault(String);

impl From<serde_json::Error> for StateFault {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("not the expected JSON at line {} column {}", error.line(), error.column()))
    }
}

impl From<base64::DecodeError> for StateFault {
    fn from(_: base64::DecodeError) -> Self {
        Self("a certificate or key is not base64".into())
    }
}
