//! What every role shares to serve and to call over HTTP: a server that drains, a client, JSON in and out.
//!
//! Nothing here is special to any proxy: it is the plain hyper code that a team would write for itself.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Most bytes of a body that is read whole, on either side.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;
/// Most connections that one role serves at a time; the others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;
/// How long open requests may take to finish after SIGTERM.
const DRAIN: Duration = Duration::from_secs(20);
/// How long one call to another service may take, its body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that a streamed body holds before its writer waits.
const STREAM_FRAMES_MAX: usize = 16;

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Answer = Response<Body>;
/// Turns true when the process is asked to end; streams without an end of their own watch it.
pub(crate) type Stop = watch::Receiver<bool>;

/// One role of the shop.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. `GET /healthz` never reaches it.
    fn answer(&self, call: Call) -> impl Future<Output = Result<Answer, Problem>> + Send;
}

/// A request being answered.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) body: Incoming,
    pub(crate) stop: Stop,
}

impl Call {
    /// The method and the path's segments, to match on: `("GET", ["users", id])`.
    pub(crate) fn route(&self) -> (&str, Vec<&str>) {
        (self.head.method.as_str(), self.head.uri.path().split('/').skip(1).collect())
    }

    /// The value of `name` in the query, percent-decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let pairs = self.head.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        Some(percent_decode(&value.replace('+', " ")))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Reads the body as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let body = Limited::new(self.body, BODY_BYTES_MAX).collect().await;
        let bytes =
            body.map_err(|error| Problem::new(400, format!("the body cannot be read: {error}")))?.to_bytes();
        serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(422, format!("the body is not as described: {error}")))
    }
}

/// An answer that says no, as RFC 9457 has it.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// What is said where no operation has this method and path.
    pub(crate) fn no_such_operation(call: &Call) -> Self {
        Self::new(404, format!("there is no {} {}", call.head.method, call.head.uri.path()))
    }
}

/// Something of ours broke.
impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::new(500, format!("{error:#}"))
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut answer = json(problem.status, &problem);
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answer
    }
}

/// A JSON answer.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Answer {
    // Only maps with keys that are no strings fail to serialise, and there are none here.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = Response::new(full(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A body that is there as a whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that is written while it is sent: frames go in at the sender, and dropping it ends the body.
pub(crate) fn stream() -> (mpsc::Sender<Frame>, Body) {
    let (sender, receiver) = mpsc::channel(STREAM_FRAMES_MAX);
    (sender, StreamedBody(receiver).boxed_unsync())
}

pub(crate) type Frame = hyper::body::Frame<Bytes>;

struct StreamedBody(mpsc::Receiver<Frame>);

impl hyper::body::Body for StreamedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame, BoxError>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Resolves once the process is asked to end.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An error means that the sender is gone, which is an end too.
    drop(stop.wait_for(|stop| *stop).await);
}

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) until `stop`, then finishes what is open within [`DRAIN`].
pub(crate) async fn serve<S: Service>(listener: TcpListener, mut stop: Stop, service: Arc<S>) -> Result<()> {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let permit = Arc::clone(&free).acquire_owned().await?;
        let stream = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // The peer gave up while it waited. (Out of descriptors would end here too: the supervisor restarts us.)
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accepting a connection"),
            },
        };
        let (service, stop) = (Arc::clone(&service), stop.clone());
        connections.spawn(async move {
            serve_connection(stream, stop, service).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(DRAIN, rest)
        .await
        .context("some requests were still open when the time to drain was over")
}

async fn serve_connection<S: Service>(stream: TcpStream, stop: Stop, service: Arc<S>) {
    // Small answers must not wait for the peer's acknowledgement; where it fails the connection is gone anyway.
    drop(stream.set_nodelay(true));
    let mut stopping = stop.clone();
    let handler = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let call = Call { head, body, stop: stop.clone() };
        let service = Arc::clone(&service);
        async move {
            if call.head.uri.path() == "/healthz" {
                return Ok::<_, Infallible>(json(200, &serde_json::json!({ "status": "ok" })));
            }
            Ok(service.answer(call).await.unwrap_or_else(Answer::from))
        }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let connection = server.serve_connection(TokioIo::new(stream), handler);
    tokio::pin!(connection);
    // How a connection ends is the peer's affair: whoever still waited for an answer has seen the error.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stopping) => connection.as_mut().graceful_shutdown(),
    }
    drop(connection.await);
}

