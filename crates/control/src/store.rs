//! Files that are either the old one or the new one, whatever happens in between.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Whether a file must be there after the machine, and not only the process, stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Synced before the old one is replaced.
    Yes,
    /// Survives a killed process.
    No,
}

/// Replaces `path` by `bytes`, readable by its owner only. Concurrent writers of one path must not be.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: Durable) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    // `mode` counts only when the file is created; an old one that was left behind may be readable by others.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durable == Durable::Yes
        && let Some(folder) = path.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The whole of a file of at most `bytes_max`; `None` where there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("over the limit of {bytes_max} bytes"),
        ));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder that goes with the value.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("weft-control-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_only() {
        let folder = Folder::new();
        let path = folder.0.join("state.json");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, b"long first", Durable::Yes).unwrap();
        std::fs::write(folder.0.join("state.json.new"), "torn by a crash, and longer than what follows")
            .unwrap();
        replace(&path, b"second", Durable::No).unwrap();
        assert_eq!(read(&path, 6).unwrap().unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path, 5).is_err());
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }
}
