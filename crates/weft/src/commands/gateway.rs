//! `weft gateway`: the edge.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;

use super::Common;
use crate::assemble::role::{self, Role};

/// Arguments of `weft gateway`.
///
/// The start of the role (where control is, a single-use token) comes as one JSON line on standard input.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Address to listen on, where no socket is inherited. May be given several times.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<SocketAddr>,
    /// Worker threads; one per core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "all commands have one shape")]
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    crate::logging::start(&common.log_level)?;
    let mut bound = BTreeMap::new();
    for (index, address) in args.listen.iter().enumerate() {
        let socket = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        bound.insert(format!("edge.{index}"), socket);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    role::run(Role { bound, threads: args.threads.unwrap_or(cores), gateway: true })
}
