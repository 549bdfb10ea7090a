//! Processes of a benchmark: each on its core, what it used so far, ended when dropped.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::{Add, Sub};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// A process must listen, or say that it is ready, by then.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A process that was asked to end is killed then.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(5);
/// Ticks of `/proc/PID/stat` in a second: 100 on every Linux of our kind (`sysconf(_SC_CLK_TCK)`).
const MICROSECONDS_PER_TICK: f64 = 10_000.0;

/// A running process.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Time on a core, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cpu {
    pub(super) user_us: f64,
    pub(super) system_us: f64,
}

impl Cpu {
    pub(super) fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }

    pub(super) fn per(self, requests: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
        let requests = requests as f64;
        Self { user_us: self.user_us / requests, system_us: self.system_us / requests }
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user_us: self.user_us + other.user_us, system_us: self.system_us + other.system_us }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { user_us: self.user_us - other.user_us, system_us: self.system_us - other.system_us }
    }
}

impl Process {
    /// Starts a program on a core; its errors go to a file.
    pub(super) fn start(
        core: usize,
        program: &Path,
        words: &[impl AsRef<OsStr>],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let name = program.display().to_string();
        let log = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let mut child = Command::new("taskset")
            .args(["--cpu-list", &core.to_string()])
            .arg(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| name.clone())?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("standard output is a pipe")?);
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    pub(super) fn write_line(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is a pipe")?;
        Ok(writeln!(stdin, "{line}").and_then(|()| stdin.flush())?)
    }

    /// The next line of its standard output.
    pub(super) fn read_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "it ended without a word");
        Ok(line)
    }

    /// Waits until it listens.
    pub(super) fn wait_port(&mut self, port: u16) -> anyhow::Result<()> {
        let end = Instant::now() + START_LIMIT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            ensure!(Instant::now() < end, "it does not listen on port {port}");
            std::thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    /// What all its threads used so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        let text = self.proc("stat")?;
        // The name in parentheses may hold anything; `utime` and `stime` are fields 14 and 15 (proc(5)).
        let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks: Vec<f64> =
            fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        let [user, system] = ticks[..] else { bail!("/proc/PID/stat has no times") };
        Ok(Cpu { user_us: user * MICROSECONDS_PER_TICK, system_us: system * MICROSECONDS_PER_TICK })
    }

    /// Resident memory.
    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(&path).context(path)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: what an executable has counted for its build is written when it ends by itself.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + END_LIMIT;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two cores that this process may use.
pub(super) fn two_cores() -> anyhow::Result<(usize, usize)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("cores")?;
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        cores.extend(from.parse::<usize>()?..=to.parse::<usize>()?);
    }
    let [proxy, load, ..] = cores[..] else {
        bail!("two cores are needed: one for the proxy, one for the load")
    };
    Ok((proxy, load))
}
