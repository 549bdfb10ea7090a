//! Deadlines that travel: what a hop may still take is what its caller grants, less what has passed.
//!
//! An exchange's deadline is the earliest of the route's timeout, `weft-deadline` (milliseconds that remain) and
//! `grpc-timeout`. Both travel as time that remains and not as a time of day, so clocks need not agree. What is sent
//! on is a little less than what remains, so that the callee's own refusal arrives before our patience ends and
//! whoever asked learns where the time went.

use std::time::Duration;

use weft_stdx::clock::{Tick, whole_ms, whole_us};

use crate::timer::GRANULE;

/// What a hop keeps for itself and the way back: so much, but never more than a fifth of what remains. The callee's timer may
/// be a granule late where ours is not, and its answer has a way to go.
const HOP_ALLOWANCE: Duration = Duration::from_millis(2 * GRANULE.as_millis() as u64);
/// Digits of both fields: eight in gRPC's grammar, and in ours 10^8 ms, more than a day.
const DIGITS_MAX: usize = 8;

/// Why a deadline field cannot be believed. The request is refused: to guess a longer time would be wrong for its
/// caller, and a shorter one for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeadlineError {
    /// `grpc-timeout` is not one to eight digits and a unit.
    #[error("`grpc-timeout` must be one to eight digits and one of H, M, S, m, u, n")]
    GrpcTimeout,
    /// `weft-deadline` is not one to eight digits.
    #[error("`weft-deadline` must be one to eight digits: the milliseconds that remain")]
    WeftDeadline,
}

/// When an exchange must be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Tick);

/// The time limits of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When the attempt is given up.
    pub ends: Tick,
    /// Whether that is the per-try limit (another attempt may follow) and not the deadline.
    pub per_try: bool,
    /// What to tell the callee that it may take; at least a millisecond.
    pub grant: Duration,
}

impl Deadline {
    /// No deadline: a stream, or a tunnel, that nobody bounded.
    pub(crate) const NONE: Self = Self(Tick::NEVER);

    /// The earliest of what the route allows and what the caller grants, from `now` on.
    pub(crate) fn earliest(now: Tick, limits: [Option<Duration>; 3]) -> Self {
        Self(limits.into_iter().flatten().map(|limit| now + limit).min().unwrap_or(Tick::NEVER))
    }

    /// When it is.
    pub(crate) fn at(self) -> Tick {
        self.0
    }

    /// Whether there is one.
    pub(crate) fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// What remains.
    pub(crate) fn remaining(self, now: Tick) -> Duration {
        now.until(self.0)
    }

    /// The limits of an attempt that begins now. `None` when too little remains for anybody to do anything with it.
    pub(crate) fn attempt(self, now: Tick, per_try: Option<Duration>) -> Option<Attempt> {
        let try_ends = per_try.map_or(Tick::NEVER, |limit| now + limit);
        let ends = try_ends.min(self.0);
        let left = now.until(ends);
        let grant = left.saturating_sub(HOP_ALLOWANCE.min(left / 5));
        (grant >= Duration::from_millis(1)).then_some(Attempt { ends, per_try: try_ends < self.0, grant })
    }
}

impl Attempt {
    /// Whether there is anything to send on: an unbounded exchange has no deadline to travel.
    pub(crate) fn travels(&self) -> bool {
        self.ends != Tick::NEVER
    }

    /// The value of `weft-deadline`, in milliseconds.
    pub(crate) fn weft_deadline_ms(&self) -> u64 {
        whole_ms(self.grant).min(99_999_999)
    }
}

/// Reads `weft-deadline`.
///
/// # Errors
/// If it is anything but one to eight digits.
pub(crate) fn parse_weft_deadline(value: &[u8]) -> Result<Duration, DeadlineError> {
    digits(value).map(Duration::from_millis).ok_or(DeadlineError::WeftDeadline)
}

