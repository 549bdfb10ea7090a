//! `weft schema`.

use std::process::ExitCode;

use super::Common;

/// Arguments of `weft schema`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_common: &Common, _args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`weft schema` is not built in this version")
}
