//! Message bodies in motion: what is read on one side is written on the other, whatever either side speaks.
//!
//! A reader lends a piece at a time and a writer takes it, so that HTTP/1.1 to HTTP/1.1 copies nothing but what the
//! kernel copies. A writer is flushed exactly when the reader has nothing more at once: small messages leave in one
//! write, and a stream of events never waits for the next one.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use weft_stdx::clock::Tick;

use crate::connection::http1_io::{Http1Reader, Http1Responder, Http1Writer};
use crate::connection::http2_io::{Http2Reader, Http2Responder, Http2Writer};
use crate::head::Head;
use crate::stage::grpc_web::{TextReader, WebResponder, WebWriter};
use crate::timer::Timer;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is none.
    None,
    /// Exactly this many bytes.
    Known(u64),
    /// Known at the end.
    Unknown,
}

/// A part of a body.
pub(crate) enum Piece<'a> {
    /// Lent from a buffer.
    Slice(&'a [u8]),
    /// Shared memory, as HTTP/2 frames come.
    Shared(Bytes),
    /// The body is complete; [`Reader::trailers`] has what came after it.
    End,
}

impl Piece<'_> {
    /// The bytes of this part.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Piece::Slice(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
            Piece::End => &[],
        }
    }
}

/// Why a body did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The peer went away or reset the stream.
    Gone,
    /// The peer broke its own framing.
    Malformed,
    /// Longer than allowed.
    TooLarge,
    /// A `-text` body of gRPC-Web is not base64.
    NotBase64,
}

/// Where a body comes from.
pub(crate) enum Reader<'a> {
    /// At hand.
    Kept {
        /// All of it.
        bytes: Vec<u8>,
        /// Whether it was read.
        read: bool,
    },
    /// HTTP/1.1 connection.
    Http1(Http1Reader<'a>),
    /// HTTP/2 stream.
    Http2(Http2Reader),
    /// gRPC-Web as text, whichever of the above it comes by.
    GrpcWebText(Box<TextReader<'a>>),
}

impl Reader<'_> {
    /// The next part. Cancel-safe: a part is lost only after it was returned.
    pub(crate) async fn next(&mut self) -> Result<Piece<'_>, BodyError> {
        match self {
            Reader::Kept { bytes, read } => {
                let over = std::mem::replace(read, true) || bytes.is_empty();
                Ok(if over { Piece::End } else { Piece::Slice(bytes) })
            }
            Reader::Http1(reader) => reader.next().await,
            Reader::Http2(reader) => reader.next().await,
            Reader::GrpcWebText(reader) => Box::pin(reader.next()).await,
        }
    }

    /// Whether the body was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Reader::Kept { read, .. } => *read,
            Reader::Http1(reader) => reader.is_done(),
            Reader::Http2(reader) => reader.is_done(),
            Reader::GrpcWebText(reader) => reader.is_done(),
        }
    }

    /// After the body: completes when the peer is gone, as far as this side can tell; true when it ended its side, which it
    /// may do and still read.
    pub(crate) async fn gone(&mut self) -> bool {
        match self {
            Reader::Http1(reader) => reader.gone().await,
            // A reset of the stream is seen by the responder.
            Reader::Kept { .. } | Reader::Http2(_) => std::future::pending().await,
            Reader::GrpcWebText(reader) => Box::pin(reader.inner().gone()).await,
        }
    }

    /// How long the body is, as its head said.
    pub(crate) fn length(&self) -> BodyLength {
        match self {
            Reader::Kept { bytes, .. } if bytes.is_empty() => BodyLength::None,
            Reader::Kept { bytes, .. } => BodyLength::Known(bytes.len() as u64),
            Reader::Http1(reader) => reader.length(),
            Reader::Http2(reader) => reader.length(),
            Reader::GrpcWebText(reader) => reader.length(),
        }
    }

    /// Fields after the body; only after [`Piece::End`].
    pub(crate) fn trailers(&mut self) -> Option<&Head> {
        match self {
            Reader::Kept { .. } => None,
            Reader::Http1(reader) => reader.trailers(),
            Reader::Http2(reader) => reader.trailers(),
            Reader::GrpcWebText(reader) => reader.inner().trailers(),
        }
    }
}

