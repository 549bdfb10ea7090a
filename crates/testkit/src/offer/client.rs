//! The client of the generator: connections of HTTP/1.1 that are kept, some of HTTP/2 that are shared and made anew when the
//! server leaves them.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{Kind, Speaks};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections of HTTP/2, of which requests take one after the other; an odd number, so that kinds that take turns use all.
/// The kernel gives each to one of the server's workers: two of them get some of it, except once in 65 536 runs.
const SHARED: usize = 17;
/// How long the first of them is used; each of the others a second longer than the one before, so that one is replaced at a time.
const SHARED_LIFE: Duration = Duration::from_secs(20);

/// How a request ended.
pub(super) struct Said {
    pub(super) outcome: String,
    pub(super) retry_after: bool,
    /// Since when its connection was there; absent if there was none.
    pub(super) connected: Option<Instant>,
}

impl Said {
    pub(super) fn failed(why: &str) -> Self {
        Self { outcome: format!("failed: {why}"), retry_after: false, connected: None }
    }

    fn answered(status: u16, code: Option<&str>, retry_after: bool) -> Self {
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        Self { outcome: format!("{status}{code}"), retry_after, connected: None }
    }
}

pub(super) struct Client {
    to: SocketAddr,
    idle: RefCell<Vec<Kept>>,
    /// Each locked while a connection is made, so that requests wait for it and make no other.
    shared: [Mutex<Option<Shared>>; SHARED],
    /// Whose turn is next.
    turn: Cell<usize>,
}

/// A connection of HTTP/2, and since when it is there.
#[derive(Clone)]
struct Shared {
    send: SendRequest<Bytes>,
    since: Instant,
}

/// A connection, and since when it is there.
struct Kept {
    stream: TcpStream,
    since: Instant,
}

impl Kept {
    /// Whether the server has not closed it, as far as is known.
    fn is_open(&self) -> bool {
        self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Client {
    pub(super) fn new(to: SocketAddr) -> Rc<Self> {
        let shared = std::array::from_fn(|_| Mutex::default());
        Rc::new(Self { to, idle: RefCell::default(), shared, turn: Cell::new(0) })
    }

    pub(super) async fn ask(&self, kind: &Kind) -> Said {
        let connected = Cell::new(None);
        let said = match kind.speaks {
            Speaks::Http1 => self.http1(kind, &connected).await,
            Speaks::Http2 | Speaks::Grpc => self.http2(kind, &connected).await,
        };
        let mut said = said.unwrap_or_else(|error| match error.get_ref() {
            Some(inner) => Said::failed(&inner.to_string()),
            None => Said::failed(&format!("{:?}", error.kind())),
        });
        said.connected = connected.get();
        said
    }

    /// As a good client does it: a kept connection that was closed without a byte of an answer is replaced, and an
    /// idempotent request is sent once more (RFC 9112, section 9.3.1).
    async fn http1(&self, kind: &Kind, connected: &Cell<Option<Instant>>) -> io::Result<Said> {
        if let Some(kept) = self.idle() {
            connected.set(Some(kept.since));
            match self.exchange(kept, kind).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted && kind.method == "GET" => {}
                other => return other,
            }
        }
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let since = Instant::now();
        connected.set(Some(since));
        self.exchange(Kept { stream, since }, kind).await
    }

    fn idle(&self) -> Option<Kept> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(Kept::is_open)
    }

