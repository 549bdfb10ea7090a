//! Sending a request on and its answer back: choose, connect, carry, and try again where that is safe.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use weft_model::code::{Code, Kind};
use weft_model::plan::{Balance, HashKey, Protocol, RoutePlan};
use weft_stdx::clock::Tick;

use crate::access::Record;
use crate::body::{BodyError, BodyLength, Broken, Progress, RequestBody, Responder, Writer, pump};
use crate::buffer::LentHead;
use crate::connection::http1::{BodyFraming, RequestWire, ResponseTo, Upgrade, write_request};
use crate::connection::http1_io::{Http1Reply, Http1Writer};
use crate::connection::http2_io::{self, Http2Writer};
use crate::exchange::{Fate, Request, TimeLimits, answer_with, finish_head, is_before_service};
use crate::head::{Head, Known, Scheme, Version};
use crate::metrics::Meter;
use crate::rescue::{self, Ended};
use crate::resilience::breaker::Verdict;
use crate::resilience::deadline::{Attempt, grpc_timeout};
use crate::resilience::retry::{
    self, Decision as Again, Hint, Outcome, Replay, Retries, parse_attempt, parse_pushback, parse_retry_after,
};
use crate::stage::route::Decision;
use crate::stage::transform;
use crate::upstream::balance::{Ask, hash_key};
use crate::upstream::pool::{Endpoint, Http1Client};
use crate::upstream::presence::{LetGo, Patience};
use crate::upstream::reply::{Answer, AnswerKind, NoAnswer, Reply, no_answer};
use crate::upstream::{ABSENCE_MAX, Admitted, InFlight};
use crate::worker::{Callee, CalleeKind, Worker};

/// Interim heads that are passed on; who sends more of them means no answer.
const INTERIMS_MAX: u32 = 64;

/// So often a request goes on to another instance for free, when nobody was at the one that was chosen.
const MOVES_MAX: u32 = 16;

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
        Some(fallback) if cannot(ended.code) && !record.head_sent && ended.code != Code::DownstreamGone => {
            let mut answer = Head::new();
            let text = rescue::fixed(fallback, &mut answer);
            finish_head(job.route.and_then(|route| route.cors.as_ref()), job.route, request, &mut answer);
            record.code = Some(ended.code);
            if !body.is_complete() {
                responder.close_after();
            }
            Ok(answer_with(responder, &answer, text, record).await)
        }
        _ => Err(ended),
    }
}

/// Whether a callee that ends so is one that cannot, for which its fallback answers.
fn cannot(code: Code) -> bool {
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
    let place = upstream.admit(&job.worker.timer, job.limits.head.at()).await?;
    let mut attempts = Attempts::new(job, request, place);
    transform::depart(job.route, job.callee, request.head)
        .map_err(|error| Ended::new(Code::BadPath, error.to_string()))?;
    upstream.budget.borrow_mut().count_request(job.worker.timer.recent());
    loop {
        attempts.let_go = None;
        attempts.let_go = upstream.until_present(&job.worker.timer, attempts.patience(job)).await;
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
        attempts.write_fields(job, request, &limits)?;
        record.attempts += 1;
        let mut one = One { job, request, body, responder, record, limits, attempts: &mut attempts };
        match one.run(&mut flight).await {
            Tried::Done(fate) => return Ok(fate),
            Tried::Ended(ended) => return Err(ended),
            Tried::Failed(failure) => attempts.after(job, &mut flight, &failure).await?,
            Tried::Again(wait) => attempts.wait(job, &flight, wait).await,
            Tried::Anew => {}
        }
    }
}

