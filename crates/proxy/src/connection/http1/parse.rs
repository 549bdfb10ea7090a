//! Request heads: tokens by `httparse`, meaning and strictness ours (RFC 9112, RFC 9110).

use std::mem::MaybeUninit;

use super::framing::{BodyFraming, ConnectionFacts, FramingFlaw, Upgrade};
use super::scan::{FirstLine, HeadLimits, HeadScan, ScanStop};
use crate::head::{
    AuthorityRefusal, HEAD_FIELDS_MAX, Head, HeadError, Kind, Known, Method, PathRefusal, Scheme, Span,
    TargetForm, Version, authority, is_token_byte, path,
};

/// What a request head said about its message and its connection; the rest is in the [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedRequest {
    /// Bytes of the buffer that the head took, empty lines before it included.
    pub head_bytes: usize,
    /// How the body ends; never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends the body. The field itself is not passed on: whoever
    /// starts to read the body answers.
    pub expect_continue: bool,
    /// Whether the client asks for another protocol. Bytes after the head are HTTP until a 101 was sent.
    pub upgrade: Upgrade,
}

/// Why a request head is refused. Whatever it is, the connection closes: where the next message would begin is no
/// longer certain, or the sender is not one to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadRefusal {
    /// The request line exceeds its limit.
    #[error("the request line is longer than the limit")]
    RequestLineTooLong,
    /// The head exceeds its limit.
    #[error("the head is larger than the limit")]
    HeadTooLarge,
    /// More fields than the limit.
    #[error("there are more fields than the limit")]
    TooManyFields,
    /// More than a few empty lines before the request line.
    #[error("there are empty lines before the request line")]
    LeadingLines,
    /// LF without CR before it.
    #[error("a line ends with LF alone")]
    BareLf,
    /// CR without LF after it.
    #[error("CR stands alone")]
    BareCr,
    /// A line that begins with a space or tab.
    #[error("a field is folded over several lines")]
    FoldedLine,
    /// A space or tab before a field's colon.
    #[error("whitespace stands before the colon of a field")]
    SpaceBeforeColon,
    /// The request line is not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLineInvalid,
    /// The request line ends after the target, as in HTTP/0.9.
    #[error("the request line names no version")]
    VersionMissing,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    VersionUnsupported,
    /// The method is not a token.
    #[error("the method is not a token")]
    MethodInvalid,
    /// The target has none of the four forms.
    #[error("the target is malformed")]
    TargetInvalid,
    /// A form that the method does not have: `*` without OPTIONS, `host:port` without CONNECT, or the reverse.
    #[error("the target has a form that does not go with the method")]
    TargetForm,
    /// The path has no canonical form.
    #[error("the path {0}")]
    Path(PathRefusal),
    /// A field name is not a token.
    #[error("a field name is not a token")]
    FieldNameInvalid,
    /// A field name holds `_`.
    #[error("a field name holds an underscore")]
    FieldNameUnderscore,
    /// A field value holds a control byte.
    #[error("a field value holds a control byte")]
    FieldValueInvalid,
    /// HTTP/1.1 without `host`.
    #[error("there is no host field")]
    HostMissing,
    /// More than one `host`.
    #[error("there are several host fields")]
    HostRepeated,
    /// The `host` field or the target's authority is not `host[:port]`.
    #[error("the authority is not valid: {0}")]
    HostInvalid(AuthorityRefusal),
    /// The target names another authority than `host`.
    #[error("the target names another authority than the host field")]
    HostMismatch,
    /// `content-length` is not a number of at most 19 digits.
    #[error("content-length is not a number")]
    LengthInvalid,
    /// More than one `content-length`.
    #[error("there are several content-length fields")]
    LengthRepeated,
    /// `content-length` and `transfer-encoding` together.
    #[error("content-length and transfer-encoding exclude each other")]
    LengthAndCoding,
    /// More than one `transfer-encoding`.
    #[error("there are several transfer-encoding fields")]
    CodingRepeated,
    /// A transfer coding that is not exactly `chunked`.
    #[error("the only transfer coding here is chunked")]
    CodingUnsupported,
    /// `transfer-encoding` in HTTP/1.0.
    #[error("HTTP/1.0 has no transfer-encoding")]
    CodingOnHttp10,
    /// A CONNECT that announces a body.
    #[error("CONNECT has no body")]
    ConnectWithBody,
    /// `connection` holds what is no token, too many names, or a field that frames the message.
    #[error("the connection field is malformed")]
    ConnectionInvalid,
    /// An expectation other than `100-continue`.
    #[error("the only expectation here is 100-continue")]
    ExpectUnsupported,
}

