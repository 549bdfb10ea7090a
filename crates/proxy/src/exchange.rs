//! One request with its response. [`run_stages`] is the table of contents of the data plane: what happens, in which order.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weft_model::code::Code;
use weft_stdx::clock::Tick;

use crate::access::Record;
use crate::body::{BodyLength, Piece, RequestBody, Responder};
use crate::connection::api;
use crate::connection::http1::Upgrade;
use crate::connection::{Conn, Entry};
use crate::head::{Head, Known};
use crate::rescue::{self, Ended};
use crate::resilience::deadline::{Deadline, parse_grpc_timeout, parse_weft_deadline};
use crate::stage::route::{Decision, To};
use crate::stage::{authorize, cors, forward, grpc_web, mirror, respond, route, transform};
use crate::stream::Stream;
use crate::trace::{self, TraceContext};
use crate::worker::{Active, Worker};

/// What becomes of the downstream connection after an exchange.
pub(crate) enum Fate {
    /// It can carry another one, if its own protocol says so too.
    Keep,
    /// As before, but it is not read for so long: its client was told to come later.
    Pause(Duration),
    /// It ends.
    Close,
    /// It carries bytes to this stream from now on; these came ahead.
    Tunnel(Stream, Vec<u8>),
}

/// A request on its way.
pub(crate) struct Request<'a> {
    pub(crate) conn: &'a Rc<Conn>,
    pub(crate) head: &'a mut Head,
    pub(crate) upgrade: Upgrade,
    pub(crate) grpc: bool,
    /// When it came.
    pub(crate) began: Tick,
}

/// Runs an exchange to its end: exactly one response, exactly one record.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    mut request: Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
) -> Fate {
    let mut record = Record::begin(request.began);
    let _running = Running::of(worker, request.conn);
    let active = worker.active();
    let result = match &active {
        Some(active) => run_stages(worker, active, &mut request, body, responder, &mut record).await,
        None => Err(Code::NotReady.into()),
    };
    let fate = match result {
        Ok(fate) => fate,
        Err(ended) => {
            refuse(worker, &ended, active.as_deref(), &mut request, body, responder, &mut record).await
        }
    };
    record.request_bytes = body.bytes();
    if let Some(active) = &active {
        record.finish(worker, active, &request);
    }
    fate
}

/// Counts an exchange as running until it is dropped.
struct Running<'w>(Option<&'w Worker>);

