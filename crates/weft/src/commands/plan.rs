//! `weft plan`: what is derived from the manifest for each process.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use weft_model::plan::{ActionPlan, AllowPlan, Plan, Plans, RolePlan};

use super::manifest::{Place, environment, show_findings};
use super::{Common, FINDINGS, Output, print_typed_json};

/// Arguments of `weft plan`.
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
    let Some(plans) = &compiled.plans else {
        show_findings(&compiled.findings, &compiled.sources, common.output)?;
        return Ok(ExitCode::from(FINDINGS));
    };
    match common.output {
        Output::Json => print_typed_json(plans)?,
        Output::Text => std::io::stdout().lock().write_all(summary(plans).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What each process does, a few lines each.
fn summary(plans: &Plans) -> String {
    let mut text = format!("{}\n", plans.system);
    if let Some(plan) = &plans.gateway {
        text.push_str(&gateway(plan));
    }
    for plan in plans.sidecars.values() {
        text.push_str(&sidecar(plan));
    }
    let start: Vec<String> = plans
        .launch
        .services
        .iter()
        .map(|service| format!("{} {} ×{}", service.service, service.version, service.replicas))
        .collect();
    if !start.is_empty() {
        text.push_str(&format!("\nstart order\n  {}\n", start.join(", ")));
    }
    text
}

fn gateway(plan: &Plan) -> String {
    let RolePlan::Gateway(gateway) = &plan.role else { return String::new() };
    let scheme = if gateway.tls.is_some() { "https" } else { "http" };
    let listen: Vec<String> = gateway.listen.iter().map(|address| format!("{scheme}://{address}")).collect();
    let mut text = format!("\ngateway  {}\n", listen.join(", "));
    let width = gateway.routes.iter().map(|route| route.key.chars().count()).max().unwrap_or(0);
    for route in &gateway.routes {
        text.push_str(&format!("  {:width$}  {}\n", route.key, action(&route.action)));
    }
    text
}

fn action(action: &ActionPlan) -> String {
    match action {
        ActionPlan::Forward { targets, rewrite, replace } => {
            let total: u32 = targets.iter().map(|target| target.weight).sum();
            let share = |weight: u32| f64::from(weight) * 100.0 / f64::from(total.max(1));
            let names: Vec<String> = match targets.as_slice() {
                [one] => vec![one.upstream.clone()],
                several => {
                    several.iter().map(|one| format!("{} {}%", one.upstream, share(one.weight))).collect()
                }
            };
            let mut text = format!("→ {}", names.join(", "));
            if let Some(replace) = replace {
                text.push_str(&format!(" {replace}"));
            }
            if let Some(rewrite) = rewrite {
                text.push_str(&format!(" as {rewrite}"));
            }
            text
        }
        ActionPlan::Redirect { to, status } => format!("{status} → {to}"),
        ActionPlan::Respond(answer) => format!("{}, fixed", answer.status),
    }
}

fn sidecar(plan: &Plan) -> String {
    let RolePlan::Sidecar(sidecar) = &plan.role else { return String::new() };
    let context = sidecar.context.as_ref().map_or_else(String::new, |context| format!("  in {context}"));
    let mut text = format!("\n{}{context}\n", sidecar.service);
    for allow in &sidecar.inbound.allow {
        text.push_str(&format!("  from {}  ({}:{})\n", caller(allow), allow.origin.file, allow.origin.line));
    }
    for out in &sidecar.outbound {
        text.push_str(&format!("  to {}{}\n", out.callee, endpoints(&out.endpoints)));
    }
    for host in &sidecar.external {
        text.push_str(&format!("  to {}:{}  outside\n", host.host, host.port));
    }
    text
}

fn caller(allow: &AllowPlan) -> String {
    format!("{}{}", allow.caller, endpoints(&allow.endpoints))
}

fn endpoints(endpoints: &[weft_model::pattern::EndpointPattern]) -> String {
    let shown: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    if shown.is_empty() { String::new() } else { format!(" {}", shown.join(", ")) }
}
