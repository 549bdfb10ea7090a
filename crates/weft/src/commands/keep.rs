//! `weft keep`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft keep`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft keep` is not built in this version")
}
