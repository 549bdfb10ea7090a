//! `weft status`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft status`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft status` is not built in this version")
}
