//! Who is calling: SPIFFE identities, and what a certificate proves about one.
//!
//! An identity is named `spiffe://<trust domain>/ns/<namespace>/svc/<service>`. Parsing is strict and follows the
//! SPIFFE-ID standard (sections 2.1 to 2.4): what is not exactly of that form is refused, so that two spellings can
//! never mean one service and every comparison is a comparison of bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::request::KeyFingerprint;

/// Longest SPIFFE id in bytes (SPIFFE-ID section 2.4).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// Longest trust domain in bytes (SPIFFE-ID section 2.1: what a host may have).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Longest namespace or service name in bytes: that of a DNS subdomain, which Kubernetes allows for names.
pub const SEGMENT_BYTES_MAX: usize = 253;
/// The service name of the control process.
pub const CONTROL_SERVICE: &str = "weft-control";
/// The namespace where none was given.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Bytes of the longest serial number (RFC 5280 section 4.1.2.2).
const SERIAL_BYTES: usize = 20;

/// What a certificate that passed verification proves about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which service.
    pub id: SpiffeId,
    /// Which certificate.
    pub serial: Serial,
    /// Which key: the same for all certificates of one process.
    pub key: KeyFingerprint,
    /// The certificate's first moment.
    pub not_before: SystemTime,
    /// The certificate's last moment.
    pub not_after: SystemTime,
}

/// A service's name: `spiffe://<trust domain>/ns/<namespace>/svc/<service>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Arc<str>);

/// The part of the world that one set of roots speaks for: lower-case letters, digits, `.`, `-` and `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

/// A certificate's serial number: an unsigned integer of at most 160 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; SERIAL_BYTES]);

/// Why a text is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Another scheme, or none.
    #[error("it does not begin with `spiffe://`")]
    Scheme,
    /// Longer than the standard allows.
    #[error("it is longer than {SPIFFE_ID_BYTES_MAX} bytes")]
    TooLong,
    /// The trust domain is empty, too long, or has a character outside `a-z 0-9 . - _`.
    #[error("its trust domain is not 1 to {TRUST_DOMAIN_BYTES_MAX} of the characters `a-z 0-9 . - _`")]
    TrustDomain,
    /// The path is not `/ns/<namespace>/svc/<service>`.
    #[error("its path is not `/ns/<namespace>/svc/<service>`")]
    Path,
    /// A name in the path is empty, too long, a dot segment, or has a character outside `A-Z a-z 0-9 . - _`.
    #[error(
        "a name in its path is not 1 to {SEGMENT_BYTES_MAX} of the characters `A-Z a-z 0-9 . - _`, or is `.` or `..`"
    )]
    Segment,
    /// A serial number that is not hexadecimal, or longer than 160 bits.
    #[error("it is not a hexadecimal number of at most 160 bits")]
    Serial,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The identity of `service` in `namespace`.
    ///
    /// # Errors
    /// A name that may not stand in a SPIFFE id.
    pub fn new(domain: &TrustDomain, namespace: &str, service: &str) -> Result<Self, IdError> {
        check_segment(namespace)?;
        check_segment(service)?;
        Ok(Self(format!("{SCHEME}{domain}/ns/{namespace}/svc/{service}").into()))
    }

    /// The identity of `service` in the default namespace.
    ///
    /// # Errors
    /// A name that may not stand in a SPIFFE id.
    pub fn of_service(domain: &TrustDomain, service: &str) -> Result<Self, IdError> {
        Self::new(domain, DEFAULT_NAMESPACE, service)
    }

    /// The identity of the control process of `domain`.
    pub fn of_control(domain: &TrustDomain) -> Self {
        Self(format!("{SCHEME}{domain}/ns/{DEFAULT_NAMESPACE}/svc/{CONTROL_SERVICE}").into())
    }

    /// Reads an identity; any other URI, also another SPIFFE id, is refused.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(IdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(IdError::Path)?;
        check_domain(domain)?;
        let mut parts = path.split('/');
        let (Some("ns"), Some(namespace), Some("svc"), Some(service), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdError::Path);
        };
        check_segment(namespace)?;
        check_segment(service)?;
        Ok(Self(text.into()))
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.parts().1
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        self.parts().2
    }

    /// Whether the id belongs to `domain`.
    pub fn is_of(&self, domain: &TrustDomain) -> bool {
        self.trust_domain() == domain.as_str()
    }

    /// Trust domain, namespace, service. What was constructed was checked, so nothing here can be absent; an empty
    /// text, which equals no name, stands for what cannot be.
    fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.0.get(SCHEME.len()..).unwrap_or_default().split('/');
        let domain = parts.next().unwrap_or_default();
        let namespace = parts.nth(1).unwrap_or_default();
        let service = parts.nth(1).unwrap_or_default();
        (domain, namespace, service)
    }
}

