//! The harness for journeys: starts the real `weft` executable on a manifest, speaks to it as its users do, breaks it, and
//! sees to it that nothing survives the test.
//!
//! It knows none of Weft's crates, so that a mistake in their codecs or types cannot hide itself: HTTP here is a second,
//! plain implementation, and what `weft` prints is read as anybody would read it.
//!
//! - [`System`]: a running system, from `weft up` to its end
//! - [`http`]: a blocking client that can also send what is wrong
//! - [`frames`]: HTTP/2 by hand
//! - [`load`]: steady requests while something is broken
//! - [`offer`]: so many requests a second, whether or not they are answered
//! - [`bench`]: what a measured proxy stands between, as the executable `testkit-bench`
//! - [`service`]: the small services behind the manifest's `run`, as the executable `testkit-service`
//!
//! Nothing here sleeps for a guessed time: it waits for a line, an answer or the end of a process, each with a limit.

pub mod bench;
pub mod frames;
pub mod http;
pub mod load;
pub mod offer;
pub mod ports;
pub mod processes;
pub mod service;
mod system;
pub mod tls;
pub mod websocket;

pub use system::{Manifest, Run, System, build, run};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Nothing is measured with it: it only ends what hangs.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Where a program that nobody here wrote is, if this machine has it.
///
/// # Panics
/// It is missing in continuous integration (`CI` is set): a test must not be skipped there without a word.
pub fn tool(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the harness asks where it runs")]
    let (path, tools) = (std::env::var("PATH").unwrap_or_default(), std::env::var("WEFT_TEST_TOOLS"));
    let mut folders: Vec<PathBuf> = tools.iter().map(PathBuf::from).collect();
    folders.extend(std::env::split_paths(&path));
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    let must = std::env::var_os("CI").is_some();
    assert!(found.is_some() || !must, "{name} is not here: `cargo xtask servers` installs it");
    if found.is_none() {
        skipped(name);
    }
    found
}

/// Python with these modules, if this machine has it.
///
/// # Panics
/// As [`tool`].
pub fn python(modules: &str) -> Option<PathBuf> {
    let python = tool("python3")?;
    let imported = std::process::Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} has no {modules}: run `cargo xtask test`",
        python.display()
    );
    skipped(&format!("{} with {modules}", python.display()));
    None
}

#[expect(clippy::print_stderr, reason = "what is not tested is said")]
fn skipped(name: &str) {
    eprintln!("SKIPPED: {name} is not here; `cargo xtask servers` installs it");
}

/// Between two questions of [`until`].
const PAUSE: Duration = Duration::from_millis(5);

/// Asks again until there is an answer, where nobody tells when it changes.
///
/// # Panics
/// There is none within [`LIMIT`]: the test has failed, and `what` says at what.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "gave up after {LIMIT:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}
