//! Byte buffers that exist only while bytes are in them.
//!
//! A connection takes its memory from a small pool of the thread when bytes arrive and gives it back when it has nothing
//! unread, so that ten thousand idle connections hold no buffer.

use std::cell::RefCell;

/// Size of a fresh buffer: one TLS record, and more than most messages.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers that a thread keeps for reuse; more are freed.
const POOL_BUFFERS_MAX: usize = 128;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
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
            self.data = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_BYTES]);
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
                POOL.with_borrow_mut(|pool| {
                    if pool.len() < POOL_BUFFERS_MAX {
                        pool.push(data);
                    }
                });
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
    fn an_empty_buffer_gives_its_memory_back() {
        let mut buffer = Buffer::default();
        buffer.space(1)[0] = 1;
        buffer.filled(1);
        buffer.consume(1);
        buffer.release();
        assert_eq!(buffer.data.capacity(), 0);
    }
}
