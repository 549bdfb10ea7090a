//! One endpoint's breaker: closed, open, half-open. It trips after so many failures in a row, or when too few of the
//! last ten seconds' requests succeeded; it stays open for 1 s, doubling to 60 s, and one probe decides what follows.
//!
//! It judges one endpoint only. Whether an open endpoint is really left out is the balancer's to say, because never
//! more than half of the endpoints may be out: of a single endpoint the breaker is open and reported, and requests
//! still go there. Thresholds follow Linkerd's failure accrual and Envoy's outlier detection (see `defaults`).

use std::time::Duration;

use weft_model::plan::ResiliencePlan;
use weft_stdx::clock::Tick;

use super::window::Window;

/// When to trip, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Failures in a row that trip it.
    pub failures: u32,
    /// Success over the window below which it trips, in percent.
    pub success_percent: u32,
    /// Requests in the window without which the percentage says nothing.
    pub requests_min: u32,
    /// How long it is open the first time.
    pub open_min: Duration,
    /// How long it is open at most, after doubling.
    pub open_max: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            failures: 7,
            success_percent: 80,
            requests_min: 5,
            open_min: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
        }
    }
}

impl From<&ResiliencePlan> for Rules {
    fn from(plan: &ResiliencePlan) -> Self {
        Self {
            failures: plan.breaker_failures.max(1),
            success_percent: plan.breaker_success_percent.min(100),
            ..Self::default()
        }
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The endpoint is trusted.
    Closed,
    /// It is not, until a probe may ask.
    Open {
        /// When a probe may ask.
        until: Tick,
    },
    /// A probe is out.
    HalfOpen {
        /// When another probe may ask although this one has not come back: it may be a request that waits for long.
        until: Tick,
    },
}

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing but that it took at least so long: the caller went away, or had no more time.
    Unknown,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that others need to act on.
    None,
    /// It is open now, or open anew after a probe that failed.
    Opened,
    /// It is closed again.
    Closed,
}

