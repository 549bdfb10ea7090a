//! How fast refusals may follow each other, so that saying no does not become the work of a gateway that has no time left.
//!
//! A refusal costs a good part of what it costs to serve, and who is refused has nothing to wait for. A crowd of clients
//! that come again at once would take all time from those who are served. So refusals that come too fast are followed by
//! a pause of the connection: it is read again when it is its turn, and TCP slows its client down. Nobody waits for longer
//! than a refusal says at least (`Retry-After: 1`), and at an ordinary rate nobody waits at all.
//!
//! The rule is the generic cell rate algorithm (ITU-T I.371): one moment in time says it all.

use std::time::Duration;

use weft_stdx::clock::Tick;

/// One refusal in so long, and a worker is busy with them for some hundredths of its time.
const EACH: Duration = Duration::from_micros(500);
/// So much may be ahead: a burst of refusals is answered as it comes.
const BURST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The refusals of one worker thread.
#[derive(Debug, Default)]
pub(crate) struct Spacing {
    /// When all refusals so far would be through if they came evenly.
    through: Tick,
}

impl Spacing {
    /// Takes note of a refusal, and says for how long its connection should not be read.
    pub(crate) fn refused(&mut self, now: Tick) -> Duration {
        self.through = self.through.max(now) + EACH;
        let pause = now.until(self.through).saturating_sub(BURST);
        if pause > PAUSE_MAX {
            self.through = now + BURST + PAUSE_MAX;
        }
        pause.min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refusals every `each` microseconds, so many; the pauses.
    fn pauses(spacing: &mut Spacing, from: Tick, each_us: u64, count: u64) -> Vec<Duration> {
        (0..count).map(|n| spacing.refused(from + Duration::from_micros(n * each_us))).collect()
    }

    #[test]
    fn an_ordinary_rate_and_a_burst_are_not_slowed_down() {
        let mut spacing = Spacing::default();
        assert!(pauses(&mut spacing, Tick::ZERO, 500, 100_000).iter().all(Duration::is_zero));
        let later = Tick::from_ms(60_000);
        assert!(pauses(&mut spacing, later, 0, 2000).iter().all(Duration::is_zero));
        assert!(!spacing.refused(later).is_zero());
    }

    #[test]
    fn a_crowd_that_comes_again_at_once_is_slowed_down_to_the_rate() {
        // Each of 1500 connections is refused 20 us after it is read again: without pauses 50 000 a second.
        let mut spacing = Spacing::default();
        let mut reads = std::collections::BinaryHeap::new();
        reads.extend((0..1500_u64).map(|_| std::cmp::Reverse(0_u64)));
        let (mut busy_until, mut refused) = (0, 0);
        while busy_until < 20_000_000 {
            let Some(std::cmp::Reverse(at)) = reads.pop() else { break };
            busy_until = busy_until.max(at) + 20;
            refused += 1;
            let pause = u64::try_from(spacing.refused(Tick::from_us(busy_until)).as_micros()).unwrap();
            reads.push(std::cmp::Reverse(busy_until + pause));
        }
        // A burst, then 2000 a second.
        assert!((38_000..=46_000).contains(&refused), "{refused}");
    }

    #[test]
    fn nobody_pauses_for_longer_than_it_was_told_and_the_end_is_soon_forgotten() {
        let mut spacing = Spacing::default();
        let all = pauses(&mut spacing, Tick::ZERO, 1, 100_000);
        assert!(all.iter().all(|pause| *pause <= PAUSE_MAX));
        assert_eq!(*all.last().unwrap(), PAUSE_MAX);
        assert!(spacing.refused(Tick::from_ms(200)) > Duration::from_millis(800));
        assert!(spacing.refused(Tick::from_ms(1_200)).is_zero());
    }
}
