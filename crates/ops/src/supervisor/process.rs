//! One process: started with its sockets and its life line, its lines read, its end reported.
//!
//! What it says on standard output is meant for us (a role's or a keeper's words), what it says on standard error is its
//! log. Both go into bounded queues: a process that writes faster than it is read waits, as at a slow terminal.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::machine::UnitId;
use super::sockets::SocketSet;
use crate::inherit::FIRST_FD;

/// Bytes of a log line that are kept; the rest is counted.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Lines that are kept to show what a process said last.
const TAIL_LINES: usize = 12;
/// Lines, from its start on, in which a process may say that the address it wants is in use.
const START_LINES_MAX: u32 = 4096;
/// Lines to a process that wait to be written.
const WORDS_WAITING_MAX: usize = 64;
/// After the end of a process: how long its pipes may still deliver, since a stranger may hold them open.
const FLUSH_LIMIT: Duration = Duration::from_millis(300);

/// What to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Its folder; ours where absent.
    pub cwd: Option<PathBuf>,
    /// Handed down from descriptor 3 on.
    pub sockets: Option<&'a SocketSet>,
}

/// What a process does, with the unit it belongs to.
#[derive(Debug)]
pub struct FromProcess {
    /// Whose.
    pub unit: UnitId,
    /// Which process of the unit.
    pub pid: u32,
    /// What.
    pub what: ProcessEvent,
}

/// What a process does.
#[derive(Debug)]
pub enum ProcessEvent {
    /// A line on standard output.
    Word(Vec<u8>),
    /// It logged that an address is in use, for the first time.
    AddressInUse,
    /// It ended.
    Ended {
        /// How, as far as the kernel told.
        status: Option<ExitStatus>,
        /// What it logged last, oldest first.
        tail: Vec<String>,
        /// It logged that an address is in use.
        address_in_use: bool,
    },
}

/// A line of a log.
#[derive(Debug)]
pub struct LogLine {
    /// Whose.
    pub unit: UnitId,
    /// Without its end; invalid UTF-8 replaced, cut at [`LOG_LINE_BYTES_MAX`].
    pub text: String,
}

/// Where processes report to.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Words and ends.
    pub events: mpsc::Sender<FromProcess>,
    /// Logs.
    pub logs: mpsc::Sender<LogLine>,
}

/// A running process. Dropping it closes its standard input, which each of our processes takes as the order to end.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
    words: mpsc::Sender<Vec<u8>>,
    said: Said,
}

impl Process {
    /// Starts it, in a process group of its own so that the terminal's Ctrl-C reaches the supervisor alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(unit: UnitId, spawn: &Spawn<'_>, reports: &Reports) -> io::Result<Self> {
        let mut command = Command::new(&spawn.program);
        command.args(&spawn.arguments).env_clear().envs(&spawn.environment).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = &spawn.cwd {
            command.current_dir(cwd);
        }
        if let Some(sockets) = spawn.sockets {
            hand_down(&mut command, sockets)?;
        }
        let mut child = command.spawn()?;
        // Frees our copies of what was handed down.
        drop(command);
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pid = child.id().ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(
            Pid::from_raw(pid.cast_signed()).ok_or_else(gone)?,
            PidfdFlags::empty(),
        )?;
        let words = write_words(child.stdin.take().ok_or_else(gone)?);
        let said = Said::default();
        let output = child.stdout.take().ok_or_else(gone)?;
        let log = child.stderr.take().ok_or_else(gone)?;
        let reading = tokio::spawn(read_words(output, unit, pid, reports.events.clone()));
        let logging = tokio::spawn(read_log(log, (unit, pid), reports.clone(), said.clone()));
        let (events, ended) = (reports.events.clone(), said.clone());
        tokio::spawn(async move {
            let status = child.wait().await.ok();
            let flushed = async { (reading.await, logging.await) };
            let _ = tokio::time::timeout(FLUSH_LIMIT, flushed).await;
            let (tail, address_in_use) = (ended.last(), ended.address_in_use());
            let what = ProcessEvent::Ended { status, tail, address_in_use };
            let _ = events.send(FromProcess { unit, pid, what }).await;
        });
        Ok(Self { pid, pidfd, words, said })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it logged that an address is in use.
    pub fn address_in_use(&self) -> bool {
        self.said.address_in_use()
    }

