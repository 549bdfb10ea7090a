//! How the toolbox runs other programs: says what it runs, in which folder, and fails when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The workspace and what the toolbox knows of the machine.
pub(crate) struct Shell {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Whether this is continuous integration (`CI=true`): what is missing is a failure there, not a note.
    pub(crate) ci: bool,
    /// What `cargo metadata` says of the workspace's own crates.
    pub(crate) metadata: Metadata,
    search: Vec<PathBuf>,
}

/// The part of `cargo metadata` that is used here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    target_directory: PathBuf,
}

/// One crate of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a crate declares that it uses.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or nothing.
    pub(crate) kind: Option<String>,
}

impl Shell {
    /// The workspace that this toolbox stands in.
    ///
    /// # Errors
    /// `cargo metadata` fails.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask stands in the workspace")?
            .to_owned();
        let output = Command::new("cargo")
            .args(["metadata", "--format-version=1", "--no-deps"])
            .current_dir(&root)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed");
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut search: Vec<PathBuf> = vec![metadata.target_directory.join("xtask/tools/bin")];
        search.extend(std::env::split_paths(&path));
        search.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1");
        Ok(Self { root, target: metadata.target_directory.clone(), ci, metadata, search })
    }

    /// Where an executable of this name is, if it can be run.
    pub(crate) fn which(&self, name: &str) -> Option<PathBuf> {
        self.search.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// Whether `cargo NAME` is there.
    pub(crate) fn has_cargo(&self, name: &str) -> bool {
        self.which(&format!("cargo-{name}")).is_some()
    }

    /// A command in the workspace, with the toolbox's own tools in reach.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        if let Ok(path) = std::env::join_paths(&self.search) {
            command.env("PATH", path);
        }
        // Set by `cargo xtask` for the toolbox alone; in a build they would make cargo start anew.
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs `cargo` with these words.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn cargo(&self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command("cargo");
        command.args(words);
        self.run(&mut command)
    }

    /// Builds one executable of a package with optimizations.
    ///
    /// # Errors
    /// It does not build.
    pub(crate) fn build_release(&self, package: &str, bin: &str) -> anyhow::Result<()> {
        self.cargo(&["build", "--release", "--locked", "--package", package, "--bin", bin])
    }

    /// Says what it runs, runs it, and waits.
    ///
    /// # Errors
    /// It cannot be started, or its exit status is not 0.
    pub(crate) fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let words = words(command);
        self.say(&format!("$ {words}"));
        let began = Instant::now();
        let status = command.status().with_context(|| words.clone())?;
        let took = began.elapsed().as_secs();
        if took >= 5 {
            self.say(&format!("  ({took} s)"));
        }
        ensure!(status.success(), "`{words}` failed: {status}");
        Ok(())
    }

    /// A line for the person who waits.
    #[expect(clippy::print_stderr, clippy::unused_self, reason = "a tool for people")]
    pub(crate) fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// A line that must not be missed.
    pub(crate) fn warn(&self, line: &str) {
        self.say(&format!("!!! {line}"));
    }
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
