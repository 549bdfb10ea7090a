//! gRPC-Web at the edge: what a browser can say becomes gRPC, and its answer becomes what a browser can read.
//!
//! A browser cannot read HTTP trailers, so they come as a last frame of the body; where a browser cannot read bytes as
//! they come either, the body is base64 (`-text`). Follows PROTOCOL-WEB.md of the gRPC project. Behind the edge there is
//! only gRPC: the request's body is decoded where it is read ([`TextReader`]) and the answer's is rewritten where it is
//! written ([`WebResponder`]), so no stage in between knows of it, and our own refusals pass the same way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::body::{BodyError, BodyLength, Piece, Reader, RequestBody, Responder, Writer};
use crate::connection::Entry;
use crate::exchange::Request;
use crate::head::{Head, HeadError, Known, Method};
use crate::rescue::is_grpc;

/// First byte of the frame that holds the trailers.
const TRAILERS_FRAME: u8 = 0x80;
/// Text that is held at most before it is handed to the connection.
const HOLD_BYTES_MAX: usize = 16 * 1024;

/// Makes a request gRPC if it is gRPC-Web from outside, and its answer gRPC-Web again. Does nothing the second time.
///
/// # Errors
/// The head has no room.
pub(crate) fn begin(
    request: &mut Request<'_>,
    body: &mut RequestBody<'_>,
    responder: &mut Responder<'_>,
) -> Result<(), HeadError> {
    if request.conn.entry != Entry::Edge || request.head.method() != Method::Post {
        return Ok(());
    }
    let Some(spelling) = Spelling::of(request.head) else { return Ok(()) };
    arrive(request.head)?;
    request.grpc = true;
    if spelling.request_text {
        body.read_through(|reader| Reader::GrpcWebText(Box::new(TextReader::new(reader))));
    }
    responder.answer_through(|inner| {
        Responder::GrpcWeb(Box::new(WebResponder { inner, text: spelling.answer_text }))
    });
    Ok(())
}

/// How the two bodies are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spelling {
    request_text: bool,
    answer_text: bool,
}

impl Spelling {
    /// `None` if the request is not gRPC-Web.
    fn of(head: &Head) -> Option<Spelling> {
        let (request_text, _) = media(head.get(Known::ContentType)?)?;
        // Who sends text may read bytes and the other way round; who says nothing gets what it sent.
        let mut accepted = head.get_all(Known::Accept).flat_map(|list| list.split(|byte| *byte == b','));
        let wish = accepted.find_map(|kind| media(kind.trim_ascii()));
        Some(Spelling { request_text, answer_text: wish.map_or(request_text, |(text, _)| text) })
    }
}

/// Whether a media type is gRPC-Web: whether as text, and its `+format` or nothing.
fn media(kind: &[u8]) -> Option<(bool, &[u8])> {
    const PREFIX: &[u8] = b"application/grpc-web";
    const TEXT: &[u8] = b"-text";
    let name = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let (start, rest) = name.split_at_checked(PREFIX.len())?;
    if !start.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let (text, format) = match rest.split_at_checked(TEXT.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(TEXT) => (true, rest),
        _ => (false, rest),
    };
    let is_format = format.is_empty() || (format.len() > 1 && format.starts_with(b"+"));
    is_format.then_some((text, format))
}

/// The request as a gRPC client would have sent it.
fn arrive(head: &mut Head) -> Result<(), HeadError> {
    let format = head.get(Known::ContentType).and_then(media).map_or(&b""[..], |(_, format)| format);
    let kind = [b"application/grpc", format].concat();
    head.set_known(Known::ContentType, &kind)?;
    head.remove(Known::Accept);
    head.remove(Known::XGrpcWeb);
    head.set_known(Known::Te, b"trailers")
}

/// The answer's media type; `None` if it is not gRPC and passes as it is.
fn answer_kind(head: &Head, text: bool) -> Option<Vec<u8>> {
    if !is_grpc(head) {
        return None;
    }
    let kind = head.get(Known::ContentType)?.split(|byte| *byte == b';').next()?.trim_ascii();
    let format = kind.strip_prefix(b"application/grpc").filter(|format| format.len() > 1);
    let web: &[u8] = if text { b"application/grpc-web-text" } else { b"application/grpc-web" };
    Some([web, format.unwrap_or(b"+proto")].concat())
}

