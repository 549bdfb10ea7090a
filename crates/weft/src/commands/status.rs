//! `weft status`: services, instances, plan versions and what is really enforced.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use weft_control::hub::InstanceStatus;
use weft_control::status::{Breaker, SystemStatus};
use weft_stdx::clock::Clock;
use weft_stdx::units::show_duration;

use super::admin::{Admin, Where};
use super::{Common, FINDINGS, Output};
use crate::commands::table::Table;

/// Arguments of `weft status`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Where,
}

/// Runs the command. Exit status 1 where something is not as it should be.
pub(crate) fn run(common: &Common, args: Args) -> anyhow::Result<ExitCode> {
    let Args { place } = args;
    let admin = Admin::find(&place.data_dir(common)?)?;
    let status: SystemStatus = admin.get("/v1/status")?;
    match common.output {
        Output::Json => super::manifest::print_json(&serde_json::to_value(&status)?)?,
        Output::Text => {
            let text = text_of(&status, Clock::system().unix_s());
            std::io::stdout().lock().write_all(text.as_bytes())?;
        }
    }
    Ok(if is_well(&status) { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

fn instances(status: &SystemStatus) -> impl Iterator<Item = &InstanceStatus> {
    let gateway = status.gateway.iter().flat_map(|gateway| &gateway.instances);
    gateway.chain(status.services.iter().flat_map(|service| &service.instances)).chain(&status.others)
}

/// Whether everything that was declared is there, ready, and runs what it should.
fn is_well(status: &SystemStatus) -> bool {
    let complete = status.services.iter().all(|service| {
        let ready = service.instances.iter().filter(|one| one.state == "ready").count();
        u32::try_from(ready).is_ok_and(|ready| ready >= service.replicas)
    });
    let edge = status.gateway.as_ref().is_none_or(|gateway| !gateway.instances.is_empty());
    let current = instances(status)
        .all(|one| one.connected && one.current && one.refused.is_none() && one.edge_refused.is_none());
    complete && edge && current && status.breakers.is_empty() && status.refused.is_none()
}

fn text_of(status: &SystemStatus, now_unix_s: u64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let control = &status.control;
    let _ = writeln!(text, "system   {} (trust domain {})", status.system, status.trust_domain);
    if let Some(gateway) = &status.gateway {
        let scheme = if gateway.tls { "https" } else { "http" };
        let addresses: Vec<_> =
            gateway.listen.iter().map(|address| format!("{scheme}://{address}")).collect();
        let _ = writeln!(text, "edge     {}", addresses.join(", "));
    }
    let _ = writeln!(text, "console  http://{}", control.admin);
    if let Some(metrics) = &control.metrics {
        let _ = writeln!(text, "metrics  http://{metrics}/metrics");
    }
    let mut table = Table::new(&["SERVICE", "INSTANCE", "STATE", "PLAN", "ISOLATION", "IDENTITY", "ADDRESS"]);
    if let Some(gateway) = &status.gateway {
        for one in &gateway.instances {
            row(&mut table, "gateway", one, now_unix_s);
        }
    }
    for service in &status.services {
        if let Some(url) = &service.url {
            table.row([service.service.as_str(), "", "elsewhere", "", "", "", url]);
        }
        if service.url.is_none() && service.instances.is_empty() && service.replicas == 0 {
            table.row([service.service.as_str(), "", "no copies", "", "", "", ""]);
        }
        for one in &service.instances {
            row(&mut table, &service.service, one, now_unix_s);
        }
        let there = u32::try_from(service.instances.len()).unwrap_or(u32::MAX);
        for _ in there..service.replicas {
            table.row([service.service.as_str(), "", "missing", "", "", "", ""]);
        }
    }
    for one in &status.others {
        row(&mut table, &format!("{} (not declared)", one.service), one, now_unix_s);
    }
    let _ = write!(text, "\n{table}");
    for one in instances(status) {
        if let Some(reason) = &one.refused {
            let _ = writeln!(text, "\n{} refused its newest plan: {reason}", one.instance);
        }
        if let Some(reason) = &one.edge_refused {
            let _ = writeln!(
                text,
                "\n{} refused the new certificate of the edge and serves the one before: {reason}",
                one.instance
            );
        }
    }
    for Breaker { caller, upstream, instance, state } in &status.breakers {
        let _ = writeln!(
            text,
            "\nThe breaker of {caller} toward {instance} ({upstream}) is {state}: it failed too often."
        );
    }
    if let Some(refused) = &status.refused {
        let _ = write!(
            text,
            "\nThe manifest was refused; what is in force is from before.\n{}",
            refused.rendered
        );
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

fn row(table: &mut Table, service: &str, one: &InstanceStatus, now_unix_s: u64) {
    let state = if one.connected { one.state.clone() } else { format!("{}, lost", one.state) };
    let plan = match (one.plan.is_empty(), one.current) {
        (true, _) => "none".to_owned(),
        (false, true) => one.plan.get(..8).unwrap_or(&one.plan).to_owned(),
        (false, false) => format!("{} (old)", one.plan.get(..8).unwrap_or(&one.plan)),
    };
    let left = one.identity_expires_unix_s.checked_sub(now_unix_s);
    let identity = left.map_or_else(|| "ended".to_owned(), |left| rough(Duration::from_secs(left)));
    let version = if one.version.is_empty() || one.version == "v1" {
        String::new()
    } else {
        format!(" {}", one.version)
    };
    let service = format!("{service}{version}");
    table.row([&service, &one.instance, &state, &plan, &one.isolation, &identity, &one.address]);
}

/// A duration as people say it: its largest unit only.
fn rough(duration: Duration) -> String {
    let s = duration.as_secs();
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| s >= 2 * unit).unwrap_or(1);
    show_duration(Duration::from_secs(s - s % unit)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_control::status::{ControlStatus, ServiceStatus};

    fn instance(name: &str, state: &str) -> InstanceStatus {
        InstanceStatus {
            service: "orders".to_owned(),
            instance: name.to_owned(),
            role: "sidecar".to_owned(),
            state: state.to_owned(),
            connected: true,
            address: "127.0.0.1:9001".to_owned(),
            version: "v1".to_owned(),
            plan: "0123456789abcdef".to_owned(),
            current: true,
            refused: None,
            isolation: "peer-credentials".to_owned(),
            build: "0".to_owned(),
            pid: 1,
            serial: "01".to_owned(),
            identity_expires_unix_s: 10_000 + 7_300,
            edge_refused: None,
            edge_expires_unix_s: None,
            silent_ms: 0,
        }
    }

    fn system(instances: Vec<InstanceStatus>, replicas: u32) -> SystemStatus {
        let orders = ServiceStatus {
            service: "orders".to_owned(),
            context: None,
            plan: None,
            url: None,
            replicas,
            instances,
        };
        SystemStatus {
            system: "shop".to_owned(),
            trust_domain: "shop.test".to_owned(),
            control: ControlStatus {
                pid: 1,
                build: "0".to_owned(),
                started_unix_ms: 0,
                admin: "127.0.0.1:7700".to_owned(),
                mesh: "127.0.0.1:1".to_owned(),
                metrics: None,
            },
            services: vec![orders],
            gateway: None,
            calls: Vec::new(),
            others: Vec::new(),
            breakers: Vec::new(),
            refused: None,
        }
    }

    #[test]
    fn an_open_breaker_is_named_and_asks_for_attention() {
        let breaker = Breaker {
            caller: "weft-gateway".to_owned(),
            upstream: "orders".to_owned(),
            instance: "orders-1".to_owned(),
            state: "open".to_owned(),
        };
        let well = system(vec![instance("orders-1", "ready")], 1);
        let status = SystemStatus { breakers: vec![breaker], ..well.clone() };
        assert!(is_well(&well) && !is_well(&status));
        let text = text_of(&status, 10_000);
        assert!(text.contains("The breaker of weft-gateway toward orders-1 (orders) is open"), "{text}");
    }

    #[test]
    fn a_system_is_well_when_all_that_was_declared_is_ready_and_current() {
        assert!(is_well(&system(vec![instance("orders-1", "ready")], 1)));
        assert!(!is_well(&system(vec![instance("orders-1", "ready")], 2)), "one is missing");
        assert!(!is_well(&system(vec![instance("orders-1", "unhealthy")], 1)));
        let old = InstanceStatus { current: false, ..instance("orders-1", "ready") };
        assert!(!is_well(&system(vec![old], 1)));
    }

    #[test]
    fn the_table_names_what_is_missing_and_what_is_in_force() {
        let text = text_of(&system(vec![instance("orders-1", "ready")], 2), 10_000);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("orders")).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(
            rows[0].contains("01234567") && rows[0].contains("peer-credentials") && rows[0].contains("2h"),
            "{text}"
        );
        assert!(rows[1].contains("missing"), "{text}");
        // `replicas: 0`
        let none = system(Vec::new(), 0);
        assert!(is_well(&none));
        let text = text_of(&none, 10_000);
        assert!(text.lines().any(|line| line.starts_with("orders") && line.contains("no copies")), "{text}");
    }
}
