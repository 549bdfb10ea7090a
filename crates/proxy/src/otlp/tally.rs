//! What the log says of the exporter: the first trouble at once, then at most one line a minute, whatever the traffic.

use weft_stdx::clock::Tick;

use super::Accepted;

/// Between two lines about trouble.
const LINES_EVERY_US: u64 = 60_000_000;
/// A text of the receiver's is quoted so far.
const QUOTED_CHARS_MAX: usize = 200;

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The receiver is away.
    Delayed {
        /// Why.
        why: String,
    },
    /// Spans are lost.
    Dropped {
        /// So many since the last such line.
        spans: u64,
        /// Why the last of them.
        why: String,
    },
    /// The receiver says something about what it took.
    Warned {
        /// What it says.
        why: String,
    },
    /// The receiver is back.
    Again,
}

/// What happened and was not yet said.
#[derive(Debug, Default)]
pub(super) struct Tally {
    said: Option<Tick>,
    dropped: u64,
    why: String,
    /// The receiver was said to be away.
    away: bool,
}

impl Tally {
    /// A batch was received, perhaps not all of it.
    pub(super) fn delivered(&mut self, now: Tick, accepted: Accepted) -> Option<Notice> {
        let Accepted { rejected, message } = accepted;
        if rejected > 0 {
            return self.refused(now, rejected, &format!("partly refused: {message}"));
        }
        if std::mem::take(&mut self.away) {
            return Some(Notice::Again);
        }
        if !message.is_empty() && self.may_speak(now) {
            return Some(Notice::Warned { why: quoted(&message) });
        }
        None
    }

    /// So many spans are lost.
    pub(super) fn refused(&mut self, now: Tick, spans: u64, why: &str) -> Option<Notice> {
        self.dropped += spans;
        self.why = quoted(why);
        if self.may_speak(now) { self.rest() } else { None }
    }

    /// A batch has to wait.
    pub(super) fn delayed(&mut self, now: Tick, why: &str) -> Option<Notice> {
        if !self.may_speak(now) {
            return None;
        }
        self.away = true;
        Some(Notice::Delayed { why: quoted(why) })
    }

    /// What was dropped and not yet told.
    pub(super) fn rest(&mut self) -> Option<Notice> {
        let spans = std::mem::take(&mut self.dropped);
        (spans > 0).then(|| Notice::Dropped { spans, why: std::mem::take(&mut self.why) })
    }

    fn may_speak(&mut self, now: Tick) -> bool {
        let quiet = self.said.is_none_or(|said| now.us_since(said) >= LINES_EVERY_US);
        if quiet {
            self.said = Some(now);
        }
        quiet
    }
}

fn quoted(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_ms(seconds * 1000)
    }

    fn dropped(spans: u64, why: &str) -> Option<Notice> {
        Some(Notice::Dropped { spans, why: why.to_owned() })
    }

    #[test]
    fn drops_are_counted_exactly_and_told_once_a_minute() {
        let mut tally = Tally::default();
        assert_eq!(tally.refused(at(0), 5, "one"), dropped(5, "one"));
        assert_eq!(tally.refused(at(1), 7, "two"), None);
        assert_eq!(tally.refused(at(59), 1, "three"), None);
        assert_eq!(tally.refused(at(60), 2, "four"), dropped(10, "four"));
        assert_eq!(tally.rest(), None);
        tally.refused(at(61), 3, "five");
        assert_eq!(tally.rest(), dropped(3, "five"));
    }

    #[test]
    fn a_receiver_that_comes_back_is_told_once() {
        let mut tally = Tally::default();
        assert!(tally.delayed(at(0), "away").is_some());
        assert_eq!(tally.delayed(at(30), "away"), None);
        assert!(tally.delayed(at(60), "away").is_some());
        assert_eq!(tally.delivered(at(61), Accepted::default()), Some(Notice::Again));
        assert_eq!(tally.delivered(at(62), Accepted::default()), None);
    }

    #[test]
    fn a_partial_success_is_a_drop_and_a_warning_is_none() {
        let mut tally = Tally::default();
        let partly = Accepted { rejected: 4, message: "too old\n".into() };
        assert_eq!(tally.delivered(at(0), partly), dropped(4, "partly refused: too old"));
        let warned = Accepted { rejected: 0, message: "x".repeat(1000) };
        let Some(Notice::Warned { why }) = tally.delivered(at(60), warned) else { panic!("no warning") };
        assert_eq!(why.len(), QUOTED_CHARS_MAX);
    }
}