impl Job<'_> {
    fn too_late(&self) -> Ended {
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

/// The attempts of one exchange.
struct Attempts {
    retries: Retries,
    ask: Ask,
    per_try: Option<Duration>,
    /// Make a connection of its own: the idle ones may all be as dead as the one that failed.
    fresh: bool,
    /// The last attempt was made in HTTP/2.
    in_http2: bool,
    progress: Progress,
    /// Until when it waits for somebody behind the sidecars of its callee, once it has met nobody there.
    patience: Tick,
    /// How often it went elsewhere for free, because nobody was there to begin it.
    moves: u32,
    /// When it had its place.
    came: Tick,
    /// It was held, and is let go: others wait for its answer.
    let_go: Option<LetGo>,
    /// Among the requests toward the upstream, until the last attempt has ended.
    place: Admitted,
}

/// An attempt that came to nothing, before anything of it was passed on.
struct Failure {
    outcome: Outcome,
    code: Code,
    reused: bool,
}

impl Failure {
    /// Whether no byte of the request went out toward the sidecar of another service. Elsewhere nothing is known of who comes
    /// back: the local service's callers know its other instances, and of outside hosts nobody tells.
    fn unsent(&self, job: &Job<'_>) -> bool {
        job.callee.kind == CalleeKind::Mesh && self.outcome == Outcome::NotSent
    }

    /// Whether that is so because nobody listens at the sidecar's address.
    fn refused(&self, job: &Job<'_>) -> bool {
        self.unsent(job) && self.code == Code::ConnectFailed
    }
}

impl Attempts {
    fn new(job: &Job<'_>, request: &Request<'_>, place: Admitted) -> Self {
        let plan = &job.callee.plan;
        let head = &*request.head;
        let idempotent = retry::is_idempotent(head.method_str().as_bytes())
            || head.has(Known::IdempotencyKey)
            || job.decision.idempotent;
        let incoming = head.get(Known::WeftAttempt).map(parse_attempt);
        let version = plan.versions.iter().position(|version| {
            version.header.as_ref().is_some_and(|want| match &want.value {
                None => head.get_name(&want.name).is_some(),
                Some(value) => head.get_all_name(&want.name).any(|got| got == value.as_bytes()),
            })
        });
        let retries = Retries::new(retry::Rules::from(&plan.resilience), idempotent, incoming);
        Attempts {
            retries,
            ask: Ask { version, hash: hash_of(&plan.balance, request), avoid: None },
            per_try: plan.resilience.per_try_timeout_ms.map(Duration::from_millis),
            fresh: retries.is_sent_again(),
            in_http2: false,
            progress: Progress::default(),
            patience: Tick::NEVER,
            moves: 0,
            came: job.worker.timer.recent(),
            let_go: None,
            place,
        }
    }

    /// Whether to wait for somebody who takes requests, since nobody was at this endpoint: its sidecar refused the connection, or
    /// its service did. The request was not begun, so that is no retry of anything: it takes nothing from the budget, and may
    /// be done whatever the method.
    fn awaits_somebody(&mut self, job: &Job<'_>, endpoint: &Endpoint) -> bool {
        let now = job.worker.timer.now();
        let deserted = job.callee.upstream.deserted(endpoint, now);
        self.awaits(deserted, now)
    }

    /// The upstream itself began to answer.
    fn answered(&mut self) {
        self.place.answered();
        if let Some(let_go) = self.let_go.take() {
            let_go.answered();
        }
    }

    fn patience(&self, job: &Job<'_>) -> Patience {
        Patience { came: self.came, until: self.patience, deadline: job.limits.head.at() }
    }

    fn awaits(&mut self, nobody: bool, now: Tick) -> bool {
        let may = nobody && self.replay() == Replay::Possible && now < self.patience;
        if may {
            self.patience = self.patience.min(now + ABSENCE_MAX);
        }
        may
    }

    /// Whether to go on to another instance at once, since nobody was at this one and no retry is left: those that vanish
    /// together are found one after the other, and a request that none of them has seen must not end with the last retry.
    fn moves_on(&mut self, job: &Job<'_>, flight: &InFlight) -> bool {
        let upstream = &job.callee.upstream;
        let may = self.moves < MOVES_MAX && self.replay() == Replay::Possible && !upstream.is_deserted();
        if may {
            self.moves += 1;
            self.ask.avoid = flight.id();
            job.worker.stats.borrow_mut().add(Meter::Resends(upstream.id), 1);
        }
        may
    }

    fn too_late(&self, job: &Job<'_>) -> Ended {
        let mut ended = job.too_late();
        if self.patience != Tick::NEVER {
            ended.detail.push_str(": nobody is there to take it");
        }
        ended
    }

    fn replay(&self) -> Replay {
        if self.progress.spent.get() { Replay::Gone } else { Replay::Possible }
    }

    /// What the next hop learns about time and attempts.
    fn write_fields(&self, job: &Job<'_>, request: &mut Request<'_>, limits: &Attempt) -> Result<(), Ended> {
        let head = &mut *request.head;
        let written = (|| {
            if job.callee.kind == CalleeKind::Mesh {
                head.remove(Known::WeftAttempt);
                if let Some(attempt) = self.retries.attempt_to_send() {
                    head.set_known(Known::WeftAttempt, attempt.to_string().as_bytes())?;
                }
            }
            if job.limits.whole.is_some() && limits.travels() {
                if job.callee.kind != CalleeKind::Url {
                    let ms = limits.weft_deadline_ms();
                    head.set_known(Known::WeftDeadline, itoa::Buffer::new().format(ms).as_bytes())?;
                }
                if request.grpc {
                    let (number, unit) = grpc_timeout(limits.grant);
                    head.set_known(Known::GrpcTimeout, format!("{number}{unit}").as_bytes())?;
                }
            }
            Ok(())
        })();
        written.map_err(|error: crate::head::HeadError| Ended::new(Code::HeadTooLarge, error.to_string()))
    }

    /// After a failure: waits and returns where there is another attempt.
    async fn after(&mut self, job: &Job<'_>, flight: &mut InFlight, failure: &Failure) -> Result<(), Ended> {
        let worker = job.worker;
        let now = worker.timer.recent();
        let ended = retry::Ended { outcome: failure.outcome, replay: self.replay(), hint: Hint::None };
        if self.retries.resend(ended, failure.reused, now, &mut job.callee.upstream.budget.borrow_mut()) {
            self.fresh = true;
            worker.stats.borrow_mut().add(Meter::Resends(job.callee.upstream.id), 1);
            return Ok(());
        }
        flight.record(now, failure.outcome.verdict());
        if self.met_nobody(job, flight, failure) {
            return Ok(());
        }
        match self.decide(job, failure.outcome, Hint::None) {
            Some(wait) => {
                self.wait(job, flight, wait).await;
                Ok(())
            }
            None if failure.refused(job) && self.moves_on(job, flight) => Ok(()),
            None => Err(Ended::new(failure.code, self.why_failed(job, failure.code))),
        }
    }

    /// Whether the failure was that nobody takes requests at all, and the request waits for somebody.
    fn met_nobody(&mut self, job: &Job<'_>, flight: &InFlight, failure: &Failure) -> bool {
        match flight.endpoint() {
            Some(endpoint) if failure.refused(job) => self.awaits_somebody(job, endpoint),
            // It was on its way to a sidecar of which it has become known meanwhile that it is away, as all others are.
            _ if failure.unsent(job) => {
                let now = job.worker.timer.now();
                self.awaits(job.callee.upstream.is_absent(now), now)
            }
            _ => false,
        }
    }

    fn why_failed(&self, job: &Job<'_>, code: Code) -> String {
        let Callee { plan, kind, .. } = &**job.callee;
        let name = &plan.name;
        // Only a call of gRPC is taken to a service in HTTP/2 that does not say what it speaks.
        let guessed = *kind == CalleeKind::Local && plan.protocol == Protocol::Auto && self.in_http2;
        if guessed && code == Code::UpstreamProtocol {
            return format!(
                "`{name}` did not answer in HTTP/2, in which calls of gRPC are made: if it serves gRPC, let it listen for \
                 HTTP/2 without TLS and say `protocol: grpc`; if not, call it by HTTP"
            );
        }
        format!("toward `{name}`, attempt {}", self.retries.attempt())
    }

    fn decide(&mut self, job: &Job<'_>, outcome: Outcome, hint: Hint) -> Option<Duration> {
        let now = job.worker.timer.recent();
        let (mut budget, mut rng) = (job.callee.upstream.budget.borrow_mut(), job.worker.rng.borrow_mut());
        let ended = retry::Ended { outcome, replay: self.replay(), hint };
        match self.retries.decide(ended, now, job.limits.head, &mut budget, &mut rng) {
            Again::Retry { after } => Some(after),
            Again::Stop(retry::Stop::Budget) => {
                job.worker.stats.borrow_mut().add(Meter::BudgetEmpty(job.callee.upstream.id), 1);
                None
            }
            Again::Stop(_) => None,
        }
    }

    async fn wait(&mut self, job: &Job<'_>, flight: &InFlight, wait: Duration) {
        self.ask.avoid = flight.id();
        // Others need not wait for it meanwhile.
        self.let_go = None;
        job.worker.stats.borrow_mut().add(Meter::Retries(job.callee.upstream.id), 1);
        job.worker.timer.sleep(wait).await;
    }
}

fn hash_of(balance: &Balance, request: &Request<'_>) -> u64 {
    let Balance::Ring(key) = balance else { return 0 };
    match key {
        HashKey::Header(name) => hash_key(request.head.get_name(name).unwrap_or_default()),
        HashKey::Cookie(name) => hash_key(cookie(request.head, name).unwrap_or_default()),
        HashKey::Address => {
            let said =
                request.head.get(Known::XForwardedFor).and_then(|list| list.split(|b| *b == b',').next());
            match said {
                Some(address) => hash_key(address),
                None => hash_key(request.conn.peer.ip().to_string().as_bytes()),
            }
        }
    }
}

fn cookie<'h>(head: &'h Head, name: &str) -> Option<&'h [u8]> {
    head.get_all(Known::Cookie).flat_map(|value| value.split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

/// How one attempt ended.
enum Tried {
    Done(Fate),
    Failed(Failure),
    /// The answer says that another attempt may do better.
    Again(Duration),
    /// It was not begun, since nobody was there: it is sent anew, for free, elsewhere or once somebody is back.
    Anew,
    Ended(Ended),
}

/// One attempt.
struct One<'o, 'r, 'b, 'w> {
    job: &'o Job<'o>,
    request: &'o mut Request<'r>,
    body: &'o mut RequestBody<'b>,
    responder: &'o mut Responder<'w>,
    record: &'o mut Record,
    limits: Attempt,
    attempts: &'o mut Attempts,
}

/// What is left of the upstream connection when its answer was passed on.
enum Left {
    /// It can carry another exchange.
    Reusable(Option<Duration>),
    /// It is done.
    Done,
    /// It speaks something else now.
    Switched,
}

/// How carrying request and answer ended.
enum Carried {
    Passed(Fate, Left),
    Failed(NoAnswer),
    Again(Duration),
    Anew,
    Ended(Ended),
}

impl One<'_, '_, '_, '_> {
    async fn run(&mut self, flight: &mut InFlight) -> Tried {
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
        let made = match self.attempts.fresh {
            true => endpoint.fresh_http1(worker, timeout).await,
            false => endpoint.http1(worker, timeout).await,
        };
        let mut client = match made {
            Ok(client) => client,
            Err(code) => return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused: false }),
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
        let wire = RequestWire { framing, upgrade, close: false };
        let framing = write_request(self.request.head, &wire, out);
        let to = ResponseTo { method: self.request.head.method(), upgrade };
        let writer = Writer::Http1(Http1Writer::new(stream, out, framing));
        let reply = Reply::Http1(Http1Reply::new(stream, buf, to));
        match self.carry(flight, writer, reply).await {
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
        let made = timer.limit(self.limits.ends, endpoint.http2(self.job.worker, timeout)).await;
        let (mut send, reused) = match made.unwrap_or(Err(Code::ConnectTimeout)) {
            Ok(made) => made,
            Err(code) => return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused: false }),
        };
        let length = self.body.length();
        let Some(message) = http2_io::write_request(self.request.head, length, Scheme::Http) else {
            return Tried::Ended(Ended::new(Code::BadHost, "the request has no authority"));
        };
        let bodiless = length == BodyLength::None;
        let asked = self.request.head.method();
        let (response, stream) = match send.send_request(message, bodiless) {
            Ok(sent) => sent,
            Err(error) => {
                endpoint.lost_http2();
                let code = no_answer(&error).code;
                return Tried::Failed(Failure { outcome: Outcome::NotSent, code, reused });
            }
        };
        let writer = Writer::Http2(Http2Writer::new(stream, length, bodiless));
        match self.carry(flight, writer, Reply::Http2(response, asked)).await {
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
    async fn carry(&mut self, flight: &mut InFlight, mut writer: Writer<'_>, reply: Reply<'_>) -> Carried {
        let worker = self.job.worker;
        let body = &mut *self.body;
        let progress = Progress::default();
        progress.spent.set(self.attempts.progress.spent.get());
        let upload = pin!(async {
            match body.send(&mut writer, &progress).await {
                Ok(()) => {
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
        let answer = loop {
            let first = first_of(&mut upload, reply.head(&mut head), self.responder.gone());
            let first = in_time(self.job, &self.limits, &progress, first).await;
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
        if self.limits.per_try && ended_by == Some(Code::Timeout) {
            // All the time that it knew of was that of this try: whichever clock strikes first, it is the same end.
            return Carried::Failed(NoAnswer { outcome: Outcome::TryTimeout, code: Code::TryTimeout });
        }
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
        passing.pass(&mut upload, head, answer).await
    }
}

/// Waits for `first` until the attempt's time is over. A default limit, and that of a try, is the service's time and not the
/// client's: it begins anew as long as the request still comes.
async fn in_time<T>(
    job: &Job<'_>,
    limits: &Attempt,
    progress: &Progress,
    first: impl Future<Output = T>,
) -> Option<T> {
    let timer = &job.worker.timer;
    let span = timer.recent().until(limits.ends);
    let last = if job.limits.whole.is_some() { job.limits.whole.at() } else { Tick::NEVER };
    let (mut first, mut ends) = (pin!(first), limits.ends);
    loop {
        let came = timer.limit(ends, first.as_mut()).await;
        let again = (timer.recent() + span).min(last);
        if came.is_some() || again <= ends || !progress.moved.replace(false) {
            return came;
        }
        ends = again;
    }
}

/// Passing an answer on, from its head to its end.
struct Passing<'p, 'r, 'w> {
    job: &'p Job<'p>,
    request: &'p Request<'r>,
    responder: &'p mut Responder<'w>,
    record: &'p mut Record,
    progress: &'p Progress,
}

impl Passing<'_, '_, '_> {
    async fn pass<F: Future<Output = UploadEnd>>(
        self,
        upload: &mut Upload<'_, F>,
        mut head: LentHead,
        answer: Answer<'_>,
    ) -> Carried {
        let Passing { job, request, responder, record, progress } = self;
        let Answer { declared, kind, reusable, announced } = answer;
        finish_head(job.route.and_then(|route| route.cors.as_ref()), job.route, request, &mut head);
        record.status = head.status();
        record.grpc = grpc_status(&head);
        let mut reader = match kind {
            AnswerKind::Final(reader) => reader,
            AnswerKind::Switched | AnswerKind::Interim(_) => {
                return switched(responder, &head, record).await;
            }
        };
        if !progress.complete.get() {
            // The answer came before the end of the request: what is left of it would be taken for the next one.
            responder.close_after();
        }
        record.head_sent = true;
        let Ok(mut writer) = responder.start(&head, reader.length(), declared) else {
            return Carried::Ended(Code::DownstreamGone.into());
        };
        let moved = Cell::new(false);
        let bytes = Cell::new(0);
        let result = {
            let download = pin!(pump(&mut reader, &mut writer, |part| {
                moved.set(true);
                bytes.set(bytes.get() + part.len() as u64);
                Ok(())
            }));
            rest_of(job, upload, download, [&moved, &progress.moved]).await
        };
        record.response_bytes = bytes.get();
        if let Some(status) = reader.trailers().and_then(grpc_status) {
            record.grpc = Some(status);
        }
        match result {
            Ok(()) if progress.complete.get() && reusable => {
                Carried::Passed(Fate::Keep, Left::Reusable(announced))
            }
            Ok(()) if progress.complete.get() => Carried::Passed(Fate::Keep, Left::Done),
            Ok(()) => Carried::Passed(Fate::Close, Left::Done),
            // Who leaves with all of the answer in hand has not given it up; only its end had not come to us yet.
            Err(ended) if ended.code == Code::DownstreamGone && writer.is_whole() && !request.grpc => {
                Carried::Passed(Fate::Close, Left::Done)
            }
            Err(ended) if request.grpc && told_in_trailers(&ended, &mut writer).await => {
                record.grpc = ended.code.grpc_status();
                record.code = Some(ended.code);
                record.detail = ended.detail;
                Carried::Passed(Fate::Close, Left::Done)
            }
            Err(ended) => Carried::Ended(ended),
        }
    }
}

/// Ends an answer of gRPC that broke off with trailers that say why, where somebody is there to read them. Elsewhere an
/// answer that breaks off is cut.
async fn told_in_trailers(ended: &Ended, writer: &mut Writer<'_>) -> bool {
    if ended.code == Code::DownstreamGone || !matches!(writer, Writer::Http2(_) | Writer::GrpcWeb(_)) {
        return false;
    }
    let mut trailers = Head::new();
    trailers.start_trailers();
    rescue::grpc_trailers(ended, &mut trailers).is_ok() && writer.end(Some(&trailers)).await.is_ok()
}

/// Tells the client that the protocol changes; its connection and ours carry bytes from now on.
async fn switched(responder: &mut Responder<'_>, head: &Head, record: &mut Record) -> Carried {
    record.head_sent = true;
    let Ok(mut writer) = responder.start(head, BodyLength::None, None) else {
        return Carried::Ended(Code::DownstreamGone.into());
    };
    match writer.end(None).await {
        Ok(()) => Carried::Passed(Fate::Close, Left::Switched),
        Err(_) => Carried::Ended(Code::DownstreamGone.into()),
    }
}

/// How sending the request ended, where that ends the exchange or changes it.
#[derive(Clone, Copy)]
enum UploadEnd {
    /// All of it was sent, and then the client went away.
    Gone,
    /// The client broke off or broke its framing.
    Unreadable(BodyError),
    /// The upstream takes no more. Its answer may still come.
    Unwritable,
}

impl UploadEnd {
    fn ended(self) -> Ended {
        match self {
            UploadEnd::Unreadable(BodyError::Malformed) => Code::BadFraming.into(),
            UploadEnd::Unreadable(BodyError::TooLarge) => Code::BodyTooLarge.into(),
            UploadEnd::Unreadable(BodyError::NotBase64) => Code::BadGrpcWeb.into(),
            UploadEnd::Gone | UploadEnd::Unwritable | UploadEnd::Unreadable(BodyError::Gone) => {
                Code::DownstreamGone.into()
            }
        }
    }
}

/// The request on its way.
struct Upload<'f, F> {
    future: Pin<&'f mut F>,
    over: bool,
}

impl<F: Future<Output = UploadEnd>> Upload<'_, F> {
    /// An end that matters. That the upstream takes no more is for its answer to explain.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<UploadEnd> {
        if self.over {
            return Poll::Pending;
        }
        match self.future.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(end) => {
                self.over = true;
                if matches!(end, UploadEnd::Unwritable) { Poll::Pending } else { Poll::Ready(end) }
            }
        }
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
async fn first_of<'a, F: Future<Output = UploadEnd>>(
    upload: &mut Upload<'_, F>,
    head: impl Future<Output = Result<Answer<'a>, NoAnswer>>,
    gone: impl Future<Output = ()>,
) -> First<'a> {
    let (mut head, mut gone) = (pin!(head), pin!(gone));
    poll_fn(|cx| {
        if let Poll::Ready(end) = upload.poll(cx) {
            return Poll::Ready(First::Upload(end));
        }
        if let Poll::Ready(answer) = head.as_mut().poll(cx) {
            return Poll::Ready(First::Head(answer));
        }
        gone.as_mut().poll(cx).map(|()| First::Upload(UploadEnd::Gone))
    })
    .await
}

