//! What a process needs to be itself again without control: its key and certificate, whom to believe, and the pair of the
//! edge. The plan itself is on disk, and holds none of these.

use std::sync::{Mutex, PoisonError};

use prost::Message;
use weft_model::wire::{EdgePair, Trust};
use weft_trust::keepsake::Keepsake;
use weft_trust::key::{KeyError, NodeKey};

use super::DataPlane;

/// What belongs to a key.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Kept {
    /// Leaf first, DER.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) chain: Vec<Vec<u8>>,
    /// Roots and revocations, as control told them last.
    #[prost(message, optional, tag = "2")]
    pub(super) trust: Option<Trust>,
    /// Of a gateway whose certificate comes from control.
    #[prost(message, optional, tag = "3")]
    pub(super) edge: Option<EdgePair>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(redacted)")
    }
}

/// Reads what [`Keepsakes`] gave away.
pub(super) fn open(keepsake: &Keepsake) -> Result<(NodeKey, Kept), KeyError> {
    let (key, rest) = keepsake.open()?;
    Ok((key, Kept::decode(rest.as_slice()).map_err(|_| KeyError)?))
}

/// Gives whoever keeps it what is new.
#[derive(Debug)]
pub(super) struct Keepsakes {
    key: NodeKey,
    kept: Mutex<Kept>,
}

impl Keepsakes {
    pub(super) fn new(key: NodeKey, kept: Kept) -> Self {
        Self { key, kept: Mutex::new(kept) }
    }

    /// The pair of the edge, if there was one.
    pub(super) fn edge(&self) -> Option<EdgePair> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).edge.clone()
    }

    /// Changes what is kept, and gives it away if that made a difference.
    pub(super) fn change(&self, plane: &dyn DataPlane, change: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = kept.clone();
        change(&mut next);
        if *kept != next {
            *kept = next;
            drop(kept);
            self.give(plane);
        }
    }

    /// Gives all of it away.
    pub(super) fn give(&self, plane: &dyn DataPlane) {
        let rest = self.kept.lock().unwrap_or_else(PoisonError::into_inner).encode_to_vec();
        match Keepsake::new(&self.key, &rest) {
            Ok(keepsake) => plane.keep(keepsake),
            Err(error) => {
                tracing::warn!(%error, "the identity cannot be kept");
            }
        }
    }
}
