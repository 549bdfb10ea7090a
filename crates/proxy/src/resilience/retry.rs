//! Whether an attempt that failed may be made again, and when.
//!
//! A request is sent a second time only if that can do no harm: no byte of it went out, its peer says that it did
//! nothing with it, or doing it twice is the same as doing it once (RFC 9110, 9.2.2: a proxy must not retry what is
//! not idempotent). Beyond that: attempts are left, its body can be sent again, no earlier hop does the retrying,
//! the deadline allows it, the callee did not forbid it, and the budget has one. The budget is asked last, so that a
//! retry that would not happen takes nothing from it.
//!
//! A connection that the upstream had closed while it was idle is no failure of the request: it is sent once more,
//! for free, under the same rule of harm ([`Retries::resend`]).

use std::time::{Duration, SystemTime};

use weft_model::plan::ResiliencePlan;
use weft_stdx::clock::Tick;
use weft_stdx::rng::Rng;

use super::breaker::Verdict;
use super::budget::Budget;
use super::deadline::Deadline;

/// A callee that asks to wait longer than this is not waited for: its answer is passed on, with its own hint.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// An endpoint that had this long and gave no answer by the deadline is to blame for it.
const FAIR_WAIT: Duration = Duration::from_secs(1);
/// gRPC status UNAVAILABLE.
const GRPC_UNAVAILABLE: u32 = 14;

/// What the plan says about retries toward one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Attempts after the first; 0 is none.
    pub retries: u32,
    /// Shortest wait before another attempt.
    pub backoff_min: Duration,
    /// Longest.
    pub backoff_max: Duration,
}

impl From<&ResiliencePlan> for Rules {
    fn from(plan: &ResiliencePlan) -> Self {
        let (low, high) = plan.backoff_ms;
        Self {
            retries: plan.retries,
            backoff_min: Duration::from_millis(low),
            backoff_max: Duration::from_millis(high),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No connection, or none on which a byte of the request went out.
    NotSent,
    /// The peer says that it did nothing with it: HTTP/2 REFUSED_STREAM or a stream above the last of a GOAWAY
    /// (RFC 9113, 8.7), or a refusal that a sidecar marks as made before its service was asked.
    NotProcessed,
    /// A byte at least went out, none came back: closed, reset, or garbage where the head should be.
    NoResponse,
    /// The per-try timeout passed before the response's head came.
    TryTimeout,
    /// The head of a response came, with this status.
    Answered(u16),
    /// A gRPC response that is trailers only, with this `grpc-status`: nothing was passed on yet.
    GrpcStatus(u32),
    /// The exchange's deadline passed before the response's head came.
    DeadlinePassed {
        /// How long this attempt had been waiting for it.
        waited: Duration,
    },
    /// The caller went away.
    GivenUp,
}

impl Outcome {
    /// What it says about the endpoint. A deadline that passed is the endpoint's failure only if it had a fair while:
    /// else a caller in a hurry could have any endpoint left out.
    pub(crate) fn verdict(self) -> Verdict {
        let failed = match self {
            Self::NotSent | Self::NoResponse | Self::TryTimeout => true,
            Self::Answered(status) => status >= 500,
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            Self::GrpcStatus(status) => matches!(status, 2 | 4 | 13 | 14 | 15),
            Self::DeadlinePassed { waited } if waited >= FAIR_WAIT => true,
            Self::NotProcessed | Self::DeadlinePassed { .. } | Self::GivenUp => return Verdict::Unknown,
        };
        if failed { Verdict::Failure } else { Verdict::Success }
    }

    /// Whether trying again could help at all.
    fn is_worth_retrying(self) -> bool {
        match self {
            Self::NotSent | Self::NotProcessed | Self::NoResponse | Self::TryTimeout => true,
            Self::Answered(status) => matches!(status, 502..=504),
            Self::GrpcStatus(status) => status == GRPC_UNAVAILABLE,
            Self::DeadlinePassed { .. } | Self::GivenUp => false,
        }
    }

    /// Whether it is certain that the request had no effect.
    fn is_without_effect(self) -> bool {
        matches!(self, Self::NotSent | Self::NotProcessed)
    }
}

/// Whether the request can be sent once more as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// No byte of the body was taken from the caller, or all that were are kept.
    Possible,
    /// More of the body went through than is kept.
    Gone,
}

/// What the callee said about coming again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    None,
    /// Not before that time has passed.
    After(Duration),
    /// Not at all.
    Never,
}

/// What is known at the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the request could be sent again.
    pub replay: Replay,
    /// What the callee said about it.
    pub hint: Hint,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Wait for that long and try again, elsewhere if possible.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// Answer the caller with what there is.
    Stop(Stop),
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is an answer, or a failure that another attempt would not mend.
    Final,
    /// It might be done twice.
    NotIdempotent,
    /// Its body went through and is not kept.
    BodyGone,
    /// An earlier hop does the retrying.
    EarlierHop,
    /// All attempts are used.
    AttemptsUsed,
    /// The callee said no, or to come after longer than it is worth.
    Forbidden,
    /// It would not be over in time.
    Deadline,
    /// The upstream's budget is used up.
    Budget,
}

