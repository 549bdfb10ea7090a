//! What the tests of this crate share: a folder as the files of a manifest, and expected files.
//!
//! A `mod.rs`, because Cargo takes every file beside it for a test of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use weft_model::sources::{FileError, Files};

/// The files of a folder.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Files for Folder {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        if self.is_folder(path) {
            return Err(FileError::Other("it is not a file".to_owned()));
        }
        let mut bytes = fs::read(self.0.join(path)).map_err(|_| FileError::Missing)?;
        bytes.truncate(bytes_max);
        Ok(bytes)
    }

    fn is_folder(&self, path: &str) -> bool {
        self.0.join(path).is_dir()
    }
}

/// Whether expected files are written anew.
#[expect(clippy::disallowed_methods, reason = "a test has no binary that could pass the wish in")]
pub(crate) fn bless() -> bool {
    std::env::var("WEFT_BLESS").is_ok_and(|value| value == "1")
}

/// Compares a text with a file, or writes the file. Returns what is wrong.
pub(crate) fn expect_file(path: &Path, text: &str) -> Option<String> {
    if bless() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return None;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    (expected != text).then(|| format!("--- {} expects\n{expected}\n--- and got\n{text}", path.display()))
}
