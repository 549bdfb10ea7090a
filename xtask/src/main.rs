//! The developers' toolbox: `cargo xtask COMMAND`. Continuous integration runs `cargo xtask ci` and nothing else.

mod bench;
mod bless;
mod ci;
mod dist;
mod errors;
mod pressure;
mod servers;
mod shell;
mod slow;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use shell::Shell;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                       all that must hold before a change goes in: fmt, tidy, deny, clippy, test
  test [ARGS…]             install what tests talk to, then run the tests of the workspace (ARGS go to the runner)
  servers [--all]          install what tests talk to, where it is missing; --all: what benchmarks compare with, too
  tidy                     house rules that no lint knows: arrows between crates, file lengths, fresh generated files
  deny                     licences, sources and advisories of the dependencies
  bless [--check]          write what is generated: codes, docs/manifest.md, golden cases
  sim [--seeds N]          the seeded simulations with more seeds (default 5000)
  sim --seed N             one seed alone
  fuzz [TARGET] [--seconds N]
                           fuzz one target, or each of them, for N seconds (default 60)
  differ [--mutations N | --seed S]
                           compare with nginx, HAProxy and Node what they read of what is forwarded, for N requests
                           made at random (default 5000) beside the ones that are kept; or for one seed of those
  soak [--minutes N] [--open N]
                           long load while everything changes, with so many requests open at once: nothing may grow
                           (default 10 minutes, 96 requests)
  kills [--seconds N] [--seed N]
                           processes killed at random under load (default 120 s)
  floods                   floods of HTTP/2, and what a neighbour notices of each
  overload [--work-ms MS]  three times what a service can do that works on each request for so long (default 100 ms)
  scale                    a thousand routes, a hundred services of hundreds of instances, ten thousand connections
  bench proxy [OPTIONS]    what a request costs Weft and the proxies beside it
  dist                     the executable as it is shipped: built with the counts of what ran under load";

/// Exit status for a command line that makes no sense.
const WRONG_USE: u8 = 2;

#[expect(clippy::print_stderr, reason = "a tool for people")]
fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "this is a binary: it reads its arguments")]
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Shell::open().and_then(|shell| run(&shell, &words)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{USAGE}");
            ExitCode::from(WRONG_USE)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; `false` if there is no such command.
fn run(shell: &Shell, words: &[&str]) -> anyhow::Result<bool> {
    match words {
        ["ci"] => ci::ci(shell)?,
        ["test", args @ ..] => test::test(shell, args)?,
        ["servers"] => servers::install(shell, servers::Wanted::Tests).map(drop)?,
        ["servers", "--all"] => servers::install(shell, servers::Wanted::All).map(drop)?,
        ["tidy"] => tidy::tidy(shell)?,
        ["deny"] => ci::deny(shell)?,
        ["bless"] => bless::write(shell)?,
        ["bless", "--check"] => bless::check(shell)?,
        ["sim"] => slow::simulate(shell, slow::Seeds::Many(slow::SEEDS))?,
        ["sim", "--seeds", count] => slow::simulate(shell, slow::Seeds::Many(number(count)?))?,
        ["sim", "--seed", seed] => slow::simulate(shell, slow::Seeds::One(number(seed)?))?,
        ["fuzz"] => slow::fuzz(shell, None, slow::FUZZ_SECONDS)?,
        ["fuzz", "--seconds", seconds] => slow::fuzz(shell, None, number(seconds)?)?,
        ["fuzz", target] => slow::fuzz(shell, Some(target), slow::FUZZ_SECONDS)?,
        ["fuzz", target, "--seconds", seconds] => slow::fuzz(shell, Some(target), number(seconds)?)?,
        ["differ"] => slow::differ(shell, slow::Seeds::Many(slow::SEEDS))?,
        ["differ", "--mutations", count] => slow::differ(shell, slow::Seeds::Many(number(count)?))?,
        ["differ", "--seed", seed] => slow::differ(shell, slow::Seeds::One(number(seed)?))?,
        ["soak", words @ ..] => pressure::soak(shell, words)?,
        ["kills", words @ ..] => pressure::kills(shell, words)?,
        ["floods"] => pressure::floods(shell)?,
        ["overload"] => pressure::overload(shell, pressure::OVERLOAD_WORK_MS)?,
        ["overload", "--work-ms", work_ms] => pressure::overload(shell, number(work_ms)?)?,
        ["scale"] => pressure::scale(shell)?,
        ["bench", words @ ..] => bench::bench(shell, words)?,
        ["dist"] => dist::dist(shell)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn number(word: &str) -> anyhow::Result<u64> {
    word.parse().with_context(|| format!("`{word}` is not a number"))
}

/// A file's path as people write it: relative to the workspace.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
