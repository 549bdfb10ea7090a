//! One attempt: a connection, the request on it and the head of the answer back.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use weft_model::code::{Code, Kind};
use weft_model::plan::Protocol;
use weft_stdx::clock::Tick;

use super::attempts::{Attempts, Failure};
use super::passing::{Passing, Upload, UploadEnd, grpc_status};
use super::{ENDED_BY, Job, cannot};
use crate::access::Record;
use crate::body::{BodyLength, Broken, Progress, RequestBody, Responder, Writer};
use crate::buffer::LentHead;
use crate::connection::Entry;
use crate::connection::http1::{BodyFraming, RequestWire, ResponseTo, Upgrade, write_request};
use crate::connection::http1_io::{Http1Reply, Http1Writer};
use crate::connection::http2_io::{self, Http2Writer};
use crate::exchange::{Fate, Request, is_before_service};
use crate::head::{Head, Known, Scheme};
use crate::rescue::Ended;
use crate::resilience::breaker::Verdict;
use crate::resilience::deadline::Attempt;
use crate::resilience::retry::{Hint, Outcome, parse_pushback, parse_retry_after};
use crate::upstream::InFlight;
use crate::upstream::pool::{Endpoint, Http1Client};
use crate::upstream::reply::{Answer, AnswerKind, NoAnswer, Reply, no_answer};
use crate::worker::{Callee, CalleeKind, Worker};

/// Interim heads that are passed on; who sends more of them means no answer.
const INTERIMS_MAX: u32 = 64;

/// Bytes a second that a body from outside must come with on average, once it has come for long (see `Limits::body_patience`). A tenth of
/// the slowest mobile network.
const BODY_RATE_MIN: u64 = 500;

/// How one attempt ended.
pub(super) enum Tried {
    Done(Fate),
    Failed(Failure),
    /// The answer says that another attempt may do better.
    Again(Duration),
    /// It was not begun, since nobody was there: it is sent anew, for free, elsewhere or once somebody is back.
    Anew,
    Ended(Ended),
}

/// One attempt.
pub(super) struct One<'o, 'r, 'b, 'w> {
    pub(super) job: &'o Job<'o>,
    pub(super) request: &'o mut Request<'r>,
    pub(super) body: &'o mut RequestBody<'b>,
    pub(super) responder: &'o mut Responder<'w>,
    pub(super) record: &'o mut Record,
    pub(super) limits: Attempt,
    pub(super) attempts: &'o mut Attempts,
}

/// What is left of the upstream connection when its answer was passed on.
pub(super) enum Left {
    /// It can carry another exchange.
    Reusable(Option<Duration>),
    /// It is done.
    Done,
    /// It speaks something else now.
    Switched,
}

/// How carrying request and answer ended.
pub(super) enum Carried {
    Passed(Fate, Left),
    Failed(NoAnswer),
    Again(Duration),
    Anew,
    Ended(Ended),
}

impl One<'_, '_, '_, '_> {
    pub(super) async fn run(&mut self, flight: &mut InFlight) -> Tried {
        let Some(endpoint) = flight.endpoint().cloned() else { return Tried::Ended(Code::Internal.into()) };
        let left = self.job.worker.timer.recent().until(self.limits.ends);
        let timeout = Duration::from_millis(self.job.callee.plan.resilience.connect_timeout_ms).min(left);
        self.attempts.in_http2 = self.speaks_http2();
        match self.attempts.in_http2 {
            true => self.over_http2(flight, &endpoint, timeout).await,
            false => self.over_http1(flight, &endpoint, timeout).await,
        }
    }

    /// Between sidecars everything but upgrades shares one connection; a service gets what it speaks.
    fn speaks_http2(&self) -> bool {
        if self.request.upgrade != Upgrade::None {
            return false;
        }
        match (self.job.callee.kind, self.job.callee.plan.protocol) {
            (CalleeKind::Mesh, _) | (_, Protocol::Grpc) => true,
            (_, Protocol::Http | Protocol::Tcp) => false,
            (_, Protocol::Auto) => self.request.grpc,
        }
    }