impl HeadRefusal {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            HeadRefusal::RequestLineTooLong => 414,
            HeadRefusal::HeadTooLarge | HeadRefusal::TooManyFields => 431,
            HeadRefusal::VersionUnsupported => 505,
            HeadRefusal::ExpectUnsupported => 417,
            _ => 400,
        }
    }

    /// A stable short name, for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            HeadRefusal::RequestLineTooLong => "request_line_too_long",
            HeadRefusal::HeadTooLarge => "head_too_large",
            HeadRefusal::TooManyFields => "too_many_fields",
            HeadRefusal::LeadingLines => "leading_lines",
            HeadRefusal::BareLf => "bare_lf",
            HeadRefusal::BareCr => "bare_cr",
            HeadRefusal::FoldedLine => "folded_line",
            HeadRefusal::SpaceBeforeColon => "space_before_colon",
            HeadRefusal::RequestLineInvalid => "request_line_invalid",
            HeadRefusal::VersionMissing => "version_missing",
            HeadRefusal::VersionUnsupported => "version_unsupported",
            HeadRefusal::MethodInvalid => "method_invalid",
            HeadRefusal::TargetInvalid => "target_invalid",
            HeadRefusal::TargetForm => "target_form",
            HeadRefusal::Path(_) => "path_invalid",
            HeadRefusal::FieldNameInvalid => "field_name_invalid",
            HeadRefusal::FieldNameUnderscore => "field_name_underscore",
            HeadRefusal::FieldValueInvalid => "field_value_invalid",
            HeadRefusal::HostMissing => "host_missing",
            HeadRefusal::HostRepeated => "host_repeated",
            HeadRefusal::HostInvalid(_) => "host_invalid",
            HeadRefusal::HostMismatch => "host_mismatch",
            HeadRefusal::LengthInvalid => "length_invalid",
            HeadRefusal::LengthRepeated => "length_repeated",
            HeadRefusal::LengthAndCoding => "length_and_coding",
            HeadRefusal::CodingRepeated => "coding_repeated",
            HeadRefusal::CodingUnsupported => "coding_unsupported",
            HeadRefusal::CodingOnHttp10 => "coding_on_http10",
            HeadRefusal::ConnectWithBody => "connect_with_body",
            HeadRefusal::ConnectionInvalid => "connection_invalid",
            HeadRefusal::ExpectUnsupported => "expect_unsupported",
        }
    }

    /// Whether the connection must close after the answer: always, see the type.
    pub fn must_close(self) -> bool {
        true
    }
}

impl From<ScanStop> for HeadRefusal {
    fn from(stop: ScanStop) -> HeadRefusal {
        match stop {
            ScanStop::BareLf => HeadRefusal::BareLf,
            ScanStop::BareCr => HeadRefusal::BareCr,
            ScanStop::LeadingLines => HeadRefusal::LeadingLines,
            ScanStop::FirstByte => HeadRefusal::MethodInvalid,
            ScanStop::LineTooLong => HeadRefusal::RequestLineTooLong,
            ScanStop::HeadTooLarge => HeadRefusal::HeadTooLarge,
        }
    }
}

impl From<FramingFlaw> for HeadRefusal {
    fn from(flaw: FramingFlaw) -> HeadRefusal {
        match flaw {
            FramingFlaw::LengthInvalid => HeadRefusal::LengthInvalid,
            FramingFlaw::LengthRepeated => HeadRefusal::LengthRepeated,
            FramingFlaw::LengthAndCoding => HeadRefusal::LengthAndCoding,
            FramingFlaw::CodingRepeated => HeadRefusal::CodingRepeated,
            FramingFlaw::CodingUnsupported => HeadRefusal::CodingUnsupported,
            FramingFlaw::CodingOnHttp10 => HeadRefusal::CodingOnHttp10,
            FramingFlaw::ConnectionInvalid => HeadRefusal::ConnectionInvalid,
            FramingFlaw::HostRepeated => HeadRefusal::HostRepeated,
            FramingFlaw::ExpectUnsupported => HeadRefusal::ExpectUnsupported,
        }
    }
}

