//! The head of a request or response: what stages decide on and what codecs write, for every version of HTTP.
//!
//! A general header map costs an allocation per field and a hash per question. A proxy asks about the same few
//! dozen names and forwards the rest untouched, so a head here is one byte buffer and a short list of spans into
//! it, both reused from exchange to exchange. Names that the data plane asks about have a number ([`Known`]); a
//! bit set answers "is it there at all" without looking at the list.
//!
//! Three rules make it safe to decide on: names are lower-case, a request's target and authority are canonical
//! (see [`path`] and [`authority`]), and no value can hold CR, LF or NUL whoever pushes it. Of a request, `host`
//! is never a field in the list: it *is* the authority, so the two cannot disagree.

pub mod authority;
mod fields;
mod known;
mod method;
pub mod path;

use std::fmt;

pub use authority::AuthorityRefusal;
pub use fields::FieldRef;
pub use known::Known;
pub use method::Method;
pub use path::PathRefusal;

/// Most bytes a head may hold, canonical copies and values set by stages included. Parsers refuse far earlier;
/// this bounds what stages can add.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Most fields a head may hold. Parsers refuse at their own limit (100 by default); the rest is room for stages.
pub const HEAD_FIELDS_MAX: usize = 256;

/// What cannot be put into a [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A field name is empty or holds something other than token characters (RFC 9110, 5.1).
    #[error("a field name must be a token")]
    NameInvalid,
    /// A field value holds CR, LF, NUL or another control byte (RFC 9110, 5.5).
    #[error("a field value must not hold control bytes")]
    ValueInvalid,
    /// A method is empty or not a token (RFC 9110, 9.1).
    #[error("a method must be a token")]
    MethodInvalid,
    /// More than [`HEAD_FIELDS_MAX`] fields.
    #[error("more than {HEAD_FIELDS_MAX} fields")]
    TooManyFields,
    /// More than [`HEAD_BYTES_MAX`] bytes.
    #[error("more than {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    /// The `host` field is not the authority of the target.
    #[error("the host field differs from the authority of the target")]
    AuthorityMismatch,
    /// The authority is not `host[:port]`.
    #[error("invalid authority: {0}")]
    Authority(#[from] AuthorityRefusal),
    /// The path cannot be made canonical.
    #[error("invalid path: {0}")]
    Path(#[from] PathRefusal),
}

/// The protocol version a head came with, or is to be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945; framed as RFC 9112 says).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// The scheme of a request's target, where the target named one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Reads a scheme, whatever its case; `None` for any but the two of HTTP.
    pub fn from_bytes(text: &[u8]) -> Option<Scheme> {
        if text.eq_ignore_ascii_case(b"http") {
            Some(Scheme::Http)
        } else if text.eq_ignore_ascii_case(b"https") {
            Some(Scheme::Https)
        } else {
            None
        }
    }
}

/// The form in which a request names its target (RFC 9112, 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetForm {
    /// `/path?query`: nearly every request.
    #[default]
    Origin,
    /// `http://host/path?query`: to a forward proxy.
    Absolute,
    /// `host:port`: CONNECT alone.
    Authority,
    /// `*`: OPTIONS of the server as a whole.
    Asterisk,
}

/// What a head is the head of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A request.
    #[default]
    Request,
    /// A response.
    Response,
    /// The fields after a body.
    Trailers,
}

/// A reusable head: see the file's own text for the shape and the rules.
#[derive(Clone, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// One bit per [`Known`] name that is in `fields`.
    present: u128,
    kind: Kind,
    version: Version,
    method: Method,
    method_text: Span,
    form: TargetForm,
    scheme: Option<Scheme>,
    authority: Span,
    path: Span,
    query: Option<Span>,
    status: u16,
}

/// A range of `Head::bytes`. Heads are at most [`HEAD_BYTES_MAX`] long, so 32 bits do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// `None` if the range does not fit a head.
    pub(crate) fn new(start: usize, len: usize) -> Option<Span> {
        Some(Span { start: u32::try_from(start).ok()?, len: u32::try_from(len).ok()? })
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    known: Known,
    /// Where the name stands, of a name that is not known; else empty.
    name: Span,
    value: Span,
}

