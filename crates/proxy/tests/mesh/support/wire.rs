//! HTTP/1.1 as bytes: a client and a server that share no code with what is tested, and that can also send what is wrong.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::within;

/// A byte stream of whatever kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One side of a connection.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    buf: Vec<u8>,
}

/// A message: a request as a service saw it, or an answer as a client saw it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Message {
    /// First line.
    pub(crate) line: String,
    /// Names in lower case, in the order of the wire.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap_or_default().parse().unwrap()
    }

    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field that stands there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(have, _)| have == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "`{name}` stands twice: {:?}", self.fields);
        first
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?} {}", self.line, self.fields, self.text()));
        problem["code"].as_str().unwrap().to_owned()
    }

    fn chunked(&self) -> bool {
        self.field("transfer-encoding") == Some("chunked")
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length").map(|text| text.parse().unwrap())
    }
}

impl Wire {
    /// Connects.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Wire::new(connect(address).await)
    }

    pub(crate) fn new(io: impl Io + 'static) -> Self {
        Wire { io: Box::new(io), buf: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_write(bytes).await, "the peer closed while we wrote");
    }

    /// Whether the peer still took it.
    pub(crate) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        within("write", sent).await.is_ok()
    }

    /// Says that nothing more comes from this side.
    pub(crate) async fn finish(&mut self) {
        let _ = within("shutdown", self.io.shutdown()).await;
    }

    /// More bytes into the buffer; false at the end of the stream.
    async fn more(&mut self) -> bool {
        // On the heap: futures of tests are moved about on small stacks.
        let mut space = vec![0; 64 * 1024];
        match within("read", self.io.read(&mut space)).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buf.extend_from_slice(&space[..count]);
                true
            }
        }
    }

    /// Bytes up to and including `until`; `None` where the stream ends before.
    pub(crate) async fn until(&mut self, until: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.buf[from..].windows(until.len()).position(|window| window == until);
            if let Some(place) = found {
                let rest = self.buf.split_off(from + place + until.len());
                return Some(std::mem::replace(&mut self.buf, rest));
            }
            from = self.buf.len().saturating_sub(until.len());
            if !self.more().await {
                return None;
            }
        }
    }

    /// Exactly so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.try_bytes(count).await;
        bytes.unwrap_or_else(|| panic!("the stream ended after {} of {count} bytes", self.buf.len()))
    }

    /// Exactly so many bytes; `None` where the stream ends before.
    pub(crate) async fn try_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buf.len() < count {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.buf.split_off(count);
        Some(std::mem::replace(&mut self.buf, rest))
    }

    /// Whatever comes next: at least a byte, or nothing at the end.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        if self.buf.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.buf)
    }

    /// All that comes until the peer closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buf)
    }

    /// Completes when the peer closed, and nothing came before.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "before the end came {:?}", String::from_utf8_lossy(&rest));
    }

    /// The next head, without its body.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").await?;
        let text = String::from_utf8(head).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        Some(Message { line, fields: lines.map(field).collect(), ..Message::default() })
    }

    /// The next chunk of a chunked body; `None` after the last one, whose trailers stay unread.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n").await.unwrap();
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
        if size == 0 {
            return None;
        }
        let mut chunk = self.bytes(size + 2).await;
        assert_eq!(chunk.split_off(size), b"\r\n");
        Some(chunk)
    }

    /// The data of a chunked body, by the letter, its trailers read over; `None` where the stream ends before.
    pub(crate) async fn try_chunks(&mut self) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            if size == 0 {
                break;
            }
            let chunk = self.try_bytes(size + 2).await?;
            assert!(chunk.ends_with(b"\r\n"), "a chunk without an end");
            data.extend_from_slice(&chunk[..size]);
        }
        while self.until(b"\r\n").await? != b"\r\n" {}
        Some(data)
    }

    async fn chunks(&mut self, message: &mut Message) {
        while let Some(chunk) = self.chunk().await {
            message.body.extend_from_slice(&chunk);
        }
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await.unwrap()).unwrap();
            match line.trim_end() {
                "" => return,
                trailer => message.trailers.push(field(trailer)),
            }
        }
    }

    /// A request, as a service reads it; `None` where the peer closed between two.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        self.request_body(&mut message).await;
        Some(message)
    }

    pub(crate) async fn request_body(&mut self, message: &mut Message) {
        if message.chunked() {
            self.chunks(message).await;
        } else {
            message.body = self.bytes(message.length().unwrap_or_default()).await;
        }
    }

    /// An answer with its body, interim ones skipped.
    pub(crate) async fn answer(&mut self) -> Message {
        loop {
            let mut message = self.head().await.unwrap_or_else(|| {
                panic!("the stream ended before an answer: {:?}", String::from_utf8_lossy(&self.buf))
            });
            match message.status() {
                100..200 => continue,
                204 | 304 => {}
                _ if message.chunked() => self.chunks(&mut message).await,
                _ => match message.length() {
                    Some(length) => message.body = self.bytes(length).await,
                    None => message.body = self.rest().await,
                },
            }
            return message;
        }
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.write(request).await;
        self.answer().await
    }

    /// `GET path`.
    pub(crate) async fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n")).await
    }
}

