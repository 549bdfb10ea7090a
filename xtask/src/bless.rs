//! `cargo xtask bless`: writes what is generated. The difference is read in a review like any other change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::errors;
use crate::shell::Shell;

/// Tests that write what they expect where `WEFT_BLESS=1` is set: golden cases and `docs/manifest.md`.
const GOLDEN: [&str; 1] = ["weft-model"];

/// Writes all generated files.
///
/// # Errors
/// A source is wrong, or a file cannot be written.
pub(crate) fn write(shell: &Shell) -> anyhow::Result<()> {
    for (path, text) in generated(shell)? {
        let path = shell.root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    for package in GOLDEN {
        let mut tests = shell.command("cargo");
        tests.args(["test", "--quiet", "--locked", "--package", package]).env("WEFT_BLESS", "1");
        shell.run(&mut tests)?;
    }
    Ok(())
}

/// Fails if a file that is generated without a build is not what its source says. The golden cases fail as tests.
///
/// # Errors
/// Names the stale files.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    let fresh = |path: &PathBuf, text: &String| {
        std::fs::read_to_string(shell.root.join(path)).is_ok_and(|there| &there == text)
    };
    let stale = generated(shell)?.into_iter().filter(|(path, text)| !fresh(path, text));
    let stale: Vec<String> = stale.map(|(path, _)| path.display().to_string()).collect();
    if !stale.is_empty() {
        bail!("stale: {}; run `cargo xtask bless`", stale.join(", "));
    }
    Ok(())
}

fn generated(shell: &Shell) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    errors::generate(&shell.root)
}
