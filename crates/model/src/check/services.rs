//! Services by themselves: names, where they run, ports, variables, health.

use std::collections::BTreeMap;

use crate::check::{Report, note};
use crate::code::Code;
use crate::defaults;
use crate::derive::{gateway, sidecar};
use crate::finding::Span;
use crate::manifest::{HealthProbe, HostPort, Scheme, Spanned};
use crate::model::{Model, Service};
use crate::plan::Protocol;

/// Names that stand for parts of Weft where services are named.
const RESERVED: [&str; 3] = ["gateway", "control", "weft"];

/// Variables that every process gets from Weft.
const VARIABLES: [&str; 6] = ["PORT", "WEFT_URL", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];

pub(super) fn check(model: &Model, report: &mut Report) {
    for service in &model.services {
        reserved(service, report);
        place(service, report);
        protocol(service, report);
        variables(model, service, report);
        health(service, report);
        versions(service, report);
        external(model, &service.said.external, report);
    }
    external(model, &model.external, report);
    ports(model, report);
}

fn reserved(service: &Service, report: &mut Report) {
    let name = service.name();
    if RESERVED.contains(&name) || name.starts_with("weft-") {
        let message = format!("`{name}` is the name of a part of Weft");
        report.error(Code::ReservedName, service.said.name.span, message, "give the service another name");
    }
}

/// Runs here or elsewhere.
fn place(service: &Service, report: &mut Report) {
    let said = &service.said;
    let name = service.name();
    let Some(url) = &said.url else {
        // One that could not be read was found already.
        if !said.has_place {
            let message = format!("`{name}` neither runs here nor elsewhere");
            report.error(
                Code::NothingToRun,
                said.name.span,
                message,
                "give it `run` (a command) or `url` (where it runs)",
            );
        }
        return;
    };
    if let Some(run) = &said.run {
        let message = format!("`{name}` has `run` and `url`");
        let finding =
            report.error(Code::RunsElsewhere, run.span, message, "keep `run` if it runs here, `url` if not");
        note(finding, url.span, "it runs elsewhere by this");
        return;
    }
    let local: [(&str, Option<Span>); 8] = [
        ("build", said.build.as_ref().map(|said| said.span)),
        ("port", said.port.as_ref().map(|said| said.span)),
        ("replicas", said.replicas.as_ref().map(|said| said.span)),
        ("cwd", said.cwd.as_ref().map(|said| said.span)),
        ("env", said.env.first().map(|entry| entry.name.span)),
        ("versions", said.versions.first().map(|version| version.name.span)),
        ("calls", said.calls.first().map(|call| call.span)),
        ("external", said.external.first().map(|host| host.span)),
    ];
    for (key, span) in local {
        if let Some(span) = span {
            let message = format!("`{name}` runs elsewhere, so `{key}` would do nothing");
            let finding = report.error(
                Code::RunsElsewhere,
                span,
                message,
                format!("remove `{key}`, or replace `url` by `run`"),
            );
            note(finding, url.span, "it runs elsewhere by this");
        }
    }
    if let Some(health) = said.health.as_ref().and_then(|health| health.probe.as_ref()) {
        let message = format!("`{name}` runs elsewhere: Weft does not probe it");
        report.error(
            Code::RunsElsewhere,
            health.span,
            message,
            "remove `health`; instances that fail are set aside anyway",
        );
    }
}

/// What it speaks fits its API and its URL.
fn protocol(service: &Service, report: &mut Report) {
    let Some(said) = &service.said.protocol else { return };
    let name = service.name();
    if let (Some(api), Some(file)) = (&service.api, &service.said.api) {
        let (kind, fits) = match api.kind {
            crate::api::ApiKind::Proto => ("gRPC", matches!(said.value, Protocol::Grpc | Protocol::Auto)),
            crate::api::ApiKind::OpenApi => ("HTTP", matches!(said.value, Protocol::Http | Protocol::Auto)),
        };
        if !fits {
            let message = format!("the API of `{name}` is {kind}, its `protocol` is not");
            let finding = report.error(
                Code::ProtocolMismatch,
                said.span,
                message,
                "remove `protocol`: it follows from the API",
            );
            note(finding, file.span, "the API");
        }
    }
    if let Some(url) = &service.said.url
        && (url.scheme == Scheme::Tcp) != (said.value == Protocol::Tcp)
    {
        let message = format!("the `url` of `{name}` and its `protocol` contradict each other");
        let finding = report.error(
            Code::ProtocolMismatch,
            said.span,
            message,
            "remove `protocol`, or correct the scheme of `url`",
        );
        note(finding, url.span, "the URL");
    }
}

/// No two things set the same variable of a process.
fn variables(model: &Model, service: &Service, report: &mut Report) {
    let mut taken: BTreeMap<String, (String, Span)> = BTreeMap::new();
    for (callee, calls) in sidecar::callees(model, service) {
        let span = calls.first().map_or(service.said.name.span, |call| call.span);
        let variable = sidecar::variable(callee);
        if let Some((other, first)) = taken.insert(variable.clone(), (callee.to_owned(), span)) {
            let message = format!("`{other}` and `{callee}` would both be told by `{variable}`");
            let finding = report.error(Code::VariableClash, span, message, "rename one of the services");
            note(finding, first, "the first");
        }
    }
    let versions = service.said.versions.iter().flat_map(|version| &version.env);
    for entry in service.said.env.iter().chain(versions) {
        let name = entry.name.value.as_str();
        if VARIABLES.contains(&name) {
            let message = format!("`{name}` is set by Weft for every process");
            report.error(Code::VariableClash, entry.name.span, message, "remove it, or use another name");
        } else if let Some((callee, span)) = taken.get(name) {
            let message = format!("`{name}` is set by Weft: it tells where `{callee}` is");
            let finding =
                report.error(Code::VariableClash, entry.name.span, message, "remove it, or use another name");
            note(finding, *span, "because of this call");
        }
    }
}

