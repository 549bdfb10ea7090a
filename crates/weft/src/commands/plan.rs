//! `weft plan`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft plan`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft plan` is not built in this version")
}
