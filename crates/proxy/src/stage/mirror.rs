//! A copy of a share of the traffic, sent where its answers are dropped. The request that is copied never waits for it.

use std::cell::Cell;
use std::rc::Rc;

use crate::access::Record;
use crate::body::{Reader, RequestBody, Responder};
use crate::connection::Conn;
use crate::connection::http1::Upgrade;
use crate::exchange::{Request, TimeLimits};
use crate::head::{Head, Known};
use crate::resilience::deadline::Deadline;
use crate::stage::forward::{self, Job};
use crate::stage::route::{self, Decision, To};
use crate::worker::{Active, Callee, Worker};

/// Copies that a worker has under way at most; beyond them none are made.
const UNDER_WAY_MAX: usize = 256;

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// A copy to be made when the request's body is known.
pub(crate) struct Mirrored {
    active: Rc<Active>,
    /// Its index: the copy becomes on its way what the original becomes.
    route: usize,
    callee: Rc<Callee>,
    conn: Rc<Conn>,
    head: Head,
    grpc: bool,
}

/// Whether this request is one of the share.
pub(crate) fn wanted(
    worker: &Worker,
    active: &Rc<Active>,
    route: Option<usize>,
    request: &Request<'_>,
) -> Option<Mirrored> {
    let (_, gateway) = active.compiled.gateway()?;
    let route = route?;
    let (callee, share_bp) = gateway.routes[route].mirror?;
    if worker.rng.borrow_mut().below(10_000) >= share_bp as usize || request.upgrade != Upgrade::None {
        return None;
    }
    Some(Mirrored {
        active: Rc::clone(active),
        route,
        callee: Rc::clone(active.callees.get(callee)?),
        conn: Rc::clone(request.conn),
        head: request.head.clone(),
        grpc: request.grpc,
    })
}

/// Sends the copy if the body was kept whole (64 KiB at most); larger requests are not mirrored.
pub(crate) fn send(worker: &Rc<Worker>, mirrored: Mirrored, body: &RequestBody<'_>) {
    let Some(bytes) = body.copy() else { return };
    let under_way = UNDER_WAY.get();
    if under_way >= UNDER_WAY_MAX {
        return;
    }
    UNDER_WAY.set(under_way + 1);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        copy(&worker, mirrored, bytes).await;
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    });
}

async fn copy(worker: &Rc<Worker>, mirrored: Mirrored, bytes: Vec<u8>) {
    let Mirrored { active, route, callee, conn, mut head, grpc } = mirrored;
    // Who gets the copy can tell it from the original.
    let _ = head.set(b"x-weft-mirror", b"1");
    head.remove(Known::Expect);
    let now = worker.timer.now();
    let said = route::time_limits(&active, None, Some(&callee));
    let limit = Deadline::earliest(now, [said.whole, said.head, None]);
    let limits = TimeLimits { whole: limit, head: limit };
    let target = To::Callee(Rc::clone(&callee));
    let decision = Decision { target, route: None, name: active.compiled.unmatched, idempotent: false };
    let mut body = RequestBody::new(Reader::Kept { bytes, read: false }, u64::MAX);
    let mut request = Request { conn: &conn, head: &mut head, upgrade: Upgrade::None, grpc, began: now };
    let route = active.compiled.gateway().and_then(|(plan, _)| plan.routes.get(route));
    let job = Job { worker, callee: &callee, decision: &decision, route, limits };
    let mut record = Record::begin(now);
    // The answer is dropped, whatever it is.
    let _ = forward::forward(&job, &mut request, &mut body, &mut Responder::Nobody, &mut record).await;
}
