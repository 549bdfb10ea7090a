//! gRPC over HTTP/2, as much of it as control and its data planes need: unary calls and streams in both directions,
//! without compression.
//!
//! Framing and status follow the gRPC over HTTP/2 protocol (github.com/grpc/grpc, `doc/PROTOCOL-HTTP2.md`). Messages
//! come from the wire one by one and each has a limit in bytes; nothing is allocated on the word of a length prefix.

pub(crate) mod client;
pub(crate) mod server;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use prost::Message;
use tokio::sync::mpsc;

/// Bytes that one message may hold: a plan of a very large system is far below it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages that wait in a stream for the wire; a slow reader holds the writer back.
pub(crate) const STREAM_QUEUE_MESSAGES: usize = 2;
/// Content type of requests and responses.
pub(crate) const CONTENT_TYPE: &str = "application/grpc";

const PREFIX_BYTES: usize = 5;

/// How a call ended, or why it cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Status {
    /// Kind.
    pub code: Code,
    /// For people. Never holds a secret.
    pub message: String,
}

impl Status {
    /// A status with its reason.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The status that `grpc-status` and `grpc-message` fields announce; `None` where there is no status.
    fn of(fields: &HeaderMap) -> Option<Self> {
        let number: u16 = fields.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = fields.get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or_default();
        Some(Self { code: Code::of(number), message: percent_decode(message) })
    }

    /// The fields that announce this status.
    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(2);
        fields.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(text) = HeaderValue::from_str(&percent_encode(&self.message))
        {
            fields.insert("grpc-message", text);
        }
        fields
    }
}

/// The status codes of gRPC that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// The caller went away.
    Cancelled = 1,
    /// None of the others.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// Took too long.
    DeadlineExceeded = 4,
    /// Known, but not allowed.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// No such method.
    Unimplemented = 12,
    /// Something here broke.
    Internal = 13,
    /// Not now; try again.
    Unavailable = 14,
    /// Not known.
    Unauthenticated = 16,
}

impl Code {
    fn of(number: u16) -> Self {
        use Code::{
            Cancelled, DeadlineExceeded, Internal, InvalidArgument, Ok, PermissionDenied, ResourceExhausted,
            Unauthenticated, Unavailable, Unimplemented, Unknown,
        };
        [
            Ok,
            Cancelled,
            InvalidArgument,
            DeadlineExceeded,
            PermissionDenied,
            ResourceExhausted,
            Unimplemented,
            Internal,
            Unavailable,
            Unauthenticated,
        ]
        .into_iter()
        .find(|code| *code as u16 == number)
        .unwrap_or(Unknown)
    }
}

/// A message with its prefix, ready for the wire.
pub(crate) fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let len = message.encoded_len();
    if len > MESSAGE_BYTES_MAX {
        return Err(Status::new(
            Code::ResourceExhausted,
            format!("a message of {len} bytes is too large to send"),
        ));
    }
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + len);
    bytes.put_u8(0);
    #[expect(clippy::cast_possible_truncation, reason = "bounded by MESSAGE_BYTES_MAX above")]
    bytes.put_u32(len as u32);
    message
        .encode(&mut bytes)
        .map_err(|error| Status::new(Code::Internal, format!("a message cannot be encoded: {error}")))?;
    Ok(bytes.freeze())
}