/// The breaker of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    state: State,
    /// Failures since the last success.
    in_a_row: u32,
    /// Requests, and failures among them.
    window: Window,
    /// How long it was open last; zero before the first time.
    open_for: Duration,
    closed_at: Tick,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Closed,
            in_a_row: 0,
            window: Window::default(),
            open_for: Duration::ZERO,
            closed_at: Tick::ZERO,
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether the endpoint is trusted.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When a probe may ask; `None` while closed.
    pub(crate) fn probe_due(&self) -> Option<Tick> {
        match self.state {
            State::Closed => None,
            State::Open { until } | State::HalfOpen { until } => Some(until),
        }
    }

    /// Takes in the outcome of a request that was no probe. While open or half-open it says nothing new: such a
    /// request began before it tripped, or was sent although it had.
    pub(crate) fn record(&mut self, rules: &Rules, now: Tick, failed: bool) -> Change {
        if !self.is_closed() {
            return Change::None;
        }
        self.window.add(now, [1, u32::from(failed)]);
        if !failed {
            self.in_a_row = 0;
            return Change::None;
        }
        self.in_a_row += 1;
        let [requests, failures] = self.window.sums(now).map(u64::from);
        let succeeded_percent_times_requests = (requests - failures) * 100;
        let too_few = requests >= u64::from(rules.requests_min)
            && succeeded_percent_times_requests < requests * u64::from(rules.success_percent);
        if self.in_a_row < rules.failures && !too_few {
            return Change::None;
        }
        // An endpoint that held for as long as it was out (and for a whole window at least) starts again at the bottom.
        let held = now.since(self.closed_at);
        if held >= self.open_for.max(Duration::from_secs(u64::from(super::window::WINDOW_S))) {
            self.open_for = Duration::ZERO;
        }
        self.open(rules, now);
        Change::Opened
    }

    /// Sends a probe out if one is due.
    pub(crate) fn try_probe(&mut self, rules: &Rules, now: Tick) -> bool {
        let due = self.probe_due().is_some_and(|due| now >= due);
        if due {
            self.state = State::HalfOpen { until: now + rules.open_max };
        }
        due
    }

    /// Takes in the outcome of a probe.
    pub(crate) fn record_probe(&mut self, rules: &Rules, now: Tick, failed: bool) -> Change {
        if self.is_closed() {
            return self.record(rules, now, failed);
        }
        if failed {
            self.open(rules, now);
            return Change::Opened;
        }
        self.state = State::Closed;
        self.closed_at = now;
        self.in_a_row = 0;
        self.window.clear();
        Change::Closed
    }

    /// A probe ended without saying anything (its caller went away): the next request may be the probe.
    pub(crate) fn lose_probe(&mut self, now: Tick) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// Lets a probe ask at `at`, if it was to ask later.
    pub(crate) fn hasten(&mut self, at: Tick) {
        if let State::Open { until } = &mut self.state {
            *until = at.min(*until);
        }
    }

    fn open(&mut self, rules: &Rules, now: Tick) {
        self.open_for = self.open_for.saturating_mul(2).clamp(rules.open_min, rules.open_max);
        self.state = State::Open { until: now + self.open_for };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        failures: 7,
        success_percent: 80,
        requests_min: 5,
        open_min: Duration::from_secs(1),
        open_max: Duration::from_secs(60),
    };

    fn at(ms: u64) -> Tick {
        Tick::from_ms(ms)
    }

    fn fail_five(breaker: &mut Breaker, now: Tick) {
        for _ in 0..5 {
            breaker.record(&RULES, now, true);
        }
    }

    /// Plays outcomes (`.` success, `x` failure) 10 ms apart and tells after how many it tripped.
    fn trips_after(outcomes: &str, rules: &Rules) -> Option<usize> {
        let mut breaker = Breaker::new();
        let trip = |(n, outcome)| {
            (breaker.record(rules, at(n as u64 * 10), outcome == 'x') == Change::Opened).then_some(n + 1)
        };
        outcomes.chars().enumerate().find_map(trip)
    }

    #[test]
    fn the_table_of_trips() {
        let enough = ".".repeat(100);
        let table = [
            ("xxxx", None, "four requests say nothing"),
            ("xxxxx", Some(5), "five of five failed"),
            ("....x", None, "80 % is enough"),
            ("...xx", Some(5), "60 % is not"),
            (".x...x", Some(6), "4 of 6 is not"),
            (".x....", None, "5 of 6 is"),
            ("........xx", None, "8 of 10 is"),
            ("........xxx", Some(11), "8 of 11 is not"),
            (&format!("{enough}xxxxxx"), None, "six in a row of many"),
            (&format!("{enough}xxxxxxx"), Some(107), "seven in a row, although 93 % succeeded"),
            (&format!("{enough}xxxxxx.xxxxxx"), None, "a success between starts the row anew"),
        ];
        for (outcomes, expected, why) in table {
            assert_eq!(trips_after(outcomes, &RULES), expected, "{why}");
        }
    }

    #[test]
    fn old_failures_leave_the_window() {
        let mut breaker = Breaker::new();
        for ms in [0, 10, 20, 30] {
            breaker.record(&RULES, at(ms), true);
        }
        assert_eq!(
            breaker.record(&RULES, at(10_100), true),
            Change::None,
            "five in all, but one in this window"
        );
    }

    #[test]
    fn it_opens_for_longer_each_time_and_one_probe_decides() {
        let mut breaker = Breaker::new();
        let mut now = at(0);
        for _ in 0..5 {
            breaker.record(&RULES, now, true);
        }
        for open_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            let until = now + Duration::from_secs(open_s);
            assert_eq!(breaker.state(), State::Open { until });
            assert!(!breaker.try_probe(&RULES, until - Duration::from_micros(1)), "too early");
            assert!(breaker.try_probe(&RULES, until));
            assert!(!breaker.try_probe(&RULES, until), "one probe at a time");
            assert_eq!(
                breaker.record(&RULES, until, false),
                Change::None,
                "an old request's success is no probe"
            );
            now = until + Duration::from_millis(3);
            assert_eq!(breaker.record_probe(&RULES, now, true), Change::Opened);
        }
        now = now + Duration::from_secs(60);
        assert!(breaker.try_probe(&RULES, now));
        assert_eq!(breaker.record_probe(&RULES, now, false), Change::Closed);
        assert!(breaker.is_closed() && breaker.probe_due().is_none());
        assert_eq!(breaker.record(&RULES, now, true), Change::None, "what was before is forgotten");
    }

    #[test]
    fn the_doubling_is_forgotten_after_it_held() {
        for (held_s, open_s) in [(0, 4), (9, 4), (10, 1), (100, 1)] {
            let mut breaker = Breaker::new();
            fail_five(&mut breaker, at(0));
            breaker.try_probe(&RULES, at(1_000));
            breaker.record_probe(&RULES, at(1_000), true);
            breaker.try_probe(&RULES, at(3_000));
            breaker.record_probe(&RULES, at(3_000), false);
            let again = at(3_000 + held_s * 1_000);
            fail_five(&mut breaker, again);
            assert_eq!(
                breaker.state(),
                State::Open { until: again + Duration::from_secs(open_s) },
                "{held_s} s"
            );
        }
    }

    #[test]
    fn a_lost_probe_and_a_probe_that_never_comes_back_do_not_keep_it_open() {
        let mut breaker = Breaker::new();
        fail_five(&mut breaker, at(0));
        breaker.try_probe(&RULES, at(1_000));
        breaker.lose_probe(at(1_200));
        assert!(breaker.try_probe(&RULES, at(1_200)));
        assert!(!breaker.try_probe(&RULES, at(61_199)));
        assert!(breaker.try_probe(&RULES, at(61_200)), "the second one is held for long");
        breaker.record_probe(&RULES, at(61_300), false);
        breaker.lose_probe(at(61_400));
        assert!(breaker.is_closed(), "a late loss changes nothing");
    }

    #[test]
    fn a_percentage_of_zero_leaves_only_the_row() {
        let rules = Rules { success_percent: 0, ..RULES };
        assert_eq!(trips_after("xxxxxx", &rules), None);
        assert_eq!(trips_after("xxxxxxx", &rules), Some(7));
    }
}
