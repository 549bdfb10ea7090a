//! Random numbers from a seed: jitter, sampling, choosing between two. Never for keys, tokens or anything secret.
//!
//! A pure core takes `&mut Rng`, so that a simulation that failed is run again by its seed alone.

use std::time::Duration;

/// A small, fast generator (wyrand); a given seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// The generator of `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A generator with a seed of the process's own making: different in every process and thread.
    pub fn from_process() -> Self {
        Self(fastrand::Rng::new())
    }

    /// A second generator, seeded by this one, for a part that shall not disturb this one's sequence.
    pub fn fork(&mut self) -> Self {
        Self::seeded(self.next_u64())
    }

    /// All 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `bound`, each as likely as the next; 0 where `bound` is 0 or 1.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound <= 1 { 0 } else { self.0.usize(..bound) }
    }

    /// A number of `low..=high`; `low` where the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { self.0.u64(low..=high) }
    }

    /// A fraction of `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    /// True in `parts` of a million cases.
    pub fn chance_ppm(&mut self, parts: u32) -> bool {
        self.0.u32(..1_000_000) < parts
    }

    /// A duration of `low..=high`, to the microsecond; `low` where the range is empty.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let spread_us = crate::clock::whole_us(high.saturating_sub(low));
        low.saturating_add(Duration::from_micros(self.between(0, spread_us)))
    }

    /// Full jitter over exponential backoff: a duration of `base..=min(cap, base · 2^step)`.
    ///
    /// Follows "full jitter" of the AWS architecture note on exponential backoff, with a floor of `base`, because
    /// an immediate second try hits the fault that the first one hit. `step` 0 draws from `base..=2 · base`.
    pub fn backoff(&mut self, base: Duration, cap: Duration, step: u32) -> Duration {
        let factor = 1_u32.checked_shl(step.saturating_add(1)).unwrap_or(u32::MAX);
        let high = base.checked_mul(factor).unwrap_or(cap).min(cap);
        self.duration(base.min(cap), high)
    }

    /// Puts `items` in an order of its own choosing, each order as likely as the next.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_a_fork_leaves_its_parent_alone() {
        let (mut one, mut two) = (Rng::seeded(7), Rng::seeded(7));
        let (mut forked, _) = (one.fork(), two.fork());
        forked.next_u64();
        assert_eq!(
            (0..8).map(|_| one.next_u64()).collect::<Vec<_>>(),
            (0..8).map(|_| two.next_u64()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn ranges_hold_their_ends_and_empty_ranges_give_their_low_end() {
        let mut rng = Rng::seeded(1);
        assert_eq!((rng.below(0), rng.below(1), rng.between(9, 3)), (0, 0, 9));
        for _ in 0..1_000 {
            assert!(rng.below(3) < 3);
            assert!((4..=6).contains(&rng.between(4, 6)));
            let drawn = rng.duration(Duration::from_millis(25), Duration::from_millis(250));
            assert!((25..=250).contains(&drawn.as_millis()), "{drawn:?}");
        }
    }

    #[test]
    fn chance_is_never_at_zero_and_always_at_a_million_and_about_right_between() {
        let mut rng = Rng::seeded(2);
        assert!((0..1_000).all(|_| !rng.chance_ppm(0) && rng.chance_ppm(1_000_000)));
        let hits = (0..100_000).filter(|_| rng.chance_ppm(50_000)).count();
        assert!((4_500..5_500).contains(&hits), "{hits} of 100000 at 5 %");
    }

    #[test]
    fn backoff_grows_to_its_cap_and_survives_absurd_steps() {
        let (base, cap) = (Duration::from_millis(25), Duration::from_millis(250));
        let mut rng = Rng::seeded(3);
        for step in [0, 1, 2, 3, 4, 31, 32, u32::MAX] {
            let high = [50, 100, 200].get(step as usize).map_or(cap, |ms| Duration::from_millis(*ms));
            let drawn: Vec<_> = (0..500).map(|_| rng.backoff(base, cap, step)).collect();
            assert!(drawn.iter().all(|d| (base..=high).contains(d)), "step {step}");
            assert!(drawn.iter().any(|d| *d > base + (high - base) / 2), "step {step} uses its range");
        }
        assert_eq!(rng.backoff(Duration::from_secs(2), Duration::from_secs(1), 0), Duration::from_secs(1));
    }
}
