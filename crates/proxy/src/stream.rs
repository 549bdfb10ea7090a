//! A byte stream to a peer, plain or TLS, that is read and written through a shared reference.
//!
//! Both directions of an exchange run at once on one thread, so the stream is a `RefCell` borrowed only inside a poll:
//! no lock, no split halves, and an idle connection can wait for bytes without holding a buffer.

mod socket;
pub(crate) mod turn;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weft_trust::identity::Identity;
use weft_trust::mesh::peer_identity;

use crate::buffer::Outgoing;

/// TLS over TCP, either side.
pub(crate) type TlsStream = tokio_rustls::TlsStream<TcpStream>;

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A connection's bytes. Dropped, it closes as soon as its last message was sent.
pub(crate) struct Stream {
    pipe: Rc<Pipe>,
}

/// What a stream shares with the end of a [`turn`].
struct Pipe {
    inner: RefCell<Inner>,
    message: RefCell<Message>,
}

/// What is sent before anything else.
#[derive(Default)]
struct Message {
    /// Empty when there is none.
    bytes: Outgoing,
    sent: usize,
    /// Whose message it is, while the end of the turn is awaited.
    turn: Option<Waker>,
    /// One could not be sent: nothing may follow it.
    broken: bool,
}

impl Message {
    fn whole(&self) -> io::Result<()> {
        if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl Pipe {
    /// Sends the message.
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let message = &mut *self.message.borrow_mut();
        if !message.bytes.is_empty() {
            message.broken = ready!(self.inner.borrow_mut().poll_send_all(cx, message)).is_err();
            message.bytes.release();
        }
        Poll::Ready(message.whole())
    }

    /// Sends what waited for the end of the turn. What the kernel does not take at once is late: its owner sends it on.
    fn end_turn(&self) {
        let owner = self.message.borrow_mut().turn.take();
        if self.poll_message(&mut Context::from_waker(Waker::noop())).is_pending()
            && let Some(owner) = owner
        {
            owner.wake();
        }
    }

    /// Sends on what is late; whether some of it still is.
    fn drive(&self, cx: &mut Context<'_>) -> bool {
        let late = {
            let message = self.message.borrow();
            !message.bytes.is_empty() && message.turn.is_none()
        };
        late && self.poll_message(cx).is_pending()
    }
}

impl Inner {
    fn poll_send_all(&mut self, cx: &mut Context<'_>, message: &mut Message) -> Poll<io::Result<()>> {
        while let left @ [_, ..] = &message.bytes[message.sent..] {
            let count = match self {
                Inner::Plain(tcp) => ready!(socket::poll_send(tcp, cx, left))?,
                Inner::Tls(tls) => ready!(Pin::new(&mut **tls).poll_write(cx, left))?,
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            message.sent += count;
        }
        self.poll_flush(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Inner::Plain(_) => Poll::Ready(Ok(())),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Inner::Plain(tcp).into()
    }
}

impl From<TlsStream> for Stream {
    fn from(tls: TlsStream) -> Self {
        Inner::Tls(Box::new(tls)).into()
    }
}

impl From<Inner> for Stream {
    fn from(inner: Inner) -> Self {
        let pipe = Pipe { inner: RefCell::new(inner), message: RefCell::default() };
        Stream { pipe: Rc::new(pipe) }
    }
}

impl Stream {
    /// Whether the peer is reached over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(*self.pipe.inner.borrow(), Inner::Tls(_))
    }

    /// What the peer proved to be, if it is of the mesh.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match &*self.pipe.inner.borrow() {
            Inner::Plain(_) => None,
            Inner::Tls(tls) => peer_identity(tls.get_ref().1).ok(),
        }
    }

    /// Reads what is there into `space`; 0 bytes is the end of the stream.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pipe.drive(cx);
        match &mut *self.pipe.inner.borrow_mut() {
            Inner::Plain(tcp) => socket::poll_recv(tcp, cx, space),
            Inner::Tls(tls) => {
                let mut buf = ReadBuf::new(space);
                ready!(Pin::new(&mut **tls).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Reads into `space`; 0 bytes is the end of the stream.
    pub(crate) async fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, space)).await
    }

    /// Lets the peer see, once this is dropped, that the stream broke off and did not end: by a reset, or under TLS by an end
    /// without `close_notify`, which still delivers what was written.
    pub(crate) fn break_off(&self) {
        if let Inner::Plain(tcp) = &*self.pipe.inner.borrow() {
            // A socket that refuses the option is closed in the ordinary way.
            let _ = tcp.set_zero_linger();
        }
    }

    /// Acknowledges what has come without the delay of TCP. Who sends a head and its body in two writes, as many simple
    /// servers do, holds the second back until the first is acknowledged (Nagle; RFC 9293, 3.7.4), which a receiver that
    /// has nothing to say delays by 40 ms.
    pub(crate) fn acknowledge(&self) {
        let inner = self.pipe.inner.borrow();
        let socket = match &*inner {
            Inner::Plain(tcp) => tcp,
            Inner::Tls(tls) => tls.get_ref().0,
        };
        // A socket that refuses the option works all the same.
        let _ = socket.set_quickack(true);
    }

