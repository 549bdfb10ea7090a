//! `weft restart`: replace processes of a running system without losing a request.

use std::path::PathBuf;
use std::process::ExitCode;

use weft_ops::supervisor::door::Ask;

use super::Common;
use super::up::{ask, data_dir_of};

/// Arguments of `weft restart`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A service, `gateway`, `control` or `sidecars`; every service where absent.
    #[arg(value_name = "WHAT")]
    target: Option<String>,
    /// Run the build of each service first.
    #[arg(long)]
    build: bool,
    /// The system's data directory; `.weft` beside the manifest where absent.
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir_of(common, args.data_dir, None)?;
    ask(common, &data_dir, &Ask::Restart { target: args.target, build: args.build })
}
