//! What control has revoked. Certificates are listed until they would have run out by themselves, so the list
//! stays as short as lives are; services are listed until someone lets them back in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::bundle::{REVOKED_IDS_MAX, REVOKED_SERIALS_MAX, RevocationList};
use crate::identity::{Serial, SpiffeId};

/// Revocations at the source.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoked {
    /// Until when each would have counted, seconds since the epoch.
    serials: BTreeMap<Serial, u64>,
    ids: BTreeSet<SpiffeId>,
}

/// The revocation list has no room; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list is full: {REVOKED_SERIALS_MAX} certificates or {REVOKED_IDS_MAX} services")]
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
    }

    pub(super) fn list(&self, now: u64) -> RevocationList {
        let serials = self.serials.iter().filter(|(_, until)| **until >= now).map(|(serial, _)| *serial);
        RevocationList::of(serials.collect(), self.ids.iter().cloned().collect())
    }
}
