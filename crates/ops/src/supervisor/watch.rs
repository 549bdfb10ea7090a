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

/// Readings until it is known which files there are: each may name others (`include`), whose changes until then would be missed.
const READINGS_MAX: usize = 3;

/// Reads what `files` and those that they name hold; gives the stamps from before the reading, so that what changes meanwhile is
/// seen to differ. Blocks.
fn read(files: &[PathBuf], compile: &Compile) -> (Compiled, Vec<Stamp>) {
    let (mut seen, mut compiled) = (stamps(files), compile());
    let mut known = files.to_vec();
    for _ in 1..READINGS_MAX {
        if compiled.files == known {
            break;
        }
        known.clone_from(&compiled.files);
        (seen, compiled) = (stamps(&known), compile());
    }
    (compiled, seen)
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
        if stamps(&files) == seen {
            continue;
        }
        let (known, compile) = (files.clone(), Arc::clone(&compile));
        let Ok((compiled, before)) = tokio::task::spawn_blocking(move || read(&known, &compile)).await else {
            continue;
        };
        seen = before;
        files.clone_from(&compiled.files);
        if changed.send(compiled).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_file_that_is_named_for_the_first_time_and_changes_while_it_is_read_is_seen_to_have_changed() {
        let folder = std::env::temp_dir().join(format!("weft-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (manifest, include) = (folder.join("weft.yaml"), folder.join("more.yaml"));
        std::fs::write(&manifest, "include: [more.yaml]").unwrap();
        std::fs::write(&include, "first").unwrap();
        let (all, readings) = (vec![manifest.clone(), include.clone()], Arc::new(AtomicUsize::new(0)));
        let (names, count, edited) = (all.clone(), Arc::clone(&readings), include);
        let compile: Compile = Arc::new(move || {
            // Somebody saves it behind the back of each reading.
            let reading = count.fetch_add(1, Ordering::Relaxed);
            std::fs::write(&edited, format!("edit {reading} {}", "x".repeat(reading))).unwrap();
            Compiled { files: names.clone(), warnings: String::new(), outcome: Err(String::new()) }
        });
        let (compiled, seen) = read(std::slice::from_ref(&manifest), &compile);
        assert_eq!(compiled.files, all);
        assert_eq!(readings.load(Ordering::Relaxed), 2, "once more for the file that is new");
        assert_ne!(seen, stamps(&all), "the last edit is still to be read");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
