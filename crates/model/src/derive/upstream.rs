//! Services that a process may reach: where they are, how an instance is chosen, what is done when one fails.

use std::collections::BTreeSet;

use crate::defaults;
use crate::derive::gateway::{field_match, fixed};
use crate::derive::{basis_points, millis};
use crate::manifest::{Resilience, Retry, Scheme};
use crate::model::{Gateway, Model, Service, ServiceId};
use crate::plan::{Balance, LimitPlan, OperationPlan, Reach, ResiliencePlan, UpstreamPlan, VersionPlan};

/// Upstreams of the gateway: targets and mirrors of its routes.
pub(crate) fn of_gateway(model: &Model, gateway: &Gateway) -> Vec<UpstreamPlan> {
    let named = |route: &crate::model::Route| {
        route.targets.iter().map(|target| target.service).chain(route.mirror).collect::<Vec<_>>()
    };
    let ids: BTreeSet<ServiceId> = gateway.routes.iter().flat_map(named).collect();
    ids.into_iter().map(|id| upstream(model, model.service(id))).collect()
}

/// Upstreams of a service: its callees.
pub(crate) fn of_sidecar(model: &Model, id: ServiceId) -> Vec<UpstreamPlan> {
    let ids: BTreeSet<ServiceId> = model.service(id).calls.iter().map(|call| call.callee).collect();
    ids.into_iter().map(|id| upstream(model, model.service(id))).collect()
}

/// The plan toward one service.
fn upstream(model: &Model, service: &Service) -> UpstreamPlan {
    let said = service.resilience.as_ref();
    UpstreamPlan {
        name: service.name().to_owned(),
        origin: model.origin(service.said.name.span),
        reach: reach(service),
        protocol: service.protocol,
        balance: said
            .and_then(|said| said.balance.as_ref())
            .map_or(Balance::LeastLoaded, |balance| balance.value.clone()),
        versions: versions(service),
        resilience: resilience(said),
        operations: operations(service),
    }
}

fn reach(service: &Service) -> Reach {
    match service.said.url.as_ref().map(|url| &url.value) {
        None => Reach::Mesh,
        Some(url) => Reach::Url {
            tls: url.scheme == Scheme::Https,
            host: url.host.clone(),
            port: url.port,
            prefix: url.prefix.clone(),
        },
    }
}

/// Operations of a service's API.
pub(crate) fn operations(service: &Service) -> Vec<OperationPlan> {
    let all = service.api.iter().flat_map(|api| &api.operations);
    all.map(|operation| OperationPlan {
        endpoint: operation.endpoint.clone(),
        idempotent: operation.idempotent,
    })
    .collect()
}

/// Versions beside the base, sorted by name; one without a share gets nothing but what its header says.
fn versions(service: &Service) -> Vec<VersionPlan> {
    let said = service.rollout.iter().flat_map(|rollout| &rollout.versions);
    let mut plans: Vec<VersionPlan> = said
        .filter(|version| version.version.value != defaults::BASE_VERSION)
        .map(|version| VersionPlan {
            version: version.version.value.clone(),
            share_bp: version.weight.as_ref().map_or(0, |weight| basis_points(weight.value)),
            header: version.header.as_ref().map(field_match),
        })
        .collect();
    for version in &service.said.versions {
        if !plans.iter().any(|plan| plan.version == version.name.value) {
            plans.push(VersionPlan { version: version.name.value.clone(), share_bp: 0, header: None });
        }
    }
    plans.sort_by(|a, b| a.version.cmp(&b.version));
    plans
}

/// Recovery with every default filled in.
pub(crate) fn resilience(said: Option<&Resilience>) -> ResiliencePlan {
    let timeout = said.and_then(|said| said.timeout.as_ref());
    let per_try = said.and_then(|said| said.per_try_timeout.as_ref());
    let connect = said.and_then(|said| said.connect_timeout.as_ref());
    let breaker = said.and_then(|said| said.breaker.as_ref());
    let limit = said.and_then(|said| said.limit.as_ref());
    let mut plan = ResiliencePlan {
        timeout_ms: timeout.map_or(defaults::TIMEOUT_MS, |timeout| millis(timeout.value)),
        timeout_whole: timeout.is_some(),
        per_try_timeout_ms: per_try.map(|timeout| millis(timeout.value)),
        connect_timeout_ms: connect.map_or(defaults::CONNECT_TIMEOUT_MS, |timeout| millis(timeout.value)),
        retries: defaults::RETRIES,
        backoff_ms: defaults::BACKOFF_MS,
        retry_budget_percent: defaults::RETRY_BUDGET_PERCENT,
        retry_budget_floor: defaults::RETRY_BUDGET_FLOOR,
        breaker_failures: breaker
            .and_then(|breaker| breaker.failures.as_ref())
            .map_or(defaults::BREAKER_FAILURES, |failures| failures.value),
        breaker_success_percent: breaker
            .and_then(|breaker| breaker.success.as_ref())
            .map_or(defaults::BREAKER_SUCCESS_PERCENT, |success| success.as_ppm() / 10_000),
        limit: LimitPlan {
            open: limit.and_then(|limit| limit.open.as_ref()).map_or(defaults::LIMIT_OPEN, |open| open.value),
            queued: limit
                .and_then(|limit| limit.queued.as_ref())
                .map_or(defaults::LIMIT_QUEUED, |queued| queued.value),
        },
        fallback: said.and_then(|said| said.fallback.as_ref()).map(fixed),
    };
    if let Some(retry) = said.and_then(|said| said.retry.as_ref()) {
        apply_retry(&mut plan, &retry.value);
    }
    plan
}

fn apply_retry(plan: &mut ResiliencePlan, said: &Retry) {
    let Retry::Some { attempts, backoff, budget, floor } = said else {
        plan.retries = 0;
        return;
    };
    if let Some(attempts) = attempts {
        plan.retries = attempts.value;
    }
    if let Some(backoff) = backoff {
        plan.backoff_ms = (millis(backoff.value.low()), millis(backoff.value.high()));
    }
    if let Some(budget) = budget {
        plan.retry_budget_percent = budget.as_ppm() / 10_000;
    }
    if let Some(floor) = floor {
        // Rounded up: what is always allowed is at least what was said.
        let per_s = u64::from(floor.count()).div_ceil(floor.per().as_secs().max(1));
        plan.retry_budget_floor = u32::try_from(per_s).unwrap_or(u32::MAX);
    }
}
