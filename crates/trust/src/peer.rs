//! Who is at the other end of a loopback connection: the guard that keeps one local process from using the listeners,
//! and so the identity, of another's sidecar.
//!
//! The kernel knows the socket at the other end by its two addresses ([`sock_diag(7)`], one look-up in its hash table,
//! no dump): its owner's user id and its inode. Which process holds that inode is read from the descriptors of the
//! service's own processes, the descendants of its keeper. What costs, costs the service that connects: its processes
//! and descriptors, up to limits. An answer is remembered by inode and never by port, since ports are used again.
//!
//! What this cannot see: a process of another user's namespace, and a socket that its process has closed already; such a
//! peer is [`Owner::Unknown`] and is refused.
//!
//! [`sock_diag(7)`]: https://man7.org/linux/man-pages/man7/sock_diag.7.html

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Processes of a service that are looked through for one connection.
pub const PROCESSES_MAX: usize = 256;
/// Descriptors that are looked through for one connection.
pub const DESCRIPTORS_MAX: usize = 16 * 1024;
/// Inodes that are remembered.
const REMEMBERED_MAX: usize = 1024;

/// Who holds the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process of the service that this sidecar stands beside.
    Service,
    /// Somebody else on this machine.
    OtherProcess {
        /// User id that opened the socket.
        uid: u32,
        /// Process id, where it can be seen.
        pid: Option<u32>,
        /// Name of its executable, at most 15 bytes, where it can be seen; the process chose it: quote it when it is shown.
        comm: Option<String>,
    },
    /// It cannot be told.
    Unknown(Why),
}

impl fmt::Display for Owner {
    /// For people; what a process calls itself is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Service => f.write_str("a process of the service"),
            Owner::OtherProcess { uid, pid, comm } => {
                f.write_str("the peer is another process")?;
                if let Some(comm) = comm {
                    write!(f, " {comm:?}")?;
                }
                if let Some(pid) = pid {
                    write!(f, ", pid {pid}")?;
                }
                write!(f, ", of user {uid}")
            }
            Owner::Unknown(why) => write!(f, "it cannot be told who the peer is: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotLoopback => "its address is not of this machine's loopback",
            Why::NoService => "the service does not run",
            Why::Gone => "it is gone already",
            Why::Kernel => "the kernel did not say",
            Why::TooMany => "there are too many processes to look through",
        })
    }
}

/// Why it cannot be told who holds the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// An address that is not of this machine's loopback.
    NotLoopback,
    /// The supervisor has not yet said which processes the service is.
    NoService,
    /// The socket is gone, or nobody holds it any more.
    Gone,
    /// The kernel would not answer.
    Kernel,
    /// More processes or descriptors than are looked through.
    TooMany,
}

/// Checks the peers of one sidecar's local listeners. Shared by its threads.
#[derive(Debug, Default)]
pub struct PeerCheck {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kernel: Option<Diagnosis>,
    keeper: Option<u32>,
    anyone: bool,
    remembered: BTreeMap<u32, Owner>,
    order: VecDeque<u32>,
}

impl PeerCheck {
    /// A check that knows no service yet: until [`PeerCheck::set_keeper`] every peer is [`Why::NoService`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A check that takes every process of this machine for the service: for one that the supervisor did not start.
    pub fn relaxed() -> Self {
        let check = Self::default();
        check.lock().anyone = true;
        check
    }

    /// The service is what descends from this process: its keeper, which gathers whoever loses its parent
    /// (`PR_SET_CHILD_SUBREAPER`), so that no descendant can leave. Forgets what was remembered.
    pub fn set_keeper(&self, pid: u32) {
        let mut state = self.lock();
        state.keeper = Some(pid);
        state.remembered.clear();
        state.order.clear();
    }