fn health(service: &Service, report: &mut Report) {
    let Some(health) = &service.said.health else { return };
    if let Some(probe) = &health.probe {
        let refused = match (&probe.value, service.protocol) {
            (HealthProbe::Path(_), Protocol::Tcp | Protocol::Grpc) => Some("a path is asked by HTTP/1.1"),
            (HealthProbe::Grpc, Protocol::Tcp | Protocol::Http) => Some("`grpc` asks `grpc.health.v1`"),
            _ => None,
        };
        if let Some(why) = refused {
            let message = format!("{why}, and `{}` does not speak that", service.name());
            let remedy = if service.protocol == Protocol::Grpc {
                "use `grpc` or `tcp`"
            } else {
                "use `tcp`, or a path where it speaks HTTP"
            };
            report.error(Code::HealthMismatch, probe.span, message, remedy);
        }
    }
    if let (Some(timeout), interval) = (&health.timeout, &health.interval) {
        let plan = sidecar::health(service);
        if plan.timeout_ms > plan.interval_ms {
            let message = format!(
                "a probe may take {} ms, and the next one comes after {} ms",
                plan.timeout_ms, plan.interval_ms
            );
            let finding = report.error(
                Code::TimeoutOrder,
                timeout.span,
                message,
                "lower `timeout`, or raise `interval`",
            );
            if let Some(interval) = interval {
                note(finding, interval.span, "the interval");
            }
        }
    }
}

fn versions(service: &Service, report: &mut Report) {
    for version in &service.said.versions {
        if version.name.value == defaults::BASE_VERSION {
            let message =
                format!("`{}` is the service itself: what stands outside `versions`", defaults::BASE_VERSION);
            report.error(Code::ReservedName, version.name.span, message, "give the version another name");
        }
    }
}

fn external(model: &Model, hosts: &[Spanned<HostPort>], report: &mut Report) {
    let mut first: BTreeMap<&HostPort, Span> = BTreeMap::new();
    for host in hosts {
        if let Some(span) = first.insert(&host.value, host.span) {
            let finding = report.error(
                Code::ExternalNotPlain,
                host.span,
                format!("`{}` stands twice", host.value),
                "keep one of them",
            );
            note(finding, span, "the first");
        }
        if model.find(&host.host).is_some() {
            let message = format!("`{}` is a service of this system", host.host);
            report.error(Code::ExternalNotPlain, host.span, message, "name it under `calls` instead");
        }
    }
}

/// Two processes never want the same port of the same address.
fn ports(model: &Model, report: &mut Report) {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut want = |host: &str, port: u16, span: Span, who: String| {
        wanted.push(Wanted { ip: host.trim_matches(['[', ']']).parse().ok(), port, span, who });
    };
    if let Some(gateway) = &model.gateway {
        for listen in &gateway.said.listen {
            want(&listen.host, listen.port, listen.span, "the gateway".to_owned());
        }
        if gateway.said.listen.is_empty() {
            let default = gateway::listen(&gateway.said);
            if let Some((host, port)) = default.first().and_then(|text| text.rsplit_once(':'))
                && let Ok(port) = port.parse()
            {
                want(host, port, gateway.said.span, "the gateway".to_owned());
            }
        }
    }
    if let Some(metrics) = &model.observe.metrics
        && let Some(address) = &metrics.value
    {
        want(&address.host, address.port, metrics.span, "`observe.metrics`".to_owned());
    }
    for service in &model.services {
        let name = service.name();
        if let Some(port) = &service.said.port {
            want(LOOPBACK, port.value, port.span, format!("`{name}`"));
        }
        for version in &service.said.versions {
            if let Some(port) = &version.port {
                want(LOOPBACK, port.value, port.span, format!("`{name}` {}", version.name));
            }
        }
    }
    let mut seen: BTreeMap<u16, Vec<&Wanted>> = BTreeMap::new();
    for one in &wanted {
        let Wanted { port, span, who, .. } = one;
        if *port == defaults::ADMIN_PORT {
            let message = format!("port {port} is that of Weft's console and admin API");
            report.error(Code::PortClash, *span, message, "use another port");
        }
        let same_port = seen.entry(*port).or_default();
        if let Some(first) = same_port.iter().find(|first| first.clashes(one)) {
            let message = format!("port {port} is wanted by {} and by {who}", first.who);
            let finding = report.error(Code::PortClash, *span, message, "give one of them another port");
            note(finding, first.span, "the first");
        } else {
            same_port.push(one);
        }
    }
}

/// Where services listen.
const LOOPBACK: &str = "127.0.0.1";

/// A port that is wanted, and by whom.
struct Wanted {
    /// None of a name, which may be any address.
    ip: Option<std::net::IpAddr>,
    port: u16,
    span: Span,
    who: String,
}

impl Wanted {
    /// Whether both cannot have the same port: two addresses have it each; a name and the unspecified address may be
    /// any of them.
    fn clashes(&self, other: &Wanted) -> bool {
        match (self.ip, other.ip) {
            (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
            _ => true,
        }
    }
}