/// Starting over, and what is not a field.
impl Head {
    /// An empty head that owns no memory yet.
    pub fn new() -> Head {
        Head::default()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.present = 0;
        self.kind = Kind::Request;
        self.version = Version::Http11;
        self.method = Method::Get;
        self.method_text = Span::default();
        self.form = TargetForm::Origin;
        self.scheme = None;
        self.authority = Span::default();
        self.path = Span::default();
        self.query = None;
        self.status = 0;
    }

    /// Bytes of memory that it owns for its text.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Begins a request: clears, then sets method and version. The target is `/` until it is set.
    ///
    /// # Errors
    /// [`HeadError::MethodInvalid`] if the method is not a token.
    pub fn start_request(&mut self, method: &[u8], version: Version) -> Result<(), HeadError> {
        self.clear();
        self.version = version;
        self.set_method(method)?;
        self.set_target(b"/")
    }

    /// Begins a response: clears, then sets status and version.
    pub fn start_response(&mut self, status: u16, version: Version) {
        self.clear();
        self.kind = Kind::Response;
        self.version = version;
        self.status = status;
    }

    /// Begins a list of trailer fields.
    pub fn start_trailers(&mut self) {
        self.clear();
        self.kind = Kind::Trailers;
    }

    /// Makes this head equal to another, reusing this one's memory.
    pub fn copy_from(&mut self, other: &Head) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut fields = std::mem::take(&mut self.fields);
        bytes.clear();
        bytes.extend_from_slice(&other.bytes);
        fields.clear();
        fields.extend_from_slice(&other.fields);
        *self = Head { bytes, fields, ..*other };
    }

    /// What this is the head of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version it came with.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The method of a request.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method of a request as text, also where it is [`Method::Other`].
    pub fn method_str(&self) -> &str {
        match self.method {
            Method::Other => std::str::from_utf8(self.text(self.method_text)).unwrap_or_default(),
            known => known.as_str(),
        }
    }

    /// Changes the method.
    ///
    /// # Errors
    /// [`HeadError::MethodInvalid`] if it is not a token; [`HeadError::TooLarge`].
    pub fn set_method(&mut self, method: &[u8]) -> Result<(), HeadError> {
        let known = Method::from_bytes(method);
        if known == Method::Other {
            if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
                return Err(HeadError::MethodInvalid);
            }
            self.method_text = self.append(method)?;
        }
        self.method = known;
        Ok(())
    }

    /// The form in which the target came.
    pub fn target_form(&self) -> TargetForm {
        self.form
    }

    /// The canonical path of a request; empty in authority form, `*` in asterisk form.
    pub fn path(&self) -> &str {
        std::str::from_utf8(self.text(self.path)).unwrap_or_default()
    }

    /// What follows the first `?` of the target, without it.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| std::str::from_utf8(self.text(span)).unwrap_or_default())
    }

    /// The authority of a request, lower-case, `host` or `host:port`; empty if none was given.
    pub fn authority(&self) -> &str {
        std::str::from_utf8(self.text(self.authority)).unwrap_or_default()
    }

    /// The authority's host, without a port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        authority::split_port(self.authority()).0
    }

    /// The scheme that the target named: absolute form or HTTP/2.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// Sets the scheme.
    pub fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = Some(scheme);
    }

    /// The status of a response; 0 of a request.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Changes the status of a response.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// Sets path and query from a raw origin-form target (`/a?b`, or `*`), making it canonical.
    ///
    /// # Errors
    /// [`HeadError::Path`] if it cannot be made canonical; [`HeadError::TooLarge`].
    pub fn set_target(&mut self, raw: &[u8]) -> Result<(), HeadError> {
        let start = self.bytes.len();
        if raw == b"*" {
            self.path = self.append(raw)?;
            self.query = None;
            self.form = TargetForm::Asterisk;
            return Ok(());
        }
        let split = path::split_query(raw)?;
        path::canonicalise(split.path, &mut self.bytes)?;
        let path = self.span_from(start)?;
        self.query = split.query.map(|query| self.append(query)).transpose()?;
        self.path = path;
        if self.form == TargetForm::Asterisk {
            self.form = TargetForm::Origin;
        }
        Ok(())
    }

    /// Sets the path alone, making it canonical; the query stays. For routes that rewrite a prefix.
    ///
    /// # Errors
    /// [`HeadError::Path`] if it cannot be made canonical or holds a `?`; [`HeadError::TooLarge`].
    pub fn set_path(&mut self, raw: &[u8]) -> Result<(), HeadError> {
        let start = self.bytes.len();
        path::canonicalise(raw, &mut self.bytes)?;
        self.path = self.span_from(start)?;
        Ok(())
    }

    /// Makes the authority the whole target, as CONNECT has it (RFC 9110, 9.3.6; RFC 9113, 8.5).
    ///
    /// # Errors
    /// [`HeadError::Authority`] if it names no port, or port 0.
    pub fn target_authority(&mut self) -> Result<(), HeadError> {
        let port = authority::split_port(self.authority()).1.and_then(|port| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(AuthorityRefusal::PortInvalid.into());
        }
        self.path = Span::default();
        self.query = None;
        self.form = TargetForm::Authority;
        Ok(())
    }

    /// Sets the authority, making it canonical (lower-case).
    ///
    /// # Errors
    /// [`HeadError::Authority`] if it is not `host[:port]`; [`HeadError::TooLarge`].
    pub fn set_authority(&mut self, raw: &[u8]) -> Result<(), HeadError> {
        authority::check(raw)?;
        let span = self.append(raw)?;
        self.bytes[span.range()].make_ascii_lowercase();
        self.authority = span;
        Ok(())
    }
}

