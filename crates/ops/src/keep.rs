//! The keeper: holds one child process and whatever it starts, and sees to it that nothing of it survives.
//!
//! A service may start processes of its own, put them into sessions of their own, and lose track of them. The keeper is
//! the *child subreaper* (`PR_SET_CHILD_SUBREAPER`, `prctl(2)`) of them all: who loses its parent becomes its child, so
//! that "no child left" means "nothing left". It ends them when it is told to, when the child ends, and when its own
//! parent dies, which it notices twice: by `PR_SET_PDEATHSIG` and by the end of its standard input.
//!
//! The streams: standard input is the life line of the supervisor (nothing is read from it but its end), standard output
//! carries [`KeeperWord`]s, standard error is the child's output, both streams in the order in which it writes.
//!
//! Killing the keeper itself does not free the child: the command is started by way of [`become_child`], which asks the
//! kernel for SIGKILL at the keeper's death. Grandchildren then fall to the supervisor, a subreaper as well.

pub mod confine;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use weft_trust::peer::descendants;

use confine::{NotConfined, Ports};

/// How long the processes get to end by themselves after the supervisor died.
const ORPHAN_GRACE: Duration = Duration::from_secs(3);
/// How long what the child left behind gets to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// Between two rounds of killing: a process that forks faster than this is caught by a later round.
const KILL_INTERVAL: Duration = Duration::from_millis(20);
/// Processes that one round signals; more are signalled by the next.
const PROCESSES_MAX: usize = 32 * 1024;

/// A line on the keeper's standard input that kills everything at once.
pub const KILL_WORD: &str = "kill";

/// What to keep, and how.
#[derive(Debug)]
pub struct Keep {
    /// This executable: it is started again to become the command.
    pub executable: PathBuf,
    /// The command and its arguments; at least one word.
    pub command: Vec<OsString>,
    /// Whose death ends everything; nobody's where absent.
    pub parent: Option<u32>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// TCP ports that the command may not connect to, if the kernel can forbid it.
    pub forbidden: Option<Ports>,
}

/// What the keeper says on standard output, a JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperWord {
    /// The command runs.
    Started {
        /// Its process id.
        pid: u32,
        /// Whether the forbidden ports are really forbidden.
        confined: bool,
        /// Why not, where they should be.
        why_not: Option<String>,
    },
}

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nothing to run.
    #[error("nothing to run: `weft keep -- COMMAND …`")]
    NoCommand,
    /// The parent died before the keeper was ready.
    #[error("the supervisor is gone")]
    Orphan,
    /// The command cannot be started.
    #[error("cannot start `{command}`: {error}")]
    Start {
        /// Its first word.
        command: String,
        /// What the kernel says.
        error: io::Error,
    },
    /// The kernel refuses what a keeper needs.
    #[error("cannot keep processes together")]
    Kernel(#[from] io::Error),
}

/// Keeps the command until nothing of it is left; gives the exit status of the command (128 + N for signal N).
///
/// Call it first thing in a process of its own: it changes the session, the signals and the privileges of the process.
///
/// # Errors
/// The command could not be started, or the kernel lacks what is needed.
pub fn keep(keep: &Keep) -> Result<u8, KeepError> {
    if keep.command.is_empty() {
        return Err(KeepError::NoCommand);
    }
    crate::inherit::close_all_on_exec()?;
    // Refused only where this process leads a group already, as under a shell; the session of the shell will do then.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(io::Error::from)?;
    if let Some(parent) = keep.parent {
        die_with(parent, Signal::TERM)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from)?;
    let confined = keep.forbidden.as_ref().map(confine::confine);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(hold(keep, confined))
}

/// The second half of the start: asks to be killed with the keeper and becomes the command. Returns only if it cannot.
pub fn become_child(keeper: u32, command: &[OsString]) -> KeepError {
    let Some((program, arguments)) = command.split_first() else { return KeepError::NoCommand };
    if let Err(error) = die_with(keeper, Signal::KILL) {
        return error;
    }
    let error = Command::new(program).args(arguments).exec();
    KeepError::Start { command: program.to_string_lossy().into_owned(), error }
}

/// Asks for `signal` at the parent's death, and looks whether it is dead already.
fn die_with(parent: u32, signal: Signal) -> Result<(), KeepError> {
    rustix::process::set_parent_process_death_signal(Some(signal)).map_err(io::Error::from)?;
    let now = rustix::process::getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get().cast_unsigned());
    if now == Some(parent) { Ok(()) } else { Err(KeepError::Orphan) }
}

/// Signals that are passed on to the command. SIGKILL and SIGSTOP cannot be.
const FORWARDED: [(SignalKind, Signal); 6] = [
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
    (SignalKind::window_change(), Signal::WINCH),
];

