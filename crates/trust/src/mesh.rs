//! TLS between sidecars: 1.3 only, both sides proven, no names but identities.
//!
//! A [`MeshTls`] joins what a process is ([`MeshIdentity`]) with whom it believes ([`MeshTrust`]); both can be
//! replaced at any moment. A handshake that begins afterwards uses the new, connections that stand are not
//! touched. Configurations made once therefore stay right for ever.
//!
//! **No resumption.** A resumed TLS 1.3 session presents no certificate, so it would let a peer in after its
//! certificate was revoked or ran out. Sidecars keep few, long connections; a full handshake on each is the price,
//! and the simplest correct answer. There are no tickets, no stored sessions, and no 0-RTT.
//!
//! **Revocation on connections that stand** is the owner's to enforce: after [`MeshTrust::replace`], ask
//! [`MeshTrust::is_revoked`] for the identity of each open connection and close those that are. A handshake may
//! have been verified just before and end just after, so ask it also for each new connection once it is among the
//! open ones.

mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, CommonState, ServerConfig, SignatureScheme, version};
use weft_stdx::clock::Clock;

use crate::bundle::{Bundle, BundleError, RevocationList};
use crate::certificate::{CertificateError, identity_of};
use crate::identity::{Identity, SpiffeId, TrustDomain};
use crate::key::NodeKey;
pub use verify::PeerRefusal;
use verify::{Anchors, CalleeVerifier, CallerVerifier};

/// Most certificates of a chain, the leaf included: leaf, issuing authority, and room for two more.
pub const CHAIN_MAX: usize = 4;

/// Makes the TLS configurations of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct MeshTls {
    trust: Arc<MeshTrust>,
    template: Arc<ClientConfig>,
    provider: Arc<CryptoProvider>,
    identity: Option<Arc<MeshIdentity>>,
    clock: Clock,
}

/// What this process is: its key and the certificate in force. Replaced at each renewal.
pub struct MeshIdentity {
    current: ArcSwap<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    identity: Identity,
}

/// Whom this process believes: a bundle and a revocation list.
pub struct MeshTrust {
    state: ArcSwap<Trusted>,
    domain: TrustDomain,
    algorithms: WebPkiSupportedAlgorithms,
}

struct Trusted {
    bundle: Bundle,
    anchors: Anchors,
    revoked: RevocationList,
}

/// Why an identity or a bundle cannot be put in force. What was in force stays so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MeshError {
    /// Without an identity of its own a process can call, but not serve.
    #[error("a process without an identity cannot serve")]
    Anonymous,
    /// No certificate, or more than [`CHAIN_MAX`].
    #[error("a certificate chain has 1 to {CHAIN_MAX} certificates")]
    Chain,
    /// The leaf proves no identity.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The leaf is of another key.
    #[error("the certificate is of another key")]
    OtherKey,
    /// The leaf names another service than the one in force.
    #[error("the certificate names {found}, not {expected}")]
    OtherIdentity {
        /// What it names.
        found: SpiffeId,
        /// What is in force.
        expected: SpiffeId,
    },
    /// A bundle of another trust domain.
    #[error("the bundle is of trust domain {found}, not {expected}")]
    OtherDomain {
        /// Whose it is.
        found: TrustDomain,
        /// What is in force.
        expected: TrustDomain,
    },
    /// The bundle or the revocation list cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Peers would refuse the chain.
    #[error("peers would refuse the certificate: {0}")]
    Refused(rustls::Error),
    /// The TLS library refuses the configuration.
    #[error("the TLS configuration is refused: {0}")]
    Tls(rustls::Error),
}

/// Why a connection has no peer identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The handshake is not over.
    #[error("the handshake is not over")]
    Handshaking,
    /// The peer showed no certificate; only a server of [`MeshTls::server_for_enrolment`] sees this.
    #[error("the peer showed no certificate")]
    Anonymous,
    /// The peer's certificate proves no identity; verification refuses such a peer, so this is not seen in the mesh.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Who the peer of a finished handshake is.
///
/// # Errors
/// The handshake is not over, or the peer is anonymous.
pub fn peer_identity(connection: &CommonState) -> Result<Identity, PeerError> {
    if connection.is_handshaking() {
        return Err(PeerError::Handshaking);
    }
    let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or(PeerError::Anonymous)?;
    Ok(identity_of(leaf)?)
}

