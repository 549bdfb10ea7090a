//! Response heads from an upstream: what is ambiguous or untrue is a fault of the upstream (502), and its
//! connection is not used again.

use std::mem::MaybeUninit;
use std::time::Duration;

use super::framing::{BodyFraming, ConnectionFacts, FramingFlaw};
use super::parse::{FieldFlaw, UnderscoreRefused, field_flaw, read_fields};
use super::scan::{FirstLine, HeadLimits, HeadScan, ScanStop};
use crate::head::{HEAD_FIELDS_MAX, Head, HeadError, Kind, Known, Method, Version};

/// The request that a response answers: without it a response has no certain end (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseTo {
    /// The method that was sent.
    pub method: Method,
    /// Whether an `upgrade` was sent along.
    pub upgrade: bool,
}

/// What a response head said about its message and its connection; the rest is in the [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedResponse {
    /// Bytes of the buffer that the head took.
    pub head_bytes: usize,
    /// The status; also in the head.
    pub status: u16,
    /// How the body ends.
    pub framing: BodyFraming,
    /// What `content-length` said, also where no body follows: to HEAD, and with 304.
    pub length_declared: Option<u64>,
    /// Whether the connection can carry another request once the body has ended.
    pub keep_alive: bool,
    /// How long the upstream says it keeps an idle connection.
    pub keep_alive_timeout: Option<Duration>,
    /// 1xx but 101: the final head is still to come.
    pub interim: bool,
    /// What follows is not HTTP: a 101 that was asked for, or a 2xx to CONNECT.
    pub switched: bool,
}

/// What an upstream did wrong in a head. Its connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// The status line is not one of HTTP/1.
    #[error("the status line is malformed")]
    StatusLineInvalid,
    /// The status is not from 100 to 599.
    #[error("the status is not from 100 to 599")]
    StatusInvalid,
    /// The head exceeds its limit.
    #[error("the head is larger than the limit")]
    HeadTooLarge,
    /// More fields than the limit.
    #[error("there are more fields than the limit")]
    TooManyFields,
    /// LF without CR, or CR without LF.
    #[error("a line does not end with CRLF")]
    LineEnd,
    /// A folded field, whitespace before a colon, a name that is no token, or a control byte in a value.
    #[error("a field is malformed")]
    FieldInvalid,
    /// `content-length` is not a number, or there are several.
    #[error("content-length is not one number")]
    LengthInvalid,
    /// `content-length` and `transfer-encoding` together.
    #[error("content-length and transfer-encoding exclude each other")]
    LengthAndCoding,
    /// A `transfer-encoding` that is not exactly `chunked`, repeated, or in HTTP/1.0.
    #[error("the only transfer coding here is chunked")]
    CodingUnsupported,
    /// A 1xx or 204 that announces a body.
    #[error("a status that has no body announces one")]
    BodyForbidden,
    /// A 101 that nobody asked for, or that names no protocol.
    #[error("it switches protocols unasked")]
    SwitchUnasked,
    /// `connection` holds what is no token, too many names, or a field that frames the message.
    #[error("the connection field is malformed")]
    ConnectionInvalid,
}

impl HeadFault {
    /// A stable short name, for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            HeadFault::StatusLineInvalid => "status_line_invalid",
            HeadFault::StatusInvalid => "status_invalid",
            HeadFault::HeadTooLarge => "head_too_large",
            HeadFault::TooManyFields => "too_many_fields",
            HeadFault::LineEnd => "line_end",
            HeadFault::FieldInvalid => "field_invalid",
            HeadFault::LengthInvalid => "length_invalid",
            HeadFault::LengthAndCoding => "length_and_coding",
            HeadFault::CodingUnsupported => "coding_unsupported",
            HeadFault::BodyForbidden => "body_forbidden",
            HeadFault::SwitchUnasked => "switch_unasked",
            HeadFault::ConnectionInvalid => "connection_invalid",
        }
    }
}

impl From<ScanStop> for HeadFault {
    fn from(stop: ScanStop) -> HeadFault {
        match stop {
            ScanStop::BareLf | ScanStop::BareCr => HeadFault::LineEnd,
            ScanStop::LeadingLines | ScanStop::FirstByte => HeadFault::StatusLineInvalid,
            ScanStop::LineTooLong | ScanStop::HeadTooLarge => HeadFault::HeadTooLarge,
        }
    }
}

impl From<FramingFlaw> for HeadFault {
    fn from(flaw: FramingFlaw) -> HeadFault {
        match flaw {
            FramingFlaw::LengthInvalid | FramingFlaw::LengthRepeated => HeadFault::LengthInvalid,
            FramingFlaw::LengthAndCoding => HeadFault::LengthAndCoding,
            FramingFlaw::CodingRepeated | FramingFlaw::CodingUnsupported | FramingFlaw::CodingOnHttp10 => {
                HeadFault::CodingUnsupported
            }
            FramingFlaw::ConnectionInvalid => HeadFault::ConnectionInvalid,
            FramingFlaw::HostRepeated | FramingFlaw::ExpectUnsupported => HeadFault::FieldInvalid,
        }
    }
}

impl From<HeadError> for HeadFault {
    fn from(error: HeadError) -> HeadFault {
        match error {
            HeadError::TooManyFields => HeadFault::TooManyFields,
            HeadError::TooLarge => HeadFault::HeadTooLarge,
            HeadError::NameInvalid
            | HeadError::ValueInvalid
            | HeadError::MethodInvalid
            | HeadError::AuthorityMismatch
            | HeadError::Authority(_)
            | HeadError::Path(_) => HeadFault::FieldInvalid,
        }
    }
}

