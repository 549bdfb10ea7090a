//! Frames of HTTP/2 (RFC 9113, 4.1) as bytes, for those who write them by hand: right or wrong, in any order.

/// What a client says first (RFC 9113, 3.4); a `SETTINGS` frame follows.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// The last frame of a stream.
pub const END_STREAM: u8 = 1;
/// Of `SETTINGS` and `PING`: an answer.
pub const ACK: u8 = 1;
/// The last frame of a head.
pub const END_HEADERS: u8 = 4;

/// Bytes of a frame before its payload.
pub const FRAME_HEAD_BYTES: usize = 9;

/// Adds a frame.
///
/// # Panics
/// The payload is 16 MiB or more.
#[expect(clippy::panic, reason = "a harness ends the test")]
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [0, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes() else {
        panic!("a payload of {} bytes", payload.len());
    };
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
