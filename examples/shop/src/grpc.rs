//! gRPC by hand over HTTP/2: length-prefixed messages in the body, the status in the trailers.
//!
//! Follows "gRPC over HTTP2" (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md); no compression, as none is announced.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::mpsc;

use crate::http::{Answer, Body, Call, Client, Frame, full, percent_decode, stream};

/// Most bytes of one message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How long a caller waits for the next message or the status.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is answered where all went well.
pub(crate) const OK: u32 = 0;
pub(crate) const INVALID_ARGUMENT: u32 = 3;
pub(crate) const NOT_FOUND: u32 = 5;
pub(crate) const UNIMPLEMENTED: u32 = 12;
pub(crate) const INTERNAL: u32 = 13;
pub(crate) const UNAVAILABLE: u32 = 14;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Status {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let code = text("grpc-status")?.parse().ok()?;
        Some(Self { code, message: percent_decode(text("grpc-message").unwrap_or("")) })
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(self.code));
        let escape = |byte: u8| match byte {
            b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let message: String = self.message.bytes().map(escape).collect();
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert("grpc-message", message);
        }
        headers
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "grpc-status {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// The answer of a method that answers once.
pub(crate) fn unary(reply: Result<impl Message, Status>) -> Answer {
    match reply {
        Ok(message) => {
            let trailers = Status::new(OK, "").headers();
            let body =
                http_body_util::Full::new(framed(&message)).with_trailers(async { Some(Ok(trailers)) });
            answer(body.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync())
        }
        // "Trailers-Only": the status stands in the head, and there is no body.
        Err(status) => {
            let mut answer = answer(full(""));
            answer.headers_mut().extend(status.headers());
            answer
        }
    }
}

/// The answer of a method that answers many times, and where its messages go in.
pub(crate) fn streaming() -> (Outgoing, Answer) {
    let (sender, body) = stream();
    (Outgoing(sender), answer(body))
}

fn answer(body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// Reads the one message of a call that asks once.
pub(crate) async fn read_one<M: Message + Default>(call: Call) -> Result<M, Status> {
    let missing = || Status::new(INVALID_ARGUMENT, "the call has no message");
    Messages::new(call.body).next().await?.ok_or_else(missing)
}

/// Messages on their way out, of either side.
pub(crate) struct Outgoing(mpsc::Sender<Frame>);

impl Outgoing {
    /// Hands over one message; false once nobody listens any more.
    pub(crate) async fn send(&self, message: &impl Message) -> bool {
        self.0.send(Frame::data(framed(message))).await.is_ok()
    }

    /// Ends an answer.
    pub(crate) async fn finish(self, status: Status) {
        // Whoever has cancelled the call does not wait for its status.
        drop(self.0.send(Frame::trailers(status.headers())).await);
    }

    /// Resolves once nobody listens any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Messages on their way in, of either side.
pub(crate) struct Messages<M> {
    body: Incoming,
    read: BytesMut,
    /// The status, if the head of the answer had it already.
    early: Option<Status>,
    trailers: Option<Status>,
    message: PhantomData<M>,
}

impl<M: Message + Default> Messages<M> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, read: BytesMut::new(), early: None, trailers: None, message: PhantomData }
    }

    /// The next message, or nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = take_message(&mut self.read)? {
                return M::decode(message)
                    .map(Some)
                    .map_err(|error| Status::new(INTERNAL, error.to_string()));
            }
            match self.body.frame().await {
                None if self.read.is_empty() => return Ok(None),
                None => return Err(Status::new(INTERNAL, "the body ends within a message")),
                Some(Err(error)) => {
                    return Err(Status::new(UNAVAILABLE, format!("the stream broke: {error}")));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().and_then(|t| Status::from_headers(&t));
                    }
                },
            }
        }
    }

    /// For a caller: the next message, and after the last one the end that the status tells. Bounded in time.
    pub(crate) async fn receive(&mut self) -> Result<Option<M>, Status> {
        let next = tokio::time::timeout(RECEIVE_TIMEOUT, self.next()).await;
        let next = next.map_err(|_| Status::new(UNAVAILABLE, "no message and no status in time"))?;
        if let Some(message) = next? {
            return Ok(Some(message));
        }
        match self.trailers.take().or(self.early.take()) {
            None => Err(Status::new(INTERNAL, "the answer ends without a status")),
            Some(status) if status.code != OK => Err(status),
            Some(_) => Ok(None),
        }
    }
}

