//! Ports: the listening sockets that are handed down, and the ports that services listen on themselves.
//!
//! A socket that is handed down is open from the start to the end of its owner, so that no port is lost in between and
//! what connects early waits in the backlog. The port of a service cannot be held for it; free ones come from below the
//! range in which the kernel gives out ports by itself, so that nobody takes one by accident.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::keep::confine::Ports;

/// Connections that wait while nobody accepts.
const BACKLOG: i32 = 1024;
/// First of the ports that free ones for services come from.
const POOL_FIRST: u16 = 20_000;
/// Ports of one system's pool.
pub const POOL_PORTS: u16 = 256;
/// Pools side by side, below 32768, where Linux begins to give out ports.
const POOLS: u16 = 48;

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody has it.
    #[error("{what} cannot listen on {address}: {}", taken(.holder.as_deref()))]
    Taken {
        /// Who wanted it.
        what: String,
        /// What was wanted.
        address: String,
        /// Who has it, if that can be seen.
        holder: Option<String>,
    },
    /// Not an address.
    #[error("{what} cannot listen on `{address}`: it is not HOST:PORT with an address of this machine")]
    NotAnAddress {
        /// Who wanted it.
        what: String,
        /// What was wanted.
        address: String,
    },
    /// The kernel refuses otherwise.
    #[error("{what} cannot listen on {address}: {error}")]
    Io {
        /// Who wanted it.
        what: String,
        /// What was wanted.
        address: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// None of the pool is free.
    #[error("no free port for {0}: all of {POOL_PORTS} are taken")]
    NoneFree(String),
}

fn taken(holder: Option<&str>) -> String {
    holder.map_or_else(|| "the port is taken".to_owned(), |who| format!("the port is taken by {who}"))
}

/// The named sockets of one role, in the order in which they are handed down.
#[derive(Clone, Debug, Default)]
pub struct SocketSet {
    sockets: Vec<(String, Arc<OwnedFd>, SocketAddr)>,
}

impl SocketSet {
    /// Opens one on a free port of `127.0.0.1`, and gives the port.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open_free(&mut self, name: &str) -> Result<u16, PortError> {
        self.open(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), name)
    }

    /// Opens one at `address`, and gives its port.
    ///
    /// # Errors
    /// It is taken, or the kernel refuses otherwise.
    pub fn open(&mut self, name: &str, address: SocketAddr, what: &str) -> Result<u16, PortError> {
        let (socket, address) = listen(address, false).map_err(|error| failed(what, address, error))?;
        self.sockets.push((name.to_owned(), Arc::new(socket), address));
        Ok(address.port())
    }

    /// Opens `copies` sockets that share `address` (`SO_REUSEPORT`, one for each thread that accepts), named `prefix.<i>`
    /// from the number of those that are there already.
    ///
    /// # Errors
    /// It is taken, also by somebody who would share it, or the kernel refuses otherwise.
    pub fn open_shared(
        &mut self,
        prefix: &str,
        address: SocketAddr,
        copies: usize,
        what: &str,
    ) -> Result<u16, PortError> {
        // The first is opened without sharing: a second system of the same user would silently take every other connection.
        let probe = listen(address, false).map_err(|error| failed(what, address, error))?;
        let address = probe.1;
        drop(probe);
        for _ in 0..copies {
            let (socket, address) = listen(address, true).map_err(|error| failed(what, address, error))?;
            let name = format!("{prefix}.{}", self.sockets.len());
            self.sockets.push((name, Arc::new(socket), address));
        }
        Ok(address.port())
    }

    /// Takes over all of another set that listen at `address`, named `prefix.<i>`; false where there are none.
    pub fn adopt_address(&mut self, other: &Self, prefix: &str, address: SocketAddr) -> bool {
        let before = self.sockets.len();
        for (_, socket, at) in other.sockets.iter().filter(|(.., at)| *at == address) {
            let name = format!("{prefix}.{}", self.sockets.len());
            self.sockets.push((name, Arc::clone(socket), *at));
        }
        self.sockets.len() > before
    }

    /// Takes over one of another set, and gives its port; `None` where there is none of that name.
    pub fn adopt(&mut self, other: &Self, name: &str) -> Option<u16> {
        let (name, socket, at) = other.sockets.iter().find(|(known, ..)| known == name)?;
        self.sockets.push((name.clone(), Arc::clone(socket), *at));
        Some(at.port())
    }

    /// The port of one.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.address(name).map(|address| address.port())
    }

    /// The address of one.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.sockets.iter().find(|(known, ..)| known == name).map(|(_, _, address)| *address)
    }

    /// Every address once, in order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self.sockets.iter().map(|(_, _, address)| *address).collect();
        all.dedup();
        all
    }

    /// `LISTEN_FDNAMES`.
    pub fn names(&self) -> String {
        self.sockets.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(":")
    }

    /// Copies of the descriptors, in order.
    ///
    /// # Errors
    /// No descriptor is left in this process.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.iter().map(|(_, socket, _)| socket.try_clone()).collect()
    }
}

/// Reads `HOST:PORT`; `localhost` and an empty host stand for `127.0.0.1` and all addresses.
///
/// # Errors
/// It is not that.
pub fn address(text: &str, what: &str) -> Result<SocketAddr, PortError> {
    let text = text.trim();
    let host_port = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let all = text.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
    let candidate = host_port.or(all).unwrap_or_else(|| text.to_owned());
    candidate.parse().map_err(|_| PortError::NotAnAddress { what: what.to_owned(), address: text.to_owned() })
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a system that ended a moment ago do not keep its ports.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener.into(), address))
}

