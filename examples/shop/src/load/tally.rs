//! What was asked and what came back: counts, times, and every answer that nobody expected.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most unexpected answers that are listed; all are counted.
const LISTED_MAX: usize = 40;
/// After so many unexpected answers the load gives up.
const UNEXPECTED_MAX: u64 = 1000;
/// Most times that are kept for the percentiles.
const TIMES_MAX: usize = 1_000_000;

pub(crate) struct Tally {
    start: Instant,
    end: Instant,
    requests_max: u64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    expected: u64,
    unexpected: u64,
    /// Asked again because a kept connection had been closed.
    resent: u64,
    orders: u64,
    listed: Vec<Unexpected>,
    times_us: Vec<u32>,
    took: Option<Duration>,
}

/// An answer that was not the expected one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unexpected {
    pub(crate) request_id: String,
    /// Method and path.
    pub(crate) asked: String,
    /// Status and first line of the body, or why there was no answer.
    pub(crate) got: String,
    pub(crate) wanted: String,
}

impl Tally {
    pub(crate) fn new(end: Instant, requests_max: u64) -> Self {
        Self { start: Instant::now(), end, requests_max, counts: Mutex::default() }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is time, and a request, left.
    pub(crate) fn goes_on(&self) -> bool {
        let counts = self.counts();
        let asked = counts.expected + counts.unexpected;
        Instant::now() < self.end && asked < self.requests_max && counts.unexpected < UNEXPECTED_MAX
    }

    pub(crate) fn expected(&self, took: Duration) {
        let mut counts = self.counts();
        counts.expected += 1;
        if counts.times_us.len() < TIMES_MAX {
            counts.times_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn unexpected(&self, what: Unexpected) {
        let mut counts = self.counts();
        counts.unexpected += 1;
        if counts.listed.len() < LISTED_MAX {
            counts.listed.push(what);
        }
    }

    pub(crate) fn resent(&self) {
        self.counts().resent += 1;
    }

    pub(crate) fn ordered(&self) {
        self.counts().orders += 1;
    }

    /// Stops the clock.
    pub(crate) fn close(&self) {
        self.counts().took = Some(self.start.elapsed());
    }

    /// Whether something was asked and nothing was unexpected.
    pub(crate) fn is_good(&self) -> bool {
        let counts = self.counts();
        counts.expected > 0 && counts.unexpected == 0
    }

    pub(crate) fn unexpected_lines(&self) -> Vec<String> {
        let counts = self.counts();
        let line = |what: &Unexpected| {
            format!(
                "unexpected: {} {}: got {}; wanted {}",
                what.request_id, what.asked, what.got, what.wanted
            )
        };
        let mut lines: Vec<String> = counts.listed.iter().map(line).collect();
        if counts.unexpected > counts.listed.len() as u64 {
            lines.push(format!("unexpected: and {} more", counts.unexpected - counts.listed.len() as u64));
        }
        lines
    }

    pub(crate) fn summary(&self) -> String {
        let mut counts = self.counts();
        counts.times_us.sort_unstable();
        let seconds = counts.took.unwrap_or_else(|| self.start.elapsed()).as_secs_f64();
        let answers = counts.expected + counts.unexpected;
        format!(
            "{answers} answers in {seconds:.1} s ({:.0}/s), {} of them orders; p50 {}, p99 {}; sent again {}; unexpected {}",
            answers as f64 / seconds.max(0.001),
            counts.orders,
            percentile(&counts.times_us, 50),
            percentile(&counts.times_us, 99),
            counts.resent,
            counts.unexpected,
        )
    }
}

fn percentile(sorted_us: &[u32], percent: usize) -> String {
    let at = (sorted_us.len() * percent).div_ceil(100).saturating_sub(1);
    sorted_us.get(at).map_or("-".to_owned(), |us| format!("{:.1} ms", f64::from(*us) / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(Instant::now() + Duration::from_secs(60), 100)
    }

    #[test]
    fn nothing_asked_is_not_good_and_one_unexpected_spoils_it() {
        let tally = tally();
        assert!(!tally.is_good());
        tally.expected(Duration::from_millis(2));
        assert!(tally.is_good());
        let strange = || "strange".to_owned();
        let what = Unexpected { request_id: strange(), asked: strange(), got: strange(), wanted: strange() };
        for _ in 0..50 {
            tally.unexpected(what.clone());
        }
        assert!(!tally.is_good());
        assert_eq!(tally.unexpected_lines().len(), LISTED_MAX + 1);
        assert!(tally.unexpected_lines()[LISTED_MAX].ends_with("and 10 more"));
    }

    #[test]
    fn it_ends_at_the_number_of_requests() {
        let tally = tally();
        for _ in 0..100 {
            assert!(tally.goes_on());
            tally.expected(Duration::ZERO);
        }
        assert!(!tally.goes_on());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<u32> = (1..=100).map(|ms| ms * 1000).collect();
        assert_eq!(percentile(&times, 50), "50.0 ms");
        assert_eq!(percentile(&times, 99), "99.0 ms");
        assert_eq!(percentile(&[], 50), "-");
    }
}
