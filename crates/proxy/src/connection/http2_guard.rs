//! Frames of HTTP/2 that cost their sender almost nothing, counted before the codec sees them: resets (CVE-2023-44487),
//! settings and pings that want an answer (CVE-2019-9515, -9512), data that is empty or only padding (CVE-2019-9518),
//! windows that open for nothing, endless head blocks.
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
/// For so many bytes of an answer a peer may open one window. Who gives back each piece of 100 bytes as it is read, to the
/// stream and to the connection, stays far below.
const BYTES_A_WINDOW: u64 = 32;
/// And so many for a frame of an answer, however short it is: the stream's, and the connection's.
const WINDOWS_A_FRAME: u64 = 2;
/// Requests at most that may still be given up for nothing.
const BEGUN_MAX: u64 = 10_000;
/// What a reset costs: somebody was asked in vain.
const RESET_COST: u64 = 2;
/// Bytes of answers at most for which windows may still be opened: what clients in wide use let be on its way to them.
const UNOPENED_BYTES_MAX: u64 = 16 * 1024 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// How many of them a connection may carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// At once.
    burst: u64,
    /// And each second.
    per_s: u64,
    /// Whether who is there asks for many others, each of whom may give up.
    relays: bool,
}

impl Allowance {
    /// At the edge anybody may come. In the mesh one connection carries the traffic of many. What a proven peer passes on is
    /// as many resets as its own clients make of it; were those counted, a few of them could end the connection of all.
    pub(crate) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Edge => Allowance { burst: 1_000, per_s: 200, relays: false },
            Entry::Inbound => Allowance { burst: 10_000, per_s: 5_000, relays: true },
            _ => Allowance { burst: 10_000, per_s: 5_000, relays: false },
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
    /// Bytes of answers that the peer was sent, and has opened no window for.
    unopened_bytes: u64,
    /// Requests that a peer which relays has begun and not given up.
    begun: u64,
}

impl Budget {
    fn new(allowance: Allowance, now: Tick) -> Self {
        let left = allowance.burst * 1_000;
        Budget { allowance, left, at: now, received_bytes: 0, unopened_bytes: 0, begun: 0 }
    }

    /// What these frames cost after all.
    fn cost_of(&mut self, cost: &Cost) -> u64 {
        cost.frames + self.unearned(cost.windows) + RESET_COST * self.unbegun(cost)
    }

    /// How many of these resets give up what was not begun: a request that is given up costs no more than one that is not.
    fn unbegun(&mut self, cost: &Cost) -> u64 {
        if !self.allowance.relays {
            return cost.resets;
        }
        self.begun = (self.begun + cost.begun).min(BEGUN_MAX);
        let given_up = cost.resets.min(self.begun);
        self.begun -= given_up;
        cost.resets - given_up
    }

    fn refill(&mut self, now: Tick) {
        let frames_of_bytes = self.received_bytes / BYTES_A_FRAME;
        self.received_bytes %= BYTES_A_FRAME;
        let passed = now.us_since(self.at).min(60_000_000) * self.allowance.per_s / 1_000;
        self.at = now;
        self.left = (self.left + passed + frames_of_bytes * 1_000).min(self.allowance.burst * 1_000);
    }

    /// The peer was sent this frame.
    fn sent(&mut self, frame: &Frame) {
        if matches!(frame.kind, DATA | HEADERS) {
            let bytes = u64::from(frame.length).max(WINDOWS_A_FRAME * BYTES_A_WINDOW);
            self.unopened_bytes = (self.unopened_bytes + bytes).min(UNOPENED_BYTES_MAX);
        }
    }

    /// How many of these windows open for nothing that the peer was sent.
    fn unearned(&mut self, windows: u64) -> u64 {
        let earned = windows.min(self.unopened_bytes / BYTES_A_WINDOW);
        self.unopened_bytes -= earned * BYTES_A_WINDOW;
        windows - earned
    }

    /// Whether there was enough.
    fn take(&mut self, frames: u64) -> bool {
        let enough = self.left >= frames * 1_000;
        self.left = self.left.saturating_sub(frames * 1_000);
        enough
    }
}

/// What is known of a frame by its first bytes.
struct Frame {
    kind: u8,
    flags: u8,
    /// Bytes of its payload.
    length: u32,
    /// Bytes of its padding, and the one that says how many; of other frames than DATA that is not asked.
    padding: u32,
}

/// Finds the frames in a stream of bytes.
struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    skip: u64,
    /// The header, and the length of the padding.
    head: [u8; HEADER_BYTES + 1],
    have: usize,
}

