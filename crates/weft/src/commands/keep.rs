//! `weft keep`: hold one child process and whatever it starts, and leave nothing of it behind.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use weft_ops::keep::confine::Ports;
use weft_ops::keep::{Keep, become_child, keep};

use super::Common;

/// Arguments of `weft keep`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// End everything when this process, our parent, dies.
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
    /// Milliseconds from SIGTERM to SIGKILL.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    grace_ms: u64,
    /// TCP ports that the command may not connect to, e.g. `20000-20255,7001`.
    #[arg(long, value_name = "PORTS")]
    forbid: Option<Ports>,
    /// Become the command, and die with this process.
    #[arg(long, value_name = "PID", hide = true)]
    child_of: Option<u32>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(_common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    if let Some(keeper) = args.child_of {
        return Err(become_child(keeper, &args.command).into());
    }
    let code = keep(&Keep {
        executable: std::env::current_exe()?,
        command: args.command,
        parent: args.parent,
        grace: Duration::from_millis(args.grace_ms),
        forbidden: args.forbid,
    })?;
    Ok(ExitCode::from(code))
}
