//! How requests that were held while nobody was there are let go: a few first, then more as answers come.
//!
//! Thousands may wait when the only instance of a service is back. All at once they are as many new connections to a process
//! that has just begun, more than its backlog takes, and what the kernel drops there is tried again by it only after a second,
//! which is all the time that a connection has. So they take turns, in order of arrival, as TCP begins to send (slow start, RFC
//! 5681, 3.1): each answer makes room for two. Where answers take long the room doubles with time as well: a service that is slow
//! and takes many at once must not be asked by few for long. It is over as soon as an answer comes and nobody waits.
//!
//! Pure: the shell in `upstream/presence.rs` keeps a task for each [`Key`] and wakes those that are named.

use std::time::Duration;

use weft_stdx::clock::Tick;

use super::line::{Key, Line};

/// So many go first: the smallest backlog of a socket that is in use holds them (5, in Python's `socketserver`).
const FIRST: u32 = 4;
/// Without answers, the room doubles in so long: it takes 2 s to a thousand.
const STEP: Duration = Duration::from_millis(250);
/// With so much room, nobody waits any more.
const ROOM_MAX: u32 = 4096;

/// Those who are held for one upstream, by one worker thread.
#[derive(Debug, Default)]
pub(crate) struct Comeback {
    line: Line,
    /// Those who were let go and have no answer yet.
    asked: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody is there.
    #[default]
    Away,
    /// Somebody is back: so many may be asked at once, and twice as many then.
    Back { room: u32, grows_at: Tick },
    /// Nobody need wait.
    Over,
}

/// Was let go. Must be ended by [`Comeback::answered`] or [`Comeback::ended`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it takes room until it is ended"]
pub(crate) struct Turn(());

impl Comeback {
    /// Whether nobody need wait.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Nobody is there: whoever comes waits.
    pub(crate) fn away(&mut self) {
        self.stage = Stage::Away;
    }

    /// Somebody is there. Wake those it names.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn back(&mut self, now: Tick) -> Vec<Key> {
        if self.stage != Stage::Away {
            return Vec::new();
        }
        self.stage = match self.line.len() {
            0 => Stage::Over,
            _ => Stage::Back { room: FIRST, grows_at: now + STEP },
        };
        self.fill()
    }

    /// Lines up a request that came at `since`. Wake those it names: it may be its own turn.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn line_up(&mut self, since: Tick) -> (Key, Vec<Key>) {
        let key = self.line.push(since, Tick::NEVER);
        (key, self.fill())
    }

    /// Whether it is the turn of one that lined up. Then its key is no longer.
    pub(crate) fn claim(&mut self, key: Key) -> Option<Turn> {
        self.line.claim(key).map(|_| Turn(()))
    }

    /// One that lined up goes away. Wake those it names.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn cancel(&mut self, key: Key) -> Vec<Key> {
        self.asked -= u32::from(self.line.cancel(key));
        self.fill()
    }

    /// Who was let go has its answer. Wake those it names.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn answered(&mut self, _turn: Turn) -> Vec<Key> {
        self.asked -= 1;
        match &mut self.stage {
            Stage::Back { .. } if self.line.len() == 0 => self.stage = Stage::Over,
            Stage::Back { room, .. } => *room += 1,
            Stage::Away | Stage::Over => {}
        }
        self.fill()
    }

    /// Who was let go came to nothing. Wake those it names.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn ended(&mut self, _turn: Turn) -> Vec<Key> {
        self.asked -= 1;
        self.fill()
    }

    /// Time passed. Wake those it names.
    #[must_use = "those that it names must be woken"]
    pub(crate) fn grow(&mut self, now: Tick) -> Vec<Key> {
        if let Stage::Back { room, grows_at } = &mut self.stage
            && now >= *grows_at
        {
            *grows_at = now + STEP;
            *room *= 2;
        }
        self.fill()
    }

    /// When to [`Comeback::grow`] next.
    pub(crate) fn grows_at(&self) -> Tick {
        if let Stage::Back { grows_at, .. } = self.stage { grows_at } else { Tick::NEVER }
    }

    fn fill(&mut self) -> Vec<Key> {
        if let Stage::Back { room: ROOM_MAX.., .. } = self.stage {
            self.stage = Stage::Over;
        }
        let room = match self.stage {
            Stage::Away => 0,
            Stage::Back { room, .. } => room,
            Stage::Over => u32::MAX,
        };
        let mut wake = Vec::new();
        while self.asked < room {
            let Some(key) = self.line.give(Tick::ZERO) else { break };
            self.asked += 1;
            wake.push(key);
        }
        wake
    }
}

#[cfg(test)]
mod tests;
