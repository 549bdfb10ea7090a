//! The three listeners of control, and the life of a connection on each.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use weft_trust::mesh::{PeerError, peer_identity};

use super::{StartError, io};
use crate::admin::{self, AdminToken};
use crate::metrics::count;
use crate::service;
use crate::shared::{Addresses, Shared};

/// Connections of data planes: each has a stream, and now and then one to renew.
const MESH_CONNECTIONS_MAX: usize = 8192;
/// Connections to the admin API and the metrics.
const HTTP_CONNECTIONS_MAX: usize = 256;
/// TLS must stand by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody vouches for may enrol or renew, and goes.
const ANONYMOUS_LIFE: Duration = Duration::from_secs(30);
/// Silence after which the other side is asked whether it lives; its process may have ended with its machine asleep.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The head of a request must be there by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept (no descriptors left): trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What control listens on.
pub(super) struct Listeners {
    admin: TcpListener,
    mesh: TcpListener,
    metrics: Option<(TcpListener, SocketAddr)>,
    tls: Arc<ServerConfig>,
}

impl Listeners {
    pub(super) fn new(
        shared: &Shared,
        admin: StdListener,
        mesh: StdListener,
        metrics: Option<StdListener>,
    ) -> Result<Self, StartError> {
        let local = admin.local_addr().map_err(io("listen for the admin API"))?;
        if !local.ip().is_loopback() {
            return Err(StartError::AdminNotLoopback(local));
        }
        let listening = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        Ok(Self {
            admin: listening(admin).map_err(io("listen for the admin API"))?,
            mesh: listening(mesh).map_err(io("listen for the data planes"))?,
            metrics: metrics
                .map(|listener| {
                    let local = listener.local_addr()?;
                    Ok((listening(listener)?, local))
                })
                .transpose()
                .map_err(io("listen for metrics"))?,
            tls: shared.identities.tls().server_for_enrolment(&[b"h2"])?,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            admin: self.admin.local_addr()?,
            mesh: self.mesh.local_addr()?,
            metrics: self.metrics.as_ref().map(|(_, local)| *local),
        })
    }

    /// Accepts for ever; connections end with the future.
    pub(super) async fn serve(self, shared: &Arc<Shared>, token: AdminToken) {
        let token = Arc::new(token);
        let tls = TlsAcceptor::from(self.tls);
        let mesh =
            accept(&self.mesh, MESH_CONNECTIONS_MAX, |tcp| serve_mesh(Arc::clone(shared), tls.clone(), tcp));
        let admin = accept(&self.admin, HTTP_CONNECTIONS_MAX, |tcp| {
            serve_admin(Arc::clone(shared), Arc::clone(&token), tcp)
        });
        let metrics = async {
            match &self.metrics {
                Some((listener, local)) => {
                    let serve = |tcp| serve_metrics(Arc::clone(shared), *local, tcp);
                    accept(listener, HTTP_CONNECTIONS_MAX, serve).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::join!(mesh, admin, metrics);
    }
}

/// Accepts connections, at most `connections_max` at a time; more wait in the backlog.
async fn accept<F>(listener: &TcpListener, connections_max: usize, mut serve: impl FnMut(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, _)) => {
                // A socket that refuses the option is dead, which its first read tells.
                let _ = tcp.set_nodelay(true);
                let connection = serve(tcp);
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_mesh(shared: Arc<Shared>, tls: TlsAcceptor, tcp: TcpStream) {
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            count(&shared.counters.connections_refused);
            tracing::debug!(%error, "no TLS with a caller");
            return;
        }
        Err(_) => return count(&shared.counters.connections_refused),
    };
    let peer = match peer_identity(stream.get_ref().1) {
        Ok(identity) => Some(identity),
        Err(PeerError::Anonymous) => None,
        Err(error) => {
            count(&shared.counters.connections_refused);
            tracing::debug!(%error, "a caller without identity");
            return;
        }
    };
    let anonymous = peer.is_none();
    let service = service_fn(move |request| {
        let answered = service::answer(Arc::clone(&shared), peer.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(8)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(16)
        .max_local_error_reset_streams(64)
        .max_send_buf_size(256 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let life = if anonymous { ANONYMOUS_LIFE } else { Duration::MAX };
    if let Ok(Err(error)) = tokio::time::timeout(life, connection).await {
        tracing::debug!(%error, "a data plane's connection broke");
    }
}

async fn serve_admin(shared: Arc<Shared>, token: Arc<AdminToken>, tcp: TcpStream) {
    let service = service_fn(move |request| {
        let answered = admin::answer(Arc::clone(&shared), Arc::clone(&token), request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    serve_http1(tcp, service).await;
}

async fn serve_metrics(shared: Arc<Shared>, local: SocketAddr, tcp: TcpStream) {
    let service = service_fn(move |request| {
        let answered = admin::scraped(&shared, local, &request);
        async move { Ok::<_, std::convert::Infallible>(answered) }
    });
    serve_http1(tcp, service).await;
}

async fn serve_http1<S, B>(tcp: TcpStream, service: S)
where
    S: hyper::service::Service<
            hyper::Request<hyper::body::Incoming>,
            Response = hyper::Response<B>,
            Error = std::convert::Infallible,
        >,
    B: hyper::body::Body<Error = std::convert::Infallible> + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the admin API broke");
    }
}