/// For the codecs alone: filling a head from wire bytes with one copy.
impl Head {
    /// Clears and copies the wire bytes in, so that spans into them can be added without further copies.
    pub(crate) fn load(&mut self, kind: Kind, wire: &[u8]) {
        self.clear();
        self.kind = kind;
        self.bytes.extend_from_slice(wire);
    }

    /// Adds a field whose name and value stand in the loaded bytes. The tokeniser has checked both.
    pub(crate) fn push_loaded(&mut self, known: Known, name: Span, value: Span) {
        let name = if known == Known::Other {
            self.bytes[name.range()].make_ascii_lowercase();
            name
        } else {
            Span::default()
        };
        self.present |= known.bit();
        self.fields.push(Field { known, name, value });
    }

    /// All bytes that fields lie in, and others that lie between them.
    pub(crate) fn text_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path as bytes: the writer has no use for text.
    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.text(self.path)
    }

    /// The query as bytes.
    pub(crate) fn query_bytes(&self) -> Option<&[u8]> {
        self.query.map(|span| self.text(span))
    }

    /// The authority as bytes.
    pub(crate) fn authority_bytes(&self) -> &[u8] {
        self.text(self.authority)
    }

    /// Sets the method, whose text stands in the loaded bytes.
    pub(crate) fn set_method_loaded(&mut self, method: Method, text: Span) {
        self.method = method;
        self.method_text = text;
    }

    /// Sets the path, which stands canonical in the loaded bytes.
    pub(crate) fn set_path_loaded(&mut self, path: Span) {
        self.path = path;
    }

    /// Sets the query, which stands in the loaded bytes.
    pub(crate) fn set_query_loaded(&mut self, query: Option<Span>) {
        self.query = query;
    }

    /// Sets the authority, which was checked and stands in the loaded bytes.
    pub(crate) fn set_authority_loaded(&mut self, authority: Span) {
        self.bytes[authority.range()].make_ascii_lowercase();
        self.authority = authority;
    }

    pub(crate) fn set_form(&mut self, form: TargetForm) {
        self.form = form;
    }

    pub(crate) fn set_version(&mut self, version: Version) {
        self.version = version;
    }
}

impl Head {
    fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.range()]
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Span, HeadError> {
        let start = self.bytes.len();
        if start.saturating_add(bytes.len()) > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        self.span_from(start)
    }

    /// The span from `start` to the end of what was appended.
    fn span_from(&self, start: usize) -> Result<Span, HeadError> {
        if self.bytes.len() > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        Span::new(start, self.bytes.len() - start).ok_or(HeadError::TooLarge)
    }
}

/// Shows names, never values: a value may be a secret.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Head");
        match self.kind {
            Kind::Request => {
                out.field("method", &self.method_str())
                    .field("authority", &self.authority())
                    .field("path", &self.path());
            }
            Kind::Response => {
                out.field("status", &self.status);
            }
            Kind::Trailers => {}
        }
        out.field("version", &self.version)
            .field("names", &self.iter().map(|field| field.name_str()).collect::<Vec<_>>())
            .finish()
    }
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// Whether a byte may stand in a field value: visible, space, tab or beyond ASCII (RFC 9110, 5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The bytes without spaces and tabs around them.
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests;
