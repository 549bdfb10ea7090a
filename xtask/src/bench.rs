//! `cargo xtask bench proxy`: what a request costs Weft, and what it costs the proxies beside it, in one run.
//!
//! The proxy runs on one core, load and upstream on another. All of it runs in a network namespace of its own, where the
//! congestion control is `reno` (others pace the loopback), and in a namespace of processes, so that nothing is left behind.
//! Rounds of all peers take turns, and medians are told: what disturbs a shared machine disturbs each of them.

mod load;
mod peers;
mod process;
mod report;
mod scenario;
mod weft;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::number;
use crate::shell::Shell;

/// What may be asked of the benchmark.
const USAGE: &str = "bench proxy [--scenario NAME,…] [--peers NAME,…] [--rounds N] [--seconds N] [--connections N] [--weft PATH] [--write]";
/// Nobody needs more, and a slip of the finger must not load a machine for a day.
const ROUNDS_MAX: u64 = 100;
/// As many as one source may have at an edge.
const CONNECTIONS_MAX: u64 = 5_000;
/// Of one peer in one round.
const SECONDS_MAX: u64 = 60;
/// Says to the toolbox that it runs inside of the namespaces already.
const INSIDE: &str = "--inside";

/// How to measure.
pub(crate) struct Options {
    scenarios: Vec<&'static scenario::Scenario>,
    peers: Vec<peers::Peer>,
    rounds: u64,
    seconds: u64,
    /// In place of as many as a scenario of HTTP/1.1 has.
    connections: Option<u64>,
    /// An executable that is there already.
    weft: Option<PathBuf>,
    write: bool,
    inside: bool,
}

/// Where everything is that is run.
pub(crate) struct Place {
    /// The executable that is measured.
    pub(crate) weft: PathBuf,
    /// Upstream, forwarder and crowd.
    pub(crate) bench: PathBuf,
    /// Envoy, if it could be installed.
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    /// A folder for files of this run.
    pub(crate) folder: PathBuf,
    /// The core of the proxy, and that of load and upstream.
    pub(crate) cores: (usize, usize),
}

/// Runs a benchmark.
///
/// # Errors
/// There is no such benchmark, something that it needs is missing, or a peer gives wrong answers.
pub(crate) fn bench(shell: &Shell, words: &[&str]) -> anyhow::Result<()> {
    let ["proxy", words @ ..] = words else { bail!("there is one benchmark: {USAGE}") };
    let options = options(words)?;
    if options.inside { inside(shell, &options) } else { outside(shell, &options, words) }
}

fn options(words: &[&str]) -> anyhow::Result<Options> {
    let (scenarios, peers) = (scenario::SCENARIOS.iter().collect(), peers::Peer::ALL.to_vec());
    let mut options = Options {
        scenarios,
        peers,
        rounds: 5,
        seconds: 3,
        connections: None,
        weft: None,
        write: false,
        inside: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().with_context(|| format!("{word} needs a value: {USAGE}"));
        match *word {
            "--scenario" => {
                options.scenarios = value()?.split(',').map(scenario::named).collect::<Result<_, _>>()?;
            }
            "--peers" => {
                options.peers = value()?.split(',').map(peers::Peer::named).collect::<Result<_, _>>()?;
            }
            "--rounds" => options.rounds = number(value()?)?,
            "--seconds" => options.seconds = number(value()?)?,
            "--connections" => options.connections = Some(number(value()?)?),
            "--weft" => options.weft = Some(std::path::absolute(value()?)?),
            "--write" => options.write = true,
            INSIDE => options.inside = true,
            other => bail!("`{other}` is not understood: {USAGE}"),
        }
    }
    ensure!((1..=ROUNDS_MAX).contains(&options.rounds), "--rounds takes 1 to {ROUNDS_MAX}");
    ensure!((1..=SECONDS_MAX).contains(&options.seconds), "--seconds takes 1 to {SECONDS_MAX}");
    if let Some(connections) = options.connections {
        ensure!((1..=CONNECTIONS_MAX).contains(&connections), "--connections takes 1 to {CONNECTIONS_MAX}");
        ensure!(!options.write, "--write is for the scenarios as they are, without --connections");
    }
    Ok(options)
}

