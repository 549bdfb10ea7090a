//! placeholder
use std::process::ExitCode;
pub(crate) struct Options {}
impl Options {
    pub(crate) fn parse(_: &[String]) -> anyhow::Result<Self> {
        anyhow::bail!("no")
    }
}
pub(crate) async fn run(_: &Options) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
