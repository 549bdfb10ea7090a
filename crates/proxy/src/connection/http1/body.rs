//! Bodies: where one ends, byte by byte, without keeping any of it.
//!
//! The decoder is pushed whatever has arrived and gives back slices of it. It never asks to see a byte twice, so
//! the connection's buffer can be reused at once. Chunked coding is read as strictly as heads: hexadecimal digits
//! and nothing else in a size, CRLF and nothing else at a line's end (RFC 9112, 7.1). Chunk extensions are bounded
//! and dropped: no two servers agree about them. Trailer fields that would change what was decided on the head are
//! dropped too (RFC 9110, 6.5.1).

use super::framing::BodyFraming;
use super::parse::{FieldFlaw, line_flaw};
use crate::head::{Head, trim_ows};

/// Most bytes of the trailer section of one body.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Most trailer fields of one body.
pub const TRAILER_FIELDS_MAX: usize = 64;

/// Most hexadecimal digits of a chunk size: what fits 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Most bytes of extensions of one chunk.
const EXTENSION_BYTES_MAX: u32 = 256;

/// Most bytes of extensions of one body: they carry nothing, and one per byte of data costs us a hundredfold.
const EXTENSIONS_BYTES_MAX: u32 = 16 * 1024;

/// What is wrong with a body. Its connection closes: where the next message begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A chunk size that is not hexadecimal digits followed by CRLF or an extension.
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSizeInvalid,
    /// A chunk size of more digits than 64 bits need.
    #[error("a chunk size has too many digits")]
    ChunkSizeTooLong,
    /// A control byte in a chunk extension.
    #[error("a chunk extension holds a control byte")]
    ChunkExtensionInvalid,
    /// Chunk extensions beyond their limit.
    #[error("chunk extensions are longer than the limit")]
    ChunkExtensionTooLong,
    /// LF without CR, or CR without LF, after a size or in the trailers.
    #[error("a line does not end with CRLF")]
    LineEnd,
    /// Chunk data that is longer or shorter than its size says.
    #[error("a chunk does not end where its size says")]
    ChunkEndMissing,
    /// A trailer field that is no field.
    #[error("a trailer field is malformed")]
    TrailerInvalid,
    /// Trailers beyond their limit.
    #[error("the trailers are larger than the limit")]
    TrailersTooLarge,
    /// The connection ended before the body did.
    #[error("the connection ended before the body did")]
    Truncated,
}

impl BodyFault {
    /// A stable short name, for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            BodyFault::ChunkSizeInvalid => "chunk_size_invalid",
            BodyFault::ChunkSizeTooLong => "chunk_size_too_long",
            BodyFault::ChunkExtensionInvalid => "chunk_extension_invalid",
            BodyFault::ChunkExtensionTooLong => "chunk_extension_too_long",
            BodyFault::LineEnd => "line_end",
            BodyFault::ChunkEndMissing => "chunk_end_missing",
            BodyFault::TrailerInvalid => "trailer_invalid",
            BodyFault::TrailersTooLarge => "trailers_too_large",
            BodyFault::Truncated => "truncated",
        }
    }
}

/// What a push of bytes brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEvent<'a> {
    /// Nothing yet: all input was taken, more is wanted.
    More,
    /// Bytes of the body; never empty.
    Data(&'a [u8]),
    /// The body has ended; what follows belongs to the next message. Every later call says so again.
    End,
}

/// Finds the end of one body. Holds no memory unless trailers come.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    trailers: Option<Box<Trailers>>,
    extensions_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length { left: u64 },
    UntilClose,
    Size { size: u64, digits: u8 },
    Extension { size: u64, bytes: u32 },
    SizeLf { size: u64 },
    ChunkData { left: u64 },
    ChunkCr,
    ChunkLf,
    TrailerStart,
    TrailerLine,
    LastLf,
    Failed(BodyFault),
    Done,
}

#[derive(Debug, Default)]
struct Trailers {
    head: Head,
    /// The line in progress; never shown, it may hold half a secret.
    line: Vec<u8>,
    bytes: usize,
}

impl BodyDecoder {
    /// A decoder for a body that ends as `framing` says.
    pub fn new(framing: BodyFraming) -> BodyDecoder {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::Size { size: 0, digits: 0 },
            BodyFraming::UntilClose => State::UntilClose,
        };
        BodyDecoder { state, trailers: None, extensions_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields, once the body has ended; those that may not be trailers are gone.
    pub fn trailers(&self) -> Option<&Head> {
        let trailers = self.trailers.as_ref().filter(|_| self.is_done())?;
        (!trailers.head.is_empty()).then_some(&trailers.head)
    }

    /// Takes bytes; gives how many it took and what they brought. Call again with the rest until it says `More` or
    /// `End`. With empty input it says which of the two it is.
    ///
    /// # Errors
    /// [`BodyFault`]: close the connection. Every later call fails again.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, BodyEvent<'a>), BodyFault> {
        match self.step(input) {
            Ok(done) => Ok(done),
            Err(fault) => {
                self.state = State::Failed(fault);
                Err(fault)
            }
        }
    }