/// Reads `grpc-timeout` (gRPC over HTTP/2, "Timeout"): `100m` are a hundred milliseconds. Less than a microsecond is
/// rounded up, so that a tiny timeout is not none at all.
///
/// # Errors
/// If it is anything but one to eight digits and a unit.
pub(crate) fn parse_grpc_timeout(value: &[u8]) -> Result<Duration, DeadlineError> {
    let (unit, number) = value.split_last().ok_or(DeadlineError::GrpcTimeout)?;
    let number = digits(number).ok_or(DeadlineError::GrpcTimeout)?;
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3_600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_micros(number.div_ceil(1_000))),
        _ => Err(DeadlineError::GrpcTimeout),
    }
}

/// The number and the unit of `grpc-timeout`: the finest unit in which it fits into eight digits, rounded down,
/// because what is passed on must never be more than what was granted. Print the number, then the unit.
pub(crate) fn grpc_timeout(grant: Duration) -> (u64, char) {
    const LIMIT: u64 = 100_000_000;
    let us = whole_us(grant);
    let units = [('u', 1), ('m', 1_000), ('S', 1_000_000), ('M', 60_000_000), ('H', 3_600_000_000)];
    let fits =
        units.into_iter().map(|(unit, factor)| (us / factor, unit)).find(|(number, _)| *number < LIMIT);
    fits.unwrap_or((LIMIT - 1, 'H'))
}

