//! Connections to one endpoint, kept by one worker thread: idle HTTP/1.1 connections, and one multiplexed HTTP/2
//! connection that all exchanges share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::sync::watch;
use weft_model::code::Code;
use weft_stdx::clock::Tick;
use weft_trust::identity::SpiffeId;

use super::connect;
use crate::buffer::{Buffer, Outgoing};
use crate::metrics::NameId;
use crate::stream::Stream;
use crate::worker::Worker;

/// Idle HTTP/1.1 connections that are kept to one endpoint; more are closed.
const IDLE_MAX: usize = 1024;
/// How long an idle connection is kept where the endpoint says nothing.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// So much earlier than the endpoint announces, its connection is given up: a request must not meet its closing.
const LEAVE_EARLY: Duration = Duration::from_secs(3);

/// How an endpoint is reached.
#[derive(Clone)]
pub(crate) enum Target {
    /// Its sidecar, which must prove this identity.
    Mesh(SpiffeId),
    /// Plain TCP: the local service, or a `url` with `http`.
    Plain,
    /// TLS toward a name outside the mesh.
    Tls(ServerName<'static>),
}

/// One address that takes requests.
pub(crate) struct Endpoint {
    /// Of which upstream it is: what is counted of it is counted there, since instances come and go without end.
    pub(crate) upstream: NameId,
    pub(crate) instance: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) target: Target,
    /// Nobody listens there, or behind its sidecar, as it says.
    pub(crate) deserted: Cell<bool>,
    /// When that was last found out.
    pub(crate) found_deserted: Cell<Tick>,
    idle: RefCell<Vec<Http1Client>>,
    shared: RefCell<Shared>,
    /// Grows when connections made so far must not be used any more.
    epoch: Cell<u64>,
    /// HTTP/2 connections made so far.
    made: Cell<u64>,
}

#[derive(Default)]
enum Shared {
    #[default]
    None,
    /// Somebody connects; all who wait are told.
    Connecting(watch::Receiver<Option<Code>>),
    Ready(Http2Client),
}

/// The HTTP/2 connection to an upstream, shared by all exchanges.
#[derive(Clone)]
pub(crate) struct Http2Client {
    pub(crate) send: SendRequest<Bytes>,
    /// Whether it has carried an exchange before.
    pub(crate) reused: bool,
    /// Which one of the endpoint it is.
    number: u64,
}

/// An HTTP/1.1 connection to an upstream between two exchanges, or during one.
pub(crate) struct Http1Client {
    pub(crate) stream: Stream,
    pub(crate) buf: Buffer,
    pub(crate) out: Outgoing,
    /// Whether it has carried an exchange before.
    pub(crate) reused: bool,
    leave_at: Tick,
    epoch: u64,
}

impl Endpoint {
    pub(crate) fn new(upstream: NameId, instance: Arc<str>, address: SocketAddr, target: Target) -> Self {
        Endpoint {
            upstream,
            instance,
            address,
            target,
            deserted: Cell::new(false),
            found_deserted: Cell::new(Tick::ZERO),
            idle: RefCell::new(Vec::new()),
            shared: RefCell::new(Shared::None),
            epoch: Cell::new(0),
            made: Cell::new(0),
        }
    }

    /// An HTTP/1.1 connection that has carried exchanges before.
    pub(crate) fn idle_http1(&self, now: Tick) -> Option<Http1Client> {
        loop {
            let mut client = self.idle.borrow_mut().pop()?;
            if client.epoch == self.epoch.get() && now < client.leave_at && !has_spoken(&client.stream) {
                client.reused = true;
                return Some(client);
            }
        }
    }

    /// A new HTTP/1.1 connection.
    ///
    /// # Errors
    /// Why none could be made.
    pub(crate) async fn fresh_http1(&self, worker: &Worker, timeout: Duration) -> Result<Http1Client, Code> {
        // What is true now is what it will have proved.
        let epoch = self.epoch.get();
        let stream = connect::connect(worker, self, connect::HTTP1, timeout).await?;
        Ok(Http1Client {
            stream,
            buf: Buffer::default(),
            out: Outgoing::default(),
            reused: false,
            leave_at: Tick::NEVER,
            epoch,
        })
    }

    /// Keeps a connection for the next exchange. `announced`: how long the endpoint says that it keeps it.
    pub(crate) fn give_back(&self, mut client: Http1Client, now: Tick, announced: Option<Duration>) {
        if !client.buf.is_empty() || client.epoch != self.epoch.get() {
            return;
        }
        let keep =
            announced.map_or(IDLE_FOR, |announced| announced.saturating_sub(LEAVE_EARLY).min(IDLE_FOR));
        let mut idle = self.idle.borrow_mut();
        if keep.is_zero() || idle.len() >= IDLE_MAX {
            return;
        }
        client.buf.release();
        client.out.release();
        client.leave_at = now + keep;
        idle.push(client);
    }

