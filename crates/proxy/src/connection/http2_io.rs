//! Bodies of HTTP/2 streams, either side, over the h2 crate: its types do not pass this file and its siblings.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::LazyLock;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::body::{BodyError, BodyLength, Piece};
use crate::head::{FieldRef, Head, HeadError, Known, Method, PathRefusal, Scheme, Version};

/// Reads DATA frames and trailers.
pub(crate) struct Http2Reader {
    recv: RecvStream,
    length: BodyLength,
    /// Bytes of a request that are announced and have not come.
    awaited: Option<u64>,
    /// What completes them, until the stream has ended as well.
    last: Option<Bytes>,
    /// Bytes of the last piece, given back to the window when the next one is asked for.
    owed: usize,
    done: bool,
    trailers: Option<Head>,
}

impl Http2Reader {
    pub(crate) fn new(recv: RecvStream, length: BodyLength) -> Self {
        let done = length == BodyLength::None || recv.is_end_stream();
        let length = if done { BodyLength::None } else { length };
        Http2Reader { recv, length, awaited: None, last: None, owed: 0, done, trailers: None }
    }

    /// The body of a request. One that goes on behind its announced length, or ends in trailers that may not be, is malformed and must
    /// not be forwarded (RFC 9113, 8.1.1): what would make it whole for the next hop is kept back until its stream has ended.
    pub(crate) fn of_request(recv: RecvStream, length: BodyLength) -> Self {
        let mut reader = Http2Reader::new(recv, length);
        if let BodyLength::Known(bytes) = reader.length {
            reader.awaited = Some(bytes);
        }
        reader
    }

    /// How long it is from its start, also when it was read: it may be sent again.
    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.done && self.last.is_none()
    }

    pub(crate) fn trailers(&mut self) -> Option<&Head> {
        self.trailers.as_ref()
    }

    pub(crate) async fn next(&mut self) -> Result<Piece<'_>, BodyError> {
        if self.owed > 0 {
            let owed = std::mem::take(&mut self.owed);
            self.recv.flow_control().release_capacity(owed).map_err(|_| BodyError::Gone)?;
        }
        while !self.done {
            match poll_fn(|cx| self.recv.poll_data(cx)).await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.awaited = self.awaited.map(|awaited| awaited.saturating_sub(bytes.len() as u64));
                    if self.awaited != Some(0) || self.recv.is_end_stream() {
                        self.owed = bytes.len();
                        return Ok(Piece::Shared(bytes));
                    }
                    self.last = Some(bytes);
                }
                Some(Err(error)) => return Err(kind_of(&error)),
                None => {
                    let trailers = poll_fn(|cx| self.recv.poll_trailers(cx)).await;
                    let trailers = trailers.map_err(|error| kind_of(&error))?;
                    self.trailers = trailers.map(|fields| trailers_from(&fields));
                    self.done = true;
                }
            }
        }
        Ok(match self.last.take() {
            Some(bytes) => {
                self.owed = bytes.len();
                Piece::Shared(bytes)
            }
            None => Piece::End,
        })
    }
}

fn kind_of(error: &h2::Error) -> BodyError {
    match error.reason() {
        Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FLOW_CONTROL_ERROR | h2::Reason::FRAME_SIZE_ERROR) => {
            BodyError::Malformed
        }
        _ => BodyError::Gone,
    }
}

/// Writes DATA frames and trailers.
pub(crate) struct Http2Writer {
    send: SendStream<Bytes>,
    /// The last part, as long as more may come at once.
    held: Bytes,
    /// Bytes of the announced length that are not sent yet.
    left: Option<u64>,
    ended: bool,
}

impl Http2Writer {
    /// `ended`: the head already closed the stream.
    pub(crate) fn new(send: SendStream<Bytes>, length: BodyLength, ended: bool) -> Self {
        let left = match length {
            _ if ended => Some(0),
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::None | BodyLength::Unknown => None,
        };
        Http2Writer { send, held: Bytes::new(), left, ended }
    }

    /// Whether all that was announced was sent, also where the end of the stream was not.
    pub(crate) fn is_whole(&self) -> bool {
        self.held.is_empty() && self.left == Some(0)
    }

    /// Takes a part and sends the one before it: the last one says itself that it is the last.
    pub(crate) async fn data(&mut self, piece: Piece<'_>) -> Result<(), BodyError> {
        if self.ended {
            return Ok(());
        }
        let next = match piece {
            Piece::Shared(bytes) => bytes,
            Piece::Slice(bytes) => Bytes::copy_from_slice(bytes),
            Piece::End => return Ok(()),
        };
        self.flush().await?;
        self.held = next;
        Ok(())
    }

    /// Sends what is held.
    pub(crate) async fn flush(&mut self) -> Result<(), BodyError> {
        self.send_held(false).await
    }

