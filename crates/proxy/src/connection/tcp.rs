//! Bytes: raw TCP of `tcp` services between two sidecars, and what is left of a connection after an upgrade or CONNECT.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use weft_model::code::Code;
use weft_model::plan::Protocol;

use crate::buffer::Buffer;
use crate::connection::Conn;
use crate::metrics::{Meter, Side, TcpEdge};
use crate::resilience::breaker::Verdict;
use crate::stage::authorize;
use crate::stream::Stream;
use crate::upstream::{InFlight, connect};
use crate::worker::{Active, Callee, CalleeKind, Phase, Worker};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Joins two streams until both directions have ended. What each side sent ahead goes first. Bytes are counted as they pass:
/// connections of databases last for days. A stream that breaks off on one side breaks off on the other, so that nobody
/// takes a part for the whole.
pub(crate) async fn join(
    worker: &Rc<Worker>,
    down: &Stream,
    down_ahead: &[u8],
    up: &Stream,
    up_ahead: &[u8],
    edge: Option<TcpEdge>,
) {
    let moved = Cell::new(false);
    let received = |bytes| tally(worker, edge.map(Meter::TcpReceived), bytes);
    let sent = |bytes| tally(worker, edge.map(Meter::TcpSent), bytes);
    let mut phase = worker.watch_phase();
    // Of the other side the listener takes care.
    let callee = up.identity();
    let both = async {
        // One direction that breaks ends the other; one that ends cleanly does not.
        tokio::try_join!(
            one_way(down, down_ahead, up, &moved, &received),
            one_way(up, up_ahead, down, &moved, &sent)
        )
    };
    let idle = worker.timer.until_silent(worker.limits().tunnel_idle, || moved.replace(false));
    let ended = tokio::select! {
        both = both => both.is_ok(),
        () = idle => false,
        () = worker.until_revoked(callee.as_ref()) => false,
        _ = phase.wait_for(|phase| *phase >= Phase::Cutting) => false,
    };
    if !ended {
        down.break_off();
        up.break_off();
    }
}

async fn one_way(
    from: &Stream,
    ahead: &[u8],
    to: &Stream,
    moved: &Cell<bool>,
    count: &dyn Fn(usize),
) -> io::Result<()> {
    to.write_both(ahead, b"").await?;
    count(ahead.len());
    let mut buf = Buffer::default();
    loop {
        from.readable().await?;
        let read = from.read(buf.space(READ_BYTES)).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        buf.filled(read);
        moved.set(true);
        to.write_both(buf.bytes(), b"").await?;
        count(read);
        buf.consume(read);
        buf.release();
    }
}

/// Serves a connection of the local service toward a `tcp` callee.
pub(crate) async fn outbound(worker: &Rc<Worker>, active: &Active, callee: &Rc<Callee>, down: Stream) {
    match open(worker, callee).await {
        Ok((up, _flight)) => {
            let (source, destination) = (active.compiled.me, callee.upstream.id);
            counted(worker, TcpEdge { side: Side::Client, source, destination }, &down, &up).await;
        }
        Err(code) => {
            down.break_off();
            refuse(worker, code, &callee.plan.name);
        }
    }
}

/// Serves a connection from the mesh toward the local `tcp` service.
pub(crate) async fn inbound(worker: &Rc<Worker>, conn: &Rc<Conn>, down: Stream) {
    let Some(active) = worker.active() else { return refuse(worker, Code::NotReady, "") };
    let (Some((plan, _)), Some(local)) = (active.compiled.sidecar(), &active.local) else { return };
    let caller = authorize::caller(conn);
    // A line that lists endpoints is about requests; a stream of bytes has none to compare.
    // As bytes, a caller could tell a service that speaks HTTP that it is somebody else.
    let takes_bytes = plan.inbound.protocol == Protocol::Tcp;
    let declared = plan
        .inbound
        .allow
        .iter()
        .any(|line| (line.caller == caller || line.caller == "*") && line.endpoints.is_empty());
    if !(takes_bytes && declared) {
        return refuse(worker, Code::NotAllowed, caller);
    }
    match open(worker, local).await {
        Ok((up, _flight)) => {
            let (source, destination) = (worker.names().intern(caller), active.compiled.me);
            counted(worker, TcpEdge { side: Side::Server, source, destination }, &down, &up).await;
        }
        Err(code) => refuse(worker, code, &plan.service),
    }
}

/// A connection to the callee, and its place in the load of its endpoint, to be kept as long as the connection.
async fn open(worker: &Rc<Worker>, callee: &Rc<Callee>) -> Result<(Stream, InFlight), Code> {
    let alpn = if callee.kind == CalleeKind::Mesh { connect::TCP } else { connect::HTTP1 };
    let timeout = Duration::from_millis(callee.plan.resilience.connect_timeout_ms);
    let mut failed = Code::NoEndpoint;
    // No byte has passed yet, so another endpoint can be tried.
    for _ in 0..=callee.plan.resilience.retries {
        let now = worker.timer.now();
        let flight = callee.upstream.pick(
            now,
            &mut worker.rng.borrow_mut(),
            &crate::upstream::balance::Ask::default(),
        );
        let Some(mut flight) = flight else { return Err(Code::NoEndpoint) };
        let Some(endpoint) = flight.endpoint().cloned() else { return Err(Code::NoEndpoint) };
        match connect::connect(worker, &endpoint, alpn, timeout).await {
            Ok(stream) => {
                flight.record(worker.timer.now(), Verdict::Success);
                return Ok((stream, flight));
            }
            Err(code) => {
                flight.record(worker.timer.now(), Verdict::Failure);
                failed = code;
            }
        }
    }
    Err(failed)
}

/// Joins two streams as a connection of an edge.
async fn counted(worker: &Rc<Worker>, edge: TcpEdge, down: &Stream, up: &Stream) {
    worker.stats.borrow_mut().add(Meter::TcpOpened(edge), 1);
    join(worker, down, b"", up, b"", Some(edge)).await;
    worker.stats.borrow_mut().add(Meter::TcpClosed(edge), 1);
}

fn tally(worker: &Worker, meter: Option<Meter>, bytes: usize) {
    let Some(meter) = meter else { return };
    worker.stats.borrow_mut().add(meter, i64::try_from(bytes).unwrap_or(i64::MAX));
}

/// Bytes have no way to say why: the log and the counter do.
fn refuse(worker: &Worker, code: Code, about: &str) {
    worker.stats.borrow_mut().add(Meter::Refused(code.name()), 1);
    tracing::warn!(code = code.as_str(), about, "a TCP connection was refused: {}", code.summary());
}
