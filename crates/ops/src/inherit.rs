//! Listening sockets that outlive the process which accepts on them.
//!
//! The supervisor opens every listening socket and hands it down (the convention of systemd's `sd_listen_fds(3)`:
//! descriptors from 3 on, `LISTEN_FDS` counts them, `LISTEN_FDNAMES` names them, separated by `:`), so that connections
//! wait in the backlog while a role restarts, and two processes overlap in a rolling restart. `LISTEN_PID` is not asked
//! for: the supervisor cannot know it before it starts the process.
//!
//! This is the only file with unsafe code: descriptors come as numbers, and only a promise makes them owned.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// First inherited descriptor.
pub const FIRST_FD: RawFd = 3;
/// Most sockets that a process is handed down.
pub const SOCKETS_MAX: usize = 1024;

/// Why inherited sockets cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The variables contradict each other or themselves.
    #[error("LISTEN_FDS=`{fds}` and LISTEN_FDNAMES=`{names}` do not belong together")]
    Variables {
        /// As it was given.
        fds: String,
        /// As it was given.
        names: String,
    },
    /// Nothing is open there, or not a listening socket.
    #[error("inherited descriptor {fd} (`{name}`) is not a listening socket: {source}")]
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// Its name.
        name: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// They were taken before.
    #[error("the inherited sockets were taken before")]
    Twice,
}

/// Takes the sockets that `LISTEN_FDS` and `LISTEN_FDNAMES` announce; none where `fds` is absent. Call it once, first
/// thing in the process: it closes nothing, sets close-on-exec, and makes them non-blocking.
pub fn take(fds: Option<&str>, names: Option<&str>) -> Result<BTreeMap<String, TcpListener>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let Some(fds) = fds else { return Ok(BTreeMap::new()) };
    let names = parse(fds, names.unwrap_or(""))?;
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(InheritError::Twice);
    }
    let mut sockets = BTreeMap::new();
    for (fd, name) in (FIRST_FD..).zip(names) {
        match own(fd).and_then(listening) {
            Ok(listener) => sockets.insert(name, listener),
            Err(source) => return Err(InheritError::Descriptor { fd, name, source }),
        };
    }
    Ok(sockets)
}

/// Names in the order of their descriptors; each name once.
fn parse(fds: &str, names: &str) -> Result<Vec<String>, InheritError> {
    let wrong = || InheritError::Variables { fds: fds.to_owned(), names: names.to_owned() };
    let count: usize = fds.parse().map_err(|_| wrong())?;
    let listed: Vec<String> = names.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let distinct: std::collections::BTreeSet<&String> = listed.iter().collect();
    if count > SOCKETS_MAX || listed.len() != count || distinct.len() != count {
        return Err(wrong());
    }
    Ok(listed)
}

#[expect(unsafe_code, reason = "a descriptor that was handed down comes as a number")]
fn own(fd: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: the borrow lasts for one call. A descriptor that is not open makes `fcntl` answer EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, or the call above had failed. Whoever started us gave it to us by LISTEN_FDS, `take` runs once,
    // and so nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn listening(fd: OwnedFd) -> std::io::Result<TcpListener> {
    if !rustix::net::sockopt::socket_acceptconn(&fd)? {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Sets close-on-exec on everything open but the standard streams, so that a child gets only what it is given.
///
/// A shell or an editor that leaks a descriptor into us must not leak it into the services.
#[expect(unsafe_code, reason = "descriptors that others leaked into us are known by number only")]
pub fn close_all_on_exec() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if fd < FIRST_FD {
            continue;
        }
        // SAFETY: the borrow lasts for two calls that neither close nor keep it; a number that was closed meanwhile makes
        // them answer EBADF, which is ignored.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Ok(flags) = fcntl_getfd(borrowed) {
            let _ = fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_count_must_agree() {
        assert_eq!(parse("2", "inbound:outbound.catalog").unwrap(), ["inbound", "outbound.catalog"]);
        assert_eq!(parse("0", "").unwrap(), Vec::<String>::new());
        for (fds, names) in
            [("2", "inbound"), ("1", "a:b"), ("2", "a:a"), ("x", "a"), ("-1", ""), ("4096", "a")]
        {
            assert!(parse(fds, names).is_err(), "{fds} {names}");
        }
    }

    #[test]
    fn what_is_not_a_listening_socket_is_refused() {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(listening(file).is_err());
        let socket = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(listening(socket).is_err());
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(listening(listener).is_ok());
    }

    #[test]
    fn nothing_announced_is_nothing_taken() {
        assert!(take(None, None).unwrap().is_empty());
    }
}
