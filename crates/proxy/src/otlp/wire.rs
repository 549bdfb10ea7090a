//! OTLP on the wire: gRPC over HTTP/2, or a POST of protobuf over HTTP/1.1 (OTLP specification 1.x, "OTLP/gRPC" and
//! "OTLP/HTTP"). What the receiver answers is read with bounds and believed only in form.
//!
//! gRPC keeps its connection from batch to batch. HTTP makes one for each: at most one a second, and no doubt whether
//! an idle one is still alive.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use weft_model::plan::{TracesOver, TracesPlan};
use weft_stdx::clock::Clock;

use super::message::Response;
use super::{Accepted, Failed, Outside};
use crate::body::{Piece, Reader};
use crate::buffer::Buffer;
use crate::connection::http1::{BodyFraming, RequestWire, ResponseTo, write_request};
use crate::connection::http1_io::Http1Reply;
use crate::head::{Head, HeadError, Known, Method, Version};
use crate::resilience::retry::{Hint, parse_retry_after};
use crate::stream::{Stream, TlsStream};
use crate::upstream::connect::{HTTP1, HTTP2};

/// An attempt, from connecting to the end of the answer. What the specification recommends.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the receiver, as `grpc-timeout`.
const ATTEMPT_TIMEOUT_GRPC: &str = "10S";
/// An answer is read so far.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Largest head of an answer.
const ANSWER_HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Path of the method.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Path below the receiver's URL.
const HTTP_PATH: &str = "/v1/traces";
const USER_AGENT: &str = concat!("weft/", env!("CARGO_PKG_VERSION"));

/// The network.
pub(super) struct Wire {
    clock: Clock,
    /// How to prove an `https` receiver, made when first needed.
    tls: Option<(TracesOver, Arc<ClientConfig>)>,
    grpc: Option<GrpcConnection>,
}

impl Wire {
    pub(super) fn new(clock: Clock) -> Self {
        Wire { clock, tls: None, grpc: None }
    }
}

impl Outside for Wire {
    async fn deliver(&mut self, to: &TracesPlan, batch: Bytes) -> Result<Accepted, Failed> {
        let receiver = Receiver::parse(&to.url)?;
        let attempt = async {
            match to.over {
                TracesOver::Grpc => self.grpc(&receiver, &batch).await,
                TracesOver::Http => self.http(&receiver, &batch).await,
            }
        };
        let answer = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await;
        answer.unwrap_or_else(|_| Err(later(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()))))
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

fn later(why: impl Into<String>) -> Failed {
    Failed::Later { why: why.into(), pause: None }
}

fn never(why: impl Into<String>) -> Failed {
    Failed::Never { why: why.into() }
}

/// Where the receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Receiver {
    tls: bool,
    /// As in the URL, an IPv6 address in brackets.
    authority: String,
    host: String,
    port: u16,
    /// Without a slash at its end.
    prefix: String,
}