fn failed(what: &str, address: SocketAddr, error: io::Error) -> PortError {
    let (what, text) = (what.to_owned(), address.to_string());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            PortError::Taken { what, address: text, holder: weft_trust::peer::listener(address.port()) }
        }
        io::ErrorKind::AddrNotAvailable => PortError::NotAnAddress { what, address: text },
        _ => PortError::Io { what, address: text, error },
    }
}

/// Ports that services of one system listen on.
#[derive(Debug)]
pub struct Pool {
    first: u16,
    given: Ports,
}

impl Pool {
    /// The pool of the system whose data is at `seed`: the same one at each start, as far as it is free.
    pub fn new(seed: u64) -> Self {
        let pool = u16::try_from(seed % u64::from(POOLS)).unwrap_or(0);
        Self { first: POOL_FIRST + pool * POOL_PORTS, given: Ports::none() }
    }

    /// All ports of the pool: what the services of this system have or may have later.
    pub fn range(&self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.first + (POOL_PORTS - 1)
    }

    /// A port of `127.0.0.1` that nobody listens on; it is not given again before [`Pool::give_back`]. If there is a choice,
    /// one that no connection of a minute ago stands on: who listens without `SO_REUSEADDR` would find it in use.
    ///
    /// # Errors
    /// All are taken.
    pub fn take(&mut self, what: &str) -> Result<u16, PortError> {
        let free = |port: &u16| !self.given.contains(*port) && is_free(*port).is_ok();
        let found =
            self.range().find(|port| free(port) && is_untouched(*port)).or_else(|| self.range().find(free));
        let port = found.ok_or_else(|| PortError::NoneFree(what.to_owned()))?;
        self.given.insert(port);
        Ok(port)
    }

    /// Whether somebody has it.
    #[cfg(test)]
    pub fn is_given(&self, port: u16) -> bool {
        self.given.contains(port)
    }

    /// The service that had it is gone.
    pub fn give_back(&mut self, port: u16) {
        self.given.remove(port);
    }
}

/// Whether a port that a service asks for can be had.
///
/// # Errors
/// It is taken.
pub fn claim(port: u16, what: &str) -> Result<(), PortError> {
    is_free(port).map_err(|error| failed(what, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), error))
}

fn is_free(port: u16) -> io::Result<()> {
    // Without SO_REUSEPORT, and with SO_REUSEADDR: fails exactly where somebody listens. Services that bind all addresses
    // would meet somebody on another address too.
    listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), false).map(drop)
}

/// Whether a port can be had without `SO_REUSEADDR`: no connection that ended is left on it (RFC 9293, TIME-WAIT).
fn is_untouched(port: u16) -> bool {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()));
    bound.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_with_its_holder() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let mut set = SocketSet::default();
        let error = set.open_shared("edge", address, 2, "the gateway").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the gateway cannot listen on {address}: the port is taken by ")),
            "{error}"
        );
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(claim(address.port(), "orders").is_err());
        drop(holder);
        claim(address.port(), "orders").unwrap();
    }

    #[test]
    fn a_port_that_others_would_share_is_refused_too() {
        let mut one = SocketSet::default();
        let port = one.open_shared("edge", "127.0.0.1:0".parse().unwrap(), 2, "the gateway").unwrap();
        assert_eq!((one.names().as_str(), one.addresses().len()), ("edge.0:edge.1", 1));
        let same = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let error = SocketSet::default().open_shared("edge", same, 2, "the gateway").unwrap_err();
        assert!(matches!(error, PortError::Taken { .. }), "{error}");
    }

    #[test]
    fn sockets_stay_open_in_copies() {
        let mut set = SocketSet::default();
        let port = set.open_free("inbound").unwrap();
        set.open_free("api").unwrap();
        assert_eq!(set.names(), "inbound:api");
        assert_eq!(set.port("inbound"), Some(port));
        let mut successor = SocketSet::default();
        let address = set.address("inbound").unwrap();
        assert!(successor.adopt_address(&set, "edge", address));
        assert_eq!(successor.names(), "edge.0");
        assert!(!successor.adopt_address(&set, "edge", "127.0.0.1:1".parse().unwrap()));
        drop(set);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(successor.descriptors().unwrap().len(), 1);
    }

    #[test]
    fn the_pool_gives_each_port_once() {
        let mut pool = Pool::new(47);
        assert!(*pool.range().end() < 32_768);
        let (one, two) = (pool.take("a").unwrap(), pool.take("b").unwrap());
        assert_ne!(one, two);
        pool.give_back(one);
        assert_eq!(pool.take("c").unwrap(), one);
    }

    #[test]
    fn a_port_on_which_a_connection_just_ended_comes_last() {
        use std::io::Read as _;
        let mut pool = Pool::new(48);
        let port = pool.take("a").unwrap();
        pool.give_back(port);
        let service = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        // The service says goodbye first, so that the connection stays with it.
        drop(service.accept().unwrap());
        drop(service);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        assert!(is_free(port).is_ok() && !is_untouched(port));
        let all: Vec<u16> = std::iter::from_fn(|| pool.take("b").ok()).collect();
        let place = all.iter().position(|other| *other == port).expect("better than none");
        assert!(place > 0 && all[place..].iter().all(|other| !is_untouched(*other)), "{all:?}");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, read) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(text, "x").unwrap().to_string(), read);
        }
        assert!(address("example.org:80", "x").is_err());
        assert!(address("8080", "x").is_err());
    }
}
