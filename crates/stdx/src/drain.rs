//! The states of something that stops accepting and finishes what is open. Pure: time and the count of open things
//! are passed in, the caller acts on the state.
//!
//! Serving → unready (still accepting, so that whoever balances over us has time to notice) → finishing (nothing new,
//! what is open ends by itself) → done.

use std::time::Duration;

use crate::clock::Tick;

/// How long each part of a drain may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// Still accepting while saying "not ready".
    pub unready: Duration,
    /// Not accepting; what is still open after this is cut.
    pub finish: Duration,
}

impl Default for Grace {
    /// 5 s unready, then 30 s to finish.
    fn default() -> Self {
        Self { unready: Duration::from_secs(5), finish: Duration::from_secs(30) }
    }
}

/// Where a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Accepting and ready.
    Serving,
    /// Accepting, and saying that it will not for long.
    Unready {
        /// When it stops accepting.
        ends: Tick,
    },
    /// Finishing what is open.
    Finishing {
        /// When what is left is cut.
        ends: Tick,
    },
    /// Over.
    Done {
        /// How many were still open and are to be cut.
        cut: usize,
    },
}

/// One drain, from serving to done. Moves only forward.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    grace: Grace,
    state: State,
}

impl Drain {
    /// Something that serves, and will drain in `grace` once told to.
    pub fn new(grace: Grace) -> Self {
        Self { grace, state: State::Serving }
    }

    /// Begins to drain at `now`; a second call changes nothing.
    pub fn begin(&mut self, now: Tick) {
        if self.state == State::Serving {
            self.state = State::Unready { ends: now + self.grace.unready };
        }
    }

    /// Gives up one part of the grace, as at a second signal: unready stops accepting now, finishing cuts now.
    pub fn hurry(&mut self, now: Tick) {
        self.state = match self.state {
            State::Serving | State::Unready { .. } => State::Finishing { ends: now + self.grace.finish },
            State::Finishing { .. } => State::Finishing { ends: now },
            done @ State::Done { .. } => done,
        };
    }

    /// The state at `now`, with `open` things still open.
    ///
    /// With nothing open it is done as soon as it no longer accepts, but not before: whoever has not noticed yet
    /// may still come.
    pub fn poll(&mut self, now: Tick, open: usize) -> State {
        if let State::Unready { ends } = self.state
            && now >= ends
        {
            // From `ends`, not from `now`: a late poll must not lengthen the whole.
            self.state = State::Finishing { ends: ends + self.grace.finish };
        }
        if let State::Finishing { ends } = self.state
            && (open == 0 || now >= ends)
        {
            self.state = State::Done { cut: open };
        }
        self.state
    }

    /// Whether new work may still come in, by the state of the last poll.
    pub fn accepts(&self) -> bool {
        matches!(self.state, State::Serving | State::Unready { .. })
    }

    /// Whether to tell others to send work here.
    pub fn ready(&self) -> bool {
        self.state == State::Serving
    }

    /// When to poll again even if nothing closes.
    pub fn next_poll(&self) -> Option<Tick> {
        match self.state {
            State::Unready { ends } | State::Finishing { ends } => Some(ends),
            State::Serving | State::Done { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_ms(ms)
    }

    #[test]
    fn it_goes_through_its_states_in_time() {
        let mut drain = Drain::new(Grace::default());
        assert!(drain.ready() && drain.accepts() && drain.next_poll().is_none());
        assert_eq!(drain.poll(at(99_000), 0), State::Serving);
        drain.begin(at(100_000));
        assert!(!drain.ready() && drain.accepts());
        assert_eq!(
            drain.poll(at(104_999), 0),
            State::Unready { ends: at(105_000) },
            "idle, but may still be called"
        );
        drain.begin(at(104_999));
        assert_eq!(drain.next_poll(), Some(at(105_000)), "a second begin changes nothing");
        assert_eq!(drain.poll(at(105_000), 2), State::Finishing { ends: at(135_000) });
        assert!(!drain.accepts());
        assert_eq!(drain.poll(at(134_999), 1), State::Finishing { ends: at(135_000) });
        assert_eq!(drain.poll(at(135_000), 1), State::Done { cut: 1 });
        assert_eq!(drain.poll(at(136_000), 0), State::Done { cut: 1 }, "what was cut stays on record");
    }

    #[test]
    fn it_is_done_as_soon_as_the_last_one_closes() {
        let mut drain = Drain::new(Grace::default());
        drain.begin(at(0));
        drain.poll(at(5_000), 3);
        assert_eq!(drain.poll(at(5_001), 0), State::Done { cut: 0 });
    }

    #[test]
    fn a_late_poll_does_not_lengthen_the_whole() {
        let mut drain = Drain::new(Grace::default());
        drain.begin(at(0));
        assert_eq!(drain.poll(at(20_000), 1), State::Finishing { ends: at(35_000) });
        let mut asleep = Drain::new(Grace::default());
        asleep.begin(at(0));
        assert_eq!(asleep.poll(at(60_000), 4), State::Done { cut: 4 });
    }

    #[test]
    fn hurry_gives_up_one_part_at_a_time() {
        let mut drain = Drain::new(Grace::default());
        drain.begin(at(0));
        drain.hurry(at(1_000));
        assert_eq!(drain.poll(at(1_000), 1), State::Finishing { ends: at(31_000) });
        drain.hurry(at(2_000));
        assert_eq!(drain.poll(at(2_000), 1), State::Done { cut: 1 });
        drain.hurry(at(3_000));
        assert_eq!(drain.poll(at(3_000), 0), State::Done { cut: 1 });
    }
}
