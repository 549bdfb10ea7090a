//! `weft check`: every mistake of the manifest, at once.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use weft_model::finding::Finding;
use weft_model::model::Model;
use weft_model::sources::Sources;

use super::manifest::{Place, count, environment, findings_json, findings_text, print_json};
use super::{Common, FINDINGS, Output, as_far_as_read};

use crate::terminal::colours;

/// Arguments of `weft check`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The manifest, or the folder that holds `weft.yaml`; in place of `--file`.
    path: Option<PathBuf>,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "all commands have one shape")]
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::find(common, args.path.as_deref())?;
    let compiled = weft_model::compile(&place.files(), &place.main, common.env.as_deref(), &environment());
    let refused = compiled.refused();
    let summary = compiled.model.as_ref().filter(|_| !refused).map(Summary::new);
    as_far_as_read(match common.output {
        Output::Text => show_text(&compiled.findings, &compiled.sources, summary.as_ref()),
        Output::Json => print_json(&json!({
            "ok": !refused,
            "summary": summary.as_ref().map(Summary::json),
            "findings": findings_json(&compiled.findings, &compiled.sources),
        })),
    })?;
    Ok(if refused { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS })
}

fn show_text(findings: &[Finding], sources: &Sources, summary: Option<&Summary>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(findings_text(findings, sources, colours(&out)).as_bytes())?;
    match (summary, count(findings)) {
        (Some(summary), None) => writeln!(out, "{}: all good", summary.text()),
        (Some(summary), Some(count)) => writeln!(out, "{}, {count}", summary.text()),
        (None, count) => writeln!(out, "refused: {}", count.unwrap_or_default()),
    }
}

/// What a good manifest holds.
struct Summary {
    system: String,
    services: usize,
    routes: usize,
    calls: usize,
}

impl Summary {
    fn new(model: &Model) -> Self {
        Summary {
            system: model.system.clone(),
            services: model.services.len(),
            routes: model.gateway.as_ref().map_or(0, |gateway| gateway.routes.len()),
            calls: model.services.iter().map(|service| service.calls.len()).sum(),
        }
    }

    fn text(&self) -> String {
        let many = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
        format!(
            "{}: {}, {}, {}",
            self.system,
            many(self.services, "service"),
            many(self.routes, "route"),
            many(self.calls, "call")
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({ "system": self.system, "services": self.services, "routes": self.routes, "calls": self.calls })
    }
}
