//! HTTP/2 from a client: a task per stream, floods bounded, a calm GOAWAY when we leave.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use weft_model::code::Code;
use weft_stdx::clock::Tick;

use crate::body::{BodyLength, Reader, RequestBody, Responder};
use crate::buffer::LentHead;
use crate::connection::http1::Upgrade;
use crate::connection::http2_guard::{Allowance, Guarded};
use crate::connection::http2_io::{self, Http2Reader, Http2Responder};
use crate::connection::{Conn, Entry};
use crate::exchange::{self, Request, answer_with};
use crate::head::{Head, HeadError, Known, Method};
use crate::metrics::Meter;
use crate::rescue::{self, Ended, is_grpc};
use crate::stream::Stream;
use crate::upstream::connect;
use crate::worker::{Phase, Worker};

/// Streams that the client has reset before they were looked at, at most; more end the connection (CVE-2023-44487).
const RESETS_MAX: usize = 32;
/// The same in the mesh, as many as there may be streams: the other side only passes on that its own clients gave up, and
/// whoever else is on the connection must not pay for them. How often that may be is for the guard to say.
const RESETS_MESH_MAX: usize = 1000;

/// Bytes of a request that are still taken after its answer: what clients send before they look.
const HEARD_OUT_BYTES_MAX: usize = 64 * 1024;

/// A client is sent to a new connection after so long, give or take the jitter: so a few long-lived connections find their
/// way to all workers and to instances that were added since, and not all at once.
const AGE_MAX: Duration = Duration::from_secs(600);
/// However soon a certificate ends: who cannot renew it shall not connect without pause either.
const AGE_MIN: Duration = Duration::from_secs(1);
/// See [`AGE_MAX`].
const AGE_JITTER: Duration = Duration::from_secs(120);

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, stream: Stream) {
    let until = worker.timer.now() + worker.limits().handshake_timeout;
    let tripped = Rc::new(Cell::new(false));
    let guarded =
        Guarded::new(stream, Rc::clone(&worker.timer), Allowance::of(&conn.entry), Rc::clone(&tripped));
    let Some(Ok(mut connection)) =
        worker.timer.limit(until, pin!(settings(&conn.entry).handshake(guarded))).await
    else {
        return;
    };
    let mut phase = worker.watch_phase();
    let open = Rc::new(Cell::new(0_usize));
    let mut leaving = false;
    let mut aged = worker.timer.at(worker.timer.now() + age(worker, conn));
    loop {
        if !leaving && *phase.borrow_and_update() >= Phase::Draining {
            leaving = true;
            connection.graceful_shutdown();
        }
        let since = worker.timer.now();
        let until = since + worker.limits().idle_timeout;
        let idle = worker.timer.at(until);
        let accepted = tokio::select! {
            biased;
            accepted = connection.accept() => accepted,
            // The guard trips while the line above reads.
            () = poll_fn(|_| if tripped.get() { Poll::Ready(()) } else { Poll::Pending }) => {
                return calm_down(worker, conn, connection).await;
            }
            () = worker.crowd.idle(since, until), if !leaving && open.get() == 0 => {
                leaving = true;
                connection.graceful_shutdown();
                continue;
            }
            _ = phase.changed(), if !leaving => continue,
            () = &mut aged, if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
                continue;
            }
            () = idle => {
                if open.get() == 0 {
                    leaving = true;
                    connection.graceful_shutdown();
                }
                continue;
            }
        };
        match accepted {
            Some(Ok((request, respond))) => {
                let (worker, conn, open) = (Rc::clone(worker), Rc::clone(conn), Rc::clone(&open));
                open.set(open.get() + 1);
                let mut incoming = Incoming::take_in(&worker, &conn, request, respond);
                // Boxed, so that the runtime moves a pointer and not the room for an exchange.
                tokio::task::spawn_local(Box::pin(async move {
                    incoming.serve(&worker, &conn).await;
                    drop(incoming);
                    open.set(open.get() - 1);
                }));
            }
            Some(Err(error)) => {
                if error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) {
                    worker.stats.borrow_mut().add(Meter::Refused(Code::Http2Abuse.name()), 1);
                }
                return;
            }
            None => return,
        }
    }
}

/// How long a connection may grow old. One of the mesh ends before either certificate that it began with does: what was
/// proven then is proven anew by the next one, and nobody has to ask for that at the moment of a renewal, all at once.
fn age(worker: &Worker, conn: &Conn) -> Duration {
    let mut rng = worker.rng.borrow_mut();
    let age = rng.duration(AGE_MAX - AGE_JITTER, AGE_MAX + AGE_JITTER);
    let Some(caller) = &conn.identity else { return age };
    let own = worker.mesh().and_then(|mesh| Some(mesh.identity()?.current().not_after));
    let ends = own.map_or(caller.not_after, |own| own.min(caller.not_after));
    let proven = ends.duration_since(worker.timer.wall()).unwrap_or_default();
    age.min(rng.duration(proven * 3 / 4, proven * 9 / 10).max(AGE_MIN))
}

/// What the codec allows a client.
fn settings(entry: &Entry) -> h2::server::Builder {
    let edge = *entry == Entry::Edge;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(if edge { 100 } else { 1000 })
        .initial_window_size(if edge { 64 * 1024 } else { connect::STREAM_WINDOW_BYTES })
        // As much as all streams together, so that those whose reader is slow hold up no other.
        .initial_connection_window_size(if edge { 100 * 64 * 1024 } else { connect::CONNECTION_WINDOW_BYTES })
        .max_header_list_size(if edge { 32 * 1024 } else { 64 * 1024 })
        .max_concurrent_reset_streams(if edge { RESETS_MAX } else { RESETS_MESH_MAX })
        .max_pending_accept_reset_streams(if edge { RESETS_MAX } else { RESETS_MESH_MAX })
        .max_send_buffer_size(1024 * 1024);
    builder
}

