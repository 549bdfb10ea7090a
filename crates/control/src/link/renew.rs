//! Keeps an identity fresh: a new certificate for the same key at about half of its life, and after its end if need be.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_model::wire::{Issued, RenewRequest};
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;
use weft_trust::authority::LEAF_BACKDATE;
use weft_trust::identity::SpiffeId;
use weft_trust::key::NodeKey;
use weft_trust::mesh::{MeshIdentity, MeshTls};
use weft_trust::renewal::{renew_at, retry_after};

use super::kept::Keepsakes;
use super::{DataPlane, connect, replace_trust};
use crate::grpc::{Code, Status};

/// Longest sleep: the wall clock may jump (a laptop that slept), and is looked at again after this.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What renewing needs.
pub(super) struct Renewing {
    pub(super) address: String,
    pub(super) instance: String,
    pub(super) control: SpiffeId,
    pub(super) key: NodeKey,
    pub(super) keepsakes: Arc<Keepsakes>,
    pub(super) identity: Arc<MeshIdentity>,
    pub(super) tls: MeshTls,
    pub(super) anonymous: MeshTls,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
}

impl Renewing {
    /// Renews for ever.
    pub(super) async fn run(mut self, plane: Arc<dyn DataPlane>) {
        loop {
            // Half of the life that is left, not of the whole: a certificate counts from a while before it was issued, and
            // of a very short one that while is most.
            let current = self.identity.current();
            let due = renew_at(self.clock.wall(), current.not_after, self.rng.fraction());
            self.until(due).await;
            let issued = current.not_before + LEAF_BACKDATE;
            let life = current.not_after.duration_since(issued).unwrap_or_default();
            let mut failed = 0_u32;
            while let Err(status) = self.renew(&*plane).await {
                failed = failed.saturating_add(1);
                if failed == 1 {
                    tracing::warn!(reason = %status, "the identity could not be renewed; trying again");
                }
                tokio::time::sleep(retry_after(failed, life, self.rng.fraction())).await;
            }
        }
    }

    async fn until(&self, due: SystemTime) {
        loop {
            let left = due.duration_since(self.clock.wall()).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    pub(super) async fn renew(&self, plane: &dyn DataPlane) -> Result<(), Status> {
        let csr = self.key.request().map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        let request = RenewRequest { instance: self.instance.clone(), csr };
        // As nobody: a certificate that ran out would be refused, and the request proves the key by itself.
        let mut connection = connect(&self.address, &self.anonymous, &self.control).await?;
        let issued: Issued = connection.unary("Renew", &request).await?;
        let trust = self.tls.trust();
        let unusable = |reason: String| Status::new(Code::Internal, reason);
        let told = issued.trust.as_ref();
        let changed = told.map_or(Ok(false), |told| replace_trust(trust, told)).map_err(unusable)?;
        let replaced = self.identity.replace(&self.key, &issued.chain, trust, self.clock.wall());
        // Only now: who connects anew because of it shows the new certificate.
        if changed {
            plane.trust_changed();
        }
        replaced.map_err(|error| unusable(error.to_string()))?;
        self.keepsakes.change(plane, |kept| {
            kept.chain = issued.chain;
            kept.trust = issued.trust.or(kept.trust.take());
        });
        tracing::info!(not_after_unix_s = issued.not_after, "identity renewed");
        Ok(())
    }
}
