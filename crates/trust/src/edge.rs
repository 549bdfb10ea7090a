//! TLS toward the world outside the mesh, where names count: what the gateway serves with, and how `https`
//! upstreams are called.
//!
//! TLS 1.2 and 1.3, ECDHE with AEAD suites only (Mozilla "intermediate"). The certificates can be replaced at any
//! moment: an [`EdgeTls`] makes its configuration once, and each handshake takes the certificates in force.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use weft_stdx::clock::Clock;

use crate::certificate::{CertificateError, dns_names_of, validity_of};
use crate::key::NodeKey;
use crate::mesh::Time;

/// What the edge offers, the preferred first.
pub const EDGE_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Most certificates of one gateway.
pub const EDGE_CERTIFICATES_MAX: usize = 1_000;
/// Most certificates of one chain.
pub const EDGE_CHAIN_MAX: usize = 16;
/// Most bytes of a PEM file.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;
/// Sessions that an outgoing configuration remembers, one for each upstream name.
const UPSTREAM_SESSIONS_MAX: usize = 256;

/// The TLS of a gateway's listeners. Cheap to clone; clones share the certificates.
#[derive(Clone)]
pub struct EdgeTls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// A certificate chain with its key, ready to serve with.
#[derive(Clone)]
pub struct EdgeCertificate {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_after: SystemTime,
}

/// Tells what two PEM files hold from what others hold (SHA-256), without keeping the key that is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairDigest([u8; 32]);

/// Why edge TLS is refused. What was in force stays so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EdgeError {
    /// No certificates, or too many.
    #[error("an edge has 1 to {EDGE_CERTIFICATES_MAX} certificates")]
    Count,
    /// The PEM of the certificates has none, too many, or cannot be read.
    #[error("the certificate file is not PEM of 1 to {EDGE_CHAIN_MAX} certificates")]
    Chain,
    /// The PEM of the key has none, or cannot be read.
    #[error("the key file is not PEM of a private key (PKCS#8, PKCS#1 or SEC 1)")]
    Key,
    /// The key is of a kind that is not spoken.
    #[error("the key is of a kind that is not supported")]
    KeyKind,
    /// The key is not that of the certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// The certificate has run out.
    #[error("the certificate has run out")]
    Expired,
    /// The leaf cannot be read.
    #[error(transparent)]
    Leaf(#[from] CertificateError),
    /// A root that cannot anchor a chain.
    #[error("root {0} is not a certificate")]
    Root(usize),
    /// The TLS library refuses the configuration.
    #[error("the TLS configuration is refused: {0}")]
    Tls(rustls::Error),
}

/// The certificates in force, found by the name that a client asks for (SNI, RFC 6066 section 3).
struct Certificates(ArcSwap<ByName>);

struct ByName {
    /// Lower case.
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// What follows `*.`, lower case.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For a client that names nobody, or somebody unknown: it then sees whose gateway it is, and its own check
    /// fails.
    first: Arc<CertifiedKey>,
}