/// Until the answer is passed on whole, or something ends it.
async fn rest_of<F: Future<Output = UploadEnd>>(
    job: &Job<'_>,
    upload: &mut Upload<'_, F>,
    mut download: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    moved: [&Cell<bool>; 2],
) -> Result<(), Ended> {
    let timer = &job.worker.timer;
    let mut deadline = timer.at(job.limits.whole.at());
    let mut idle = pin!(async {
        loop {
            timer.sleep(job.worker.limits().stream_idle).await;
            if !moved.map(|one_way| one_way.replace(false)).contains(&true) {
                return;
            }
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(result) = download.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|broken| match broken {
                Broken::Reading(BodyError::Malformed) => Code::UpstreamProtocol.into(),
                Broken::Reading(_) => Code::UpstreamTruncated.into(),
                // Longer or shorter than announced is the upstream's fault, everything else the client's leaving.
                Broken::Writing(BodyError::Malformed) => Code::UpstreamTruncated.into(),
                Broken::Writing(_) => Code::DownstreamGone.into(),
            }));
        }
        if let Poll::Ready(end) = upload.poll(cx) {
            return Poll::Ready(Err(end.ended()));
        }
        if Pin::new(&mut deadline).poll(cx).is_ready() {
            return Poll::Ready(Err(job.too_late()));
        }
        idle.as_mut().poll(cx).map(|()| Err(Code::StreamIdle.into()))
    })
    .await
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

