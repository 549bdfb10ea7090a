//! Writing messages: a head is said anew from what was parsed, and framing is this codec's alone to say.
//!
//! Fields that concern one connection are never written from the head, whoever put them there; names and values in
//! a [`Head`] cannot hold what would end a line. So what goes out has exactly one reading, whatever came in.

use std::num::NonZeroUsize;

use super::framing::BodyFraming;
use super::response::ResponseTo;
use crate::head::{Head, Known, Method, TargetForm, Version};

/// How a request is to be written to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestWire {
    /// How the body will end. [`BodyFraming::UntilClose`], which no request has, is written as chunked.
    pub framing: BodyFraming,
    /// Whether the head's `upgrade` field is passed on. Nothing but the declared body may follow until a 101 came.
    pub upgrade: bool,
    /// Whether to ask the upstream to close after the response.
    pub close: bool,
}

/// How a response is to be written to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseWire {
    /// The request it answers, as the client sent it.
    pub to: ResponseTo,
    /// The client's version: HTTP/1.0 has no chunks.
    pub version: Version,
    /// How the body that is at hand ends. [`BodyFraming::None`] means that there is none.
    pub framing: BodyFraming,
    /// What to say as `content-length` where no body follows: to HEAD, and with 304.
    pub length_declared: Option<u64>,
    /// Whether we would keep the connection.
    pub keep_alive: bool,
}

/// What was written, and what must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseWritten {
    /// How the body must be written now: [`BodyFraming::Chunked`] wants [`write_chunk`] and [`write_last_chunk`].
    pub framing: BodyFraming,
    /// Whether the connection lives on after the body.
    pub keep_alive: bool,
}

