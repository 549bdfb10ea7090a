//! What a head's fields say about framing and about this one connection, read once and kept out of the head.
//!
//! `content-length`, `transfer-encoding`, `connection` and their kin describe the message on *this* wire. They are
//! collected here while the fields are read, judged as a whole, and never reach a stage; the writer says them anew.

use std::time::Duration;

use crate::head::{Head, HeadError, Known, Version, is_token_byte, trim_ows};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body, and nothing said how long it is.
    None,
    /// After so many bytes; may be 0.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// When the connection closes: responses only.
    UntilClose,
}

impl BodyFraming {
    /// Whether no byte of a body follows.
    pub fn is_empty(self) -> bool {
        matches!(self, BodyFraming::None | BodyFraming::Length(0))
    }
}

/// Whether a request asks to leave HTTP after a 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// No, or what it asks is not passed on: `h2c`, several protocols, a request with a body, HTTP/1.0.
    #[default]
    None,
    /// `Upgrade: websocket`.
    WebSocket,
    /// One other protocol; its name is the head's `upgrade` field.
    Other,
}

/// Most connection options in one head. Each that names a field costs a search through the fields.
const OPTIONS_MAX: usize = 32;

/// What is wrong with the connection fields of a head, whichever side sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FramingFlaw {
    LengthInvalid,
    LengthRepeated,
    LengthAndCoding,
    CodingRepeated,
    CodingUnsupported,
    CodingOnHttp10,
    ConnectionInvalid,
    HostRepeated,
    ExpectUnsupported,
}

/// What the connection fields of one head said.
#[derive(Default)]
pub(super) struct ConnectionFacts<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) length: Option<u64>,
    pub(super) coding: Option<&'a [u8]>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) keep_alive_timeout: Option<Duration>,
    pub(super) expect: Option<&'a [u8]>,
    pub(super) te_trailers: bool,
    pub(super) option_upgrade: bool,
    upgrade: Option<&'a [u8]>,
    upgrade_repeated: bool,
    options: usize,
    names_fields: bool,
}

impl<'a> ConnectionFacts<'a> {
    /// Takes a field in if it concerns this connection; `Ok(false)` leaves it to the head.
    pub(super) fn take(&mut self, known: Known, value: &'a [u8]) -> Result<bool, FramingFlaw> {
        match known {
            Known::Host => {
                if self.host.replace(value).is_some() {
                    return Err(FramingFlaw::HostRepeated);
                }
            }
            Known::ContentLength => {
                let length = parse_length(value).ok_or(FramingFlaw::LengthInvalid)?;
                if self.length.replace(length).is_some() {
                    return Err(FramingFlaw::LengthRepeated);
                }
            }
            Known::TransferEncoding => {
                if self.coding.replace(value).is_some() {
                    return Err(FramingFlaw::CodingRepeated);
                }
            }
            Known::Connection => self.take_options(value)?,
            Known::Upgrade => self.upgrade_repeated |= self.upgrade.replace(value).is_some(),
            Known::Expect => {
                if self.expect.replace(value).is_some() {
                    return Err(FramingFlaw::ExpectUnsupported);
                }
            }
            Known::Te => {
                self.te_trailers |= elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            Known::KeepAlive => self.keep_alive_timeout = keep_alive_timeout(value),
            other => return Ok(other.is_hop_by_hop()),
        }
        Ok(true)
    }

    fn take_options(&mut self, value: &[u8]) -> Result<(), FramingFlaw> {
        for option in elements(value) {
            self.options += 1;
            if self.options > OPTIONS_MAX || !option.iter().all(|byte| is_token_byte(*byte)) {
                return Err(FramingFlaw::ConnectionInvalid);
            }
            match Known::from_bytes(option) {
                Known::Upgrade => self.option_upgrade = true,
                Known::KeepAlive => self.keep_alive = true,
                Known::Te | Known::Http2Settings | Known::ProxyConnection => {}
                // A peer that believed it would drop a field that frames or routes the message.
                Known::Host | Known::ContentLength | Known::TransferEncoding => {
                    return Err(FramingFlaw::ConnectionInvalid);
                }
                Known::Other if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ => self.names_fields = true,
            }
        }
        Ok(())
    }

    /// Takes the fields that `connection` names out of the head (RFC 9110, 7.6.1).
    pub(super) fn remove_named(&self, head: &mut Head, connection_values: impl Iterator<Item = &'a [u8]>) {
        if !self.names_fields {
            return;
        }
        for option in connection_values.flat_map(elements) {
            head.remove_name(option);
        }
    }

    /// Whether `content-length` and `transfer-encoding` agree to one meaning; says whether the body is chunked.
    pub(super) fn check_coding(&self, version: Version) -> Result<bool, FramingFlaw> {
        let Some(coding) = self.coding else { return Ok(false) };
        if self.length.is_some() {
            return Err(FramingFlaw::LengthAndCoding);
        }
        if version < Version::Http11 {
            return Err(FramingFlaw::CodingOnHttp10);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(FramingFlaw::CodingUnsupported);
        }
        Ok(true)
    }

    /// Whether the sender keeps the connection for another message (RFC 9112, 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version >= Version::Http11 || self.keep_alive)
    }

    /// The one protocol that an `upgrade` field names with a `connection` that says so; `None` for anything less
    /// clear. `h2c` is never passed on: an upstream that took it would no longer speak what we parse.
    pub(super) fn upgrade(&self, version: Version) -> Option<&'a [u8]> {
        let protocol = self
            .upgrade
            .filter(|_| self.option_upgrade && !self.upgrade_repeated && version >= Version::Http11)?;
        let token = |byte: &u8| is_token_byte(*byte) || *byte == b'/';
        let one = !protocol.is_empty() && protocol.iter().all(token);
        let http2 = protocol.len() >= 2 && protocol[..2].eq_ignore_ascii_case(b"h2");
        (one && !http2).then_some(protocol)
    }

    /// Adds to the head what of these fields travels on: `te: trailers`.
    pub(super) fn keep_te(&self, head: &mut Head) -> Result<(), HeadError> {
        if self.te_trailers { head.push_known(Known::Te, b"trailers") } else { Ok(()) }
    }
}

/// The elements of a list field, empty ones left out (RFC 9110, 5.6.1).
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim_ows).filter(|element| !element.is_empty())
}

/// Reads a `content-length`: digits alone, at most 19 of them, so that it cannot overflow (RFC 9112, 6.3; a list
/// of equal values, which the RFC lets a recipient accept, is refused).
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// The `timeout` of a `keep-alive` field, if it gives one that makes sense.
fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    elements(value).find_map(|parameter| {
        let seconds = parameter.strip_prefix(b"timeout=")?;
        parse_length(seconds).filter(|seconds| *seconds <= 86_400).map(Duration::from_secs)
    })
}