/// Builds, then runs itself in namespaces of its own.
fn outside(shell: &Shell, options: &Options, words: &[&str]) -> anyhow::Result<()> {
    for tool in ["wrk", "h2load", "taskset", "unshare", "ip", "openssl"] {
        ensure!(
            shell.which(tool).is_some(),
            "{tool} is not here (Debian: wrk nghttp2-client util-linux iproute2 openssl)"
        );
    }
    install_envoy(shell);
    if options.weft.is_none() {
        shell.build_release("weft", "weft")?;
    }
    shell.build_release("weft-testkit", "testkit-bench")?;
    let mut unshare = shell.command("unshare");
    unshare.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg(std::env::current_exe().context("the toolbox's own executable")?);
    shell.run(unshare.args(["bench", "proxy"]).args(words).arg(INSIDE))
}

fn inside(shell: &Shell, options: &Options) -> anyhow::Result<()> {
    shell.run(shell.command("ip").args(["link", "set", "lo", "up"]))?;
    // `bbr` paces the loopback as if it were a wire.
    if std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno").is_err() {
        shell.warn("the congestion control could not be set to reno");
    }
    let place = place(shell, options)?;
    shell.say(&format!("weft is {}", place.weft.display()));
    let results = scenario::run(shell, &place, options)?;
    shell.say("");
    shell.say(&report::tables(&results));
    if options.write {
        report::write(shell, &results, options)?;
    }
    Ok(())
}

fn place(shell: &Shell, options: &Options) -> anyhow::Result<Place> {
    let folder = shell.target.join("bench");
    // Of the run before.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).context("a folder for the benchmark")?;
    certificates(shell, &folder)?;
    let release = |name: &str| shell.target.join("release").join(name);
    Ok(Place {
        weft: options.weft.clone().unwrap_or_else(|| release("weft")),
        bench: release("testkit-bench"),
        envoy: envoy(shell),
        nginx: shell.which("nginx"),
        haproxy: shell.which("haproxy"),
        folder,
        cores: process::two_cores()?,
    })
}

/// One authority, and one certificate of it that every peer uses on either side.
fn certificates(shell: &Shell, folder: &Path) -> anyhow::Result<()> {
    let script = "\
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -days 30 -subj /CN=bench-ca -out ca.pem
        openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out leaf.key
        openssl req -new -key leaf.key -subj /CN=localhost -out leaf.csr
        printf 'subjectAltName=DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' > leaf.ext
        openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 7 -extfile leaf.ext -out leaf.pem
        cat leaf.pem leaf.key > both.pem";
    let output = shell.command("sh").args(["-ec", script]).current_dir(folder).output().context("openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Envoy as a wheel, in an environment of its own. Without it the others are measured.
fn install_envoy(shell: &Shell) {
    if envoy(shell).is_some() {
        return;
    }
    let folder = envoy_folder(shell);
    let made = shell.run(shell.command("python3").args(["-m", "venv"]).arg(&folder)).and_then(|()| {
        let mut pip = shell.command(&folder.join("bin/python").display().to_string());
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
        shell.run(pip.args(quiet).arg("-r").arg(shell.root.join("xtask/python/envoy.txt")))
    });
    if let Err(error) = made {
        shell.warn(&format!("Envoy cannot be installed: {error:#}"));
    }
}

fn envoy_folder(shell: &Shell) -> PathBuf {
    shell.target.join("xtask/envoy")
}

fn envoy(shell: &Shell) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(envoy_folder(shell).join("lib")).ok()?;
    let found =
        libraries.filter_map(Result::ok).map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    let found = found.into_iter().find(|path| path.is_file())?;
    make_executable(&found).ok()?;
    Some(found)
}

fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