/// Reads a `-text` body as the bytes that it spells.
pub(crate) struct TextReader<'a> {
    inner: Reader<'a>,
    decoder: Decoder,
    out: Vec<u8>,
}

impl<'a> TextReader<'a> {
    fn new(inner: Reader<'a>) -> Self {
        TextReader { inner, decoder: Decoder::default(), out: Vec::new() }
    }

    pub(crate) fn inner(&mut self) -> &mut Reader<'a> {
        &mut self.inner
    }

    pub(crate) fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    pub(crate) fn length(&self) -> BodyLength {
        match self.inner.length() {
            BodyLength::None => BodyLength::None,
            BodyLength::Known(_) | BodyLength::Unknown => BodyLength::Unknown,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Piece<'_>, BodyError> {
        let TextReader { inner, decoder, out } = self;
        out.clear();
        while out.is_empty() {
            match inner.next().await? {
                Piece::End => {
                    decoder.finish()?;
                    return Ok(Piece::End);
                }
                piece => decoder.push(piece.bytes(), out)?,
            }
        }
        Ok(Piece::Slice(out))
    }
}

/// Base64 that comes in parts cut anywhere. Padding ends a group, not the text: a sender may pad each part of its own
/// (PROTOCOL-WEB.md, "Text-encoded streams").
#[derive(Default)]
struct Decoder {
    group: [u8; 4],
    held: usize,
}

impl Decoder {
    fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        while self.held > 0 {
            let Some((first, rest)) = text.split_first() else { return Ok(()) };
            self.group[self.held] = *first;
            self.held += 1;
            text = rest;
            if self.held == self.group.len() {
                self.held = 0;
                decode(&self.group, out)?;
            }
        }
        loop {
            let whole = &text[..text.len() / 4 * 4];
            // Up to the first padded group at once.
            let end = memchr::memchr(b'=', whole).map_or(whole.len(), |at| at / 4 * 4 + 4);
            if end == 0 {
                break;
            }
            decode(&text[..end], out)?;
            text = &text[end..];
        }
        self.group[..text.len()].copy_from_slice(text);
        self.held = text.len();
        Ok(())
    }

    fn finish(&self) -> Result<(), BodyError> {
        if self.held == 0 { Ok(()) } else { Err(BodyError::NotBase64) }
    }
}

fn decode(groups: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
    STANDARD.decode_vec(groups, out).map_err(|_| BodyError::NotBase64)
}

/// Answers in gRPC-Web what comes as gRPC.
pub(crate) struct WebResponder<'a> {
    inner: Responder<'a>,
    text: bool,
}

impl<'a> WebResponder<'a> {
    pub(crate) fn inner(&mut self) -> &mut Responder<'a> {
        &mut self.inner
    }

    /// As [`Responder::start`]. An answer without a body has its status in its head, where gRPC-Web leaves it.
    pub(crate) fn start(
        &mut self,
        head: &Head,
        length: BodyLength,
        declared: Option<u64>,
    ) -> Result<Writer<'_>, BodyError> {
        let Some(kind) = answer_kind(head, self.text) else {
            return self.inner.start(head, length, declared);
        };
        let mut head = head.clone();
        // A type that no longer fits was never sent by anyone: the head then says what it said.
        let _ = head.set_known(Known::ContentType, &kind);
        head.remove(Known::Trailer);
        if length == BodyLength::None {
            return self.inner.start(&head, length, None);
        }
        let wire = self.inner.start(&head, BodyLength::Unknown, None)?;
        let spell = Spell { base64: self.text.then(Encoder::default) };
        Ok(Writer::GrpcWeb(Box::new(WebWriter { wire, spell, out: Vec::new() })))
    }
}

/// Writes gRPC frames, then the trailers as one.
pub(crate) struct WebWriter<'a> {
    wire: Writer<'a>,
    spell: Spell,
    out: Vec<u8>,
}