/// Where a body goes.
pub(crate) enum Writer<'a> {
    /// HTTP/1.1 connection.
    Http1(Http1Writer<'a>),
    /// HTTP/2 stream.
    Http2(Http2Writer),
    /// gRPC-Web, whichever of the above it goes by.
    GrpcWeb(Box<WebWriter<'a>>),
    /// Nobody reads it.
    Nobody,
}

impl Writer<'_> {
    /// Takes a part; may hold it until [`Writer::flush`].
    pub(crate) async fn data(&mut self, piece: Piece<'_>) -> Result<(), BodyError> {
        match self {
            Writer::Http1(writer) => writer.data(piece.bytes()).await,
            Writer::Http2(writer) => writer.data(piece).await,
            Writer::GrpcWeb(writer) => Box::pin(writer.data(piece)).await,
            Writer::Nobody => Ok(()),
        }
    }

    /// Sends what is held.
    pub(crate) async fn flush(&mut self) -> Result<(), BodyError> {
        match self {
            Writer::Http1(writer) => writer.flush().await,
            Writer::Http2(writer) => writer.flush().await,
            Writer::GrpcWeb(writer) => Box::pin(writer.flush()).await,
            Writer::Nobody => Ok(()),
        }
    }

    /// Completes when whoever reads it gave up, as far as this side can tell (see [`Reader::gone`]).
    pub(crate) async fn gone(&mut self) {
        match self {
            Writer::Http2(writer) => writer.gone().await,
            Writer::GrpcWeb(writer) => Box::pin(writer.gone()).await,
            Writer::Http1(_) | Writer::Nobody => std::future::pending().await,
        }
    }

    /// Whether its reader has all that its head announced, by itself, whatever else may come.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Writer::Http1(writer) => writer.is_whole(),
            Writer::Http2(writer) => writer.is_whole(),
            Writer::GrpcWeb(_) | Writer::Nobody => false,
        }
    }

    /// Ends the body and sends what is held.
    pub(crate) async fn end(&mut self, trailers: Option<&Head>) -> Result<(), BodyError> {
        match self {
            Writer::Http1(writer) => writer.end(trailers).await,
            Writer::Http2(writer) => writer.end(trailers).await,
            Writer::GrpcWeb(writer) => Box::pin(writer.end(trailers)).await,
            Writer::Nobody => Ok(()),
        }
    }
}

/// Where an answer goes.
pub(crate) enum Responder<'a> {
    /// HTTP/1.1 connection.
    Http1(Http1Responder<'a>),
    /// HTTP/2 stream.
    Http2(Http2Responder),
    /// gRPC-Web, whichever of the above it goes by.
    GrpcWeb(Box<WebResponder<'a>>),
    /// Nobody waits for it.
    Nobody,
}

impl<'a> Responder<'a> {
    /// Puts something between this and the client.
    pub(crate) fn answer_through(&mut self, wrap: impl FnOnce(Responder<'a>) -> Responder<'a>) {
        *self = wrap(std::mem::replace(self, Responder::Nobody));
    }

    /// Begins the final answer. `declared` is the length to tell where no body follows (HEAD, 304).
    pub(crate) fn start(
        &mut self,
        head: &Head,
        length: BodyLength,
        declared: Option<u64>,
    ) -> Result<Writer<'_>, BodyError> {
        match self {
            Responder::Http1(responder) => Ok(Writer::Http1(responder.start(head, length, declared))),
            Responder::Http2(responder) => Ok(Writer::Http2(responder.start(head, length, declared)?)),
            Responder::GrpcWeb(responder) => responder.start(head, length, declared),
            Responder::Nobody => Ok(Writer::Nobody),
        }
    }

    /// Sends an interim head (103).
    pub(crate) async fn interim(&mut self, head: &Head) -> Result<(), BodyError> {
        match self {
            Responder::Http1(responder) => responder.interim(head).await,
            Responder::GrpcWeb(responder) => Box::pin(responder.inner().interim(head)).await,
            Responder::Http2(responder) => responder.interim(head),
            Responder::Nobody => Ok(()),
        }
    }

    /// Completes when the client gave up, as far as this side can tell (see [`Reader::gone`]).
    pub(crate) async fn gone(&mut self) {
        match self {
            Responder::Http1(_) | Responder::Nobody => std::future::pending().await,
            Responder::Http2(responder) => responder.gone().await,
            Responder::GrpcWeb(responder) => Box::pin(responder.inner().gone()).await,
        }
    }

    /// The connection ends after this answer, if that is one connection's matter.
    pub(crate) fn close_after(&mut self) {
        match self {
            Responder::Http1(responder) => responder.close_after(),
            Responder::GrpcWeb(responder) => responder.inner().close_after(),
            Responder::Http2(_) | Responder::Nobody => {}
        }
    }

    /// Whether an HTTP/1.1 connection lives on after what was written.
    pub(crate) fn keep_alive(&mut self) -> bool {
        match self {
            Responder::Http1(responder) => responder.keep_alive(),
            Responder::GrpcWeb(responder) => responder.inner().keep_alive(),
            Responder::Http2(_) | Responder::Nobody => false,
        }
    }

    /// Whether an answer with a body was begun on a stream of HTTP/2.
    pub(crate) fn has_http2_body(&mut self) -> bool {
        match self {
            Responder::Http2(responder) => responder.has_body(),
            Responder::GrpcWeb(responder) => responder.inner().has_http2_body(),
            Responder::Http1(_) | Responder::Nobody => false,
        }
    }

    /// The answer broke off: makes sure that the client sees it. An HTTP/1.1 connection is cut by its owner.
    pub(crate) fn abort(&mut self) {
        match self {
            Responder::Http1(responder) => responder.close_after(),
            Responder::Http2(responder) => responder.reset(h2::Reason::INTERNAL_ERROR),
            Responder::GrpcWeb(responder) => responder.inner().abort(),
            Responder::Nobody => {}
        }
    }
}

/// Which side broke a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The side that was read.
    Reading(BodyError),
    /// The side that was written.
    Writing(BodyError),
}