impl TrustDomain {
    /// Reads a trust domain's name.
    ///
    /// # Errors
    /// [`IdError::TrustDomain`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_domain(text)?;
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serial {
    /// The number whose big-endian bytes these are; leading zeros do not count.
    ///
    /// # Errors
    /// [`IdError::Serial`] beyond 160 bits.
    pub fn from_be_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        let bytes = significant(bytes);
        let mut padded = [0; SERIAL_BYTES];
        let start = SERIAL_BYTES.checked_sub(bytes.len()).ok_or(IdError::Serial)?;
        padded[start..].copy_from_slice(bytes);
        Ok(Self(padded))
    }

    /// Big-endian bytes without leading zeros; at most 20.
    pub fn as_be_bytes(&self) -> &[u8] {
        significant(&self.0)
    }
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

fn check_domain(text: &str) -> Result<(), IdError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > TRUST_DOMAIN_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(IdError::TrustDomain);
    }
    Ok(())
}

fn check_segment(text: &str) -> Result<(), IdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let dots = matches!(text, "." | "..");
    if text.is_empty() || dots || text.len() > SEGMENT_BYTES_MAX || !text.bytes().all(allowed) {
        return Err(IdError::Segment);
    }
    Ok(())
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.as_ref().into()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_be_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = IdError;

    /// Reads hexadecimal digits, two to a byte.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.as_bytes();
        if digits.is_empty() || digits.len() > 2 * SERIAL_BYTES || !digits.len().is_multiple_of(2) {
            return Err(IdError::Serial);
        }
        let value = |digit: u8| (digit as char).to_digit(16).ok_or(IdError::Serial);
        let mut bytes = Vec::with_capacity(SERIAL_BYTES);
        for pair in digits.chunks_exact(2) {
            let byte = value(pair[0])? << 4 | value(pair[1])?;
            bytes.push(u8::try_from(byte).map_err(|_| IdError::Serial)?);
        }
        Self::from_be_bytes(&bytes)
    }
}

impl TryFrom<String> for Serial {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    #[test]
    fn reads_the_one_form_and_gives_its_parts() {
        let id = SpiffeId::parse("spiffe://shop.test/ns/default/svc/orders-v2").unwrap();
        assert_eq!((id.trust_domain(), id.namespace(), id.service()), ("shop.test", "default", "orders-v2"));
        let domain = TrustDomain::parse("shop.test").unwrap();
        assert_eq!(SpiffeId::of_service(&domain, "orders-v2").unwrap(), id);
        assert!(id.is_of(&domain));
        assert_eq!(SpiffeId::of_control(&domain).service(), CONTROL_SERVICE);
        assert_eq!(
            SpiffeId::parse(SpiffeId::of_control(&domain).as_str()),
            Ok(SpiffeId::of_control(&domain))
        );
    }

