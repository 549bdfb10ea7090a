//! When to ask for the next certificate. Pure: the moment and the chance are passed in.

use std::time::{Duration, SystemTime};

/// First wait after a renewal failed.
pub const RETRY_BASE: Duration = Duration::from_secs(1);
/// Longest wait between two tries: short beside any life of a certificate, long beside the work of one try.
pub const RETRY_CAP: Duration = Duration::from_secs(60);

/// When to renew a certificate that counts from `not_before` to `not_after`: at half its life, ± 10 % of its life by
/// `fraction` (0.0 to 1.0, drawn once per certificate), so that processes that started together do not ask together.
pub fn renew_at(not_before: SystemTime, not_after: SystemTime, fraction: f64) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let share = if fraction.is_finite() { 0.4 + 0.2 * fraction.clamp(0.0, 1.0) } else { 0.5 };
    not_before + life.mul_f64(share)
}

/// How long to wait before try number `failed` + 1, after `failed` tries in a row failed (at least one): doubles from
/// [`RETRY_BASE`] to a tenth of `life`, at most [`RETRY_CAP`], of which `fraction` (0.0 to 1.0) takes between a half and all.
/// A wait of more than that part could sleep through the whole life of a short-lived certificate, which somebody else
/// may have fetched meanwhile.
pub fn retry_after(failed: u32, life: Duration, fraction: f64) -> Duration {
    let longest = (life / 10).clamp(RETRY_BASE, RETRY_CAP);
    let doubled = RETRY_BASE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(longest);
    let share = if fraction.is_finite() { 0.5 + 0.5 * fraction.clamp(0.0, 1.0) } else { 1.0 };
    doubled.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_stdx::rng::Rng;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn renews_at_half_life_give_or_take_a_tenth() {
        assert_eq!(renew_at(at(1_000), at(2_000), 0.5), at(1_500));
        assert_eq!(renew_at(at(1_000), at(2_000), 0.0), at(1_400));
        assert_eq!(renew_at(at(1_000), at(2_000), 1.0), at(1_600));
        let seed = 7;
        let mut rng = Rng::seeded(seed);
        for _ in 0..1_000 {
            let life = rng.between(0, 1_000_000);
            let when = renew_at(at(5), at(5 + life), rng.fraction());
            assert!(when >= at(5) && when <= at(5 + life), "seed {seed} life {life}");
        }
    }

    #[test]
    fn nonsense_does_not_panic() {
        assert_eq!(renew_at(at(2_000), at(1_000), 0.5), at(2_000));
        assert_eq!(renew_at(at(0), at(10), f64::NAN), at(5));
        assert_eq!(renew_at(at(0), at(10), 9.0), at(6));
        assert!(retry_after(u32::MAX, DAY, f64::INFINITY) <= RETRY_CAP);
    }

    #[test]
    fn retries_back_off_to_a_cap() {
        assert_eq!(retry_after(0, DAY, 1.0), RETRY_BASE);
        assert_eq!(retry_after(1, DAY, 1.0), RETRY_BASE);
        assert_eq!(retry_after(2, DAY, 1.0), RETRY_BASE * 2);
        assert_eq!(retry_after(3, DAY, 0.0), RETRY_BASE * 2);
        assert_eq!(retry_after(40, DAY, 1.0), RETRY_CAP);
        for (life_s, longest_s) in [(0, 1), (10, 1), (60, 6), (600, 60)] {
            assert_eq!(retry_after(40, Duration::from_secs(life_s), 1.0), Duration::from_secs(longest_s));
        }
    }
}