/// Messages that come from the other side.
pub(crate) struct Messages<B = Incoming> {
    body: B,
    buffer: BytesMut,
    message_bytes_max: usize,
    status: Option<Status>,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(crate) fn new(body: B, message_bytes_max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), message_bytes_max, status: None }
    }

    /// The next message; `None` at the end. What was read stays when the future is dropped.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(bytes) = self.take()? {
                return M::decode(bytes).map(Some).map_err(|error| {
                    Status::new(Code::InvalidArgument, format!("not such a message: {error}"))
                });
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Status::new(Code::InvalidArgument, "the stream ended within a message")),
                Some(Err(error)) => {
                    return Err(Status::new(Code::Unavailable, format!("the stream broke: {error}")));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.status = frame.trailers_ref().and_then(Status::of),
                },
            }
        }
    }

    /// The status that the trailers told, once `next` gave `None`.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((prefix, _)) = self.buffer.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [compressed, a, b, c, d] = *prefix;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err(Status::new(Code::Unimplemented, "compressed messages are not taken"));
        }
        if len > self.message_bytes_max {
            let limit = self.message_bytes_max;
            let text = format!("a message of {len} bytes is over the limit of {limit}");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        if self.buffer.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

/// What goes to the other side: one message or a stream of them, then a status where it is a response.
pub(crate) enum Outgoing {
    /// At most one message, and what follows it.
    Whole {
        /// Encoded, with prefix.
        data: Option<Bytes>,
        /// Trailers of a response.
        trailers: Option<HeaderMap>,
    },
    /// Encoded messages as they come; the end of the queue is the end of the stream.
    Stream(mpsc::Receiver<Item>),
    /// Nothing more.
    Done,
}

/// A part of an outgoing stream.
pub(crate) enum Item {
    /// An encoded message with its prefix.
    Message(Bytes),
    /// The last word of a response.
    End(Status),
}

impl Outgoing {
    /// A request with one message.
    pub(crate) fn request(data: Bytes) -> Self {
        Self::Whole { data: Some(data), trailers: None }
    }

    /// A response with one message.
    pub(crate) fn response(data: Bytes) -> Self {
        Self::Whole { data: Some(data), trailers: Some(Status::new(Code::Ok, "").fields()) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match &mut *self {
            Self::Whole { data, trailers } => match data.take() {
                Some(data) => Some(Frame::data(data)),
                None => trailers.take().map(Frame::trailers),
            },
            Self::Stream(queue) => match std::task::ready!(queue.poll_recv(context)) {
                Some(Item::Message(bytes)) => Some(Frame::data(bytes)),
                Some(Item::End(status)) => {
                    *self = Self::Done;
                    Some(Frame::trailers(status.fields()))
                }
                None => None,
            },
            Self::Done => None,
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Done | Self::Whole { data: None, trailers: None })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Percent-encodes what may not stand in `grpc-message`: everything outside of printable ASCII, and `%`.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Undoes [`percent_encode`]; what is not an escape stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use weft_model::wire::Ack;

    use super::*;

    async fn read(bytes: &[u8], limit: usize) -> Result<Vec<Ack>, Status> {
        let mut messages = Messages::new(Full::new(Bytes::copy_from_slice(bytes)), limit);
        let mut all = Vec::new();
        while let Some(ack) = messages.next().await? {
            all.push(ack);
        }
        Ok(all)
    }

    fn ack(version: &str) -> Ack {
        Ack { version: version.to_owned() }
    }

    #[tokio::test]
    async fn messages_survive_any_cutting_of_the_stream() {
        let mut wire = Vec::new();
        for version in ["a", "", "a longer version"] {
            wire.extend_from_slice(&encode(&ack(version)).unwrap());
        }
        assert_eq!(read(&wire, 100).await.unwrap(), [ack("a"), ack(""), ack("a longer version")]);
        let mut messages = Messages::new(ByteByByte(wire.into()), 100);
        for version in ["a", "", "a longer version"] {
            assert_eq!(messages.next::<Ack>().await.unwrap(), Some(ack(version)));
        }
        assert_eq!(messages.next::<Ack>().await.unwrap(), None);
    }

    /// A body that comes in frames of one byte.
    struct ByteByByte(Bytes);

    impl Body for ByteByByte {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let more = !self.0.is_empty();
            Poll::Ready(more.then(|| Ok(Frame::data(self.0.split_to(1)))))
        }
    }

    #[tokio::test]
    async fn hostile_frames_are_refused_by_kind() {
        let table: [(&[u8], Code); 4] = [
            (&[1, 0, 0, 0, 0], Code::Unimplemented),
            (&[0, 0xff, 0xff, 0xff, 0xff], Code::ResourceExhausted),
            (&[0, 0, 0, 0, 9, 1], Code::InvalidArgument),
            (&[0, 0, 0, 0, 2, 0xff, 0xff], Code::InvalidArgument),
        ];
        for (bytes, code) in table {
            assert_eq!(read(bytes, 100).await.unwrap_err().code, code, "{bytes:?}");
        }
    }

    #[test]
    fn a_status_comes_back_as_it_went() {
        for message in ["", "plain", "50 % of \u{e4}\n", "%zz%"] {
            let status = Status::new(Code::PermissionDenied, message);
            assert_eq!(Status::of(&status.fields()), Some(status));
        }
        assert_eq!(percent_decode("a%2"), "a%2");
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }
}
