//! `weft explain`: what would happen to a request, and which line says so.

use std::io::Write;
use std::process::ExitCode;

use weft_model::explain::{Question, explain};

use super::manifest::{Place, environment, show_findings};
use super::{Common, FINDINGS, Output, print_typed_json};

/// Arguments of `weft explain`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// `GET /orders/42`, `GET shop.test/orders/42`, or `orders -> inventory GET /stock/1` for a call between services; a
    /// gRPC endpoint `package.Service/Method` may stand for method and path.
    request: String,
    /// A field of the request, `name: value`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    headers: Vec<String>,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "all commands have one shape")]
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::find(common, None)?;
    let compiled = weft_model::compile(&place.files(), &place.main, common.env.as_deref(), &environment());
    let (Some(model), Some(plans)) = (&compiled.model, &compiled.plans) else {
        show_findings(&compiled.findings, &compiled.sources, common.output)?;
        return Ok(ExitCode::from(FINDINGS));
    };
    let question = Question::read(&args.request, &args.headers)?;
    let explanation = explain(model, plans, &question)?;
    match common.output {
        Output::Json => print_typed_json(&explanation)?,
        Output::Text => write!(std::io::stdout().lock(), "{explanation}")?,
    }
    Ok(ExitCode::SUCCESS)
}
