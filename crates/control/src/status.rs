//! What people are shown: the system as control knows it, as one value for `/v1/status`, `weft status` and the console.

use serde::{Deserialize, Serialize};
use weft_model::pattern::EndpointPattern;
use weft_model::plan::{ActionPlan, Origin, Plans, RolePlan};

use crate::hub::{GATEWAY, InstanceStatus};
use crate::shared::{RefusedReload, Shared};

/// The whole system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemStatus {
    /// Name of the system.
    pub system: String,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Control itself.
    pub control: ControlStatus,
    /// Services, sorted by name; those elsewhere too.
    pub services: Vec<ServiceStatus>,
    /// The edge, if there is one.
    pub gateway: Option<GatewayStatus>,
    /// Declared calls: the allow graph.
    pub calls: Vec<Call>,
    /// Instances that belong to no service of the plans in force (they are on their way out).
    pub others: Vec<InstanceStatus>,
    /// Breakers that are not closed: which instances are left out for a while, and by whom.
    pub breakers: Vec<Breaker>,
    /// The last reload, if it was refused.
    pub refused: Option<RefusedReload>,
}

/// Control itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Process id.
    pub pid: u32,
    /// Version of the executable.
    pub build: String,
    /// Since when it runs, milliseconds since the epoch.
    pub started_unix_ms: u64,
    /// `HOST:PORT` of admin API and console.
    pub admin: String,
    /// `HOST:PORT` for the data planes.
    pub mesh: String,
    /// `HOST:PORT` of the metrics.
    pub metrics: Option<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name.
    pub service: String,
    /// Its bounded context.
    pub context: Option<String>,
    /// Version of its plan; absent for services elsewhere.
    pub plan: Option<String>,
    /// Where it is, for services elsewhere.
    pub url: Option<String>,
    /// Instances that were declared.
    pub replicas: u32,
    /// Instances that are there, sorted by name.
    pub instances: Vec<InstanceStatus>,
}

/// The edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// `HOST:PORT` addresses.
    pub listen: Vec<String>,
    /// Whether they speak TLS.
    pub tls: bool,
    /// Version of its plan.
    pub plan: Option<String>,
    /// Its processes.
    pub instances: Vec<InstanceStatus>,
    /// Routes.
    pub routes: Vec<RouteStatus>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The key as written.
    pub key: String,
    /// What happens, in words.
    pub does: String,
    /// Where it was said.
    pub origin: Origin,
}

/// A breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// The process that calls.
    pub caller: String,
    /// The service that it calls.
    pub upstream: String,
    /// The instance that failed.
    pub instance: String,
    /// `open` or `half-open`.
    pub state: String,
}

/// A declared call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Who calls; the gateway is `gateway`.
    pub source: String,
    /// Who is called.
    pub destination: String,
    /// Only these endpoints, as written; all where empty.
    pub endpoints: Vec<String>,
    /// Where it was said.
    pub origin: Origin,
}

/// The system as it is now.
pub(crate) fn status_of(shared: &Shared) -> SystemStatus {
    let addresses = shared.addresses.get();
    let (published, instances) = {
        let hub = shared.hub();
        (hub.published().cloned(), hub.instances(shared.now()))
    };
    let of =
        |service: &str| instances.iter().filter(|one| one.service == service).cloned().collect::<Vec<_>>();
    let version = |service: &str| {
        published.as_ref().and_then(|published| published.plan_of(service)).map(|plan| plan.version.clone())
    };
    let plans = published.as_deref().map(crate::hub::Published::plans);
    let services: Vec<ServiceStatus> = plans
        .map(services_of)
        .unwrap_or_default()
        .into_iter()
        .map(|service| ServiceStatus {
            plan: version(&service.service),
            instances: of(&service.service),
            ..service
        })
        .collect();
    let gateway = plans.and_then(gateway_of).map(|gateway| GatewayStatus {
        plan: version(GATEWAY),
        instances: of(GATEWAY),
        ..gateway
    });
    let known = |name: &str| name == GATEWAY || services.iter().any(|service| service.service == name);
    SystemStatus {
        system: plans.map(|plans| plans.system.clone()).unwrap_or_default(),
        trust_domain: shared.identities.tls().trust().trust_domain().as_str().to_owned(),
        control: ControlStatus {
            pid: std::process::id(),
            build: shared.build.clone(),
            started_unix_ms: shared.started_unix_ms,
            admin: addresses.map(|all| all.admin.to_string()).unwrap_or_default(),
            mesh: addresses.map(|all| all.mesh.to_string()).unwrap_or_default(),
            metrics: addresses.and_then(|all| all.metrics).map(|address| address.to_string()),
        },
        others: instances.iter().filter(|one| !known(&one.service)).cloned().collect(),
        services,
        gateway,
        calls: plans.map(calls_of).unwrap_or_default(),
        breakers: shared.breakers(),
        refused: shared.refused_reload(),
    }
}

