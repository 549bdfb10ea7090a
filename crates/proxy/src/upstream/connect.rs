//! Makes connections: TCP with its time limit, then TLS as the endpoint's kind demands, then HTTP/2 where it is shared.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_model::code::Code;
use weft_trust::mesh::mesh_server_name;

use super::pool::{Endpoint, Target};
use crate::metrics::Meter;
use crate::stream::{Stream, TlsStream};
use crate::worker::Worker;

/// Protocol names of ALPN (RFC 7301).
pub(crate) const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 over TLS.
pub(crate) const HTTP2: &[u8] = b"h2";
/// Bytes of a `tcp` service between two sidecars.
pub(crate) const TCP: &[u8] = b"weft-tcp";

/// Window of one stream: at a millisecond between two sidecars it carries 256 MiB a second.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Window of a connection: a thousand streams, as many as the limit of open requests lets through by default. Were it
/// smaller, a few whose reader is slow would hold up all others; what it may cost in memory is bounded by the streams.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1000 * STREAM_WINDOW_BYTES;
/// A shared connection is asked so often whether anybody is still there,
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// and given up when no answer comes for so long.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that we gave up and whose last frames may still come.
const RESETS_MAX: usize = 1000;
/// Largest head of an answer.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Connects and, where the endpoint is reached by TLS, shakes hands for `alpn`.
///
/// # Errors
/// Why not: refused, too slow, or the other side is not who it should be.
pub(crate) async fn connect(
    worker: &Worker,
    endpoint: &Endpoint,
    alpn: &'static [u8],
    timeout: Duration,
) -> Result<Stream, Code> {
    let until = worker.timer.now() + timeout;
    let stream = worker.timer.limit(until, pin!(open(worker, endpoint, alpn))).await;
    stream.unwrap_or(Err(Code::ConnectTimeout))
}

async fn open(worker: &Worker, endpoint: &Endpoint, alpn: &'static [u8]) -> Result<Stream, Code> {
    let tcp = TcpStream::connect(endpoint.address).await.map_err(|_| Code::ConnectFailed)?;
    // Small messages must not wait for acknowledgements. A socket that refuses the option works all the same.
    let _ = tcp.set_nodelay(true);
    worker.stats.borrow_mut().add(Meter::Connected(endpoint.upstream), 1);
    let (config, name) = match &endpoint.target {
        Target::Plain => return Ok(Stream::from(tcp)),
        Target::Mesh(callee) => {
            let mesh = worker.mesh().ok_or(Code::NotReady)?;
            (mesh.client_for(callee, &[alpn]), mesh_server_name())
        }
        Target::Tls(name) => (worker.outside_tls(alpn).ok_or(Code::NotReady)?, name.clone()),
    };
    let tls = TlsConnector::from(config).connect(name, tcp).await;
    let tls = tls.map_err(|error| tls_code(&endpoint.target, &error))?;
    Ok(Stream::from(TlsStream::from(tls)))
}

/// Tells "they are somebody else" and "they are gone" from all other ways in which a handshake fails.
fn tls_code(target: &Target, error: &std::io::Error) -> Code {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, target) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => Code::IdentityMismatch,
        // A sidecar that does not want us says so; one that was killed says nothing.
        (None, Target::Mesh(_)) => Code::ConnectFailed,
        _ => Code::TlsHandshakeFailed,
    }
}

/// A multiplexed connection; a task of its own drives it.
///
/// # Errors
/// As [`connect`], or the peer does not speak HTTP/2.
pub(crate) async fn http2(
    worker: &Rc<Worker>,
    endpoint: &Rc<Endpoint>,
    timeout: Duration,
) -> Result<SendRequest<Bytes>, Code> {
    let stream = connect(worker, endpoint, HTTP2, timeout).await?;
    let callee = stream.identity();
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_send_buffer_size(STREAM_WINDOW_BYTES as usize);
    if matches!(endpoint.target, Target::Mesh(_)) || endpoint.address.ip().is_loopback() {
        // Answers that meet a stream whose client gave up are nobody's fault, and neither is the length that a 304 would have
        // had; the codec counts them for ever. Who is of the mesh or of this machine is not suspected of a flood by them.
        builder.max_local_error_reset_streams(None);
    }
    let until = worker.timer.now() + timeout;
    let made =
        worker.timer.limit(until, pin!(builder.handshake(stream))).await.ok_or(Code::ConnectTimeout)?;
    let (send, mut connection) = made.map_err(|_| Code::UpstreamProtocol)?;
    let (ping, worker) = (connection.ping_pong(), Rc::clone(worker));
    tokio::task::spawn_local(async move {
        tokio::select! {
            // Why it ended is told to each exchange on it; the connection itself has nobody to tell.
            _ = connection => {}
            // Dropping the connection ends its exchanges.
            () = until_silent(&worker, ping) => {}
            () = worker.until_revoked(callee.as_ref()) => {}
        }
    });
    Ok(send)
}

/// Completes when the peer no longer answers: a host that vanished sends no FIN.
async fn until_silent(worker: &Worker, ping: Option<h2::PingPong>) {
    let Some(mut ping) = ping else { return std::future::pending().await };
    loop {
        worker.timer.sleep(PING_INTERVAL).await;
        let until = worker.timer.now() + PING_TIMEOUT;
        let answered = worker.timer.limit(until, pin!(ping.ping(h2::Ping::opaque()))).await;
        if !matches!(answered, Some(Ok(_))) {
            return;
        }
    }
}
