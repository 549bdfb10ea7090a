//! Deadlines of one worker thread: a coarse sweep in place of one runtime timer per wait.
//!
//! A request registers a handful of deadlines and drops almost all of them unused. Registering here is a slab insert;
//! one task per thread sleeps until the earliest deadline and wakes whoever is due. Granularity is [`GRANULE`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;
use slab::Slab;
use tokio::sync::Notify;
use weft_stdx::clock::{Clock, Tick};

/// Nobody is woken earlier than asked, and at most about this much later.
pub(crate) const GRANULE: Duration = Duration::from_millis(5);

/// Looks in the time after which silence ends something.
const LOOKS: u32 = 4;

/// The clock and the deadlines of one thread.
pub(crate) struct Timer {
    clock: Clock,
    read: Cell<Tick>,
    entries: RefCell<Slab<Entry>>,
    next: Cell<Tick>,
    earlier: Notify,
    date: Cell<Date>,
}

/// The time of the calendar as fields tell it, and until when it is right.
#[derive(Clone, Copy)]
struct Date {
    text: [u8; DATE_BYTES],
    until: Tick,
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE_BYTES: usize = 29;

struct Entry {
    at: Tick,
    waker: Option<Waker>,
}

impl Timer {
    /// A timer by this clock; [`Timer::run`] must be driven by a task of the same thread.
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        let next = Cell::new(Tick::NEVER);
        Rc::new(Timer {
            clock,
            read: Cell::new(Tick::ZERO),
            entries: RefCell::new(Slab::new()),
            next,
            earlier: Notify::new(),
            date: Cell::new(Date { text: [0; DATE_BYTES], until: Tick::ZERO }),
        })
    }

    /// The time.
    pub(crate) fn now(&self) -> Tick {
        let now = self.clock.now();
        self.read.set(now);
        now
    }

    /// The time of the calendar, which a certificate's end is told in.
    pub(crate) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// The time of the calendar as a field tells it (RFC 9110, 5.6.7), for whoever has [`Timer::recent`] right; asked of the
    /// clock once in a second.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        let mut date = self.date.get();
        if self.recent() >= date.until {
            let wall = self.wall().max(UNIX_EPOCH);
            let begun = wall.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            date.until = self.recent() + (Duration::from_secs(1) - Duration::from_nanos(begun.into()));
            // It is as long as that in every year of four digits.
            let _ = write!(&mut date.text[..], "{}", HttpDate::from(wall));
            self.date.set(date);
        }
        date.text
    }

    /// The time as it was last read on this thread: for whoever has read it since they last waited, or somebody for them.
    /// Reading a clock costs as much as choosing an endpoint, and an exchange has a dozen reasons to ask.
    pub(crate) fn recent(&self) -> Tick {
        self.read.get()
    }

    /// Completes at `at`, up to a granule late. Whoever waited here has [`Timer::recent`] right.
    pub(crate) fn at(&self, at: Tick) -> Deadline<'_> {
        Deadline { timer: self, at, key: None }
    }

    /// Completes when nothing has moved for `length`, up to a quarter of it late. `moved` tells whether anything has since it was
    /// asked last.
    pub(crate) async fn until_silent(&self, length: Duration, mut moved: impl FnMut() -> bool) {
        let mut silent = 0;
        while silent < LOOKS {
            self.sleep(length / LOOKS).await;
            silent = if moved() { 0 } else { silent + 1 };
        }
    }

    /// Runs `work` until `at`; `None` when time ran out first. If either had to wait, [`Timer::recent`] is right after it.
    /// Whoever calls pins the work: a future that takes another in holds the room for it twice.
    pub(crate) fn limit<F: Future + Unpin>(&self, at: Tick, work: F) -> Limited<'_, F> {
        Limited { deadline: self.at(at), work }
    }

    /// Waits for `length`.
    pub(crate) async fn sleep(&self, length: Duration) {
        self.at(self.now() + length).await;
    }

    /// Wakes whoever is due, for ever.
    pub(crate) async fn run(&self) {
        loop {
            let now = self.now();
            let next = self.sweep(now);
            self.next.set(next);
            let wait = now.until(next).max(GRANULE);
            if next == Tick::NEVER {
                self.earlier.notified().await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.earlier.notified() => {}
                }
            }
        }
    }

    fn sweep(&self, now: Tick) -> Tick {
        let mut next = Tick::NEVER;
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if entry.at <= now {
                if let Some(waker) = entry.waker.take() {
                    waker.wake();
                }
            } else {
                next = next.min(entry.at);
            }
        }
        next
    }

    fn register(&self, at: Tick, waker: &Waker) -> usize {
        let key = self.entries.borrow_mut().insert(Entry { at, waker: Some(waker.clone()) });
        if at < self.next.get() {
            self.next.set(at);
            self.earlier.notify_one();
        }
        key
    }
}