    /// Says a line. Lost if the process does not read, which ends it soon by other ways.
    pub fn say(&self, line: impl Into<Vec<u8>>) {
        let mut line = line.into();
        line.push(b'\n');
        let _ = self.words.try_send(line);
    }

    /// Sends a signal; no other process can be hit, even if the id was used again.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }
}

fn hand_down(command: &mut Command, sockets: &SocketSet) -> io::Result<()> {
    let descriptors = sockets.descriptors()?;
    command.env("LISTEN_FDS", descriptors.len().to_string()).env("LISTEN_FDNAMES", sockets.names());
    let mappings = descriptors
        .into_iter()
        .zip(FIRST_FD..)
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(())
}

fn write_words(mut input: tokio::process::ChildStdin) -> mpsc::Sender<Vec<u8>> {
    let (words, mut waiting) = mpsc::channel::<Vec<u8>>(WORDS_WAITING_MAX);
    tokio::spawn(async move {
        while let Some(line) = waiting.recv().await {
            if input.write_all(&line).await.is_err() {
                return;
            }
        }
    });
    words
}

async fn read_words(
    mut output: impl AsyncRead + Unpin,
    unit: UnitId,
    pid: u32,
    events: mpsc::Sender<FromProcess>,
) {
    let mut lines = Lines::new(crate::words::LINE_BYTES_MAX);
    let mut buffer = vec![0; 4096];
    while let Ok(bytes @ 1..) = output.read(&mut buffer).await {
        for line in lines.push(buffer.get(..bytes).unwrap_or_default()) {
            let what = ProcessEvent::Word(line.bytes);
            if events.send(FromProcess { unit, pid, what }).await.is_err() {
                return;
            }
        }
    }
}

async fn read_log(mut log: impl AsyncRead + Unpin, (unit, pid): (UnitId, u32), reports: Reports, said: Said) {
    let mut lines = Lines::new(LOG_LINE_BYTES_MAX);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let bytes = log.read(&mut buffer).await.unwrap_or(0);
        let whole = lines.push(buffer.get(..bytes).unwrap_or_default());
        let rest = if bytes == 0 { lines.finish() } else { None };
        for line in whole.into_iter().chain(rest) {
            let text = line.text();
            if said.push(&text) {
                let _ =
                    reports.events.send(FromProcess { unit, pid, what: ProcessEvent::AddressInUse }).await;
            }
            if reports.logs.send(LogLine { unit, text }).await.is_err() {
                return;
            }
        }
        if bytes == 0 {
            return;
        }
    }
}

/// What of a log matters after the end of its process.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<String>,
    lines: u32,
    address_in_use: bool,
}

impl Said {
    /// Takes in a line; true if it is the first one that says that an address is in use.
    fn push(&self, line: &str) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = kept.lines < START_LINES_MAX && !kept.address_in_use && says_address_in_use(line);
        kept.lines = kept.lines.saturating_add(1);
        kept.address_in_use |= news;
        if kept.last.len() == TAIL_LINES {
            kept.last.pop_front();
        }
        kept.last.push_back(line.to_owned());
        news
    }

    fn last(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }

    fn address_in_use(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).address_in_use
    }
}

/// Whether a program says that it cannot listen since somebody else does: the name of the error, what the C library calls it,
/// or `port … in use` as Spring Boot, Django and others have it. That is a guess, and only ever a reason to try.
fn says_address_in_use(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let words = || line.split(|char: char| !char.is_ascii_alphanumeric());
    line.contains("eaddrinuse")
        || (line.contains("in use") && words().any(|word| word == "address" || word == "port"))
}

/// Bytes into lines of bounded length.
#[derive(Debug)]
struct Lines {
    open: Vec<u8>,
    cut_bytes: usize,
    bytes_max: usize,
}

/// A line, perhaps cut.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    bytes: Vec<u8>,
    cut_bytes: usize,
}

impl Line {
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.cut_bytes {
            0 => text.into_owned(),
            more => format!("{text} … ({more} bytes more)"),
        }
    }
}

impl Lines {
    fn new(bytes_max: usize) -> Self {
        Self { open: Vec::new(), cut_bytes: 0, bytes_max }
    }

