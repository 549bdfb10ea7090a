//! Tables: what may be tried again, after how long, and what each field says.

use super::*;

const RULES: Rules =
    Rules { retries: 1, backoff_min: Duration::from_millis(25), backoff_max: Duration::from_millis(250) };

const OUTCOMES: [Outcome; 14] = [
    Outcome::NotSent,
    Outcome::NotProcessed,
    Outcome::NoResponse,
    Outcome::TryTimeout,
    Outcome::Answered(502),
    Outcome::Answered(503),
    Outcome::Answered(504),
    Outcome::GrpcStatus(14),
    Outcome::Answered(200),
    Outcome::Answered(429),
    Outcome::Answered(500),
    Outcome::GrpcStatus(13),
    Outcome::DeadlinePassed { waited: Duration::from_secs(9) },
    Outcome::GivenUp,
];

fn ended(outcome: Outcome) -> Ended {
    Ended { outcome, replay: Replay::Possible, hint: Hint::None }
}

/// One call with everything in favour but what the case changes.
struct Case {
    rules: Rules,
    idempotent: bool,
    incoming: Option<u32>,
    outcome: Outcome,
    replay: Replay,
    hint: Hint,
    left_ms: u64,
    budget: Budget,
}

impl Case {
    fn new(outcome: Outcome) -> Self {
        Self {
            rules: RULES,
            idempotent: true,
            incoming: None,
            outcome,
            replay: Replay::Possible,
            hint: Hint::None,
            left_ms: 10_000,
            budget: Budget::new(0, 1),
        }
    }

    fn decide(&mut self) -> Decision {
        let mut retries = Retries::new(self.rules, self.idempotent, self.incoming);
        let left = Duration::from_millis(self.left_ms);
        let now = Tick::from_ms(77);
        let deadline = Deadline::earliest(now, [Some(left), None, None]);
        let ended = Ended { outcome: self.outcome, replay: self.replay, hint: self.hint };
        retries.decide(ended, now, deadline, &mut self.budget, &mut Rng::seeded(5))
    }

    fn stops(mut self) -> Option<Stop> {
        let before = self.budget.left(Tick::from_ms(77));
        match self.decide() {
            Decision::Stop(stop) => {
                assert_eq!(
                    self.budget.left(Tick::from_ms(77)),
                    before,
                    "{stop:?} takes nothing from the budget"
                );
                Some(stop)
            }
            Decision::Retry { .. } => {
                assert_eq!(self.budget.left(Tick::from_ms(77)), before - 1);
                None
            }
        }
    }
}

#[test]
fn which_outcomes_are_tried_again() {
    for (n, outcome) in OUTCOMES.into_iter().enumerate() {
        let idempotent = if n < 8 { None } else { Some(Stop::Final) };
        assert_eq!(Case::new(outcome).stops(), idempotent, "idempotent, {outcome:?}");
        let other = match n {
            0..2 => None,
            2..8 => Some(Stop::NotIdempotent),
            _ => Some(Stop::Final),
        };
        assert_eq!(
            Case { idempotent: false, ..Case::new(outcome) }.stops(),
            other,
            "not idempotent, {outcome:?}"
        );
    }
}

#[test]
fn what_else_must_hold() {
    let case = || Case::new(Outcome::NoResponse);
    let table = [
        (case(), None),
        (Case { replay: Replay::Gone, ..case() }, Some(Stop::BodyGone)),
        (Case { incoming: Some(1), ..case() }, Some(Stop::EarlierHop)),
        (Case { incoming: Some(1), outcome: Outcome::NotSent, ..case() }, Some(Stop::EarlierHop)),
        (Case { rules: Rules { retries: 0, ..RULES }, ..case() }, Some(Stop::AttemptsUsed)),
        (Case { hint: Hint::Never, ..case() }, Some(Stop::Forbidden)),
        (Case { hint: Hint::After(Duration::from_secs(1)), ..case() }, None),
        (Case { hint: Hint::After(Duration::from_secs(3)), ..case() }, Some(Stop::Forbidden)),
        (Case { hint: Hint::After(Duration::from_secs(2)), left_ms: 3_000, ..case() }, Some(Stop::Deadline)),
        (Case { left_ms: 49, ..case() }, Some(Stop::Deadline)),
        (Case { left_ms: 51, ..case() }, None),
        (Case { left_ms: 0, ..case() }, Some(Stop::Deadline)),
        (Case { budget: Budget::new(20, 0), ..case() }, Some(Stop::Budget)),
    ];
    for (n, (case, expected)) in table.into_iter().enumerate() {
        assert_eq!(case.stops(), expected, "row {n}");
    }
}