    /// The connection has ended: a body that lasts until then is complete, any other must be complete already.
    ///
    /// # Errors
    /// [`BodyFault::Truncated`], or the fault that was met before.
    pub fn finish(&mut self) -> Result<(), BodyFault> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(fault) => Err(fault),
            _ => {
                self.state = State::Failed(BodyFault::Truncated);
                Err(BodyFault::Truncated)
            }
        }
    }

    fn step<'a>(&mut self, input: &'a [u8]) -> Result<(usize, BodyEvent<'a>), BodyFault> {
        let mut at = 0;
        loop {
            if let State::Done = self.state {
                return Ok((at, BodyEvent::End));
            }
            if let State::Failed(fault) = self.state {
                return Err(fault);
            }
            let rest = &input[at..];
            if rest.is_empty() {
                return Ok((at, BodyEvent::More));
            }
            match self.state {
                State::UntilClose => return Ok((input.len(), BodyEvent::Data(rest))),
                State::Length { left } => {
                    let (data, left) = take(rest, left);
                    self.state = if left == 0 { State::Done } else { State::Length { left } };
                    return Ok((at + data.len(), BodyEvent::Data(data)));
                }
                State::ChunkData { left } => {
                    let (data, left) = take(rest, left);
                    self.state = if left == 0 { State::ChunkCr } else { State::ChunkData { left } };
                    return Ok((at + data.len(), BodyEvent::Data(data)));
                }
                State::TrailerLine => at += self.trailer_bytes(rest)?,
                _ => {
                    self.control_byte(rest[0])?;
                    at += usize::from(self.state != State::TrailerLine);
                }
            }
        }
    }

    /// One byte of what stands around the data. A byte that begins a trailer line is left to be read again.
    fn control_byte(&mut self, byte: u8) -> Result<(), BodyFault> {
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, _) => self.size_byte(size, digits, byte)?,
            (State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, bytes }, _) => self.extension_byte(size, bytes, byte)?,
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::ChunkData { left: size },
            (State::SizeLf { .. } | State::LastLf, _) if byte != b'\n' => return Err(BodyFault::LineEnd),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::ChunkCr | State::ChunkLf, _) => return Err(BodyFault::ChunkEndMissing),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart, b'\n') => return Err(BodyFault::LineEnd),
            (State::TrailerStart, _) => State::TrailerLine,
            (State::LastLf, _) => State::Done,
            (other, _) => other,
        };
        Ok(())
    }

    fn size_byte(&self, size: u64, digits: u8, byte: u8) -> Result<State, BodyFault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(State::SizeLf { size }),
            b';' if digits > 0 => return Ok(State::Extension { size, bytes: 0 }),
            b'\n' if digits > 0 => return Err(BodyFault::LineEnd),
            _ => return Err(BodyFault::ChunkSizeInvalid),
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(BodyFault::ChunkSizeTooLong);
        }
        Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
    }

    fn extension_byte(&mut self, size: u64, bytes: u32, byte: u8) -> Result<State, BodyFault> {
        match byte {
            b'\n' => return Err(BodyFault::LineEnd),
            byte if !crate::head::is_value_byte(byte) => return Err(BodyFault::ChunkExtensionInvalid),
            _ => {}
        }
        self.extensions_bytes += 1;
        if bytes == EXTENSION_BYTES_MAX || self.extensions_bytes > EXTENSIONS_BYTES_MAX {
            return Err(BodyFault::ChunkExtensionTooLong);
        }
        Ok(State::Extension { size, bytes: bytes + 1 })
    }

    /// Takes bytes of a trailer line; at its end adds the field.
    fn trailer_bytes(&mut self, rest: &[u8]) -> Result<usize, BodyFault> {
        let trailers = self.trailers.get_or_insert_with(|| {
            let mut trailers = Box::<Trailers>::default();
            trailers.head.start_trailers();
            trailers
        });
        let room = TRAILER_BYTES_MAX - trailers.bytes;
        let window = &rest[..rest.len().min(room)];
        let lf = memchr::memchr(b'\n', window);
        let taken = lf.map_or(window.len(), |at| at + 1);
        if taken == 0 || (lf.is_none() && window.len() == room) {
            return Err(BodyFault::TrailersTooLarge);
        }
        trailers.bytes += taken;
        trailers.line.extend_from_slice(&window[..taken]);
        if lf.is_some() {
            let line = trailers.line.strip_suffix(b"\r\n").ok_or(BodyFault::LineEnd)?;
            push_trailer(&mut trailers.head, line)?;
            trailers.line.clear();
            self.state = State::TrailerStart;
        }
        Ok(taken)
    }
}

fn take(input: &[u8], left: u64) -> (&[u8], u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    (&input[..count], left - count as u64)
}

fn push_trailer(head: &mut Head, line: &[u8]) -> Result<(), BodyFault> {
    match line_flaw(line) {
        None => {}
        Some(FieldFlaw::BareCr) => return Err(BodyFault::LineEnd),
        Some(_) => return Err(BodyFault::TrailerInvalid),
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Err(BodyFault::TrailerInvalid) };
    if head.len() == TRAILER_FIELDS_MAX {
        return Err(BodyFault::TrailersTooLarge);
    }
    head.push(&line[..colon], trim_ows(&line[colon + 1..])).map_err(|_| BodyFault::TrailerInvalid)?;
    head.remove_where(|field| field.is_forbidden_in_trailers());
    Ok(())
}
