//! Memory of messages, which exists only while there is a message.
//!
//! A connection takes it from small pools of the thread when bytes arrive and gives it back when it has nothing unread or
//! unsent, so that ten thousand idle connections hold none of it and an exchange allocates none. What a burst left in the
//! pools, and nobody has needed since, is freed by [`tidy`].

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::head::Head;

/// Size of a fresh buffer: one TLS record, and more than most messages.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers that a thread keeps for reuse, and as many outgoing messages and heads; more are freed.
const POOL_BUFFERS_MAX: usize = 128;
/// An outgoing message begins with room for so much: a head, and a small body with it.
const OUTGOING_BYTES: usize = 4 * 1024;
/// Memory that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    static POOL: RefCell<Spare<Vec<u8>>> = const { RefCell::new(Spare::new()) };
    static OUTGOING: RefCell<Spare<Vec<u8>>> = const { RefCell::new(Spare::new()) };
    static HEADS: RefCell<Spare<Head>> = const { RefCell::new(Spare::new()) };
}

/// Frees what the pools of this thread have held for nothing since the last call.
pub(crate) fn tidy() {
    POOL.with_borrow_mut(Spare::tidy);
    OUTGOING.with_borrow_mut(Spare::tidy);
    HEADS.with_borrow_mut(Spare::tidy);
}

/// A pool.
struct Spare<T> {
    all: Vec<T>,
    /// The fewest that were in it since it was last tidied: so many were not needed.
    fewest: usize,
}

impl<T> Spare<T> {
    const fn new() -> Self {
        Spare { all: Vec::new(), fewest: 0 }
    }

    fn take(&mut self) -> Option<T> {
        let taken = self.all.pop();
        self.fewest = self.fewest.min(self.all.len());
        taken
    }

    fn keep(&mut self, spare: T) {
        if self.all.len() < POOL_BUFFERS_MAX {
            self.all.push(spare);
        }
    }

    fn tidy(&mut self) {
        self.all.drain(..self.fewest);
        self.fewest = self.all.len();
    }
}

/// Bytes on their way out. The memory is the thread's while nothing waits to be sent.
#[derive(Default)]
pub(crate) struct Outgoing(Vec<u8>);

impl Outgoing {
    /// Forgets what is in it and has room for a message.
    pub(crate) fn begin(&mut self) {
        if self.0.capacity() == 0 {
            let kept = OUTGOING.with_borrow_mut(Spare::take);
            self.0 = kept.unwrap_or_else(|| Vec::with_capacity(OUTGOING_BYTES));
        }
        self.0.clear();
    }

    /// Gives the memory back, and whatever is in it up.
    pub(crate) fn release(&mut self) {
        let kept = std::mem::take(&mut self.0);
        if (OUTGOING_BYTES..=KEPT_BYTES_MAX).contains(&kept.capacity()) {
            OUTGOING.with_borrow_mut(|pool| pool.keep(kept));
        }
    }
}

impl Deref for Outgoing {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Outgoing {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.release();
    }
}

/// A head whose memory is the thread's again when it is dropped.
#[derive(Default)]
pub(crate) struct LentHead(Head);

impl LentHead {
    /// An empty head with memory.
    pub(crate) fn new() -> Self {
        LentHead(HEADS.with_borrow_mut(Spare::take).unwrap_or_default())
    }

    /// Forgets what is in it and gives the memory back.
    pub(crate) fn release(&mut self) {
        let mut head = std::mem::take(&mut self.0);
        head.clear();
        if (1..=KEPT_BYTES_MAX).contains(&head.capacity_bytes()) {
            HEADS.with_borrow_mut(|pool| pool.keep(head));
        }
    }
}

impl Deref for LentHead {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.0
    }
}

impl DerefMut for LentHead {
    fn deref_mut(&mut self) -> &mut Head {
        &mut self.0
    }
}

impl Drop for LentHead {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes received or about to be sent: `data[start..end]`.
#[derive(Default)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first `count` bytes; gives the memory back when nothing is left.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room for at least `least` more bytes.
    pub(crate) fn space(&mut self, least: usize) -> &mut [u8] {
        if self.data.is_empty() {
            self.data = POOL.with_borrow_mut(Spare::take).unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        }
        if self.data.len() - self.end < least {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.data.len() - self.end < least {
                self.data.resize((self.end + least).next_power_of_two(), 0);
            }
        }
        &mut self.data[self.end..]
    }

    /// Counts `count` bytes written into [`Buffer::space`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len());
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.start = 0;
            self.end = 0;
            if data.len() == BUFFER_BYTES {
                POOL.with_borrow_mut(|pool| pool.keep(data));
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.start = 0;
        self.end = 0;
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in_across_growth_and_reuse() {
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let piece: Vec<u8> = (0..rng.usize(..3000)).map(|_| rng.u8(..)).collect();
            buffer.space(piece.len())[..piece.len()].copy_from_slice(&piece);
            buffer.filled(piece.len());
            expected.extend_from_slice(&piece);
            let count = rng.usize(..=expected.len().min(4000));
            assert_eq!(buffer.bytes()[..count], expected[..count]);
            buffer.consume(count);
            expected.drain(..count);
            assert_eq!(buffer.len(), expected.len());
        }
    }

    #[test]
    fn a_pool_keeps_what_was_needed_at_once_and_frees_the_rest() {
        let mut pool = Spare::new();
        let burst = |pool: &mut Spare<u32>, count: u32| {
            let taken: Vec<u32> = (0..count).map(|fresh| pool.take().unwrap_or(fresh)).collect();
            taken.into_iter().for_each(|one| pool.keep(one));
        };
        burst(&mut pool, 50);
        pool.tidy();
        assert_eq!(pool.all.len(), 50, "they were needed a moment ago");
        burst(&mut pool, 20);
        burst(&mut pool, 3);
        pool.tidy();
        assert_eq!(pool.all.len(), 20);
        pool.tidy();
        assert!(pool.all.is_empty(), "nobody needs any");
        burst(&mut pool, 1_000);
        assert_eq!(pool.all.len(), POOL_BUFFERS_MAX);
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_back() {
        let mut buffer = Buffer::default();
        buffer.space(1)[0] = 1;
        buffer.filled(1);
        buffer.consume(1);
        buffer.release();
        assert_eq!(buffer.data.capacity(), 0);
    }
}