#[test]
fn waits_are_drawn_from_their_range_and_respect_what_the_callee_asks() {
    let mut rng = Rng::seeded(2);
    let rules = Rules { retries: 5, ..RULES };
    let far = Deadline::NONE;
    for _ in 0..300 {
        let mut retries = Retries::new(rules, true, None);
        let mut budget = Budget::new(0, 100);
        for high_ms in [50, 100, 200, 250, 250] {
            let decision = retries.decide(ended(Outcome::NotSent), Tick::ZERO, far, &mut budget, &mut rng);
            let Decision::Retry { after } = decision else { panic!("{decision:?}") };
            assert!((25..=high_ms).contains(&after.as_millis()), "{after:?}, at most {high_ms} ms");
        }
        assert_eq!(retries.attempt(), 6);
        let hinted = Ended { hint: Hint::After(Duration::from_millis(700)), ..ended(Outcome::NotSent) };
        let mut other = Retries::new(rules, true, None);
        let decision = other.decide(hinted, Tick::ZERO, far, &mut budget, &mut rng);
        let Decision::Retry { after } = decision else { panic!("{decision:?}") };
        assert!((700..=725).contains(&after.as_millis()), "{after:?}");
    }
}

#[test]
fn attempts_end() {
    let mut retries = Retries::new(Rules { retries: 2, ..RULES }, true, None);
    let mut budget = Budget::new(0, 100);
    let mut rng = Rng::seeded(1);
    let mut again =
        || retries.decide(ended(Outcome::NoResponse), Tick::ZERO, Deadline::NONE, &mut budget, &mut rng);
    assert!(matches!(again(), Decision::Retry { .. }));
    assert!(matches!(again(), Decision::Retry { .. }));
    assert_eq!(again(), Decision::Stop(Stop::AttemptsUsed));
}

#[test]
fn the_attempt_number_travels_from_the_first_hop_that_can_retry() {
    let none = Rules { retries: 0, ..RULES };
    let table = [
        (RULES, true, None, Some(1)),
        (RULES, false, None, Some(1)),
        (none, true, None, None),
        (RULES, true, Some(2), Some(2)),
        (none, false, Some(1), Some(1)),
    ];
    for (rules, idempotent, incoming, sent) in table {
        assert_eq!(Retries::new(rules, idempotent, incoming).attempt_to_send(), sent);
    }
    let mut case = Retries::new(RULES, true, None);
    let (mut budget, mut rng) = (Budget::new(0, 1), Rng::seeded(1));
    case.decide(ended(Outcome::NotSent), Tick::ZERO, Deadline::NONE, &mut budget, &mut rng);
    assert_eq!(case.attempt_to_send(), Some(2));
}

