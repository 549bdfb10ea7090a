//! What a process is told at its start, on standard input, so that it can ask for an identity: where control is,
//! which roots prove it, and a token that is good once.
//!
//! The roots are given whole, by whoever starts the process, so there is no first connection that believes
//! blindly: control is known by a root of the bundle **and** by its identity, or it is not talked to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::bundle::{Bundle, RevocationList};
use crate::identity::SpiffeId;
use crate::mesh::{MeshError, MeshTrust};

/// Most bytes of a bootstrap, which is JSON.
pub const BOOTSTRAP_BYTES_MAX: usize = 256 * 1024;
/// What this build writes and reads.
const FORMAT: u32 = 1;

/// What a process needs to enrol. Holds a secret: the token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    format: u32,
    /// `HOST:PORT` of the control process.
    pub control: String,
    /// The roots that control and all peers are known by, with the trust domain.
    pub bundle: Bundle,
    /// Which service the process is; the token decides, this is what the process expects to become.
    pub id: SpiffeId,
    /// The instance's name, unique in the system.
    pub instance: String,
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    token: Zeroizing<String>,
}

/// Why a bootstrap is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Too long.
    #[error("the bootstrap has more than {BOOTSTRAP_BYTES_MAX} bytes")]
    TooLong,
    /// Not the expected JSON; the text itself is not quoted, because it holds a token.
    #[error("the bootstrap is not the expected JSON (line {line}, column {column})")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Written by another build.
    #[error("the bootstrap has format {0}, not {FORMAT}")]
    Format(u32),
    /// The identity is of another trust domain than the roots.
    #[error("{0} is not of the bundle's trust domain")]
    ForeignId(SpiffeId),
}

impl Bootstrap {
    /// What to hand to a process.
    ///
    /// # Errors
    /// An identity of another trust domain than the bundle's.
    pub fn new(
        control: String,
        bundle: Bundle,
        id: SpiffeId,
        instance: String,
        token: String,
    ) -> Result<Self, BootstrapError> {
        if !id.is_of(bundle.trust_domain()) {
            return Err(BootstrapError::ForeignId(id));
        }
        Ok(Self { format: FORMAT, control, bundle, id, instance, token: Zeroizing::new(token) })
    }

    /// One line of JSON. It holds the token: write it to the process's standard input, and nowhere else.
    ///
    /// # Errors
    /// Never in practice; the serializer can say so, so it is passed on.
    pub fn to_json(&self) -> Result<Zeroizing<String>, BootstrapError> {
        serde_json::to_string(self).map(Zeroizing::new).map_err(|error| json(&error))
    }

    /// Reads what [`Bootstrap::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BootstrapError> {
        if bytes.len() > BOOTSTRAP_BYTES_MAX {
            return Err(BootstrapError::TooLong);
        }
        let bootstrap: Self = serde_json::from_slice(bytes).map_err(|error| json(&error))?;
        if bootstrap.format != FORMAT {
            return Err(BootstrapError::Format(bootstrap.format));
        }
        if !bootstrap.id.is_of(bootstrap.bundle.trust_domain()) {
            return Err(BootstrapError::ForeignId(bootstrap.id));
        }
        Ok(bootstrap)
    }

    /// The single-use token, for the request that trades it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whom control must prove to be. Call it with [`crate::mesh::MeshTls::client_for`] of this, on a
    /// [`crate::mesh::MeshTls::anonymous`] of [`Bootstrap::trust`].
    pub fn control_id(&self) -> SpiffeId {
        SpiffeId::of_control(self.bundle.trust_domain())
    }

    /// The trust to begin with; control sends revocations with its first answer.
    ///
    /// # Errors
    /// Roots that cannot anchor a chain.
    pub fn trust(&self) -> Result<Arc<MeshTrust>, MeshError> {
        MeshTrust::new(&self.bundle, RevocationList::default())
    }
}

fn write_secret<S: Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn json(error: &serde_json::Error) -> BootstrapError {
    BootstrapError::Json { line: error.line(), column: error.column() }
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap")
            .field("control", &self.control)
            .field("id", &self.id)
            .field("instance", &self.instance)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
