//! `weft check`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft check`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft check` is not built in this version")
}
