//! `weft up`: the whole system on this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use weft_ops::screen::Mode;
use weft_ops::supervisor;

use super::manifest::Place;
use super::{Common, Output};
use crate::assemble;
use crate::terminal::{colours, draws};

/// Arguments of `weft up`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The manifest, or the folder that holds `weft.yaml`.
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// The system's data directory; `.weft` beside the manifest where absent.
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
    /// A service that you run yourself, e.g. in a debugger: `orders=127.0.0.1:7005`. May be given several times.
    #[arg(long, value_name = "SERVICE=ADDR", value_parser = mine)]
    mine: Vec<(String, SocketAddr)>,
    /// Where the admin API and the console listen; a free port is taken where it is in use. Loopback only.
    #[arg(long, value_name = "ADDR", default_value_t = supervisor::ADMIN)]
    admin: SocketAddr,
    /// Life of the identities that are issued; they are renewed at half of it.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = super::control::lifetime)]
    identity_lifetime: Duration,
}

fn mine(text: &str) -> Result<(String, SocketAddr), String> {
    let (service, address) = text.split_once('=').ok_or("write SERVICE=127.0.0.1:PORT")?;
    let address = if address.contains(':') { address.to_owned() } else { format!("127.0.0.1:{address}") };
    let address: SocketAddr = address.parse().map_err(|_| format!("`{address}` is not HOST:PORT"))?;
    if address.ip() != std::net::Ipv4Addr::LOCALHOST {
        return Err(format!("a service listens on 127.0.0.1, not on {}", address.ip()));
    }
    Ok((service.to_owned(), address))
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    crate::logging::start(&common.log_level)?;
    if !args.admin.ip().is_loopback() {
        anyhow::bail!("the admin API must listen on a loopback address, not on {}", args.admin);
    }
    let place = Place::find(common, args.path.as_deref())?;
    let data_dir = args.data_dir.unwrap_or_else(|| place.folder.join(".weft"));
    let mut mine = BTreeMap::new();
    for (service, address) in args.mine {
        if mine.insert(service.clone(), address).is_some() {
            anyhow::bail!("--mine names `{service}` twice");
        }
    }
    let out = std::io::stdout();
    let mode = match common.output {
        Output::Json => Mode::Json,
        Output::Text if draws(&out) => Mode::Live { colour: colours(&out) },
        Output::Text => Mode::Plain,
    };
    let settings = assemble::up::settings(assemble::up::Asked {
        place,
        overlay: common.env.clone(),
        data_dir,
        log_level: common.log_level.clone(),
        mine,
        admin: args.admin,
        identity_lifetime: args.identity_lifetime,
        mode,
    })?;
    // The processes that are started ask to be told when this thread dies.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(supervisor::run(settings, std::io::stdout()));
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

/// The data directory of the system that a command speaks to.
pub(crate) fn data_dir_of(
    common: &Common,
    given: Option<PathBuf>,
    path: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    match given {
        Some(data_dir) => Ok(data_dir),
        None => Ok(Place::find(common, path)?.folder.join(".weft")),
    }
}

/// Asks the running `weft up`; shows what it answers.
#[expect(clippy::print_stdout, reason = "what the command was asked for")]
pub(crate) fn ask(common: &Common, data_dir: &Path, ask: &supervisor::door::Ask) -> anyhow::Result<ExitCode> {
    use supervisor::door::{self, Answer};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let show = |answer: &Answer| match (common.output, answer) {
        (Output::Json, answer) => println!("{}", serde_json::to_string(answer).unwrap_or_default()),
        (Output::Text, Answer::Progress(text) | Answer::Done(text)) => println!("{text}"),
        (Output::Text, Answer::Error(_)) => {}
    };
    let answer =
        runtime.block_on(door::ask(data_dir, ask, show)).context("the running system does not answer")?;
    match answer {
        None => anyhow::bail!("no system runs at {}", data_dir.display()),
        Some(Answer::Error(why)) => anyhow::bail!(why),
        Some(_) => Ok(ExitCode::SUCCESS),
    }
}