impl From<HeadError> for HeadRefusal {
    fn from(error: HeadError) -> HeadRefusal {
        match error {
            HeadError::NameInvalid => HeadRefusal::FieldNameInvalid,
            HeadError::ValueInvalid => HeadRefusal::FieldValueInvalid,
            HeadError::MethodInvalid => HeadRefusal::MethodInvalid,
            HeadError::TooManyFields => HeadRefusal::TooManyFields,
            HeadError::TooLarge => HeadRefusal::HeadTooLarge,
            HeadError::AuthorityMismatch => HeadRefusal::HostMismatch,
            HeadError::Authority(refusal) => HeadRefusal::HostInvalid(refusal),
            HeadError::Path(refusal) => HeadRefusal::Path(refusal),
        }
    }
}

/// Parses the request head at the beginning of `buf` into `head`.
///
/// `None` asks for more bytes; call again with the same `scan` and a longer buffer that begins at the same byte.
/// Costs one pass over new bytes and, when the end is there, one over the head. After a success `scan` is ready
/// for the next head, which begins `head_bytes` and the body later.
///
/// # Errors
/// [`HeadRefusal`]: answer and close. `head` holds nothing to rely on then.
pub fn parse_request(
    buf: &[u8],
    scan: &mut HeadScan,
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<Option<ParsedRequest>, HeadRefusal> {
    const FIRST: FirstLine<HeadRefusal> =
        FirstLine { leading_lines_allowed: true, first_byte: is_token_byte, check: check_request_line };
    let Some(range) = scan.advance(buf, limits, &FIRST)? else { return Ok(None) };
    let head_bytes = range.end;
    let parsed = read(&buf[range], limits, head)?;
    *scan = HeadScan::default();
    Ok(Some(ParsedRequest { head_bytes, ..parsed }))
}

/// Judges the request line as soon as it is there, so that HTTP/0.9 and noise are answered and not waited for. A
/// line that ends as it should is left to the tokeniser, which reads it anyway.
fn check_request_line(line: &[u8]) -> Result<(), HeadRefusal> {
    if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
        return Ok(());
    }
    explain_request_line(line)
}

/// Names what is wrong with a request line, if it is about spaces, method or version.
#[cold]
fn explain_request_line(line: &[u8]) -> Result<(), HeadRefusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    if !method.is_some_and(|method| !method.is_empty() && method.iter().all(|byte| is_token_byte(*byte))) {
        return Err(HeadRefusal::MethodInvalid);
    }
    if target.is_none_or(<[u8]>::is_empty) || rest.is_some() {
        return Err(HeadRefusal::RequestLineInvalid);
    }
    match version {
        Some(b"HTTP/1.1" | b"HTTP/1.0") => Ok(()),
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadRefusal::VersionUnsupported)
        }
        Some(_) => Err(HeadRefusal::RequestLineInvalid),
        None => Err(HeadRefusal::VersionMissing),
    }
}

