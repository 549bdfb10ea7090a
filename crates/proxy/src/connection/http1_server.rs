//! HTTP/1.1 from a client: one exchange after the other, pipelined requests in order, nothing guessed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use weft_model::code::Code;

use super::tcp;
use crate::access::Record;
use crate::body::{Reader, RequestBody, Responder};
use crate::buffer::{BUFFER_BYTES, Buffer, LentHead, Outgoing};
use crate::connection::Conn;
use crate::connection::http1::{
    HeadLimits, HeadRefusal, HeadScan, ParsedRequest, ResponseTo, Upgrade, parse_request,
};
use crate::connection::http1_io::{Asked, Http1Reader, Http1Responder};
use crate::exchange::{self, Fate, Request, answer_with};
use crate::head::{Head, Method, Version};
use crate::metrics::Meter;
use crate::rescue::{self, Ended, is_grpc};
use crate::stream::Stream;
use crate::worker::{Phase, Worker};

/// While we leave, an idle connection is kept so long for a request that is on its way.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes that are read at most after an answer that ends the connection.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// How reading a head ended.
enum Came {
    Request(ParsedRequest),
    /// The client closed between two requests, or we are leaving.
    Nothing,
    Refused(Ended),
}

/// How being idle ended.
enum Idled {
    Readable,
    /// Its last answer could not be sent whole.
    Late,
    Leaving,
    Over,
}

/// One connection.
struct Server<'w> {
    worker: &'w Rc<Worker>,
    conn: &'w Rc<Conn>,
    stream: Stream,
    buf: Buffer,
    out: Outgoing,
    head: LentHead,
    scan: HeadScan,
}

/// Serves a connection to its end. `buf` holds what was already read of it.
pub(crate) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, stream: Stream, buf: Buffer) {
    let mut server = Server {
        worker,
        conn,
        stream,
        buf,
        out: Outgoing::default(),
        head: LentHead::new(),
        scan: HeadScan::default(),
    };
    if let Some((upstream, ahead)) = server.exchanges().await {
        let Server { stream, buf, .. } = server;
        if settle(worker, &stream).await {
            Box::pin(tcp::join(worker, &stream, buf.bytes(), &upstream, &ahead, None)).await;
        }
    }
}

