//! A small service for the `run` of a manifest in a test: listens on `PORT`, calls others by `<CALLEE>_URL`.
//!
//! `testkit-service [NAME]` speaks HTTP/1.1 (what it answers: `weft_testkit::service`), `testkit-service tcp` sends back
//! what it gets, `testkit-service fast` answers HTTP/1.1, HTTP/2 and gRPC at the least cost (`weft_testkit::bench`),
//! `testkit-service crash` ends at once.

use std::collections::BTreeMap;
use std::process::ExitCode;

use weft_testkit::service::{self, Service};

fn main() -> std::io::Result<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "a binary reads its arguments and its environment")]
    let (words, variables) = (std::env::args().skip(1), std::env::vars().collect::<BTreeMap<_, _>>());
    let word = words.last().unwrap_or_else(|| "service".to_owned());
    let port = variables.get("PORT").and_then(|port| port.parse::<u16>().ok());
    let (Some(port), true) = (port, word != "crash") else { return Ok(ExitCode::FAILURE) };
    let served = match word.as_str() {
        "tcp" => service::echo_bytes(port),
        "fast" => fast(port),
        _ => Service::new(word, variables).serve(port),
    };
    served.map(|()| ExitCode::SUCCESS)
}

fn fast(port: u16) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(weft_testkit::bench::upstream(port))
}