    async fn send_held(&mut self, end: bool) -> Result<(), BodyError> {
        while !self.held.is_empty() {
            self.send.reserve_capacity(self.held.len());
            let granted = if self.send.capacity() > 0 {
                self.send.capacity()
            } else {
                match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                    Some(Ok(granted)) => granted,
                    Some(Err(_)) | None => return Err(BodyError::Gone),
                }
            };
            let part = self.held.split_to(granted.min(self.held.len()));
            let last = end && self.held.is_empty();
            let bytes = part.len() as u64;
            self.send.send_data(part, last).map_err(|_| BodyError::Gone)?;
            self.left = self.left.and_then(|left| left.checked_sub(bytes));
            if last {
                return Ok(());
            }
        }
        if end {
            self.send.send_data(Bytes::new(), true).map_err(|_| BodyError::Gone)?;
        }
        Ok(())
    }

    /// Completes when the peer resets the stream.
    pub(crate) async fn gone(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        // An error here means that the connection is gone, which is the same to us.
        let _ = poll_fn(|cx| self.send.poll_reset(cx)).await;
    }

    pub(crate) async fn end(&mut self, trailers: Option<&Head>) -> Result<(), BodyError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        match trailers.map(fields_of).filter(|fields| !fields.is_empty()) {
            Some(fields) => {
                self.flush().await?;
                self.send.send_trailers(fields).map_err(|_| BodyError::Gone)
            }
            None => self.send_held(true).await,
        }
    }
}

fn fields_of(head: &Head) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(head.len());
    append_fields(&mut fields, head);
    fields
}

fn append_fields(fields: &mut HeaderMap, head: &Head) {
    // One copy that all values share, in place of one each.
    let text = Bytes::copy_from_slice(head.text_bytes());
    fields.reserve(head.len());
    for field in head.iter() {
        // Framing and connection fields are this wire's own (RFC 9113, 8.2.2); a head has `te` only as `trailers`.
        if field.known.is_hop_by_hop() && field.known != Known::Te {
            continue;
        }
        // A head holds only tokens and values without control bytes, so neither can fail.
        let Some(name) = name_of(&field) else { continue };
        let start = field.value.as_ptr().addr() - head.text_bytes().as_ptr().addr();
        let value = text.slice(start..start + field.value.len());
        let Ok(value) = HeaderValue::from_maybe_shared(value) else { continue };
        fields.append(name, value);
    }
}

/// The name in the type of the h2 crate; of a known name without looking at its text.
fn name_of(field: &FieldRef<'_>) -> Option<HeaderName> {
    static NAMES: LazyLock<Vec<HeaderName>> =
        LazyLock::new(|| Known::all().map(|known| HeaderName::from_static(known.as_str())).collect());
    match field.known {
        Known::Other => HeaderName::from_bytes(field.name).ok(),
        known => NAMES.get(known as usize - 1).cloned(),
    }
}

fn trailers_from(fields: &HeaderMap) -> Head {
    let mut head = Head::new();
    head.start_trailers();
    // What does not fit the head's limits is dropped: trailers are advice, and the frame was already bounded.
    let _ = copy_fields(fields, &mut head);
    head.remove_where(|field| field.is_forbidden_in_trailers());
    head
}