impl UnderscoreRefused for HeadFault {
    const UNDERSCORE: HeadFault = HeadFault::FieldInvalid;
}

/// Parses the response head at the beginning of `buf` into `head`; `to` is the request it answers.
///
/// `None` asks for more bytes; call again with the same `scan` and a longer buffer that begins at the same byte.
/// After an interim response call again for the final one. Underscores in names are an upstream's own business.
///
/// # Errors
/// [`HeadFault`]: the upstream broke the protocol; close its connection. `head` holds nothing to rely on then.
pub fn parse_response(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    to: ResponseTo,
    head: &mut Head,
) -> Result<Option<ParsedResponse>, HeadFault> {
    const FIRST: FirstLine<HeadFault> =
        FirstLine { leading_lines_allowed: false, first_byte: |byte| byte == b'H', check: check_status_line };
    let Some(range) = scan.advance(buf, limits, &FIRST)? else { return Ok(None) };
    let head_bytes = range.end;
    let parsed = read(&buf[range], limits, to, head)?;
    *scan = HeadScan::default();
    Ok(Some(ParsedResponse { head_bytes, ..parsed }))
}

/// Judges the status line as soon as it is there (RFC 9112, 4). The space before an empty reason is required by
/// the grammar and often missing; both are certain.
fn check_status_line(line: &[u8]) -> Result<(), HeadFault> {
    let Some(rest) = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 ")) else {
        return Err(HeadFault::StatusLineInvalid);
    };
    match rest {
        [a, b, c, end @ ..] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => match (a, end) {
            (b'1'..=b'5', [] | [b' ', ..]) => Ok(()),
            (_, [] | [b' ', ..]) => Err(HeadFault::StatusInvalid),
            _ => Err(HeadFault::StatusLineInvalid),
        },
        _ => Err(HeadFault::StatusLineInvalid),
    }
}

fn read(
    wire: &[u8],
    limits: &HeadLimits,
    to: ResponseTo,
    head: &mut Head,
) -> Result<ParsedResponse, HeadFault> {
    let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let slots = &mut slots[..limits.fields_max.min(HEAD_FIELDS_MAX)];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, wire, slots) {
        Ok(httparse::Status::Complete(end)) if end == wire.len() => {}
        Ok(_) => return Err(HeadFault::StatusLineInvalid),
        Err(error) => return Err(explain(wire, error)),
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(HeadFault::StatusLineInvalid);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.load(Kind::Response, wire);
    head.set_version(version);
    head.set_status(status);
    let mut facts = ConnectionFacts::default();
    read_fields::<HeadFault>(wire, response.headers, true, &mut facts, head)?;
    settle(&facts, version, status, to, head)
}

/// Judges the connection fields together with the status and the request (RFC 9112, 6.3).
fn settle(
    facts: &ConnectionFacts<'_>,
    version: Version,
    status: u16,
    to: ResponseTo,
    head: &mut Head,
) -> Result<ParsedResponse, HeadFault> {
    let chunked = facts.check_coding(version)?;
    let tunnel = to.method == Method::Connect && (200..300).contains(&status);
    let informational = status < 200;
    let announces = chunked || facts.length.is_some_and(|length| length > 0);
    // RFC 9110, 8.6 and RFC 9112, 6.1: neither field belongs here. `content-length: 0` is common and certain.
    if (informational || status == 204) && announces {
        return Err(HeadFault::BodyForbidden);
    }
    let switched = status == 101 || tunnel;
    if status == 101 {
        let protocol = facts.upgrade(version).filter(|_| to.upgrade).ok_or(HeadFault::SwitchUnasked)?;
        head.push_known(Known::Upgrade, protocol)?;
    }
    // Says what the client should have asked for (RFC 9110, 15.5.22); without it the refusal has no remedy.
    if status == 426
        && let Some(protocol) = facts.upgrade(version)
    {
        head.push_known(Known::Upgrade, protocol)?;
    }
    let bodiless = informational || tunnel || status == 204 || status == 304 || to.method == Method::Head;
    let framing = match facts.length {
        _ if bodiless => BodyFraming::None,
        _ if chunked => BodyFraming::Chunked,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::UntilClose,
    };
    let length_declared = facts.length.filter(|_| !informational && !tunnel && status != 204);
    let keep_alive = facts.persists(version) && framing != BodyFraming::UntilClose && !switched;
    Ok(ParsedResponse {
        head_bytes: 0,
        status,
        framing,
        length_declared,
        keep_alive,
        keep_alive_timeout: facts.keep_alive_timeout,
        interim: informational && !switched,
        switched,
    })
}

#[cold]
fn explain(wire: &[u8], error: httparse::Error) -> HeadFault {
    match field_flaw(wire, error) {
        Some(FieldFlaw::BareCr) => HeadFault::LineEnd,
        Some(FieldFlaw::TooMany) => HeadFault::TooManyFields,
        Some(FieldFlaw::FoldedLine | FieldFlaw::SpaceBeforeColon | FieldFlaw::Name | FieldFlaw::Value) => {
            HeadFault::FieldInvalid
        }
        None => HeadFault::StatusLineInvalid,
    }
}
