//! `cargo xtask test`: what the tests talk to, then the tests.

use anyhow::bail;

use crate::servers::{self, Wanted};
use crate::shell::Shell;

/// Runs all tests of the workspace; `args` go to the runner.
///
/// # Errors
/// A test fails; or, in continuous integration, something that tests talk to cannot be installed.
pub(crate) fn test(shell: &Shell, args: &[&str]) -> anyhow::Result<()> {
    let missing = servers::install(shell, Wanted::Tests)?;
    if !missing.is_empty() {
        let missing = format!("not installed: {}; THE TESTS THAT NEED THEM ARE SKIPPED", missing.join(", "));
        if shell.ci {
            bail!("{missing}");
        }
        shell.warn(&missing);
    }
    // The journeys start it; they would build it themselves, one after the other.
    shell.cargo(&["build", "--locked", "--package", "weft-testkit", "--bin", "testkit-service"])?;
    let runner: &[&str] = if shell.has_cargo("nextest") {
        &["nextest", "run", "--workspace", "--locked"]
    } else {
        shell.say("cargo-nextest is not here; `cargo test` does the same, more slowly");
        &["test", "--workspace", "--locked", "--no-fail-fast"]
    };
    let mut command = shell.command("cargo");
    command.args(runner).args(args).env("WEFT_TEST_TOOLS", servers::python_folder(shell).join("bin"));
    shell.run(&mut command)
}