impl Frames {
    /// In what a client sends.
    fn of_client() -> Self {
        Frames { skip: PREFACE_BYTES, ..Frames::of_server() }
    }

    /// In what a client is sent.
    fn of_server() -> Self {
        Frames { skip: 0, head: [0; HEADER_BYTES + 1], have: 0 }
    }

    /// Shows each frame of which the last byte that is looked at is in `bytes`.
    fn each(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let part = (self.wanted() - self.have).min(bytes.len());
            self.head[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == self.wanted() {
                let [a, b, c, kind, flags, .., pad] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                let (ahead, padding) =
                    if self.have > HEADER_BYTES { (1, 1 + u32::from(pad)) } else { (0, 0) };
                self.skip = u64::from(length) - ahead;
                self.have = 0;
                seen(&Frame { kind, flags, length, padding });
            }
        }
    }

    /// Bytes of the next frame that are looked at, as far as that is known.
    fn wanted(&self) -> usize {
        let [a, b, c, kind, flags, ..] = self.head;
        let padded = kind == DATA && flags & PADDED != 0 && [a, b, c] != [0; 3];
        HEADER_BYTES + usize::from(self.have >= HEADER_BYTES && padded)
    }

    /// What the frames in `bytes` cost together.
    fn cost(&mut self, bytes: &[u8]) -> Cost {
        let mut cost = Cost::default();
        self.each(bytes, |frame| match frame.kind {
            WINDOW_UPDATE => cost.windows += 1,
            // Streams are bounded by their number, and what they ask for by its own limits.
            HEADERS => cost.begun += 1,
            RST_STREAM => cost.resets += 1,
            _ => cost.frames += cost_of(frame),
        });
        cost
    }
}

/// What frames cost their receiver.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    frames: u64,
    /// Frames that open windows; they cost nothing as long as something was sent.
    windows: u64,
    resets: u64,
    /// Requests, and trailers.
    begun: u64,
}

fn cost_of(frame: &Frame) -> u64 {
    match frame.kind {
        // Padding is given back to the windows before anybody has read it, so they do not bound it.
        DATA => u64::from(frame.length <= frame.padding && frame.flags & END_STREAM == 0),
        _ => 1,
    }
}