/// Ends a connection whose peer floods it, and says so.
async fn calm_down(worker: &Worker, conn: &Conn, mut connection: Connection<Guarded, Bytes>) {
    worker.stats.borrow_mut().add(Meter::Refused(Code::Http2Abuse.name()), 1);
    tracing::warn!(peer = %conn.peer, code = Code::Http2Abuse.as_str(), "{}", Code::Http2Abuse.summary());
    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
    let until = worker.timer.now() + worker.limits().linger;
    let _ = worker.timer.limit(until, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// A stream with a request, as far as that has come. It is taken apart before the task of the exchange begins, which would
/// hold the room for all that was moved within it twice.
struct Incoming {
    began: Tick,
    head: LentHead,
    /// Why it is no request that we serve.
    refused: Option<Box<Ended>>,
    body: RequestBody<'static>,
    responder: Responder<'static>,
}

impl Incoming {
    fn take_in(
        worker: &Worker,
        conn: &Conn,
        request: http::Request<h2::RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let (parts, recv) = request.into_parts();
        let began = worker.timer.now();
        let mut head = LentHead::new();
        let read = http2_io::read_request(&parts, &mut head);
        let length = http2_io::request_length(&mut head, &recv);
        let reader = Reader::Http2(Http2Reader::of_request(recv, length));
        let responder = Http2Responder::new(respond, head.method() == Method::Head);
        let read = read.map_err(|error| refusal(&error)).and_then(|()| acceptable(conn, &head));
        // One check of expectation is enough in HTTP/2: the client sees our window, not a 100.
        head.remove(Known::Expect);
        Incoming {
            began,
            head,
            refused: read.err().map(Box::new),
            body: RequestBody::new(reader, worker.limits().body_bytes_max),
            responder: Responder::Http2(responder),
        }
    }

    async fn serve(&mut self, worker: &Rc<Worker>, conn: &Rc<Conn>) {
        let Incoming { began, head, refused, body, responder } = self;
        let grpc = is_grpc(head);
        if refused.is_none() && body.length() == BodyLength::Known(0) {
            *refused = Box::pin(end_of_nothing(worker, body)).await.err().map(|code| Box::new(code.into()));
        }
        if let Some(ended) = refused {
            worker.stats.borrow_mut().add(Meter::Refused(ended.code.name()), 1);
            let mut answer = Head::new();
            let text = rescue::answer(ended, grpc, "", &mut answer);
            let mut record = crate::access::Record::begin(*began);
            answer_with(worker, responder, &mut answer, text, &mut record).await;
        } else {
            let request = Request { conn, head, upgrade: Upgrade::None, grpc, began: *began };
            exchange::run(worker, request, body, responder).await;
        }
        hear_out(worker, body, responder).await;
    }
}

/// A request that announces no bytes is whole for the next hop with its head, so its stream must have ended before.
async fn end_of_nothing(worker: &Worker, body: &mut RequestBody<'_>) -> Result<(), Code> {
    let until = worker.timer.now() + worker.limits().head_timeout;
    let in_time = worker.timer.limit(until, pin!(body.skip(1))).await.is_some();
    match (in_time, body.is_complete()) {
        (true, true) => Ok(()),
        (true, false) => Err(Code::BadFraming),
        (false, _) => Err(Code::BodyTimeout),
    }
}

/// Takes the rest of a short request that was answered before its end. A stream that is let go before that is reset, which
/// RFC 9113, 8.1 allows after an answer; clients that are in wide use then lose the answer, and with it why they were refused.
/// After an answer that is only a head it is the reset that tells the same clients (curl 7.88) that this was all.
async fn hear_out(worker: &Worker, body: &mut RequestBody<'_>, responder: &mut Responder<'_>) {
    if body.is_complete() || !responder.has_http2_body() {
        return;
    }
    let until = worker.timer.now() + worker.limits().linger;
    // A stream that is over or was reset already ends this at once.
    let _ = worker.timer.limit(until, pin!(body.skip(HEARD_OUT_BYTES_MAX))).await;
}

fn refusal(error: &HeadError) -> Ended {
    let code = match error {
        HeadError::Path(_) => Code::BadPath,
        HeadError::Authority(_) | HeadError::AuthorityMismatch => Code::BadHost,
        HeadError::TooManyFields | HeadError::TooLarge => Code::HeadTooLarge,
        HeadError::NameInvalid | HeadError::ValueInvalid | HeadError::MethodInvalid => Code::BadHead,
    };
    Ended::new(code, error.to_string())
}

/// What the strict HTTP/1.1 parser refuses and the frames of HTTP/2 let through.
fn acceptable(conn: &Conn, head: &Head) -> Result<(), Ended> {
    let limits = conn.entry.head_limits();
    if head.len() > limits.fields_max {
        return Err(Ended::new(Code::HeadTooLarge, format!("more than {} fields", limits.fields_max)));
    }
    if head.authority().is_empty() {
        return Err(Ended::new(Code::BadHost, "there is neither `:authority` nor `host`"));
    }
    let target = head.path().len() + head.query().map_or(0, str::len);
    if target > limits.line_bytes_max {
        return Err(Ended::new(Code::UriTooLong, format!("more than {} bytes", limits.line_bytes_max)));
    }
    if !limits.underscores_allowed && head.iter().any(|field| field.name.contains(&b'_')) {
        return Err(Ended::new(Code::BadFieldName, "a field name holds an underscore"));
    }
    Ok(())
}
