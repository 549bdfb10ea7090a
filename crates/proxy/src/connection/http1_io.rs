//! Bodies and heads of HTTP/1.1 in motion, either side: the codec's pure parts over a stream and two buffers.

use std::cell::Cell;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::task::Poll;

use crate::body::{BodyError, BodyLength, Piece};
use crate::buffer::{BUFFER_BYTES, Buffer, Outgoing};
use crate::connection::http1::{
    BodyDecoder, BodyEvent, BodyFraming, ChunkHead, HeadFault, HeadLimits, HeadScan, ParsedResponse,
    ResponseTo, ResponseWire, parse_response, write_interim, write_last_chunk, write_response,
};
use crate::head::{Head, Version};
use crate::stream::Stream;

/// Written bytes that are held at most before they are sent.
const HOLD_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are read at once of a body that comes faster than it is read. An eighth of the system calls of a small buffer,
/// and gone with the exchange.
const BULK_BYTES: usize = 128 * 1024;

/// Pipelined bytes that are taken in while an answer is awaited; beyond them the peer's absence is not noticed.
const AHEAD_BYTES_MAX: usize = BUFFER_BYTES;

/// Reads a body.
pub(crate) struct Http1Reader<'a> {
    stream: &'a Stream,
    buf: &'a mut Buffer,
    decoder: BodyDecoder,
    length: BodyLength,
    eaten: usize,
    /// The last read left no room: more is waiting.
    bulk: bool,
    /// The peer was told at once that its head has come.
    acknowledged: bool,
    /// The client waits for a 100 before it sends; said when the body is first needed and nothing else was.
    expects: Option<&'a Cell<bool>>,
}

impl<'a> Http1Reader<'a> {
    /// Reads what follows a head. `expects` is set once an answer has begun, so that no 100 follows it.
    pub(crate) fn new(
        stream: &'a Stream,
        buf: &'a mut Buffer,
        framing: BodyFraming,
        expects: Option<&'a Cell<bool>>,
    ) -> Self {
        let length = match framing {
            BodyFraming::None => BodyLength::None,
            BodyFraming::Length(bytes) => BodyLength::Known(bytes),
            BodyFraming::Chunked | BodyFraming::UntilClose => BodyLength::Unknown,
        };
        Http1Reader {
            stream,
            buf,
            decoder: BodyDecoder::new(framing),
            length,
            eaten: 0,
            bulk: false,
            acknowledged: false,
            expects,
        }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    pub(crate) fn trailers(&mut self) -> Option<&Head> {
        self.decoder.trailers()
    }

    pub(crate) async fn next(&mut self) -> Result<Piece<'_>, BodyError> {
        loop {
            self.buf.consume(std::mem::take(&mut self.eaten));
            if self.decoder.is_done() {
                return Ok(Piece::End);
            }
            let bytes = self.buf.bytes();
            let (consumed, event) = self.decoder.decode(bytes).map_err(|_| BodyError::Malformed)?;
            match event {
                BodyEvent::Data(data) => {
                    // The part's place, so that the borrow of this turn can end here.
                    let start = data.as_ptr().addr() - bytes.as_ptr().addr();
                    let range = start..start + data.len();
                    self.eaten = consumed;
                    return Ok(Piece::Slice(&self.buf.bytes()[range]));
                }
                BodyEvent::End => self.buf.consume(consumed),
                BodyEvent::More => {
                    self.buf.consume(consumed);
                    self.fill().await?;
                }
            }
        }
    }

    async fn fill(&mut self) -> Result<(), BodyError> {
        if let Some(answered) = self.expects.take()
            && !answered.get()
        {
            let line = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.stream.write_both(line, b"").await.map_err(|_| BodyError::Gone)?;
        }
        let space = self.buf.space(if self.bulk { BULK_BYTES } else { BUFFER_BYTES / 2 });
        let room = space.len();
        let (stream, acknowledged) = (self.stream, &mut self.acknowledged);
        let read = poll_fn(|cx| {
            let read = stream.poll_read(cx, space);
            if read.is_pending() && !std::mem::replace(acknowledged, true) {
                stream.acknowledge();
            }
            read
        });
        match read.await {
            Ok(0) => self.decoder.finish().map_err(|_| BodyError::Gone),
            Ok(count) => {
                self.bulk = count == room;
                self.buf.filled(count);
                Ok(())
            }
            Err(_) => Err(BodyError::Gone),
        }
    }

