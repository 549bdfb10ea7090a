//! `weft completions`: a completion script for a shell, generated from the same definitions as the parser.

use std::process::ExitCode;

use clap::CommandFactory;

use super::Common;

/// Arguments of `weft completions`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which shell.
    shell: clap_complete::Shell,
}

/// Runs the command.
#[expect(clippy::unnecessary_wraps, reason = "all commands have one shape")]
#[expect(clippy::needless_pass_by_value, reason = "all commands have one shape")]
pub(crate) fn run(_common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "weft", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
