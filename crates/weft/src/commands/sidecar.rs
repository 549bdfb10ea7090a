//! `weft sidecar`: beside one instance of a service.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;

use super::Common;
use crate::assemble::role::{self, Role};

/// Arguments of `weft sidecar`.
///
/// The start of the role (where control is, a single-use token, the service's port) comes as one JSON line on standard
/// input.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where other sidecars reach this one, where no socket is inherited.
    #[arg(long, value_name = "ADDR")]
    inbound: Option<SocketAddr>,
    /// Where the service reaches a callee: `catalog=127.0.0.1:15001`. May be given several times.
    #[arg(long, value_name = "CALLEE=ADDR", value_parser = callee)]
    outbound: Vec<(String, SocketAddr)>,
    /// Where the service reaches the forward proxy (`HTTP_PROXY`).
    #[arg(long, value_name = "ADDR")]
    proxy: Option<SocketAddr>,
    /// Where the service reaches the sidecar's own API (`WEFT_URL`).
    #[arg(long, value_name = "ADDR")]
    api: Option<SocketAddr>,
}

fn callee(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write CALLEE=HOST:PORT")?;
    Ok((name.to_owned(), address.parse().map_err(|_| format!("`{address}` is not HOST:PORT"))?))
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    crate::logging::start(&common.log_level)?;
    let Args { inbound, outbound, proxy, api } = args;
    let named = [("inbound", inbound), ("proxy", proxy), ("api", api)];
    let named = named.into_iter().filter_map(|(name, address)| Some((name.to_owned(), address?)));
    let callees = outbound.into_iter().map(|(callee, address)| (format!("outbound.{callee}"), address));
    let mut bound = BTreeMap::new();
    for (name, address) in named.chain(callees) {
        let socket =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address} ({name})"))?;
        bound.insert(name, socket);
    }
    role::run(Role { bound, threads: 1, gateway: false })
}
