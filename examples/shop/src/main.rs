//! The shop: seven small services in one program, one role each, and the customers that try them.
//!
//! A role knows nothing of Weft. It listens on `127.0.0.1:$PORT`, finds the services it calls at `$<NAME>_URL`, and ends
//! on SIGTERM once what is open is answered.

#![forbid(unsafe_code)]

mod catalog;
mod grpc;
mod http;
mod inventory;
mod load;
mod order_book;
mod orders;
mod payments;
mod pricing;
mod shipping;
#[cfg(test)]
mod system_test;
mod users;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::http::{Service, Stop, serve};

const USAGE: &str = "usage: shop users|catalog|pricing|inventory|orders|payments|shipping
       shop load --url URL [--customers N] [--seconds N | --requests N] [--skip-edge]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<std::process::ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "this is the binary: it reads its own arguments")]
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = arguments.first().map_or("", String::as_str);
    if role == "load" {
        return load::run(&load::Options::parse(&arguments[1..]).context(USAGE)?).await;
    }
    let (sender, stop) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        sender.send_replace(true);
    });
    match role {
        "users" => listen(role, stop, users::Users).await?,
        "catalog" => listen(role, stop, catalog::Catalog { edition: edition()? }).await?,
        "pricing" => listen(role, stop, pricing::Pricing).await?,
        "inventory" => listen(role, stop, inventory::Inventory::new()).await?,
        "orders" => {
            let book = order_book::OrderBook::new(variable("SHOP_ORDERS_FILE")?.map(PathBuf::from));
            let callees = [callee("USERS")?, callee("CATALOG")?, callee("PRICING")?, callee("INVENTORY")?];
            listen(role, stop, orders::Orders::new(book, &callees)?).await?;
        }
        "payments" => listen(role, stop, payments::Payments::new(&callee("ORDERS")?)?).await?,
        "shipping" => listen(role, stop, shipping::Shipping).await?,
        _ => bail!("`{role}` is no role of the shop\n{USAGE}"),
    }
    Ok(std::process::ExitCode::SUCCESS)
}

/// Serves `service` at `$PORT`.
async fn listen(role: &str, stop: Stop, service: impl Service) -> Result<()> {
    let port: u16 = variable("PORT")?.context("PORT is not set")?.parse().context("PORT is no port")?;
    let listener =
        TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("listening on port {port}"))?;
    say(&format!("{role} listens on {}", listener.local_addr()?));
    serve(listener, stop, Arc::new(service)).await?;
    say(&format!("{role} has answered what was open and ends"));
    Ok(())
}

/// The number that this copy of the catalog says of itself: two versions of a service can be told apart by it.
fn edition() -> Result<u32> {
    variable("CATALOG_EDITION")?.map_or(Ok(1), |text| text.parse().context("CATALOG_EDITION is no number"))
}

/// Where a service that this one calls is found.
fn callee(name: &str) -> Result<String> {
    variable(&format!("{name}_URL"))?.with_context(|| format!("{name}_URL is not set"))
}

fn variable(name: &str) -> Result<Option<String>> {
    #[expect(clippy::disallowed_methods, reason = "this is the binary: it reads its own environment")]
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {name}")),
    }
}

/// A line for people; the only place that prints.
fn say(line: &str) {
    use std::io::Write;
    // Nobody reads it if the pipe is gone, and that is no reason to end.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}
