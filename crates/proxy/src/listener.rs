//! Accepting: limits and proofs before any request is read, then the protocol that the connection speaks.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server};
use weft_model::code::Code;
use weft_model::plan::Protocol;
use weft_stdx::clock::Tick;
use weft_trust::mesh::peer_identity;
use weft_trust::peer::Owner;

use crate::body::Responder;
use crate::buffer::{Buffer, Outgoing};
use crate::connection::http1::{BodyFraming, ResponseTo, ResponseWire, write_response};
use crate::connection::http1_io::{Asked, Http1Responder};
use crate::connection::{Conn, Entry, http1_server, http2_server, tcp};
use crate::exchange::answer_with;
use crate::head::{Head, Method, Version};
use crate::metrics::Meter;
use crate::rescue::{self, Ended};
use crate::stream::{Stream, TlsStream};
use crate::upstream::connect;
use crate::worker::{Phase, Worker};

/// Without a plan and instances for so long, refusals are better than silence.
const INFORMED_LIMIT: Duration = Duration::from_secs(2);
/// Accepting failed for want of descriptors or memory: try again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// First bytes of HTTP/2 (RFC 9113, 3.4), as many as tell it from every method of HTTP/1.
const PREFACE: &[u8] = b"PRI";

/// Accepts until the worker leaves.
pub(crate) async fn accept(worker: Rc<Worker>, entry: Entry, listener: TcpListener) {
    let mut phase = worker.watch_phase();
    if !matches!(entry, Entry::Api) {
        worker.wait_informed(INFORMED_LIMIT).await;
    }
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, peer)) = accepted else {
            // Out of descriptors: what is open must end before anything can come in.
            worker.timer.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let label = entry.label();
        if worker.open.load(Ordering::Relaxed) >= worker.limits().connections_max && !worker.crowd.shed() {
            turn_away(&worker, &socket, "as many connections as one worker may have are open and busy");
            continue;
        }
        worker.open.fetch_add(1, Ordering::Relaxed);
        worker.stats.borrow_mut().add(Meter::Accepted(label), 1);
        worker.stats.borrow_mut().add(Meter::Open(label), 1);
        let (worker, entry) = (Rc::clone(&worker), entry.clone());
        tokio::task::spawn_local(async move {
            let most = most_from(&worker, &entry, peer);
            match worker.crowd.enter(peer.ip(), most) {
                Some(guest) => {
                    let served = pin!(serve(&worker, entry, socket, peer));
                    guest.until(served, || worker.phase() >= Phase::Cutting).await;
                }
                None => turn_away(&worker, &socket, "as many connections as one source may have are open"),
            }
            worker.open.fetch_sub(1, Ordering::Relaxed);
            worker.stats.borrow_mut().add(Meter::Open(label), -1);
        });
    }
}

/// How many connections may come from where this one comes from.
fn most_from(worker: &Worker, entry: &Entry, peer: SocketAddr) -> usize {
    let trusted = || {
        let active = worker.active();
        active.is_some_and(|active| {
            active.compiled.gateway().is_some_and(|(_, gateway)| gateway.trusts(peer.ip()))
        })
    };
    if *entry == Entry::Edge && !trusted() { worker.limits().connections_per_source_max } else { usize::MAX }
}

/// Says that there are too many connections, as far as the socket takes it at once, and closes.
fn turn_away(worker: &Worker, socket: &TcpStream, why: &str) {
    worker.stats.borrow_mut().add(Meter::Rejected("too_many_connections"), 1);
    if worker.shared.edge_tls.load().is_some() {
        // Nobody would understand plain bytes, and a handshake is what there is no place for.
        return;
    }
    let mut head = Head::new();
    let text = rescue::answer(&Ended::new(Code::TooManyConnections, why), false, "", &mut head);
    let wire = ResponseWire {
        to: ResponseTo { method: Method::Get, upgrade: false },
        version: Version::Http11,
        framing: BodyFraming::Length(text.len() as u64),
        length_declared: None,
        keep_alive: false,
    };
    let mut out = Vec::new();
    write_response(&head, &wire, &mut out);
    out.extend_from_slice(&text);
    // There is no place to wait in either.
    let _ = socket.try_write(&out);
}

