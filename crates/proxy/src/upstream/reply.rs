//! The answer of an upstream: heads until the final one, then a body, whatever protocol it speaks.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use h2::client::ResponseFuture;
use weft_model::code::Code;

use crate::body::{BodyLength, Reader};
use crate::connection::http1::{BodyFraming, HeadFault};
use crate::connection::http1_io::{Http1Reply, NoHead};
use crate::connection::http2_io::{self, Http2Reader};
use crate::head::{Head, Method};
use crate::resilience::retry::Outcome;

/// An answer that is awaited.
pub(crate) enum Reply<'a> {
    /// Over an HTTP/1.1 connection.
    Http1(Http1Reply<'a>),
    /// Over an HTTP/2 stream, and what was asked there.
    Http2(ResponseFuture, Method),
}

/// What a head said beside what is in the [`Head`].
pub(crate) struct Answer<'a> {
    /// Body length to announce where no body follows (HEAD, 304).
    pub(crate) declared: Option<u64>,
    pub(crate) kind: AnswerKind<'a>,
    /// Whether the connection can carry another exchange after the body.
    pub(crate) reusable: bool,
    /// How long the upstream says it keeps the idle connection.
    pub(crate) announced: Option<Duration>,
}

/// What follows a head.
pub(crate) enum AnswerKind<'a> {
    /// Another head: this one was interim.
    Interim(Reply<'a>),
    /// The body.
    Final(Reader<'a>),
    /// Not HTTP any more.
    Switched,
}

/// Why there is no answer.
pub(crate) struct NoAnswer {
    pub(crate) outcome: Outcome,
    pub(crate) code: Code,
}

impl<'a> Reply<'a> {
    /// The next head. Dropping the future gives the answer up.
    ///
    /// # Errors
    /// The upstream closed, reset, or sent no head.
    pub(crate) async fn head(self, head: &mut Head) -> Result<Answer<'a>, NoAnswer> {
        match self {
            Reply::Http1(reply) => http1(reply, head).await,
            Reply::Http2(response, asked) => http2(response, asked, head).await,
        }
    }
}

async fn http1<'a>(mut reply: Http1Reply<'a>, head: &mut Head) -> Result<Answer<'a>, NoAnswer> {
    let parsed = reply.head(head).await.map_err(|error| {
        let code = match error {
            NoHead::Closed => Code::UpstreamClosed,
            NoHead::Fault(HeadFault::HeadTooLarge | HeadFault::TooManyFields) => Code::UpstreamHeadTooLarge,
            NoHead::Fault(_) => Code::UpstreamProtocol,
        };
        NoAnswer { outcome: Outcome::NoResponse, code }
    })?;
    let kind = if parsed.switched {
        AnswerKind::Switched
    } else if parsed.interim {
        AnswerKind::Interim(Reply::Http1(reply))
    } else {
        AnswerKind::Final(Reader::Http1(reply.into_reader(parsed.framing)))
    };
    Ok(Answer {
        declared: parsed.length_declared.filter(|_| parsed.framing == BodyFraming::None),
        kind,
        reusable: parsed.keep_alive,
        announced: parsed.keep_alive_timeout,
    })
}

async fn http2<'a>(
    mut response: ResponseFuture,
    asked: Method,
    head: &mut Head,
) -> Result<Answer<'a>, NoAnswer> {
    let unreadable = || NoAnswer { outcome: Outcome::NoResponse, code: Code::UpstreamProtocol };
    let came = poll_fn(|cx| match response.poll_informational(cx) {
        Poll::Ready(Some(Ok(interim))) => Poll::Ready(Ok((interim.into_parts().0, None))),
        // No interim head yet, or none any more: then it is the final one that comes, or why it does not.
        _ => Pin::new(&mut response).poll(cx).map_ok(|whole| {
            let (parts, recv) = whole.into_parts();
            (parts, Some(recv))
        }),
    });
    let (parts, recv) = came.await.map_err(|error| no_answer(&error))?;
    http2_io::read_response(&parts, head).map_err(|_| unreadable())?;
    let status = head.status();
    let declared = http2_io::take_length(head);
    // The same verdict as in HTTP/1.1 (RFC 9110, 8.6): no content can be announced here.
    if (status < 200 || status == 204) && declared.is_some_and(|bytes| bytes > 0) {
        return Err(unreadable());
    }
    let Some(recv) = recv else {
        // HTTP/2 has no 101 (RFC 9113, 8.6), and passed on to HTTP/1.1 it would change the protocol.
        if status == 101 {
            return Err(unreadable());
        }
        let kind = AnswerKind::Interim(Reply::Http2(response, asked));
        return Ok(Answer { declared: None, kind, reusable: true, announced: None });
    };
    // Here the head is the whole answer (RFC 9110, 6.4.1), whether the stream ends with it, with an empty frame later, or never:
    // it is left, and if it is not over then, reset. What came on it all the same meets nobody.
    let whole = asked == Method::Head || matches!(status, 204 | 304) || recv.is_end_stream();
    let length = match declared {
        _ if whole => BodyLength::None,
        Some(bytes) => BodyLength::Known(bytes),
        None => BodyLength::Unknown,
    };
    let declared = declared.filter(|_| whole && status != 204);
    let kind = AnswerKind::Final(Reader::Http2(Http2Reader::new(recv, length)));
    Ok(Answer { declared, kind, reusable: true, announced: None })
}

/// What an error of the h2 crate says about the request.
pub(crate) fn no_answer(error: &h2::Error) -> NoAnswer {
    // A stream above the last one of a GOAWAY, or one that was refused, was not processed (RFC 9113, 8.7).
    let unprocessed =
        error.reason() == Some(h2::Reason::REFUSED_STREAM) || (error.is_go_away() && error.is_remote());
    if unprocessed {
        return NoAnswer { outcome: Outcome::NotProcessed, code: Code::UpstreamReset };
    }
    let code = if error.is_io() {
        Code::UpstreamClosed
    } else if error.is_library() {
        Code::UpstreamProtocol
    } else {
        Code::UpstreamReset
    };
    NoAnswer { outcome: Outcome::NoResponse, code }
}