    async fn over_http1(
        &mut self,
        flight: &mut InFlight,
        endpoint: &Rc<Endpoint>,
        timeout: Duration,
    ) -> Tried {
        let worker = self.job.worker;
        let kept = || endpoint.idle_http1(worker.timer.recent());
        let mut client = match (!self.attempts.fresh).then(kept).flatten() {
            Some(client) => client,
            None => match endpoint.fresh_http1(worker, timeout).await {
                Ok(client) => client,
                Err(code) => {
                    return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused: false });
                }
            },
        };
        let reused = client.reused;
        let Http1Client { stream, buf, out, .. } = &mut client;
        out.begin();
        let framing = match self.body.length() {
            BodyLength::None => BodyFraming::None,
            BodyLength::Known(bytes) => BodyFraming::Length(bytes),
            BodyLength::Unknown => BodyFraming::Chunked,
        };
        let upgrade = self.request.upgrade != Upgrade::None;
        let framing = write_request(self.request.head, &RequestWire { framing, upgrade, close: false }, out);
        let to = ResponseTo { method: self.request.head.method(), upgrade };
        let mut writer = Writer::Http1(Http1Writer::new(stream, out, framing));
        let reply = Reply::Http1(Http1Reply::new(stream, buf, to));
        match self.carry(flight, &mut writer, reply).await {
            Carried::Passed(fate, Left::Reusable(announced)) => {
                endpoint.give_back(client, worker.timer.recent(), announced);
                Tried::Done(fate)
            }
            Carried::Passed(fate, Left::Done) => Tried::Done(fate),
            Carried::Passed(_, Left::Switched) => {
                let ahead = client.buf.bytes().to_vec();
                Tried::Done(Fate::Tunnel(client.stream, ahead))
            }
            Carried::Failed(no) => Tried::Failed(Failure { outcome: no.outcome, code: no.code, reused }),
            Carried::Again(wait) => Tried::Again(wait),
            Carried::Anew => Tried::Anew,
            Carried::Ended(ended) => Tried::Ended(ended),
        }
    }

    async fn over_http2(
        &mut self,
        flight: &mut InFlight,
        endpoint: &Rc<Endpoint>,
        timeout: Duration,
    ) -> Tried {
        // Also bounds the wait for a free stream on a connection that is full.
        let timer = &self.job.worker.timer;
        let made = timer.limit(self.limits.ends, pin!(endpoint.http2(self.job.worker, timeout))).await;
        let mut client = match made.unwrap_or(Err(Code::ConnectTimeout)) {
            Ok(client) => client,
            Err(code) => return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused: false }),
        };
        let length = self.body.length();
        let Some(message) = http2_io::write_request(self.request.head, length, Scheme::Http) else {
            return Tried::Ended(Ended::new(Code::BadHost, "the request has no authority"));
        };
        let bodiless = length == BodyLength::None;
        let asked = self.request.head.method();
        let reused = client.reused;
        let (response, stream) = match client.send.send_request(message, bodiless) {
            Ok(sent) => sent,
            Err(error) => {
                endpoint.lost_http2(&client);
                let code = no_answer(&error).code;
                return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused });
            }
        };
        let mut writer = Writer::Http2(Http2Writer::new(stream, length, bodiless));
        match self.carry(flight, &mut writer, Reply::Http2(response, asked)).await {
            Carried::Passed(fate, _) => Tried::Done(fate),
            Carried::Failed(no) => Tried::Failed(Failure { outcome: no.outcome, code: no.code, reused }),
            Carried::Again(wait) => Tried::Again(wait),
            Carried::Anew => Tried::Anew,
            Carried::Ended(ended) => Tried::Ended(ended),
        }
    }

    /// Both directions at once: the request on, the answer back.
    #[expect(
        clippy::too_many_lines,
        reason = "both directions and what ends them, in one place that borrows it all"
    )]
    async fn carry(&mut self, flight: &mut InFlight, writer: &mut Writer<'_>, reply: Reply<'_>) -> Carried {
        let worker = self.job.worker;
        let body = &mut *self.body;
        let announced =
            self.request.conn.entry == Entry::Edge && matches!(body.length(), BodyLength::Known(_));
        let progress = Progress::default();
        progress.spent.set(self.attempts.progress.spent.get());
        let upload = pin!(async {
            match body.send(writer, &progress).await {
                Ok(()) => {
                    progress.whole_since.set(Some(body.whole_since(&worker.timer)));
                    body.gone(&worker.timer, worker.limits().half_close).await;
                    UploadEnd::Gone
                }
                Err(Broken::Reading(error)) => UploadEnd::Unreadable(error),
                Err(Broken::Writing(_)) => UploadEnd::Unwritable,
            }
        });
        let mut upload = Upload { future: upload, over: false };
        let mut head = LentHead::new();
        let (mut reply, mut interims) = (reply, 0);
        let mut answer = loop {
            let first = {
                let (answer, gone) = (pin!(reply.head(&mut head)), pin!(self.responder.gone()));
                let first = first_of(&mut upload, &progress, answer, gone);
                in_time(self.job, &self.limits, &progress, announced, first).await
            };
            self.attempts.progress.spent.set(progress.spent.get());
            match first {
                // Of a call of gRPC it is not known whose turn it is.
                None if progress.waits.get() && !self.request.grpc => {
                    flight.record(worker.timer.recent(), Outcome::GivenUp.verdict());
                    return Carried::Ended(Code::BodyTimeout.into());
                }
                None if self.limits.per_try => {
                    return Carried::Failed(NoAnswer {
                        outcome: Outcome::TryTimeout,
                        code: Code::TryTimeout,
                    });
                }
                None => {
                    let now = worker.timer.recent();
                    let waited = Outcome::DeadlinePassed { waited: now.since(flight.began()) };
                    flight.record(now, waited.verdict());
                    return Carried::Ended(self.job.too_late());
                }
                Some(First::Upload(end)) => {
                    flight.record(worker.timer.recent(), Outcome::GivenUp.verdict());
                    return Carried::Ended(end.ended());
                }
                Some(First::Head(Err(no))) => return Carried::Failed(no),
                Some(First::Head(Ok(Answer { kind: AnswerKind::Interim(rest), .. }))) => {
                    reply = rest;
                    interims += 1;
                    if interims > INTERIMS_MAX {
                        return Carried::Failed(NoAnswer {
                            outcome: Outcome::NoResponse,
                            code: Code::UpstreamProtocol,
                        });
                    }
                    if head.status() != 100 && self.responder.interim(&head).await.is_err() {
                        return Carried::Ended(Code::DownstreamGone.into());
                    }
                }
                Some(First::Head(Ok(answer))) => break answer,
            }
        };
        let ended_by = ended_by(self.job.callee, &mut head);
        let outcome = outcome_of(&head, ended_by);
        let verdict = match ended_by {
            // The request did nothing there, and what kept it from its service is the instance's failure all the same.
            Some(code) if code.kind() == Kind::Fault => Verdict::Failure,
            _ => outcome.verdict(),
        };
        flight.record(worker.timer.recent(), verdict);
        if let Some(endpoint) = flight.endpoint() {
            if ended_by != Some(Code::ConnectFailed) {
                self.job.callee.upstream.reached(endpoint, worker.timer.recent());
            } else if self.attempts.awaits_somebody(self.job, endpoint) {
                return Carried::Anew;
            }
        }
        if ended_by.is_none() {
            self.attempts.answered();
        }
        if let Some(wait) = self.attempts.decide(self.job, outcome, hint_of(&head, worker)) {
            return Carried::Again(wait);
        }
        if ended_by == Some(Code::ConnectFailed) && self.attempts.moves_on(self.job, flight) {
            return Carried::Anew;
        }
        if let Some(code) = ended_by.filter(|code| cannot(*code))
            && self.job.callee.plan.resilience.fallback.is_some()
            && !self.request.grpc
        {
            return Carried::Ended(Ended::new(
                code,
                format!("as the sidecar of `{}` says", self.job.callee.plan.name),
            ));
        }
        progress.settled.set(true);
        let passing = Passing {
            job: self.job,
            request: self.request,
            responder: self.responder,
            record: self.record,
            progress: &progress,
        };
        passing.pass(&mut upload, &mut head, &mut answer).await
    }
}