impl EdgeTls {
    /// Serves with `certificates`; where two have a name in common, the first wins, and the first of all answers
    /// clients that ask for an unknown name.
    ///
    /// # Errors
    /// No or too many certificates.
    pub fn new(certificates: &[EdgeCertificate], clock: &Clock) -> Result<Self, EdgeError> {
        let certificates = Arc::new(Certificates(ArcSwap::from_pointee(ByName::of(certificates)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(&certificates);
        let time = Arc::new(Time(clock.clone()));
        let mut config = ServerConfig::builder_with_details(Arc::new(default_provider()), time)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(EdgeError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ticketer = Ticketer::new().map_err(EdgeError::Tls)?;
        // One ticket is enough for a client that comes back; each costs bytes and work in every handshake.
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        config.alpn_protocols = EDGE_ALPN.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// What listeners accept connections with; stays right when certificates are replaced.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Replaces all certificates. Handshakes that begin from now on use the new ones.
    ///
    /// # Errors
    /// No or too many certificates; the old ones then stay in force.
    pub fn replace(&self, certificates: &[EdgeCertificate]) -> Result<(), EdgeError> {
        self.certificates.0.store(Arc::new(ByName::of(certificates)?));
        Ok(())
    }
}

impl PairDigest {
    /// Of a chain and a key, both as they lie in their files.
    pub fn of(chain: &[u8], key: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        // Where the one ends and the other begins counts too.
        context.update(&(chain.len() as u64).to_be_bytes());
        context.update(chain);
        context.update(key);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl EdgeCertificate {
    /// A chain (leaf first) and its key, both PEM.
    ///
    /// # Errors
    /// Bytes that are not that, a key of another certificate, or a certificate that has run out.
    pub fn from_pem(chain: &[u8], key: &[u8], now: SystemTime) -> Result<Self, EdgeError> {
        if chain.len() > PEM_BYTES_MAX {
            return Err(EdgeError::Chain);
        }
        if key.len() > PEM_BYTES_MAX {
            return Err(EdgeError::Key);
        }
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(chain).take(EDGE_CHAIN_MAX + 1).collect();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| EdgeError::Key)?;
        let key = default_provider().key_provider.load_private_key(key).map_err(|_| EdgeError::KeyKind)?;
        Self::of(chain.map_err(|_| EdgeError::Chain)?, key, now)
    }

    /// A certificate of `key` from the built-in authority ([`crate::authority::Authority::issue_edge`]); `chain`
    /// is DER, leaf first.
    ///
    /// # Errors
    /// A certificate of another key, or one that has run out.
    pub fn from_issued(key: &NodeKey, chain: &[Vec<u8>], now: SystemTime) -> Result<Self, EdgeError> {
        let chain = chain.iter().take(EDGE_CHAIN_MAX + 1).map(|der| CertificateDer::from(der.clone()));
        Self::of(chain.collect(), Arc::new(key.clone()), now)
    }

    /// The host names that it is for, lower case; empty where it is for addresses only.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Its last moment.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn rustls::sign::SigningKey>,
        now: SystemTime,
    ) -> Result<Self, EdgeError> {
        if chain.len() > EDGE_CHAIN_MAX {
            return Err(EdgeError::Chain);
        }
        let leaf = chain.first().ok_or(EdgeError::Chain)?;
        let names = dns_names_of(leaf)?;
        let (_, not_after) = validity_of(leaf)?;
        if now > not_after {
            return Err(EdgeError::Expired);
        }
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| EdgeError::Mismatch)?;
        Ok(Self { certified: Arc::new(certified), names, not_after })
    }
}

impl ByName {
    fn of(certificates: &[EdgeCertificate]) -> Result<Self, EdgeError> {
        let first = certificates.first().ok_or(EdgeError::Count)?;
        if certificates.len() > EDGE_CERTIFICATES_MAX {
            return Err(EdgeError::Count);
        }
        let first = Arc::clone(&first.certified);
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| Arc::clone(&certificate.certified));
            }
        }
        Ok(Self { exact, wildcard, first })
    }

    /// An exact name before a wildcard, and a wildcard stands for one label (RFC 9525 section 6.3). `name` is
    /// lower case: the TLS library made it so.
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        Some(Arc::clone(hello.server_name().map_or(&certificates.first, |name| certificates.find(name))))
    }
}

/// How to call `https` upstreams outside the mesh: TLS 1.2 and 1.3, the name checked against `roots` (DER),
/// sessions resumed. Open connections with the upstream's host name.
///
/// # Errors
/// A root that is not a certificate.
pub fn upstream_tls<'a>(
    roots: impl IntoIterator<Item = &'a [u8]>,
    alpn: &[&[u8]],
    clock: &Clock,
) -> Result<Arc<ClientConfig>, EdgeError> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.into_iter().enumerate() {
        store.add(CertificateDer::from(root).into_owned()).map_err(|_| EdgeError::Root(index))?;
    }
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Time(clock.clone())))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(EdgeError::Tls)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(UPSTREAM_SESSIONS_MAX);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

impl fmt::Debug for EdgeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EdgeTls").field(&self.certificates).finish()
    }
}

impl fmt::Debug for EdgeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EdgeCertificate").field(&self.names).finish()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.0.load().exact.len()).finish()
    }
}

#[cfg(test)]
mod tests;
