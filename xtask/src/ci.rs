//! `cargo xtask ci`: all that must hold before a change goes in, the quick things first, the tests last.

use anyhow::bail;

use crate::servers::{self, Wanted};
use crate::shell::Shell;
use crate::{test, tidy};

/// Everything. What is quick and independent runs to the end, so that one run shows all that is wrong.
///
/// # Errors
/// Names what failed.
pub(crate) fn ci(shell: &Shell) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, done: fn(&Shell) -> anyhow::Result<()>| {
        shell.say(&format!("── {name}"));
        if let Err(error) = done(shell) {
            shell.warn(&format!("{name}: {error:#}"));
            failed.push(name);
        }
    };
    step("fmt", fmt);
    step("tidy", tidy::tidy);
    step("deny", deny);
    step("clippy", clippy);
    step("test", |shell| test::test(shell, &[]));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    shell.say("all good: fmt, tidy, deny, clippy, test");
    Ok(())
}

fn fmt(shell: &Shell) -> anyhow::Result<()> {
    shell.cargo(&["fmt", "--all", "--check"])
}

fn clippy(shell: &Shell) -> anyhow::Result<()> {
    shell.cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

/// Licences, bans and sources need the crates of all platforms; advisories need their database.
///
/// # Errors
/// Something is denied; or, in continuous integration, `cargo-deny` cannot be had.
pub(crate) fn deny(shell: &Shell) -> anyhow::Result<()> {
    if !shell.has_cargo("deny") {
        servers::install(shell, Wanted::Tools)?;
    }
    if !shell.has_cargo("deny") {
        let missing =
            "cargo-deny is not here (`cargo install --locked cargo-deny`): LICENCES AND SOURCES NOT CHECKED";
        if shell.ci {
            bail!("{missing}");
        }
        shell.warn(missing);
        return Ok(());
    }
    // Also what is built on other platforms only: a fresh machine has none of that, and it is judged all the same.
    shell.cargo(&["fetch", "--locked"])?;
    let quiet = ["--hide-inclusion-graph", "--allow", "duplicate"];
    shell.cargo(&[&["deny", "--offline", "check"], &quiet[..], &["bans", "licenses", "sources"]].concat())?;
    // The database is a matter of the network and not of this tree: without it nothing is wrong, but nothing is known.
    let fetched = shell.command("cargo").args(["deny", "fetch", "db"]).output();
    if fetched.is_ok_and(|output| output.status.success()) {
        shell.cargo(&["deny", "check", "--disable-fetch", "advisories"])
    } else {
        shell.warn("the advisory database cannot be fetched: ADVISORIES NOT CHECKED");
        Ok(())
    }
}