/// The name to open a mesh connection with, because the TLS library wants one. It is neither sent nor checked.
pub fn mesh_server_name() -> ServerName<'static> {
    match DnsName::try_from("mesh.invalid") {
        Ok(name) => ServerName::DnsName(name),
        Err(_) => ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()),
    }
}

impl MeshTls {
    /// The configurations of a process that has an identity.
    ///
    /// # Errors
    /// Where the TLS library refuses the ingredients.
    pub fn new(identity: Arc<MeshIdentity>, trust: Arc<MeshTrust>, clock: &Clock) -> Result<Self, MeshError> {
        Self::build(Some(identity), trust, clock)
    }

    /// The configurations of a process that has none yet: it can call, as nobody, a server that allows it.
    ///
    /// # Errors
    /// Where the TLS library refuses the ingredients.
    pub fn anonymous(trust: Arc<MeshTrust>, clock: &Clock) -> Result<Self, MeshError> {
        Self::build(None, trust, clock)
    }

    fn build(
        identity: Option<Arc<MeshIdentity>>,
        trust: Arc<MeshTrust>,
        clock: &Clock,
    ) -> Result<Self, MeshError> {
        let provider = Arc::new(mesh_provider());
        let nobody = SpiffeId::of_control(trust.trust_domain());
        let verifier = Arc::new(CalleeVerifier::new(Arc::clone(&trust), nobody));
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Time(clock.clone())))
                .with_protocol_versions(&[&version::TLS13])
                .map_err(MeshError::Tls)?
                .dangerous()
                .with_custom_certificate_verifier(verifier);
        let mut template = match &identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Resolver(Arc::clone(identity)))),
            None => builder.with_no_client_auth(),
        };
        template.resumption = Resumption::disabled();
        template.enable_sni = false;
        template.enable_early_data = false;
        Ok(Self { trust, template: Arc::new(template), provider, identity, clock: clock.clone() })
    }

    /// What a sidecar accepts connections with: a caller without a certificate of the trust domain is refused.
    /// `alpn` lists the protocols that are spoken, the preferred first.
    ///
    /// # Errors
    /// A process without an identity cannot serve.
    pub fn server(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, MeshError> {
        self.server_with(CallerVerifier::new(Arc::clone(&self.trust), true), alpn)
    }

    /// What control accepts connections with: as [`MeshTls::server`], but a caller may show no certificate,
    /// because it has none yet or its own ran out. [`peer_identity`] then says [`PeerError::Anonymous`], and the
    /// caller may do nothing but enrol and renew.
    ///
    /// # Errors
    /// A process without an identity cannot serve.
    pub fn server_for_enrolment(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, MeshError> {
        self.server_with(CallerVerifier::new(Arc::clone(&self.trust), false), alpn)
    }

    /// What to call `callee` with: any other service, also one of the same trust domain, is refused. Cheap:
    /// everything but the name and the protocols is shared. Open the connection with [`mesh_server_name`].
    pub fn client_for(&self, callee: &SpiffeId, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.template);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(CalleeVerifier::new(Arc::clone(&self.trust), callee.clone())));
        config.alpn_protocols = owned(alpn);
        Arc::new(config)
    }

    /// Whom this process believes.
    pub fn trust(&self) -> &Arc<MeshTrust> {
        &self.trust
    }

    /// What this process is; `None` where it is anonymous.
    pub fn identity(&self) -> Option<&Arc<MeshIdentity>> {
        self.identity.as_ref()
    }

    fn server_with(&self, verifier: CallerVerifier, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, MeshError> {
        let identity = self.identity.as_ref().ok_or(MeshError::Anonymous)?;
        let time = Arc::new(Time(self.clock.clone()));
        let mut config = ServerConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(MeshError::Tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(identity))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = owned(alpn);
        Ok(Arc::new(config))
    }
}

impl MeshIdentity {
    /// Puts a certificate of `key` in force. It is verified as a peer would, so that what peers would refuse is
    /// found here. `chain` is DER, leaf first, without the root.
    ///
    /// # Errors
    /// Why peers would refuse it.
    pub fn from_issued(
        key: &NodeKey,
        chain: &[Vec<u8>],
        trust: &MeshTrust,
        now: SystemTime,
    ) -> Result<Arc<Self>, MeshError> {
        let current = Current::verified(key, chain, trust, now)?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(current) }))
    }

    /// Replaces the certificate. Handshakes that begin from now on use the new one; nothing else is disturbed.
    ///
    /// # Errors
    /// Why peers would refuse it, or that it names another service. The old one then stays in force.
    pub fn replace(
        &self,
        key: &NodeKey,
        chain: &[Vec<u8>],
        trust: &MeshTrust,
        now: SystemTime,
    ) -> Result<(), MeshError> {
        let next = Current::verified(key, chain, trust, now)?;
        let expected = self.current().id;
        if next.identity.id != expected {
            return Err(MeshError::OtherIdentity { found: next.identity.id, expected });
        }
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// What is in force.
    pub fn current(&self) -> Identity {
        self.current.load().identity.clone()
    }
}

