//! `cargo xtask dist`: the executable as it is shipped. It is built twice: once to count what runs while it proxies, once with
//! those counts, so that what a request runs through lies together and what it does not is out of the way (profile-guided
//! optimization; <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::shell::Shell;

/// Loads of the benchmark that between them run through HTTP/1.1, HTTP/2, gRPC, TLS and mutual TLS, small and large.
const TRAINING: [&str; 7] = ["http1", "tls", "large", "upload", "h2c", "grpc", "pair"];
/// Of each of them.
const ROUNDS: &str = "2";
const SECONDS: &str = "3";
/// Newest first: what Debian calls the tool, where the toolchain does not bring it.
const LLVM_VERSIONS: std::ops::RangeInclusive<u32> = 19..=30;

/// Builds `target/dist/weft`.
///
/// # Errors
/// A tool is missing, a build fails, or the training does.
pub(crate) fn dist(shell: &Shell) -> anyhow::Result<()> {
    let rustc = Rustc::ask(shell)?;
    let merge = rustc.profdata(shell)?;
    let folder = shell.target.join("dist-profile");
    // Of the build before.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).context("a folder for the profile")?;

    let counting = build(shell, &rustc, &format!("-Cprofile-generate={}", folder.display()))?;
    train(shell, &counting, &folder)?;
    let profile = folder.join("weft.profdata");
    shell
        .run(shell.command(&merge.display().to_string()).args(["merge", "-o"]).arg(&profile).arg(&folder))?;

    let built = build(shell, &rustc, &format!("-Cprofile-use={}", profile.display()))?;
    let shipped = shell.target.join("dist/weft");
    std::fs::create_dir_all(shell.target.join("dist"))?;
    std::fs::copy(&built, &shipped).context("the executable")?;
    shell.say(&format!("{}", shipped.display()));
    Ok(())
}

/// Builds with one more flag; for a target that is named, so that build scripts and macros go without it.
fn build(shell: &Shell, rustc: &Rustc, flag: &str) -> anyhow::Result<PathBuf> {
    let words = ["build", "--profile", "dist", "--locked", "--package", "weft", "--bin", "weft", "--target"];
    shell.run(shell.command("cargo").args(words).arg(&rustc.host).env("CARGO_ENCODED_RUSTFLAGS", flag))?;
    Ok(shell.target.join(&rustc.host).join("dist/weft"))
}

/// Has the executable proxy, and count.
fn train(shell: &Shell, weft: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut bench = shell.command(&std::env::current_exe()?.display().to_string());
    bench.args(["bench", "proxy", "--peers", "weft", "--rounds", ROUNDS, "--seconds", SECONDS]);
    bench.args(["--scenario", &TRAINING.join(","), "--weft"]).arg(weft);
    shell.run(bench.env("LLVM_PROFILE_FILE", folder.join("%m-%p.profraw")))
}

/// What the compiler says of itself.
struct Rustc {
    host: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn ask(shell: &Shell) -> anyhow::Result<Self> {
        let said = |words: &[&str]| -> anyhow::Result<String> {
            let output = shell.command("rustc").args(words).output().context("rustc")?;
            ensure!(output.status.success(), "rustc {} failed", words.join(" "));
            Ok(String::from_utf8(output.stdout)?)
        };
        let version = said(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc's host")?;
        Ok(Self { host: host.to_owned(), sysroot: said(&["--print", "sysroot"])?.trim().into() })
    }

    /// The tool that adds counts up: the toolchain's own, or one that can read what this compiler writes.
    fn profdata(&self, shell: &Shell) -> anyhow::Result<PathBuf> {
        let own = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        let others =
            LLVM_VERSIONS.rev().filter_map(|version| shell.which(&format!("llvm-profdata-{version}")));
        std::iter::once(own).filter(|own| own.is_file()).chain(others).next().context(
            "llvm-profdata is not here (`rustup component add llvm-tools`, or Debian: llvm-19 or newer)",
        )
    }
}
