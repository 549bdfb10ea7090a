//! `weft down`: drain a running system and end it.

use std::path::PathBuf;
use std::process::ExitCode;

use weft_ops::supervisor::door::Ask;

use super::Common;
use super::up::{ask, data_dir_of};

/// Arguments of `weft down`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The manifest, or the folder that holds `weft.yaml`.
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// The system's data directory; `.weft` beside the manifest where absent.
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir_of(common, args.data_dir, args.path.as_deref())?;
    ask(common, &data_dir, &Ask::Down)
}
