//! Whether somebody is there to take requests, and the wait for somebody where nobody is.
//!
//! Who waits stands in line ([`Comeback`]), and is let go in its turn once somebody is back. A line is never longer than the places
//! under the limit of the upstream: whoever waits holds one.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use weft_stdx::clock::Tick;

use super::balance::Readiness;
use super::pool::Endpoint;
use super::{ABSENCE_MAX, Desertion, Listed, Upstream};
use crate::resilience::comeback::{Comeback, Turn};
use crate::resilience::line::Key;
use crate::timer::Timer;

/// While all that are listed are deserted, one request in so long is sent to see whether somebody is back.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Those who wait for somebody.
#[derive(Default)]
pub(super) struct Held {
    comeback: Comeback,
    tasks: HashMap<Key, Waker>,
}

/// Until when a request waits for somebody.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// When it came: its place among those who wait.
    pub(crate) came: Tick,
    /// While nobody is there.
    pub(crate) until: Tick,
    /// And at all: its own time is over.
    pub(crate) deadline: Tick,
}

impl Upstream {
    /// While nobody takes requests: waits for somebody, and never longer than [`ABSENCE_MAX`] after the last one left. So a
    /// restart of the only instance costs its callers a moment and no request, and an upstream that stays away costs nobody
    /// any time. Where it is only by their answers that all are known to be deserted, one request at a time is let through to
    /// look. Once somebody is back, each waits for its turn, which it has until it says how it went.
    pub(crate) async fn until_present(self: &Rc<Self>, timer: &Timer, patience: Patience) -> Option<LetGo> {
        match self.is_present() {
            true => None,
            // In a box: an exchange has no need of its size until nobody is there.
            false => Box::pin(self.hold(timer, patience)).await,
        }
    }

    /// Whether a request need not wait for somebody.
    pub(crate) fn is_present(&self) -> bool {
        let somebody = self.absent_since.get().is_none() && self.desertion.get().is_none();
        somebody && !self.coming_back.get()
    }

    async fn hold(self: &Rc<Self>, timer: &Timer, patience: Patience) -> Option<LetGo> {
        let mut waits = Waits { upstream: self, key: None };
        loop {
            let now = timer.now();
            let absent = |since: Tick| patience.deadline.min(patience.until).min(since + ABSENCE_MAX);
            let (until, next) = match (self.absent_since.get(), self.desertion.get()) {
                (None, None) => (patience.deadline, self.grow(now)?),
                (Some(since), _) => (absent(since), Tick::NEVER),
                (None, Some(desertion)) => (absent(desertion.since), desertion.look),
            };
            if now >= until {
                return None;
            }
            if now >= next {
                let since = self.desertion.get()?.since;
                self.desertion.set(Some(Desertion { since, look: now + LOOK_INTERVAL }));
                return None;
            }
            waits.line_up(patience.came);
            let mut appeared = pin!(self.appeared.notified());
            let turn = poll_fn(|cx| match waits.claim(cx.waker()) {
                Some(turn) => Poll::Ready(Some(turn)),
                None => appeared.as_mut().poll(cx).map(|()| None),
            });
            // What else woke us is seen in the next turn.
            if let Some(Some(turn)) = timer.limit(until.min(next), turn).await {
                return Some(turn);
            }
        }
    }

    /// Lets the first of those who were held go, if somebody is there, and tells all the others.
    fn let_go(&self, now: Tick) {
        if self.absent_since.get().is_some() || self.desertion.get().is_some() {
            return;
        }
        self.change(|comeback| comeback.back(now));
        self.appeared.notify_waiters();
    }

    fn nobody_is_there(&self) {
        self.change(|comeback| {
            comeback.away();
            Vec::new()
        });
    }

    /// When there is more room for those who were held, if any are.
    fn grow(&self, now: Tick) -> Option<Tick> {
        self.change(|comeback| comeback.grow(now));
        self.coming_back.get().then(|| self.held.borrow().comeback.grows_at())
    }

    /// Wakes whose turn it is after a change.
    fn change(&self, change: impl FnOnce(&mut Comeback) -> Vec<Key>) {
        let mut held = self.held.borrow_mut();
        let wake = change(&mut held.comeback);
        self.coming_back.set(!held.comeback.is_over());
        for key in wake {
            if let Some(task) = held.tasks.remove(&key) {
                task.wake();
            }
        }
    }