impl<'w> Running<'w> {
    fn of(worker: &'w Worker, conn: &Conn) -> Self {
        let counted = matches!(conn.entry, Entry::Edge | Entry::Inbound);
        if counted {
            worker.exchanges.fetch_add(1, Ordering::Relaxed);
        }
        Running(counted.then_some(worker))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.0 {
            worker.exchanges.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The stages, in order. The order is ours; nobody reorders it.
async fn run_stages(
    worker: &Rc<Worker>,
    active: &Rc<Active>,
    request: &mut Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Result<Fate, Ended> {
    arrive(worker, active, request, record)?;
    if body.is_too_large() {
        return Err(Ended::new(Code::BodyTooLarge, "the announced length is above the limit"));
    }
    if let Some(mut answer) = preflight(active, request, record)? {
        return Ok(answer_with(worker, responder, &mut answer, Vec::new(), record).await);
    }
    let decision = route::decide(worker, request.conn, active, request.head)?;
    record.decided(&decision, request.conn);
    authorize::authorize(request.conn, active, request.head)?;
    let limits = TimeLimits::of(worker, active, request, &decision, record.began)?;
    let plan_route =
        decision.route.and_then(|index| active.compiled.gateway().map(|(plan, _)| &plan.routes[index]));
    match &decision.target {
        To::Api => {
            let mut answer = Head::new();
            let text = api::respond(worker, active, request.head, &mut answer)?;
            Ok(answer_with(worker, responder, &mut answer, text, record).await)
        }
        To::Route => {
            let mut answer = Head::new();
            let Some(plan_route) = plan_route else { return Err(Code::Internal.into()) };
            let text = respond::respond(plan_route, request.head, &mut answer);
            finish_head(plan_route.cors.as_ref(), Some(plan_route), request, &mut answer);
            Ok(answer_with(worker, responder, &mut answer, text, record).await)
        }
        To::Tunnel(callee) => forward::tunnel(worker, callee, &limits, responder, record).await,
        To::Callee(callee) => {
            grpc_web::begin(request, body, responder)
                .map_err(|error| Ended::new(Code::HeadTooLarge, error.to_string()))?;
            // Boxed: hardly any request is mirrored, and all would hold the room for it.
            let mirrored = mirror::wanted(worker, active, decision.route, request).map(Box::new);
            let job = forward::Job { worker, callee, decision: &decision, route: plan_route, limits };
            let fate = forward::forward(&job, request, body, responder, record).await;
            if let Some(mirrored) = mirrored {
                mirror::send(worker, *mirrored, body);
            }
            fate
        }
    }
}

/// Makes the request's fields ours and finds its place in its trace.
fn arrive(
    worker: &Worker,
    active: &Active,
    request: &mut Request<'_>,
    record: &mut Record,
) -> Result<(), Ended> {
    let trusted = active.compiled.gateway().is_some_and(|(_, gateway)| {
        request.conn.entry == Entry::Edge && gateway.trusts(request.conn.peer.ip())
    });
    let made_ours = transform::arrive(request.conn, trusted, request.head);
    let traces = active.compiled.plan.observe.traces.as_ref();
    let mut rng = worker.rng.borrow_mut();
    let context = TraceContext::of(request.head, traces.map_or(0, |traces| traces.sample_bp), &mut rng);
    record.trace = Some(context);
    let traced = made_ours.and_then(|()| context.write(request.head)).and_then(|()| {
        let mut ids = request.head.get_all(Known::XRequestId);
        if ids.next().is_some_and(trace::is_request_id) && ids.next().is_none() {
            return Ok(());
        }
        drop(ids);
        request.head.remove(Known::XRequestId);
        let mut id = [0; 32];
        trace::hex(&rng.next_u64().to_be_bytes(), &mut id[..16]);
        trace::hex(&rng.next_u64().to_be_bytes(), &mut id[16..]);
        request.head.push_known(Known::XRequestId, &id)
    });
    traced.map_err(|error| Ended::new(Code::HeadTooLarge, error.to_string()))
}

/// The answer to a cross-origin preflight, where the route it asks about has rules for that.
fn preflight(active: &Active, request: &Request<'_>, record: &mut Record) -> Result<Option<Head>, Ended> {
    let Some((plan, gateway)) = active.compiled.gateway() else { return Ok(None) };
    if !cors::is_preflight(request.head) {
        return Ok(None);
    }
    let method = request.head.get_str(Known::AccessControlRequestMethod).unwrap_or_default();
    let Some(index) = gateway.find_for_method(plan, request.head, method) else { return Ok(None) };
    let Some(rules) = &plan.routes[index].cors else { return Ok(None) };
    record.name = Some(gateway.routes[index].name);
    record.route = Some(index);
    let mut answer = Head::new();
    cors::preflight(&plan.routes[index], rules, request.head, &mut answer)?;
    Ok(Some(answer))
}

/// When an exchange must be over.
#[derive(Clone, Copy)]
pub(crate) struct TimeLimits {
    /// To the last byte: what was said by the manifest or by the caller.
    pub(crate) whole: Deadline,
    /// To the head of the response: the above, or a default where nothing was said.
    pub(crate) head: Deadline,
}

impl TimeLimits {
    fn of(
        _worker: &Worker,
        active: &Active,
        request: &Request<'_>,
        decision: &Decision,
        began: Tick,
    ) -> Result<Self, Ended> {
        let field =
            |known: Known,
             read: fn(&[u8]) -> Result<Duration, crate::resilience::deadline::DeadlineError>| {
                let value = request.head.get(known).map(read).transpose();
                value.map_err(|error| Ended::new(Code::BadDeadline, error.to_string()))
            };
        let route =
            decision.route.and_then(|index| active.compiled.gateway().map(|(plan, _)| &plan.routes[index]));
        let callee = match &decision.target {
            To::Callee(callee) => Some(&**callee),
            _ => None,
        };
        let said = route::time_limits(active, route, callee);
        let travelled = [
            field(Known::WeftDeadline, parse_weft_deadline)?,
            field(Known::GrpcTimeout, parse_grpc_timeout)?,
        ];
        let travelled = travelled.into_iter().flatten().min();
        Ok(TimeLimits::earliest(began, said, travelled, request.conn.entry == Entry::Edge))
    }

    /// From what the manifest says and what came with the request. In the mesh, how long a caller waits takes the place of the
    /// default. A client at the edge can only shorten it: else anybody could hold a place there for as long as they like.
    fn earliest(began: Tick, said: route::TimeLimits, travelled: Option<Duration>, edge: bool) -> Self {
        let default = said.head.filter(|_| edge || travelled.is_none());
        TimeLimits {
            whole: Deadline::earliest(began, [said.whole, travelled, None]),
            head: Deadline::earliest(began, [said.whole, travelled, default]),
        }
    }
}

/// What the gateway adds to every answer of a route, its refusals included.
pub(crate) fn finish_head(
    rules: Option<&weft_model::plan::CorsPlan>,
    route: Option<&weft_model::plan::RoutePlan>,
    request: &Request<'_>,
    answer: &mut Head,
) {
    // A field that no longer fits is left out: the answer itself is worth more.
    if let Some(rules) = rules {
        let _ = cors::fields(rules, request.head, answer);
    }
    if let Some(route) = route {
        let _ = transform::edit(&route.response_headers, answer);
    }
    if request.conn.entry == Entry::Edge && request.conn.tls && !answer.has(Known::StrictTransportSecurity) {
        let _ = answer.push_known(Known::StrictTransportSecurity, b"max-age=31536000");
    }
}

/// Tells when an answer came to be, where it does not say so itself (RFC 9110, 6.6.1).
pub(crate) fn date(worker: &Worker, answer: &mut Head) {
    if !answer.has(Known::Date) {
        let _ = answer.push_known(Known::Date, &worker.timer.date());
    }
}

/// Sends an answer of our own.
pub(crate) async fn answer_with(
    worker: &Worker,
    responder: &mut Responder<'_>,
    head: &mut Head,
    text: Vec<u8>,
    record: &mut Record,
) -> Fate {
    date(worker, head);
    record.status = head.status();
    record.response_bytes = text.len() as u64;
    // 204 and 304 have no body, not an empty one (RFC 9110, 8.6).
    let bodiless = matches!(head.status(), 204 | 304) || head.has(Known::GrpcStatus);
    let length = if bodiless { BodyLength::None } else { BodyLength::Known(text.len() as u64) };
    let Ok(mut writer) = responder.start(head, length, None) else { return Fate::Close };
    let sent = async {
        if !text.is_empty() {
            writer.data(Piece::Slice(&text)).await?;
        }
        writer.end(None).await
    };
    if sent.await.is_ok() { Fate::Keep } else { Fate::Close }
}

/// Ends an exchange ourselves.
async fn refuse(
    worker: &Worker,
    ended: &Ended,
    active: Option<&Active>,
    request: &mut Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Fate {
    record.code = Some(ended.code);
    record.detail.clone_from(&ended.detail);
    if ended.code == Code::DownstreamGone {
        record.status = 499;
        responder.abort();
        return Fate::Close;
    }
    if record.head_sent {
        // Part of the answer is out: cutting it is the only way left to tell.
        responder.abort();
        return Fate::Close;
    }
    // A head without room for it is refused as what it is.
    let _ = grpc_web::begin(request, body, responder);
    let mut answer = Head::new();
    let request_id = request.head.get_str(Known::XRequestId).unwrap_or_default();
    let text = rescue::answer(ended, request.grpc, request_id, &mut answer);
    if !request_id.is_empty() {
        let _ = answer.push_known(Known::XRequestId, request_id.as_bytes());
    }
    if request.grpc {
        record.grpc = ended.code.grpc_status();
    }
    // Without its fields a browser would hide from the script which code this is.
    let plan_route = active.and_then(|active| Some(&active.compiled.gateway()?.0.routes[record.route?]));
    finish_head(plan_route.and_then(|route| route.cors.as_ref()), plan_route, request, &mut answer);
    if request.conn.entry == Entry::Inbound {
        let _ = answer.push(forward::ENDED_BY.as_bytes(), ended.code.as_str().as_bytes());
    }
    let must_close = ended.code.closes() || !body.is_complete();
    if must_close {
        responder.close_after();
    }
    match answer_with(worker, responder, &mut answer, text, record).await {
        Fate::Keep if must_close => Fate::Close,
        Fate::Keep if is_overload(ended.code) => {
            Fate::Pause(worker.refusals.borrow_mut().refused(worker.timer.recent()))
        }
        fate => fate,
    }
}

/// Whether somebody is refused because there are too many.
fn is_overload(code: Code) -> bool {
    matches!(code, Code::Overloaded | Code::QueueTimeout)
}

/// Whether a sidecar that ends an exchange so has not yet asked its service.
pub(crate) fn is_before_service(code: Code) -> bool {
    matches!(
        code,
        Code::ConnectFailed
            | Code::ConnectTimeout
            | Code::NoEndpoint
            | Code::Overloaded
            | Code::QueueTimeout
            | Code::NotReady
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_at_the_edge_can_only_shorten_what_holds_there() {
        let s = Duration::from_secs;
        let default = route::TimeLimits { whole: None, head: Some(s(15)) };
        let manifest = route::TimeLimits { whole: Some(s(20)), head: None };
        // said, asked for, at the edge, to the head, to the last byte
        let table = [
            (default, None, true, Some(s(15)), None),
            (default, Some(s(3)), true, Some(s(3)), Some(s(3))),
            (default, Some(s(60)), true, Some(s(15)), Some(s(60))),
            (manifest, None, true, Some(s(20)), Some(s(20))),
            (manifest, Some(s(60)), true, Some(s(20)), Some(s(20))),
            (default, None, false, Some(s(15)), None),
            (default, Some(s(60)), false, Some(s(60)), Some(s(60))),
            (manifest, Some(s(60)), false, Some(s(20)), Some(s(20))),
        ];
        let began = Tick::from_ms(7);
        for (said, asked, edge, head, whole) in table {
            let limits = TimeLimits::earliest(began, said, asked, edge);
            let at = |limit: Option<Duration>| limit.map_or(Tick::NEVER, |limit| began + limit);
            assert_eq!(
                (limits.head.at(), limits.whole.at()),
                (at(head), at(whole)),
                "{asked:?} at the edge: {edge}"
            );
        }
    }
}
