//! The bulkhead of one upstream: so many requests open at once, so many more waiting in order of arrival, the rest
//! refused at once with a time after which to come again. Refused are those, too, whom the upstream could not answer
//! before their deadline, at the [`Pace`] at which it answers.
//!
//! Pure: the shell parks a task per [`Ticket`] and wakes the one that [`Bulkhead`] names. A place passes straight from
//! whoever leaves to the first that waits, so nobody who comes in between takes it. Cancelling is O(1) and may happen
//! at any time, also between being given the place and noticing.

use std::time::Duration;

use weft_model::plan::LimitPlan;
use weft_stdx::clock::Tick;

use super::line::{Key, Line};
use super::pace::Pace;
use super::window::{WINDOW_S, Window};

/// What callers are told to wait at least and at most.
const RETRY_AFTER_S: std::ops::RangeInclusive<u64> = 1..=30;
/// So many places must have been left in the window before their rate is believed.
const RATE_SAMPLES_MIN: u32 = 20;
/// A place in the queue, or the place that it was given. Each must be ended by [`Bulkhead::leave`] or
/// [`Bulkhead::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the place in the queue is held until it is cancelled"]
pub(crate) struct Ticket(Key);

/// An open place. Must be ended by [`Bulkhead::leave`].
#[derive(Debug)]
#[must_use = "the place is taken until it is left"]
pub(crate) struct Place {
    entered: Tick,
    deadline: Tick,
    answered: bool,
}

/// What became of a request to enter.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Go on.
    Open(Place),
    /// Wait until woken, then [`claim`](Bulkhead::claim).
    Queued(Ticket),
    /// Come again after that time.
    Refused {
        /// Whole seconds, for `Retry-After`.
        retry_after: Duration,
        /// Why.
        why: Full,
    },
}

/// Why a request may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The queue is at its limit.
    Queue,
    /// Those in front will take longer than its deadline allows: until a place is free, or until its answer.
    Deadline,
}

/// Places and queue of one upstream, for one worker thread.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    open_max: u32,
    queued_max: u32,
    /// Places that are taken, including those given to tickets that were not claimed yet.
    open: u32,
    line: Line,
    /// Places left.
    left: Window,
    /// Those with a place or a ticket whose answer has not begun.
    unanswered: u32,
    pace: Pace,
}

impl Bulkhead {
    /// A bulkhead of `open_max` places (at least one) and a queue of `queued_max`.
    pub(crate) fn new(plan: LimitPlan) -> Self {
        Self {
            open_max: plan.open.max(1),
            queued_max: plan.queued,
            open: 0,
            line: Line::default(),
            left: Window::default(),
            unanswered: 0,
            pace: Pace::default(),
        }
    }

    /// Asks for a place for a request that must be over by `deadline`.
    pub(crate) fn enter(&mut self, now: Tick, deadline: Tick) -> Entry {
        if let Some(wait) = self.pace.too_long(now, now.until(deadline), self.unanswered) {
            return Entry::Refused { retry_after: retry_after(wait), why: Full::Deadline };
        }
        if self.open < self.open_max {
            self.open += 1;
            self.unanswered += 1;
            return Entry::Open(Place { entered: now, deadline, answered: false });
        }
        let wait = self.expected_wait(now, self.line.len() + 1);
        let why = if self.line.len() >= self.queued_max {
            Full::Queue
        } else if now + wait.unwrap_or_default() >= deadline {
            Full::Deadline
        } else {
            self.unanswered += 1;
            return Entry::Queued(Ticket(self.line.push(now, deadline)));
        };
        Entry::Refused { retry_after: retry_after(wait.unwrap_or_default()), why }
    }

    /// The upstream began to answer: what still holds the place stands in nobody's way.
    pub(crate) fn answered(&mut self, place: &mut Place, now: Tick) {
        if !std::mem::replace(&mut place.answered, true) {
            self.unanswered -= 1;
            self.pace.answered(now, now.since(place.entered));
        }
    }

    /// Trades a ticket whose turn has come for its place; gives the ticket back if it has not.
    ///
    /// # Errors
    /// The ticket, if it still waits.
    pub(crate) fn claim(&mut self, ticket: Ticket) -> Result<Place, Ticket> {
        match self.line.claim(ticket.0) {
            Some((entered, deadline)) => Ok(Place { entered, deadline, answered: false }),
            None => Err(ticket),
        }
    }

    /// Gives a place back. If it passes to a ticket, that is the one to wake.
    #[must_use = "the ticket that it names must be woken"]
    #[expect(clippy::needless_pass_by_value, reason = "it ends here, and can be given back only once")]
    pub(crate) fn leave(&mut self, place: Place, now: Tick) -> Option<Key> {
        if !place.answered {
            self.unanswered -= 1;
            if now >= place.deadline {
                self.pace.late(now);
            }
        }
        self.left.add(now, [1, 0]);
        self.pass_on(now)
    }

    /// Ends a ticket that will not be claimed: its caller went away, or its deadline has passed. If it had been given
    /// a place already, that passes to the next, which is the one to wake.
    #[must_use = "the ticket that it names must be woken"]
    #[expect(clippy::needless_pass_by_value, reason = "it ends here, and can be given back only once")]
    pub(crate) fn cancel(&mut self, ticket: Ticket, now: Tick) -> Option<Key> {
        self.unanswered -= 1;
        if self.line.cancel(ticket.0) { self.pass_on(now) } else { None }
    }

    /// Takes in new limits. With more places than before, those who wait are let in: wake the keys it names.
    #[must_use = "the tickets that it names must be woken"]
    pub(crate) fn reconfigure(&mut self, plan: LimitPlan, now: Tick) -> Vec<Key> {
        self.open_max = plan.open.max(1);
        self.queued_max = plan.queued;
        let mut wake = Vec::new();
        while self.open < self.open_max {
            let Some(key) = self.line.give(now) else { break };
            self.open += 1;
            wake.push(key);
        }
        wake
    }

    /// Places that are taken.
    #[cfg(test)]
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Tickets that wait.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> u32 {
        self.line.len()
    }

    /// Passes a place to the first that waits, or closes it.
    fn pass_on(&mut self, now: Tick) -> Option<Key> {
        // After a smaller limit came, places are closed until it holds.
        let next = if self.open > self.open_max { None } else { self.line.give(now) };
        self.open -= u32::from(next.is_none());
        next
    }

    /// How long until the `nth` in line has its turn, by how fast places were left lately. `None`: not known.
    fn expected_wait(&mut self, now: Tick, nth: u32) -> Option<Duration> {
        let [left, _] = self.left.sums(now);
        // Early in a process's life, or after a pause, the window is not full: the rate is then thought too low, and
        // the wait too long. Places that are open bound that, because each of them is left once.
        let known = left >= RATE_SAMPLES_MIN.max(self.open_max.min(1_024));
        known.then(|| Duration::from_secs(u64::from(WINDOW_S)) * nth / left)
    }
}

/// Whole seconds, neither so few that all come back at once nor so many that nobody does.
fn retry_after(wait: Duration) -> Duration {
    let wait_s = if wait.is_zero() { 0 } else { wait.as_secs() + 1 };
    Duration::from_secs(wait_s.clamp(*RETRY_AFTER_S.start(), *RETRY_AFTER_S.end()))
}

impl Ticket {
    /// Under which name the shell keeps the task that waits.
    pub(crate) fn key(&self) -> Key {
        self.0
    }
}

#[cfg(test)]
mod tests;
