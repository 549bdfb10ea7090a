//! `weft identity`: end identities, and let services come back.

use std::io::Write as _;
use std::process::ExitCode;

use weft_control::Revoke;

use super::admin::{Admin, Where};
use super::{Common, Output};

/// Arguments of `weft identity`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Refuse an identity everywhere, within seconds. A revoked service stays out until it is reinstated; an instance may
    /// come back when it is started anew.
    Revoke {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        place: Where,
    },
    /// Let a revoked service enrol again.
    Reinstate {
        /// The service.
        #[arg(long)]
        service: String,
        #[command(flatten)]
        place: Where,
    },
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// Every instance of this service.
    #[arg(long)]
    service: Option<String>,
    /// This instance, e.g. `orders-1`.
    #[arg(long)]
    instance: Option<String>,
    /// Whoever holds the certificate with this serial number (hex).
    #[arg(long)]
    serial: Option<String>,
}

/// Runs the command.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let (place, path, body, done) = match args.action {
        Action::Revoke { what, place } => {
            let what = match (what.service, what.instance, what.serial) {
                (Some(service), _, _) => Revoke::Service(service),
                (_, Some(instance), _) => Revoke::Instance(instance),
                (_, _, serial) => Revoke::Serial(serial.unwrap_or_default()),
            };
            (place, "/v1/revoke", serde_json::to_value(what)?, "revoked")
        }
        Action::Reinstate { service, place } => (
            place,
            "/v1/reinstate",
            serde_json::json!({ "service": service }),
            "reinstated; its instances come back within seconds",
        ),
    };
    let admin = Admin::find(&place.data_dir(common)?)?;
    let answer: serde_json::Value = admin.post(path, &body)?;
    match common.output {
        Output::Json => super::manifest::print_json(&answer)?,
        Output::Text => writeln!(std::io::stdout().lock(), "{done}")?,
    }
    Ok(ExitCode::SUCCESS)
}
