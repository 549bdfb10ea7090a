//! `weft top`: the live rate, success and latency of every edge.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use weft_control::edges::{Edge, Figures};
use weft_control::status::{Call, SystemStatus};
use weft_ops::screen::{page, terminal_size};
use weft_stdx::clock::Clock;

use super::admin::{Admin, Where};
use super::table::Table;
use super::{Common, Output};
use crate::terminal::draws;

/// Arguments of `weft top`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Show it once and end; so it does where the output is no terminal that can be drawn on.
    #[arg(long)]
    once: bool,
    /// Show each operation of each edge.
    #[arg(long)]
    routes: bool,
    #[command(flatten)]
    place: Where,
}

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let Args { once, routes, place } = args;
    let data_dir = place.data_dir(common)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let once = once || (common.output == Output::Text && !draws(&std::io::stdout()));
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                stopped = tokio::signal::ctrl_c() => return stopped.map_err(anyhow::Error::from),
            }
            // Found anew each time: a control that restarts may have another port.
            let seen = Admin::find(&data_dir).and_then(|admin| {
                let edges = admin.get::<Vec<Edge>>("/v1/edges")?;
                Ok(with_declared(edges, &admin.get::<SystemStatus>("/v1/status")?.calls))
            });
            match seen {
                Ok(edges) => show(&edges, common.output, routes, once)?,
                Err(error) if once => return Err(error),
                Err(error) => show_error(&error, common.output)?,
            }
            if once {
                return Ok(());
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Counters come once a second, each process's at its own moment. So that no edge looks missing meanwhile, those that are
/// declared are there from the start, without figures.
fn with_declared(mut edges: Vec<Edge>, declared: &[Call]) -> Vec<Edge> {
    for call in declared {
        if !edges.iter().any(|edge| edge.source == call.source && edge.destination == call.destination) {
            edges.push(Edge {
                source: call.source.clone(),
                destination: call.destination.clone(),
                figures: Figures::default(),
                routes: Vec::new(),
            });
        }
    }
    edges.sort_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
    edges
}

fn show(edges: &[Edge], output: Output, routes: bool, once: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            let at = Clock::system().unix_ms();
            serde_json::to_writer(&mut out, &json!({ "at_unix_ms": at, "edges": edges }))?;
            out.write_all(b"\n")?;
        }
        Output::Text => {
            let table = table_of(edges, routes);
            let text = if once { table } else { page(&table, terminal_size()) };
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn show_error(error: &anyhow::Error, output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", json!({ "error": format!("{error:#}") }))?,
        Output::Text => {
            let text = format!("{error:#}\n\nlooking again each second; Ctrl-C ends this");
            out.write_all(page(&text, terminal_size()).as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn table_of(edges: &[Edge], routes: bool) -> String {
    if edges.is_empty() {
        return "the manifest declares no calls, and none were seen\n".to_owned();
    }
    let mut table = Table::new(&["FROM", "TO", "OPERATION", "CALLS/S", "SUCCESS", "P50", "P99"]);
    for edge in edges {
        row(&mut table, &edge.source, &edge.destination, "", &edge.figures);
        for route in edge.routes.iter().filter(|_| routes) {
            row(&mut table, "", "", &format!("{} {}", route.method, route.route), &route.figures);
        }
    }
    table.to_string()
}

fn row(table: &mut Table, source: &str, destination: &str, operation: &str, figures: &Figures) {
    let success = if figures.calls == 0 { "-".to_owned() } else { percent(figures.success) };
    let rate = format!("{:.1}", figures.rate_per_s);
    table.row([source, destination, operation, &rate, &success, &ms(figures.p50_ms), &ms(figures.p99_ms)]);
}

/// Never says 100 % when something failed.
fn percent(share: f64) -> String {
    if share >= 1.0 { "100 %".to_owned() } else { format!("{:.2} %", (share * 10_000.0).floor() / 100.0) }
}

fn ms(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_honestly() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(
            (ms(None), ms(Some(0.5)), ms(Some(1_500.0))),
            ("-".into(), "0.50 ms".into(), "1.50 s".into())
        );
    }

    #[test]
    fn declared_edges_are_there_before_their_first_call_is_reported() {
        let call = |source: &str, destination: &str| Call {
            source: source.to_owned(),
            destination: destination.to_owned(),
            endpoints: Vec::new(),
            origin: weft_model::plan::Origin::default(),
        };
        let seen = with_declared(Vec::new(), &[call("orders", "catalog")]);
        let all = with_declared(seen, &[call("orders", "catalog"), call("gateway", "orders")]);
        let text = table_of(&all, true);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            lines[1..],
            [["gateway", "orders", "0.0", "-", "-", "-"], ["orders", "catalog", "0.0", "-", "-", "-"]]
        );
    }

    #[test]
    fn no_calls_are_said_to_be_none() {
        assert_eq!(table_of(&[], false), "the manifest declares no calls, and none were seen\n");
        let figures = Figures {
            rate_per_s: 2.0,
            calls: 20,
            failures: 1,
            success: 0.95,
            p50_ms: Some(3.0),
            p99_ms: None,
        };
        let edge =
            Edge { source: "orders".into(), destination: "catalog".into(), figures, routes: Vec::new() };
        let text = table_of(&[edge], true);
        assert!(text.lines().nth(1).unwrap().starts_with("orders  catalog"), "{text}");
        assert!(text.contains("95.00 %"), "{text}");
    }
}
