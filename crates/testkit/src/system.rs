//! A running system, from `weft up` to its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{self, Process};
use crate::{LIMIT, ports};

/// Variable by which the processes of a system are known; services get it, too.
const MARK: &str = "TESTKIT_SYSTEM";
/// The event that stands for the end of a stream.
const END: &str = "testkit: end of output";
/// Lines that are kept of what a system says.
const LINES_MAX: usize = 100_000;

/// A manifest with the words that only the test knows filled in: `{service}`, the command that runs `testkit-service`;
/// `{edge}`, the address of the gateway; `{metrics}`, that of the metrics.
#[derive(Clone, Debug)]
pub struct Manifest {
    text: String,
    beside: Option<PathBuf>,
}

impl Manifest {
    /// A manifest as written in a test.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), beside: None }
    }

    /// With copies of the files of a folder beside it.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Self {
        self.beside = Some(folder.to_owned());
        self
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Run {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// Standard output as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_default()
    }
}

/// Runs the executable in a folder, to its end.
///
/// # Panics
/// It cannot be started.
pub fn run(weft: &Path, folder: &Path, words: &[&str]) -> Run {
    #[expect(clippy::expect_used, reason = "a harness ends the test")]
    let output: Output = Command::new(weft)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the executable can be started");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A system that was started with `weft up`. Dropping it ends whatever is left of it.
pub struct System {
    /// Where the gateway answers, if the manifest says `listen: "{edge}"`.
    pub edge: SocketAddr,
    /// Where metrics are served, if the manifest says `metrics: "{metrics}"`.
    pub metrics: SocketAddr,
    weft: PathBuf,
    folder: PathBuf,
    child: Child,
    heard: Arc<Heard>,
    ended: bool,
    /// What ran below the supervisor when its end was asked for.
    family: Vec<Process>,
    /// One system at a time in a test process: two would measure each other.
    _alone: MutexGuard<'static, ()>,
}

/// What the system said, and who waits for more.
#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

impl System {
    /// Starts a system and waits until it serves.
    ///
    /// # Panics
    /// It does not within the limit; its log is shown.
    pub fn up(weft: &str, manifest: &Manifest) -> Self {
        let system = Self::start(weft, manifest, &[]);
        system.wait_serving();
        system
    }

    /// Starts a system.
    ///
    /// # Panics
    /// It cannot be started.
    #[expect(clippy::expect_used, reason = "a harness ends the test")]
    pub fn start(weft: &str, manifest: &Manifest, words: &[&str]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        processes::adopt_orphans();
        let weft = PathBuf::from(weft);
        let folder = new_folder(&weft);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (edge, metrics) = (local(ports::free()), local(ports::free()));
        if let Some(files) = &manifest.beside {
            copy(files, &folder).expect("the files beside the manifest can be copied");
        }
        write_manifest(&weft, &folder, manifest, edge, metrics);
        let mut child = Command::new(&weft)
            .args(["up", "--output", "json"])
            .args(words)
            .current_dir(&folder)
            .env(MARK, &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the executable can be started");
        let heard = Arc::new(Heard::default());
        let out = child.stdout.take().expect("standard output is a pipe");
        let err = child.stderr.take().expect("standard error is a pipe");
        listen(out, &heard);
        listen(err, &heard);
        let family = Vec::new();
        Self { edge, metrics, weft, folder, child, heard, ended: false, family, _alone: alone }
    }

    /// Waits until the whole system serves.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_serving(&self) {
        self.wait_event("the system serves", |event| event["event"] == "up");
    }

    /// Waits for a line that the system says, or said already.
    ///
    /// # Panics
    /// It does not come within the limit, or the system ends first.
    #[expect(clippy::panic, reason = "a harness ends the test")]
    pub fn wait_event(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        let mut seen = 0;
        let mut lines = self.heard.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(event) = lines.iter().skip(seen).find(|event| matches(event)) {
                return event.clone();
            }
            seen = lines.len();
            let over = lines.last().is_some_and(|line| line["event"] == END);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || over {
                drop(lines);
                panic!("{} while waiting: {what}", if over { "it ended" } else { "gave up" });
            }
            (lines, _) = self.heard.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All that it said so far.
    pub fn said(&self) -> Vec<Value> {
        self.heard.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the manifest while the system runs.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn rewrite(&self, manifest: &Manifest) {
        write_manifest(&self.weft, &self.folder, manifest, self.edge, self.metrics);
    }

    /// The folder of the manifest.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs another command beside the system.
    pub fn weft(&self, words: &[&str]) -> Run {
        run(&self.weft, &self.folder, words)
    }

    /// What `weft status --output json` says.
    ///
    /// # Panics
    /// It fails.
    pub fn status(&self) -> Value {
        let run = self.weft(&["status", "--output", "json"]);
        let status = run.json();
        // 1 says that something asks for attention, as `weft check` does.
        assert!(
            matches!(run.status, Some(0 | 1)) && status.is_object(),
            "weft status: {}{}",
            run.out,
            run.err
        );
        status
    }

    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes of the system whose command line holds all these words.
    pub fn processes(&self, words: &[&str]) -> Vec<Process> {
        let mut all = processes::below(self.child.id());
        all.retain(|process| {
            words.iter().all(|word| process.command.split(' ').any(|there| there.ends_with(word)))
        });
        all
    }

    /// Ends all processes whose command line holds these words, at once and without a word to them; how many.
    pub fn kill(&self, words: &[&str]) -> usize {
        self.processes(words).iter().filter(|process| processes::kill(process.pid)).count()
    }

    /// Ctrl-C, and its end.
    ///
    /// # Panics
    /// It does not end within the limit.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.family = processes::below(self.child.id());
        processes::signal(self.child.id(), Signal::INT);
        self.wait_end()
    }

    /// Ends the supervisor at once, without a word to it.
    ///
    /// # Panics
    /// It does not end within the limit.
    pub fn kill_supervisor(&mut self) -> ExitStatus {
        self.family = processes::below(self.child.id());
        processes::kill(self.child.id());
        self.wait_end()
    }

    /// Waits for the supervisor's end.
    ///
    /// # Panics
    /// It does not come within the limit.
    #[expect(clippy::expect_used, reason = "a harness ends the test")]
    pub fn wait_end(&mut self) -> ExitStatus {
        let status = crate::until("the supervisor ends", || self.child.try_wait().expect("it is our child"));
        self.ended = true;
        // Its last words may still be on their way to us.
        crate::until("both streams end", || {
            let lines = self.heard.lines.lock().unwrap_or_else(PoisonError::into_inner);
            (lines.iter().filter(|line| line["event"] == END).count() == 2).then_some(())
        });
        status
    }

    /// Waits until nothing that belonged to the system runs any more, and nobody listens at the edge.
    ///
    /// # Panics
    /// Something survives.
    pub fn assert_nothing_left(&self) {
        // Whatever lost its parent fell to this process.
        crate::until("nothing survives", || {
            processes::reap(&self.family);
            self.left().is_empty().then_some(())
        });
        // Another test process may look at the same moment whether it is free.
        crate::until("nobody listens at the edge", || std::net::TcpListener::bind(self.edge).ok());
    }

    /// What is left of the system below this process, where other tests may have children, too.
    fn left(&self) -> Vec<Process> {
        let mark = self.folder.display().to_string();
        let mut left = processes::below(std::process::id());
        left.retain(|one| self.family.contains(one) || processes::has_variable(one.pid, MARK, &mark));
        left
    }

    /// All that the system said, for a person.
    pub fn log(&self) -> String {
        let lines = self.heard.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for System {
    #[expect(clippy::print_stderr, reason = "what a person needs to see why a test failed")]
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("what the system said ({}):\n{}", self.folder.display(), self.log());
        }
        let family = processes::below(self.child.id());
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let left: Vec<Process> = family.into_iter().chain(self.left()).collect();
        for process in &left {
            processes::kill(process.pid);
        }
        processes::reap(&left);
        if !failed {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Keeps what a stream says, line by line; a line that is not JSON becomes `{"event": "text", …}`.
fn listen(stream: impl std::io::Read + Send + 'static, heard: &Arc<Heard>) {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(1 << 20).read_until(b'\n', &mut line).unwrap_or(0);
            let text = String::from_utf8_lossy(&line);
            let event = match serde_json::from_str::<Value>(&text) {
                _ if read == 0 => serde_json::json!({ "event": END }),
                Ok(event @ Value::Object(_)) => event,
                _ => serde_json::json!({ "event": "text", "text": text.trim_end() }),
            };
            let mut kept = heard.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < LINES_MAX {
                kept.push(event);
            }
            drop(kept);
            heard.more.notify_all();
            if read == 0 {
                return;
            }
        }
    });
}

#[expect(clippy::expect_used, reason = "a harness ends the test")]
fn write_manifest(weft: &Path, folder: &Path, manifest: &Manifest, edge: SocketAddr, metrics: SocketAddr) {
    let text = manifest.text.replace("{service}", &service(weft).display().to_string());
    let text = text.replace("{edge}", &edge.to_string()).replace("{metrics}", &metrics.to_string());
    // Written beside and moved over it, as editors do: nobody reads half a manifest.
    let (new, path) = (folder.join("weft.yaml.new"), folder.join("weft.yaml"));
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &path))
        .expect("the manifest can be written");
}

