//! Traces: joins the engine to its exporter.

use weft_proxy::{Config, Engine, Export, Exporter, Resource};

/// Starts an engine whose spans are exported as `service`. The exporter runs on the caller's `LocalSet`; the handle ends
/// when it has sent what waits (see [`Exporter::finish`]).
pub(crate) fn engine_with_exporter(
    service: &str,
    config: Config,
) -> anyhow::Result<(Engine, Exporter, tokio::task::JoinHandle<()>)> {
    let resource = Resource {
        service: service.to_owned(),
        instance: config.metadata.instance.clone(),
        build: config.metadata.build.clone(),
    };
    let (exporter, spans, export) = Exporter::new(resource, config.clock.clone());
    let engine = Engine::start(Config { spans: Some(spans), ..config })?;
    Ok((engine, exporter, tokio::task::spawn_local(Export::run(export))))
}
