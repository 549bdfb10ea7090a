//! Model → Plans: what each process must do, every default filled in.
//!
//! Derivation cannot fail: what does not make sense was refused by `check`. The same model gives the same bytes: everything
//! is sorted, nothing is taken from a clock, a hash map or the machine.

pub(crate) mod allow;
pub(crate) mod gateway;
mod launch;
pub(crate) mod sidecar;
mod upstream;

use std::time::Duration;

use weft_stdx::clock::whole_ms;
use weft_stdx::units::Percent;

use crate::defaults;
use crate::manifest::{AccessLog, Traces};
use crate::model::Model;
use crate::plan::{self, ObservePlan, PLAN_FORMAT, Plan, Plans, RolePlan, TracesOver, TracesPlan};

/// Derives the plans of all processes.
pub fn derive(model: &Model) -> Plans {
    let sidecars = model
        .ids()
        .filter(|(_, service)| service.said.url.is_none())
        .map(|(id, service)| {
            let role = RolePlan::Sidecar(sidecar::sidecar(model, id));
            (service.name().to_owned(), plan(model, role, upstream::of_sidecar(model, id)))
        })
        .collect();
    let gateway = model.gateway.as_ref().map(|gateway| {
        let role = RolePlan::Gateway(gateway::gateway(model, gateway));
        plan(model, role, upstream::of_gateway(model, gateway))
    });
    Plans { system: model.system.clone(), gateway, sidecars, launch: launch::launch(model) }
}

fn plan(model: &Model, role: RolePlan, upstreams: Vec<plan::UpstreamPlan>) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        system: model.system.clone(),
        trust_domain: trust_domain(model),
        role,
        upstreams,
        observe: observe(model),
    }
}

/// The trust domain: said, or made of the system's name.
pub(crate) fn trust_domain(model: &Model) -> String {
    let made = || format!("{}{}", model.system, defaults::TRUST_DOMAIN_SUFFIX);
    model.trust_domain.as_ref().map_or_else(made, |said| said.value.clone())
}

fn observe(model: &Model) -> ObservePlan {
    let said = &model.observe;
    let metrics = match &said.metrics {
        None => Some(defaults::METRICS_LISTEN.to_owned()),
        Some(said) => said.value.as_ref().map(ToString::to_string),
    };
    let traces = match said.traces.as_ref().map(|traces| &traces.value) {
        None | Some(Traces::None) => None,
        Some(Traces::Otlp { url, over, sample }) => Some(TracesPlan {
            url: url.value.clone(),
            over: over.as_ref().map_or(TracesOver::Grpc, |over| over.value),
            sample_bp: sample.as_ref().map_or(defaults::TRACE_SAMPLE_BP, |sample| basis_points(sample.value)),
        }),
    };
    let access_log = match said.access_log.as_ref().map(|log| log.value) {
        None | Some(AccessLog::Off) => plan::AccessLog::Off,
        Some(AccessLog::Sampled(share)) => plan::AccessLog::Sampled(basis_points(share)),
        Some(AccessLog::Full) => plan::AccessLog::Full,
    };
    let istio_names = said.istio_names.as_ref().is_none_or(|said| said.value);
    let istio_durations = said.istio_durations.as_ref().is_some_and(|said| said.value);
    ObservePlan { metrics, istio_names, istio_durations, traces, access_log }
}

/// Milliseconds, at least one where the duration is not zero: a limit that was said never turns into none.
pub(crate) fn millis(duration: Duration) -> u64 {
    if duration.is_zero() { 0 } else { whole_ms(duration).max(1) }
}

/// Parts of ten thousand; `check` refused what is finer.
pub(crate) fn basis_points(share: Percent) -> u32 {
    share.as_ppm() / 100
}
