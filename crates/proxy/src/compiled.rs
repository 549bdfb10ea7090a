//! A plan made ready to run: names become numbers, routes become a trie. Compiled once, aside, and shared by all workers;
//! what cannot be compiled is refused while the old plan serves.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use weft_model::pattern::{EndpointPattern, PathPattern, Segment, method_covers};
use weft_model::plan::{
    ActionPlan, AllowPlan, FieldMatch, GatewayPlan, OperationPlan, PLAN_FORMAT, Plan, Reach, RolePlan,
    RoutePlan, SidecarPlan,
};
use weft_model::route_order;

use crate::head::Head;
use crate::metrics::{NameId, Names};
use crate::stage::trie::Trie;

/// The gateway's name as a caller.
pub(crate) const GATEWAY: &str = "gateway";

/// Why a plan was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefused {
    /// Written by a newer or older build.
    #[error("the plan has format {found}, this build runs format {PLAN_FORMAT}")]
    Format {
        /// Format of the plan.
        found: u32,
    },
    /// A part names an upstream that is not in the plan.
    #[error("{place} names the upstream `{name}`, which the plan does not hold")]
    UnknownUpstream {
        /// Which part.
        place: String,
        /// The name.
        name: String,
    },
    /// The system's root certificates cannot be used.
    #[error("cannot set up TLS toward the outside: {0}")]
    Tls(String),
    /// An address that cannot be understood.
    #[error("`{0}` is not an address")]
    Address(String),
    /// A plan of another role or service than this process has.
    #[error("the plan is for {found}, this process is {expected}")]
    Role {
        /// Who the plan is for.
        found: String,
        /// Who we are.
        expected: String,
    },
}

/// A plan made ready to run.
pub(crate) struct Compiled {
    pub(crate) plan: Plan,
    /// This process as a caller.
    pub(crate) me: NameId,
    /// Beside `plan.upstreams`, in the same order.
    pub(crate) upstreams: Vec<CompiledUpstream>,
    pub(crate) role: CompiledRole,
    pub(crate) unmatched: NameId,
    pub(crate) outside: NameId,
}

pub(crate) struct CompiledUpstream {
    pub(crate) operations: Arc<Operations>,
}

pub(crate) enum CompiledRole {
    Gateway(CompiledGateway),
    Sidecar(CompiledSidecar),
}

pub(crate) struct CompiledGateway {
    trie: Trie,
    trusted: Vec<IpNet>,
    /// Beside the plan's routes.
    pub(crate) routes: Vec<CompiledRoute>,
}

pub(crate) struct CompiledRoute {
    pub(crate) name: NameId,
    /// Index of the upstream and its weight.
    pub(crate) targets: Vec<(usize, u32)>,
    pub(crate) mirror: Option<(usize, u32)>,
}

pub(crate) struct CompiledSidecar {
    /// Index of the upstream by callee name; beside it the index into the plan's outbound list.
    pub(crate) outbound: HashMap<String, (usize, usize)>,
    pub(crate) inbound: Arc<Operations>,
}

impl Compiled {
    /// Whether a callee is a service of others that is reached by TLS.
    pub(crate) fn calls_outside_by_tls(&self) -> bool {
        self.plan.upstreams.iter().any(|upstream| matches!(upstream.reach, Reach::Url { tls: true, .. }))
    }

    /// Makes a plan ready.
    ///
    /// # Errors
    /// See [`PlanRefused`].
    pub(crate) fn new(plan: Plan, names: &Names) -> Result<Self, PlanRefused> {
        if plan.format != PLAN_FORMAT {
            return Err(PlanRefused::Format { found: plan.format });
        }
        let index: HashMap<String, usize> = plan
            .upstreams
            .iter()
            .enumerate()
            .map(|(index, upstream)| (upstream.name.clone(), index))
            .collect();
        let find = |name: &str, place: &str| {
            index.get(name).copied().ok_or_else(|| PlanRefused::UnknownUpstream {
                place: place.to_owned(),
                name: name.to_owned(),
            })
        };
        let upstreams = plan
            .upstreams
            .iter()
            .map(|upstream| CompiledUpstream {
                operations: Arc::new(Operations::new(&upstream.operations, names)),
            })
            .collect();
        let (me, role) = match &plan.role {
            RolePlan::Gateway(gateway) => {
                (GATEWAY.to_owned(), CompiledRole::Gateway(CompiledGateway::new(gateway, &find, names)?))
            }
            RolePlan::Sidecar(sidecar) => {
                (sidecar.service.clone(), CompiledRole::Sidecar(CompiledSidecar::new(sidecar, &find, names)?))
            }
        };
        Ok(Compiled {
            me: names.intern(&me),
            upstreams,
            role,
            unmatched: names.intern("unmatched"),
            outside: names.intern("outside"),
            plan,
        })
    }