/// Another service, where its URL says.
#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    http: legacy::Client<HttpConnector, Body>,
}

/// A whole answer.
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| format!("unexpected body: {}", self.first_line()))
    }

    /// Enough of the body to recognise it.
    pub(crate) fn first_line(&self) -> String {
        String::from_utf8_lossy(&self.body).lines().next().unwrap_or("").chars().take(200).collect()
    }
}

impl Client {
    /// Calls over HTTP/1.1, by connections that are kept.
    pub(crate) fn new(base_url: &str) -> Result<Self> {
        Self::build(base_url, false)
    }

    /// Calls over HTTP/2 without TLS, all on one connection.
    pub(crate) fn http2(base_url: &str) -> Result<Self> {
        Self::build(base_url, true)
    }

    fn build(base_url: &str, http2: bool) -> Result<Self> {
        let base = base_url.trim_end_matches('/');
        let uri: Uri = base.parse().with_context(|| format!("`{base_url}` is no URL"))?;
        if uri.scheme_str() != Some("http") {
            bail!("`{base_url}` is no http:// URL");
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            .http2_only(http2)
            .build(connector);
        Ok(Self { base: base.to_owned(), http })
    }

    /// Sends and returns as soon as the head of the answer is there.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base)).body(body)?;
        *request.headers_mut() = headers;
        tokio::time::timeout(CALL_TIMEOUT, self.http.request(request))
            .await
            .context("no answer in time")?
            .map_err(why)
    }

    /// Sends and reads the whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Received> {
        let answer = self.open(method, path, headers, full(body)).await?;
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(CALL_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect());
        let body =
            body.await.context("the body did not end in time")?.map_err(|error| anyhow::anyhow!(error))?;
        Ok(Received { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }

    /// `GET` for a service that calls another: JSON if the answer is 200, nothing if it is 404, else a 502 that says why.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        name: &str,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Option<T>, Problem> {
        let unavailable = |error: anyhow::Error| Problem::new(502, format!("{name} GET {path}: {error:#}"));
        let answer = self.call(Method::GET, path, headers, Bytes::new()).await.map_err(unavailable)?;
        match answer.status {
            200 => answer.json().map(Some).map_err(unavailable),
            404 => Ok(None),
            status => Err(unavailable(anyhow::anyhow!("answered {status}: {}", answer.first_line()))),
        }
    }
}

/// The whole chain of reasons: hyper's own text alone is "client error (SendRequest)".
fn why(error: legacy::Error) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// The headers that a service passes on to whom it calls, so that one request can be followed through the system.
pub(crate) fn passed_on(from: &HeaderMap) -> HeaderMap {
    const NAMES: [HeaderName; 4] = [
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("weft-deadline"),
    ];
    NAMES.into_iter().filter_map(|name| from.get(&name).cloned().map(|value| (name, value))).collect()
}

/// `%41` becomes `A`; what is no escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(percent_decode("tea%2C%20green+"), "tea, green+");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
        assert_eq!(percent_decode("%c3%a9"), "é");
    }

    #[test]
    fn only_the_headers_that_follow_a_request_are_passed_on() {
        let mut from = HeaderMap::new();
        for name in ["x-request-id", "authorization", "traceparent"] {
            from.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let passed = passed_on(&from);
        assert_eq!(passed.len(), 2);
        assert!(!passed.contains_key("authorization"));
    }
}
