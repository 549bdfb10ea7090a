//! Who is connected to a worker, so that neither many connections nor many from one place lock others out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use tokio::sync::Notify;

/// The connections of one worker, by where they come from.
#[derive(Default)]
pub(crate) struct Crowd {
    by_source: RefCell<HashMap<IpAddr, usize>>,
    idle: Cell<usize>,
    /// Idle connections that were told to end and have not heard it.
    told: Cell<usize>,
    shed: Notify,
}

/// A connection that is counted at its source until it is dropped.
pub(crate) struct Guest<'c> {
    crowd: &'c Crowd,
    source: IpAddr,
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
        Some(Guest { crowd: self, source })
    }

    /// Ends the connection that has been idle for longest; false if none is.
    pub(crate) fn shed(&self) -> bool {
        let idle = self.idle.get() > self.told.get();
        if idle {
            self.told.set(self.told.get() + 1);
            // Waiters are woken in the order in which they began to wait.
            self.shed.notify_one();
        }
        idle
    }

    /// Completes when an idle connection is to make room for another.
    pub(crate) async fn until_shed(&self) {
        let _waiting = Waiting::new(self);
        self.shed.notified().await;
        self.told.set(self.told.get().saturating_sub(1));
    }
}

/// Counts an idle connection.
struct Waiting<'c>(&'c Crowd);

impl<'c> Waiting<'c> {
    fn new(crowd: &'c Crowd) -> Self {
        crowd.idle.set(crowd.idle.get() + 1);
        Waiting(crowd)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.idle.set(self.0.idle.get().saturating_sub(1));
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
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

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let crowd = Crowd::default();
            assert!(!crowd.shed());
            let (mut one, mut two) = (Box::pin(crowd.until_shed()), Box::pin(crowd.until_shed()));
            assert!(crate::body::poll_once(one.as_mut()).await.is_none());
            assert!(crate::body::poll_once(two.as_mut()).await.is_none());
            assert!(crowd.shed());
            assert!(crate::body::poll_once(two.as_mut()).await.is_none());
            assert!(crate::body::poll_once(one.as_mut()).await.is_some());
            // Who is busy again makes no room.
            drop(two);
            assert!(!crowd.shed());
        });
    }
}
