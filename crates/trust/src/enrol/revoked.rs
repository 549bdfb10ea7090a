//! What control has revoked. Certificates are listed until they would have run out by themselves, so the list
//! stays as short as lives are; keys a while longer, for connections that outlived their certificates; services until
//! someone lets them back in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::ISSUING_LIFE;
use crate::bundle::{REVOKED_IDS_MAX, REVOKED_KEYS_MAX, REVOKED_SERIALS_MAX, RevocationList};
use crate::identity::{Serial, SpiffeId};
use crate::request::KeyFingerprint;

/// How long a revoked key is listed: no certificate outlives its issuer, and a process that control lost for as long has
/// lost its own identity.
const KEY_LISTED: Duration = ISSUING_LIFE;

/// Revocations at the source.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    /// Until when each would have counted, seconds since the epoch.
    serials: BTreeMap<Serial, u64>,
    ids: BTreeSet<SpiffeId>,
    /// Until when each is listed, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<(KeyFingerprint, u64)>,
}

/// The revocation list has no room; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the revocation list is full: {REVOKED_SERIALS_MAX} certificates, {REVOKED_KEYS_MAX} keys or {REVOKED_IDS_MAX} services"
)]
pub struct RevokedFull;

impl Revoked {
    pub(super) fn add_serial(&mut self, serial: Serial, until: u64, now: u64) -> Result<(), RevokedFull> {
        if until < now || self.serials.contains_key(&serial) {
            return Ok(());
        }
        if self.serials.len() >= REVOKED_SERIALS_MAX {
            self.sweep(now);
            if self.serials.len() >= REVOKED_SERIALS_MAX {
                return Err(RevokedFull);
            }
        }
        self.serials.insert(serial, until);
        Ok(())
    }

    /// Whatever was issued for `key`, and connections that began with it, however long ago.
    pub(super) fn add_key(&mut self, key: KeyFingerprint, now: u64) -> Result<(), RevokedFull> {
        self.keys.retain(|(listed, until)| *listed != key && *until >= now);
        if self.keys.len() >= REVOKED_KEYS_MAX {
            return Err(RevokedFull);
        }
        self.keys.push((key, now.saturating_add(KEY_LISTED.as_secs())));
        Ok(())
    }

    pub(super) fn has_key(&self, key: KeyFingerprint) -> bool {
        self.keys.iter().any(|(listed, _)| *listed == key)
    }

    pub(super) fn add_id(&mut self, id: &SpiffeId) -> Result<(), RevokedFull> {
        if !self.ids.contains(id) && self.ids.len() >= REVOKED_IDS_MAX {
            return Err(RevokedFull);
        }
        self.ids.insert(id.clone());
        Ok(())
    }

    pub(super) fn remove_id(&mut self, id: &SpiffeId) {
        self.ids.remove(id);
    }

    pub(super) fn has_id(&self, id: &SpiffeId) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn sweep(&mut self, now: u64) {
        self.serials.retain(|_, until| *until >= now);
        self.keys.retain(|(_, until)| *until >= now);
    }

    pub(super) fn list(&self, now: u64) -> RevocationList {
        let serials = self.serials.iter().filter(|(_, until)| **until >= now).map(|(serial, _)| *serial);
        let keys = self.keys.iter().filter(|(_, until)| *until >= now).map(|(key, _)| *key);
        RevocationList::of(serials.collect(), keys.collect(), self.ids.iter().cloned().collect())
    }
}
