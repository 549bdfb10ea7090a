//! Who is connected to a worker, so that neither many connections nor many from one place lock others out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use weft_stdx::clock::Tick;

use crate::resilience::line::{Key, Line};

/// The connections of one worker, by where they come from, and those that are idle, by how long they have been.
#[derive(Default)]
pub(crate) struct Crowd {
    by_source: RefCell<HashMap<IpAddr, usize>>,
    /// The tasks of all of them.
    tasks: RefCell<Slab<Waker>>,
    idle: RefCell<Line>,
    /// Of the idle ones, by their place.
    wakers: RefCell<Vec<Option<Waker>>>,
}

/// A connection that is counted at its source until it is dropped.
pub(crate) struct Guest<'c> {
    crowd: &'c Crowd,
    source: IpAddr,
    task: Option<usize>,
}

impl Guest<'_> {
    /// Does the connection's work until it is done, or `over` says, when the crowd is [stirred](Crowd::stir), that it is. The work comes
    /// first: it may want to end in a way of its own.
    pub(crate) async fn until<F: Future<Output = ()>>(
        mut self,
        mut work: Pin<&mut F>,
        over: impl Fn() -> bool,
    ) {
        poll_fn(|cx| {
            if self.task.is_none() {
                self.task = Some(self.crowd.tasks.borrow_mut().insert(cx.waker().clone()));
            }
            let done = work.as_mut().poll(cx);
            if over() { Poll::Ready(()) } else { done }
        })
        .await;
    }
}

impl Crowd {
    /// Counts a connection; `None` if there are `most` from its source.
    pub(crate) fn enter(&self, address: IpAddr, most: usize) -> Option<Guest<'_>> {
        let source = source_of(address);
        let mut by_source = self.by_source.borrow_mut();
        let count = by_source.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { crowd: self, source, task: None })
    }

    /// Ends the connection that has been idle for longest; false if none is.
    pub(crate) fn shed(&self) -> bool {
        let longest = self.idle.borrow_mut().give(Tick::ZERO);
        longest.inspect(|key| self.wake(*key)).is_some()
    }

    /// Ends connections that have been idle for as long as they may. Called now and then, so it comes a little late.
    pub(crate) fn expire(&self, now: Tick) {
        while let Some(key) = { self.idle.borrow_mut().expire(now) } {
            self.wake(key);
        }
    }

    /// Lets all connections look around.
    pub(crate) fn stir(&self) {
        for (_, task) in self.tasks.borrow().iter() {
            task.wake_by_ref();
        }
    }

    /// Being idle, from `since` on. Completes when the connection is to end: it makes room for another, or its time is over, which
    /// comes for all in the order in which they began.
    pub(crate) fn idle(&self, since: Tick, until: Tick) -> Idle<'_> {
        Idle { crowd: self, since, until, key: None, noticed: false }
    }

    fn wake(&self, key: Key) {
        if let Some(waker) = &self.wakers.borrow()[key.place()] {
            waker.wake_by_ref();
        }
    }
}

/// See [`Crowd::idle`]; dropping it is being busy again.
pub(crate) struct Idle<'c> {
    crowd: &'c Crowd,
    since: Tick,
    until: Tick,
    key: Option<Key>,
    /// It knows that it is to end.
    noticed: bool,
}

impl Future for Idle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let crowd = self.crowd;
        let key = match self.key {
            Some(key) if !crowd.idle.borrow().holds(key) => {
                self.noticed = true;
                return Poll::Ready(());
            }
            Some(key) => key,
            None => crowd.idle.borrow_mut().push(self.since, self.until),
        };
        self.key = Some(key);
        let mut wakers = crowd.wakers.borrow_mut();
        if wakers.len() <= key.place() {
            wakers.resize(key.place() + 1, None);
        }
        match &mut wakers[key.place()] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        self.crowd.wakers.borrow_mut()[key.place()] = None;
        let (noticed, told) = (self.noticed, self.crowd.idle.borrow_mut().cancel(key));
        if told && !noticed {
            // It was to make room, and is busy again.
            self.crowd.shed();
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.crowd.tasks.borrow_mut().remove(task);
        }
        let mut by_source = self.crowd.by_source.borrow_mut();
        if let Some(count) = by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

/// What one customer of a provider gets: an address of IPv4, a network of 64 bits of IPv6 (RFC 6177).
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_apart_and_forgotten() {
        let crowd = Crowd::default();
        let (one, two): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = crowd.enter(one, 2);
        let second = crowd.enter("::ffff:10.0.0.1".parse().unwrap(), 2);
        assert!(first.is_some() && second.is_some() && crowd.enter(one, 2).is_none());
        assert!(crowd.enter(two, 2).is_some());
        drop(first);
        assert!(crowd.enter(one, 2).is_some());
        drop(second);
        assert!(crowd.by_source.borrow().is_empty());
        let neighbours =
            [crowd.enter("2001:db8::1".parse().unwrap(), 1), crowd.enter("2001:db8::2".parse().unwrap(), 1)];
        assert!(neighbours[0].is_some() && neighbours[1].is_none());
    }

    /// Idle connections, and which of them are to end.
    async fn ended(all: &mut [Pin<Box<Idle<'_>>>]) -> Vec<bool> {
        let mut ended = Vec::new();
        for one in all {
            ended.push(crate::body::poll_once(one.as_mut()).await.is_some());
        }
        ended
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_room() {
        runtime().block_on(async {
            let crowd = Crowd::default();
            assert!(!crowd.shed());
            let mut all = [1, 2, 3].map(|ms| Box::pin(crowd.idle(Tick::from_ms(ms), Tick::NEVER)));
            assert_eq!(ended(&mut all).await, [false, false, false]);
            assert!(crowd.shed());
            assert_eq!(ended(&mut all).await, [true, false, false]);
            let [_ended, two, mut three] = all;
            // Who was told and is busy again leaves it to the next.
            assert!(crowd.shed());
            drop(two);
            assert!(crate::body::poll_once(three.as_mut()).await.is_some());
            assert!(!crowd.shed());
        });
    }

    #[test]
    fn time_is_over_for_who_has_been_idle_for_long_enough() {
        runtime().block_on(async {
            let crowd = Crowd::default();
            let mut all = [1, 2].map(|ms| Box::pin(crowd.idle(Tick::from_ms(ms), Tick::from_ms(ms + 10))));
            assert_eq!(ended(&mut all).await, [false, false]);
            crowd.expire(Tick::from_ms(11));
            assert_eq!(ended(&mut all).await, [true, false]);
            crowd.expire(Tick::from_ms(11));
            let [_ended, mut two] = all;
            assert!(crate::body::poll_once(two.as_mut()).await.is_none());
        });
    }
}