/// Takes one message out of `read`, once it is there as a whole.
fn take_message(read: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some((prefix, _)) = read.split_first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 {
        return Err(Status::new(UNIMPLEMENTED, "the message is compressed, and no compression was agreed"));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(Status::new(
            INVALID_ARGUMENT,
            format!("a message of {length} bytes is over {MESSAGE_BYTES_MAX}"),
        ));
    }
    if read.len() < 5 + length {
        return Ok(None);
    }
    read.advance(5);
    Ok(Some(read.split_to(length).freeze()))
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    // Our own messages are a few hundred bytes.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// A gRPC service, where its URL says.
#[derive(Clone)]
pub(crate) struct Channel(Client);

impl Channel {
    pub(crate) fn new(base_url: &str) -> anyhow::Result<Self> {
        Client::http2(base_url).map(Self::over)
    }

    /// Over a client that speaks HTTP/2 already.
    pub(crate) fn over(client: Client) -> Self {
        Self(client)
    }

    /// Asks once and expects one answer. `method` is `/package.Service/Method`.
    pub(crate) async fn unary<A: Message + Default>(
        &self,
        method: &str,
        headers: HeaderMap,
        question: &impl Message,
    ) -> Result<A, Status> {
        let mut answers = self.start(method, headers, full(framed(question))).await?;
        let first = answers.receive().await?;
        let first = first.ok_or_else(|| Status::new(INTERNAL, "the answer has a status and no message"))?;
        match answers.receive().await? {
            None => Ok(first),
            Some(_) => Err(Status::new(INTERNAL, "one answer was expected, and there are more")),
        }
    }

    /// Asks once and expects any number of answers.
    pub(crate) async fn ask_many<A: Message + Default>(
        &self,
        method: &str,
        headers: HeaderMap,
        question: &impl Message,
    ) -> Result<Messages<A>, Status> {
        self.start(method, headers, full(framed(question))).await
    }

    /// Opens a call in which both sides may speak many times. Dropping the sender ends our side.
    pub(crate) async fn open<A: Message + Default>(
        &self,
        method: &str,
        headers: HeaderMap,
    ) -> Result<(Outgoing, Messages<A>), Status> {
        let (sender, body) = stream();
        Ok((Outgoing(sender), self.start(method, headers, body).await?))
    }

    async fn start<A: Message + Default>(
        &self,
        method: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Messages<A>, Status> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let answer = self.0.open(Method::POST, method, headers, body).await;
        let answer = answer.map_err(|error| Status::new(UNAVAILABLE, format!("{error:#}")))?;
        let early = Status::from_headers(answer.headers());
        let kind =
            answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if early.is_none() && !(answer.status().is_success() && kind.starts_with("application/grpc")) {
            return Err(Status::new(
                UNAVAILABLE,
                format!("HTTP {} with `{kind}` is no gRPC answer", answer.status()),
            ));
        }
        Ok(Messages { early, ..Messages::new(answer.into_body()) })
    }
}

/// `grpc.health.v1`: what a supervisor asks.
pub(crate) mod health {
    /// The method that is asked.
    pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";
    pub(crate) const SERVING: i32 = 1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct HealthCheckRequest {
        #[prost(string, tag = "1")]
        pub(crate) service: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct HealthCheckResponse {
        #[prost(int32, tag = "1")]
        pub(crate) status: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_only_when_they_are_whole() {
        let message = health::HealthCheckRequest { service: "pricing".to_owned() };
        let wire = framed(&message);
        for cut in 0..wire.len() {
            assert_eq!(take_message(&mut BytesMut::from(&wire[..cut])), Ok(None), "cut at {cut}");
        }
        let mut read = BytesMut::from(&[&wire[..], &wire[..3]].concat()[..]);
        let taken = take_message(&mut read).unwrap().unwrap();
        assert_eq!(health::HealthCheckRequest::decode(taken).unwrap(), message);
        assert_eq!(&read[..], &wire[..3]);
    }

    #[test]
    fn huge_and_compressed_messages_are_refused() {
        assert_eq!(
            take_message(&mut BytesMut::from(&[0, 255, 0, 0, 0][..])).unwrap_err().code,
            INVALID_ARGUMENT
        );
        assert_eq!(take_message(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).unwrap_err().code, UNIMPLEMENTED);
    }

    #[test]
    fn a_status_survives_its_headers() {
        let status = Status::new(NOT_FOUND, "50 % off für\nall");
        assert_eq!(Status::from_headers(&status.headers()), Some(status));
    }
}