/// A stream whose frames are counted. Once there were too many, nothing more is read from it.
pub(crate) struct Guarded {
    stream: Stream,
    timer: Rc<Timer>,
    frames: Frames,
    answers: Frames,
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
        let (frames, answers) = (Frames::of_client(), Frames::of_server());
        Guarded { stream, timer, frames, answers, budget, tripped }
    }

    /// The peer was sent the first `written` of these bytes.
    fn sent<'a>(&mut self, slices: impl IntoIterator<Item = &'a [u8]>, written: usize) {
        self.budget.received_bytes += written as u64;
        let mut left = written;
        for bytes in slices {
            let part = &bytes[..left.min(bytes.len())];
            left -= part.len();
            self.answers.each(part, |frame| self.budget.sent(frame));
        }
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
        let cost = me.budget.cost_of(&cost);
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
        self.sent([data], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.sent(slices.iter().map(|slice| &**slice), written);
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

    /// DATA with so many bytes of content and of padding.
    fn padded(flags: u8, content: u32, padding: u8) -> Vec<u8> {
        let mut bytes = frame(DATA, flags | PADDED, 1 + content + u32::from(padding));
        bytes[HEADER_BYTES] = padding;
        bytes
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = vec![0xff; 24];
        let frames = [
            (frame(DATA, 0, 0), 1, 0),
            (frame(DATA, END_STREAM, 0), 0, 0),
            (frame(DATA, 0, 1), 0, 0),
            (padded(0, 0, 0), 1, 0),
            (padded(0, 0, 255), 1, 0),
            (padded(END_STREAM, 0, 3), 0, 0),
            (padded(0, 1, 0), 0, 0),
            (padded(0, 1, 255), 0, 0),
            // A broken one: there is no byte that says how long the padding is.
            (frame(DATA, PADDED, 0), 1, 0),
            // And one whose padding is longer than the frame.
            (frame(DATA, PADDED, 7), 1, 0),
            // Others may be padded too.
            (frame(HEADERS, PADDED, 20), 0, 0),
            (frame(HEADERS, 4, 300), 0, 0),
            (frame(2, 0, 5), 1, 0),
            (frame(RST_STREAM, 0, 4), 2, 0),
            (frame(RST_STREAM, 1, 4), 2, 0),
            (frame(4, 0, 0), 1, 0),
            (frame(6, 0, 8), 1, 0),
            (frame(WINDOW_UPDATE, 0, 4), 0, 1),
            (frame(9, 0, 70_000), 1, 0),
            (frame(WINDOW_UPDATE, PADDED, 4), 0, 1),
            (frame(200, 0, 0), 1, 0),
        ];
        let mut expected = (0, 0, 2);
        for (frame, cost, windows) in frames {
            bytes.extend(frame);
            expected.0 += cost;
            expected.1 += windows;
        }
        let total = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut found = Frames::of_client();
            parts.fold((0, 0, 0), |sum, part| {
                let cost = found.cost(part);
                let frames = cost.frames + RESET_COST * cost.resets;
                (sum.0 + frames, sum.1 + cost.windows, sum.2 + cost.begun)
            })
        };
        assert_eq!(total(&mut [bytes.as_slice()].into_iter()), expected);
        assert_eq!(total(&mut bytes.chunks(1)), expected);
        for cut in 0..bytes.len().min(1_500) {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(total(&mut [first, second].into_iter()), expected, "{cut}");
        }
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let mut rest = bytes.as_slice();
            let mut parts = std::iter::from_fn(|| {
                let (part, after) = rest.split_at(rng.usize(1..=rest.len().clamp(1, 40)).min(rest.len()));
                rest = after;
                (!part.is_empty()).then_some(part)
            });
            assert_eq!(total(&mut parts), expected);
        }
    }

    #[test]
    fn a_peer_that_relays_may_give_up_what_it_began_and_nothing_else() {
        let begun = |begun, resets| Cost { begun, resets, ..Cost::default() };
        for relays in [false, true] {
            let mut budget = Budget::new(Allowance { burst: 10, per_s: 0, relays }, Tick::ZERO);
            let given_up = budget.cost_of(&begun(1_000, 1_000));
            assert_eq!(given_up, if relays { 0 } else { 2_000 });
            assert_eq!(budget.cost_of(&begun(0, 3)), 6, "nobody had asked");
            budget.cost_of(&begun(1_000_000, 0));
            let most = if relays { BEGUN_MAX } else { 0 };
            assert_eq!(budget.cost_of(&begun(0, 1_000_000)), 2 * (1_000_000 - most));
        }
    }

    #[test]
    fn windows_open_for_nothing_only_as_far_as_nothing_was_sent() {
        let mut budget = Budget::new(Allowance { burst: 10, per_s: 0, relays: false }, Tick::ZERO);
        assert_eq!(budget.unearned(3), 3);
        let mut answers = Frames::of_server();
        let mut sent = |bytes: &[u8], budget: &mut Budget| {
            for part in bytes.chunks(1) {
                answers.each(part, |frame| budget.sent(frame));
            }
        };
        // What answers the peer's own frames earns it nothing.
        sent(&[frame(4, 1, 0), frame(6, 1, 8), frame(WINDOW_UPDATE, 0, 4)].concat(), &mut budget);
        assert_eq!(budget.unearned(1), 1);
        // A short answer is as good as its stream and its connection; a long one as its bytes.
        sent(&[frame(HEADERS, 4, 5), frame(DATA, END_STREAM, 1)].concat(), &mut budget);
        assert_eq!(budget.unearned(2 * 2 + 1), 1);
        sent(&frame(DATA, 0, 16_384), &mut budget);
        assert_eq!(budget.unearned(1), 0);
        assert_eq!(budget.unearned(16_384 / 32), 1);
        // Not for ever.
        for _ in 0..2_000 {
            budget.sent(&Frame { kind: DATA, flags: 0, length: 16_384, padding: 0 });
        }
        assert_eq!(budget.unearned(1_000_000), 1_000_000 - UNOPENED_BYTES_MAX / BYTES_A_WINDOW);
        assert!(budget.take(10) && !budget.take(1), "none of it pays for anything else");
    }

    #[test]
    fn a_budget_is_a_burst_and_a_rate_and_what_was_received() {
        let mut budget = Budget::new(Allowance { burst: 10, per_s: 2, relays: false }, Tick::ZERO);
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
        let mut budget = Budget::new(Allowance { burst: 100, per_s: 0, relays: false }, Tick::ZERO);
        let sent = (0..10_000).take_while(|_| {
            budget.refill(Tick::ZERO);
            // A ping's answer has 17 bytes.
            budget.received_bytes += 17;
            budget.take(1)
        });
        assert!((100..110).contains(&sent.count()));
    }
}
