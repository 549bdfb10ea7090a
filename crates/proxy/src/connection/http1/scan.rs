//! Finding the end of a head, line by line, without looking at any byte twice.
//!
//! A head may arrive a byte at a time. The scan keeps its place between calls, so a slow client costs no more than
//! a fast one, and it applies every limit to the *earliest* byte that exceeds it: the verdict about a stream of
//! bytes is the same however the network cut it.

use std::ops::Range;

/// What a head may weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest request or status line, without its line end, bytes.
    pub line_bytes_max: usize,
    /// Longest head, from the first byte of the first line to the empty line, bytes.
    pub head_bytes_max: usize,
    /// Most fields; at most 256 count.
    pub fields_max: usize,
    /// Whether field names may hold `_`. At the edge they may not: many servers read `x_y` and `x-y` as one name,
    /// so a caller could set what the edge strips.
    pub underscores_allowed: bool,
}

impl HeadLimits {
    /// For clients from outside.
    pub const EDGE: HeadLimits = HeadLimits {
        line_bytes_max: 8 * 1024,
        head_bytes_max: 32 * 1024,
        fields_max: 100,
        underscores_allowed: false,
    };

    /// For services, which are trusted with more but not with everything.
    pub const MESH: HeadLimits = HeadLimits {
        line_bytes_max: 8 * 1024,
        head_bytes_max: 64 * 1024,
        fields_max: 100,
        underscores_allowed: true,
    };

    /// For what another process of ours has read at one of the limits above and forwards: room for what it added.
    /// A canonical path is at most three times as long as the raw one; a hop adds some 20 fields.
    pub const HOP: HeadLimits = HeadLimits {
        line_bytes_max: 3 * HeadLimits::MESH.line_bytes_max,
        head_bytes_max: 32 * 1024 + HeadLimits::MESH.head_bytes_max,
        fields_max: 28 + HeadLimits::MESH.fields_max,
        underscores_allowed: true,
    };
}

/// Empty lines tolerated before a request line (RFC 9112, 2.2 asks for at least one; old clients send one after a
/// body).
const LEADING_LINES_MAX: u8 = 2;

/// How far the search for the end of one head has come. Start a new message with [`HeadScan::default`]; the buffer
/// must begin at the same byte in every call about one message. Reset by a successful parse.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScan {
    /// First byte of the first line.
    start: usize,
    /// First byte that was not looked at.
    next: usize,
    /// First byte of the line in progress.
    line_start: usize,
    leading_lines: u8,
    first_line_done: bool,
}

/// What stops a scan, whichever side sent the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanStop {
    /// LF without CR before it.
    BareLf,
    /// CR without LF after it, where a line should begin.
    BareCr,
    /// More than a few empty lines before the first.
    LeadingLines,
    /// The first byte begins no message of this kind.
    FirstByte,
    /// The first line exceeds its limit.
    LineTooLong,
    /// The head exceeds its limit.
    HeadTooLarge,
}

/// What one side's first line must be.
pub(super) struct FirstLine<E> {
    pub(super) leading_lines_allowed: bool,
    pub(super) first_byte: fn(u8) -> bool,
    pub(super) check: fn(&[u8]) -> Result<(), E>,
}

impl HeadScan {
    /// How many bytes of the buffer were looked at; a caller that waits for more need not look at them either.
    pub fn looked_at(&self) -> usize {
        self.next
    }

    /// Goes on from where the last call stopped. `None` asks for more bytes; else the head's range in the buffer.
    pub(super) fn advance<E: From<ScanStop>>(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        first: &FirstLine<E>,
    ) -> Result<Option<Range<usize>>, E> {
        if self.next == self.start && !self.skip_leading(buf, first)? {
            return Ok(None);
        }
        let head_end = self.start.saturating_add(limits.head_bytes_max);
        let line_end = self.start.saturating_add(limits.line_bytes_max).saturating_add(2);
        loop {
            let limit = if self.first_line_done { head_end } else { head_end.min(line_end) };
            let window = limit.min(buf.len());
            let Some(at) = find_lf(&buf[self.next..window]) else {
                self.next = window;
                return match () {
                    () if window < limit => Ok(None),
                    () if !self.first_line_done && window == line_end => Err(ScanStop::LineTooLong.into()),
                    () => Err(ScanStop::HeadTooLarge.into()),
                };
            };
            let lf = self.next + at;
            if lf == self.line_start || buf[lf - 1] != b'\r' {
                return Err(ScanStop::BareLf.into());
            }
            let line = &buf[self.line_start..lf - 1];
            self.next = lf + 1;
            self.line_start = lf + 1;
            if !self.first_line_done {
                (first.check)(line)?;
                self.first_line_done = true;
            } else if line.is_empty() {
                return Ok(Some(self.start..lf + 1));
            }
        }
    }

    /// Skips empty lines before the first; `false` asks for more bytes.
    fn skip_leading<E: From<ScanStop>>(&mut self, buf: &[u8], first: &FirstLine<E>) -> Result<bool, E> {
        loop {
            match &buf[self.start..] {
                [] | [b'\r'] => return Ok(false),
                [b'\r', b'\n', ..] => {
                    if !first.leading_lines_allowed || self.leading_lines == LEADING_LINES_MAX {
                        return Err(ScanStop::LeadingLines.into());
                    }
                    self.leading_lines += 1;
                    self.start += 2;
                    self.next = self.start;
                    self.line_start = self.start;
                }
                [b'\r', ..] => return Err(ScanStop::BareCr.into()),
                [b'\n', ..] => return Err(ScanStop::BareLf.into()),
                [byte, ..] if !(first.first_byte)(*byte) => return Err(ScanStop::FirstByte.into()),
                _ => return Ok(true),
            }
        }
    }
}

/// The first LF. Lines of heads are short: eight bytes at a time in place cost a third of a call to a search that
/// is made for long texts.
fn find_lf(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const LF: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let zero_at_lf = u64::from_le_bytes(*word) ^ LF;
        // The lowest marked byte is a zero; only bytes above one may be marked wrongly, by its borrow.
        let marked = zero_at_lf.wrapping_sub(ONES) & !zero_at_lf & HIGH;
        if marked != 0 {
            return Some(at * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|byte| *byte == b'\n')?;
    Some(words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::find_lf;

    #[test]
    fn the_first_lf_is_found_wherever_it_is() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let near = b"\n\n\x0b\x09\x8a\x00\xffaaaaaaaaaa";
            let bytes: Vec<u8> = (0..rng.usize(0..40)).map(|_| *rng.choice(near).unwrap()).collect();
            assert_eq!(find_lf(&bytes), bytes.iter().position(|byte| *byte == b'\n'), "seed {seed}");
        }
    }
}