/// Polls once; `None` when the future has to wait.
pub(crate) async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    poll_fn(|cx| match std::pin::Pin::new(&mut future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Copies a body to its end, trailers included, and sends it. `seen` is told of each part before it is written.
///
/// # Errors
/// Which side broke and how; what was read before is lost.
pub(crate) async fn pump(
    reader: &mut Reader<'_>,
    writer: &mut Writer<'_>,
    seen: impl FnMut(&[u8]) -> Result<(), BodyError>,
) -> Result<(), Broken> {
    copy(reader, writer, &Cell::new(false), seen).await?;
    writer.end(reader.trailers()).await.map_err(Broken::Writing)
}

async fn copy(
    reader: &mut Reader<'_>,
    writer: &mut Writer<'_>,
    waits: &Cell<bool>,
    mut seen: impl FnMut(&[u8]) -> Result<(), BodyError>,
) -> Result<(), Broken> {
    loop {
        let piece = {
            let mut next = pin!(reader.next());
            match poll_once(next.as_mut()).await {
                Some(piece) => piece,
                None => {
                    writer.flush().await.map_err(Broken::Writing)?;
                    let mut gone = pin!(writer.gone());
                    // A silent stream is noticed to have lost its reader, too, not only at the next byte.
                    let first = poll_fn(|cx| match next.as_mut().poll(cx) {
                        Poll::Ready(piece) => Poll::Ready(Some(piece)),
                        Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
                    });
                    waits.set(true);
                    let first = first.await;
                    waits.set(false);
                    first.ok_or(Broken::Writing(BodyError::Gone))?
                }
            }
        };
        let piece = match piece {
            Ok(Piece::End) => return Ok(()),
            Ok(piece) => piece,
            Err(error) => {
                // What came before it broke is passed on, so that both ends have seen the same.
                let _ = writer.flush().await;
                return Err(Broken::Reading(error));
            }
        };
        seen(piece.bytes()).map_err(Broken::Reading)?;
        writer.data(piece).await.map_err(Broken::Writing)?;
    }
}

/// A request body with memory: what was sent can be sent again to another endpoint, up to a bound.
pub(crate) struct RequestBody<'a> {
    reader: Reader<'a>,
    sent: Vec<u8>,
    ended: bool,
    bytes: u64,
    bytes_max: u64,
    /// When all of it was there.
    whole_since: Option<Tick>,
    /// The client ended its side right behind it, and awaits its answer.
    half_closed: bool,
}

/// A client that ended its side and awaits its answer is looked after so often.
const HALF_CLOSED_LOOK: Duration = Duration::from_secs(1);

/// Bytes of a request body that are kept for another attempt.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// What is known of a request body while it is on its way, for those who cannot look at it then.
#[derive(Default)]
pub(crate) struct Progress {
    /// No other attempt will be made: nothing more needs to be kept.
    pub(crate) settled: Cell<bool>,
    /// More went through than is kept.
    pub(crate) spent: Cell<bool>,
    /// All of it was sent in the attempt that runs.
    pub(crate) complete: Cell<bool>,
    /// All that came was passed on, and more is awaited.
    pub(crate) waits: Cell<bool>,
    /// Set when a part comes.
    pub(crate) moved: Cell<bool>,
    /// What came in the attempt that runs.
    pub(crate) bytes: Cell<u64>,
    /// Since when all of it was there; only then the service's time runs.
    pub(crate) whole_since: Cell<Option<Tick>>,
}

impl<'a> RequestBody<'a> {
    /// A body of at most `bytes_max` bytes.
    pub(crate) fn new(reader: Reader<'a>, bytes_max: u64) -> Self {
        RequestBody {
            reader,
            sent: Vec::new(),
            ended: false,
            bytes: 0,
            bytes_max,
            whole_since: None,
            half_closed: false,
        }
    }

    /// Puts something between this and the reader. Only before anything was read.
    pub(crate) fn read_through(&mut self, wrap: impl FnOnce(Reader<'a>) -> Reader<'a>) {
        let nothing = Reader::Kept { bytes: Vec::new(), read: true };
        self.reader = wrap(std::mem::replace(&mut self.reader, nothing));
    }

    /// Whether it announces more than may come.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self.length(), BodyLength::Known(bytes) if bytes > self.bytes_max)
    }

    /// How long it is, as its head said.
    pub(crate) fn length(&self) -> BodyLength {
        self.reader.length()
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all of it was read from downstream.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended || self.reader.is_done()
    }

    /// All of the body, if it was read to its end and is kept.
    pub(crate) fn copy(&self) -> Option<Vec<u8>> {
        (self.is_complete() && self.sent.len() as u64 == self.bytes).then(|| self.sent.clone())
    }

    /// When all of it was there, as seen when that is first asked after it was.
    pub(crate) fn whole_since(&mut self, timer: &Timer) -> Tick {
        *self.whole_since.get_or_insert_with(|| timer.now())
    }

    /// After the body: completes when the peer is gone, as far as this side can tell.
    ///
    /// `close` and `shutdown(SHUT_WR)` look the same from here: a FIN. Who ends its side within `half_close` after its
    /// request has only said that this was all, as scripts and `nc -N` do; who does so later has given up.
    pub(crate) async fn gone(&mut self, timer: &Timer, half_close: Duration) {
        let since = self.whole_since(timer);
        let mut ended_its_side = self.reader.gone().await;
        // Who looks anew, for another attempt, sees the same end later.
        self.half_closed |= ended_its_side && timer.now().since(since) < half_close;
        if self.half_closed {
            // If it had left all the same, the first that is written to it comes back as a reset.
            while ended_its_side {
                timer.sleep(HALF_CLOSED_LOOK).await;
                ended_its_side = self.reader.gone().await;
            }
        }
    }

    /// Reads what is left, at most so many bytes, for nobody.
    pub(crate) async fn skip(&mut self, bytes_max: usize) {
        let mut left = bytes_max;
        while left > 0 && !self.is_complete() {
            let Ok(piece) = self.reader.next().await else { return };
            left = left.saturating_sub(piece.bytes().len());
        }
    }

    /// Sends all of it, from the start.
    ///
    /// # Errors
    /// Which side broke and how.
    pub(crate) async fn send(&mut self, writer: &mut Writer<'_>, progress: &Progress) -> Result<(), Broken> {
        progress.complete.set(false);
        for part in self.sent.chunks(16 * 1024) {
            writer.data(Piece::Slice(part)).await.map_err(Broken::Writing)?;
        }
        if !self.ended {
            let RequestBody { reader, sent, bytes, bytes_max, .. } = self;
            copy(reader, writer, &progress.waits, |part| {
                progress.moved.set(true);
                progress.bytes.set(progress.bytes.get() + part.len() as u64);
                *bytes += part.len() as u64;
                if *bytes > *bytes_max {
                    return Err(BodyError::TooLarge);
                }
                if progress.settled.get()
                    || progress.spent.get()
                    || sent.len() + part.len() > REPLAY_BYTES_MAX
                {
                    progress.spent.set(true);
                } else {
                    sent.extend_from_slice(part);
                }
                Ok(())
            })
            .await?;
            self.ended = true;
        }
        writer.end(self.reader.trailers()).await.map_err(Broken::Writing)?;
        progress.complete.set(true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::net::{TcpListener, TcpStream};
    use weft_stdx::clock::Clock;

    use super::*;
    use crate::buffer::Buffer;
    use crate::connection::http1::BodyFraming;
    use crate::stream::Stream;

    #[tokio::test]
    async fn who_ended_its_side_right_behind_its_request_has_not_left_when_it_is_looked_at_again() {
        const HALF_CLOSE: Duration = Duration::from_millis(500);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, mut buf) = (Stream::from(near.unwrap()), Buffer::default());
        let (clock, hand) = Clock::manual(SystemTime::UNIX_EPOCH);
        let timer = Timer::new(clock);
        let reader = Http1Reader::new(&stream, &mut buf, BodyFraming::None, None);
        let mut body = RequestBody::new(Reader::Http1(reader), 1);
        let since = body.whole_since(&timer);
        drop(far);
        stream.readable().await.unwrap();
        assert!(poll_once(pin!(body.gone(&timer, HALF_CLOSE))).await.is_none(), "it awaits its answer");
        hand.advance(10 * HALF_CLOSE);
        assert!(timer.now().since(since) > HALF_CLOSE);
        assert!(poll_once(pin!(body.gone(&timer, HALF_CLOSE))).await.is_none(), "it still does");
        drop(body);
        let reader = Http1Reader::new(&stream, &mut buf, BodyFraming::None, None);
        let mut body = RequestBody::new(Reader::Http1(reader), 1);
        body.whole_since(&timer);
        hand.advance(10 * HALF_CLOSE);
        assert!(
            poll_once(pin!(body.gone(&timer, HALF_CLOSE))).await.is_some(),
            "who ends it so late has left"
        );
    }
}