fn read(wire: &[u8], limits: &HeadLimits, head: &mut Head) -> Result<ParsedRequest, HeadRefusal> {
    let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let slots = &mut slots[..limits.fields_max.min(HEAD_FIELDS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(wire, slots) {
        Ok(httparse::Status::Complete(end)) if end == wire.len() => {}
        Ok(_) => return Err(HeadRefusal::RequestLineInvalid),
        Err(error) => return Err(explain(wire, error)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadRefusal::RequestLineInvalid);
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };

    head.load(Kind::Request, wire);
    head.set_version(version);
    let mut facts = ConnectionFacts::default();
    read_fields::<HeadRefusal>(wire, request.headers, limits.underscores_allowed, &mut facts, head)?;

    let method = method.as_bytes();
    head.set_method_loaded(Method::from_bytes(method), span(wire, method)?);
    let target_authority = read_target(wire, target.as_bytes(), head)?;
    settle_authority(wire, target_authority, facts.host, version, head)?;
    settle(&facts, version, head)
}

/// Moves the tokenised fields into the head, or into `facts` if they concern this connection alone.
pub(super) fn read_fields<'a, E>(
    wire: &'a [u8],
    fields: &[httparse::Header<'a>],
    underscores_allowed: bool,
    facts: &mut ConnectionFacts<'a>,
    head: &mut Head,
) -> Result<(), E>
where
    E: From<FramingFlaw> + From<HeadError> + UnderscoreRefused,
{
    for field in fields {
        let name = field.name.as_bytes();
        let known = Known::from_bytes(name);
        if known == Known::Other && !underscores_allowed && memchr::memchr(b'_', name).is_some() {
            return Err(E::UNDERSCORE);
        }
        if !facts.take(known, field.value)? {
            head.push_loaded(known, span(wire, name)?, span(wire, field.value)?);
        }
    }
    let connection =
        |field: &&httparse::Header<'a>| Known::from_bytes(field.name.as_bytes()) == Known::Connection;
    facts.remove_named(head, fields.iter().filter(connection).map(|field| field.value));
    facts.keep_te(head)?;
    Ok(())
}

/// How each side says that a field name with `_` is refused.
pub(super) trait UnderscoreRefused {
    const UNDERSCORE: Self;
}

impl UnderscoreRefused for HeadRefusal {
    const UNDERSCORE: HeadRefusal = HeadRefusal::FieldNameUnderscore;
}

/// Reads the target in any of its forms (RFC 9112, 3.2); gives the authority that it names, if it names one.
fn read_target<'a>(wire: &[u8], target: &'a [u8], head: &mut Head) -> Result<Option<&'a [u8]>, HeadRefusal> {
    if head.method() == Method::Connect {
        return read_connect_target(target, head).map(Some);
    }
    if target == b"*" {
        if head.method() != Method::Options {
            return Err(HeadRefusal::TargetForm);
        }
        head.set_target(b"*")?;
        return Ok(None);
    }
    if target.first() == Some(&b'/') {
        read_path(wire, target, head)?;
        return Ok(None);
    }
    let Some(colon) = memchr::memmem::find(target, b"://") else {
        let authority = authority::check(target).is_ok();
        return Err(if authority { HeadRefusal::TargetForm } else { HeadRefusal::TargetInvalid });
    };
    let scheme = Scheme::from_bytes(&target[..colon]).ok_or(HeadRefusal::TargetInvalid)?;
    let rest = &target[colon + 3..];
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    authority::check(authority).map_err(HeadRefusal::HostInvalid)?;
    match path.first() {
        // RFC 9112, 3.2.4: this is how a client asks a proxy for OPTIONS of the server as a whole.
        None if head.method() == Method::Options => head.set_target(b"*")?,
        None => head.set_target(b"/")?,
        Some(b'?') => {
            head.set_target(b"/")?;
            set_query(wire, path::split_query(path).map_err(HeadRefusal::Path)?.query, head)?;
        }
        Some(_) => read_path(wire, path, head)?,
    }
    head.set_form(if head.path() == "*" { TargetForm::Asterisk } else { TargetForm::Absolute });
    head.set_scheme(scheme);
    Ok(Some(authority))
}

fn read_connect_target<'a>(target: &'a [u8], head: &mut Head) -> Result<&'a [u8], HeadRefusal> {
    if matches!(target.first(), Some(b'/' | b'*')) || memchr::memmem::find(target, b"://").is_some() {
        return Err(HeadRefusal::TargetForm);
    }
    authority::check(target).map_err(HeadRefusal::HostInvalid)?;
    let port = authority::split_port(std::str::from_utf8(target).unwrap_or_default()).1;
    // RFC 9110, 9.3.6: a port must be there; 0 is one nobody can connect to.
    if !port.is_some_and(|port| port.bytes().any(|digit| digit != b'0')) {
        return Err(HeadRefusal::HostInvalid(AuthorityRefusal::PortInvalid));
    }
    head.set_form(TargetForm::Authority);
    Ok(target)
}

/// Takes path and query, without a copy where the path is canonical already.
fn read_path(wire: &[u8], target: &[u8], head: &mut Head) -> Result<(), HeadRefusal> {
    let split = path::split_query(target).map_err(HeadRefusal::Path)?;
    if path::is_plain(split.path) {
        head.set_path_loaded(span(wire, split.path)?);
    } else {
        head.set_path(split.path)?;
    }
    set_query(wire, split.query, head)
}

fn set_query(wire: &[u8], query: Option<&[u8]>, head: &mut Head) -> Result<(), HeadRefusal> {
    head.set_query_loaded(query.map(|query| span(wire, query)).transpose()?);
    Ok(())
}

/// Makes target and `host` agree on one authority (RFC 9112, 3.2 and 3.2.2; a mismatch is refused here).
fn settle_authority(
    wire: &[u8],
    target: Option<&[u8]>,
    host: Option<&[u8]>,
    version: Version,
    head: &mut Head,
) -> Result<(), HeadRefusal> {
    if let Some(host) = host {
        authority::check(host).map_err(HeadRefusal::HostInvalid)?;
        if target.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
            return Err(HeadRefusal::HostMismatch);
        }
    } else if version >= Version::Http11 {
        return Err(HeadRefusal::HostMissing);
    }
    if let Some(authority) = target.or(host) {
        head.set_authority_loaded(span(wire, authority)?);
    }
    Ok(())
}

