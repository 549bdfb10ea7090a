//! What a measured proxy stands between (`weft_testkit::bench`):
//!
//! - `testkit-bench upstream PORT` answers
//! - `testkit-bench forwarder PORT UPSTREAM` copies bytes
//! - `testkit-bench crowd ADDRESS PATH CONNECTIONS [CA]` opens connections, prints `ready`, and holds them until its standard
//!   input ends

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use weft_testkit::bench;

const USAGE: &str =
    "testkit-bench upstream PORT | forwarder PORT UPSTREAM | crowd ADDRESS PATH CONNECTIONS [CA]";

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a tool for the benchmark")]
fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a binary reads its arguments")]
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.and_then(|runtime| runtime.block_on(run(&words)));
    match ran {
        Ok(held) => {
            println!("ready");
            // Whoever started us says when it is over.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(held);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("testkit-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> std::io::Result<Vec<bench::Idle>> {
    let usage = || std::io::Error::other(USAGE);
    let port = |word: &str| word.parse::<u16>().map_err(|_| usage());
    let address = |word: &str| word.parse::<SocketAddr>().map_err(|_| usage());
    match words {
        ["upstream", at] => bench::upstream(port(at)?).await.map(|()| Vec::new()),
        ["forwarder", at, to] => bench::forwarder(port(at)?, address(to)?).await.map(|()| Vec::new()),
        ["crowd", to, path, count, ca @ ..] => {
            let count = count.parse().map_err(|_| usage())?;
            bench::crowd(address(to)?, path, count, ca.first().map(Path::new)).await
        }
        _ => Err(usage()),
    }
}
