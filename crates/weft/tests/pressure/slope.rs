//! How fast memory grows, and how well that is known: what a process holds wanders, as connections come and go, and a leak
//! must be told from that.

use std::fmt;

/// So many seconds an identity lives, and with it each connection of the mesh: what a process holds now is hardly
/// what it held so long before.
pub(super) const PERIOD_S: u32 = 60;
/// A line through less says nothing.
const PERIODS_MIN: usize = 4;
/// A page of the allocator, from which it serves pieces of one size. Whether one more is taken just now is chance, so a
/// slope is known no better than by two over the time that was watched: in seven minutes by 1.1 MiB an hour, in two hours by 64 KiB.
const PAGE_KIB: f64 = 64.0;
/// Growth that is none, in an hour.
const SLOPE_KIB_MAX: f64 = 1024.0;

/// How fast what a process holds grows.
pub(super) struct Slope {
    kib_in_an_hour: f64,
    /// The slope is known so well, in some 95 of 100 cases.
    error: f64,
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ± {:.0}", self.kib_in_an_hour, self.error)
    }
}

impl Slope {
    /// Of samples (seconds, KiB), by least squares through their means over one period each; none if they span too few.
    ///
    /// Samples that follow each other depend on each other, by more than the next one shows: a connection that is larger than
    /// the one before it is there until it is replaced. The means of periods do so less, and by as much as the next one shows
    /// the error is widened (first-order autocorrelation). They are few, so their error is Student's (1908).
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small"
    )]
    pub(super) fn of(samples: &[(f64, f64)]) -> Option<Self> {
        let (begin, end) = (samples.first()?.0, samples.last()?.0);
        let count = ((end - begin) / f64::from(PERIOD_S)) as usize;
        if count < PERIODS_MIN {
            return None;
        }
        let period = (end - begin) / count as f64;
        let mut sums = vec![(0.0, 0.0, 0.0); count];
        for (at, kib) in samples {
            let sum = &mut sums[(((at - begin) / period) as usize).min(count - 1)];
            *sum = (sum.0 + 1.0, sum.1 + at, sum.2 + kib);
        }
        let means = sums.iter().filter(|sum| sum.0 > 0.0).map(|sum| (sum.1 / sum.0, sum.2 / sum.0));
        let means: Vec<(f64, f64)> = means.collect();
        if means.len() < PERIODS_MIN {
            return None;
        }
        let count = means.len() as f64;
        let (mean_x, mean_y) =
            means.iter().fold((0.0, 0.0), |(x, y), one| (x + one.0 / count, y + one.1 / count));
        let (mut xx, mut xy) = (0.0, 0.0);
        for (x, y) in &means {
            xx += (x - mean_x).powi(2);
            xy += (x - mean_x) * (y - mean_y);
        }
        let slope = xy / xx;
        let rest: Vec<f64> = means.iter().map(|(x, y)| y - mean_y - slope * (x - mean_x)).collect();
        let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
        let pairs: f64 = rest.windows(2).map(|two| two[0] * two[1]).sum();
        let together = if squares > 0.0 { (pairs / squares).clamp(0.0, 0.9) } else { 0.0 };
        let wider = ((1.0 + together) / (1.0 - together)).sqrt();
        let error = student(means.len() - 2) * wider * (squares / (count - 2.0) / xx).sqrt();
        let error = error.max(2.0 * PAGE_KIB / (end - begin));
        Some(Self { kib_in_an_hour: slope * 3600.0, error: error * 3600.0 })
    }

    /// What may be none is no growth.
    pub(super) fn is_growth(&self) -> bool {
        self.kib_in_an_hour - self.error > SLOPE_KIB_MAX
    }
}

/// How many standard errors hold 95 of 100 cases, with so many degrees of freedom (Student's distribution).
fn student(freedom: usize) -> f64 {
    const QUANTILES: [f64; 30] = [
        12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12,
        2.11, 2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04,
    ];
    QUANTILES.get(freedom.saturating_sub(1)).copied().unwrap_or(2.0)
}