/// Waits for `first` until the attempt's time is over. A default limit, and that of a try, is the service's time and not the
/// client's: it begins anew as long as the request still comes, for the last time with its end. A body of announced length from
/// outside that only trickles ends it.
async fn in_time<T>(
    job: &Job<'_>,
    limits: &Attempt,
    progress: &Progress,
    announced: bool,
    mut first: impl Future<Output = T> + Unpin,
) -> Option<T> {
    let timer = &job.worker.timer;
    let began = timer.recent();
    let span = timer.recent().until(limits.ends);
    let last = if job.limits.whole.is_some() { job.limits.whole.at() } else { Tick::NEVER };
    let mut ends = limits.ends;
    loop {
        let came = timer.limit(ends, &mut first).await;
        let again = (progress.whole_since.get().unwrap_or_else(|| timer.recent()) + span).min(last);
        if came.is_some() || again <= ends || !progress.moved.replace(false) {
            return came;
        }
        let taken = timer.recent().since(began);
        let trickles = announced && progress.whole_since.get().is_none();
        if trickles
            && taken >= job.worker.limits().body_patience
            && progress.bytes.get() < BODY_RATE_MIN * taken.as_secs().max(1)
        {
            return None;
        }
        ends = again;
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for a moment and is taken apart at once"
)]
enum First<'a> {
    Head(Result<Answer<'a>, NoAnswer>),
    Upload(UploadEnd),
}