impl Current {
    fn verified(
        key: &NodeKey,
        chain: &[Vec<u8>],
        trust: &MeshTrust,
        now: SystemTime,
    ) -> Result<Self, MeshError> {
        if chain.is_empty() || chain.len() > CHAIN_MAX {
            return Err(MeshError::Chain);
        }
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let identity = trust.verify_own(&chain, now)?;
        let certified = CertifiedKey::new(chain, Arc::new(key.clone()));
        certified.keys_match().map_err(|_| MeshError::OtherKey)?;
        Ok(Self { certified: Arc::new(certified), identity })
    }
}

impl MeshTrust {
    /// Believes the roots of `bundle` and what they vouch for, except what `revoked` lists.
    ///
    /// # Errors
    /// A bundle that cannot anchor a chain.
    pub fn new(bundle: &Bundle, revoked: RevocationList) -> Result<Arc<Self>, MeshError> {
        let provider = mesh_provider();
        let anchors = Anchors::new(bundle, &provider)?;
        Ok(Arc::new(Self {
            state: ArcSwap::from_pointee(Trusted { bundle: bundle.clone(), anchors, revoked }),
            domain: bundle.trust_domain().clone(),
            algorithms: provider.signature_verification_algorithms,
        }))
    }

    /// Replaces both, and says whether either is another one than before: one is told the same at each renewal. Handshakes
    /// that begin from now on are verified against the new; for connections that stand, see [`MeshTrust::is_revoked`].
    ///
    /// # Errors
    /// A bundle of another trust domain, or one that cannot anchor a chain. The old then stays in force.
    pub fn replace(&self, bundle: &Bundle, revoked: RevocationList) -> Result<bool, MeshError> {
        if *bundle.trust_domain() != self.domain {
            return Err(MeshError::OtherDomain {
                found: bundle.trust_domain().clone(),
                expected: self.domain.clone(),
            });
        }
        let now = self.state.load();
        if now.bundle == *bundle && now.revoked == revoked {
            return Ok(false);
        }
        let anchors = Anchors::new(bundle, &mesh_provider())?;
        self.state.store(Arc::new(Trusted { bundle: bundle.clone(), anchors, revoked }));
        Ok(true)
    }

    /// Whether the peer of a connection that stands has been revoked since.
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.state.load().revoked.contains(identity)
    }

    /// Whose roots these are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    fn verify_own(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Identity, MeshError> {
        let (leaf, intermediates) = chain.split_first().ok_or(MeshError::Chain)?;
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = UnixTime::since_unix_epoch(since_epoch);
        self.verify_caller(leaf, intermediates, now).map_err(MeshError::Refused)?;
        self.verify_callee(leaf, intermediates, now).map_err(MeshError::Refused)
    }
}

/// Shows the certificate that is in force at the moment of the handshake, whoever asks and whatever name they use.
struct Resolver(Arc<MeshIdentity>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_verify = hello.signature_schemes().contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        can_verify.then(|| Arc::clone(&self.0.current.load().certified))
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _roots: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_verify = schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        can_verify.then(|| Arc::clone(&self.0.current.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.0.current().id).finish()
    }
}

impl fmt::Debug for MeshIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeshIdentity").field(&self.current()).finish()
    }
}

impl fmt::Debug for MeshTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revoked = self.state.load().revoked.len();
        f.debug_struct("MeshTrust").field("domain", &self.domain).field("revoked", &revoked).finish()
    }
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTls").field("identity", &self.identity).field("trust", &self.trust).finish()
    }
}

/// The process's clock, as the TLS library asks for it.
#[derive(Debug)]
pub(crate) struct Time(pub(crate) Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

/// Mozilla's "modern" suites; AES-128 first, because it is the fastest where there is hardware for it and no
/// weaker for sessions that live an hour. The post-quantum hybrid is preferred for key exchange (defaults: mesh
/// TLS).
fn mesh_provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..default_provider()
    }
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

#[cfg(test)]
mod tests;
