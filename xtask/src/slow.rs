//! `cargo xtask sim` and `cargo xtask fuzz`: what finds more the longer it runs.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::shell::Shell;

/// Seeds that a long simulation runs; the tests themselves run a few hundred.
pub(crate) const SEEDS: u64 = 5_000;
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

/// Fuzzes one target, or each of them.
///
/// # Errors
/// A target crashes; `cargo fuzz` or its toolchain is missing; there is no such target.
pub(crate) fn fuzz(shell: &Shell, target: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let all = fuzz_targets(&shell.root.join("fuzz/fuzz_targets"))?;
    ensure!(!all.is_empty(), "there is no fuzz target in this version (`fuzz/fuzz_targets`)");
    let chosen: Vec<&String> =
        all.iter().filter(|name| target.is_none_or(|target| *name == target)).collect();
    if chosen.is_empty() {
        bail!("no such target; there are: {}", all.join(", "));
    }
    let install =
        "install it with `cargo install --locked cargo-fuzz` and `rustup toolchain install nightly`";
    ensure!(shell.has_cargo("fuzz"), "cargo-fuzz is not here; {install}");
    for name in chosen {
        let limit = format!("-max_total_time={seconds}");
        // A cap on memory and on one input's time makes a hang or a blow-up a finding.
        shell.cargo(&["+nightly", "fuzz", "run", name, "--", &limit, "-timeout=10", "-rss_limit_mb=1024"])?;
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