/// A connection on which small writes leave at once.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = within("connect", TcpStream::connect(address)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A port at which nobody listens, and which nobody else gets as long as the socket is held.
pub(crate) fn nobody() -> (u16, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

/// One `GET` on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Message {
    Wire::to(address).await.get(path).await
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// A service: each connection is handled by `handle`. Returns its port.
pub(crate) async fn service<F, R>(handle: F) -> u16
where
    F: Fn(Wire) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(listener, handle);
    port
}

/// Serves what comes to this socket.
pub(crate) fn serve<F, R>(listener: TcpListener, handle: F)
where
    F: Fn(Wire) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(handle(Wire::new(socket)));
        }
    });
}

/// A service that answers each request with the bytes that `answer` makes of it.
pub(crate) async fn answering<F>(answer: F) -> u16
where
    F: Fn(&Message) -> Vec<u8> + Send + Sync + Clone + 'static,
{
    service(move |mut wire| {
        let answer = answer.clone();
        async move {
            while let Some(request) = wire.request().await {
                if !wire.try_write(answer(&request)).await {
                    return;
                }
            }
        }
    })
    .await
}

/// A service that answers each request with all it saw of it, and with its own name.
pub(crate) async fn echo(name: &'static str) -> u16 {
    answering(move |request| {
        let mut text = format!("{}\n", request.line);
        for (name, value) in request.fields.iter().chain(&request.trailers) {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&request.text());
        ok(&[("x-echo", name)], text.as_bytes())
    })
    .await
}

/// A service that tells the path of each request, and answers `done` when there is a permit for it.
pub(crate) async fn gated() -> (u16, mpsc::Receiver<String>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let (tell, told) = mpsc::channel(8);
    let held = Arc::clone(&gate);
    let port = service(move |mut wire| {
        let (held, tell) = (Arc::clone(&held), tell.clone());
        async move {
            while let Some(request) = wire.request().await {
                tell.send(request.path().to_owned()).await.unwrap();
                held.acquire().await.unwrap().forget();
                wire.write(ok(&[], b"done")).await;
            }
        }
    })
    .await;
    (port, told, gate)
}

/// A service that tells of each request, and waits for its end. Returns its port.
pub(crate) async fn hanging() -> (u16, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel(64);
    let port = service(move |mut wire| {
        let tell = tell.clone();
        async move {
            while wire.request().await.is_some() {
                tell.send(()).await.unwrap();
                wire.closed().await;
            }
        }
    })
    .await;
    (port, told)
}

/// A `200` with a length.
pub(crate) fn ok(fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}
