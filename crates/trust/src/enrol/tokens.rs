//! Single-use tokens: 256 random bits, known to whoever minted one and to the process that it was handed to. Only
//! hashes are kept, so the stored state lets nobody in.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Placement, unix_s};

/// Most tokens that are open at once.
pub const TOKENS_MAX: usize = 4_096;
/// Longest time that a token is good for.
pub const TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN_BYTES: usize = 32;
/// The token's own mark, so that one that got into a log or a repository is recognised by scanners.
const PREFIX: &str = "weft-enrol-";

/// The open tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens {
    open: Vec<Open>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    sha256: [u8; 32],
    placement: Placement,
    until_unix_s: u64,
}

/// Why a token is refused or not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Never minted, used before, cancelled, or run out: a stranger learns no more.
    #[error("the token is not valid: it was used, has run out, or never existed")]
    Invalid,
    /// Too many are open.
    #[error("{TOKENS_MAX} tokens are open already")]
    TooMany,
    /// A time to live of nothing, or more than [`TOKEN_TTL_MAX`].
    #[error("a token is good for 1 s to 24 h")]
    Ttl,
    /// The system has no randomness.
    #[error("the system has no randomness to give")]
    Randomness,
}

impl Tokens {
    /// A new token for `placement`, good for `ttl` from `now`.
    ///
    /// # Errors
    /// Too many, a wrong time to live, or no randomness.
    pub fn mint(
        &mut self,
        placement: Placement,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<String, TokenError> {
        if ttl < Duration::from_secs(1) || ttl > TOKEN_TTL_MAX {
            return Err(TokenError::Ttl);
        }
        self.sweep(now);
        if self.open.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut secret = [0; TOKEN_BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| TokenError::Randomness)?;
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let until_unix_s = unix_s(now).saturating_add(ttl.as_secs());
        self.open.push(Open { sha256: sha256(&token), placement, until_unix_s });
        Ok(token)
    }

    /// Uses a token up, and says what it stands for. Every open token is compared whatever is found, in constant
    /// time.
    ///
    /// # Errors
    /// [`TokenError::Invalid`].
    pub fn redeem(&mut self, token: &str, now: SystemTime) -> Result<Placement, TokenError> {
        let hash = sha256(token);
        let mut found = None;
        for (index, open) in self.open.iter().enumerate() {
            if verify_slices_are_equal(&open.sha256, &hash).is_ok() {
                found = Some(index);
            }
        }
        let open = self.open.swap_remove(found.ok_or(TokenError::Invalid)?);
        if unix_s(now) >= open.until_unix_s {
            return Err(TokenError::Invalid);
        }
        Ok(open.placement)
    }

    /// Withdraws the tokens of all placements that `which` picks; says how many.
    pub fn cancel(&mut self, which: impl Fn(&Placement) -> bool) -> usize {
        let before = self.open.len();
        self.open.retain(|open| !which(&open.placement));
        before - self.open.len()
    }

    /// Drops the tokens that ran out.
    pub fn sweep(&mut self, now: SystemTime) {
        self.open.retain(|open| unix_s(now) < open.until_unix_s);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("placement", &self.placement).finish_non_exhaustive()
    }
}