/// What is large and not the waiting of an HTTP/1.1 connection is boxed: ten thousand of those are what a gateway mostly holds.
async fn serve(worker: &Rc<Worker>, entry: Entry, socket: TcpStream, peer: SocketAddr) {
    // A socket that refuses the options works all the same.
    let _ = socket.set_nodelay(true);
    // The kernel gives up a peer that takes nothing for so long, whoever is writing and whatever.
    let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(worker.limits().stream_idle));
    match entry {
        Entry::Edge => edge(worker, socket, peer).await,
        Entry::Inbound => inbound(worker, socket, peer).await,
        Entry::Outbound(_) | Entry::Forward | Entry::Api => local(worker, entry, socket, peer).await,
    }
}

async fn edge(worker: &Rc<Worker>, socket: TcpStream, peer: SocketAddr) {
    let Some(config) = worker.shared.edge_tls.load_full() else {
        let conn = Rc::new(Conn::new(Entry::Edge, peer, None, false));
        return plain(worker, &conn, socket).await;
    };
    let until = worker.timer.now() + worker.limits().handshake_timeout;
    let shaken = Box::pin(shake(worker, config, socket, until)).await;
    let Some(Ok(tls)) = shaken else {
        worker.stats.borrow_mut().add(Meter::Rejected("tls_handshake"), 1);
        return;
    };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(connect::HTTP2);
    let conn = Rc::new(Conn::new(Entry::Edge, peer, None, true));
    let stream = Stream::from(TlsStream::from(*tls));
    if http2 {
        Box::pin(http2_server::serve(worker, &conn, stream)).await;
    } else {
        http1_server::serve(worker, &conn, stream, Buffer::default()).await;
    }
}

/// The handshake, apart from what follows it: it takes more room, and is over soon. `None` if it took too long.
async fn shake(
    worker: &Worker,
    config: Arc<ServerConfig>,
    socket: TcpStream,
    until: Tick,
) -> Option<io::Result<Box<server::TlsStream<TcpStream>>>> {
    let shaken = worker.timer.limit(until, TlsAcceptor::from(config).accept(socket)).await;
    shaken.map(|shaken| shaken.map(Box::new))
}

/// Without TLS the first bytes say which HTTP it is.
async fn plain(worker: &Rc<Worker>, conn: &Rc<Conn>, socket: TcpStream) {
    let since = worker.timer.now();
    let until = since + worker.limits().handshake_timeout;
    let mut phase = worker.watch_phase();
    let spoken = {
        let speaks = pin!(speaks_http2(worker, &socket));
        tokio::select! {
            spoken = worker.timer.limit(until, speaks) => spoken,
            () = worker.crowd.idle(since, since + worker.limits().idle_timeout) => None,
            // Browsers connect ahead of their requests: who leaves waits a moment for those, and not to the limit.
            () = async {
                let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
                worker.timer.sleep(http1_server::FAREWELL).await;
            } => None,
        }
    };
    let Some(Some(http2)) = spoken else {
        worker.stats.borrow_mut().add(Meter::Rejected("silent"), 1);
        return;
    };
    if http2 {
        Box::pin(http2_server::serve(worker, conn, Stream::from(socket))).await;
    } else {
        http1_server::serve(worker, conn, Stream::from(socket), Buffer::default()).await;
    }
}

/// `None` if the peer left without a word.
async fn speaks_http2(worker: &Worker, socket: &TcpStream) -> Option<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = socket.peek(&mut seen).await.ok().filter(|count| *count > 0)?;
        if !PREFACE.starts_with(&seen[..count]) {
            return Some(false);
        }
        if count == PREFACE.len() {
            return Some(true);
        }
        // The bytes stay in the socket, so their readiness says nothing about more of them.
        worker.timer.sleep(Duration::from_millis(5)).await;
    }
}