    /// After the body: completes when the peer ends its side, true, or the connection breaks. What it sends ahead is kept
    /// for the next message.
    pub(crate) async fn gone(&mut self) -> bool {
        self.buf.consume(std::mem::take(&mut self.eaten));
        poll_fn(|cx| {
            while self.buf.len() < AHEAD_BYTES_MAX {
                match self.stream.poll_read(cx, self.buf.space(1)) {
                    Poll::Pending => {
                        self.buf.release();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(true),
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Ready(Ok(count)) => self.buf.filled(count),
                }
            }
            // Whoever sends so far ahead is not gone.
            Poll::Pending
        })
        .await
    }
}

/// Writes a body.
pub(crate) struct Http1Writer<'a> {
    stream: &'a Stream,
    out: &'a mut Outgoing,
    framing: BodyFraming,
    /// A part of the message was sent.
    begun: bool,
    ended: bool,
    failed: bool,
}

impl<'a> Http1Writer<'a> {
    /// `out` already holds the head. Its memory is given back at the end of the message.
    pub(crate) fn new(stream: &'a Stream, out: &'a mut Outgoing, framing: BodyFraming) -> Self {
        Http1Writer { stream, out, framing, begun: false, ended: false, failed: false }
    }

    pub(crate) async fn data(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        match &mut self.framing {
            // To HEAD, and with 204 and 304, nothing is sent whatever the other side said.
            BodyFraming::None => Ok(()),
            BodyFraming::Length(left) => {
                let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                    return Err(BodyError::Malformed);
                };
                *left = rest;
                self.put(bytes).await
            }
            BodyFraming::UntilClose => self.put(bytes).await,
            BodyFraming::Chunked => {
                let Some(count) = NonZeroUsize::new(bytes.len()) else { return Ok(()) };
                self.out.extend_from_slice(ChunkHead::new(count).as_bytes());
                self.put(bytes).await?;
                self.out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if self.out.len() + bytes.len() <= HOLD_BYTES_MAX {
            self.out.extend_from_slice(bytes);
            return Ok(());
        }
        self.send(bytes).await
    }

    /// Sends what is held, and these bytes after it.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.begun = true;
        let sent = self.stream.write_both(self.out, bytes).await;
        self.out.clear();
        self.failed |= sent.is_err();
        sent.map_err(|_| BodyError::Gone)
    }

    /// Whether the kernel took all that was announced, or takes it when this turn ends: a length that is full, the last chunk, or a head without a body.
    pub(crate) fn is_whole(&self) -> bool {
        let announced = match self.framing {
            BodyFraming::None => true,
            BodyFraming::Length(left) => left == 0,
            BodyFraming::Chunked | BodyFraming::UntilClose => self.ended,
        };
        announced && self.out.is_empty() && !self.failed
    }

    pub(crate) async fn flush(&mut self) -> Result<(), BodyError> {
        if self.out.is_empty() { Ok(()) } else { self.send(b"").await }
    }

    pub(crate) async fn end(&mut self, trailers: Option<&Head>) -> Result<(), BodyError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        match self.framing {
            BodyFraming::Length(left) if left > 0 => return Err(BodyError::Malformed),
            BodyFraming::Chunked => write_last_chunk(trailers, self.out),
            _ => {}
        }
        if self.begun {
            self.flush().await?;
        } else {
            let sent = self.stream.send_with_turn(self.out).await;
            self.failed |= sent.is_err();
            sent.map_err(|_| BodyError::Gone)?;
        }
        self.out.release();
        Ok(())
    }
}

/// What a client asked for, as far as its answer's form depends on it.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) to: ResponseTo,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
}

/// Answers one request.
pub(crate) struct Http1Responder<'a> {
    stream: &'a Stream,
    /// Without memory until there is something to say.
    out: &'a mut Outgoing,
    asked: Asked,
    /// Set when a final head was begun.
    answered: &'a Cell<bool>,
    keep_alive: bool,
}

