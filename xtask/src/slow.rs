//! `cargo xtask sim`, `cargo xtask differ` and `cargo xtask fuzz`: what finds more the longer it runs.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::servers;
use crate::shell::Shell;

/// Seeds that a long simulation runs; the tests themselves run a few hundred.
pub(crate) const SEEDS: u64 = 5_000;
/// The version of `cargo fuzz` that is installed.
const CARGO_FUZZ: &str = "0.13.2";
/// How long one target is fuzzed, in seconds.
pub(crate) const FUZZ_SECONDS: u64 = 60;

/// Crates whose tests read `WEFT_SIM_SEEDS` (how many) and `WEFT_SIM_SEED` (that one alone), and the name they share.
const SIMULATED: [(&str, &str); 1] = [("weft-proxy", "simulation")];

/// Which worlds are simulated.
#[derive(Clone, Copy)]
pub(crate) enum Seeds {
    /// From 0 up.
    Many(u64),
    /// This one alone.
    One(u64),
}

/// Runs the seeded simulations.
///
/// # Errors
/// A seed fails; the test's own output names it.
pub(crate) fn simulate(shell: &Shell, seeds: Seeds) -> anyhow::Result<()> {
    for (package, filter) in SIMULATED {
        let mut tests = shell.command("cargo");
        tests.args(["test", "--release", "--locked", "--package", package, "--lib", filter]);
        match seeds {
            Seeds::Many(count) => tests.env("WEFT_SIM_SEEDS", count.to_string()),
            Seeds::One(seed) => tests.env("WEFT_SIM_SEED", seed.to_string()),
        };
        shell.run(&mut tests)?;
    }
    Ok(())
}

/// Compares what other servers read of what is forwarded.
///
/// # Errors
/// They read something else; the test's own output names the case or its seed.
pub(crate) fn differ(shell: &Shell, seeds: Seeds) -> anyhow::Result<()> {
    servers::install(shell, servers::Wanted::Tests)?;
    let mut tests = shell.command("cargo");
    tests.args([
        "test",
        "--release",
        "--locked",
        "--package",
        "weft-proxy",
        "--test",
        "mesh",
        "differential",
    ]);
    match seeds {
        Seeds::Many(count) => tests.env("WEFT_DIFFER_MUTATIONS", count.to_string()),
        Seeds::One(seed) => tests.env("WEFT_DIFFER_SEED", seed.to_string()),
    };
    shell.run(&mut tests)
}

/// Fuzzes one target, or each of them, beginning with the inputs that are kept and with the tables of the tests.
///
/// No sanitizer: there is no unsafe code of ours for it to watch, and without one the compiler that builds everything else
/// builds the targets too.
///
/// # Errors
/// A target crashes; `cargo fuzz` cannot be installed; there is no such target.
pub(crate) fn fuzz(shell: &Shell, target: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let all = fuzz_targets(&shell.root.join("fuzz/fuzz_targets"))?;
    ensure!(!all.is_empty(), "there is no fuzz target in this version (`fuzz/fuzz_targets`)");
    let chosen: Vec<&String> =
        all.iter().filter(|name| target.is_none_or(|target| *name == target)).collect();
    if chosen.is_empty() {
        bail!("no such target; there are: {}", all.join(", "));
    }
    let fuzzer = fuzzer(shell)?;
    let (found, seeds) = (shell.target.join("fuzz/corpus"), shell.target.join("fuzz/seeds"));
    write_seeds(shell, &seeds)?;
    for name in chosen {
        let mut run = shell.command(&fuzzer);
        run.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]).arg(shell.target.join("fuzz/build"));
        run.arg(name);
        // What is found goes into the first folder; the others are read.
        for folder in [&found.join(name), &shell.root.join("fuzz/corpus").join(name), &seeds.join(name)] {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            run.arg(folder);
        }
        // A cap on memory and on one input's time makes a hang or a blow-up a finding.
        let limit = format!("-max_total_time={seconds}");
        run.args(["--", &limit, "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]);
        shell.run(&mut run)?;
    }
    Ok(())
}

/// `cargo fuzz`, installed where it is missing.
fn fuzzer(shell: &Shell) -> anyhow::Result<String> {
    if let Some(there) = shell.which("cargo-fuzz") {
        return Ok(there.display().to_string());
    }
    let folder = shell.target.join("xtask/fuzz");
    let program = folder.join("bin/cargo-fuzz");
    if !program.is_file() {
        let mut install = shell.command("cargo");
        install
            .args(["install", "--locked", "--version", CARGO_FUZZ, "--root"])
            .arg(&folder)
            .arg("cargo-fuzz");
        shell.run(&mut install)?;
    }
    Ok(program.display().to_string())
}

/// The tables of the tests and the manifests of the golden cases, as inputs.
fn write_seeds(shell: &Shell, folder: &Path) -> anyhow::Result<()> {
    let mut tables = shell.command("cargo");
    tables.args(["test", "--quiet", "--locked", "--package", "weft-proxy", "--lib", "fuzzing::tests::seeds"]);
    shell.run(tables.env("WEFT_FUZZ_SEEDS", folder))?;
    let folder = folder.join("manifest");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut cases = vec![shell.root.join("crates/model/tests/cases"), shell.root.join("examples")];
    let mut number = 0;
    while let Some(case) = cases.pop() {
        for entry in std::fs::read_dir(&case).with_context(|| case.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                cases.push(path);
            } else if path.file_name().is_some_and(|name| name == "weft.yaml") {
                std::fs::copy(&path, folder.join(format!("case-{number:04}")))?;
                number += 1;
            }
        }
    }
    Ok(())
}

fn fuzz_targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