#[cfg(test)]
mod tests {
    //! What a verdict is worth: how often it is wrong about processes that do not grow, and which leaks it finds.

    use weft_stdx::rng::Rng;

    use super::*;

    /// Of so many processes that hold 2.8 MiB, grow by so much in an hour, and wander as sidecars were seen to: by 110 KiB,
    /// from which they come back within `memory` seconds, from one burst to the next, and by 60 KiB from one second to the
    /// next. How many grow.
    fn found(processes: u32, seconds: u32, memory: f64, kib_in_an_hour: f64) -> u32 {
        let mut random = Rng::seeded(7);
        let keep = (-1.0 / memory).exp();
        let one = |random: &mut Rng| {
            let mut wander = 110.0 * normal(random);
            let samples = (0..seconds).map(|second| {
                wander = keep * wander + (1.0 - keep * keep).sqrt() * 110.0 * normal(random);
                let (at, since_burst) = (f64::from(second), f64::from(second % 10));
                let other = 25.0 * (since_burst - 5.0) + 60.0 * normal(random);
                (at, 2800.0 + at * kib_in_an_hour / 3600.0 + wander + other)
            });
            // There is no sample in a burst.
            let samples: Vec<(f64, f64)> = samples.filter(|one| one.0 % 10.0 > 0.5).collect();
            Slope::of(&samples).unwrap().is_growth()
        };
        (0..processes).filter(|_| one(&mut random)).map(|_| 1).sum()
    }

    /// Of mean 0 and deviation 1: the sum of twelve uniform ones.
    fn normal(random: &mut Rng) -> f64 {
        (0..12).map(|_| random.fraction()).sum::<f64>() - 6.0
    }

    #[test]
    fn who_only_wanders_does_not_grow() {
        for memory in [10.0, 20.0, 40.0] {
            for seconds in [250, 280, 420, 1260] {
                let wrong = found(200, seconds, memory, 0.0);
                assert!(wrong <= 10, "{wrong} of 200 in {seconds} s, {memory} s");
                // Nor does who grows by as much as is allowed.
                let wrong = found(200, seconds, memory, SLOPE_KIB_MAX);
                assert!(wrong <= 20, "{wrong} of 200 in {seconds} s, {memory} s");
            }
        }
    }

    #[test]
    fn a_leak_is_found_in_spite_of_wandering() {
        for memory in [10.0, 20.0, 40.0] {
            assert!(found(100, 420, memory, 10_000.0) >= 98);
            assert!(found(100, 1260, memory, 3_000.0) >= 98);
            assert!(found(20, 5040, memory, 1_500.0) >= 19);
        }
    }

    #[test]
    fn a_page_that_is_taken_once_is_no_growth_and_a_leak_is() {
        let growing = |seconds: u32, kib: &dyn Fn(u32) -> f64| {
            let samples: Vec<(f64, f64)> = (0..seconds).map(|n| (f64::from(n), 2600.0 + kib(n))).collect();
            Slope::of(&samples).unwrap().is_growth()
        };
        for seconds in [250, 420, 5040] {
            assert!(!growing(seconds, &|n| if n > seconds / 2 { PAGE_KIB } else { 0.0 }), "{seconds} s");
        }
        let leak = |mib_in_an_hour: f64| {
            move |n: u32| (f64::from(n) * mib_in_an_hour * 1024.0 / 3600.0 / 4.0).round() * 4.0
        };
        assert!(growing(250, &leak(3.5)));
        assert!(growing(420, &leak(2.5)));
        assert!(growing(5040, &leak(1.25)));
        assert!(!growing(5040, &leak(0.9)));
        assert!(Slope::of(&[]).is_none() && Slope::of(&[(0.0, 1.0), (200.0, 9000.0)]).is_none());
    }
}