/// Services of the plans, without what only the registry knows.
fn services_of(plans: &Plans) -> Vec<ServiceStatus> {
    let replicas = |service: &str| {
        let launched = plans.launch.services.iter().filter(|launch| launch.service == service);
        launched.map(|launch| launch.replicas).sum()
    };
    let here = plans.sidecars.iter().map(|(name, plan)| ServiceStatus {
        service: name.clone(),
        context: match &plan.role {
            RolePlan::Sidecar(sidecar) => sidecar.context.clone(),
            RolePlan::Gateway(_) => None,
        },
        plan: None,
        url: None,
        replicas: replicas(name),
        instances: Vec::new(),
    });
    let all = plans.gateway.iter().chain(plans.sidecars.values()).flat_map(|plan| &plan.upstreams);
    let elsewhere = all.filter_map(|upstream| match &upstream.reach {
        weft_model::plan::Reach::Mesh => None,
        weft_model::plan::Reach::Url { tls, host, port, prefix } => Some(ServiceStatus {
            service: upstream.name.clone(),
            context: None,
            plan: None,
            url: Some(url_of(*tls, host, *port, prefix)),
            replicas: 0,
            instances: Vec::new(),
        }),
    });
    let mut services: Vec<ServiceStatus> = here.chain(elsewhere).collect();
    services.sort_by(|a, b| (&a.service, &a.url).cmp(&(&b.service, &b.url)));
    services.dedup_by(|a, b| a.service == b.service);
    services
}

fn url_of(tls: bool, host: &str, port: Option<u16>, prefix: &str) -> String {
    let scheme = if tls { "https" } else { "http" };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{prefix}")
}

fn gateway_of(plans: &Plans) -> Option<GatewayStatus> {
    let RolePlan::Gateway(gateway) = &plans.gateway.as_ref()?.role else { return None };
    let routes = gateway.routes.iter().map(|route| RouteStatus {
        key: route.key.clone(),
        does: words_of(&route.action),
        origin: route.origin.clone(),
    });
    Some(GatewayStatus {
        listen: gateway.listen.clone(),
        tls: gateway.tls.is_some(),
        plan: None,
        instances: Vec::new(),
        routes: routes.collect(),
    })
}

fn words_of(action: &ActionPlan) -> String {
    match action {
        ActionPlan::Forward { targets, rewrite, replace } => {
            let total: u32 = targets.iter().map(|target| target.weight).sum();
            let names: Vec<String> = targets
                .iter()
                .map(|target| match targets.len() {
                    1 => target.upstream.clone(),
                    _ => format!("{} {}", target.upstream, share(target.weight, total)),
                })
                .collect();
            let rewrite = rewrite.as_ref().map(|prefix| format!(", prefix {prefix}")).unwrap_or_default();
            let replace =
                replace.as_ref().map(|endpoint| format!(" {}", text_of(endpoint))).unwrap_or_default();
            format!("{}{replace}{rewrite}", names.join(", "))
        }
        ActionPlan::Redirect { to, status } => format!("redirect {status} to {to}"),
        ActionPlan::Respond(fixed) => format!("answer {}", fixed.status),
    }
}

fn share(weight: u32, total: u32) -> String {
    if total == 0 { "0 %".to_owned() } else { format!("{} %", f64::from(weight) * 100.0 / f64::from(total)) }
}

fn calls_of(plans: &Plans) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for (name, plan) in &plans.sidecars {
        let RolePlan::Sidecar(sidecar) = &plan.role else { continue };
        calls.extend(sidecar.outbound.iter().map(|outbound| Call {
            source: name.clone(),
            destination: outbound.callee.clone(),
            endpoints: outbound.endpoints.iter().map(text_of).collect(),
            origin: outbound.origin.clone(),
        }));
    }
    if let Some(RolePlan::Gateway(gateway)) = plans.gateway.as_ref().map(|plan| &plan.role) {
        for route in &gateway.routes {
            let ActionPlan::Forward { targets, .. } = &route.action else { continue };
            let mirrored = route.mirror.iter().map(|mirror| &mirror.upstream);
            for upstream in targets.iter().map(|target| &target.upstream).chain(mirrored) {
                let known =
                    calls.iter().any(|call| call.source == "gateway" && call.destination == *upstream);
                if !known {
                    calls.push(Call {
                        source: "gateway".to_owned(),
                        destination: upstream.clone(),
                        endpoints: Vec::new(),
                        origin: route.origin.clone(),
                    });
                }
            }
        }
    }
    calls
}

fn text_of(endpoint: &EndpointPattern) -> String {
    endpoint.to_string()
}