async fn hold(keep: &Keep, confined: Option<Result<(), NotConfined>>) -> Result<u8, KeepError> {
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (forwarded, mut passed_on) = tokio::sync::mpsc::channel(16);
    for (kind, number) in FORWARDED {
        let (mut stream, forwarded) = (signal(kind)?, forwarded.clone());
        tokio::spawn(async move {
            while stream.recv().await.is_some() && forwarded.send(number).await.is_ok() {}
        });
    }
    let mut life_line = LifeLine::new();
    let child = start(keep)?;
    say(&KeeperWord::Started {
        pid: child.as_raw_nonzero().get().cast_unsigned(),
        confined: matches!(confined, Some(Ok(()))),
        why_not: confined.and_then(Result::err).map(|why| why.to_string()),
    });
    let mut family = Family { child, status: None, ending: None };
    loop {
        if family.reap() {
            return Ok(family.status.unwrap_or(0));
        }
        let next = family.next_round();
        tokio::select! {
            _ = ended.recv() => {}
            Some(number) = passed_on.recv() => family.signal_child(number),
            Some(()) = terminate.recv() => {
                let orphan = keep.parent.is_some_and(|parent| die_with(parent, Signal::TERM).is_err());
                family.end(if orphan { ORPHAN_GRACE } else { keep.grace });
            }
            killed = life_line.end() => family.end(if killed { Duration::ZERO } else { ORPHAN_GRACE }),
            () = until(next) => family.round(),
        }
    }
}

fn start(keep: &Keep) -> Result<Pid, KeepError> {
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let child = Command::new(&keep.executable)
        .args(["keep", "--child-of", &std::process::id().to_string(), "--"])
        .args(&keep.command)
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .map_err(|error| KeepError::Start { command: keep.executable.display().to_string(), error })?;
    Pid::from_raw(child.id().cast_signed()).ok_or(KeepError::Orphan)
}

fn say(word: &KeeperWord) {
    let mut output = io::stdout();
    // Nobody at a terminal needs it, and a supervisor that is gone is noticed elsewhere.
    if !output.is_terminal()
        && let Ok(line) = serde_json::to_string(word)
    {
        let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The child and all that descends from it.
struct Family {
    child: Pid,
    status: Option<u8>,
    ending: Option<Ending>,
}

struct Ending {
    /// When asking turns into killing.
    kill_at: Instant,
    next_round: Instant,
}

impl Family {
    /// Takes the status of all that ended; true when nothing is left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.child => {
                    self.status = Some(exit_status(status));
                    self.end_leftovers();
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                // No child, and as the subreaper of them all: no descendant.
                Err(_) => return true,
            }
        }
    }

    fn signal_child(&self, number: Signal) {
        if self.status.is_none() {
            let _ = rustix::process::kill_process(self.child, number);
        }
    }

    /// Begins to end everything. Once the child is asked, a second call kills at once.
    fn end(&mut self, grace: Duration) {
        let now = Instant::now();
        let kill_at = if self.ending.is_some() { now } else { now + grace };
        self.signal_child(Signal::TERM);
        self.ending = Some(Ending { kill_at, next_round: kill_at });
    }

    /// The child is gone: what it left gets its own time, within what is left of the whole.
    fn end_leftovers(&mut self) {
        self.signal_all(Signal::TERM);
        let now = Instant::now();
        let kill_at = now + LEFTOVER_GRACE;
        let kill_at = self.ending.as_ref().map_or(kill_at, |ending| ending.kill_at.min(kill_at));
        self.ending = Some(Ending { kill_at, next_round: kill_at });
    }

    fn next_round(&self) -> Option<Instant> {
        self.ending.as_ref().map(|ending| ending.next_round)
    }

    /// Time is up: kills whoever is still there.
    fn round(&mut self) {
        self.signal_all(Signal::KILL);
        if let Some(ending) = &mut self.ending {
            ending.next_round = Instant::now() + KILL_INTERVAL;
        }
    }

    fn signal_all(&self, number: Signal) {
        for pid in descendants(std::process::id(), PROCESSES_MAX) {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, number);
            }
        }
    }
}

/// As a shell shows it.
fn exit_status(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Standard input, if it is a pipe: its end is the supervisor's.
struct LifeLine(Option<tokio::net::unix::pipe::Receiver>);

impl LifeLine {
    fn new() -> Self {
        let input = io::stdin().as_fd().try_clone_to_owned().ok();
        // Refuses what is not a pipe, such as the terminal of somebody who tries the command by hand.
        Self(input.and_then(|input| tokio::net::unix::pipe::Receiver::from_owned_fd(input).ok()))
    }

    /// Returns once, at the end of the stream or at [`KILL_WORD`] (true); never afterwards.
    async fn end(&mut self) -> bool {
        let mut word = [0_u8; 64];
        let Some(pipe) = &mut self.0 else { return std::future::pending().await };
        let read = tokio::io::AsyncReadExt::read(pipe, &mut word).await;
        self.0 = None;
        // Nothing else is ever said; whatever it is, it is not "go on".
        matches!(read, Ok(1..))
    }
}
