//! Two counters over the last ten seconds, in ten buckets of one second: O(1) memory, amortised O(1) time.
//!
//! The window holds the running second and the nine before it, so it spans nine to ten seconds. Budget, breaker and
//! limit and pace count with it.

use weft_stdx::clock::Tick;

const BUCKETS: usize = 10;
const BUCKET_US: u64 = 1_000_000;

/// Length of the window in seconds.
pub(crate) const WINDOW_S: u32 = 10;

/// Two sums over a sliding window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    buckets: [[u32; 2]; BUCKETS],
    sums: [u32; 2],
    /// The second that the newest bucket counts.
    newest_s: u64,
}

impl Window {
    /// Adds one to the first (`[1, 0]`), the second, or both.
    pub(crate) fn add(&mut self, now: Tick, by: [u32; 2]) {
        self.advance(now);
        let bucket = &mut self.buckets[(self.newest_s % BUCKETS as u64) as usize];
        for column in 0..2 {
            // What no longer fits in the bucket is not in the sum either, so that it is taken out as it was put in.
            let fits = by[column].min(u32::MAX - self.sums[column]);
            bucket[column] += fits;
            self.sums[column] += fits;
        }
    }

    /// Both sums at `now`.
    pub(crate) fn sums(&mut self, now: Tick) -> [u32; 2] {
        self.advance(now);
        self.sums
    }

    /// The largest first count of one second.
    pub(crate) fn best_second(&mut self, now: Tick) -> u32 {
        self.advance(now);
        self.buckets.iter().map(|bucket| bucket[0]).max().unwrap_or(0)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.buckets = Default::default();
        self.sums = [0, 0];
    }

    /// Empties the buckets of the seconds that have passed. Time that runs backwards stays in the newest bucket.
    fn advance(&mut self, now: Tick) {
        let second = now.as_us() / BUCKET_US;
        let passed = second.saturating_sub(self.newest_s);
        if passed == 0 {
            return;
        }
        if passed >= BUCKETS as u64 {
            self.clear();
        } else {
            for at in self.newest_s + 1..=second {
                let old = std::mem::take(&mut self.buckets[(at % BUCKETS as u64) as usize]);
                self.sums[0] -= old[0];
                self.sums[1] -= old[1];
            }
        }
        self.newest_s = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    #[test]
    fn it_agrees_with_a_list_of_everything_that_happened() {
        for seed in 0..50 {
            let mut rng = Rng::seeded(seed);
            let mut window = Window::default();
            let mut events: Vec<(u64, [u32; 2])> = Vec::new();
            let mut now_us = 0;
            for _ in 0..500 {
                now_us +=
                    if rng.chance_ppm(20_000) { rng.between(0, 30_000_000) } else { rng.between(0, 300_000) };
                let by = [rng.below(3) as u32, rng.below(2) as u32];
                window.add(Tick::from_us(now_us), by);
                events.push((now_us / BUCKET_US, by));
                let first = (now_us / BUCKET_US).saturating_sub(9);
                let expected = events.iter().filter(|(second, _)| *second >= first);
                let expected = expected.fold([0, 0], |sum, (_, by)| [sum[0] + by[0], sum[1] + by[1]]);
                assert_eq!(window.sums(Tick::from_us(now_us)), expected, "seed {seed} at {now_us} us");
            }
        }
    }

    #[test]
    fn it_saturates_and_still_empties() {
        let mut window = Window::default();
        window.add(Tick::ZERO, [u32::MAX, 1]);
        window.add(Tick::from_ms(1_500), [7, 1]);
        assert_eq!(window.sums(Tick::from_ms(9_999)), [u32::MAX, 2]);
        assert_eq!(window.sums(Tick::from_ms(10_000)), [0, 1]);
        assert_eq!(window.sums(Tick::from_ms(11_000)), [0, 0]);
    }

    #[test]
    fn time_that_runs_backwards_loses_nothing() {
        let mut window = Window::default();
        window.add(Tick::from_ms(50_000), [1, 0]);
        window.add(Tick::from_ms(10_000), [1, 0]);
        assert_eq!(window.sums(Tick::from_ms(50_000)), [2, 0]);
    }
}