/// A folder of its own below cargo's target folder.
#[expect(clippy::expect_used, reason = "a harness ends the test")]
fn new_folder(weft: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let target = weft.parent().and_then(Path::parent).expect("the executable is in cargo's target folder");
    let folder = target.join("tmp/journeys").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// Copies files and folders, but not what a run leaves behind.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if entry.is_file() {
            std::fs::copy(&entry, to.join(name))?;
        } else if name != ".weft" && name != "target" {
            std::fs::create_dir_all(to.join(&name))?;
            copy(&entry, &to.join(name))?;
        }
    }
    Ok(())
}

/// The executable `testkit-service`, built if that is necessary.
///
/// # Panics
/// It cannot be built.
fn service(weft: &Path) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(weft, "weft-testkit", "testkit-service")).clone()
}

/// An executable of the workspace, built if that is necessary, in the way in which `weft` was.
///
/// # Panics
/// It cannot be built.
#[expect(clippy::expect_used, reason = "a harness ends the test")]
pub fn build(weft: &Path, package: &str, executable: &str) -> PathBuf {
    let profile = weft.parent().expect("the executable is in cargo's target folder");
    let target = profile.parent().expect("the executable is in cargo's target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--package", package, "--bin", executable]);
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().expect("cargo can be started");
    assert!(built.success(), "{executable} cannot be built");
    profile.join(executable)
}
