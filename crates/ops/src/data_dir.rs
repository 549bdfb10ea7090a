//! The data directory of a system: made for its owner alone, and locked, since two systems never share one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// What control writes when it listens; left behind by one that was killed.
const CONTROL_FILE: &str = "control.json";
/// What is locked.
const LOCK_FILE: &str = "lock";

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another `weft up` has it.
    #[error("this system runs already{}; stop it with `weft down`, or give this one its own `--data-dir`", holder(.pid.as_deref()))]
    Locked {
        /// Process id of the holder, if it wrote it.
        pid: Option<String>,
    },
    /// The system refuses.
    #[error("the data directory cannot be used: {}: {error}\ngive a folder that belongs to you, or none yet, by `--data-dir`", .path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// It is there already, open to others, and holds other things.
    #[error("the data directory {} is open to others and was not made by weft; give a folder of its own by `--data-dir`", .0.display())]
    Foreign(PathBuf),
}

fn holder(pid: Option<&str>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// A data directory that is ours until this is dropped; the kernel frees it with the process, whatever its end.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes it where it is missing (0700), locks it, and clears what a killed system left behind.
    ///
    /// # Errors
    /// It is in use, or cannot be made.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| DataDirError::Io { path, error }
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(io(path))?;
        let path = std::path::absolute(path).map_err(io(path))?;
        // It may be older than we are, and then others may have been let in. What is somebody else's is not shut here: who says
        // `--data-dir /tmp` did not mean that.
        let open = path.metadata().map_err(io(&path))?.permissions().mode() & 0o077 != 0;
        if open && !is_ours(&path).map_err(io(&path))? {
            return Err(DataDirError::Foreign(path));
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(io(&path))?;
        let file = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let open = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&file);
        let mut lock = open.map_err(io(&file))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = (&lock).take(20).read_to_string(&mut pid);
            let digits = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
            return Err(DataDirError::Locked { pid: digits.then_some(pid) });
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut lock).map_err(io(&file))?;
        match std::fs::remove_file(path.join(CONTROL_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DataDirError::Io { path: path.join(CONTROL_FILE), error });
            }
            _ => {}
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a folder is empty, or one of ours.
fn is_ours(path: &Path) -> io::Result<bool> {
    Ok(path.join(LOCK_FILE).exists() || std::fs::read_dir(path)?.next().is_none())
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // A killed control leaves it; nobody may take it for a running one.
        let _ = std::fs::remove_file(self.path.join(CONTROL_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_not_shut() {
        let path = std::env::temp_dir().join(format!("weft-data-foreign-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        let open = || std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(path.join("somebody"), "else").unwrap();
        open();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Foreign(_))));
        assert_eq!((mode(), path.join(LOCK_FILE).exists()), (0o755, false));
        std::fs::remove_file(path.join("somebody")).unwrap();
        drop(DataDir::open(&path).unwrap());
        open();
        std::fs::write(path.join("later"), "").unwrap();
        drop(DataDir::open(&path).unwrap());
        assert_eq!(mode(), 0o700, "ours is shut again");
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn two_systems_never_share_one() {
        let path = std::env::temp_dir().join(format!("weft-data-{}/deep/.weft", std::process::id()));
        let one = DataDir::open(&path).unwrap();
        std::fs::write(path.join(CONTROL_FILE), "{}").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(path.join(CONTROL_FILE).exists(), "the loser touches nothing");
        drop(one);
        assert!(!path.join(CONTROL_FILE).exists());
        std::fs::write(path.join(CONTROL_FILE), "{}").unwrap();
        let again = DataDir::open(&path).unwrap();
        assert!(!path.join(CONTROL_FILE).exists(), "what a killed system left is cleared");
        drop(again);
        std::fs::remove_dir_all(path.parent().unwrap().parent().unwrap()).unwrap();
    }
}
