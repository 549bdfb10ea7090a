//! Verifying the other side of a mesh handshake, in one order for both directions: the chain up to a root of the
//! bundle at this moment, then the one name, then its trust domain, then revocation, and for a callee that it is
//! the one that was called.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError as Reason, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use super::{CHAIN_MAX, MeshError, MeshTrust};
use crate::bundle::Bundle;
use crate::certificate::identity_of;
use crate::identity::{DEFAULT_NAMESPACE, Identity, SpiffeId, TrustDomain};

/// A bundle made ready to verify with.
pub(super) struct Anchors {
    roots: Arc<RootCertStore>,
    callers: Arc<dyn ClientCertVerifier>,
}

/// Why a peer whose chain is good is refused all the same. It travels inside the TLS library's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// The chain has more certificates than a chain of ours.
    #[error("the peer's chain has more than {CHAIN_MAX} certificates")]
    ChainTooLong,
    /// The leaf does not name exactly one identity.
    #[error(transparent)]
    NoIdentity(#[from] crate::certificate::CertificateError),
    /// The name belongs to another trust domain than the root.
    #[error("the peer is {id}, which the roots of {anchor} may not vouch for")]
    ForeignDomain {
        /// Who it says it is.
        id: SpiffeId,
        /// Whose roots anchored its chain.
        anchor: TrustDomain,
    },
    /// The mesh has one namespace: a service of the same name in another one is not that service.
    #[error("the peer is {0}, which is in another namespace")]
    ForeignNamespace(SpiffeId),
    /// Another service answered.
    #[error("the peer is {found}, not {expected}")]
    OtherService {
        /// Who answered.
        found: SpiffeId,
        /// Who was called.
        expected: SpiffeId,
    },
}

impl Anchors {
    pub(super) fn new(bundle: &Bundle, provider: &CryptoProvider) -> Result<Self, MeshError> {
        let roots = Arc::new(bundle.anchors()?);
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::new(provider.clone()))
                .build()
                .map_err(|error| MeshError::Tls(Error::General(error.to_string())))?;
        Ok(Self { roots, callers })
    }
}

impl MeshTrust {
    /// Verifies who calls: the chain must be good for a TLS client.
    pub(super) fn verify_caller(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        check_length(intermediates)?;
        let state = self.state.load();
        state.anchors.callers.verify_client_cert(leaf, intermediates, now)?;
        self.identify(leaf)
    }

    /// Verifies who was called: the chain must be good for a TLS server.
    pub(super) fn verify_callee(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        check_length(intermediates)?;
        let state = self.state.load();
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &state.anchors.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.identify(leaf)
    }

    /// The identity of a leaf whose chain is good.
    fn identify(&self, leaf: &CertificateDer<'_>) -> Result<Identity, Error> {
        let identity = identity_of(leaf).map_err(|error| refuse(error.into()))?;
        if !identity.id.is_of(&self.domain) {
            return Err(refuse(PeerRefusal::ForeignDomain { id: identity.id, anchor: self.domain.clone() }));
        }
        if identity.id.namespace() != DEFAULT_NAMESPACE {
            return Err(refuse(PeerRefusal::ForeignNamespace(identity.id)));
        }
        if self.is_revoked(&identity) {
            return Err(Error::InvalidCertificate(Reason::Revoked));
        }
        Ok(identity)
    }
}

/// Verifies callers for a server.
pub(super) struct CallerVerifier {
    trust: Arc<MeshTrust>,
    mandatory: bool,
}

/// Verifies the one callee that a client means.
pub(super) struct CalleeVerifier {
    trust: Arc<MeshTrust>,
    expected: SpiffeId,
}

impl CallerVerifier {
    pub(super) fn new(trust: Arc<MeshTrust>, mandatory: bool) -> Self {
        Self { trust, mandatory }
    }
}

impl CalleeVerifier {
    pub(super) fn new(trust: Arc<MeshTrust>, expected: SpiffeId) -> Self {
        Self { trust, expected }
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// No hints: every caller has one certificate, and hints would tell strangers about our roots.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.verify_caller(leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_p256(message, leaf, signature, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ServerCertVerifier for CalleeVerifier {
    /// The name is not looked at: who was called is known by identity, and addresses in the mesh prove nothing.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let identity = self.trust.verify_callee(leaf, intermediates, now)?;
        if identity.id != self.expected {
            let expected = self.expected.clone();
            return Err(refuse(PeerRefusal::OtherService { found: identity.id, expected }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_p256(message, leaf, signature, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The library accepts any scheme that its provider knows; the mesh has one, so another one is refused here too.
fn verify_p256(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
        return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature(message, leaf, signature, algorithms)
}

fn check_length(intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
    if intermediates.len() < CHAIN_MAX { Ok(()) } else { Err(refuse(PeerRefusal::ChainTooLong)) }
}

fn refuse(why: PeerRefusal) -> Error {
    Error::InvalidCertificate(Reason::Other(OtherError(Arc::new(why))))
}

impl fmt::Debug for CallerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerVerifier").field("mandatory", &self.mandatory).finish_non_exhaustive()
    }
}

impl fmt::Debug for CalleeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CalleeVerifier").field(&self.expected).finish()
    }
}
