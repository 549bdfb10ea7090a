//! What a request to an endpoint costs: peak EWMA of its latency × (requests in flight + 1).
//!
//! A latency above the average is believed at once, one below it only slowly, so that an endpoint that became slow
//! loses traffic at its first slow answer. The average fades with time alone, and what nothing confirmed for a whole
//! decay is stale: such an endpoint is tried with one request, and what that one takes is believed. So one that was
//! slow and is well again is found out in about ten seconds, and one that still is slow costs one request each time.
//! Follows Finagle's `PeakEwma` load metric; decay 10 s.

use weft_stdx::clock::Tick;

/// Time in which an average that nothing confirms falls to 1/e.
const DECAY_US: f64 = 10_000_000.0;
/// Age from which an average is not believed against what a new request takes.
const STALE_US: u64 = 10_000_000;
/// A failure counts as this many times a usual success, so that an endpoint that fails fast does not look fast.
const FAILURE_FACTOR: f64 = 4.0;
/// How much of what was usual one more success replaces.
const USUAL_SHARE: f64 = 0.125;
/// No average goes above this: 100 s, longer than any request is worth waiting for.
const LATENCY_US_MAX: f64 = 100_000_000.0;

/// The running latency of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    average_us: f64,
    /// What successes take, by count and not by time: what a failure is measured by.
    usual_us: f64,
    at: Tick,
    /// False while `average_us` is only a guess.
    observed: bool,
}

impl Latency {
    /// A guess, replaced by the first observation.
    pub(super) fn guess(average_us: f64, now: Tick) -> Self {
        Self { average_us, usual_us: average_us, at: now, observed: false }
    }

    /// Takes in that a request has taken this long and has no answer yet: it can only be more.
    pub(super) fn observe_at_least(&mut self, now: Tick, elapsed_us: u64) {
        let elapsed_us = (elapsed_us as f64).min(LATENCY_US_MAX);
        if elapsed_us > self.at(now) {
            self.average_us = elapsed_us;
            self.at = self.at.max(now);
        }
    }

    /// Takes in a latency.
    pub(super) fn observe(&mut self, now: Tick, latency_us: u64, failed: bool) {
        let mut latency_us = (latency_us as f64).clamp(1.0, LATENCY_US_MAX);
        if failed {
            latency_us = latency_us.max(self.usual_us * FAILURE_FACTOR).min(LATENCY_US_MAX);
        } else {
            let share = if self.observed { USUAL_SHARE } else { 1.0 };
            self.usual_us += (latency_us - self.usual_us) * share;
        }
        let before_us = self.at(now);
        self.average_us = if !self.observed || self.is_stale(now) || latency_us > before_us {
            latency_us
        } else {
            let kept = fade(now.us_since(self.at));
            self.average_us * kept + latency_us * (1.0 - kept)
        };
        self.observed = true;
        self.at = self.at.max(now);
    }

    /// The average in microseconds at `now`, faded since it was last observed.
    pub(super) fn at(&self, now: Tick) -> f64 {
        self.average_us * fade(now.us_since(self.at))
    }

    /// The average as it was last observed, if it ever was.
    pub(super) fn observed_us(&self) -> Option<f64> {
        self.observed.then_some(self.average_us)
    }

    /// Whether nothing was observed for so long that one request should find out.
    pub(super) fn is_stale(&self, now: Tick) -> bool {
        now.us_since(self.at) >= STALE_US
    }

    /// What one more request would cost, beside `in_flight` others.
    pub(super) fn cost(&self, now: Tick, in_flight: u32) -> f64 {
        // One of which nothing is known, not even a guess, and which has something to answer may never do: others first,
        // as long as there are any.
        let unproven =
            if !self.observed && self.usual_us == 0.0 && in_flight > 0 { LATENCY_US_MAX } else { 0.0 };
        // At least a microsecond each, so that of endpoints that nothing is known of the emptier one is chosen.
        (self.at(now) + unproven + 1.0) * (f64::from(in_flight) + 1.0)
    }
}

