//! Logs: on standard error, one JSON object a line for programs, text on a terminal; how much is said per module.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::terminal::colours;

/// Starts logging for the life of the process. `filter` is a level, or levels by module with a level for the rest, e.g.
/// `info,weft_proxy=debug`. Call it once, before anything else that may log.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub(crate) fn start(filter: &str) -> anyhow::Result<()> {
    let targets = parse(filter)?;
    let terminal = std::io::stderr().is_terminal();
    let text = terminal.then(|| {
        let colour = colours(&std::io::stderr());
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(true)
    });
    let json = (!terminal).then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(std::io::stderr)
    });
    tracing_subscriber::registry()
        .with(text.with_filter(targets.clone()))
        .with(json.with_filter(targets))
        .try_init()
        .context("logging was started twice")
}

/// A filter as `--log-level` takes it. Each part is looked at here: `Targets` reads a bare word that is no level as the name
/// of a module, all of which is logged, and a slip in `info` must not do that.
fn parse(filter: &str) -> anyhow::Result<Targets> {
    for part in filter.split(',') {
        let (module, level) =
            part.rsplit_once('=').map_or((None, part), |(module, level)| (Some(module), level));
        if module.is_some_and(str::is_empty) || level.parse::<LevelFilter>().is_err() || level.is_empty() {
            anyhow::bail!(
                "`--log-level {filter}`: `{part}` is neither a level (error, warn, info, debug, trace, off) nor a module \
                 with one, like `weft_proxy=debug`"
            );
        }
    }
    Ok(filter.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_read_and_slips_are_not() {
        for good in ["info", "off", "WARN", "info,weft_proxy=debug", "weft_control::link=trace,error"] {
            parse(good).unwrap();
        }
        for bad in ["inof", "info,weft_proxy=loud", "=", "weft_proxy"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let targets = parse("warn,weft_proxy=debug").unwrap();
        assert!(targets.would_enable("weft_proxy::connection", &tracing::Level::DEBUG));
        assert!(!targets.would_enable("weft_control", &tracing::Level::INFO));
    }
}
