//! How long things took: counts in classes whose width grows with the time, so that hundreds of millions fit.

use std::time::Duration;

/// Classes for each doubling: a time is told within 3 %.
const PER_DOUBLING: u32 = 32;
/// From a microsecond up to more than an hour.
const CLASSES: usize = 32 * PER_DOUBLING as usize;

/// How often what time was taken.
#[derive(Clone, Debug)]
pub struct Times {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { counts: vec![0; CLASSES], count: 0, longest: Duration::ZERO }
    }
}

impl Times {
    /// Takes note of one.
    pub fn add(&mut self, took: Duration) {
        self.counts[class(took)] += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    /// Takes in those of another.
    pub fn add_all(&mut self, other: &Times) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that so many percent took at most.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn at(&self, percent: f64) -> Duration {
        let wanted = self.count as f64 * percent / 100.0;
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return upper(class).min(self.longest);
            }
        }
        self.longest
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above zero")]
fn class(took: Duration) -> usize {
    let us = took.as_secs_f64() * 1e6;
    ((us.max(1.0).log2() * f64::from(PER_DOUBLING)) as usize).min(CLASSES - 1)
}

#[expect(clippy::cast_precision_loss, reason = "a thousand classes")]
fn upper(class: usize) -> Duration {
    Duration::from_secs_f64(2f64.powf((class + 1) as f64 / f64::from(PER_DOUBLING)) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_told_within_a_class() {
        let mut times = Times::default();
        for ms in 1..=1000 {
            times.add(Duration::from_millis(ms));
        }
        for (percent, ms) in [(50.0, 500.0), (99.0, 990.0)] {
            let told = times.at(percent).as_secs_f64() * 1e3;
            assert!((told / ms - 1.0).abs() < 0.03, "{percent}: {told}");
        }
        assert_eq!((times.count(), times.longest()), (1000, Duration::from_secs(1)));
    }
}
