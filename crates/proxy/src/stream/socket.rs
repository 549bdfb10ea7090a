//! Bytes of a TCP socket, by system calls of our own.
//!
//! What libc offers is a point at which a thread can be cancelled: in a process of several threads each call pays two atomic
//! exchanges for that, and nobody here cancels threads. Readiness stays the runtime's matter.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there into `space`; 0 bytes is the end of the stream.
pub(super) fn poll_recv(tcp: &TcpStream, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
    let room = space.len();
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let received =
            tcp.try_io(Interest::READABLE, || Ok(rustix::net::recv(tcp, &mut *space, RecvFlags::empty())?.0));
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) => {
                if 0 < count && count < room {
                    // That was all, and the kernel tells of what comes next: nobody needs to ask only to hear so.
                    let _: io::Result<()> =
                        tcp.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
                }
                return Poll::Ready(Ok(count));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Sends a part of `bytes`.
pub(super) fn poll_send(tcp: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        let sent = tcp.try_io(Interest::WRITABLE, || Ok(rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL)?));
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
