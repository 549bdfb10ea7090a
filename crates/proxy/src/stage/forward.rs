//! Sending a request on and its answer back: choose, connect, carry, and try again where that is safe.
//!
//! Here is the loop; `attempts` knows what happened so far and decides what comes next, `one` carries one attempt, `passing` passes
//! its answer on, `tunnel` is for CONNECT.

mod attempts;
mod one;
mod passing;
mod tunnel;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use weft_model::code::{Code, Kind};
use weft_model::plan::RoutePlan;

use crate::access::Record;
use crate::body::{RequestBody, Responder};
use crate::exchange::{Fate, Request, TimeLimits, answer_with, finish_head};
use crate::head::{Head, HeadError};
use crate::rescue::{self, Ended};
use crate::stage::route::Decision;
use crate::stage::transform;
use crate::upstream::Admission;
use crate::worker::{Callee, CalleeKind, Worker};

use self::attempts::Attempts;
use self::one::{One, Tried};
pub(crate) use self::tunnel::tunnel;

/// Field with which a sidecar marks an answer that it made in place of its service, by its code. The caller's side takes it
/// out; it knows by it whether the service was asked at all, and whether it is time for the fallback.
pub(crate) const ENDED_BY: &str = "weft-ended-by";

/// What an exchange needs to be sent on.
pub(crate) struct Job<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) callee: &'a Rc<Callee>,
    pub(crate) decision: &'a Decision,
    pub(crate) route: Option<&'a RoutePlan>,
    pub(crate) limits: TimeLimits,
}

/// Sends a request on and its answer back, or answers with the callee's fallback.
///
/// # Errors
/// Why there is no answer of the callee's.
pub(crate) async fn forward(
    job: &Job<'_>,
    request: &mut Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Result<Fate, Ended> {
    let carried = admitted(job, request, body, responder, record).await;
    let Err(ended) = carried else { return carried };
    match &job.callee.plan.resilience.fallback {
        Some(fallback)
            if cannot(ended.code)
                && !record.head_sent
                && ended.code != Code::DownstreamGone
                // A caller by gRPC understands the fault, and no fixed answer.
                && !request.grpc =>
        {
            let mut answer = Head::new();
            let text = rescue::fixed(fallback, &mut answer);
            finish_head(job.route.and_then(|route| route.cors.as_ref()), job.route, request, &mut answer);
            record.code = Some(ended.code);
            if !body.is_complete() {
                responder.close_after();
            }
            Ok(answer_with(job.worker, responder, &mut answer, text, record).await)
        }
        _ => Err(ended),
    }
}

/// Whether a callee that ends so is one that cannot, for which its fallback answers.
pub(super) fn cannot(code: Code) -> bool {
    code.kind() == Kind::Fault || matches!(code, Code::Overloaded | Code::QueueTimeout)
}

async fn admitted(
    job: &Job<'_>,
    request: &mut Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Result<Fate, Ended> {
    let upstream = &job.callee.upstream;
    let (timer, deadline) = (&job.worker.timer, job.limits.head.at());
    let place = match upstream.admit(timer, deadline)? {
        Admission::Open(place) => place,
        // Waits are boxed: an exchange that need not wait has no room for them.
        Admission::Queued(ticket) => {
            let queued = upstream.queue(timer, ticket, deadline);
            Box::pin(unless_gone(job, body, responder, queued)).await??
        }
    };
    let bad_path = |error: HeadError| Ended::new(Code::BadPath, error.to_string());
    // What may be repeated is asked of what is sent, not of what came.
    job.route.map_or(Ok(()), |route| transform::retarget(route, request.head)).map_err(bad_path)?;
    let mut attempts = Attempts::new(job, request, place);
    transform::depart(job.route, job.callee, request.head).map_err(bad_path)?;
    upstream.budget.borrow_mut().count_request(job.worker.timer.recent());
    loop {
        attempts.let_go = None;
        if !upstream.is_present() {
            let present = upstream.until_present(timer, attempts.patience(job));
            attempts.let_go = Box::pin(unless_gone(job, body, responder, present)).await?;
        }
        let now = job.worker.timer.recent();
        let limits = job.limits.head.attempt(now, attempts.per_try).ok_or_else(|| attempts.too_late(job))?;
        let flight = {
            let mut rng = job.worker.rng.borrow_mut();
            match attempts.moves > 0 || upstream.in_desertion() {
                true => upstream.pick_inhabited(now, &mut rng, &attempts.ask),
                false => upstream.pick(now, &mut rng, &attempts.ask),
            }
        };
        let mut flight = flight.ok_or_else(|| job.nobody())?;
        attempts.write_fields(job, request, now)?;
        record.attempts += 1;
        let mut one = One { job, request, body, responder, record, limits, attempts: &mut attempts };
        let pause = match one.run(&mut flight).await {
            Tried::Done(fate) => return Ok(fate),
            Tried::Ended(ended) => return Err(ended),
            Tried::Failed(failure) => attempts.after(job, &mut flight, &failure)?,
            Tried::Again(pause) => Some(pause),
            Tried::Anew => None,
        };
        if let Some(pause) = pause {
            attempts.retry(job, &flight);
            drop(flight);
            Box::pin(unless_gone(job, body, responder, timer.sleep(pause))).await?;
        }
    }
}

/// Waits, unless the caller leaves meanwhile: what it waits for is for somebody who still wants it. Over HTTP/1.1 that cannot be
/// seen while its body is still to be read.
async fn unless_gone<T>(
    job: &Job<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
    wait: impl Future<Output = T>,
) -> Result<T, Ended> {
    let worker = job.worker;
    let mut wait = pin!(wait);
    let mut closed = pin!(async {
        match body.is_complete() {
            true => body.gone(&worker.timer, worker.limits().half_close).await,
            false => std::future::pending().await,
        }
    });
    let mut reset = pin!(responder.gone());
    poll_fn(|cx| {
        if let Poll::Ready(output) = wait.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let gone = closed.as_mut().poll(cx).is_ready() || reset.as_mut().poll(cx).is_ready();
        if gone { Poll::Ready(Err(Code::DownstreamGone.into())) } else { Poll::Pending }
    })
    .await
}

impl Job<'_> {
    pub(super) fn too_late(&self) -> Ended {
        Ended::new(Code::Timeout, format!("`{}` did not answer in time", self.callee.plan.name))
    }

    fn nobody(&self) -> Ended {
        let name = &self.callee.plan.name;
        if self.callee.kind == CalleeKind::Url {
            return Ended::new(Code::NameNotFound, format!("the host of `{name}` has no address"));
        }
        if self.callee.upstream.known.get() {
            Ended::new(Code::NoEndpoint, format!("no instance of `{name}` is listed"))
        } else {
            Ended::new(Code::NoEndpoint, format!("no instance of `{name}` is known yet"))
        }
    }
}
