//! `weft control`: the control plane, one role.
//!
//! Says `{"ready":true,…}` with its addresses on standard output once it listens. Under the supervisor (recognised by
//! inherited sockets) the end of standard input is the supervisor's end, and control's too.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use weft_control::server::Server;
use weft_ops::words::RoleWord;
use weft_trust::store::{Passphrase, Warning};

use super::Common;
use super::manifest::Place;
use crate::assemble::control::{Asked, settings};
use crate::assemble::{harden, role};
use crate::logging;

/// Bytes of a passphrase.
const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// Arguments of `weft control`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The system's data directory; `.weft` beside the manifest where absent.
    #[arg(long, value_name = "PATH")]
    data_dir: Option<PathBuf>,
    /// Where the admin API and the console listen; a free port is taken where it is in use. Loopback only.
    #[arg(long, default_value = "127.0.0.1:7700", value_name = "ADDR")]
    admin: String,
    /// Where gateways and sidecars reach control; a free port is taken where it is in use.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    mesh: String,
    /// Life of the identities that are issued; they are renewed at half of it.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = lifetime)]
    identity_lifetime: Duration,
    /// Read the passphrase that seals the authority's keys from the first line of standard input.
    #[arg(long)]
    passphrase_stdin: bool,
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    logging::start(&common.log_level)?;
    harden::harden();
    let sockets = role::inherited()?;
    let supervised = !sockets.is_empty();
    let place = Place::find(common, None)?;
    let data_dir = args.data_dir.unwrap_or_else(|| place.folder.join(".weft"));
    make_private(&data_dir)?;
    let passphrase = args.passphrase_stdin.then(read_passphrase).transpose()?;
    let settings = settings(Asked {
        place,
        overlay: common.env.clone(),
        data_dir,
        admin: args.admin,
        mesh: args.mesh,
        sockets,
        passphrase,
        identity_lifetime: args.identity_lifetime,
    })?;
    // Control works little and waits much: one thread keeps it small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::start(settings)?;
        if let Some(Warning::Unsealed { dir }) = server.warning() {
            tracing::warn!(dir = %dir.display(), "the authority's keys are protected by file modes only, not sealed");
        }
        announce(&server)?;
        let mut orphaned = std::pin::pin!(orphaned(supervised));
        let stop = async {
            // Ctrl-C reaches the whole terminal; under the supervisor it decides who stops when.
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => {
                        if !supervised {
                            return;
                        }
                    }
                    () = &mut orphaned => return,
                }
            }
        };
        server.run(stop).await;
        Ok::<_, anyhow::Error>(())
    })?;
    // The thread that waits for standard input would keep a runtime's end waiting.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The life of identities, as an argument.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let life = weft_stdx::units::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(10)..=Duration::from_secs(7 * 24 * 3600);
    if range.contains(&life) { Ok(life) } else { Err("an identity lives 10s to 7d".to_owned()) }
}

/// Creates the data directory for its owner only.
fn make_private(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

fn read_passphrase() -> anyhow::Result<Passphrase> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(PASSPHRASE_BYTES_MAX)
        .read_line(&mut line)
        .context("no passphrase on standard input")?;
    Ok(Passphrase::new(line.trim_end_matches(['\r', '\n']).to_owned())?)
}

/// Says where it listens.
fn announce(server: &Server) -> anyhow::Result<()> {
    let addresses = server.addresses();
    let word = RoleWord {
        admin: Some(addresses.admin.to_string()),
        mesh: Some(addresses.mesh.to_string()),
        metrics: addresses.metrics.map(|address| address.to_string()),
        ..RoleWord::ready()
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &word)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Ends when the supervisor has; never where there is none.
async fn orphaned(supervised: bool) {
    if !supervised {
        return std::future::pending().await;
    }
    let (gone, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is said to control after its start; what comes is read and dropped, so that nobody blocks writing it.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Whoever waited may have ended before.
        let _ = gone.send(());
    });
    // A thread that died without a word is an end as well.
    let _ = told.await;
    tracing::warn!("the supervisor is gone");
}