/// One to eight ASCII digits, nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    let well_formed = (1..=DIGITS_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    well_formed.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn grpc_timeouts_of_every_unit() {
        let table: [(&str, Result<Duration, DeadlineError>); 22] = [
            ("1H", Ok(ms(3_600_000))),
            ("2M", Ok(ms(120_000))),
            ("3S", Ok(ms(3_000))),
            ("4m", Ok(ms(4))),
            ("5u", Ok(Duration::from_micros(5))),
            ("6000n", Ok(Duration::from_micros(6))),
            ("1n", Ok(Duration::from_micros(1))),
            ("0n", Ok(Duration::ZERO)),
            ("0S", Ok(Duration::ZERO)),
            ("99999999H", Ok(Duration::from_secs(99_999_999 * 3_600))),
            ("00000001S", Ok(ms(1_000))),
            ("", Err(DeadlineError::GrpcTimeout)),
            ("S", Err(DeadlineError::GrpcTimeout)),
            ("1", Err(DeadlineError::GrpcTimeout)),
            ("100000000S", Err(DeadlineError::GrpcTimeout)),
            ("1s", Err(DeadlineError::GrpcTimeout)),
            ("1h", Err(DeadlineError::GrpcTimeout)),
            ("-1S", Err(DeadlineError::GrpcTimeout)),
            ("+1S", Err(DeadlineError::GrpcTimeout)),
            ("1 S", Err(DeadlineError::GrpcTimeout)),
            ("1.5S", Err(DeadlineError::GrpcTimeout)),
            ("1S ", Err(DeadlineError::GrpcTimeout)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_grpc_timeout(text.as_bytes()), expected, "{text:?}");
        }
        assert!(parse_grpc_timeout(&[0xff, b'S']).is_err());
    }

    #[test]
    fn weft_deadlines() {
        for (text, expected) in
            [("0", 0), ("1", 1), ("15000", 15_000), ("00015000", 15_000), ("99999999", 99_999_999)]
        {
            assert_eq!(parse_weft_deadline(text.as_bytes()), Ok(ms(expected)));
        }
        for text in ["", " 1", "1 ", "-1", "1s", "0x1", "1e3", "123456789", "\u{0661}"] {
            assert_eq!(parse_weft_deadline(text.as_bytes()), Err(DeadlineError::WeftDeadline), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_and_never_longer() {
        let show = |(number, unit): (u64, char)| format!("{number}{unit}");
        let table = [
            (ms(1), "1000u"),
            (ms(15_000), "15000000u"),
            (ms(100_000), "100000m"),
            (ms(99_999), "99999000u"),
        ];
        for (grant, expected) in table {
            assert_eq!(show(grpc_timeout(grant)), expected);
        }
        assert_eq!(show(grpc_timeout(Duration::from_secs(200_000_000))), "3333333M");
        assert_eq!(show(grpc_timeout(Duration::MAX)), "99999999H");
        let mut rng = Rng::seeded(1);
        for _ in 0..20_000 {
            let grant = Duration::from_micros(rng.next_u64() >> rng.below(64));
            let text = show(grpc_timeout(grant));
            let read = parse_grpc_timeout(text.as_bytes()).unwrap();
            assert!(read <= grant, "{text} for {grant:?}");
            let coarse = grant.as_secs() < 99_999_999 * 3_600;
            assert!(
                !coarse || read.as_secs_f64() > grant.as_secs_f64() * 0.999_99 - 1e-6,
                "{text} for {grant:?}"
            );
        }
    }

    #[test]
    fn the_earliest_limit_counts() {
        let now = Tick::from_ms(1_000);
        let table = [
            ([Some(ms(15_000)), None, None], 16_000),
            ([Some(ms(15_000)), Some(ms(300)), None], 1_300),
            ([Some(ms(15_000)), Some(ms(300)), Some(ms(200))], 1_200),
            ([Some(ms(100)), Some(ms(300)), Some(ms(200))], 1_100),
            ([None, None, Some(ms(0))], 1_000),
        ];
        for (limits, expected_ms) in table {
            assert_eq!(Deadline::earliest(now, limits).at(), Tick::from_ms(expected_ms), "{limits:?}");
        }
        let none = Deadline::earliest(now, [None, None, None]);
        assert!(!none.is_some());
        let attempt = none.attempt(now, None).unwrap();
        assert!(!attempt.travels() && !attempt.per_try);
        assert!(none.attempt(now, Some(ms(100))).unwrap().travels());
    }

    #[test]
    fn an_attempt_gets_what_is_left_less_the_hop() {
        let now = Tick::from_ms(0);
        // remaining, per try, ends, is per try, granted
        let table = [
            (15_000, None, 15_000, false, 14_990_000),
            (15_000, Some(300), 300, true, 290_000),
            (200, Some(300), 200, false, 190_000),
            (300, Some(300), 300, false, 290_000),
            (20, None, 20, false, 16_000),
            (2, None, 2, false, 1_600),
        ];
        for (remaining, per_try, ends, is_per_try, grant_us) in table {
            let deadline = Deadline::earliest(now, [Some(ms(remaining)), None, None]);
            let expected = Attempt {
                ends: Tick::from_ms(ends),
                per_try: is_per_try,
                grant: Duration::from_micros(grant_us),
            };
            assert_eq!(deadline.attempt(now, per_try.map(ms)), Some(expected), "{remaining} {per_try:?}");
        }
        let short = Deadline::earliest(now, [Some(ms(1)), None, None]);
        assert_eq!(short.attempt(now, None), None, "less than a millisecond could be granted");
        assert_eq!(short.attempt(Tick::from_ms(5), None), None, "it has passed");
    }

    #[test]
    fn a_callee_that_is_a_granule_late_still_answers_before_its_caller_gives_up() {
        let mut rng = Rng::seeded(9);
        for _ in 0..10_000 {
            let now = Tick::from_us(rng.between(0, 1 << 40));
            let left = Duration::from_micros(rng.between(30_000, 60_000_000));
            let attempt = Deadline::earliest(now, [Some(left), None, None]).attempt(now, None).unwrap();
            let said = ms(attempt.weft_deadline_ms());
            assert!(now + said + GRANULE < attempt.ends, "{said:?} of {left:?}");
        }
    }

    #[test]
    fn over_many_hops_it_only_shrinks() {
        let mut rng = Rng::seeded(3);
        for _ in 0..200 {
            let mut remaining = Duration::from_micros(rng.between(1, 60_000_000));
            for hop in 0..1_000 {
                let now = Tick::from_us(rng.between(0, 1 << 40));
                let deadline = Deadline::earliest(now, [Some(ms(15_000)), Some(remaining), None]);
                let Some(attempt) = deadline.attempt(now, None) else { break };
                let next = ms(attempt.weft_deadline_ms());
                assert!(next < remaining, "hop {hop}: {next:?} of {remaining:?}");
                remaining = next;
            }
        }
    }
}