    /// Waits until a read will not block, without a buffer. The readiness may be spurious.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.pipe.inner.borrow_mut() {
            Inner::Plain(tcp) => tcp.poll_read_ready(cx),
            // Decrypted bytes may wait although the socket is silent: those that came together with the end of the
            // handshake, and those that a read left behind.
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(drop),
        }
    }

    /// As [`Stream::poll_readable`].
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Takes a whole message and sends it when this [`turn`] of the loop ends. What the kernel does not take then is sent on by whoever
    /// reads or writes, or awaits [`Stream::poll_sent`]. Waits only for a message before it.
    ///
    /// # Errors
    /// The message before it could not be sent.
    pub(crate) async fn send_with_turn(&self, bytes: &mut Outgoing) -> io::Result<()> {
        if !turn::is_served() {
            return self.write_both(bytes, b"").await;
        }
        poll_fn(|cx| {
            ready!(self.pipe.poll_message(cx))?;
            let owner = Some(cx.waker().clone());
            let message = Message { bytes: std::mem::take(bytes), sent: 0, turn: owner, broken: false };
            self.pipe.message.replace(message);
            turn::join(Rc::clone(&self.pipe));
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Sends what waits for the end of the turn, or is late.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe.poll_message(cx).map(drop)
    }

    /// Forgets what is late; nothing can be sent any more.
    pub(crate) fn give_up(&self) {
        let message = &mut *self.pipe.message.borrow_mut();
        message.bytes.release();
        message.broken = true;
    }

    /// Whether the kernel, asked once more, has not yet taken all of a message whose turn has ended.
    pub(crate) fn is_late(&self, cx: &mut Context<'_>) -> bool {
        self.pipe.drive(cx)
    }

    /// Writes a part of `slices`.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.pipe.poll_message(cx))?;
        let mut inner = self.pipe.inner.borrow_mut();
        match (&mut *inner, slices) {
            // Most messages are one piece, and `send` costs less than `writev`.
            (Inner::Plain(tcp), [slice]) => socket::poll_send(tcp, cx, slice),
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
        ready!(self.pipe.poll_message(cx))?;
        self.pipe.inner.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pipe.poll_message(cx))?;
        match &mut *self.pipe.inner.borrow_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }

    /// Says that nothing more will be written (FIN, with `close_notify` before it under TLS).
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }
}

// The h2 crate wants an owned stream with tokio's traits.
impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self.pipe.inner.borrow_mut() {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(&self, cx)
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::net::RecvFlags;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Runs where messages are sent at the end of a turn.
    fn in_turns(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            spawn_local(turn::run());
            yield_now().await;
            work.await;
        });
    }

    /// A stream whose kernel buffer is small, and its peer.
    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let near = near.unwrap();
        socket2::SockRef::from(&near).set_send_buffer_size(4096).unwrap();
        (Stream::from(near), far.unwrap().0)
    }

    fn message(text: &[u8]) -> Outgoing {
        let mut out = Outgoing::default();
        out.begin();
        out.extend_from_slice(text);
        out
    }

    /// Whether the kernel has nothing for this side.
    fn unsent(far: &TcpStream) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(far, &mut [0; 8], look).is_err_and(|error| error == Errno::AGAIN)
    }

    #[test]
    fn messages_of_a_turn_leave_together_when_it_ends() {
        in_turns(async {
            let [(one, mut far_one), (two, mut far_two)] = [pair().await, pair().await];
            let (other, far_other) = pair().await;
            // What is written at once is seen at once.
            other.write_both(b"now", b"").await.unwrap();
            assert!(!unsent(&far_other));
            one.send_with_turn(&mut message(b"one")).await.unwrap();
            two.send_with_turn(&mut message(b"two")).await.unwrap();
            assert!(unsent(&far_one) && unsent(&far_two));
            let mut bytes = [0; 3];
            far_two.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"two");
            far_one.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"one");
        });
    }

    #[test]
    fn what_is_written_otherwise_comes_behind_the_message() {
        in_turns(async {
            let (near, mut far) = pair().await;
            near.send_with_turn(&mut message(b"head ")).await.unwrap();
            near.write_both(b"body ", b"end ").await.unwrap();
            near.send_with_turn(&mut message(b"next ")).await.unwrap();
            near.send_with_turn(&mut message(b"last")).await.unwrap();
            near.shutdown().await.unwrap();
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "head body end next last");
        });
    }

    #[test]
    fn who_drops_a_stream_has_its_message_sent_before_it_closes() {
        in_turns(async {
            let (near, mut far) = pair().await;
            near.send_with_turn(&mut message(b"bye")).await.unwrap();
            drop(near);
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "bye");
        });
    }

    #[test]
    fn what_the_kernel_does_not_take_at_once_is_sent_on_by_who_reads() {
        in_turns(async {
            let (near, mut far) = pair().await;
            socket2::SockRef::from(&far).set_recv_buffer_size(4096).unwrap();
            let large: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            near.send_with_turn(&mut message(&large)).await.unwrap();
            let reads = spawn_local(async move {
                let mut answer = [0; 8];
                let count = near.read(&mut answer).await.unwrap();
                (near, answer[..count].to_vec())
            });
            let mut seen = vec![0; large.len()];
            far.read_exact(&mut seen).await.unwrap();
            assert!(seen == large);
            far.write_all(b"thanks").await.unwrap();
            assert_eq!(reads.await.unwrap().1, b"thanks");
        });
    }

    #[test]
    fn where_nobody_sends_at_the_end_of_a_turn_a_message_goes_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = pair().await;
            near.send_with_turn(&mut message(b"now")).await.unwrap();
            let mut bytes = [0; 3];
            far.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"now");
        });
    }
}
