//! What a measured proxy stands between: an upstream that costs next to nothing, a forwarder that parses nothing (the limit
//! of what a proxy can reach), and a crowd of idle connections.
//!
//! All of it runs on one thread, so that it can be pinned to the core that the proxy is not on.

mod http2;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Bytes of the body that is answered to what does not ask for a large one.
pub const SMALL_BYTES: usize = 200;
/// Bytes of the body where the path holds `large`.
pub const LARGE_BYTES: usize = 1024 * 1024;

/// Requests for `/busy/MS` that are worked on at once, each for so many milliseconds; others wait for their turn. So a
/// service has a capacity that does not depend on the machine.
pub const WORK_PLACES: usize = 8;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a head that is still read.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Answers every request of HTTP/1.1, and of HTTP/2 that begins with its preface, with a fixed body; without end.
///
/// # Errors
/// The port is taken.
pub async fn upstream(port: u16) -> io::Result<()> {
    let answers = Arc::new(Answers::new());
    each_connection(port, move |stream| {
        let answers = Arc::clone(&answers);
        async move {
            // A peer that goes away in the middle is no business of ours.
            let _ = answers.serve(stream).await;
        }
    })
    .await
}

/// Copies bytes between each connection and one of its own to `upstream`; without end.
///
/// # Errors
/// The port is taken.
pub async fn forwarder(port: u16, upstream: SocketAddr) -> io::Result<()> {
    each_connection(port, move |mut stream| async move {
        let Ok(mut other) = TcpStream::connect(upstream).await else { return };
        if other.set_nodelay(true).is_ok() {
            let copied =
                tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut other, READ_BYTES, READ_BYTES);
            let _ = copied.await;
        }
    })
    .await
}

async fn each_connection<F: Future<Output = ()> + 'static>(
    port: u16,
    serve: impl Fn(TcpStream) -> F + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    tokio::task::LocalSet::new()
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(serve(stream));
            }
        })
        .await
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    /// What can be worked on at once of the requests for `/busy/MS`.
    places: Semaphore,
}

impl Answers {
    fn new() -> Self {
        let answer = |body_bytes: usize| {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body_bytes}\r\n\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + body_bytes, b'x');
            bytes
        };
        Self { small: answer(SMALL_BYTES), large: answer(LARGE_BYTES), places: Semaphore::new(WORK_PLACES) }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buf = Vec::with_capacity(READ_BYTES);
        let mut body_left = 0;
        loop {
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
            if body_left == 0 && buf.starts_with(b"PRI * HTTP/2.0") {
                return http2::serve(stream, buf).await;
            }
            let mut taken = 0;
            loop {
                let skipped = body_left.min(buf.len() - taken);
                (taken, body_left) = (taken + skipped, body_left - skipped);
                let Some(end) = memmem::find(&buf[taken..], b"\r\n\r\n").filter(|_| body_left == 0) else {
                    break;
                };
                let head = &buf[taken..taken + end + 4];
                body_left = content_length(head);
                taken += head.len();
                let large = memmem::find(head, b"large ").is_some();
                if let Some(at) = memmem::find(head, b"/busy/") {
                    let _place = self.places.acquire().await.map_err(io::Error::other)?;
                    tokio::time::sleep(Duration::from_millis(number(&head[at + 6..]) as u64)).await;
                }
                stream.write_all(if large { &self.large } else { &self.small }).await?;
            }
            buf.drain(..taken);
            if buf.len() > HEAD_BYTES_MAX {
                return Ok(());
            }
        }
    }
}

/// The length that a head announces for its body; 0 if it announces none.
fn content_length(head: &[u8]) -> usize {
    // Heads come from proxies that all write one of these two.
    let names = [b"content-length: ", b"Content-Length: "];
    let found = names.iter().find_map(|name| Some(memmem::find(head, *name)? + name.len()));
    let Some(start) = found else { return 0 };
    number(&head[start..])
}

fn number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length: usize, digit| length.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// Opens connections, has one request answered on each, and returns them: idle, but alive. With `ca` over TLS 1.3 to
/// `localhost`.
///
/// # Errors
/// One of them fails, or is answered by anything but 200.
pub async fn crowd(
    to: SocketAddr,
    path: &str,
    connections: usize,
    ca: Option<&Path>,
) -> io::Result<Vec<Idle>> {
    let tls = ca.map(connector).transpose()?;
    let mut crowd = Vec::with_capacity(connections);
    for _ in 0..connections {
        let tcp = TcpStream::connect(to).await?;
        let mut stream: Idle = match &tls {
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Box::new(tls.connect(name, tcp).await?)
            }
            None => Box::new(tcp),
        };
        ask(&mut stream, path).await?;
        crowd.push(stream);
    }
    Ok(crowd)
}

/// A connection that is kept open.
pub type Idle = Box<dyn Stream>;

/// Something to write to and to read from.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

async fn ask(stream: &mut Idle, path: &str) -> io::Result<()> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(4096);
    while memmem::find(&answer, b"xxx").is_none() {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.len() >= 12 && !answer.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
    }
    Ok(())
}

fn connector(ca: &Path) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
    roots.add(root).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_is_read_from_its_head() {
        assert_eq!(content_length(b"GET / HTTP/1.1\r\n\r\n"), 0);
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n"), 17);
        assert_eq!(content_length(b"POST / HTTP/1.1\r\ncontent-length: 1048576\r\nx: y\r\n\r\n"), 1_048_576);
    }
}
