//! The upstream's HTTP/2 (RFC 9113): it answers each stream with the same frames, and decodes no field of any request.
//!
//! Nothing of the peer's compression state is kept, because nothing is read of what it says; our own fields are literals
//! that change no state either. Send windows are not counted: what is in flight is far below the smallest.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{READ_BYTES, SMALL_BYTES};
use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_BYTES, HEADERS, PING, PREFACE, SETTINGS, WINDOW_UPDATE,
    frame,
};

/// The peer may send frames of the default size only (RFC 9113, 4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Room for bodies of requests, given to the connection once it is half used up.
const WINDOW_BYTES: u32 = 1 << 30;

/// Serves a connection of which `buf` was read already.
pub(super) async fn serve(mut stream: TcpStream, mut buf: Vec<u8>) -> io::Result<()> {
    let answer = answer();
    let mut out = Vec::with_capacity(READ_BYTES);
    // MAX_CONCURRENT_STREAMS 1000; INITIAL_WINDOW_SIZE 1 MiB.
    frame(&mut out, SETTINGS, 0, 0, &[0, 3, 0, 0, 3, 232, 0, 4, 0, 16, 0, 0]);
    frame(&mut out, WINDOW_UPDATE, 0, 0, &WINDOW_BYTES.to_be_bytes());
    let (mut begun, mut received_bytes) = (false, 0);
    loop {
        let mut taken = 0;
        if !begun && buf.len() >= PREFACE.len() {
            (begun, taken) = (true, PREFACE.len());
        }
        while begun && let Some((kind, flags, id, payload)) = next_frame(&buf[taken..])? {
            taken += FRAME_HEAD_BYTES + payload.len();
            match kind {
                DATA => received_bytes += payload.len(),
                SETTINGS if flags & ACK == 0 => frame(&mut out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut out, PING, ACK, 0, payload),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                answer.write(&mut out, id);
            }
        }
        buf.drain(..taken);
        if received_bytes > WINDOW_BYTES as usize / 2 {
            let given = u32::try_from(std::mem::take(&mut received_bytes)).unwrap_or(WINDOW_BYTES);
            frame(&mut out, WINDOW_UPDATE, 0, 0, &given.to_be_bytes());
        }
        stream.write_all(&out).await?;
        out.clear();
        if stream.read_buf(&mut buf).await? == 0 {
            return Ok(());
        }
    }
}

/// Kind, flags, stream and payload.
type Frame<'b> = (u8, u8, u32, &'b [u8]);

/// A frame that is there as a whole.
fn next_frame(bytes: &[u8]) -> io::Result<Option<Frame<'_>>> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(rest.get(..length).map(|payload| (head[3], head[4], id, payload)))
}

/// An answer that both a caller of gRPC and any other understands: 200, one message, `grpc-status: 0`.
struct Answer {
    head: Vec<u8>,
    message: Vec<u8>,
    trailers: Vec<u8>,
}

impl Answer {
    fn write(&self, out: &mut Vec<u8>, id: u32) {
        frame(out, HEADERS, END_HEADERS, id, &self.head);
        frame(out, DATA, 0, id, &self.message);
        frame(out, HEADERS, END_HEADERS | END_STREAM, id, &self.trailers);
    }
}

fn answer() -> Answer {
    // `:status: 200` is entry 8 of the static table (RFC 7541, appendix A), `content-type` entry 31.
    let mut head = vec![0x88, 0x0f, 31 - 15];
    literal(&mut head, "application/grpc");
    let mut trailers = vec![0];
    literal(&mut trailers, "grpc-status");
    literal(&mut trailers, "0");
    let mut message = vec![0; 5];
    message.resize(5 + SMALL_BYTES, b'x');
    #[expect(clippy::cast_possible_truncation, reason = "200")]
    let length = SMALL_BYTES as u32;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    Answer { head, message, trailers }
}

/// A string without Huffman coding, shorter than 127 bytes (RFC 7541, 5.2).
fn literal(out: &mut Vec<u8>, text: &str) {
    #[expect(clippy::cast_possible_truncation, reason = "three words that stand in this file")]
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        frame(&mut bytes, PING, ACK, 7, b"12345678");
        assert_eq!(next_frame(&bytes).unwrap(), Some((PING, ACK, 7, b"12345678".as_slice())));
        assert_eq!(next_frame(&bytes[..bytes.len() - 1]).unwrap(), None);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        assert!(next_frame(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
    }
}