    /// The tier that this check amounts to, as `weft status` names it.
    pub fn tier(&self) -> &'static str {
        if self.lock().anyone { "none" } else { "peer-credentials" }
    }

    /// Who holds the other end of a connection accepted at `local` from `remote`. Reads `/proc` and one netlink answer:
    /// microseconds for a small service, bounded by [`PROCESSES_MAX`] and [`DESCRIPTORS_MAX`] for a large one.
    pub fn check(&self, local: SocketAddr, remote: SocketAddr) -> Owner {
        let mut state = self.lock();
        if state.anyone {
            return Owner::Service;
        }
        if !canonical(local.ip()).is_loopback() || !canonical(remote.ip()).is_loopback() {
            return Owner::Unknown(Why::NotLoopback);
        }
        let Some(keeper) = state.keeper else { return Owner::Unknown(Why::NoService) };
        let socket = match state.look_up(local, remote) {
            Ok(socket) => socket,
            Err(why) => return Owner::Unknown(why),
        };
        if let Some(owner) = state.remembered.get(&socket.inode) {
            return owner.clone();
        }
        let owner = owner_of(socket, keeper);
        state.remember(socket.inode, &owner);
        owner
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The socket at the other end. A netlink socket that failed is opened anew for the next peer.
    fn look_up(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<Socket, Why> {
        if self.kernel.is_none() {
            self.kernel = Some(Diagnosis::open().map_err(|_| Why::Kernel)?);
        }
        let Some(kernel) = self.kernel.as_mut() else { return Err(Why::Kernel) };
        match kernel.socket(remote, local) {
            Ok(Some(socket)) if socket.inode != 0 => Ok(socket),
            Ok(_) => Err(Why::Gone),
            Err(_) => {
                self.kernel = None;
                Err(Why::Kernel)
            }
        }
    }

    /// What is not certain is asked again: a service may be in the middle of starting a process.
    fn remember(&mut self, inode: u32, owner: &Owner) {
        if *owner != Owner::Service {
            return;
        }
        if self.order.len() == REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        if self.remembered.insert(inode, owner.clone()).is_none() {
            self.order.push_back(inode);
        }
    }
}

/// An IPv4 address that came in IPv6 clothes counts as what it is.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

// --- whose descriptor it is -------------------------------------------------------------------------------------

fn owner_of(socket: Socket, keeper: u32) -> Owner {
    let link = format!("socket:[{}]", socket.inode);
    let mut descriptors_left = DESCRIPTORS_MAX;
    let processes = descendants(keeper, PROCESSES_MAX);
    for pid in &processes {
        match holds(*pid, &link, &mut descriptors_left) {
            Holds::Yes => return Owner::Service,
            Holds::No => {}
            Holds::TooMany => return Owner::Unknown(Why::TooMany),
        }
    }
    if processes.len() >= PROCESSES_MAX {
        return Owner::Unknown(Why::TooMany);
    }
    match stranger(&link) {
        Some(pid) => Owner::OtherProcess { uid: socket.uid, pid: Some(pid), comm: comm(pid) },
        None => Owner::OtherProcess { uid: socket.uid, pid: None, comm: None },
    }
}

enum Holds {
    Yes,
    No,
    TooMany,
}

fn holds(pid: u32, link: &str, descriptors_left: &mut usize) -> Holds {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Holds::No };
    for entry in entries.flatten() {
        if *descriptors_left == 0 {
            return Holds::TooMany;
        }
        *descriptors_left -= 1;
        if fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link) {
            return Holds::Yes;
        }
    }
    Holds::No
}

/// Who else holds the inode: only to name it in the alert, so it gives up early.
fn stranger(link: &str) -> Option<u32> {
    let mut descriptors_left = DESCRIPTORS_MAX;
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .find(|pid| matches!(holds(*pid, link, &mut descriptors_left), Holds::Yes))
}

/// The name of a process's executable.
fn comm(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Who listens on a TCP port of this machine, for people: `python3 (process 4711)`. `None` where that cannot be seen, for
/// instance because it is another user's. Looks through all processes: only for an error that is shown.
pub fn listener(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(table, port))?;
    let pid = stranger(&format!("socket:[{inode}]"))?;
    let name: String = comm(pid)?.chars().filter(|c| !c.is_control()).collect();
    Some(format!("{name} (process {pid})"))
}

/// The inode of a listening socket, from `proc_net(5)`: `sl local remote state … uid timeout inode`.
fn listening_inode(table: &str, port: u16) -> Option<u32> {
    let suffix = format!(":{port:04X}");
    let table = fs::read_to_string(table).ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        // 0A is TCP_LISTEN.
        if local.ends_with(&suffix) && state == "0A" { fields.nth(5)?.parse().ok() } else { None }
    })
}

/// Every process that descends from `root`, parents before children, without `root`; at most `most`.
///
/// A process that forks while it is looked at may be missed; whoever must not miss one asks again.
pub fn descendants(root: u32, most: usize) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut next = 0;
    let mut parent = root;
    loop {
        for child in children(parent) {
            if found.len() == most {
                return found;
            }
            if !found.contains(&child) {
                found.push(child);
            }
        }
        let Some(further) = found.get(next) else { return found };
        parent = *further;
        next += 1;
    }
}

/// The children of all threads of a process (`proc_pid_task_tid_children(5)`).
fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

// --- asking the kernel ------------------------------------------------------------------------------------------

/// A socket as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    uid: u32,
    inode: u32,
}