impl WebWriter<'_> {
    pub(crate) async fn gone(&mut self) {
        self.wire.gone().await;
    }

    pub(crate) async fn data(&mut self, piece: Piece<'_>) -> Result<(), BodyError> {
        if self.spell.base64.is_none() {
            return self.wire.data(piece).await;
        }
        self.spell.data(piece.bytes(), &mut self.out);
        // A message leaves in one piece with the padding that its flush adds.
        if self.out.len() < HOLD_BYTES_MAX { Ok(()) } else { self.send().await }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), BodyError> {
        self.spell.flush(&mut self.out);
        self.send().await?;
        self.wire.flush().await
    }

    pub(crate) async fn end(&mut self, trailers: Option<&Head>) -> Result<(), BodyError> {
        self.spell.end(trailers, &mut self.out);
        self.send().await?;
        self.wire.end(None).await
    }

    async fn send(&mut self) -> Result<(), BodyError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = self.wire.data(Piece::Slice(&self.out)).await;
        self.out.clear();
        sent
    }
}

/// The bytes of an answer's body.
struct Spell {
    base64: Option<Encoder>,
}

impl Spell {
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.base64 {
            Some(encoder) => encoder.push(bytes, out),
            None => out.extend_from_slice(bytes),
        }
    }

    /// Nothing more comes for a while: what is held must be readable.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(encoder) = &mut self.base64 {
            encoder.pad(out);
        }
    }

    fn end(&mut self, trailers: Option<&Head>, out: &mut Vec<u8>) {
        if let Some(frame) = trailers.and_then(trailers_frame) {
            self.data(&frame, out);
        }
        self.flush(out);
    }
}

/// Flag, length, and a line for each field. `None` if there is nothing to say.
fn trailers_frame(trailers: &Head) -> Option<Vec<u8>> {
    let mut frame = vec![TRAILERS_FRAME, 0, 0, 0, 0];
    for field in trailers.iter().filter(|field| !field.known.is_hop_by_hop()) {
        frame.extend_from_slice(field.name);
        frame.extend_from_slice(b": ");
        frame.extend_from_slice(field.value);
        frame.extend_from_slice(b"\r\n");
    }
    // A head is far smaller than 4 GiB.
    let length = u32::try_from(frame.len() - 5).ok().filter(|length| *length > 0)?;
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    Some(frame)
}

/// Base64 of bytes that come in parts, padded only where a part must be readable alone.
#[derive(Default)]
struct Encoder {
    triple: [u8; 3],
    held: usize,
}

impl Encoder {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.held > 0 {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.triple[self.held] = *first;
            self.held += 1;
            bytes = rest;
            if self.held == self.triple.len() {
                self.held = 0;
                encode(&self.triple, out);
            }
        }
        let (whole, rest) = bytes.split_at(bytes.len() / 3 * 3);
        encode(whole, out);
        self.triple[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }

    fn pad(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        encode(&self.triple[..held], out);
    }
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what the text takes.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// For the fuzzer: text that is cut at `ends` spells what it spells as a whole, and bytes that are written are read again.
pub(crate) fn check_text(text: &[u8], ends: &[usize]) {
    let decoded = |ends: &[usize]| {
        let (mut decoder, mut out, mut start) = (Decoder::default(), Vec::new(), 0);
        for end in ends {
            decoder.push(&text[start..*end], &mut out).ok()?;
            start = *end;
        }
        decoder.finish().ok().map(|()| out)
    };
    assert_eq!(decoded(&[text.len()]), decoded(ends), "cuts at {ends:?} change what text spells");
    let (mut encoder, mut written, mut start) = (Encoder::default(), Vec::new(), 0);
    for end in ends {
        encoder.push(&text[start..*end], &mut written);
        start = *end;
        if end % 2 == 0 {
            encoder.pad(&mut written);
        }
    }
    encoder.pad(&mut written);
    let (mut decoder, mut read) = (Decoder::default(), Vec::new());
    let whole = decoder.push(&written, &mut read).and_then(|()| decoder.finish());
    assert!(whole.is_ok() && read == text, "what was written is not what is read");
}

#[cfg(test)]
mod tests;
