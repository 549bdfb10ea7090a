//! Private keys of P-256: one type for the authority and the nodes, and the only place that touches secret bytes
//! of keys.
//!
//! A [`NodeKey`] is born in memory: it signs handshakes and certificate requests, and has no function that gives its secret
//! away. Only the authority's keys can be written, sealed by [`crate::store`]; a [`crate::keepsake`] carries a node's to the
//! memory of its supervisor and back.
//! AWS-LC wipes the memory of a key when it frees it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

/// A node's private key: ECDSA P-256, in memory only. Clones share it.
#[derive(Clone)]
pub struct NodeKey(Arc<Pair>);

struct Pair {
    inner: EcdsaKeyPair,
    spki: SubjectPublicKeyInfoDer<'static>,
}

/// The cryptographic library gave up; it has no more to say than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused the key or ran out of randomness")]
pub struct KeyError;

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self::of).map_err(|_| KeyError)
    }

    /// A certificate request (PKCS#10, DER) that asks for nothing: it shows the public key and proves the private
    /// one. Who the node is, is the authority's to say.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(self).map_err(|_| KeyError)?;
        Ok(request.der().to_vec())
    }

    /// The public half, as in a certificate (`SubjectPublicKeyInfo`, DER).
    pub fn public_der(&self) -> &[u8] {
        self.0.spki.as_ref()
    }

    pub(crate) fn of(inner: EcdsaKeyPair) -> Self {
        let spki = public_key_to_spki(&alg_id::ECDSA_P256, inner.public_key());
        Self(Arc::new(Pair { inner, spki }))
    }

    /// Reads a key that [`NodeKey::secret_der`] wrote.
    pub(crate) fn from_secret_der(der: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map(Self::of).map_err(|_| KeyError)
    }

    /// PKCS#8 for the sealed store; the bytes are wiped when dropped.
    pub(crate) fn secret_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.0.inner.to_pkcs8v1().map_err(|_| KeyError)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.0.inner.sign(&SystemRandom::new(), message).map_err(|_| KeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(P-256, secret)")
    }
}

impl rcgen::PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.inner.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_asn1(message).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.0.spki.as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.sign_asn1(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
