//! The serving side of a call: HTTP request in, HTTP response out. What a method does is its caller's business.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE as FIELD_CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::mpsc;

use super::{CONTENT_TYPE, Code, Item, Messages, Outgoing, Status, encode};

/// What a unary call may take, whatever its caller allows.
const UNARY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the one request message of a unary call: a token and a certificate request.
const UNARY_BYTES_MAX: usize = 64 * 1024;

/// The method that a request names, e.g. `Enrol`, if it is one of `service` and speaks gRPC.
pub(crate) fn method<'r>(request: &'r Request<Incoming>, service: &str) -> Result<&'r str, Status> {
    let spoken =
        request.headers().get(FIELD_CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let grpc = matches!(spoken.strip_prefix(CONTENT_TYPE), Some("" | "+proto"))
        || spoken.strip_prefix(CONTENT_TYPE).is_some_and(|rest| rest.starts_with(';'));
    if request.method() != Method::POST || !grpc {
        return Err(Status::new(Code::Unimplemented, "only gRPC is spoken here"));
    }
    let path = request.uri().path();
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(service))
        .and_then(|path| path.strip_prefix('/'))
        .ok_or_else(|| Status::new(Code::Unimplemented, format!("no such service or method: {path}")))
}

/// Reads the one message, lets `answer` work on it, and answers, all within the deadline.
pub(crate) async fn unary<Q, A, F>(
    request: Request<Incoming>,
    answer: impl FnOnce(Q) -> F,
) -> Result<Response<Outgoing>, Status>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>>,
{
    let deadline = timeout_of(&request).map_or(UNARY_TIMEOUT, |asked| asked.min(UNARY_TIMEOUT));
    let work = async {
        let mut messages = Messages::new(request.into_body(), UNARY_BYTES_MAX);
        let missing = || Status::new(Code::InvalidArgument, "a request message is missing");
        let message = messages.next::<Q>().await?.ok_or_else(missing)?;
        let answered = answer(message).await?;
        Ok(head(Outgoing::response(encode(&answered)?)))
    };
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "the call took too long")))
}

/// A response whose messages come through the queue that is returned with it.
pub(crate) fn stream() -> (mpsc::Sender<Item>, Response<Outgoing>) {
    let (sender, queue) = mpsc::channel(super::STREAM_QUEUE_MESSAGES);
    (sender, head(Outgoing::Stream(queue)))
}

/// A response without messages: status in the head (`Trailers-Only`).
pub(crate) fn refused(status: &Status) -> Response<Outgoing> {
    let mut response = head(Outgoing::Done);
    response.headers_mut().extend(status.fields());
    response
}

fn head(body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    response.headers_mut().insert(FIELD_CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout_of<B>(request: &Request<B>) -> Option<Duration> {
    let text = request.headers().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A message that is ready to be queued.
pub(crate) fn item(message: &impl Message) -> Result<Item, Status> {
    encode(message).map(|bytes: Bytes| Item::Message(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        let table = [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("-1S", None),
            ("123456789S", None),
            ("1\u{e4}", None),
        ];
        for (text, expected) in table {
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { continue };
            let request = Request::builder().header("grpc-timeout", value).body(()).unwrap();
            assert_eq!(timeout_of(&request), expected, "{text}");
        }
    }
}
