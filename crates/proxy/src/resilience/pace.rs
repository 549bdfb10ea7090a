//! How fast an upstream answers, so that a request which it could not answer in time is refused at once, instead of
//! waiting in the upstream's own line until its deadline.
//!
//! A limit on open requests alone does not save a slow service: 1024 requests in the line of one that answers 50 in a
//! second take 20 s, so it would work for callers that have given up, and answer nobody. What is in the line, divided
//! by how fast it moves, is the time that a new request will take (Little, "A Proof for the Queuing Formula", 1961).
//! Answers are counted by their heads: what streams on is not in the line.
//!
//! A burst toward a service that works on all at once looks like a line at first, until the first answers come. So a line
//! counts only once it has stood for longer than answers take without one (after the standing queue of `CoDel`, RFC
//! 8289), or at once where answers did come too late.

use std::time::Duration;

use weft_stdx::clock::Tick;

use super::window::{WINDOW_S, Window};

/// So many may always be in the line: enough to see whether a service that hung answers again.
const LINE_MIN: u32 = 4;
/// So many answers must have come in the window before their rate is believed.
const ANSWERS_MIN: u32 = 20;
/// From so many answers in one second on, and so many times as many as in the mean of the window, the best second is the
/// rate.
const BEST_MIN: u32 = 10;
const UNEVEN: u32 = 2;
/// A line is one from so much waiting on, or from half of a request's time where that is less.
const LINE_TIME_MAX: Duration = Duration::from_secs(1);
/// And from so many times what an answer takes without a line.
const LINE_TYPICAL: u32 = 3;
/// Share of a request's time that the line may take: a line is never quite even.
const SHARE: (u32, u32) = (3, 4);
/// So many requests without an answer at their deadline prove that there is a line.
const LATE_MIN: u32 = 5;
/// Weight of the newest answer in the typical time: one of so many.
const SMOOTHING: u64 = 32;

/// The pace of one upstream, as one worker thread sees it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Answers, and requests that had none at their deadline.
    ends: Window,
    /// What an answer takes while there is no line.
    typical_us: u64,
    line: Option<Line>,
}

/// A line that stands.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// It is believed from then on.
    counts_from: Tick,
    /// So long a request took when it was last known.
    each: Duration,
}

impl Pace {
    /// Takes note of an answer that took so long.
    pub(crate) fn answered(&mut self, now: Tick, took: Duration) {
        self.ends.add(now, [1, 0]);
        if self.line.is_none() {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.typical_us = match self.typical_us {
                0 => took_us,
                typical => typical - typical / SMOOTHING + took_us / SMOOTHING,
            };
        }
    }

    /// Takes note of a request whose deadline came before its answer.
    pub(crate) fn late(&mut self, now: Tick) {
        self.ends.add(now, [0, 1]);
    }

    /// How long a request that has so much time would take behind `waiting` others, if that is too long.
    pub(crate) fn too_long(&mut self, now: Tick, time: Duration, waiting: u32) -> Option<Duration> {
        let each = self.each(now).filter(|_| waiting >= LINE_MIN);
        let Some(each) = each else {
            self.line = None;
            return None;
        };
        let expected = each * (waiting + 1);
        let too_long = expected >= time * SHARE.0 / SHARE.1;
        let typical = Duration::from_micros(self.typical_us);
        let line_time = LINE_TIME_MAX.min(time / 2);
        let is_line = line_time.max(typical * LINE_TYPICAL);
        if expected < is_line / 2 {
            self.line = None;
        } else if too_long && self.ends.sums(now)[1] >= LATE_MIN {
            self.line = Some(Line { counts_from: now, each });
        } else if let Some(line) = &mut self.line {
            line.each = each;
        } else if expected >= is_line {
            self.line = Some(Line { counts_from: now + line_time + typical * 2, each });
        }
        let counts = self.line.is_some_and(|line| now >= line.counts_from);
        (counts && too_long).then_some(expected)
    }

    /// What one place in the line takes; `None` if too little is known.
    fn each(&mut self, now: Tick) -> Option<Duration> {
        let [answers, late] = self.ends.sums(now);
        if answers < ANSWERS_MIN {
            // In a line, few answers are no reason to make it longer; and where most are late, they are all that is done.
            let all = (late >= LATE_MIN).then(|| Duration::from_secs(1) * WINDOW_S / answers.max(1));
            return self.line.map(|line| line.each).or(all);
        }
        let best = self.ends.best_second(now);
        let second = Duration::from_secs(1);
        // A line moves evenly. Where the best second is far better, there was none for a part of the window.
        let uneven = best >= BEST_MIN && best * WINDOW_S >= answers * UNEVEN;
        Some(if uneven { second / best } else { second * WINDOW_S / answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(15);

    /// So many answers a second, in these seconds, each after so long.
    fn answer(pace: &mut Pace, seconds: std::ops::Range<u64>, per_second: u64, took: Duration) {
        for n in seconds.start * per_second..seconds.end * per_second {
            pace.answered(Tick::from_ms(n * 1000 / per_second), took);
        }
    }

    #[test]
    fn a_line_that_takes_too_long_is_refused_once_it_has_stood() {
        let took = Duration::from_millis(100);
        let mut pace = Pace::default();
        answer(&mut pace, 0..10, 80, took);
        let now = Tick::from_ms(9_999);
        // 80 in a second: 900 would take longer than three quarters of 15 s.
        assert_eq!(pace.too_long(now, TIME, 899), None);
        answer(&mut pace, 10..20, 80, took);
        let stood = Tick::from_ms(19_999);
        assert_eq!(pace.too_long(stood, TIME, 899), Some(Duration::from_millis(11_250)));
        assert_eq!(pace.too_long(stood, TIME, 800), None);
        // Who has more time may wait.
        assert_eq!(pace.too_long(stood, TIME * 2, 899), None);
    }

    #[test]
    fn a_line_that_is_proved_by_lateness_counts_at_once() {
        let mut pace = Pace::default();
        answer(&mut pace, 0..10, 80, TIME / 2);
        let now = Tick::from_ms(9_999);
        assert_eq!(pace.too_long(now, TIME, 899), None);
        (0..LATE_MIN).for_each(|_| pace.late(now));
        assert!(pace.too_long(now, TIME, 899).is_some());
        // And is over once it is short.
        assert_eq!(pace.too_long(now, TIME, 20), None);
        assert!(pace.line.is_none());
    }

    #[test]
    fn a_short_line_and_an_unknown_pace_refuse_nobody() {
        let (mut slow, mut unknown) = (Pace::default(), Pace::default());
        answer(&mut slow, 0..10, 2, TIME);
        answer(&mut unknown, 0..1, u64::from(ANSWERS_MIN) - 1, TIME);
        for ms in (10_000..60_000).step_by(100) {
            assert_eq!(slow.too_long(Tick::from_ms(ms), TIME, LINE_MIN - 1), None);
            assert_eq!(unknown.too_long(Tick::from_ms(ms), TIME, 100_000), None);
        }
    }
}