/// A wait for a point in time; dropping it forgets it.
pub(crate) struct Deadline<'t> {
    timer: &'t Timer,
    at: Tick,
    key: Option<usize>,
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.key {
            None if self.at == Tick::NEVER => return Poll::Pending,
            // As of the last reading: if it is over by now, the sweep will see that.
            None => {
                if self.timer.recent() >= self.at {
                    return Poll::Ready(());
                }
                self.key = Some(self.timer.register(self.at, cx.waker()));
            }
            Some(key) => {
                let mut entries = self.timer.entries.borrow_mut();
                match &mut entries[key].waker {
                    // The sweep took the waker: it is time.
                    None => {
                        self.timer.now();
                        return Poll::Ready(());
                    }
                    Some(waker) if waker.will_wake(cx.waker()) => {}
                    Some(waker) => *waker = cx.waker().clone(),
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.timer.entries.borrow_mut().remove(key);
        }
    }
}

/// Work that time may end; see [`Timer::limit`].
pub(crate) struct Limited<'t, F> {
    deadline: Deadline<'t>,
    work: F,
}

impl<F: Future + Unpin> Future for Limited<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = Pin::new(&mut self.work).poll(cx) {
            if self.deadline.key.is_some() {
                self.deadline.timer.now();
            }
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut self.deadline).poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn the_earlier_deadline_comes_first_whatever_the_order_of_registration() {
        runtime().block_on(async {
            let timer = Timer::new(Clock::system());
            let order = RefCell::new(Vec::new());
            let now = timer.now();
            let wait = async |at: Tick, name: &'static str| {
                timer.at(at).await;
                assert!(timer.now() >= at);
                order.borrow_mut().push(name);
            };
            tokio::select! {
                () = timer.run() => {}
                _ = async { tokio::join!(wait(now + Duration::from_millis(40), "late"), wait(now + Duration::from_millis(10), "early")) } => {}
            }
            assert_eq!(*order.borrow(), ["early", "late"]);
        });
    }

    #[test]
    fn the_date_changes_with_the_second_of_the_calendar() {
        let wall = UNIX_EPOCH + Duration::from_millis(784_111_777_300);
        let (clock, hand) = Clock::manual(wall);
        let timer = Timer::new(clock);
        let date = |ms| {
            hand.advance(Duration::from_millis(ms));
            timer.now();
            String::from_utf8(timer.date().to_vec()).unwrap()
        };
        assert_eq!(date(0), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(699), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(1), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date(999), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(date(2_001), "Sun, 06 Nov 1994 08:49:41 GMT");
    }

    #[test]
    fn silence_is_what_follows_the_last_move() {
        runtime().block_on(async {
            let timer = Timer::new(Clock::system());
            let moves = [false, false, true, false, false, false, true];
            let mut looks = 0_usize;
            let silence = timer.until_silent(Duration::from_millis(4), || {
                looks += 1;
                moves.get(looks - 1).copied().unwrap_or_default()
            });
            tokio::select! {
                () = timer.run() => {}
                () = silence => {}
            }
            assert_eq!(looks, moves.len() + LOOKS as usize);
        });
    }

    #[test]
    fn work_that_ends_in_time_leaves_nothing_behind() {
        runtime().block_on(async {
            let timer = Timer::new(Clock::system());
            assert_eq!(timer.limit(timer.now() + Duration::from_secs(1), pin!(async { 7 })).await, Some(7));
            assert!(timer.entries.borrow().is_empty());
            assert_eq!(timer.limit(timer.now(), std::future::pending::<()>()).await, None);
        });
    }
}
