//! `weft gateway`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft gateway`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft gateway` is not built in this version")
}
