//! HTTP/2 and gRPC: a client and a server over the h2 crate, with the messages of gRPC framed by hand.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpListener;

use super::wire::{Io, connect};
use super::within;

/// A client's connection.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) over: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and message of gRPC, from the trailers or from an answer that is nothing else.
    pub(crate) fn grpc(&self) -> (i32, String) {
        let from = if self.trailers.contains_key("grpc-status") { &self.trailers } else { &self.fields };
        let text =
            |name: &str| from.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (text("grpc-status").parse().unwrap_or(-1), text("grpc-message"))
    }

    /// The messages of gRPC.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let mut rest = self.body.as_slice();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest.get_u8(), 0, "no compression was asked for");
            let length = rest.get_u32() as usize;
            messages.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        messages
    }
}

impl Client {
    /// Cleartext with prior knowledge.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Client::over(connect(address).await).await
    }

    pub(crate) async fn over(io: impl Io + 'static) -> Self {
        let (send, connection) = within("handshake", h2::client::handshake(io)).await.unwrap();
        Client { send, over: tokio::spawn(connection) }
    }

    /// Begins an exchange.
    pub(crate) async fn start(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut send = within("a free stream", self.send.clone().ready()).await.unwrap();
        send.send_request(request, ended).unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let (response, _) = self.start(request("GET", path, &[]), true).await;
        answer(response).await.unwrap()
    }

    /// Sends a request with a body and reads its answer.
    pub(crate) async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        let (response, mut stream) = self.start(request, body.is_empty()).await;
        if !body.is_empty() {
            send_all(&mut stream, body, true).await;
        }
        answer(response).await.unwrap()
    }

    /// A gRPC call with one message each way.
    pub(crate) async fn unary(&mut self, path: &str, fields: &[(&str, &str)], message: &[u8]) -> Answer {
        self.ask(grpc(path, fields), &framed(message)).await
    }
}

/// A request of this authority.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://shop.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The head of a gRPC call.
pub(crate) fn grpc(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let standard = [("content-type", "application/grpc"), ("te", "trailers")];
    request("POST", path, &[&standard, fields].concat())
}

/// A message of gRPC with its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// Sends as the window allows.
pub(crate) async fn send_all(stream: &mut SendStream<Bytes>, bytes: &[u8], end: bool) {
    assert!(try_send(stream, bytes, end).await, "the peer reset the stream");
}

/// Whether the peer took it all.
pub(crate) async fn try_send(stream: &mut SendStream<Bytes>, bytes: &[u8], end: bool) -> bool {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        match within("capacity", poll_fn(|cx| stream.poll_capacity(cx))).await {
            Some(Ok(0)) => continue,
            Some(Ok(granted)) => {
                let part = rest.split_to(granted.min(rest.len()));
                if stream.send_data(part, false).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    !end || stream.send_data(Bytes::new(), true).is_ok()
}

/// The answer to its end.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, body) = within("an answer", response).await?.into_parts();
    let (body, trailers) = read(body).await?;
    Ok(Answer { status: parts.status.as_u16(), fields: parts.headers, body, trailers })
}

/// A body to its end, with its trailers.
pub(crate) async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = piece(&mut body).await {
        bytes.extend_from_slice(&part?);
    }
    let trailers = within("trailers", poll_fn(|cx| body.poll_trailers(cx))).await?;
    Ok((bytes, trailers.unwrap_or_default()))
}

/// The next part of a body, given back to the window at once.
pub(crate) async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let part = within("data", poll_fn(|cx| body.poll_data(cx))).await?;
    if let Ok(part) = &part {
        let _ = body.flow_control().release_capacity(part.len());
    }
    Some(part)
}

/// The next message of gRPC; `buf` keeps what came ahead.
pub(crate) async fn message(body: &mut RecvStream, buf: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(length) = buf.get(1..5) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if buf.len() >= 5 + length {
                let rest = buf.split_off(5 + length);
                return Some(std::mem::replace(buf, rest).split_off(5));
            }
        }
        buf.extend_from_slice(&piece(body).await?.ok()?);
    }
}

/// A call, as a service has it.
pub(crate) struct Call {
    pub(crate) head: http::request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
}

impl Call {
    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The head of an answer of gRPC.
    pub(crate) fn begin(&mut self) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        self.respond.send_response(head, false).unwrap()
    }

    /// An answer of gRPC that is only a status.
    pub(crate) fn status(mut self, status: i32, message: &str) {
        let head = Response::builder().header("content-type", "application/grpc");
        let head = head.header("grpc-status", status).header("grpc-message", message);
        self.respond.send_response(head.body(()).unwrap(), true).unwrap();
    }

    /// One message and `OK`.
    pub(crate) async fn reply(mut self, message: &[u8]) {
        let mut stream = self.begin();
        if try_send(&mut stream, &framed(message), false).await {
            let _ = stream.send_trailers(trailers(0));
        }
    }

    /// Why the caller reset the call; waits for it.
    pub(crate) async fn reset(&mut self) -> Reason {
        within("a reset", poll_fn(|cx| self.respond.poll_reset(cx))).await.unwrap()
    }
}

/// The trailers of gRPC.
pub(crate) fn trailers(status: i32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    trailers
}

/// A service that speaks HTTP/2 without TLS and answers probes by itself. Returns its port.
pub(crate) async fn service<F, R>(handle: F) -> u16
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let handle = Arc::clone(&handle);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (head, body) = request.into_parts();
                    let call = Call { head, body, respond };
                    if call.path() == "/grpc.health.v1.Health/Check" {
                        // SERVING
                        tokio::spawn(call.reply(&[8, 1]));
                    } else {
                        tokio::spawn(handle(call));
                    }
                }
            });
        }
    });
    port
}