fn copy_fields(fields: &HeaderMap, head: &mut Head) -> Result<(), HeadError> {
    for (name, value) in fields {
        head.push(name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// Fills `head` from the pseudo-fields and fields of a request.
///
/// # Errors
/// The path, authority or a field is not one that we forward; connection-specific fields were refused by h2.
pub(crate) fn read_request(parts: &http::request::Parts, head: &mut Head) -> Result<(), HeadError> {
    head.start_request(parts.method.as_str().as_bytes(), Version::Http2)?;
    match parts.uri.scheme_str() {
        Some("") => return Err(HeadError::ValueInvalid),
        Some(scheme) => {
            if let Some(scheme) = Scheme::from_bytes(scheme.as_bytes()) {
                head.set_scheme(scheme);
            }
        }
        None => {}
    }
    if let Some(authority) = parts.uri.authority() {
        head.set_authority(authority.as_str().as_bytes())?;
    }
    if let Some(target) = parts.uri.path_and_query() {
        // As in HTTP/1.1 (RFC 9112, 3.2.4): `*` is the server as a whole, and only OPTIONS asks about that.
        if target.as_str() == "*" && head.method() != Method::Options {
            return Err(HeadError::Path(PathRefusal::NotAbsolute));
        }
        head.set_target(target.as_str().as_bytes())?;
    }
    copy_fields(&parts.headers, head)?;
    check_length(head)?;
    if head.method() == Method::Connect {
        head.target_authority()?;
    }
    Ok(())
}

/// Fills `head` from the status and fields of a response.
///
/// # Errors
/// A field that does not fit.
pub(crate) fn read_response(parts: &http::response::Parts, head: &mut Head) -> Result<(), HeadError> {
    head.start_response(parts.status.as_u16(), Version::Http2);
    copy_fields(&parts.headers, head)?;
    check_length(head)
}

/// A length is one number, as in HTTP/1.1 (RFC 9110, 8.6). The codec takes an empty one for 0.
fn check_length(head: &Head) -> Result<(), HeadError> {
    let mut lengths = head.get_all(Known::ContentLength);
    let Some(length) = lengths.next() else { return Ok(()) };
    let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    if is_number && lengths.next().is_none() { Ok(()) } else { Err(HeadError::ValueInvalid) }
}

/// Takes `content-length` out of the head: how long a message is stands beside it, never in it.
pub(crate) fn take_length(head: &mut Head) -> Option<u64> {
    let declared = head.get_str(Known::ContentLength).and_then(|text| text.parse().ok());
    head.remove(Known::ContentLength);
    declared
}

/// How long a request is, by its head and whether its stream ended with it.
pub(crate) fn request_length(head: &mut Head, recv: &RecvStream) -> BodyLength {
    match take_length(head) {
        _ if recv.is_end_stream() => BodyLength::None,
        Some(bytes) => BodyLength::Known(bytes),
        None => BodyLength::Unknown,
    }
}

fn set_length(fields: &mut HeaderMap, length: BodyLength, declared: Option<u64>) {
    let bytes = match length {
        BodyLength::Known(bytes) => Some(bytes),
        _ => declared,
    };
    if let Some(bytes) = bytes {
        fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
}

/// A query as HTTP/2 can say it: the codec's own idea of a URI has no room for three characters that HTTP/1.1 clients
/// send as they are, so they are said as browsers say them (URL Standard, query percent-encode set).
pub(crate) fn sayable(query: &str) -> Cow<'_, str> {
    if !query.contains(['"', '<', '>']) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.replace('"', "%22").replace('<', "%3C").replace('>', "%3E"))
}

/// The request for the wire; `None` if the head cannot be one (no authority).
pub(crate) fn write_request(head: &Head, length: BodyLength, scheme: Scheme) -> Option<http::Request<()>> {
    let target = match head.query() {
        Some(query) => format!("{}?{}", head.path(), sayable(query)),
        None => head.path().to_owned(),
    };
    let uri = http::Uri::builder().scheme(scheme.as_str()).authority(head.authority()).path_and_query(target);
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(head.method_str().as_bytes()).ok()?;
    *request.uri_mut() = uri.build().ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    append_fields(request.headers_mut(), head);
    set_length(request.headers_mut(), length, None);
    Some(request)
}

/// The response for the wire.
pub(crate) fn write_response(head: &Head, length: BodyLength, declared: Option<u64>) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(head.status()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    append_fields(response.headers_mut(), head);
    set_length(response.headers_mut(), length, declared);
    response
}

/// Answers one request.
pub(crate) struct Http2Responder {
    respond: h2::server::SendResponse<Bytes>,
    head_only: bool,
    started: bool,
    with_body: bool,
}

impl Http2Responder {
    /// `head_only`: the request was a HEAD.
    pub(crate) fn new(respond: h2::server::SendResponse<Bytes>, head_only: bool) -> Self {
        Http2Responder { respond, head_only, started: false, with_body: false }
    }

    pub(crate) fn start(
        &mut self,
        head: &Head,
        length: BodyLength,
        declared: Option<u64>,
    ) -> Result<Http2Writer, BodyError> {
        let bodiless = self.head_only || matches!(head.status(), 204 | 304) || length == BodyLength::None;
        let response = write_response(head, length, declared);
        self.started = true;
        self.with_body = !bodiless;
        let send = self.respond.send_response(response, bodiless).map_err(|_| BodyError::Gone)?;
        Ok(Http2Writer::new(send, length, bodiless))
    }

    /// Whether an answer with a body was begun.
    pub(crate) fn has_body(&self) -> bool {
        self.with_body
    }

    /// Sends an interim head.
    pub(crate) fn interim(&mut self, head: &Head) -> Result<(), BodyError> {
        let response = write_response(head, BodyLength::None, None);
        self.respond.send_informational(response).map_err(|_| BodyError::Gone)
    }

    /// Completes when the client resets the stream.
    pub(crate) async fn gone(&mut self) {
        if self.started {
            return std::future::pending().await;
        }
        // An error here means that the connection is gone, which is the same to us.
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Resets the stream: the client must not take what it got for the whole.
    pub(crate) fn reset(&mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
    }
}