#[test]
fn a_closed_idle_connection_costs_one_free_resend() {
    use Outcome::{Answered, NoResponse, NotProcessed, NotSent, TryTimeout};
    let table = [
        (NoResponse, true, true, Replay::Possible, true),
        (NoResponse, true, false, Replay::Possible, false),
        (NotSent, true, false, Replay::Possible, true),
        (NotSent, false, true, Replay::Possible, false),
        (NoResponse, false, true, Replay::Possible, false),
        (NoResponse, true, true, Replay::Gone, false),
        (TryTimeout, true, true, Replay::Possible, false),
        (NotProcessed, true, true, Replay::Possible, false),
        (Answered(503), true, true, Replay::Possible, false),
    ];
    for (outcome, reused, idempotent, replay, expected) in table {
        // Even for a hop that does not retry: it is no retry.
        let mut retries = Retries::new(Rules { retries: 0, ..RULES }, idempotent, Some(1));
        let ended = Ended { replay, ..ended(outcome) };
        let mut budget = Budget::new(0, 1);
        let resent = retries.resend(ended, reused, Tick::ZERO, &mut budget);
        assert_eq!(resent, expected, "{outcome:?} {reused} {idempotent} {replay:?}");
        assert!(!retries.resend(ended, reused, Tick::ZERO, &mut budget), "once");
        assert_eq!((retries.attempt(), budget.left(Tick::ZERO)), (1, 10), "and it is no retry");
    }
    let mut retries = Retries::new(RULES, true, None);
    assert!(
        !retries.resend(ended(NoResponse), true, Tick::ZERO, &mut Budget::new(20, 0)),
        "too many of late"
    );
}

#[test]
fn whose_fault_it_is() {
    let waited = |ms| Outcome::DeadlinePassed { waited: Duration::from_millis(ms) };
    let table = [
        (Verdict::Failure, vec![Outcome::NotSent, Outcome::NoResponse, Outcome::TryTimeout]),
        (Verdict::Failure, [500, 502, 503, 599].map(Outcome::Answered).to_vec()),
        (Verdict::Failure, [2, 4, 13, 14, 15].map(Outcome::GrpcStatus).to_vec()),
        (Verdict::Failure, vec![waited(1_000)]),
        (Verdict::Success, [200, 204, 304, 404, 429, 499].map(Outcome::Answered).to_vec()),
        (Verdict::Success, [0, 1, 3, 5, 7, 8, 16].map(Outcome::GrpcStatus).to_vec()),
        (Verdict::Unknown, vec![Outcome::NotProcessed, Outcome::GivenUp, waited(999)]),
    ];
    for (verdict, outcomes) in table {
        for outcome in outcomes {
            assert_eq!(outcome.verdict(), verdict, "{outcome:?}");
        }
    }
}

#[test]
fn methods_are_taken_by_the_letter() {
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "QUERY"] {
        assert!(is_idempotent(method.as_bytes()));
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "GET ", "", "PURGE"] {
        assert!(!is_idempotent(method.as_bytes()), "{method:?}");
    }
}

#[test]
fn fields_say_what_they_say_and_garbage_is_read_with_care() {
    for (text, number) in
        [("1", 1), ("2", 2), ("9999", 9_999), ("0", 1), ("", 1), ("-1", 1), ("99999", 1), ("x", 1)]
    {
        assert_eq!(parse_attempt(text.as_bytes()), number, "{text:?}");
    }

    let ms = |ms| Hint::After(Duration::from_millis(ms));
    let pushback = [
        ("0", ms(0)),
        ("250", ms(250)),
        ("-1", Hint::Never),
        ("soon", Hint::Never),
        ("9999999999", Hint::Never),
    ];
    for (text, expected) in pushback {
        assert_eq!(parse_pushback(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!((parse_pushback(b""), parse_pushback(&[0xff])), (Hint::Never, Hint::Never));

    let wall = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    let retry_after = [
        ("0", ms(0)),
        ("120", ms(120_000)),
        (" 5\t", ms(5_000)),
        ("Sun, 06 Nov 1994 08:49:39 GMT", ms(2_000)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", ms(0)),
        ("99999999999999999999999", ms(u64::from(u32::MAX) * 1_000)),
        ("", Hint::None),
        ("-1", Hint::None),
        ("1.5", Hint::None),
        ("tomorrow", Hint::None),
    ];
    for (text, expected) in retry_after {
        assert_eq!(parse_retry_after(text.as_bytes(), wall), expected, "{text:?}");
    }
}
