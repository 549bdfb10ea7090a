//! The attempts of one exchange: what happened so far, and what comes next.

use std::time::Duration;

use weft_model::code::Code;
use weft_model::plan::{Balance, HashKey, Protocol};
use weft_stdx::clock::Tick;

use super::Job;
use crate::body::Progress;
use crate::exchange::Request;
use crate::head::{Head, Known};
use crate::metrics::Meter;
use crate::rescue::Ended;
use crate::resilience::deadline::{Attempt, grpc_timeout};
use crate::resilience::retry::{self, Decision as Again, Hint, Outcome, Replay, Retries, parse_attempt};
use crate::upstream::balance::{Ask, hash_key};
use crate::upstream::pool::Endpoint;
use crate::upstream::presence::{LetGo, Patience};
use crate::upstream::{ABSENCE_MAX, Admitted, InFlight};
use crate::worker::{Callee, CalleeKind};

/// So often a request goes on to another instance for free, when nobody was at the one that was chosen.
const MOVES_MAX: u32 = 16;

/// The attempts of one exchange.
pub(super) struct Attempts {
    retries: Retries,
    pub(super) ask: Ask,
    pub(super) per_try: Option<Duration>,
    /// Make a connection of its own: the idle ones may all be as dead as the one that failed.
    pub(super) fresh: bool,
    /// The last attempt was made in HTTP/2.
    pub(super) in_http2: bool,
    pub(super) progress: Progress,
    /// Until when it waits for somebody behind the sidecars of its callee, once it has met nobody there.
    pub(super) patience: Tick,
    /// How often it went elsewhere for free, because nobody was there to begin it.
    pub(super) moves: u32,
    /// When it had its place.
    came: Tick,
    /// It was held, and is let go: others wait for its answer.
    pub(super) let_go: Option<LetGo>,
    /// Among the requests toward the upstream, until the last attempt has ended.
    place: Admitted,
}

/// An attempt that came to nothing, before anything of it was passed on.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) code: Code,
    pub(super) reused: bool,
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
    pub(super) fn new(job: &Job<'_>, request: &Request<'_>, place: Admitted) -> Self {
        let plan = &job.callee.plan;
        let head = &*request.head;
        let idempotent = retry::is_idempotent(head.method_str().as_bytes())
            || head.has(Known::IdempotencyKey)
            || job.decision.idempotent
            || job.route.is_some() && job.callee.operations.find(head).is_some_and(|found| found.idempotent);
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
            ask: Ask { version, key: key_of(&plan.balance, request), avoid: None },
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
    pub(super) fn awaits_somebody(&mut self, job: &Job<'_>, endpoint: &Endpoint) -> bool {
        let now = job.worker.timer.now();
        let deserted = job.callee.upstream.deserted(endpoint, now);
        self.awaits(deserted, now)
    }

    /// The upstream itself began to answer.
    pub(super) fn answered(&mut self) {
        self.place.answered();
        if let Some(let_go) = self.let_go.take() {
            let_go.answered();
        }
    }

    pub(super) fn patience(&self, job: &Job<'_>) -> Patience {
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
    pub(super) fn moves_on(&mut self, job: &Job<'_>, flight: &InFlight) -> bool {
        let upstream = &job.callee.upstream;
        let may = self.moves < MOVES_MAX && self.replay() == Replay::Possible && !upstream.is_deserted();
        if may {
            self.moves += 1;
            self.ask.avoid = flight.id();
            job.worker.stats.borrow_mut().add(Meter::Resends(upstream.id), 1);
        }
        may
    }

    pub(super) fn too_late(&self, job: &Job<'_>) -> Ended {
        let mut ended = job.too_late();
        if self.patience != Tick::NEVER {
            ended.detail.push_str(": nobody is there to take it");
        }
        ended
    }

    fn replay(&self) -> Replay {
        if self.progress.spent.get() { Replay::Gone } else { Replay::Possible }
    }

    /// What the next hop learns about time and attempts. It is told until when the whole may take and not when this try ends: that
    /// ends the wait for an answer, and an answer that has begun may take longer. A try that is given up is cancelled.
    pub(super) fn write_fields(
        &self,
        job: &Job<'_>,
        request: &mut Request<'_>,
        now: Tick,
    ) -> Result<(), Ended> {
        let head = &mut *request.head;
        let written = (|| {
            if job.callee.kind == CalleeKind::Mesh {
                head.remove(Known::WeftAttempt);
                if let Some(attempt) = self.retries.attempt_to_send() {
                    head.set_known(Known::WeftAttempt, attempt.to_string().as_bytes())?;
                }
            }
            if let Some(limits) = job.limits.whole.attempt(now, None).filter(Attempt::travels) {
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

    /// After a failure, where there is another attempt: how long to wait for it, if it is a retry.
    pub(super) fn after(
        &mut self,
        job: &Job<'_>,
        flight: &mut InFlight,
        failure: &Failure,
    ) -> Result<Option<Duration>, Ended> {
        let worker = job.worker;
        let now = worker.timer.recent();
        let ended = retry::Ended { outcome: failure.outcome, replay: self.replay(), hint: Hint::None };
        if self.retries.resend(ended, failure.reused, now, &mut job.callee.upstream.budget.borrow_mut()) {
            self.fresh = true;
            worker.stats.borrow_mut().add(Meter::Resends(job.callee.upstream.id), 1);
            return Ok(None);
        }
        flight.record(now, failure.outcome.verdict());
        if self.met_nobody(job, flight, failure) {
            return Ok(None);
        }
        match self.decide(job, failure.outcome, Hint::None) {
            Some(wait) => Ok(Some(wait)),
            None if failure.refused(job) && self.moves_on(job, flight) => Ok(None),
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

    pub(super) fn decide(&mut self, job: &Job<'_>, outcome: Outcome, hint: Hint) -> Option<Duration> {
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

    /// There will be another attempt, elsewhere if that can be.
    pub(super) fn retry(&mut self, job: &Job<'_>, flight: &InFlight) {
        self.ask.avoid = flight.id();
        // Others need not wait for it meanwhile.
        self.let_go = None;
        job.worker.stats.borrow_mut().add(Meter::Retries(job.callee.upstream.id), 1);
    }
}

/// What the ring is asked with, if the request says it.
fn key_of(balance: &Balance, request: &Request<'_>) -> Option<u64> {
    let Balance::Ring(key) = balance else { return None };
    let value = match key {
        HashKey::Header(name) => request.head.get_name(name),
        HashKey::Cookie(name) => cookie(request.head, name),
        HashKey::Address => {
            let said =
                request.head.get(Known::XForwardedFor).and_then(|list| list.split(|b| *b == b',').next());
            if said.is_none() {
                return Some(hash_key(request.conn.peer.ip().to_string().as_bytes()));
            }
            said
        }
    };
    value.filter(|value| !value.is_empty()).map(hash_key)
}

fn cookie<'h>(head: &'h Head, name: &str) -> Option<&'h [u8]> {
    head.get_all(Known::Cookie).flat_map(|value| value.split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}
