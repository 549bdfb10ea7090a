//! The developers' toolbox: `cargo xtask COMMAND`.

mod errors;

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is a binary: it reads its arguments")]
    let words: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bless"] => bless(root),
        ["bless", "--check"] => errors::check_fresh(root),
        _ => anyhow::bail!("usage: cargo xtask bless [--check]"),
    }
}

/// Writes all generated files.
fn bless(root: &Path) -> anyhow::Result<()> {
    for (path, text) in errors::generate(root)? {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
