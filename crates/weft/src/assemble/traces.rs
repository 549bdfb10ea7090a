//! Traces: joins the engine to its exporter.

use weft_model::plan::TracesPlan;
use weft_proxy::{Config, Engine};

/// Handle of the exporter.
pub(crate) struct Exporter;

impl Exporter {
    /// Where spans go from now on.
    pub(crate) fn set(&self, _plan: Option<TracesPlan>) {}
}

/// Starts an engine whose spans are exported.
pub(crate) fn engine_with_exporter(config: Config) -> anyhow::Result<(Engine, Exporter)> {
    Ok((Engine::start(config)?, Exporter))
}
