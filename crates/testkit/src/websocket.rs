//! As much of WebSocket (RFC 6455) as a test needs: an opening, messages in one frame each, both sides.

use std::io::{self, BufRead, Read, Write};

use crate::http::{Client, Request};

const OPCODE_CLOSE: u8 = 8;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Opens a WebSocket on a connection; what comes after are frames.
///
/// # Errors
/// The other side refuses, or answers another key.
pub fn open(client: &mut Client, target: &str) -> io::Result<()> {
    let request = Request::get(target)
        .field("connection", "Upgrade")
        .field("upgrade", "websocket")
        .field("sec-websocket-version", "13")
        .field("sec-websocket-key", KEY);
    let response = client.send(&request)?;
    if response.status != 101 || response.field("sec-websocket-accept") != Some(&accept(KEY)) {
        return Err(io::Error::other(format!("not a WebSocket: {}", response.outcome())));
    }
    Ok(())
}

/// Sends a text message, masked as clients must.
///
/// # Errors
/// The connection ends.
pub fn send(client: &mut Client, text: &str) -> io::Result<()> {
    const MASK: [u8; 4] = [7, 77, 177, 217];
    let mut frame = head(1, text.len(), 0x80)?;
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    client.write(&frame)
}

/// Receives a message.
///
/// # Errors
/// The connection ends, or sends something else.
pub fn receive(client: &mut Client) -> io::Result<String> {
    let first = client.read_bytes(2)?;
    let (opcode, length) = (first[0] & 0x0f, usize::from(first[1] & 0x7f));
    if opcode != 1 || length > 125 {
        return Err(io::Error::other(format!("frame {opcode} of {length}")));
    }
    Ok(String::from_utf8_lossy(&client.read_bytes(length)?).into_owned())
}

/// Answers an opening, then sends back each message, until the other side closes.
pub(crate) fn serve(key: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let accept = accept(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    output.write_all(head.as_bytes())?;
    while let Some((opcode, message)) = read_frame(input)? {
        if opcode == OPCODE_CLOSE {
            return Ok(());
        }
        let mut frame = self::head(opcode, message.len(), 0)?;
        frame.extend(message);
        output.write_all(&frame)?;
    }
    Ok(())
}

fn head(opcode: u8, length: usize, masked: u8) -> io::Result<Vec<u8>> {
    match u8::try_from(length) {
        Ok(short @ 0..126) => Ok(vec![0x80 | opcode, masked | short]),
        _ => {
            let length = u16::try_from(length).map_err(io::Error::other)?.to_be_bytes();
            Ok(vec![0x80 | opcode, masked | 126, length[0], length[1]])
        }
    }
}

fn read_frame(input: &mut impl BufRead) -> io::Result<Option<(u8, Vec<u8>)>> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut first = [0; 2];
    input.read_exact(&mut first)?;
    let mut length = usize::from(first[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        input.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    } else if length == 127 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut mask = [0; 4];
    if first[1] & 0x80 != 0 {
        input.read_exact(&mut mask)?;
    }
    let mut message = vec![0; length];
    Read::read_exact(input, &mut message)?;
    message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(Some((first[0] & 0x0f, message)))
}

/// RFC 6455, section 4.2.2.
fn accept(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// FIPS 180-4, section 6.1. WebSocket asks for it as a checksum; nothing here relies on it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        }
        for t in 16..80 {
            words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (f, k) = match t {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_gives_the_answer_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn letters_are_filled_up() {
        assert_eq!(
            (base64(b"a"), base64(b"ab"), base64(b"abc")),
            ("YQ==".into(), "YWI=".into(), "YWJj".into())
        );
    }
}