impl Receiver {
    fn parse(url: &str) -> Result<Self, Failed> {
        let wrong = || never(format!("`{url}` is no URL of a receiver"));
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        Ok(Receiver {
            tls,
            authority: authority.as_str().to_owned(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Wire {
    async fn connect(&mut self, to: &Receiver, over: TracesOver) -> Result<Stream, Failed> {
        let tcp = TcpStream::connect((to.host.as_str(), to.port)).await;
        let tcp = tcp.map_err(|error| later(format!("cannot connect: {error}")))?;
        // As for every connection of ours; a socket that refuses the option works all the same.
        let _ = tcp.set_nodelay(true);
        if !to.tls {
            return Ok(Stream::from(tcp));
        }
        let name = ServerName::try_from(to.host.clone()).map_err(|_| never("the host is no name for TLS"))?;
        let connector = TlsConnector::from(self.tls_for(over)?);
        let tls = connector.connect(name, tcp).await;
        let tls = tls.map_err(|error| later(format!("TLS handshake: {error}")))?;
        Ok(Stream::from(TlsStream::from(tls)))
    }

    fn tls_for(&mut self, over: TracesOver) -> Result<Arc<ClientConfig>, Failed> {
        if let Some((made_for, config)) = &self.tls
            && *made_for == over
        {
            return Ok(Arc::clone(config));
        }
        let alpn = if over == TracesOver::Grpc { HTTP2 } else { HTTP1 };
        let roots = rustls_native_certs::load_native_certs().certs;
        let config =
            weft_trust::edge::upstream_tls(roots.iter().map(|root| root.as_ref()), &[alpn], &self.clock)
                .map_err(|error| never(format!("cannot set up TLS: {error}")))?;
        self.tls = Some((over, Arc::clone(&config)));
        Ok(config)
    }
}

/// An HTTP/2 connection and the task that drives it.
struct GrpcConnection {
    to: Receiver,
    send: SendRequest<Bytes>,
    driver: AbortHandle,
}

impl Drop for GrpcConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wire {
    /// The connection of the last batch if it still lives, or a new one.
    async fn grpc_connection(&mut self, to: &Receiver) -> Result<GrpcConnection, Failed> {
        if let Some(kept) = self.grpc.take()
            && kept.to == *to
            && kept.send.clone().ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream = self.connect(to, TracesOver::Grpc).await?;
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(ANSWER_HEAD_BYTES_MAX);
        let made = builder.handshake(stream).await;
        let (send, connection) = made.map_err(|error| later(format!("no HTTP/2: {error}")))?;
        let driver = tokio::task::spawn_local(async move {
            // Why it ended is told to the request that runs on it.
            let _ = connection.await;
        });
        Ok(GrpcConnection { to: to.clone(), send, driver: driver.abort_handle() })
    }

    async fn grpc(&mut self, to: &Receiver, batch: &Bytes) -> Result<Accepted, Failed> {
        let connection = self.grpc_connection(to).await?;
        let broken = |error: h2::Error| later(format!("HTTP/2: {error}"));
        let mut send = connection.send.clone().ready().await.map_err(broken)?;
        let (response, mut body) = send.send_request(grpc_request(to)?, false).map_err(broken)?;
        body.send_data(grpc_frame(batch)?, true).map_err(broken)?;
        let (parts, mut recv) = response.await.map_err(broken)?.into_parts();
        if parts.status != http::StatusCode::OK {
            return Err(failed_status(parts.status.as_u16(), None));
        }
        let answer = read_answer(&mut recv).await?;
        let trailers = poll_fn(|cx| recv.poll_trailers(cx)).await.map_err(broken)?;
        let field = |name: &str| {
            let fields = trailers.as_ref().filter(|fields| fields.contains_key("grpc-status"));
            fields.unwrap_or(&parts.headers).get(name).and_then(|value| value.to_str().ok())
        };
        let accepted = match field("grpc-status") {
            Some("0") => grpc_accepted(&answer),
            Some(status) => Err(failed_grpc(status, field("grpc-message").unwrap_or_default())),
            None => Err(later("the answer has no grpc-status")),
        };
        // Only a connection whose answer was whole is used again.
        self.grpc = Some(connection);
        accepted
    }
}

fn grpc_request(to: &Receiver) -> Result<http::Request<()>, Failed> {
    let scheme = if to.tls { "https" } else { "http" };
    http::Request::post(format!("{scheme}://{}{}{GRPC_PATH}", to.authority, to.prefix))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", ATTEMPT_TIMEOUT_GRPC)
        .header("user-agent", USER_AGENT)
        .body(())
        .map_err(|error| never(error.to_string()))
}

/// A message behind its flag (not compressed) and length.
fn grpc_frame(message: &Bytes) -> Result<Bytes, Failed> {
    let length = u32::try_from(message.len()).map_err(|_| never("the batch is too large for a frame"))?;
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.extend_from_slice(message);
    Ok(frame.freeze())
}

async fn read_answer(recv: &mut RecvStream) -> Result<Vec<u8>, Failed> {
    let mut answer = Vec::new();
    while let Some(part) = poll_fn(|cx| recv.poll_data(cx)).await {
        let part = part.map_err(|error| later(format!("HTTP/2: {error}")))?;
        // A window that cannot be enlarged belongs to a stream that is over: the next part tells.
        let _ = recv.flow_control().release_capacity(part.len());
        answer.extend_from_slice(&part);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(never(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(answer)
}

fn grpc_accepted(answer: &[u8]) -> Result<Accepted, Failed> {
    match answer {
        // Success without a message is not what a unary method answers, but it is success.
        [] => Ok(Accepted::default()),
        [0, a, b, c, d, message @ ..] if u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len() => {
            accepted(message)
        }
        // It says `0`: the spans are there, whatever else it says.
        _ => Ok(Accepted { rejected: 0, message: "an answer that is no gRPC message".to_owned() }),
    }
}

/// Reads an `ExportTraceServiceResponse`.
fn accepted(message: &[u8]) -> Result<Accepted, Failed> {
    let Ok(response) = Response::decode(message) else {
        return Ok(Accepted { rejected: 0, message: "an answer that is no OTLP message".to_owned() });
    };
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Ok(Accepted { rejected, message: partial.error_message })
}

/// Which statuses may be tried again (OTLP specification, "Failures" of OTLP/gRPC).
fn failed_grpc(status: &str, message: &str) -> Failed {
    let why = format!("grpc-status {status}: {message}");
    match status.parse::<u8>() {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        Ok(1 | 4 | 10 | 11 | 14 | 15) => later(why),
        _ => never(why),
    }
}

/// Which statuses may be tried again (OTLP specification, "Failures" of OTLP/HTTP).
fn failed_status(status: u16, pause: Option<Duration>) -> Failed {
    let why = format!("HTTP status {status}");
    if matches!(status, 429 | 502 | 503 | 504) { Failed::Later { why, pause } } else { never(why) }
}

impl Wire {
    async fn http(&mut self, to: &Receiver, batch: &Bytes) -> Result<Accepted, Failed> {
        let head = http_head(to).map_err(|error| never(error.to_string()))?;
        let stream = self.connect(to, TracesOver::Http).await?;
        let mut out = Vec::new();
        let framing = BodyFraming::Length(batch.len() as u64);
        write_request(&head, &RequestWire { framing, upgrade: false, close: true }, &mut out);
        let written = stream.write_both(&out, batch).await;
        written.map_err(|error| later(format!("cannot send: {error}")))?;
        let mut buf = Buffer::default();
        let to = ResponseTo { method: Method::Post, upgrade: false };
        let mut reply = Http1Reply::new(&stream, &mut buf, to);
        let mut head = Head::new();
        let parsed = loop {
            let parsed = reply.head(&mut head).await;
            let parsed = parsed.map_err(|error| later(format!("no HTTP answer: {error:?}")))?;
            if !parsed.interim {
                break parsed;
            }
        };
        if !(200..300).contains(&parsed.status) {
            let asked = head.get(Known::RetryAfter).map(|value| parse_retry_after(value, self.clock.wall()));
            let pause = match asked {
                Some(Hint::After(pause)) => Some(pause),
                _ => None,
            };
            return Err(failed_status(parsed.status, pause));
        }
        let is_protobuf = head.get_str(Known::ContentType).is_some_and(|kind| kind.contains("protobuf"));
        let mut reader = Reader::Http1(reply.into_reader(parsed.framing));
        let mut answer = Vec::new();
        loop {
            match reader.next().await {
                Ok(Piece::End) => break,
                Ok(piece) => answer.extend_from_slice(piece.bytes()),
                // The status was success already.
                Err(_) => return Ok(Accepted::default()),
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Ok(Accepted::default());
            }
        }
        if is_protobuf { accepted(&answer) } else { Ok(Accepted::default()) }
    }
}

fn http_head(to: &Receiver) -> Result<Head, HeadError> {
    let mut head = Head::new();
    head.start_request(b"POST", Version::Http11)?;
    head.set_authority(to.authority.as_bytes())?;
    head.set_target(format!("{}{HTTP_PATH}", to.prefix).as_bytes())?;
    head.push_known(Known::ContentType, b"application/x-protobuf")?;
    head.push_known(Known::UserAgent, USER_AGENT.as_bytes())?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_scheme_host_port_and_prefix() {
        let of = |url| Receiver::parse(url).ok().map(|to| (to.tls, to.host, to.port, to.prefix));
        let expected = |tls, host: &str, port, prefix: &str| Some((tls, host.into(), port, prefix.into()));
        assert_eq!(of("http://127.0.0.1:4317"), expected(false, "127.0.0.1", 4317, ""));
        assert_eq!(of("https://[::1]:4318/otlp/"), expected(true, "::1", 4318, "/otlp"));
        assert_eq!(of("https://collector"), expected(true, "collector", 443, ""));
        for wrong in ["", "collector:4317", "tcp://collector:1", "/v1/traces", "http://"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in 0..=16_u8 {
            let again = matches!(failed_grpc(&status.to_string(), ""), Failed::Later { .. });
            assert_eq!(again, [1, 4, 10, 11, 14, 15].contains(&status), "{status}");
        }
        assert!(matches!(failed_grpc("none", ""), Failed::Never { .. }));
        let pause = Some(Duration::from_secs(7));
        assert!(matches!(failed_status(503, pause), Failed::Later { pause: Some(_), .. }));
        assert!(matches!(failed_status(400, pause), Failed::Never { .. }));
        assert!(matches!(failed_status(301, None), Failed::Never { .. }));
    }

    #[test]
    fn an_answer_that_says_success_is_success_whatever_its_bytes() {
        let message = Response {
            partial_success: Some(super::super::message::PartialSuccess {
                rejected_spans: 3,
                error_message: "late".to_owned(),
            }),
        };
        let frame = grpc_frame(&message.encode_to_vec().into()).unwrap();
        assert_eq!(grpc_accepted(&frame), Ok(Accepted { rejected: 3, message: "late".to_owned() }));
        assert_eq!(grpc_accepted(&[]), Ok(Accepted::default()));
        for bytes in [&frame[..4], &frame[..7], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 0xff], &[0; 6]] {
            assert_eq!(grpc_accepted(bytes).map(|accepted| accepted.rejected), Ok(0), "{bytes:?}");
        }
        let negative = Response {
            partial_success: Some(super::super::message::PartialSuccess {
                rejected_spans: -1,
                error_message: String::new(),
            }),
        };
        assert_eq!(accepted(&negative.encode_to_vec()), Ok(Accepted::default()));
    }
}
