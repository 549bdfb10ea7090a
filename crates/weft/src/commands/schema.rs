//! `weft schema`: the JSON Schema of the manifest, for editors; or the reference page, for people.

use std::io::Write;
use std::process::ExitCode;

use super::Common;
use super::manifest::print_json;

/// Arguments of `weft schema`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print the reference of every key as Markdown instead.
    #[arg(long)]
    markdown: bool,
}

/// Runs the command.
#[expect(clippy::needless_pass_by_value, reason = "all commands have one shape")]
pub(crate) fn run(_common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    if args.markdown {
        std::io::stdout().lock().write_all(weft_model::grammar::reference().as_bytes())?;
    } else {
        print_json(&weft_model::grammar::schema())?;
    }
    Ok(ExitCode::SUCCESS)
}
