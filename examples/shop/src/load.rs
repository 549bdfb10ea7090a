//! The load: customers who browse, fill carts, order and look at their orders, and check every answer they get.
//!
//! Each customer waits for an answer before it asks again, so the load is bounded by their number.

mod customer;
mod edge;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::http::Client;
use crate::load::customer::Customer;
use crate::load::tally::Tally;
use crate::say;

const CUSTOMERS_MAX: u32 = 64;
const SECONDS_MAX: u64 = 3600;
const REQUESTS_MAX: u64 = 10_000_000;

/// What the command line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) customers: u32,
    pub(crate) until: Until,
    /// Whether to try what only the manifest's gateway does: redirect, rewrite, canary and so on.
    pub(crate) edge: bool,
}

/// When the load ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Until {
    Seconds(u64),
    Requests(u64),
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { url: String::new(), customers: 8, until: Until::Seconds(10), edge: true };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            if name == "--skip-edge" {
                options.edge = false;
                continue;
            }
            let value = rest.next().with_context(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{name} {value}: no number"));
            match name.as_str() {
                "--url" => options.url.clone_from(value),
                "--customers" => options.customers = u32::try_from(number()?)?,
                "--seconds" => options.until = Until::Seconds(number()?),
                "--requests" => options.until = Until::Requests(number()?),
                _ => bail!("{name} is no option"),
            }
        }
        ensure!(!options.url.is_empty(), "--url is missing");
        ensure!((1..=CUSTOMERS_MAX).contains(&options.customers), "--customers is 1 to {CUSTOMERS_MAX}");
        let bounded = match options.until {
            Until::Seconds(seconds) => (1..=SECONDS_MAX).contains(&seconds),
            Until::Requests(requests) => (1..=REQUESTS_MAX).contains(&requests),
        };
        ensure!(bounded, "at least one, at most {SECONDS_MAX} seconds or {REQUESTS_MAX} requests");
        Ok(options)
    }
}

/// Plays the customers and prints what came of it; success only if every answer was the expected one.
pub(crate) async fn run(options: &Options) -> Result<ExitCode> {
    let tally = play(options).await?;
    for line in tally.unexpected_lines() {
        say(&line);
    }
    say(&tally.summary());
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays the customers.
pub(crate) async fn play(options: &Options) -> Result<Arc<Tally>> {
    let (end, requests_max) = match options.until {
        Until::Seconds(seconds) => (Instant::now() + Duration::from_secs(seconds), u64::MAX),
        Until::Requests(requests) => (Instant::now() + Duration::from_secs(SECONDS_MAX), requests),
    };
    let tally = Arc::new(Tally::new(end, requests_max));
    let (http, http2) = (Client::new(&options.url)?, Client::http2(&options.url)?);
    let mut customers = JoinSet::new();
    for number in 0..options.customers {
        let mut customer =
            Customer::new(number, http.clone(), http2.clone(), Arc::clone(&tally), options.edge);
        customers.spawn(async move {
            if number == 0 {
                customer.watch_stock().await;
                if customer.edge {
                    edge::tour(&mut customer).await;
                }
            }
            while customer.tally.goes_on() {
                customer.round().await;
            }
        });
    }
    while let Some(ended) = customers.join_next().await {
        ended.context("a customer's task broke")?;
    }
    tally.close();
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_bounded() {
        let options = parse("--url http://127.0.0.1:1 --customers 3 --requests 50 --skip-edge").unwrap();
        let url = "http://127.0.0.1:1".to_owned();
        assert_eq!(options, Options { url, customers: 3, until: Until::Requests(50), edge: false });
        for wrong in [
            "",
            "--url",
            "--url u --customers 0",
            "--url u --customers 65",
            "--url u --seconds 0",
            "--url u --seconds x",
            "--url u --requests 10000001",
            "--url u --what 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