    pub(crate) fn gateway(&self) -> Option<(&GatewayPlan, &CompiledGateway)> {
        match (&self.plan.role, &self.role) {
            (RolePlan::Gateway(plan), CompiledRole::Gateway(compiled)) => Some((plan, compiled)),
            _ => None,
        }
    }

    pub(crate) fn sidecar(&self) -> Option<(&SidecarPlan, &CompiledSidecar)> {
        match (&self.plan.role, &self.role) {
            (RolePlan::Sidecar(plan), CompiledRole::Sidecar(compiled)) => Some((plan, compiled)),
            _ => None,
        }
    }
}

impl CompiledGateway {
    fn new(
        plan: &GatewayPlan,
        find: &dyn Fn(&str, &str) -> Result<usize, PlanRefused>,
        names: &Names,
    ) -> Result<Self, PlanRefused> {
        for address in &plan.listen {
            address.parse::<SocketAddr>().map_err(|_| PlanRefused::Address(address.clone()))?;
        }
        let mut order: Vec<usize> = (0..plan.routes.len()).collect();
        order.sort_by(|a, b| route_order::precedence(&plan.routes[*a], &plan.routes[*b]));
        let mut trie = Trie::default();
        for index in order {
            trie.insert(&plan.routes[index].path, u32::try_from(index).unwrap_or(u32::MAX));
        }
        let network = |text: &String| text.parse().map_err(|_| PlanRefused::Address(text.clone()));
        let trusted = plan.trusted_proxies.iter().map(network).collect::<Result<_, _>>()?;
        let routes = plan
            .routes
            .iter()
            .map(|route| CompiledRoute::new(route, find, names))
            .collect::<Result<_, _>>()?;
        Ok(CompiledGateway { trie, trusted, routes })
    }

    /// Whether forwarding fields from this address are believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The most specific route that applies. Where only the method differs, the methods that would have matched.
    pub(crate) fn find<'p>(&self, plan: &'p GatewayPlan, head: &Head) -> Found<'p> {
        let mut found = None;
        let mut methods: Vec<&'p str> = Vec::new();
        self.trie.visit(head.path(), &mut |number| {
            let route = &plan.routes[number as usize];
            if !host_matches(route, head) || !fields_match(route, head) {
                return false;
            }
            match &route.method {
                Some(method) if !method_covers(Some(method), head.method_str()) => methods.push(method),
                _ => found = Some(number as usize),
            }
            found.is_some()
        });
        match found {
            Some(index) => Found::Route(index),
            None if methods.is_empty() => Found::Nothing,
            None => {
                methods.sort_unstable();
                methods.dedup();
                Found::OtherMethods(methods)
            }
        }
    }

    /// The route that a cross-origin request with `method` would take, for its preflight.
    pub(crate) fn find_for_method(&self, plan: &GatewayPlan, head: &Head, method: &str) -> Option<usize> {
        let mut found = None;
        self.trie.visit(head.path(), &mut |number| {
            let route = &plan.routes[number as usize];
            let fits = host_matches(route, head) && method_covers(route.method.as_deref(), method);
            if fits {
                found = Some(number as usize);
            }
            fits
        });
        found
    }
}

/// What the route table says of a request.
pub(crate) enum Found<'p> {
    /// Index of the route.
    Route(usize),
    /// The path is known, the method is not: these are.
    OtherMethods(Vec<&'p str>),
    /// Nothing.
    Nothing,
}