    /// After a new list: who is known to be down is not deserted, and who was added may take what waits.
    pub(super) fn review_desertion(&self, now: Tick) {
        for seen in self.balancer.borrow().seen().filter(|seen| seen.readiness == Readiness::Unready) {
            if let Some(endpoint) = self.endpoints.borrow().get(&seen.id) {
                endpoint.deserted.set(false);
            }
        }
        if self.absent_since.get().is_some() || !self.is_deserted() {
            self.desertion.set(None);
        }
        self.let_go(now);
    }

    /// Whether all that are listed as taking requests are deserted.
    pub(crate) fn is_deserted(&self) -> bool {
        let endpoints = self.endpoints.borrow();
        let balancer = self.balancer.borrow();
        let mut takers = balancer.seen().filter(|seen| seen.readiness != Readiness::Unready);
        takers.all(|seen| endpoints.get(&seen.id).is_none_or(|endpoint| endpoint.deserted.get()))
    }

    /// Whether all turned out to be deserted, and nobody was reached since.
    pub(crate) fn in_desertion(&self) -> bool {
        self.desertion.get().is_some()
    }

    /// Whether nobody takes requests, as control says, and that not for so long that nobody waits for it any more.
    pub(crate) fn is_absent(&self, now: Tick) -> bool {
        self.absent_since.get().is_some_and(|since| now < since + ABSENCE_MAX)
    }

    /// Takes in that nobody listens at `endpoint`, or behind its sidecar: it was killed, and control has not told us
    /// yet. True where it is the same with all others, so that a request may wait for one ([`Upstream::until_present`]).
    pub(crate) fn deserted(&self, endpoint: &Endpoint, now: Tick) -> bool {
        endpoint.deserted.set(true);
        endpoint.found_deserted.set(now);
        if !self.is_deserted() {
            return false;
        }
        let began = Desertion { since: now, look: now + LOOK_INTERVAL };
        let desertion = self.desertion.get().unwrap_or(began);
        self.desertion.set(Some(desertion));
        self.nobody_is_there();
        now < desertion.since + ABSENCE_MAX
    }

    /// Takes in that the service behind `endpoint` was reached.
    pub(crate) fn reached(&self, endpoint: &Endpoint, now: Tick) {
        if endpoint.deserted.replace(false) {
            self.desertion.set(None);
            self.let_go(now);
        }
    }

    pub(super) fn note_absence(&self, listed: &[Listed], now: Tick) {
        let somebody = listed.iter().any(|one| one.readiness != Readiness::Unready);
        if somebody {
            self.absent_since.set(None);
        } else if self.absent_since.get().is_none() {
            self.absent_since.set(Some(self.desertion.get().map_or(now, |desertion| desertion.since)));
            self.nobody_is_there();
        }
    }
}

/// A request that waits.
struct Waits<'u> {
    upstream: &'u Rc<Upstream>,
    key: Option<Key>,
}

impl Waits<'_> {
    fn line_up(&mut self, came: Tick) {
        if self.key.is_none() {
            self.upstream.change(|comeback| {
                let (key, wake) = comeback.line_up(came);
                self.key = Some(key);
                wake
            });
        }
    }

    fn claim(&mut self, waker: &Waker) -> Option<LetGo> {
        let key = self.key?;
        let mut held = self.upstream.held.borrow_mut();
        let Some(turn) = held.comeback.claim(key) else {
            held.tasks.insert(key, waker.clone());
            return None;
        };
        self.key = None;
        held.tasks.remove(&key);
        Some(LetGo { upstream: Rc::clone(self.upstream), turn: Some(turn) })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.upstream.held.borrow_mut().tasks.remove(&key);
            self.upstream.change(|comeback| comeback.cancel(key));
        }
    }
}

/// One that was held and was let go in its turn, until it is known how it went.
pub(crate) struct LetGo {
    upstream: Rc<Upstream>,
    turn: Option<Turn>,
}

impl LetGo {
    /// It has its answer, so that others may follow.
    pub(crate) fn answered(mut self) {
        if let Some(turn) = self.turn.take() {
            self.upstream.change(|comeback| comeback.answered(turn));
        }
    }
}

impl Drop for LetGo {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.upstream.change(|comeback| comeback.ended(turn));
        }
    }
}
