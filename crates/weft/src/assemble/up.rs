//! Joins the supervisor with the manifest's files and the user's environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use weft_control::reload::Loaded;
use weft_ops::screen::Mode;
use weft_ops::supervisor::Settings;
use weft_ops::supervisor::watch::Compiled;
use weft_stdx::clock::Clock;
use weft_stdx::rng::Rng;

use super::control::Compiler;
use crate::commands::manifest::Place;

/// What `weft up` was asked for.
pub(crate) struct Asked {
    /// The manifest.
    pub(crate) place: Place,
    /// Overlay to merge.
    pub(crate) overlay: Option<String>,
    /// The system's data directory.
    pub(crate) data_dir: PathBuf,
    /// What roles log.
    pub(crate) log_level: String,
    /// Services that somebody else runs.
    pub(crate) mine: BTreeMap<String, SocketAddr>,
    /// Where admin API and console listen.
    pub(crate) admin: SocketAddr,
    /// Life of identities.
    pub(crate) identity_lifetime: Duration,
    /// How to show.
    pub(crate) mode: Mode,
}

/// What logs of roles are shown without being asked for more.
const QUIET: &str = "info";

/// Everything that the supervisor is started with.
pub(crate) fn settings(asked: Asked) -> anyhow::Result<Settings> {
    let Asked { place, overlay, data_dir, log_level, mine, admin, identity_lifetime, mode } = asked;
    let manifest_dir = std::path::absolute(&place.folder)?;
    let manifest = manifest_dir.join(&place.main);
    let compiler = Compiler { place, overlay: overlay.clone() };
    let compile = move || {
        let (Loaded { files, outcome }, warnings) = compiler.compile();
        Compiled { files, warnings, outcome }
    };
    Ok(Settings {
        executable: std::env::current_exe().context("cannot find this executable")?,
        manifest,
        manifest_dir,
        overlay,
        data_dir,
        verbose: log_level != QUIET,
        log_level,
        environment: std::env::vars_os().collect(),
        mine,
        admin,
        identity_lifetime,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        mode,
        compile: Arc::new(compile),
        clock: Clock::system(),
        rng: Rng::from_process(),
    })
}
