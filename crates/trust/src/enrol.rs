//! Who may have which identity: single-use tokens, the registry of who enrolled, and revocation.
//!
//! Whoever starts an instance mints a token for it; the token says which service the instance is, so a process can
//! never choose. It is traded once, for a certificate of a key that the process made; from then on **the key** is
//! the proof: whoever signs a request with it may renew, also after the certificate ran out, until it is revoked.
//! That is also how a process recovers whose enrolment was answered but whose answer was lost.
//!
//! Pure: moments are passed in, and the whole state is serialised by its owner, who must store it before an answer
//! leaves.

mod revoked;
mod tokens;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, AuthorityError, Issued};
use crate::bundle::RevocationList;
use crate::identity::{Serial, SpiffeId};
use crate::request::{KeyFingerprint, ProvenKey, RequestError};
use revoked::Revoked;
pub use revoked::RevokedFull;
pub use tokens::{TOKEN_TTL_MAX, TOKENS_MAX, TokenError, Tokens};

/// Most instances that are remembered.
pub const INSTANCES_MAX: usize = 16_384;
/// Most bytes of an instance's name.
pub const INSTANCE_BYTES_MAX: usize = 253;
/// Most certificates of one instance that count at the same time; beyond, the oldest is revoked. Renewal at half
/// life needs three.
pub const CERTIFICATES_MAX: usize = 16;

/// What a token stands for: which service an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The instance's name, unique in the system, e.g. `orders-1`.
    pub instance: String,
    /// The service that it is.
    pub id: SpiffeId,
}

/// The whole state: open tokens, enrolled instances, revocations.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    tokens: Tokens,
    instances: BTreeMap<String, Enrolled>,
    revoked: Revoked,
}

/// An instance that enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The service that it is.
    pub id: SpiffeId,
    /// The key that enrolled.
    pub key: KeyFingerprint,
    /// Its certificates that may still count, the newest last.
    pub certificates: Vec<Certificate>,
    /// Whether it was revoked; it then gets no certificate until it enrols with a new token.
    pub revoked: bool,
    /// Whether it said good-bye since its last certificate: nobody will renew, so it is forgotten once none counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// A certificate as the registry remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its number.
    pub serial: Serial,
    /// Its last moment, seconds since the epoch.
    pub not_after_unix_s: u64,
}

/// Why no certificate is given.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nobody enrolled under this name, or with another key. Which of the two is not told to the caller.
    #[error("this key did not enrol as `{0}`; enrol with a token")]
    Unknown(String),
    /// The instance or its service was revoked.
    #[error("`{0}` was revoked")]
    Revoked(String),
    /// A key that was revoked comes back with no token.
    #[error("this key was revoked; enrol with another")]
    RevokedKey,
    /// The registry is full.
    #[error("{INSTANCES_MAX} instances have enrolled; forget some that are gone")]
    RegistryFull,
    /// The authority refuses.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The revocation list is full.
    #[error(transparent)]
    RevokedFull(#[from] RevokedFull),
    /// An instance's name that cannot be.
    #[error("an instance's name has 1 to {INSTANCE_BYTES_MAX} of the characters `A-Z a-z 0-9 . - _`")]
    InstanceName,
}

impl From<RequestError> for EnrolError {
    fn from(error: RequestError) -> Self {
        Self::Authority(error.into())
    }
}

