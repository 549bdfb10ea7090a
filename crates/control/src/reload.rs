//! Follows the manifest: a good change is put in force, a bad one is shown while the old plans go on.
//!
//! Folders are watched, not files: an editor that saves by renaming makes a new file, and a file that does not exist yet
//! (an overlay) has nothing that could be watched. A link on the way to a file is watched as the file is: Kubernetes changes
//! mounted files by turning a link to another folder.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use weft_model::plan::Plans;

use crate::shared::Shared;

/// An editor writes several times for one save; the manifest is read once it is quiet for this long.
const DEBOUNCE: Duration = Duration::from_millis(80);
/// A file that changes without end is read at least this often.
const DEBOUNCE_MAX: Duration = Duration::from_secs(1);

/// Links that are followed on the way to one file, as Linux does.
const LINKS_MAX: usize = 40;

/// Where plans come from. Control parses nothing itself.
pub trait Manifest: Send + Sync {
    /// Reads and compiles the manifest as it is now. Blocks.
    fn load(&self) -> Loaded;
}

/// What reading the manifest gave.
#[derive(Debug)]
pub struct Loaded {
    /// Every file that was read, or would be if it were there: manifest, includes, overlays, API documents.
    pub files: Vec<PathBuf>,
    /// Plans, or the findings that refuse them, as people read them.
    pub outcome: Result<Plans, String>,
}

impl<F: Fn() -> Loaded + Send + Sync> Manifest for F {
    fn load(&self) -> Loaded {
        self()
    }
}

/// Puts what was loaded in force, or shows why not.
pub(crate) fn apply(shared: &Shared, outcome: Result<Plans, String>) {
    match outcome {
        Err(rendered) => {
            tracing::error!("the manifest is refused, the plans before stay in force\n{rendered}");
            shared.refuse_reload(rendered);
        }
        Ok(plans) => match shared.activate(plans) {
            Err(error) => {
                tracing::error!(%error, "the manifest cannot be put in force, the plans before stay");
                shared.refuse_reload(error.to_string());
            }
            Ok(changed) => {
                if changed {
                    tracing::info!("new plans are in force");
                }
                shared.accept_reload();
            }
        },
    }
}

/// Watches and reloads for ever. `files` are those of the first load.
pub(crate) async fn follow(shared: Arc<Shared>, manifest: Arc<dyn Manifest>, files: Vec<PathBuf>) {
    let (waker, mut woken) = mpsc::channel(1);
    let mut watching = match Watching::new(waker) {
        Ok(watching) => watching,
        Err(error) => {
            tracing::error!(%error, "the manifest cannot be watched: changes take effect at the next start");
            return;
        }
    };
    watching.set(&files);
    // What changed between the first load and the watch would be missed.
    let mut due = true;
    loop {
        if !due && woken.recv().await.is_none() {
            return;
        }
        due = false;
        quiet(&mut woken).await;
        let reading = Arc::clone(&manifest);
        let Ok(loaded) = tokio::task::spawn_blocking(move || reading.load()).await else {
            tracing::error!("reading the manifest panicked; the plans before stay in force");
            continue;
        };
        watching.set(&loaded.files);
        apply(&shared, loaded.outcome);
    }
}

/// Waits until nothing has changed for a moment.
async fn quiet(woken: &mut mpsc::Receiver<()>) {
    let all = async { while let Ok(Some(())) = tokio::time::timeout(DEBOUNCE, woken.recv()).await {} };
    // The longest wait is over: then it is read as it is.
    let _ = tokio::time::timeout(DEBOUNCE_MAX, all).await;
}

/// The folders that are watched, and the files in them that matter.
struct Watching {
    watcher: RecommendedWatcher,
    files: Arc<std::sync::Mutex<BTreeSet<PathBuf>>>,
    folders: BTreeSet<PathBuf>,
}

impl Watching {
    fn new(waker: mpsc::Sender<()>) -> notify::Result<Self> {
        let files = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let matters = Arc::clone(&files);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let touched = event.map_or(true, |event| {
                let files = matters.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // Reading is an event too, and we read after each of them.
                !event.kind.is_access()
                    && (event.need_rescan() || event.paths.iter().any(|path| files.contains(path)))
            });
            if touched {
                // A full queue means that the reader is woken already.
                let _ = waker.try_send(());
            }
        })?;
        Ok(Self { watcher, files, folders: BTreeSet::new() })
    }

    fn set(&mut self, files: &[PathBuf]) {
        let files: BTreeSet<PathBuf> = files.iter().flat_map(|file| way_to(&absolute(file))).collect();
        let folders: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        for gone in self.folders.difference(&folders) {
            // It may have been deleted, which ends the watch by itself.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in &folders {
            let known = self.folders.contains(folder);
            match if known { Ok(()) } else { self.watcher.watch(folder, RecursiveMode::NonRecursive) } {
                Ok(()) => drop(watched.insert(folder.clone())),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "this folder cannot be watched");
                }
            }
        }
        self.folders = watched;
        *self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = files;
    }
}

/// As the watcher names it: the folder without links, the file's own name as it is.
fn absolute(file: &Path) -> PathBuf {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    file.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
}

/// Every link that leads to a file, and the file at their end, each as the watcher names it. What is not there, or leads
/// nowhere, is the last of them.
fn way_to(file: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> { path.iter().rev().map(OsStr::to_owned).collect() };
    let (mut way, mut at, mut left) = (Vec::new(), PathBuf::new(), parts(file));
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match next.read_link() {
            Ok(target) if way.len() < LINKS_MAX => {
                way.push(next);
                left.extend(parts(&target));
            }
            // An absolute target begins with `/`, which takes the place of what was there.
            _ => at = next,
        }
    }
    way.push(at);
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_on_the_way_to_a_file_is_named() {
        let folder = std::env::temp_dir().join(format!("weft-links-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("..1")).unwrap();
        let folder = folder.canonicalize().unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        std::fs::write(folder.join("..1/edge.pem"), "x").unwrap();
        link("..1", "..data");
        link("..data/edge.pem", "edge.pem");
        link(folder.join("..1/../edge.pem").to_str().unwrap(), "far");
        link("round", "round");
        let names = |name: &str| -> Vec<String> {
            let way = way_to(&absolute(&folder.join(name)));
            way.iter().map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect()
        };
        let (plain, linked, far) = (names("weft.yaml"), names("edge.pem"), names("far"));
        let round = names("round");
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(plain, ["weft.yaml"], "it need not be there");
        assert_eq!(linked, ["edge.pem", "..data", "..1/edge.pem"]);
        assert_eq!(far, ["far", "edge.pem", "..data", "..1/edge.pem"]);
        assert_eq!(round.len(), LINKS_MAX + 1, "a link to itself ends too");
    }
}