/// The retries of one exchange toward one upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    rules: Rules,
    idempotent: bool,
    /// The attempt number that came with the request: an earlier hop retries.
    incoming: Option<u32>,
    /// Retries made.
    made: u32,
    resent: bool,
}

impl Retries {
    /// For a request that is `idempotent` (by [`is_idempotent`], its `idempotency-key`, or its API's word), which came
    /// with the attempt number `incoming`.
    pub(crate) fn new(rules: Rules, idempotent: bool, incoming: Option<u32>) -> Self {
        Self { rules, idempotent, incoming, made: 0, resent: false }
    }

    /// The number of the running attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.made + 1
    }

    /// What to send on as `weft-attempt`: an earlier hop's number as it came, our own if we retry at all, also where that
    /// is only what had no effect; nothing if we would not, so that the next hop may.
    pub(crate) fn attempt_to_send(&self) -> Option<u32> {
        self.incoming.or_else(|| (self.rules.retries > 0).then(|| self.attempt()))
    }

    /// Whether an earlier hop has sent this before: then nothing is sent for free, or each hop's second chance would
    /// multiply, and no connection that was idle is risked for it.
    pub(crate) fn is_sent_again(&self) -> bool {
        self.incoming.is_some_and(|attempt| attempt > 1)
    }

    /// Whether to send it again at once for free on a new connection, because the one it was sent on was `reused` and
    /// closed before a byte came back. Once per exchange, at one hop, and not if there were too many of late: then it is no chance
    /// meeting with an idle timeout, and [`Self::decide`] is to be asked.
    pub(crate) fn resend(&mut self, ended: Ended, reused: bool, now: Tick, budget: &mut Budget) -> bool {
        let closed = matches!(ended.outcome, Outcome::NotSent | Outcome::NoResponse);
        let harmless = ended.outcome.is_without_effect() || self.idempotent;
        let first = !self.resent && !self.is_sent_again();
        let may = reused && closed && harmless && ended.replay == Replay::Possible && first;
        let resend = may && budget.try_resend(now);
        self.resent |= resend;
        resend
    }

    /// What to do after an attempt ended at `now`.
    pub(crate) fn decide(
        &mut self,
        ended: Ended,
        now: Tick,
        deadline: Deadline,
        budget: &mut Budget,
        rng: &mut Rng,
    ) -> Decision {
        if let Some(stop) = self.why_not(ended.outcome, ended.replay) {
            return Decision::Stop(stop);
        }
        let left = deadline.remaining(now);
        let after = match ended.hint {
            Hint::Never => return Decision::Stop(Stop::Forbidden),
            Hint::After(wait) if wait > WAIT_MAX => return Decision::Stop(Stop::Forbidden),
            Hint::After(wait) => rng.duration(wait, wait + self.rules.backoff_min),
            Hint::None => {
                // Half of what is left is the attempt's, the wait takes no more than the other half.
                let cap = self.rules.backoff_max.min(left / 2);
                rng.backoff(self.rules.backoff_min, cap.max(self.rules.backoff_min), self.made)
            }
        };
        // As long for the attempt as for the wait: an attempt that will not be waited for only adds load.
        if after.saturating_mul(2) > left {
            return Decision::Stop(Stop::Deadline);
        }
        if !budget.try_take(now) {
            return Decision::Stop(Stop::Budget);
        }
        self.made += 1;
        Decision::Retry { after }
    }

    fn why_not(&self, outcome: Outcome, replay: Replay) -> Option<Stop> {
        let reasons = [
            (!outcome.is_worth_retrying(), Stop::Final),
            (!self.idempotent && !outcome.is_without_effect(), Stop::NotIdempotent),
            (replay == Replay::Gone, Stop::BodyGone),
            (self.incoming.is_some(), Stop::EarlierHop),
            (self.made >= self.rules.retries, Stop::AttemptsUsed),
        ];
        reasons.into_iter().find_map(|(holds, stop)| holds.then_some(stop))
    }
}

/// Whether a method is idempotent by its definition (RFC 9110, 9.2.2; QUERY by RFC 10008). Methods are case-sensitive.
pub(crate) fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE" | b"QUERY")
}

/// Reads `weft-attempt`; what is no number of one to four digits counts as a first attempt made by an earlier hop,
/// which is the careful reading.
pub(crate) fn parse_attempt(value: &[u8]) -> u32 {
    let well_formed = (1..=4).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if !well_formed {
        return 1;
    }
    value.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')).max(1)
}

/// Reads `retry-after` (RFC 9110, 10.2.3): seconds, or a date, which is measured against `wall`. What is neither says
/// nothing.
pub(crate) fn parse_retry_after(value: &[u8], wall: SystemTime) -> Hint {
    let text = std::str::from_utf8(value).unwrap_or_default().trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Hint::After(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok();
    date.map_or(Hint::None, |date| Hint::After(date.duration_since(wall).unwrap_or_default()))
}

/// Reads `grpc-retry-pushback-ms` (gRFC A6): milliseconds to wait; what is negative or no number forbids a retry.
pub(crate) fn parse_pushback(value: &[u8]) -> Hint {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    number.map_or(Hint::Never, |ms| Hint::After(Duration::from_millis(u64::from(ms))))
}

#[cfg(test)]
mod tests;