/// Most routes are for every host.
fn host_matches(route: &RoutePlan, head: &Head) -> bool {
    route.host.is_none() || route_order::host_matches(route.host.as_deref(), head.host())
}

fn fields_match(route: &RoutePlan, head: &Head) -> bool {
    let header = |want: &FieldMatch| match &want.value {
        None => head.get_name(&want.name).is_some(),
        // A repeated field matches by any of its values.
        Some(value) => head.get_all_name(&want.name).any(|got| got == value.as_bytes()),
    };
    let query = |want: &FieldMatch| route_order::query_matches(want, head.query().unwrap_or_default());
    route.headers.iter().all(header) && route.query.iter().all(query)
}

impl CompiledRoute {
    fn new(
        route: &RoutePlan,
        find: &dyn Fn(&str, &str) -> Result<usize, PlanRefused>,
        names: &Names,
    ) -> Result<Self, PlanRefused> {
        let mut targets = Vec::new();
        if let ActionPlan::Forward { targets: wanted, .. } = &route.action {
            for target in wanted {
                targets.push((find(&target.upstream, &route.key)?, target.weight));
            }
        }
        let mirror = match &route.mirror {
            Some(mirror) => Some((find(&mirror.upstream, &route.key)?, mirror.share_bp)),
            None => None,
        };
        Ok(CompiledRoute { name: names.intern(&route.key), targets, mirror })
    }
}

impl CompiledSidecar {
    fn new(
        plan: &SidecarPlan,
        find: &dyn Fn(&str, &str) -> Result<usize, PlanRefused>,
        names: &Names,
    ) -> Result<Self, PlanRefused> {
        let mut outbound = HashMap::new();
        for (index, line) in plan.outbound.iter().enumerate() {
            outbound.insert(line.callee.clone(), (find(&line.callee, "a declared call")?, index));
        }
        Ok(CompiledSidecar { outbound, inbound: Arc::new(Operations::new(&plan.inbound.operations, names)) })
    }

    /// The line of the allow graph that lets `caller` make this request.
    pub(crate) fn allowed<'p>(
        &self,
        plan: &'p SidecarPlan,
        caller: &str,
        head: &Head,
    ) -> Option<&'p AllowPlan> {
        plan.inbound.allow.iter().find(|line| {
            (line.caller == caller || line.caller == "*")
                && (line.endpoints.is_empty() || permits(&line.endpoints, head))
        })
    }
}

/// Whether one of the endpoints matches the request.
pub(crate) fn permits(endpoints: &[EndpointPattern], head: &Head) -> bool {
    endpoints.iter().any(|endpoint| endpoint.matches(head.method_str(), head.path()))
}

/// The operations of an API, to name a request and to know whether it may be sent twice.
#[derive(Default)]
pub(crate) struct Operations {
    trie: Trie,
    list: Vec<(Option<String>, Operation)>,
}

/// What is known of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) name: NameId,
    pub(crate) idempotent: bool,
}

impl Operations {
    fn new(operations: &[OperationPlan], names: &Names) -> Self {
        let mut trie = Trie::default();
        let mut list = Vec::new();
        for operation in operations {
            let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
            let method = match &operation.endpoint {
                EndpointPattern::Http { method, path, .. } => {
                    trie.insert(path, number);
                    method.clone()
                }
                EndpointPattern::Grpc { service, method } => {
                    let last = if method == "*" { Segment::Any } else { Segment::Literal(method.clone()) };
                    let segments = vec![Segment::Literal(service.clone()), last];
                    trie.insert(&PathPattern { segments }, number);
                    Some("POST".to_owned())
                }
            };
            let name = names.intern(&operation.endpoint.to_string());
            list.push((method, Operation { name, idempotent: operation.idempotent }));
        }
        Operations { trie, list }
    }

    /// The operation that a request asks for.
    pub(crate) fn find(&self, head: &Head) -> Option<Operation> {
        let mut found = None;
        self.trie.visit(head.path(), &mut |number| {
            let (method, operation) = &self.list[number as usize];
            let fits = method_covers(method.as_deref(), head.method_str());
            if fits {
                found = Some(*operation);
            }
            fits
        });
        found
    }
}
