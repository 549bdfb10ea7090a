//! A byte stream to a peer, plain or TLS, that is read and written through a shared reference.
//!
//! Both directions of an exchange run at once on one thread, so the stream is a `RefCell` borrowed only inside a poll:
//! no lock, no split halves, and an idle connection can wait for bytes without holding a buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weft_trust::identity::Identity;
use weft_trust::mesh::peer_identity;

/// TLS over TCP, either side.
pub(crate) type TlsStream = tokio_rustls::TlsStream<TcpStream>;

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A connection's bytes.
pub(crate) struct Stream {
    inner: RefCell<Inner>,
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream { inner: RefCell::new(Inner::Plain(tcp)) }
    }
}

impl From<TlsStream> for Stream {
    fn from(tls: TlsStream) -> Self {
        Stream { inner: RefCell::new(Inner::Tls(Box::new(tls))) }
    }
}

impl Stream {
    /// Whether the peer is reached over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(*self.inner.borrow(), Inner::Tls(_))
    }

    /// What the peer proved to be, if it is of the mesh.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match &*self.inner.borrow() {
            Inner::Plain(_) => None,
            Inner::Tls(tls) => peer_identity(tls.get_ref().1).ok(),
        }
    }

    /// Reads what is there into `space`; 0 bytes is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(space);
        let mut inner = self.inner.borrow_mut();
        ready!(match &mut *inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buf),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, &mut buf),
        })?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Reads into `space`; 0 bytes is the end of the stream.
    pub(crate) async fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, space)).await
    }

    /// Lets the peer see, once this is dropped, that the stream broke off and did not end: by a reset, or under TLS by an end
    /// without `close_notify`, which still delivers what was written.
    pub(crate) fn break_off(&self) {
        if let Inner::Plain(tcp) = &*self.inner.borrow() {
            // A socket that refuses the option is closed in the ordinary way.
            let _ = tcp.set_zero_linger();
        }
    }

    /// Acknowledges what has come without the delay of TCP. Who sends a head and its body in two writes, as many simple
    /// servers do, holds the second back until the first is acknowledged (Nagle; RFC 9293, 3.7.4), which a receiver that
    /// has nothing to say delays by 40 ms.
    pub(crate) fn acknowledge(&self) {
        let inner = self.inner.borrow();
        let socket = match &*inner {
            Inner::Plain(tcp) => tcp,
            Inner::Tls(tls) => tls.get_ref().0,
        };
        // A socket that refuses the option works all the same.
        let _ = socket.set_quickack(true);
    }

    /// Waits until a read will not block, without a buffer. The readiness may be spurious.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            match &mut *self.inner.borrow_mut() {
                Inner::Plain(tcp) => tcp.poll_read_ready(cx),
                // Decrypted bytes may wait although the socket is silent: those that came together with the end of the
                // handshake, and those that a read left behind.
                Inner::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(drop),
            }
        })
        .await
    }

    /// Writes a part of `slices`.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        match (&mut *inner, slices) {
            // Most messages are one piece, and `send` costs less than `writev`.
            (Inner::Plain(tcp), [slice]) => Pin::new(tcp).poll_write(cx, slice),
            (Inner::Plain(tcp), slices) => Pin::new(tcp).poll_write_vectored(cx, slices),
            (Inner::Tls(tls), slices) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
        }
    }

    /// Writes all of `first`, then all of `second`, with as few system calls as it takes.
    pub(crate) async fn write_both(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let total = first.len() + second.len();
        let mut done = 0;
        while done < total {
            let head = first.get(done..).unwrap_or_default();
            let tail = second.get(done.saturating_sub(first.len())..).unwrap_or_default();
            let written = poll_fn(|cx| {
                let slices = [IoSlice::new(head), IoSlice::new(tail)];
                let used = if head.is_empty() {
                    &slices[1..]
                } else if tail.is_empty() {
                    &slices[..1]
                } else {
                    &slices
                };
                self.poll_write(cx, used)
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += written;
        }
        if self.is_tls() { poll_fn(|cx| self.poll_flush(cx)).await } else { Ok(()) }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.inner.borrow_mut() {
            Inner::Plain(_) => Poll::Ready(Ok(())),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written (FIN, with `close_notify` before it under TLS).
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| match &mut *self.inner.borrow_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        })
        .await
    }
}

// The h2 crate wants an owned stream with tokio's traits.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().inner.get_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut().inner.get_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().inner.get_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