    /// The lines that `bytes` complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut complete = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let kept = part.len().min(self.bytes_max - self.open.len());
            self.open.extend_from_slice(part.get(..kept).unwrap_or_default());
            self.cut_bytes += part.len() - kept;
            if parts.peek().is_some() {
                complete.push(self.take());
            }
        }
        complete
    }

    /// What has no line end.
    fn finish(&mut self) -> Option<Line> {
        (!self.open.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.open);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { bytes, cut_bytes: std::mem::take(&mut self.cut_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], lines: &[&str]) {
        let mut reader = Lines::new(8);
        let mut read: Vec<String> = Vec::new();
        for chunk in chunks {
            read.extend(reader.push(chunk.as_bytes()).iter().map(Line::text));
        }
        read.extend(reader.finish().iter().map(Line::text));
        assert_eq!(read, lines);
    }

    #[test]
    fn lines_are_put_together_and_cut() {
        check(&["a\nb", "c\n", "\nd"], &["a", "bc", "", "d"]);
        check(&["win\r\n"], &["win"]);
        check(&["12345678", "9", "0\nx\n"], &["12345678 … (2 bytes more)", "x"]);
        check(&[""], &[]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut reader = Lines::new(100);
        assert_eq!(reader.push(b"a\xffb\n")[0].text(), "a\u{fffd}b");
    }

    #[test]
    fn programs_say_that_an_address_is_in_use_in_words_of_their_own() {
        for line in [
            "Error: listen EADDRINUSE: address already in use :::3000",
            "OSError: [Errno 98] Address already in use",
            "panic: listen tcp 127.0.0.1:8080: bind: address already in use",
            "java.net.BindException: Address already in use",
            "Error: Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }",
            "** (Mix) :eaddrinuse",
            "Error: That port is already in use.",
            "Web server failed to start. Port 8080 was already in use.",
            "nginx: bind() to 0.0.0.0:80 failed (98: ADDRESS IN USE)",
        ] {
            assert!(says_address_in_use(line), "{line}");
        }
        for line in
            ["", "listening on port 8080", "the import is in use", "the file is already in use", "address 7"]
        {
            assert!(!says_address_in_use(line), "{line}");
        }
    }

    #[test]
    fn an_address_in_use_is_remembered_however_much_is_said_after_it_and_looked_for_at_the_start() {
        for (before, found) in [(0, true), (START_LINES_MAX - 1, true), (START_LINES_MAX, false)] {
            let said = Said::default();
            assert!((0..before).all(|_| !said.push("starting")));
            said.push("EADDRINUSE");
            assert!((0..2 * TAIL_LINES).all(|_| !said.push("  at Server.listen")));
            assert_eq!((said.address_in_use(), said.last().len()), (found, TAIL_LINES), "{before}");
        }
    }

    #[tokio::test]
    async fn a_process_gets_its_sockets_says_its_words_and_its_end_is_told_with_what_it_said_last() {
        let (events, mut told) = mpsc::channel(16);
        let (logs, mut logged) = mpsc::channel(16);
        let mut sockets = SocketSet::default();
        let port = sockets.open_free("api").unwrap();
        let code = "import os,socket,sys\n\
            s=socket.socket(fileno=3)\n\
            print(s.getsockname()[1],os.environ['LISTEN_FDNAMES'],flush=True)\n\
            print('careful',file=sys.stderr)\n\
            sys.exit(len(sys.stdin.readline()))";
        let path = std::env::split_paths("/usr/local/bin:/usr/bin:/bin").map(|folder| folder.join("python3"));
        let spawn = Spawn {
            program: path.into_iter().find(|program| program.exists()).unwrap(),
            arguments: vec!["-c".into(), code.into()],
            environment: BTreeMap::new(),
            cwd: None,
            sockets: Some(&sockets),
        };
        let process = Process::start(UnitId(7), &spawn, &Reports { events, logs }).unwrap();
        match told.recv().await.unwrap() {
            FromProcess { unit: UnitId(7), pid, what: ProcessEvent::Word(word) } => {
                assert_eq!(pid, process.pid());
                assert_eq!(String::from_utf8(word).unwrap(), format!("{port} api"));
            }
            other => panic!("{other:?}"),
        }
        process.say("abc");
        assert_eq!(logged.recv().await.unwrap().text, "careful");
        match told.recv().await.unwrap().what {
            ProcessEvent::Ended { status, tail, address_in_use } => {
                assert_eq!(status.unwrap().code(), Some(4));
                assert_eq!((tail, address_in_use), (vec!["careful".to_owned()], false));
            }
            other => panic!("{other:?}"),
        }
    }
}
