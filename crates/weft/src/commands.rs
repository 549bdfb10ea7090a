//! The commands, a file each, and what they share.

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod down;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod identity;
pub(crate) mod keep;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod restart;
pub(crate) mod schema;
pub(crate) mod sidecar;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod up;

use std::path::PathBuf;
use std::process::ExitCode;

/// Options of every command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// The manifest, or the folder that holds `weft.yaml`.
    #[arg(long, short, global = true, default_value = "weft.yaml", value_name = "PATH")]
    pub(crate) file: PathBuf,
    /// Overlay to merge: `weft.NAME.yaml`.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// For people or for programs.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// What to log, e.g. `info` or `info,weft_proxy=debug`.
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    pub(crate) log_level: String,
}

/// For people or for programs.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Exit status of a command that ran and found something wrong.
pub(crate) const FINDINGS: u8 = 1;

/// Prints a value as JSON on standard output, its fields in the order of its type, and a line end.
pub(crate) fn print_typed_json(value: &impl serde::Serialize) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")
}

/// Takes it that whoever reads our output may have seen enough (`weft check | head`): what was found is still the exit
/// status.
pub(crate) fn as_far_as_read(printed: std::io::Result<()>) -> std::io::Result<()> {
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Shows an error with its causes.
#[expect(clippy::print_stderr, reason = "the one place that shows a command's error")]
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    // Whoever reads our output has seen enough (`weft plan | head`).
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    ExitCode::from(FINDINGS)
}
