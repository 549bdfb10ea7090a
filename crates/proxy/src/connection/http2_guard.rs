//! Frames of HTTP/2 that cost their sender almost nothing, counted before the codec sees them: resets (CVE-2023-44487),
//! settings and pings that want an answer (CVE-2019-9515, -9512), empty data (CVE-2019-9518), endless head blocks.
//!
//! The codec bounds what they may take of memory; this bounds what they may take of time. A peer in good faith sends such
//! a frame now and then, or when it has received something.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_stdx::clock::Tick;

use crate::connection::Entry;
use crate::stream::Stream;
use crate::timer::Timer;

/// Bytes before the first frame of a client (RFC 9113, 3.4).
const PREFACE_BYTES: u64 = 24;
const HEADER_BYTES: usize = 9;
/// For so many bytes that it receives, a peer may send one more: an acknowledgement, a measurement of its window.
const BYTES_A_FRAME: u64 = 512;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// How many of them a connection may carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// At once.
    burst: u64,
    /// And each second.
    per_s: u64,
}

impl Allowance {
    /// At the edge anybody may come. In the mesh one connection carries the traffic of many, of which each may give up.
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Edge => Allowance { burst: 1_000, per_s: 200 },
            _ => Allowance { burst: 10_000, per_s: 5_000 },
        }
    }
}

/// What a connection has left.
struct Budget {
    allowance: Allowance,
    /// In thousandths of a frame.
    left: u64,
    at: Tick,
    received_bytes: u64,
}

impl Budget {
    fn new(allowance: Allowance, now: Tick) -> Self {
        Budget { allowance, left: allowance.burst * 1_000, at: now, received_bytes: 0 }
    }

    fn refill(&mut self, now: Tick) {
        let frames_of_bytes = self.received_bytes / BYTES_A_FRAME;
        self.received_bytes %= BYTES_A_FRAME;
        let passed = now.us_since(self.at).min(60_000_000) * self.allowance.per_s / 1_000;
        self.at = now;
        self.left = (self.left + passed + frames_of_bytes * 1_000).min(self.allowance.burst * 1_000);
    }

    /// Whether there was enough.
    fn take(&mut self, frames: u64) -> bool {
        let enough = self.left >= frames * 1_000;
        self.left = self.left.saturating_sub(frames * 1_000);
        enough
    }
}

/// Finds the frames in a stream of bytes.
struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    skip: u64,
    header: [u8; HEADER_BYTES],
    have: usize,
}

impl Frames {
    fn new() -> Self {
        Frames { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], have: 0 }
    }

    /// What the frames that begin in `bytes` cost together.
    fn cost(&mut self, mut bytes: &[u8]) -> u64 {
        let mut cost = 0;
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let part = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = u64::from(length);
                cost += cost_of(kind, flags, length);
            }
        }
        cost
    }
}

fn cost_of(kind: u8, flags: u8, length: u32) -> u64 {
    match kind {
        DATA => u64::from(length == 0 && flags & END_STREAM == 0),
        // Streams are bounded by their number, and what they ask for by its own limits. Windows open as bytes come.
        HEADERS | WINDOW_UPDATE => 0,
        // Somebody was asked in vain.
        RST_STREAM => 2,
        _ => 1,
    }
}

/// A stream whose frames are counted. Once there were too many, nothing more is read from it.
pub(crate) struct Guarded {
    stream: Stream,
    timer: Rc<Timer>,
    frames: Frames,
    budget: Budget,
    tripped: Rc<Cell<bool>>,
}

impl Guarded {
    /// `tripped` is set when there were too many.
    pub(crate) fn new(
        stream: Stream,
        timer: Rc<Timer>,
        allowance: Allowance,
        tripped: Rc<Cell<bool>>,
    ) -> Self {
        let budget = Budget::new(allowance, timer.now());
        Guarded { stream, timer, frames: Frames::new(), budget, tripped }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.tripped.get() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.stream).poll_read(cx, buf))?;
        let cost = me.frames.cost(&buf.filled()[before..]);
        if cost > 0 {
            me.budget.refill(me.timer.now());
            if !me.budget.take(cost) {
                me.tripped.set(true);
                buf.set_filled(before);
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data))?;
        self.budget.received_bytes += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.budget.received_bytes += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        bytes.resize(bytes.len() + length as usize, 0xff);
        bytes
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = vec![0xff; 24];
        let frames = [
            (DATA, 0, 0, 1),
            (DATA, END_STREAM, 0, 0),
            (DATA, 0, 1, 0),
            (HEADERS, 4, 300, 0),
            (2, 0, 5, 1),
            (RST_STREAM, 0, 4, 2),
            (4, 0, 0, 1),
            (6, 0, 8, 1),
            (WINDOW_UPDATE, 0, 4, 0),
            (9, 0, 70_000, 1),
            (200, 0, 0, 1),
        ];
        let mut expected = 0;
        for (kind, flags, length, cost) in frames {
            bytes.extend(frame(kind, flags, length));
            expected += cost;
        }
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let (mut found, mut rest, mut cost) = (Frames::new(), bytes.as_slice(), 0);
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rng.usize(1..=rest.len().min(40)));
                cost += found.cost(part);
                rest = after;
            }
            assert_eq!(cost, expected);
        }
        assert_eq!(Frames::new().cost(&bytes), expected);
    }

    #[test]
    fn a_budget_is_a_burst_and_a_rate_and_what_was_received() {
        let mut budget = Budget::new(Allowance { burst: 10, per_s: 2 }, Tick::ZERO);
        assert!(budget.take(10) && !budget.take(1));
        budget.refill(Tick::from_ms(500));
        assert!(budget.take(1) && !budget.take(1));
        budget.refill(Tick::from_ms(1_000_000));
        assert!(budget.take(10) && !budget.take(1));
        budget.received_bytes = 3 * BYTES_A_FRAME - 1;
        budget.refill(Tick::from_ms(1_000_000));
        assert!(budget.take(2) && !budget.take(1));
        budget.received_bytes += 1;
        budget.refill(Tick::from_ms(1_000_000));
        assert!(budget.take(1) && !budget.take(1));
    }

    #[test]
    fn acknowledging_pings_pays_for_no_more_of_them() {
        let mut budget = Budget::new(Allowance { burst: 100, per_s: 0 }, Tick::ZERO);
        let sent = (0..10_000).take_while(|_| {
            budget.refill(Tick::ZERO);
            // A ping's answer has 17 bytes.
            budget.received_bytes += 17;
            budget.take(1)
        });
        assert!((100..110).contains(&sent.count()));
    }
}