/// `exp(-elapsed / 10 s)`, within 1 %, without calling `exp`: this runs twice in every pick.
fn fade(elapsed_us: u64) -> f64 {
    const HALVINGS_PER_US: f64 = std::f64::consts::LOG2_E / DECAY_US;
    let halvings = elapsed_us as f64 * HALVINGS_PER_US;
    if halvings >= 60.0 {
        return 0.0;
    }
    let whole = halvings as u64;
    let part = halvings - whole as f64;
    // 2^-part by the parabola that is right at both ends and has the right slope where it matters, at zero.
    const SLOPE: f64 = std::f64::consts::LN_2;
    let of_part = 1.0 - SLOPE * part + (SLOPE - 0.5) * part * part;
    // 2^-whole is a float with an empty mantissa and that exponent.
    f64::from_bits((1_023 - whole) << 52) * of_part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fading_follows_the_exponential() {
        for elapsed_us in [0, 1, 10, 1_000, 100_000, 3_000_000, 6_931_471, 6_931_472, 10_000_000, 99_000_000]
        {
            let exact = (-(elapsed_us as f64) / DECAY_US).exp();
            assert!(
                (fade(elapsed_us) / exact - 1.0).abs() < 0.01,
                "{elapsed_us}: {} for {exact}",
                fade(elapsed_us)
            );
        }
        assert_eq!((fade(0), fade(u64::MAX)), (1.0, 0.0));
        let mut last = 1.0;
        for elapsed_us in (0..60_000_000).step_by(10_007) {
            assert!(fade(elapsed_us) <= last, "it never rises");
            last = fade(elapsed_us);
        }
    }

    #[test]
    fn peaks_are_believed_at_once_and_better_times_slowly() {
        let mut latency = Latency::guess(5_000.0, Tick::ZERO);
        latency.observe(Tick::ZERO, 1_000, false);
        assert_eq!(latency.at(Tick::ZERO), 1_000.0, "the first observation replaces the guess");
        latency.observe(Tick::from_ms(1), 50_000, false);
        assert_eq!(latency.at(Tick::from_ms(1)), 50_000.0);
        latency.observe(Tick::from_ms(2), 1_000, false);
        assert!(latency.at(Tick::from_ms(2)) > 49_900.0);
        for ms in 3..20_000 {
            latency.observe(Tick::from_ms(ms), 1_000, false);
        }
        let after = latency.at(Tick::from_ms(20_000));
        assert!((1_000.0..8_500.0).contains(&after), "two decays later it is most of the way: {after}");
    }

    #[test]
    fn frequent_observations_average_like_rare_ones() {
        let play = |every_us: usize| {
            let mut latency = Latency::guess(0.0, Tick::ZERO);
            latency.observe(Tick::ZERO, 10_000, false);
            (0..=5_000_000)
                .step_by(every_us)
                .for_each(|us| latency.observe(Tick::from_us(us as u64), 100, false));
            latency.at(Tick::from_ms(5_000))
        };
        let (often, seldom) = (play(100), play(500_000));
        assert!((often / seldom - 1.0).abs() < 0.02, "{often} {seldom}");
    }

    #[test]
    fn a_request_without_an_answer_can_only_raise_it() {
        let mut latency = Latency::guess(0.0, Tick::ZERO);
        latency.observe(Tick::ZERO, 1_000, false);
        latency.observe_at_least(Tick::ZERO, 500);
        assert_eq!(latency.at(Tick::ZERO), 1_000.0);
        latency.observe_at_least(Tick::ZERO, 15_000_000);
        assert_eq!(latency.at(Tick::ZERO), 15_000_000.0);
    }

    #[test]
    fn what_nothing_confirmed_for_ten_seconds_is_replaced_by_the_next_observation() {
        for (gap_ms, expected) in [(9_999, 182_500.0..187_000.0), (10_000, 1_000.0..1_001.0)] {
            let mut latency = Latency::guess(0.0, Tick::ZERO);
            latency.observe(Tick::ZERO, 500_000, false);
            assert_eq!(latency.is_stale(Tick::from_ms(gap_ms)), gap_ms == 10_000);
            latency.observe(Tick::from_ms(gap_ms), 1_000, false);
            let after = latency.at(Tick::from_ms(gap_ms));
            assert!(expected.contains(&after), "{gap_ms}: {after}");
        }
    }

    #[test]
    fn who_has_never_answered_gets_one_request_and_then_waits_its_turn() {
        let unknown = Latency::guess(0.0, Tick::ZERO);
        let mut known = Latency::guess(0.0, Tick::ZERO);
        known.observe(Tick::ZERO, 50_000, false);
        assert!(unknown.cost(Tick::ZERO, 0) < known.cost(Tick::ZERO, 0));
        assert!(unknown.cost(Tick::ZERO, 1) > known.cost(Tick::ZERO, 1_000));
        assert!(unknown.cost(Tick::ZERO, 1) < unknown.cost(Tick::ZERO, 2));
    }

    #[test]
    fn a_fast_failure_does_not_look_fast() {
        let mut latency = Latency::guess(0.0, Tick::ZERO);
        latency.observe(Tick::ZERO, 1_000, false);
        (0..100).for_each(|_| latency.observe(Tick::ZERO, 10, true));
        assert_eq!(latency.at(Tick::ZERO), 4_000.0, "and many do not pile up");
        let mut unknown = Latency::guess(1_000.0, Tick::ZERO);
        unknown.observe(Tick::ZERO, 10, true);
        assert_eq!(unknown.at(Tick::ZERO), 4_000.0, "measured by what others take");
        latency.observe(Tick::ZERO, u64::MAX, false);
        assert_eq!(latency.at(Tick::ZERO), LATENCY_US_MAX);
    }
}