    #[test]
    fn refuses_every_other_form() {
        let long = format!("spiffe://shop.test/ns/default/svc/{}", "a".repeat(SEGMENT_BYTES_MAX + 1));
        let longer = format!("spiffe://shop.test/ns/default/svc/{}", "a".repeat(SPIFFE_ID_BYTES_MAX));
        let long_domain = format!("spiffe://{}/ns/default/svc/a", "a".repeat(TRUST_DOMAIN_BYTES_MAX + 1));
        let cases: &[(&str, IdError)] = &[
            ("", IdError::Scheme),
            ("https://shop.test/ns/default/svc/a", IdError::Scheme),
            ("SPIFFE://shop.test/ns/default/svc/a", IdError::Scheme),
            ("spiffe:/shop.test/ns/default/svc/a", IdError::Scheme),
            ("spiffe://", IdError::Path),
            ("spiffe:///ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://Shop.test/ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://shop.test:443/ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://me@shop.test/ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://sh%6fp.test/ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://shöp.test/ns/default/svc/a", IdError::TrustDomain),
            ("spiffe://shop.test", IdError::Path),
            ("spiffe://shop.test/", IdError::Path),
            ("spiffe://shop.test/ns/default/svc/a/", IdError::Path),
            ("spiffe://shop.test/ns/default/svc/a/b", IdError::Path),
            ("spiffe://shop.test/ns/default/sa/a", IdError::Path),
            ("spiffe://shop.test//ns/default/svc/a", IdError::Path),
            ("spiffe://shop.test/NS/default/svc/a", IdError::Path),
            ("spiffe://shop.test/ns//svc/a", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/", IdError::Segment),
            ("spiffe://shop.test/ns/./svc/a", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/..", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/a?b=c", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/a#b", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/%61", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/a b", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/a\0", IdError::Segment),
            ("spiffe://shop.test/ns/default/svc/é", IdError::Segment),
            (&long, IdError::Segment),
            (&longer, IdError::TooLong),
            (&long_domain, IdError::TrustDomain),
        ];
        for (text, why) in cases {
            assert_eq!(SpiffeId::parse(text), Err(*why), "{text}");
        }
    }

    /// Bytes drawn from the alphabet of the grammar, so that many come close; whatever is read is read back alike.
    #[test]
    fn random_bytes_never_panic_and_what_is_read_is_canonical() {
        let seed = 0x5eed;
        let mut rng = Rng::seeded(seed);
        let pieces =
            ["spiffe://", "ns", "svc", "/", "a", "shop.test", ".", "..", "%", "?", "#", ":", "\0", "é", "A"];
        for turn in 0..20_000 {
            let mut text = String::new();
            for _ in 0..rng.below(14) {
                text.push_str(pieces[rng.below(pieces.len())]);
            }
            if let Ok(id) = SpiffeId::parse(&text) {
                let domain = TrustDomain::parse(id.trust_domain()).unwrap();
                let again = SpiffeId::new(&domain, id.namespace(), id.service()).unwrap();
                assert_eq!(again.as_str(), text, "seed {seed:#x} turn {turn}");
            }
            let raw: Vec<u8> = (0..rng.below(64)).map(|_| rng.next_u64() as u8).collect();
            let _ = SpiffeId::parse(&String::from_utf8_lossy(&raw));
            let _ = Serial::from_be_bytes(&raw);
            let _ = String::from_utf8_lossy(&raw).parse::<Serial>();
        }
    }

    #[test]
    fn serials_compare_by_value() {
        let one = Serial::from_be_bytes(&[0, 0, 7, 9]).unwrap();
        assert_eq!(one, Serial::from_be_bytes(&[7, 9]).unwrap());
        assert_eq!(one.to_string(), "0709");
        assert_eq!("0709".parse(), Ok(one));
        for bad in ["", "7", "07 9", "zz", "+1", &"00".repeat(21)] {
            assert_eq!(bad.parse::<Serial>(), Err(IdError::Serial), "{bad}");
        }
        assert!(Serial::from_be_bytes(&[1; 21]).is_err());
    }
}
