//! The retry budget: retries may be at most a share of the requests of the last ten seconds, plus so many per second
//! that are always allowed.
//!
//! It bounds what retries add to an upstream that is already in trouble, where a count per request does not. 20 % and
//! 10/s over 10 s, as in Finagle's and Linkerd's. Over any stretch of time:
//! `retries ≤ share · requests + floor · (stretch + 10 s)`.

use weft_model::plan::ResiliencePlan;
use weft_stdx::clock::Tick;

use super::window::{WINDOW_S, Window};

/// What one upstream's retries may add, as one worker thread sees it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    percent: u32,
    floor_per_s: u32,
    /// Requests, and retries.
    window: Window,
    /// Free resends, and nothing.
    resends: Window,
}

impl Budget {
    /// A budget of `percent` of the requests and `floor_per_s` retries a second on top.
    pub(crate) fn new(percent: u32, floor_per_s: u32) -> Self {
        Self { percent, floor_per_s, window: Window::default(), resends: Window::default() }
    }

    /// Changes the shares; what was counted stays.
    pub(crate) fn reconfigure(&mut self, plan: &ResiliencePlan) {
        self.percent = plan.retry_budget_percent;
        self.floor_per_s = plan.retry_budget_floor;
    }

    /// Counts a request: once per exchange, not per attempt.
    pub(crate) fn count_request(&mut self, now: Tick) {
        self.window.add(now, [1, 0]);
    }

    /// Takes one retry out, if there is one.
    pub(crate) fn try_take(&mut self, now: Tick) -> bool {
        let granted = self.left(now) > 0;
        if granted {
            self.window.add(now, [0, 1]);
        }
        granted
    }

    /// Counts one free resend, if there may be one. They take nothing from the retries, but are no more than those
    /// might be: an upstream that resets every connection would else get every request twice.
    pub(crate) fn try_resend(&mut self, now: Tick) -> bool {
        let [resends, _] = self.resends.sums(now);
        let granted = u64::from(resends) < self.allowed(now);
        if granted {
            self.resends.add(now, [1, 0]);
        }
        granted
    }

    /// Retries that could be taken at `now`.
    pub(crate) fn left(&mut self, now: Tick) -> u64 {
        let [_, retries] = self.window.sums(now);
        self.allowed(now).saturating_sub(u64::from(retries))
    }

    fn allowed(&mut self, now: Tick) -> u64 {
        let [requests, _] = self.window.sums(now).map(u64::from);
        requests * u64::from(self.percent) / 100 + u64::from(self.floor_per_s) * u64::from(WINDOW_S)
    }
}

impl From<&ResiliencePlan> for Budget {
    fn from(plan: &ResiliencePlan) -> Self {
        Self::new(plan.retry_budget_percent, plan.retry_budget_floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    #[test]
    fn shares_and_floor() {
        // percent, floor per second, requests, retries that are left
        let table = [
            (20, 10, 0, 100),
            (20, 10, 1_000, 300),
            (20, 0, 4, 0),
            (20, 0, 5, 1),
            (0, 0, 1_000, 0),
            (100, 0, 7, 7),
        ];
        for (percent, floor, requests, left) in table {
            let mut budget = Budget::new(percent, floor);
            (0..requests).for_each(|_| budget.count_request(Tick::ZERO));
            assert_eq!(budget.left(Tick::ZERO), left, "{percent} % + {floor}/s of {requests}");
            let taken = (0..2_000).filter(|_| budget.try_take(Tick::ZERO)).count() as u64;
            assert_eq!(taken, left);
        }
    }

    #[test]
    fn free_resends_have_as_much_again() {
        let mut budget = Budget::new(20, 1);
        (0..50).for_each(|_| budget.count_request(Tick::ZERO));
        assert_eq!((0..90).filter(|_| budget.try_take(Tick::ZERO)).count(), 20);
        assert_eq!((0..90).filter(|_| budget.try_resend(Tick::ZERO)).count(), 20);
        assert_eq!((0..90).filter(|_| budget.try_resend(Tick::from_ms(10_000))).count(), 10);
    }

    #[test]
    fn what_was_spent_comes_back_after_the_window() {
        let mut budget = Budget::new(20, 1);
        assert_eq!((0..20).filter(|_| budget.try_take(Tick::from_ms(500))).count(), 10);
        assert!(!budget.try_take(Tick::from_ms(9_999)));
        assert!(budget.try_take(Tick::from_ms(10_000)));
    }

    #[test]
    fn over_any_stretch_retries_stay_within_their_share() {
        for seed in 0..100 {
            let mut rng = Rng::seeded(seed);
            let (percent, floor) = (rng.below(60) as u32, rng.below(4) as u32);
            let mut budget = Budget::new(percent, floor);
            let (mut now_us, mut requests, mut retries) = (0, 0_u64, 0_u64);
            for _ in 0..4_000 {
                now_us += rng.between(0, 40_000);
                // Bursts of requests and bursts of retries that avoid each other are the hard case.
                if (now_us / 3_300_000).is_multiple_of(2) {
                    budget.count_request(Tick::from_us(now_us));
                    requests += 1;
                } else if budget.try_take(Tick::from_us(now_us)) {
                    retries += 1;
                }
                let floor_max = u64::from(floor) * (now_us / 1_000_000 + 11);
                let most = requests * u64::from(percent) / 100 + floor_max;
                assert!(retries <= most, "seed {seed}: {retries} retries, at most {most}");
            }
        }
    }
}