impl<'a> Http1Responder<'a> {
    pub(crate) fn new(
        stream: &'a Stream,
        out: &'a mut Outgoing,
        asked: Asked,
        answered: &'a Cell<bool>,
    ) -> Self {
        Http1Responder { stream, out, asked, answered, keep_alive: false }
    }

    /// Whether the connection lives on after what was written.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Says that the connection ends after this answer.
    pub(crate) fn close_after(&mut self) {
        self.asked.keep_alive = false;
    }

    pub(crate) fn start(
        &mut self,
        head: &Head,
        length: BodyLength,
        declared: Option<u64>,
    ) -> Http1Writer<'_> {
        self.answered.set(true);
        let framing = match length {
            BodyLength::None => BodyFraming::None,
            BodyLength::Known(bytes) => BodyFraming::Length(bytes),
            BodyLength::Unknown => BodyFraming::Chunked,
        };
        let wire = ResponseWire {
            to: self.asked.to,
            version: self.asked.version,
            framing,
            length_declared: declared,
            keep_alive: self.asked.keep_alive,
        };
        self.out.begin();
        let written = write_response(head, &wire, self.out);
        self.keep_alive = written.keep_alive;
        Http1Writer::new(self.stream, self.out, written.framing)
    }

    /// Sends an interim head at once.
    pub(crate) async fn interim(&mut self, head: &Head) -> Result<(), BodyError> {
        if self.asked.version != Version::Http11 {
            return Ok(());
        }
        self.out.begin();
        write_interim(head, self.out);
        let sent = self.stream.write_both(self.out, b"").await;
        self.out.clear();
        sent.map_err(|_| BodyError::Gone)
    }
}

/// Why no head could be read.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The peer closed or reset the connection.
    Closed,
    /// What came is not a head.
    Fault(HeadFault),
}

/// The answer of an upstream, its head first.
pub(crate) struct Http1Reply<'a> {
    stream: &'a Stream,
    buf: &'a mut Buffer,
    scan: HeadScan,
    to: ResponseTo,
}

impl<'a> Http1Reply<'a> {
    pub(crate) fn new(stream: &'a Stream, buf: &'a mut Buffer, to: ResponseTo) -> Self {
        Http1Reply { stream, buf, scan: HeadScan::default(), to }
    }

    /// The next head, interim ones included. Cancel-safe.
    pub(crate) async fn head(&mut self, head: &mut Head) -> Result<ParsedResponse, NoHead> {
        loop {
            let parsed = parse_response(self.buf.bytes(), &mut self.scan, &HeadLimits::HOP, self.to, head);
            if let Some(parsed) = parsed.map_err(NoHead::Fault)? {
                self.buf.consume(parsed.head_bytes);
                return Ok(parsed);
            }
            // Whoever waits for an answer holds no memory for it.
            let read = poll_fn(|cx| {
                let read = self.stream.poll_read(cx, self.buf.space(BUFFER_BYTES / 2));
                if read.is_pending() {
                    self.buf.release();
                }
                read
            });
            match read.await {
                Ok(0) | Err(_) => return Err(NoHead::Closed),
                Ok(count) => self.buf.filled(count),
            }
        }
    }

    /// The body after the final head.
    pub(crate) fn into_reader(self, framing: BodyFraming) -> Http1Reader<'a> {
        Http1Reader::new(self.stream, self.buf, framing, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::poll_once;
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn a_head_without_its_body_is_acknowledged_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (near, _far) = (near.unwrap().into_std().unwrap(), far.unwrap());
            let seen = TcpStream::from_std(near.try_clone().unwrap()).unwrap();
            seen.set_quickack(false).unwrap();
            let (stream, mut buf) = (Stream::from(TcpStream::from_std(near).unwrap()), Buffer::default());
            let mut reader = Http1Reader::new(&stream, &mut buf, BodyFraming::Length(5), None);
            assert!(!seen.quickack().unwrap());
            {
                let mut next = std::pin::pin!(reader.next());
                assert!(poll_once(next.as_mut()).await.is_none());
            }
            assert!(seen.quickack().unwrap());
        });
    }
}