/// A netlink socket to `sock_diag`.
#[derive(Debug)]
struct Diagnosis {
    socket: OwnedFd,
    sequence: u32,
}

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR` of `linux/netlink.h`.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2`.
const ASK_BYTES: usize = 56;
/// `struct inet_diag_msg`.
const ANSWER_BYTES: usize = 72;
/// `-ENOENT` as an error message carries it.
const NOT_FOUND: i32 = -2;

impl Diagnosis {
    fn open() -> rustix::io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(rustix::net::netlink::SOCK_DIAG),
        )?;
        // The kernel answers within the send; this is against a wait that never ends, whatever the reason.
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(std::time::Duration::from_millis(200)),
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The TCP socket whose own address is `own` and whose peer is `peer`; `None` where there is none.
    fn socket(&mut self, own: SocketAddr, peer: SocketAddr) -> rustix::io::Result<Option<Socket>> {
        self.sequence = self.sequence.wrapping_add(1);
        let ask = ask(self.sequence, own, peer);
        rustix::net::sendto(&self.socket, &ask, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = [0_u8; 4096];
        loop {
            let (bytes, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            match answer(buffer.get(..bytes).unwrap_or_default(), self.sequence) {
                // Of an earlier question that ran into the limit above.
                Answer::Stale => {}
                Answer::Socket(socket) => return Ok(Some(socket)),
                Answer::None => return Ok(None),
                Answer::Broken => return Err(rustix::io::Errno::PROTO),
            }
        }
    }
}

/// `nlmsghdr` and `inet_diag_req_v2`: one exact socket, any state.
fn ask(sequence: u32, own: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let (own_ip, peer_ip) = (canonical(own.ip()), canonical(peer.ip()));
    let mut bytes = Vec::with_capacity(HEADER_BYTES + ASK_BYTES);
    bytes.extend(((HEADER_BYTES + ASK_BYTES) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    let family = if own_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    bytes.push(family.as_raw() as u8);
    bytes.push(6); // IPPROTO_TCP
    bytes.extend([0, 0]); // no extensions, padding
    bytes.extend(u32::MAX.to_ne_bytes()); // any state
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(wide(own_ip));
    bytes.extend(wide(peer_ip));
    bytes.extend(0_u32.to_ne_bytes()); // any interface
    bytes.extend([0xff; 8]); // no cookie
    bytes
}

/// An address in the 16 bytes that the kernel keeps for either family.
fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Socket(Socket),
    None,
    Stale,
    Broken,
}

fn answer(bytes: &[u8], sequence: u32) -> Answer {
    let (Some(kind), Some(of)) = (u16_at(bytes, 4), u32_at(bytes, 8)) else { return Answer::Broken };
    if of != sequence {
        return Answer::Stale;
    }
    match kind {
        ERROR => match u32_at(bytes, HEADER_BYTES).map(u32::cast_signed) {
            Some(NOT_FOUND) => Answer::None,
            _ => Answer::Broken,
        },
        BY_FAMILY if bytes.len() >= HEADER_BYTES + ANSWER_BYTES => {
            // The last two words of `inet_diag_msg`.
            match (u32_at(bytes, HEADER_BYTES + 64), u32_at(bytes, HEADER_BYTES + 68)) {
                (Some(uid), Some(inode)) => Answer::Socket(Socket { uid, inode }),
                _ => Answer::Broken,
            }
        }
        _ => Answer::Broken,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A helper process that connects to `address`, and a grandchild of it if `through_shell`.
    fn client(address: &str, port: u16, through_shell: bool) -> Child {
        client_at("None", address, port, through_shell)
    }

    /// `own`: Python's address of its own end.
    fn client_at(own: &str, address: &str, port: u16, through_shell: bool) -> Child {
        let code = format!(
            "import socket,sys\ns=socket.create_connection(('{address}',{port}),source_address={own})\nprint('in',flush=True)\nsys.stdin.read()"
        );
        let mut command = if through_shell {
            let mut shell = Command::new("sh");
            shell.args(["-c", "python3 -c \"$0\"; true", &code]);
            shell
        } else {
            let mut python = Command::new("python3");
            python.args(["-c", &code]);
            python
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "in\n");
        child
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_connection_of_a_descendant_is_the_services_and_one_of_a_stranger_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // The shell stands for a keeper: its child connects, also through an IPv6 socket, as Java's do.
        for address in ["127.0.0.1", "::ffff:127.0.0.1"] {
            let helper = client(address, port, true);
            let (accepted, remote) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            let check = PeerCheck::new();
            assert_eq!(check.check(local, remote), Owner::Unknown(Why::NoService));
            check.set_keeper(helper.id());
            assert_eq!(check.check(local, remote), Owner::Service, "{address}");
            assert_eq!(check.check(local, remote), Owner::Service, "remembered");
            assert_eq!(PeerCheck::relaxed().check(local, remote), Owner::Service);

            let stranger = client(address, port, false);
            let (accepted, remote) = listener.accept().unwrap();
            match check.check(accepted.local_addr().unwrap(), remote) {
                Owner::OtherProcess { uid, pid, comm } => {
                    assert_eq!((uid, pid), (rustix::process::geteuid().as_raw(), Some(stranger.id())));
                    assert!(comm.is_some_and(|name| name.starts_with("python")));
                }
                other => panic!("{other:?}"),
            }
            end(helper);
            end(stranger);
        }
    }

    #[test]
    fn over_ipv6_too() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let helper = client("::1", listener.local_addr().unwrap().port(), true);
        let (accepted, remote) = listener.accept().unwrap();
        let check = PeerCheck::new();
        check.set_keeper(helper.id());
        assert_eq!(check.check(accepted.local_addr().unwrap(), remote), Owner::Service);
        end(helper);
    }

    #[test]
    fn a_port_that_another_process_uses_again_does_not_inherit_the_verdict() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        // From an address that nobody else uses: a port of 127.0.0.1 may have many connections, and cannot be bound then.
        let helper = client_at("('127.0.0.77',0)", "127.0.0.1", local.port(), true);
        let (accepted, remote) = listener.accept().unwrap();
        let check = PeerCheck::new();
        check.set_keeper(helper.id());
        assert_eq!(check.check(local, remote), Owner::Service);
        // A reset, so that no TIME_WAIT keeps the port from being used again.
        let now = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&accepted, now).unwrap();
        drop(accepted);
        end(helper);
        let again = socket_at(remote, local);
        let (_kept, remote_again) = listener.accept().unwrap();
        assert_eq!(remote_again, remote);
        assert!(matches!(check.check(local, remote), Owner::OtherProcess { .. }));
        drop(again);
    }

    /// A connection from exactly `own`.
    fn socket_at(own: SocketAddr, peer: SocketAddr) -> OwnedFd {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &own).unwrap();
        rustix::net::connect(&socket, &peer).unwrap();
        socket
    }

    #[test]
    fn what_is_gone_or_foreign_is_unknown() {
        let check = PeerCheck::new();
        check.set_keeper(1);
        let local: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(check.check(local, "127.0.0.1:1".parse().unwrap()), Owner::Unknown(Why::Gone));
        assert_eq!(check.check(local, "192.0.2.1:5000".parse().unwrap()), Owner::Unknown(Why::NotLoopback));
    }

    #[test]
    fn answers_of_the_kernel_are_read_within_their_bounds() {
        let whole = |kind: u16, sequence: u32, rest: &[u8]| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0, 0]);
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(rest);
            bytes
        };
        let mut message = [0_u8; ANSWER_BYTES];
        message[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        message[68..].copy_from_slice(&77_u32.to_ne_bytes());
        let good = whole(BY_FAMILY, 3, &message);
        assert_eq!(answer(&good, 3), Answer::Socket(Socket { uid: 1000, inode: 77 }));
        assert_eq!(answer(&good, 4), Answer::Stale);
        assert_eq!(answer(&whole(ERROR, 3, &NOT_FOUND.to_ne_bytes()), 3), Answer::None);
        assert_eq!(answer(&whole(ERROR, 3, &(-1_i32).to_ne_bytes()), 3), Answer::Broken);
        for bytes in 0..good.len() {
            assert_eq!(answer(&good[..bytes], 3), Answer::Broken, "{bytes} bytes");
        }
    }

    #[test]
    fn descendants_are_found_below_processes_that_changed_their_session() {
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0; setsid sh -c 'echo up; read line' <&3 & wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(descendants(std::process::id(), PROCESSES_MAX).contains(&child.id()));
        assert!(!descendants(child.id(), PROCESSES_MAX).is_empty());
        assert_eq!(descendants(std::process::id(), 1).len(), 1, "the limit holds");
        end(child);
    }

    #[test]
    fn who_it_is_reads_as_a_sentence() {
        let owner =
            |pid, comm: Option<&str>| Owner::OtherProcess { uid: 7, pid, comm: comm.map(str::to_owned) };
        for (owner, said) in [
            (owner(Some(42), Some("sh \n")), "the peer is another process \"sh \\n\", pid 42, of user 7"),
            (owner(None, None), "the peer is another process, of user 7"),
            (Owner::Unknown(Why::NoService), "it cannot be told who the peer is: the service does not run"),
        ] {
            assert_eq!(owner.to_string(), said);
        }
    }
}
