//! Certificate requests (PKCS#10, RFC 2986) from nodes: hostile bytes, of which exactly one thing is used, the
//! public key.
//!
//! Subject, names and extensions that a request asks for are ignored by construction: [`ProvenKey`] has no field
//! for them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256, Oid};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Longest request that is read; one of P-256 without extensions has about 200 bytes.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// Bytes of an uncompressed point of P-256 (SEC 1 section 2.3.3).
const POINT_BYTES: usize = 65;

/// A public key of P-256 whose owner has proven to hold the private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey {
    point: [u8; POINT_BYTES],
}

/// SHA-256 of a public key; how a registry remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyFingerprint([u8; 32]);

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too long, not DER, or followed by something.
    #[error("the certificate request cannot be read")]
    Unreadable,
    /// Another key type than ECDSA P-256, or another signature algorithm than ECDSA with SHA-256.
    #[error("the certificate request's key is not ECDSA P-256")]
    NotP256,
    /// The signature is not by the key that the request shows.
    #[error("the certificate request is not signed by its own key")]
    BadSignature,
}

impl ProvenKey {
    /// Reads a request and verifies its signature.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn from_request(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::Unreadable);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RequestError::Unreadable);
        }
        let info = &request.certification_request_info;
        let point = p256_point(&info.subject_pki)?;
        if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256
            || request.signature_algorithm.parameters.is_some()
            || request.signature_value.unused_bits != 0
        {
            return Err(RequestError::NotP256);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.as_slice())
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| RequestError::BadSignature)?;
        Ok(Self { point })
    }

    /// SHA-256 of the key's point.
    pub fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::of_point(&self.point)
    }
}

impl KeyFingerprint {
    /// That of the key whose point is written so in a request or a certificate.
    pub(crate) fn of_point(point: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, point).as_ref());
        Self(bytes)
    }

    /// As control sends it; `None` where it is not 32 bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The point of a P-256 key: named curve, uncompressed; that it lies on the curve is checked by the verification.
fn p256_point(spki: &SubjectPublicKeyInfo<'_>) -> Result<[u8; POINT_BYTES], RequestError> {
    if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve(&spki.algorithm) != Some(OID_EC_P256) {
        return Err(RequestError::NotP256);
    }
    let point: [u8; POINT_BYTES] =
        spki.subject_public_key.data.as_ref().try_into().map_err(|_| RequestError::NotP256)?;
    if point[0] != 4 || spki.subject_public_key.unused_bits != 0 {
        return Err(RequestError::NotP256);
    }
    Ok(point)
}

fn curve<'a>(algorithm: &AlgorithmIdentifier<'a>) -> Option<Oid<'a>> {
    algorithm.parameters.clone().and_then(|parameters| parameters.oid().ok())
}

impl rcgen::PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