impl Enrolment {
    /// A new token for one instance, good for `ttl`. It is returned this once; only its hash is kept.
    ///
    /// # Errors
    /// A name that cannot be, a revoked service, or too many open tokens.
    pub fn mint(
        &mut self,
        placement: Placement,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<String, EnrolError> {
        check_instance(&placement.instance)?;
        if self.revoked.has_id(&placement.id) {
            return Err(EnrolError::Revoked(placement.id.to_string()));
        }
        Ok(self.tokens.mint(placement, ttl, now)?)
    }

    /// Trades a token for a certificate of the request's key. The request is checked first, so that a broken one
    /// does not use the token up. An instance that enrolled before is taken over by the new key.
    ///
    /// # Errors
    /// Why no certificate is given.
    pub fn enrol(
        &mut self,
        authority: &Authority,
        token: &str,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(Placement, Issued), EnrolError> {
        let key = ProvenKey::from_request(request)?;
        if self.revoked.has_key(key.fingerprint()) {
            return Err(EnrolError::RevokedKey);
        }
        let placement = self.tokens.redeem(token, now)?;
        if self.revoked.has_id(&placement.id) {
            return Err(EnrolError::Revoked(placement.id.to_string()));
        }
        if !self.instances.contains_key(&placement.instance) && self.instances.len() >= INSTANCES_MAX {
            self.forget_old(now);
            if self.instances.len() >= INSTANCES_MAX {
                return Err(EnrolError::RegistryFull);
            }
        }
        let issued = authority.issue_for(&key, &placement.id, lifetime, now)?;
        let certificates = self.taken_over(&placement, key.fingerprint(), now)?;
        let (id, key) = (placement.id.clone(), key.fingerprint());
        let enrolled = Enrolled { id, key, certificates, revoked: false, left: false };
        self.instances.insert(placement.instance.clone(), enrolled);
        self.record(&placement.instance, &issued, now)?;
        Ok((placement, issued))
    }

    /// A new certificate for an instance, to whoever proves the key that enrolled; the old one may have run out
    /// long ago.
    ///
    /// # Errors
    /// Why no certificate is given.
    pub fn renew(
        &mut self,
        authority: &Authority,
        instance: &str,
        request: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(Placement, Issued), EnrolError> {
        let key = ProvenKey::from_request(request)?;
        let unknown = || EnrolError::Unknown(printable(instance));
        let enrolled = self.instances.get(instance).ok_or_else(unknown)?;
        if enrolled.key != key.fingerprint() {
            return Err(unknown());
        }
        if enrolled.revoked || self.revoked.has_id(&enrolled.id) {
            return Err(EnrolError::Revoked(instance.to_owned()));
        }
        let placement = Placement { instance: instance.to_owned(), id: enrolled.id.clone() };
        let issued = authority.issue_for(&key, &placement.id, lifetime, now)?;
        self.record(instance, &issued, now)?;
        Ok((placement, issued))
    }

    /// Revokes a service: all its certificates and open tokens, and whoever may come, until
    /// [`Enrolment::reinstate`].
    ///
    /// # Errors
    /// Where the revocation list is full.
    pub fn revoke_service(&mut self, id: &SpiffeId) -> Result<(), RevokedFull> {
        self.revoked.add_id(id)?;
        self.tokens.cancel(|placement| placement.id == *id);
        Ok(())
    }

    /// Lets a revoked service come back: instances that run renew by their key, others enrol with new tokens. What
    /// was issued before, and still counts, is revoked one by one, and an instance that was revoked by itself stays so.
    ///
    /// # Errors
    /// Where the revocation list is full; the service then stays revoked.
    pub fn reinstate(&mut self, id: &SpiffeId, now: SystemTime) -> Result<(), RevokedFull> {
        let old = self.instances.values().filter(|enrolled| enrolled.id == *id);
        let certificates: Vec<_> = old.flat_map(|enrolled| enrolled.certificates.clone()).collect();
        for certificate in certificates {
            self.revoked.add_serial(certificate.serial, certificate.not_after_unix_s, unix_s(now))?;
        }
        self.revoked.remove_id(id);
        Ok(())
    }

    /// Revokes one instance: its key, its certificates and open tokens. It may come back with a new token and a new key.
    /// Says whether there was such an instance or token.
    ///
    /// # Errors
    /// Where the revocation list is full; revoke the service then.
    pub fn revoke_instance(&mut self, instance: &str, now: SystemTime) -> Result<bool, RevokedFull> {
        let cancelled = self.tokens.cancel(|placement| placement.instance == instance);
        let Some(enrolled) = self.instances.get_mut(instance) else { return Ok(cancelled > 0) };
        enrolled.revoked = true;
        self.revoked.add_key(enrolled.key, unix_s(now))?;
        for certificate in &enrolled.certificates {
            self.revoked.add_serial(certificate.serial, certificate.not_after_unix_s, unix_s(now))?;
        }
        Ok(true)
    }

    /// Revokes the instance that holds the certificate `serial`, with all its certificates: who lost one lost the
    /// key of all. Says whether there was one.
    ///
    /// # Errors
    /// Where the revocation list is full; revoke the service then.
    pub fn revoke_serial(&mut self, serial: Serial, now: SystemTime) -> Result<bool, RevokedFull> {
        let holds = |enrolled: &Enrolled| enrolled.certificates.iter().any(|one| one.serial == serial);
        let found = self.instances.iter().find(|(_, enrolled)| holds(enrolled)).map(|(name, _)| name.clone());
        found.map_or(Ok(false), |instance| self.revoke_instance(&instance, now))
    }

    /// What every process must refuse from now on.
    pub fn revoked(&self, now: SystemTime) -> RevocationList {
        self.revoked.list(unix_s(now))
    }

    /// What is known of an instance.
    pub fn instance(&self, instance: &str) -> Option<&Enrolled> {
        self.instances.get(instance)
    }

    /// All instances that enrolled, by name.
    pub fn instances(&self) -> impl Iterator<Item = (&str, &Enrolled)> {
        self.instances.iter().map(|(name, enrolled)| (name.as_str(), enrolled))
    }

    /// An instance ended in order, and its key with it. It is remembered while a certificate of it counts, since that may
    /// yet be revoked; whoever proves the key before that has come back.
    pub fn leave(&mut self, instance: &str) {
        if let Some(enrolled) = self.instances.get_mut(instance) {
            enrolled.left = true;
        }
    }

    /// Drops what ran out: tokens, certificates, instances that left, revocations of certificates that no longer count. To
    /// be called now and then.
    pub fn sweep(&mut self, now: SystemTime) {
        self.tokens.sweep(now);
        self.revoked.sweep(unix_s(now));
        self.instances.retain(|_, enrolled| {
            enrolled.certificates.retain(|certificate| certificate.not_after_unix_s >= unix_s(now));
            !(enrolled.left && enrolled.certificates.is_empty())
        });
    }

    /// Makes room: forgets instances none of whose certificates counts any more. Most of them were killed before they
    /// could say good-bye; whoever is not gone enrols anew.
    fn forget_old(&mut self, now: SystemTime) {
        let now = unix_s(now);
        self.instances.retain(|_, enrolled| {
            enrolled.certificates.iter().any(|certificate| certificate.not_after_unix_s >= now)
        });
    }

    /// Certificates that still count when an instance comes back. Where its name now stands for another service,
    /// the old ones are revoked: nothing would lead from the old service to them any more.
    fn taken_over(
        &mut self,
        placement: &Placement,
        key: KeyFingerprint,
        now: SystemTime,
    ) -> Result<Vec<Certificate>, RevokedFull> {
        let Some(old) = self.instances.get(&placement.instance) else { return Ok(Vec::new()) };
        if old.id == placement.id {
            return Ok(old.certificates.clone());
        }
        if old.key != key {
            self.revoked.add_key(old.key, unix_s(now))?;
        }
        for certificate in &old.certificates {
            self.revoked.add_serial(certificate.serial, certificate.not_after_unix_s, unix_s(now))?;
        }
        Ok(Vec::new())
    }

    fn record(&mut self, instance: &str, issued: &Issued, now: SystemTime) -> Result<(), EnrolError> {
        let now = unix_s(now);
        let Some(enrolled) = self.instances.get_mut(instance) else { return Ok(()) };
        enrolled.left = false;
        enrolled.certificates.retain(|certificate| certificate.not_after_unix_s >= now);
        if enrolled.certificates.len() >= CERTIFICATES_MAX {
            let oldest = enrolled.certificates.remove(0);
            self.revoked.add_serial(oldest.serial, oldest.not_after_unix_s, now)?;
        }
        let not_after_unix_s = unix_s(issued.not_after);
        enrolled.certificates.push(Certificate { serial: issued.serial, not_after_unix_s });
        Ok(())
    }
}

/// Whole seconds since the epoch; before it counts as the epoch.
fn unix_s(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn check_instance(name: &str) -> Result<(), EnrolError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > INSTANCE_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(EnrolError::InstanceName);
    }
    Ok(())
}

/// A stranger's text, fit for a log line.
fn printable(text: &str) -> String {
    text.chars().take(INSTANCE_BYTES_MAX).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
