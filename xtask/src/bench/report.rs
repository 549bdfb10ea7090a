//! What is told of the measurements: medians, and what Weft costs as a share of what each peer costs.
//!
//! The share is the result: it is taken within each round, of two peers that ran one after the other, and its median is told.
//! Figures of one peer alone say more about the machine and who else uses it.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use super::Options;
use super::peers::Peer;
use super::scenario::{Figures, Kind, Measured, Outcome, Round, Scenario};
use crate::shell::Shell;

/// Where the figures are kept.
const PAGE: &str = "docs/performance.md";

/// What Weft may cost at most, as a share of what a peer costs.
fn goal(scenario: &Scenario, peer: Peer) -> Option<f64> {
    match (scenario.name, peer) {
        ("http1", Peer::Forwarder) => Some(1.25),
        ("http1" | "tls", Peer::Nginx | Peer::Haproxy) => Some(0.92),
        ("http1-512", Peer::Nginx | Peer::Haproxy) => Some(0.80),
        ("large" | "upload", Peer::Envoy) => Some(0.85),
        ("http1" | "h2c" | "grpc", Peer::Envoy) => Some(0.45),
        ("pair", Peer::Envoy) => Some(0.40),
        ("pair", Peer::Haproxy) => Some(0.85),
        _ => None,
    }
}

/// All tables.
pub(super) fn tables(outcomes: &[Outcome]) -> String {
    let each =
        outcomes.iter().map(|outcome| format!("### {}\n\n{}", title(outcome.scenario), table(outcome)));
    each.collect::<Vec<_>>().join("\n")
}

fn title(scenario: &Scenario) -> String {
    format!("`{}`: {}", scenario.name, scenario.what)
}

fn table(outcome: &Outcome) -> String {
    match outcome.scenario.kind {
        Kind::Edge | Kind::Pair => requests(outcome),
        Kind::Idle => idle(outcome),
        Kind::Start => starts(outcome),
    }
}

fn rounds(measured: &Measured) -> &[Round] {
    match &measured.result {
        Figures::Requests(rounds) => rounds,
        _ => &[],
    }
}

fn requests(outcome: &Outcome) -> String {
    let mut text = "| | CPU µs | user | system | Weft costs | goal | requests/s | p50 ms | p99 ms | MiB at rest | under load |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let weft = outcome.measured.iter().find(|measured| measured.peer == Peer::Weft);
    for measured in &outcome.measured {
        let of = |figure: &dyn Fn(&Round) -> f64| median(rounds(measured).iter().map(figure).collect());
        let share = weft.filter(|_| measured.peer != Peer::Weft).map(|weft| share(weft, measured));
        let times = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{share:.2}×"));
        #[expect(clippy::cast_precision_loss, reason = "kibibytes of one process")]
        let mib = |kib: u64| kib as f64 / 1024.0;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {} | {} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
            measured.peer.name(),
            of(&|round| round.cpu.total_us()),
            of(&|round| round.cpu.user_us),
            of(&|round| round.cpu.system_us),
            times(share),
            times(goal(outcome.scenario, measured.peer)),
            of(&|round| round.seen.per_second),
            of(&|round| round.seen.p50_us / 1e3),
            of(&|round| round.seen.p99_us / 1e3),
            mib(measured.rest_kib),
            of(&|round| mib(round.loaded_kib)),
        );
    }
    text
}

/// The median of what Weft costs in a round, as a share of what the peer costs in the same one.
fn share(weft: &Measured, peer: &Measured) -> f64 {
    let pairs = rounds(weft).iter().zip(rounds(peer));
    median(pairs.map(|(weft, peer)| weft.cpu.total_us() / peer.cpu.total_us()).collect())
}

fn idle(outcome: &Outcome) -> String {
    let mut text = "| | KiB each | goal |\n|---|---|---|\n".to_owned();
    for measured in &outcome.measured {
        if let Figures::Idle(kib) = measured.result {
            let of_weft = if outcome.scenario.tls { "16" } else { "4" };
            let goal = if measured.peer == Peer::Weft { of_weft } else { "" };
            let _ = writeln!(text, "| {} | {kib:.1} | {goal} |", measured.peer.name());
        }
    }
    text
}

fn starts(outcome: &Outcome) -> String {
    let mut text =
        "| | ms, median | slowest | goal | MiB then | goal |\n|---|---|---|---|---|---|\n".to_owned();
    for measured in &outcome.measured {
        if let Figures::Starts(times) = &measured.result {
            let slowest = times.iter().copied().fold(0.0, f64::max);
            let (name, kib) = (measured.peer.name(), measured.rest_kib);
            let _ = writeln!(
                text,
                "| {name} | {:.1} | {slowest:.1} | 50 | {} | 12 |",
                median(times.clone()),
                kib / 1024
            );
        }
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// Puts the tables of this run into the page, in place of those that it has of the same scenarios.
pub(super) fn write(shell: &Shell, outcomes: &[Outcome], options: &Options) -> anyhow::Result<()> {
    let path = shell.root.join(PAGE);
    let mut page = std::fs::read_to_string(&path).with_context(|| PAGE)?;
    for outcome in outcomes {
        let run = match outcome.scenario.kind {
            Kind::Edge | Kind::Pair => format!("\n{} rounds of {} s.\n", options.rounds, options.seconds),
            Kind::Idle | Kind::Start => String::new(),
        };
        let text = format!("### {}\n\n{}{run}", title(outcome.scenario), table(outcome));
        page = replaced(&page, outcome.scenario, &text)?;
    }
    std::fs::write(&path, page).with_context(|| PAGE)?;
    shell.say(&format!("wrote {PAGE}"));
    Ok(())
}

fn replaced(page: &str, scenario: &Scenario, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- bench proxy: {} -->\n", scenario.name), "<!-- end -->");
    let (before, rest) =
        page.split_once(&begin).with_context(|| format!("{PAGE} has no `{}`", begin.trim()))?;
    let (old, after) = rest.split_once(end).with_context(|| format!("{PAGE} has no `{end}`"))?;
    ensure!(!old.contains("<!--"), "{PAGE}: the part of {} does not end", scenario.name);
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::load::Seen;
    use super::super::process::Cpu;
    use super::super::scenario;
    use super::*;

    fn measured(peer: Peer, costs_us: &[f64]) -> Measured {
        let round = |user_us: &f64| Round {
            cpu: Cpu { user_us: *user_us, system_us: 0.0 },
            seen: Seen { requests: 1, per_second: 1.0, p50_us: 1.0, p99_us: 1.0 },
            loaded_kib: 1,
        };
        Measured { peer, rest_kib: 1, result: Figures::Requests(costs_us.iter().map(round).collect()) }
    }

    #[test]
    fn what_disturbs_a_round_does_not_disturb_the_share() {
        // The machine was three times as slow in the second round.
        let (weft, nginx) =
            (measured(Peer::Weft, &[9.0, 30.0, 9.0]), measured(Peer::Nginx, &[10.0, 30.0, 12.0]));
        assert!((share(&weft, &nginx) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn a_table_replaces_the_one_before_and_nothing_else() {
        let scenario = &scenario::SCENARIOS[0];
        let page = "a\n<!-- bench proxy: http1 -->\nold\n<!-- end -->\nb\n";
        let new = replaced(page, scenario, "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench proxy: http1 -->\nnew\n<!-- end -->\nb\n");
        assert!(replaced("no place for it", scenario, "new\n").is_err());
    }
}