/// Writes a request head to an upstream, always as HTTP/1.1; gives the framing that the body must be written in.
///
/// `host` comes first and is the head's authority. Several `cookie` fields, as HTTP/2 splits them, become one
/// (RFC 9113, 8.2.3).
pub fn write_request(head: &Head, wire: &RequestWire, out: &mut Vec<u8>) -> BodyFraming {
    out.extend_from_slice(head.method_str().as_bytes());
    out.push(b' ');
    write_target(head, out);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.authority_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(head, out);
    write_cookies(head, out);

    let te = head.has(Known::Te);
    let upgrade = head.get(Known::Upgrade).filter(|_| wire.upgrade);
    if te {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if let Some(protocol) = upgrade {
        write_field(b"upgrade", protocol, out);
    }
    let options: &[u8] = match (upgrade.is_some(), te, wire.close) {
        (true, true, _) => b"connection: upgrade, te\r\n",
        (true, false, _) => b"connection: upgrade\r\n",
        (false, true, true) => b"connection: close, te\r\n",
        (false, true, false) => b"connection: te\r\n",
        (false, false, true) => b"connection: close\r\n",
        (false, false, false) => b"",
    };
    out.extend_from_slice(options);
    let framing = match wire.framing {
        _ if head.method() == Method::Connect => BodyFraming::None,
        BodyFraming::UntilClose => BodyFraming::Chunked,
        framing => framing,
    };
    write_framing(framing, out);
    out.extend_from_slice(b"\r\n");
    framing
}

/// Writes a final response head, or a 101, to a client; gives what the body must be written in and whether the
/// connection lives on. The status line always says HTTP/1.1 (RFC 9112, 2.3).
pub fn write_response(head: &Head, wire: &ResponseWire, out: &mut Vec<u8>) -> ResponseWritten {
    let status = head.status();
    write_status_line(status, out);
    write_fields(head, out);

    let tunnel = wire.to.method == Method::Connect && (200..300).contains(&status);
    if status == 101 || tunnel {
        if let Some(protocol) = head.get(Known::Upgrade).filter(|_| !tunnel) {
            write_field(b"upgrade", protocol, out);
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
        out.extend_from_slice(b"\r\n");
        return ResponseWritten { framing: BodyFraming::None, keep_alive: false };
    }
    let bodiless = wire.to.method == Method::Head || status == 304 || status == 204 || status < 200;
    let framing = match wire.framing {
        _ if bodiless => BodyFraming::None,
        // Without a length a client would wait for the end of the connection.
        BodyFraming::None => BodyFraming::Length(0),
        BodyFraming::Chunked if wire.version < Version::Http11 => BodyFraming::UntilClose,
        framing => framing,
    };
    let keep_alive = wire.keep_alive && framing != BodyFraming::UntilClose;
    match (keep_alive, wire.version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, _) => {}
    }
    if let Some(protocol) = head.get(Known::Upgrade).filter(|_| status == 426) {
        write_field(b"upgrade", protocol, out);
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    let may_declare = bodiless && status != 204 && status >= 200;
    match wire.length_declared.filter(|_| may_declare) {
        Some(length) => write_framing(BodyFraming::Length(length), out),
        None => write_framing(framing, out),
    }
    out.extend_from_slice(b"\r\n");
    ResponseWritten { framing, keep_alive }
}

/// Writes an interim response head (100, 103) to an HTTP/1.1 client, with the head's fields. HTTP/1.0 clients know
/// none (RFC 9110, 15.2): send them nothing.
pub fn write_interim(head: &Head, out: &mut Vec<u8>) {
    write_status_line(head.status(), out);
    write_fields(head, out);
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data, on the stack: for writers that gather instead of copying.
#[derive(Debug, Clone, Copy)]
pub struct ChunkHead {
    text: [u8; 18],
    start: u8,
}

impl ChunkHead {
    /// The line for a chunk of so many bytes. A chunk of none would end the body, so there is no way to say it.
    pub fn new(data_bytes: NonZeroUsize) -> ChunkHead {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 18];
        text[16..].copy_from_slice(b"\r\n");
        let mut left = data_bytes.get();
        let mut start = 16;
        while left > 0 {
            start -= 1;
            text[start] = DIGITS[left & 15];
            left >>= 4;
        }
        ChunkHead { text, start: start as u8 }
    }

    /// The bytes: size and CRLF. Data and another CRLF follow.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start as usize..]
    }
}

/// Writes data as one chunk; of no data, nothing.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    if let Some(count) = NonZeroUsize::new(data.len()) {
        out.extend_from_slice(ChunkHead::new(count).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Ends a chunked body, with trailer fields if there are any; those that may not be trailers are left out.
pub fn write_last_chunk(trailers: Option<&Head>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        for field in trailers.iter().filter(|field| !field.is_forbidden_in_trailers()) {
            write_field(field.name, field.value, out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_target(head: &Head, out: &mut Vec<u8>) {
    match head.target_form() {
        TargetForm::Authority => out.extend_from_slice(head.authority_bytes()),
        TargetForm::Asterisk => out.push(b'*'),
        // An upstream is the server itself: absolute form is for proxies.
        TargetForm::Origin | TargetForm::Absolute => {
            out.extend_from_slice(head.path_bytes());
            if let Some(query) = head.query_bytes() {
                out.push(b'?');
                out.extend_from_slice(query);
            }
        }
    }
}

/// All fields but those that this codec owns, and `cookie` of requests, which may have to be joined.
fn write_fields(head: &Head, out: &mut Vec<u8>) {
    for field in head.iter() {
        let cookie = field.known == Known::Cookie && head.kind() == crate::head::Kind::Request;
        if !cookie && !field.known.is_hop_by_hop() {
            write_field(field.name, field.value, out);
        }
    }
}

fn write_cookies(head: &Head, out: &mut Vec<u8>) {
    // An empty one joined would leave a trailing separator, which the next parser reads as part of the value.
    let mut cookies = head.get_all(Known::Cookie).filter(|cookie| !cookie.is_empty());
    let Some(first) = cookies.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first);
    for cookie in cookies {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(cookie);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(framing: BodyFraming, out: &mut Vec<u8>) {
    match framing {
        BodyFraming::None | BodyFraming::UntilClose => {}
        BodyFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        BodyFraming::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The status line with the standard phrase: an upstream's own is not passed on, it means nothing.
fn write_status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    let phrase = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    out.extend_from_slice(phrase.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}
