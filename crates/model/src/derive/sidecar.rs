//! The plan beside one instance of a service: who may come in, where it may go.

use std::collections::BTreeMap;

use crate::defaults;
use crate::derive::{allow, millis, upstream};
use crate::manifest::HealthProbe;
use crate::model::{Call, Model, Service, ServiceId};
use crate::plan::{
    ExternalPlan, HealthPlan, InboundPlan, LimitPlan, Origin, OutboundPlan, Probe, Protocol, SidecarPlan,
};

pub(crate) fn sidecar(model: &Model, id: ServiceId) -> SidecarPlan {
    let service = model.service(id);
    SidecarPlan {
        service: service.name().to_owned(),
        context: service.context.map(|context| model.context_name(context).to_owned()),
        inbound: InboundPlan {
            protocol: service.protocol,
            allow: allow::inbound(model, id),
            health: health(service),
            operations: upstream::operations(service),
            limit: LimitPlan { open: defaults::LIMIT_OPEN, queued: defaults::LIMIT_QUEUED },
        },
        outbound: outbound(model, service),
        external: external(model, service),
    }
}

/// How to see that a service is well.
pub(crate) fn health(service: &Service) -> HealthPlan {
    let said = service.said.health.as_ref();
    let probe = match said.and_then(|health| health.probe.as_ref()).map(|probe| &probe.value) {
        Some(HealthProbe::Path(path)) => Probe::Http { path: path.clone() },
        Some(HealthProbe::Grpc) => Probe::Grpc,
        Some(HealthProbe::Tcp) => Probe::Tcp,
        None if service.protocol == Protocol::Grpc => Probe::Grpc,
        None => Probe::Tcp,
    };
    let interval = said.and_then(|health| health.interval.as_ref());
    let interval_ms = interval.map_or(defaults::HEALTH_INTERVAL_MS, |interval| millis(interval.value));
    let timeout = said.and_then(|health| health.timeout.as_ref());
    // Where only the interval is said, a probe never runs into the next one.
    let default_ms = defaults::HEALTH_TIMEOUT_MS.min(interval_ms);
    let timeout_ms = timeout.map_or(default_ms, |timeout| millis(timeout.value));
    HealthPlan { probe, interval_ms, timeout_ms }
}

/// Callees by name, each with the calls that name it.
pub(crate) fn callees<'m>(model: &'m Model, service: &'m Service) -> BTreeMap<&'m str, Vec<&'m Call>> {
    let mut callees: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &service.calls {
        callees.entry(model.service(call.callee).name()).or_default().push(call);
    }
    callees
}

fn outbound(model: &Model, service: &Service) -> Vec<OutboundPlan> {
    let one = |(callee, calls): (&str, Vec<&Call>)| {
        // A call of everything covers the others.
        let narrow: Option<Vec<_>> =
            calls.iter().map(|call| allow::endpoints(model, service, call)).collect();
        let mut endpoints = narrow.unwrap_or_default().concat();
        endpoints.sort();
        endpoints.dedup();
        let origin = calls.first().map_or_else(Origin::default, |call| model.origin(call.span));
        OutboundPlan { callee: callee.to_owned(), variable: variable(callee), origin, endpoints }
    };
    callees(model, service).into_iter().map(one).collect()
}

/// Name of the variable that tells a service where its callee is: `ORDER_ITEMS_URL` of `order-items`.
pub(crate) fn variable(callee: &str) -> String {
    format!("{}_URL", callee.to_ascii_uppercase().replace('-', "_"))
}

fn external(model: &Model, service: &Service) -> Vec<ExternalPlan> {
    let mut hosts: Vec<ExternalPlan> = Vec::new();
    for said in service.said.external.iter().chain(&model.external) {
        let known = hosts.iter().any(|host| host.host == said.value.host && host.port == said.value.port);
        if !known {
            let origin = model.origin(said.span);
            hosts.push(ExternalPlan { host: said.value.host.clone(), port: said.value.port, origin });
        }
    }
    hosts.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    hosts
}
