//! What a leaf certificate says, read strictly: exactly one name, a URI, which is a SPIFFE id.
//!
//! This reads; it does not verify a signature. [`crate::mesh`] reads only leaves whose chain was verified in the
//! same call.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use crate::identity::{IdError, Identity, Serial, SpiffeId};
use crate::request::KeyFingerprint;

/// Why a certificate proves no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not DER of an X.509 certificate, or followed by something.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// None, more than one, or one that is not a URI (X509-SVID section 2).
    #[error("the certificate does not have exactly one name that is a URI")]
    Names,
    /// The URI is not an identity.
    #[error("the certificate's URI is not an identity: {0}")]
    Id(#[from] IdError),
    /// It may sign certificates, or may not sign handshakes (X509-SVID section 4).
    #[error("the certificate's key usage is not that of a leaf")]
    Usage,
}

/// Reads the identity that `leaf` names.
///
/// # Errors
/// Why it names none.
pub fn identity_of(leaf: &CertificateDer<'_>) -> Result<Identity, CertificateError> {
    let certificate = read(leaf)?;
    let id = SpiffeId::parse(only_uri(&certificate)?)?;
    check_usage(&certificate)?;
    let validity = certificate.validity();
    Ok(Identity {
        id,
        serial: Serial::from_be_bytes(certificate.raw_serial())?,
        key: KeyFingerprint::of_point(&certificate.public_key().subject_public_key.data),
        not_before: system_time(validity.not_before),
        not_after: system_time(validity.not_after),
    })
}

/// A certificate's first and last moment.
pub(crate) fn validity_of(der: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), CertificateError> {
    let certificate = read(der)?;
    let validity = certificate.validity();
    Ok((system_time(validity.not_before), system_time(validity.not_after)))
}

/// Whether a certificate is of this public key (`SubjectPublicKeyInfo`, DER).
pub(crate) fn is_of_key(der: &CertificateDer<'_>, spki: &[u8]) -> Result<bool, CertificateError> {
    Ok(read(der)?.public_key().raw == spki)
}

/// The DNS names and addresses of an edge certificate, lower case; what is neither is left out.
pub(crate) fn dns_names_of(der: &CertificateDer<'_>) -> Result<Vec<String>, CertificateError> {
    let certificate = read(der)?;
    let Some(names) = certificate.subject_alternative_name().map_err(|_| CertificateError::Names)? else {
        return Ok(Vec::new());
    };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
    if rest.is_empty() { Ok(certificate) } else { Err(CertificateError::Unreadable) }
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, CertificateError> {
    let names = certificate.subject_alternative_name().ok().flatten().ok_or(CertificateError::Names)?;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Ok(uri),
        _ => Err(CertificateError::Names),
    }
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    if certificate.is_ca() {
        return Err(CertificateError::Usage);
    }
    let usage = certificate.key_usage().ok().flatten().ok_or(CertificateError::Usage)?.value;
    if usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign() {
        Ok(())
    } else {
        Err(CertificateError::Usage)
    }
}

/// Before 1970 counts as 1970: no certificate of ours, or that we would accept, is that old.
fn system_time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