    /// The shared HTTP/2 connection.
    ///
    /// # Errors
    /// Why none could be made.
    pub(crate) async fn http2(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        timeout: Duration,
    ) -> Result<Http2Client, Code> {
        for _ in 0..3 {
            let ready = match &mut *self.shared.borrow_mut() {
                Shared::Ready(client) => {
                    let taken = client.clone();
                    client.reused = true;
                    Some(taken)
                }
                _ => None,
            };
            if let Some(mut client) = ready {
                // Waits where the peer's limit of streams is reached; fails where the connection is closing.
                match poll_fn(|cx| client.send.poll_ready(cx)).await {
                    Ok(()) => return Ok(client),
                    Err(_) => self.lost_http2(&client),
                }
            }
            let mut waiting = self.connecting(worker, timeout);
            let told = waiting.wait_for(Option::is_some).await.ok().and_then(|told| *told);
            if let Some(code) = told {
                return Err(code);
            }
        }
        Err(Code::ConnectFailed)
    }

    /// Who waits for the attempt to connect that is under way; begins one if there is none. The attempt is a task of its
    /// own, so that it outlives an exchange that gives up.
    fn connecting(self: &Rc<Self>, worker: &Rc<Worker>, timeout: Duration) -> watch::Receiver<Option<Code>> {
        let mut shared = self.shared.borrow_mut();
        match &*shared {
            Shared::Connecting(waiting) => waiting.clone(),
            Shared::Ready(_) | Shared::None => {
                let (tell, waiting) = watch::channel(None);
                *shared = Shared::Connecting(waiting.clone());
                let (endpoint, worker) = (Rc::clone(self), Rc::clone(worker));
                let epoch = self.epoch.get();
                tokio::task::spawn_local(async move {
                    let made = connect::http2(&worker, &endpoint, timeout).await;
                    let number = endpoint.made.get() + 1;
                    endpoint.made.set(number);
                    let (next, failed) = match made {
                        // What it proved may no longer hold: whoever waits connects anew.
                        Ok(_) if endpoint.epoch.get() != epoch => (Shared::None, None),
                        Ok(send) => (Shared::Ready(Http2Client { send, reused: false, number }), None),
                        Err(code) => (Shared::None, Some(code)),
                    };
                    *endpoint.shared.borrow_mut() = next;
                    // Dropping the sender tells success: the state is read again.
                    if failed.is_some() {
                        let _ = tell.send(failed);
                    }
                });
                waiting
            }
        }
    }

    /// Gives up the shared connection if it still is this one: it is closing.
    pub(crate) fn lost_http2(&self, lost: &Http2Client) {
        self.drop_shared(|client| client.number == lost.number);
    }

    fn drop_shared(&self, which: impl FnOnce(&Http2Client) -> bool) {
        let mut shared = self.shared.borrow_mut();
        if matches!(&*shared, Shared::Ready(client) if which(client)) {
            *shared = Shared::None;
        }
    }

    /// Uses no connection made so far for a new exchange.
    pub(crate) fn forget(&self) {
        self.epoch.set(self.epoch.get() + 1);
        self.idle.borrow_mut().clear();
        self.drop_shared(|_| true);
    }

    /// The endpoint is no longer listed: idle connections close now, the others when their exchanges end.
    pub(crate) fn retire(&self) {
        self.forget();
    }

    /// Closes idle connections whose time is over.
    pub(crate) fn tidy(&self, now: Tick) {
        self.idle.borrow_mut().retain(|client| now < client.leave_at && !has_spoken(&client.stream));
    }
}

/// Whether an idle connection has something to read: it was closed, or what it says answers nothing.
fn has_spoken(stream: &Stream) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut byte = [0; 1];
    stream.poll_read(&mut cx, &mut byte).is_ready()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_of_a_connection_that_was_replaced_does_not_cost_the_one_in_its_place() {
        let endpoint = Endpoint::new(0, "a".into(), "127.0.0.1:1".parse().unwrap(), Target::Plain);
        let (near, _far) = tokio::io::duplex(1024);
        let (send, _connection) = h2::client::Builder::new().handshake::<_, Bytes>(near).await.unwrap();
        let numbered = |number| Http2Client { send: send.clone(), reused: false, number };
        *endpoint.shared.borrow_mut() = Shared::Ready(numbered(2));
        endpoint.lost_http2(&numbered(1));
        assert!(matches!(*endpoint.shared.borrow(), Shared::Ready(_)));
        endpoint.lost_http2(&numbered(2));
        assert!(matches!(*endpoint.shared.borrow(), Shared::None));
    }
}