async fn inbound(worker: &Rc<Worker>, socket: TcpStream, peer: SocketAddr) {
    let until = worker.timer.now() + worker.limits().handshake_timeout;
    let Some(config) = worker.mesh_server() else {
        worker.stats.borrow_mut().add(Meter::Rejected("no_identity_yet"), 1);
        return;
    };
    let mut first = [0; 1];
    let peeked = worker.timer.limit(until, pin!(socket.peek(&mut first))).await;
    match peeked {
        Some(Ok(1)) if first[0] == TLS_HANDSHAKE => {}
        Some(Ok(1)) => {
            worker.stats.borrow_mut().add(Meter::Rejected("plain"), 1);
            let conn = Rc::new(Conn::new(Entry::Inbound, peer, None, false));
            let stream = Stream::from(socket);
            return Box::pin(refuse(worker, &conn, &stream, &Code::PlainConnection.into())).await;
        }
        _ => return,
    }
    let shaken = Box::pin(shake(worker, config, socket, until)).await;
    let Some(Ok(tls)) = shaken else {
        worker.stats.borrow_mut().add(Meter::Rejected("mesh_handshake"), 1);
        if let Some(Err(error)) = shaken {
            tracing::debug!(%peer, %error, "a handshake of the mesh failed");
        }
        return;
    };
    let Ok(identity) = peer_identity(tls.get_ref().1) else {
        worker.stats.borrow_mut().add(Meter::Rejected("no_identity"), 1);
        return;
    };
    let alpn = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let conn = Rc::new(Conn::new(Entry::Inbound, peer, Some(identity.clone()), true));
    let stream = Stream::from(TlsStream::from(*tls));
    tokio::select! {
        () = worker.until_revoked(Some(&identity)) => {
            worker.stats.borrow_mut().add(Meter::Rejected("revoked"), 1);
        }
        () = async {
            match alpn.as_deref() {
                Some(connect::TCP) => Box::pin(tcp::inbound(worker, &conn, stream)).await,
                Some(connect::HTTP2) => Box::pin(http2_server::serve(worker, &conn, stream)).await,
                _ => http1_server::serve(worker, &conn, stream, Buffer::default()).await,
            }
        } => {}
    }
}

/// Content type of a TLS handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// From the local service: the process at the other end must be one of its own.
async fn local(worker: &Rc<Worker>, entry: Entry, socket: TcpStream, peer: SocketAddr) {
    let conn = Rc::new(Conn::new(entry, peer, None, false));
    if let Some(why) = foreign(worker, &socket, peer) {
        worker.stats.borrow_mut().add(Meter::Rejected("peer_not_owner"), 1);
        tracing::warn!(listener = conn.entry.label(), %peer, %why, "{}", Code::PeerNotOwner.summary());
        let ended = Ended::new(Code::PeerNotOwner, why);
        let stream = Stream::from(socket);
        return Box::pin(refuse(worker, &conn, &stream, &ended)).await;
    }
    if let Entry::Outbound(name) = &conn.entry
        && let Some(active) = worker.active()
        && let Some(callee) = active.callees.iter().find(|callee| *callee.plan.name == **name)
        && callee.plan.protocol == Protocol::Tcp
    {
        return Box::pin(tcp::outbound(worker, &active, callee, Stream::from(socket))).await;
    }
    plain(worker, &conn, socket).await;
}

/// Who else it is, if the peer is not the local service.
fn foreign(worker: &Worker, socket: &TcpStream, peer: SocketAddr) -> Option<String> {
    let peers = worker.shared.peers.as_ref()?;
    let local = socket.local_addr().ok()?;
    match peers.check(local, peer) {
        Owner::Service => None,
        other => Some(other.to_string()),
    }
}

/// Answers in HTTP/1.1, whatever the peer meant to speak, and closes.
async fn refuse(worker: &Rc<Worker>, conn: &Conn, stream: &Stream, ended: &Ended) {
    worker.stats.borrow_mut().add(Meter::Refused(ended.code.name()), 1);
    let asked = Asked {
        to: ResponseTo { method: Method::Get, upgrade: false },
        version: Version::Http11,
        keep_alive: false,
    };
    let answered = std::cell::Cell::new(false);
    let mut out = Outgoing::default();
    let mut head = Head::new();
    let text = rescue::answer(ended, false, "", &mut head);
    let mut record = crate::access::Record::begin(worker.timer.now());
    let responder = Http1Responder::new(stream, &mut out, asked, &answered);
    answer_with(worker, &mut Responder::Http1(responder), &mut head, text, &mut record).await;
    tracing::debug!(listener = conn.entry.label(), code = ended.code.as_str(), "refused a connection");
    http1_server::linger(worker, stream).await;
}
