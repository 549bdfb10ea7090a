//! Messages that leave together, at the end of a turn of the thread's loop: when all that came in this turn was looked at.
//!
//! A message that is sent the moment it is ready wakes whoever waits for it, who takes it, finds nothing more and rests
//! until the next one. Waking somebody is what costs most of sending a short message. Sent one after the other, they find their
//! readers awake, and the kernel's code in the caches. A thread that has little to do has one message in a turn, which
//! so waits for nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::Pipe;

thread_local! {
    static TURN: Turn = const { Turn { sending: RefCell::new(Vec::new()), sender: RefCell::new(None) } };
}

struct Turn {
    /// Who has a message; no more than one of each connection.
    sending: RefCell<Vec<Rc<Pipe>>>,
    /// Wakes the task that sends; none where there is no such task.
    sender: RefCell<Option<Waker>>,
}

/// Whether anybody on this thread sends at the end of a turn.
pub(super) fn is_served() -> bool {
    TURN.with(|turn| turn.sender.borrow().is_some())
}

/// Has a pipe's message sent when the turn ends.
pub(super) fn join(pipe: Rc<Pipe>) {
    TURN.with(|turn| {
        let mut sending = turn.sending.borrow_mut();
        sending.push(pipe);
        // Tasks run in the order in which they were woken, and who has something to do in this turn was woken before.
        if sending.len() == 1
            && let Some(sender) = &*turn.sender.borrow()
        {
            sender.wake_by_ref();
        }
    });
}

/// Sends at the end of each turn, for ever: a task of each worker thread.
pub(crate) async fn run() {
    let _served = Served;
    let mut ended = Vec::new();
    poll_fn(|cx| {
        TURN.with(|turn| {
            turn.sender.replace(Some(cx.waker().clone()));
            std::mem::swap(&mut ended, &mut *turn.sending.borrow_mut());
        });
        for pipe in ended.drain(..) {
            pipe.end_turn();
        }
        Poll::<()>::Pending
    })
    .await;
}

/// Until it is dropped, somebody sends.
struct Served;

impl Drop for Served {
    fn drop(&mut self) {
        // A thread that ends has no turns any more.
        let _ = TURN.try_with(|turn| (turn.sender.take(), turn.sending.take()));
    }
}