fn grpc_status(head: &Head) -> Option<u8> {
    head.get_str(Known::GrpcStatus).and_then(|text| text.parse().ok())
}

fn hint_of(head: &Head, worker: &Worker) -> Hint {
    if let Some(pushback) = head.get(Known::GrpcRetryPushbackMs) {
        return parse_pushback(pushback);
    }
    head.get(Known::RetryAfter)
        .map_or(Hint::None, |value| parse_retry_after(value, worker.shared.clock.wall()))
}

/// Opens a tunnel to a declared outside host (CONNECT; RFC 9110, 9.3.6).
///
/// # Errors
/// The host cannot be reached.
pub(crate) async fn tunnel(
    worker: &Rc<Worker>,
    callee: &Rc<Callee>,
    limits: &TimeLimits,
    responder: &mut Responder<'_>,
    record: &mut Record,
) -> Result<Fate, Ended> {
    if !matches!(responder, Responder::Http1(_)) {
        let detail = "a tunnel takes a whole connection: ask for it by HTTP/1.1";
        return Err(Ended::new(Code::MethodNotSupported, detail));
    }
    let (came, deadline) = (worker.timer.recent(), limits.head.at());
    let patience = Patience { came, until: Tick::NEVER, deadline };
    // The name of the host may still have to be looked up.
    let let_go = callee.upstream.until_present(&worker.timer, patience).await;
    let flight = callee.upstream.pick(worker.timer.now(), &mut worker.rng.borrow_mut(), &Ask::default());
    let endpoint = flight.as_ref().and_then(InFlight::endpoint).cloned();
    let endpoint = endpoint.ok_or_else(|| Ended::new(Code::NameNotFound, callee.plan.name.clone()))?;
    let timeout = Duration::from_millis(callee.plan.resilience.connect_timeout_ms);
    let client = endpoint.fresh_http1(worker, timeout).await;
    let client = client.map_err(|_| Ended::new(Code::ExternalFailed, callee.plan.name.clone()))?;
    if let Some(let_go) = let_go {
        let_go.answered();
    }
    let mut head = Head::new();
    head.start_response(200, Version::Http11);
    record.status = 200;
    record.head_sent = true;
    let mut writer =
        responder.start(&head, BodyLength::None, None).map_err(|_| Ended::from(Code::DownstreamGone))?;
    writer.end(None).await.map_err(|_| Ended::from(Code::DownstreamGone))?;
    Ok(Fate::Tunnel(client.stream, Vec::new()))
}