impl Server<'_> {
    /// Runs exchanges until the connection ends or becomes a tunnel.
    async fn exchanges(&mut self) -> Option<(Stream, Vec<u8>)> {
        loop {
            let came = match self.next_request().await {
                Came::Request(parsed) => parsed,
                Came::Nothing => {
                    settle(self.worker, &self.stream).await;
                    return None;
                }
                Came::Refused(ended) => {
                    self.refuse(&ended).await;
                    linger(self.worker, &self.stream).await;
                    return None;
                }
            };
            // Boxed, so that a connection without an exchange does not hold the room for one.
            match boxed(|| self.exchange(came)).await {
                Fate::Keep => {}
                Fate::Pause(pause) => self.pause(pause).await,
                Fate::Close => {
                    linger(self.worker, &self.stream).await;
                    return None;
                }
                Fate::Tunnel(upstream, ahead) => return Some((upstream, ahead)),
            }
        }
    }

    async fn next_request(&mut self) -> Came {
        if self.buf.is_empty() {
            if !self.idle().await {
                return Came::Nothing;
            }
            self.head = LentHead::new();
        } else if !settle(self.worker, &self.stream).await {
            // Who asks ahead and does not read gets no further.
            return Came::Nothing;
        }
        let until = self.worker.timer.now() + self.worker.limits().head_timeout;
        let timer = Rc::clone(&self.worker.timer);
        match timer.limit(until, pin!(self.read_head())).await {
            Some(came) => came,
            None => Came::Refused(Code::HeadTimeout.into()),
        }
    }

    /// Lets a client wait that was told to come later, unless we leave.
    async fn pause(&mut self, pause: Duration) {
        if pause.is_zero() || self.worker.phase() >= Phase::Draining {
            return;
        }
        settle(self.worker, &self.stream).await;
        let mut phase = self.worker.watch_phase();
        self.head.release();
        let timer = &self.worker.timer;
        tokio::select! {
            () = timer.at(timer.recent() + pause) => {}
            _ = phase.changed() => {}
        }
    }

    /// Waits for the first byte of a request without holding a buffer; false when the connection should end instead.
    async fn idle(&mut self) -> bool {
        self.buf.release();
        self.out.release();
        self.head.release();
        let (worker, stream) = (self.worker, &self.stream);
        loop {
            let since = worker.timer.recent();
            let mut idle = worker.crowd.idle(since, since + worker.limits().idle_timeout);
            let came = poll_fn(|cx| {
                if stream.is_late(cx) {
                    return Poll::Ready(Idled::Late);
                }
                if let Poll::Ready(readable) = stream.poll_readable(cx) {
                    return Poll::Ready(if readable.is_ok() { Idled::Readable } else { Idled::Over });
                }
                if worker.phase() >= Phase::Draining {
                    return Poll::Ready(Idled::Leaving);
                }
                Pin::new(&mut idle).poll(cx).map(|()| Idled::Over)
            });
            match came.await {
                Idled::Readable => return true,
                Idled::Over => return false,
                // Who does not read its answer is not idle: it makes no room, and is not left without the rest.
                Idled::Late => {
                    drop(idle);
                    if !settle(worker, stream).await {
                        return false;
                    }
                }
                // A request may be on its way already, and a client that sees its connection close cannot know whether it was
                // heard: one more is awaited, whose answer says `connection: close`.
                Idled::Leaving => {
                    drop(idle);
                    let until = worker.timer.now() + FAREWELL;
                    let last = worker.timer.limit(until, poll_fn(|cx| stream.poll_readable(cx))).await;
                    return last.is_some_and(|readable| readable.is_ok());
                }
            }
        }
    }

    async fn read_head(&mut self) -> Came {
        let limits = self.conn.entry.head_limits();
        loop {
            match parse_request(self.buf.bytes(), &mut self.scan, limits, &mut self.head) {
                Ok(Some(parsed)) => {
                    self.buf.consume(parsed.head_bytes);
                    // The exchange may wait long before it looks here again, for a connection or its turn.
                    self.buf.release();
                    return Came::Request(parsed);
                }
                Ok(None) => {}
                Err(refusal) => {
                    return Came::Refused(Ended::new(code_of(refusal), detail_of(refusal, limits)));
                }
            }
            match self.stream.read(self.buf.space(BUFFER_BYTES / 2)).await {
                Ok(0) | Err(_) => return Came::Nothing,
                Ok(count) => self.buf.filled(count),
            }
        }
    }

    async fn exchange(&mut self, parsed: ParsedRequest) -> Fate {
        let leaving = self.worker.phase() >= Phase::Draining;
        let answered = Cell::new(false);
        let upgrade = if parsed.framing.is_empty() { parsed.upgrade } else { Upgrade::None };
        let asked = Asked {
            to: ResponseTo { method: self.head.method(), upgrade: upgrade != Upgrade::None },
            version: self.head.version(),
            keep_alive: parsed.keep_alive && !leaving,
        };
        let expects = parsed.expect_continue.then_some(&answered);
        let reader = Http1Reader::new(&self.stream, &mut self.buf, parsed.framing, expects);
        let mut body = RequestBody::new(Reader::Http1(reader), self.worker.limits().body_bytes_max);
        let responder = Http1Responder::new(&self.stream, &mut self.out, asked, &answered);
        let mut responder = Responder::Http1(responder);
        let grpc = is_grpc(&self.head);
        let request = Request {
            conn: self.conn,
            head: &mut self.head,
            upgrade,
            grpc,
            began: self.worker.timer.recent(),
        };
        let fate = exchange::run(self.worker, request, &mut body, &mut responder).await;
        let kept = responder.keep_alive();
        match fate {
            Fate::Keep | Fate::Pause(_) if !kept || !body.is_complete() => Fate::Close,
            other => other,
        }
    }

    /// Answers what is no request.
    async fn refuse(&mut self, ended: &Ended) {
        self.worker.stats.borrow_mut().add(Meter::Refused(ended.code.name()), 1);
        let asked = Asked {
            to: ResponseTo { method: Method::Get, upgrade: false },
            version: Version::Http11,
            keep_alive: false,
        };
        let answered = Cell::new(false);
        let responder = Http1Responder::new(&self.stream, &mut self.out, asked, &answered);
        let mut head = Head::new();
        let text = rescue::answer(ended, false, "", &mut head);
        let mut record = Record::begin(self.worker.timer.now());
        answer_with(self.worker, &mut Responder::Http1(responder), &mut head, text, &mut record).await;
    }
}