    async fn exchange(&self, kept: Kept, kind: &Kind) -> io::Result<Said> {
        let Kept { mut stream, since } = kept;
        let (method, path, to) = (kind.method, &kind.path, self.to);
        let length = if method == "GET" { "" } else { "content-length: 0\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\n{length}\r\n");
        let mut answer = Vec::with_capacity(1024);
        let unanswered = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                io::ErrorKind::ConnectionAborted.into()
            }
            _ => error,
        };
        stream.write_all(request.as_bytes()).await.map_err(unanswered)?;
        if stream.read_buf(&mut answer).await.map_err(unanswered)? == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let end = loop {
            if let Some(end) = memmem::find(&answer, b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut answer).await?;
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let length: Option<usize> = field("content-length").and_then(|length| length.parse().ok());
        match length {
            Some(length) => {
                while answer.len() < end + length {
                    more(&mut stream, &mut answer).await?;
                }
            }
            // Answers of ours that are chunked have no trailers.
            None if field("transfer-encoding").is_some() => {
                while !answer.ends_with(b"\r\n0\r\n\r\n") {
                    more(&mut stream, &mut answer).await?;
                }
            }
            None => while more(&mut stream, &mut answer).await.is_ok() {},
        }
        let status = head.get(9..12).and_then(|word| word.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other("not a status line"))?;
        let said = Said::answered(status, code(&answer[end..]).as_deref(), field("retry-after").is_some());
        if field("connection") != Some("close") {
            self.idle.borrow_mut().push(Kept { stream, since });
        }
        Ok(said)
    }

    /// Once more where the server said that it did nothing with it (RFC 9113, section 8.7).
    async fn http2(&self, kind: &Kind, connected: &Cell<Option<Instant>>) -> io::Result<Said> {
        let undone =
            |error: &h2::Error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let turn = self.turn.get();
        self.turn.set((turn + 1) % SHARED);
        let first = self.shared(turn, None).await?;
        connected.set(Some(first.since));
        match stream(first.send, self.to, kind).await {
            Err(error) if undone(&error) => {
                let second = self.shared(turn, Some(first.since)).await?;
                connected.set(Some(second.since));
                stream(second.send, self.to, kind).await.map_err(io::Error::other)
            }
            other => other.map_err(io::Error::other),
        }
    }

    /// A connection, or a new one in its place where it has ended, was used for long enough, or is the one that is left.
    async fn shared(&self, turn: usize, left: Option<Instant>) -> io::Result<Shared> {
        let mut slot = self.shared[turn].lock().await;
        let life = SHARED_LIFE + Duration::from_secs(turn as u64);
        let good = |kept: &Shared| Some(kept.since) != left && kept.since.elapsed() < life;
        if let Some(Shared { send, since }) = slot.take().filter(good)
            && let Ok(send) = send.ready().await
        {
            return Ok(slot.insert(Shared { send, since }).clone());
        }
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // Requests on it tell how it ended.
            let _ = connection.await;
        });
        Ok(slot.insert(Shared { send, since: Instant::now() }).clone())
    }
}

async fn stream(send: SendRequest<Bytes>, to: SocketAddr, kind: &Kind) -> Result<Said, h2::Error> {
    let grpc = kind.speaks == Speaks::Grpc;
    let uri = format!("http://{}{}", to, kind.path);
    let mut request = http::Request::builder().method(if grpc { "POST" } else { kind.method }).uri(uri);
    if grpc {
        request = request.header("content-type", "application/grpc").header("te", "trailers");
    }
    let Ok(request) = request.body(()) else { return Ok(Said::failed("not a request")) };
    let mut send = send.ready().await?;
    let (response, mut body) = send.send_request(request, !grpc)?;
    if grpc {
        // An empty message: not compressed, no bytes.
        body.send_data(Bytes::from_static(&[0; 5]), true)?;
    }
    let (parts, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if bytes.len() < ANSWER_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
        }
    }
    let trailers = body.trailers().await?;
    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    let status = status.or_else(|| parts.headers.get("grpc-status"));
    let retry_after = parts.headers.contains_key("retry-after");
    Ok(match status.filter(|_| grpc) {
        Some(status) if status == "0" => Said::answered(200, None, retry_after),
        Some(status) => {
            Said { outcome: format!("grpc {}", status.to_str().unwrap_or("?")), retry_after, connected: None }
        }
        None => Said::answered(parts.status.as_u16(), code(&bytes).as_deref(), retry_after),
    })
}

async fn more(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(io::Error::other("an answer that is too long"));
    }
    if stream.read_buf(answer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// The code of a refusal or fault (`problem+json`).
fn code(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(problem.get("code")?.as_str()?.to_owned())
}
