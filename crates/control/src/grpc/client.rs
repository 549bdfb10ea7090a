//! The calling side: one HTTP/2 connection over TLS, and the calls on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{
    CONTENT_TYPE, Code, Item, MESSAGE_BYTES_MAX, Messages, Outgoing, STREAM_QUEUE_MESSAGES, Status, encode,
};

/// Making a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One unary call.
const UNARY_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes in flight before the reader must catch up: a large plan in one round trip on most days.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// One connection to a gRPC server. Ends with the value.
pub(crate) struct Connection {
    sender: SendRequest<Outgoing>,
    driver: JoinHandle<()>,
    authority: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `address` (`HOST:PORT`); whom to believe there is the configuration's business.
    pub(crate) async fn open(
        address: &str,
        tls: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Status> {
        tokio::time::timeout(CONNECT_TIMEOUT, Self::connect(address, tls, name)).await.unwrap_or_else(|_| {
            Err(Status::new(Code::Unavailable, format!("{address} did not answer in time")))
        })
    }

    async fn connect(
        address: &str,
        tls: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Status> {
        let unavailable = |what: &str, error: &dyn std::fmt::Display| {
            Status::new(Code::Unavailable, format!("{what} {address}: {error}"))
        };
        let tcp = TcpStream::connect(address).await.map_err(|error| unavailable("cannot reach", &error))?;
        // Small messages that are waited for; the option fails only on a dead socket, which the next call notices.
        let _ = tcp.set_nodelay(true);
        let stream = TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(|error| unavailable("no trusted connection to", &error))?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(16 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable("no HTTP/2 with", &error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to control ended");
            }
        });
        Ok(Self { sender, driver, authority: address.to_owned() })
    }

    /// One message there, one message back.
    pub(crate) async fn unary<A: Message + Default>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, Status> {
        let call = self.call(method, Outgoing::request(encode(message)?));
        let work = async {
            let mut messages = call.await?;
            let answer = messages.next::<A>().await?;
            let trailing = messages.next::<A>().await?;
            match (answer, trailing, messages.status()) {
                (Some(answer), None, Some(Status { code: Code::Ok, .. })) => Ok(answer),
                (_, _, Some(status)) if status.code != Code::Ok => Err(status.clone()),
                _ => Err(Status::new(Code::Internal, "the answer is not that of a unary call")),
            }
        };
        tokio::time::timeout(UNARY_TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "control did not answer in time")))
    }

    /// A stream in both directions.
    pub(crate) async fn stream(&mut self, method: &str) -> Result<(Upward, Messages), Status> {
        let (sender, queue) = mpsc::channel(STREAM_QUEUE_MESSAGES);
        let messages = tokio::time::timeout(UNARY_TIMEOUT, self.call(method, Outgoing::Stream(queue)))
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "control did not answer in time")))?;
        Ok((Upward(sender), messages))
    }

    async fn call(&mut self, method: &str, body: Outgoing) -> Result<Messages, Status> {
        let uri = format!("https://{}/{}/{method}", self.authority, weft_model::wire::SERVICE);
        let request = Request::post(uri)
            .header(http::header::CONTENT_TYPE, CONTENT_TYPE)
            .header(http::header::TE, "trailers")
            .body(body)
            .map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        let broken = |error: hyper::Error| Status::new(Code::Unavailable, format!("the call broke: {error}"));
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(request).await.map_err(broken)?;
        accept(response)
    }
}

fn accept(response: Response<Incoming>) -> Result<Messages, Status> {
    if let Some(status) = Status::of(response.headers())
        && status.code != Code::Ok
    {
        return Err(status);
    }
    let spoken = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if response.status() != http::StatusCode::OK || !spoken.is_some_and(|kind| kind.starts_with(CONTENT_TYPE))
    {
        return Err(Status::new(Code::Unknown, format!("not a gRPC server: status {}", response.status())));
    }
    Ok(Messages::new(response.into_body(), MESSAGE_BYTES_MAX))
}

/// The sending half of a stream.
pub(crate) struct Upward(mpsc::Sender<Item>);

impl Upward {
    /// Waits for a place in the queue; fails once the stream is over.
    pub(crate) async fn send(&self, message: &impl Message) -> Result<(), Status> {
        let bytes: Bytes = encode(message)?;
        self.0
            .send(Item::Message(bytes))
            .await
            .map_err(|_| Status::new(Code::Unavailable, "the stream is over"))
    }
}