/// Makes a future where it will live. `Box::pin` makes it elsewhere and moves the room for all that it may come to hold.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let room = Box::new_uninit();
    Box::into_pin(Box::write(room, make()))
}

/// Sends what waits for the end of the turn, or is late; false if its reader is too slow.
async fn settle(worker: &Worker, stream: &Stream) -> bool {
    let until = worker.timer.now() + worker.limits().stream_idle;
    let sent = worker.timer.limit(until, poll_fn(|cx| stream.poll_sent(cx))).await.is_some();
    if !sent {
        stream.give_up();
    }
    sent
}

/// Ends a connection so that the client can read the last answer.
pub(crate) async fn linger(worker: &Worker, stream: &Stream) {
    if !settle(worker, stream).await || stream.shutdown().await.is_err() {
        return;
    }
    let until = worker.timer.now() + worker.limits().linger;
    let mut scratch = Buffer::default();
    let mut left = LINGER_BYTES_MAX;
    let drained = async {
        while let Ok(count) = stream.read(scratch.space(1)).await {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                return;
            }
        }
    };
    // Whoever keeps sending after that is cut.
    let _ = worker.timer.limit(until, pin!(drained)).await;
}

/// What exactly was wrong; where it is a limit, how much it is.
fn detail_of(refusal: HeadRefusal, limits: &HeadLimits) -> String {
    match refusal {
        HeadRefusal::RequestLineTooLong => format!("{refusal} of {} KiB", limits.line_bytes_max / 1024),
        HeadRefusal::HeadTooLarge => format!("{refusal} of {} KiB", limits.head_bytes_max / 1024),
        HeadRefusal::TooManyFields => format!("{refusal} of {} fields", limits.fields_max),
        other => other.to_string(),
    }
}

fn code_of(refusal: HeadRefusal) -> Code {
    match refusal {
        HeadRefusal::RequestLineTooLong => Code::UriTooLong,
        HeadRefusal::HeadTooLarge | HeadRefusal::TooManyFields => Code::HeadTooLarge,
        HeadRefusal::VersionUnsupported => Code::VersionNotSupported,
        HeadRefusal::Path(_) => Code::BadPath,
        HeadRefusal::FieldNameUnderscore | HeadRefusal::FieldNameInvalid => Code::BadFieldName,
        HeadRefusal::HostMissing
        | HeadRefusal::HostRepeated
        | HeadRefusal::HostInvalid(_)
        | HeadRefusal::HostMismatch => Code::BadHost,
        HeadRefusal::LengthInvalid
        | HeadRefusal::LengthRepeated
        | HeadRefusal::LengthAndCoding
        | HeadRefusal::CodingRepeated
        | HeadRefusal::CodingUnsupported
        | HeadRefusal::CodingOnHttp10
        | HeadRefusal::ConnectWithBody => Code::BadFraming,
        HeadRefusal::ExpectUnsupported => Code::ExpectationFailed,
        _ => Code::BadHead,
    }
}