/// Until the head of the answer comes, or the client goes.
fn first_of<'a, F: Future<Output = UploadEnd>>(
    upload: &mut Upload<'_, F>,
    progress: &Progress,
    mut head: Pin<&mut impl Future<Output = Result<Answer<'a>, NoAnswer>>>,
    mut gone: Pin<&mut impl Future<Output = ()>>,
) -> impl Future<Output = First<'a>> + Unpin {
    poll_fn(move |cx| {
        // All of it was sent, and whoever is woken is so by the answer.
        let sent = progress.complete.get();
        if sent && let Poll::Ready(answer) = head.as_mut().poll(cx) {
            return Poll::Ready(First::Head(answer));
        }
        if let Poll::Ready(end) = upload.poll(cx) {
            return Poll::Ready(First::Upload(end));
        }
        if !sent && let Poll::Ready(answer) = head.as_mut().poll(cx) {
            return Poll::Ready(First::Head(answer));
        }
        gone.as_mut().poll(cx).map(|()| First::Upload(UploadEnd::Gone))
    })
}

/// With which code the callee's sidecar ended the exchange itself. Nobody else is believed.
fn ended_by(callee: &Callee, head: &mut Head) -> Option<Code> {
    let said =
        head.get_name(ENDED_BY).and_then(|text| std::str::from_utf8(text).ok()).and_then(Code::from_id);
    head.remove_name(ENDED_BY.as_bytes());
    said.filter(|_| callee.kind == CalleeKind::Mesh)
}

fn outcome_of(head: &Head, ended_by: Option<Code>) -> Outcome {
    if ended_by.is_some_and(is_before_service) {
        return Outcome::NotProcessed;
    }
    match grpc_status(head) {
        Some(status) if status != 0 => Outcome::GrpcStatus(u32::from(status)),
        _ => Outcome::Answered(head.status()),
    }
}

fn hint_of(head: &Head, worker: &Worker) -> Hint {
    if let Some(pushback) = head.get(Known::GrpcRetryPushbackMs) {
        return parse_pushback(pushback);
    }
    head.get(Known::RetryAfter)
        .map_or(Hint::None, |value| parse_retry_after(value, worker.shared.clock.wall()))
}