/// Judges the connection fields as a whole.
fn settle(
    facts: &ConnectionFacts<'_>,
    version: Version,
    head: &mut Head,
) -> Result<ParsedRequest, HeadRefusal> {
    let chunked = facts.check_coding(version)?;
    if head.method() == Method::Connect && (chunked || facts.length.is_some()) {
        return Err(HeadRefusal::ConnectWithBody);
    }
    let framing = match facts.length {
        _ if chunked => BodyFraming::Chunked,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::None,
    };
    let mut expect_continue = false;
    // RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored.
    if let Some(expect) = facts.expect.filter(|_| version >= Version::Http11) {
        if !expect.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadRefusal::ExpectUnsupported);
        }
        expect_continue = !framing.is_empty();
    }
    let mut upgrade = Upgrade::None;
    // A body and a change of protocol in one request: where the one ends and the other begins is read in two
    // ways. Ignoring the upgrade is always allowed (RFC 9110, 7.8).
    let may_upgrade = framing.is_empty() && head.method() != Method::Connect;
    if let Some(protocol) = facts.upgrade(version).filter(|_| may_upgrade) {
        head.push_known(Known::Upgrade, protocol)?;
        let web_socket = protocol.eq_ignore_ascii_case(b"websocket");
        upgrade = if web_socket { Upgrade::WebSocket } else { Upgrade::Other };
    }
    let keep_alive = facts.persists(version);
    Ok(ParsedRequest { head_bytes: 0, framing, keep_alive, expect_continue, upgrade })
}

/// Where a part of the wire bytes stands in them.
fn span(wire: &[u8], part: &[u8]) -> Result<Span, HeadError> {
    let start = (part.as_ptr() as usize).wrapping_sub(wire.as_ptr() as usize);
    if start + part.len() > wire.len() {
        return Err(HeadError::TooLarge);
    }
    Span::new(start, part.len()).ok_or(HeadError::TooLarge)
}

/// Finds the first line that the tokeniser cannot have liked, to name it better than "invalid". Cold.
#[cold]
fn explain(wire: &[u8], error: httparse::Error) -> HeadRefusal {
    let line_end = memchr::memmem::find(wire, b"\r\n").unwrap_or(wire.len());
    if let Err(refusal) = explain_request_line(&wire[..line_end]) {
        return refusal;
    }
    match field_flaw(wire, error) {
        Some(FieldFlaw::BareCr) => HeadRefusal::BareCr,
        Some(FieldFlaw::FoldedLine) => HeadRefusal::FoldedLine,
        Some(FieldFlaw::SpaceBeforeColon) => HeadRefusal::SpaceBeforeColon,
        Some(FieldFlaw::Name) => HeadRefusal::FieldNameInvalid,
        Some(FieldFlaw::Value) => HeadRefusal::FieldValueInvalid,
        Some(FieldFlaw::TooMany) => HeadRefusal::TooManyFields,
        None => match error {
            httparse::Error::Token => HeadRefusal::TargetInvalid,
            httparse::Error::Version => HeadRefusal::VersionUnsupported,
            _ => HeadRefusal::RequestLineInvalid,
        },
    }
}

/// What is wrong with a field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldFlaw {
    BareCr,
    FoldedLine,
    SpaceBeforeColon,
    Name,
    Value,
    TooMany,
}

/// The first flaw of the lines after the first; `None` if the tokeniser's error is about the first line.
pub(super) fn field_flaw(wire: &[u8], error: httparse::Error) -> Option<FieldFlaw> {
    if error == httparse::Error::TooManyHeaders {
        return Some(FieldFlaw::TooMany);
    }
    let mut lines =
        wire.split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len().saturating_sub(2)]);
    if lines.next().is_some_and(|line| line.contains(&b'\r')) {
        return Some(FieldFlaw::BareCr);
    }
    lines.find_map(line_flaw)
}

/// What is wrong with one field line, its CRLF taken off.
pub(super) fn line_flaw(line: &[u8]) -> Option<FieldFlaw> {
    if line.is_empty() {
        return None;
    }
    if line.contains(&b'\r') {
        return Some(FieldFlaw::BareCr);
    }
    if matches!(line[0], b' ' | b'\t') {
        return Some(FieldFlaw::FoldedLine);
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Some(FieldFlaw::Name) };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Some(FieldFlaw::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Some(FieldFlaw::Name);
    }
    (!value.iter().all(|byte| crate::head::is_value_byte(*byte))).then_some(FieldFlaw::Value)
}
