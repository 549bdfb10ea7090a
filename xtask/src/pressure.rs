//! `cargo xtask soak`, `kills`, `floods`, `overload` and `scale`: the tests of `crates/weft/tests/pressure`, for long, with
//! a release build. What they mean: `docs/under-pressure.md`.

use anyhow::{bail, ensure};

use crate::number;
use crate::shell::Shell;

/// How long a soak is, in minutes, where nothing else is said.
const SOAK_MINUTES: u64 = 10;
/// Requests that a soak may have open at once: one of each kind at least; with more than that its load takes the machine for itself.
const SOAK_OPEN: std::ops::RangeInclusive<u64> = 4..=1_000;
/// Of what a soak asks for outside of bursts, how much has to be answered, in percent: a machine of two cores that others share stops
/// for some tenths of a second now and then, and what is due meanwhile is more than may be open.
const SOAK_SERVED_PERCENT: u64 = 95;
/// How long processes are killed, in seconds.
const KILL_SECONDS: u64 = 120;
/// How long each flood is, in seconds.
const FLOOD_SECONDS: u64 = 3;
/// How often each of them comes, and one elsewhere before it.
const FLOOD_TURNS: u64 = 5;
/// How long a service is overloaded, in seconds, for each of both loads.
const OVERLOAD_SECONDS: u64 = 60;
/// How long the overloaded service works on a request, in milliseconds, where nothing else is said.
pub(crate) const OVERLOAD_WORK_MS: u64 = 100;
/// Nobody is refused at once who is told so later, in milliseconds: 99 of 100 are told sooner.
const OVERLOAD_REFUSED_MS: u64 = 100;
/// From less on the service would be busy with more than waiting; of what takes longer, a minute has too few.
const OVERLOAD_WORK: std::ops::RangeInclusive<u64> = 10..=1_000;
/// Nobody waits longer.
const MINUTES_MAX: u64 = 24 * 60;

/// Loads a system for some minutes, with so many requests open at once, and sees that nothing grows.
///
/// # Errors
/// An answer was unexpected, or something grew.
pub(crate) fn soak(shell: &Shell, words: &[&str]) -> anyhow::Result<()> {
    let (mut minutes, mut open) = (SOAK_MINUTES, None);
    for (word, value) in options(words)? {
        match word {
            "--minutes" => minutes = value,
            "--open" => open = Some(value),
            _ => bail!("`{word}` is not understood: soak [--minutes N] [--open N]"),
        }
    }
    ensure!((1..=MINUTES_MAX).contains(&minutes), "--minutes takes 1 to {MINUTES_MAX}");
    let (least, most) = SOAK_OPEN.into_inner();
    ensure!(open.is_none_or(|open| SOAK_OPEN.contains(&open)), "--open takes {least} to {most}");
    let mut settings =
        vec![("WEFT_SOAK_SECONDS", minutes * 60), ("WEFT_SOAK_SERVED_PERCENT", SOAK_SERVED_PERCENT)];
    settings.extend(open.map(|open| ("WEFT_SOAK_OPEN", open)));
    run(shell, "nothing_grows", &settings)
}

/// Kills processes at random.
///
/// # Errors
/// A request suffered that must not, or something was left behind.
pub(crate) fn kills(shell: &Shell, words: &[&str]) -> anyhow::Result<()> {
    let mut settings = vec![("WEFT_KILL_SECONDS", KILL_SECONDS)];
    for (word, value) in options(words)? {
        match word {
            "--seconds" => settings.push(("WEFT_KILL_SECONDS", value)),
            "--seed" => settings.push(("WEFT_KILL_SEED", value)),
            _ => bail!("`{word}` is not understood: kills [--seconds N] [--seed N]"),
        }
    }
    run(shell, "killed_at_random", &settings)
}

/// Words with a number after each.
fn options<'w>(words: &[&'w str]) -> anyhow::Result<Vec<(&'w str, u64)>> {
    let option = |pair: &[&'w str]| match *pair {
        [word, value] => Ok((word, number(value)?)),
        _ => bail!("`{}` has to be an option with a number after it", pair.join(" ")),
    };
    words.chunks(2).map(option).collect()
}

/// Floods the gateway over HTTP/2 and sees what a neighbour notices.
///
/// # Errors
/// It missed an answer, or its slowest answers took twice as long as beside a flood elsewhere; or nothing ended a flood.
pub(crate) fn floods(shell: &Shell) -> anyhow::Result<()> {
    let settings = [
        ("WEFT_FLOODS_SECONDS", FLOOD_SECONDS),
        ("WEFT_FLOODS_TURNS", FLOOD_TURNS),
        ("WEFT_FLOODS_PERCENT", 200),
    ];
    run(shell, "a_flood", &settings)
}

/// Asks a service for three times what it can do, with the default time limit. It works on each request for so many
/// milliseconds, on eight at once.
///
/// # Errors
/// It did less than before, or somebody was not answered as promised.
pub(crate) fn overload(shell: &Shell, work_ms: u64) -> anyhow::Result<()> {
    let (least, most) = OVERLOAD_WORK.into_inner();
    ensure!((least..=most).contains(&work_ms), "--work-ms takes {least} to {most}");
    let settings = [
        ("WEFT_OVERLOAD_SECONDS", OVERLOAD_SECONDS),
        ("WEFT_OVERLOAD_TIMEOUT_S", 15),
        ("WEFT_OVERLOAD_WORK_MS", work_ms),
        ("WEFT_OVERLOAD_PERCENT", 90),
        ("WEFT_OVERLOAD_LATE_PERCENT", 0),
        ("WEFT_OVERLOAD_LIMIT_PERCENT", 100),
        ("WEFT_OVERLOAD_REFUSED_MS", OVERLOAD_REFUSED_MS),
    ];
    run(shell, "three_times", &settings)
}

/// Looks whether a request costs more, and a start or a reload takes longer, where there are many routes, services,
/// instances and connections.
///
/// # Errors
/// It does.
pub(crate) fn scale(shell: &Shell) -> anyhow::Result<()> {
    let settings = [
        ("WEFT_SCALE_SERVICES", 100),
        ("WEFT_SCALE_INSTANCES", 3),
        ("WEFT_SCALE_ROUTES", 1_000),
        ("WEFT_SCALE_CONNECTIONS", 10_000),
        ("WEFT_SCALE_REQUESTS", 60_000),
        // Within that, runs differ on a machine that others use as well.
        ("WEFT_SCALE_PERCENT", 130),
        // Of as many starts and reloads the median counts, on such a machine.
        ("WEFT_SCALE_TIMES", 6),
        // A thousand routes have to be read, checked and sent: they may take as much again as one of each does, and so less
        // than a thousandth of that for each.
        ("WEFT_SCALE_TIMES_PERCENT", 200),
    ];
    run(shell, "many_routes", &settings)
}

fn run(shell: &Shell, test: &str, settings: &[(&str, u64)]) -> anyhow::Result<()> {
    shell.build_release("weft-testkit", "testkit-service")?;
    let mut command = shell.command("cargo");
    command.args([
        "test",
        "--release",
        "--locked",
        "--package",
        "weft",
        "--test",
        "pressure",
        "--",
        "--nocapture",
    ]);
    command.arg(test).envs(settings.iter().map(|(name, value)| (name, value.to_string())));
    shell.run(&mut command)
}
