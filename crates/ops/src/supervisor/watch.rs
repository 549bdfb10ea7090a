//! Notices that the manifest's files changed, by looking at them: a stamp of each, a few times a second.
//!
//! The supervisor concerns itself with few files and needs no speed here; looking works on every file system, also for files
//! that are not there yet.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weft_model::plan::Plans;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// What reading the manifest gave.
#[derive(Debug)]
pub struct Compiled {
    /// Every file that was read, or would be if it were there.
    pub files: Vec<PathBuf>,
    /// Findings that let it pass, as people read them; empty where there are none.
    pub warnings: String,
    /// Plans, or the findings that refuse them, as people read them.
    pub outcome: Result<Plans, String>,
}

/// Reads and compiles the manifest as it is now. Blocks.
pub type Compile = Arc<dyn Fn() -> Compiled + Send + Sync>;

/// Size, inode and time of change of a file; `None` where there is none.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let about = file.metadata().ok()?;
        Some((about.len(), about.ino(), about.ctime(), about.ctime_nsec()))
    };
    files.iter().map(stamp).collect()
}

/// Compiles anew whenever one of `files` changed, and sends what came of it, until nobody listens.
pub async fn watch(files: Vec<PathBuf>, compile: Compile, changed: mpsc::Sender<Compiled>) {
    let mut files = files;
    let mut seen = stamps(&files);
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = changed.closed() => return,
        }
        let now = stamps(&files);
        if now == seen {
            continue;
        }
        let compile = Arc::clone(&compile);
        let Ok(compiled) = tokio::task::spawn_blocking(move || compile()).await else { continue };
        // The stamps from before the reading: what changes meanwhile is read again.
        seen = if compiled.files == files { now } else { stamps(&compiled.files) };
        files.clone_from(&compiled.files);
        if changed.send(compiled).await.is_err() {
            return;
        }
    }
}
