//! The allow graph: one line for each pair of caller and callee that the manifest declares.
//!
//! The same function gives the outbound side of the caller and the inbound side of the callee, so that they agree.

use crate::manifest::{RelationPattern, RouteAction};
use crate::model::{Call, Gateway, Model, Route, Service, ServiceId, Target};
use crate::pattern::{EndpointPattern, PathPattern, Segment};
use crate::plan::AllowPlan;

/// Name of the gateway as a caller.
pub(crate) const GATEWAY: &str = "gateway";

/// What a call may reach; `None` is every endpoint. An open host opens its published operations only, if it marks any.
pub(crate) fn endpoints(model: &Model, caller: &Service, call: &Call) -> Option<Vec<EndpointPattern>> {
    let callee = model.service(call.callee);
    let said = call.endpoint.clone().map(|endpoint| vec![without_query(endpoint)]);
    let (Some(from), Some(to)) = (caller.context, callee.context) else { return said };
    if from == to {
        return said;
    }
    let open_host = model
        .relation(from, to)
        .is_some_and(|relation| model.relations[relation.0].pattern == RelationPattern::OpenHost);
    let Some(api) = callee.api.as_ref().filter(|api| open_host && api.marks_published()) else { return said };
    let published =
        api.operations.iter().filter(|operation| operation.published).map(|operation| &operation.endpoint);
    Some(match &call.endpoint {
        None => published.cloned().collect(),
        Some(wanted) => published.filter_map(|open| both(wanted, open)).collect(),
    })
}

/// What both patterns match, as far as one pattern can say it: the narrower of the two.
fn both(wanted: &EndpointPattern, open: &EndpointPattern) -> Option<EndpointPattern> {
    if open.covers(wanted) {
        return Some(without_query(wanted.clone()));
    }
    wanted.intersects(open).then(|| open.clone())
}

/// Queries choose nothing in the allow graph: only method and path are decided on.
fn without_query(endpoint: EndpointPattern) -> EndpointPattern {
    match endpoint {
        EndpointPattern::Http { method, path, .. } => EndpointPattern::Http { method, path, query: None },
        grpc @ EndpointPattern::Grpc { .. } => grpc,
    }
}

/// Who may call a service, sorted by caller.
pub(crate) fn inbound(model: &Model, id: ServiceId) -> Vec<AllowPlan> {
    let mut lines: Vec<AllowPlan> = Vec::new();
    for (_, caller) in model.ids() {
        for call in caller.calls.iter().filter(|call| call.callee == id) {
            let endpoints = endpoints(model, caller, call);
            lines.push(line(caller.name(), model.origin(call.span), endpoints));
        }
    }
    if let Some(gateway) = &model.gateway {
        lines.extend(from_gateway(model, gateway, id));
    }
    lines.sort_by(|a, b| (&a.caller, &a.origin).cmp(&(&b.caller, &b.origin)));
    lines
}

fn line(caller: &str, origin: crate::plan::Origin, endpoints: Option<Vec<EndpointPattern>>) -> AllowPlan {
    AllowPlan { caller: caller.to_owned(), origin, endpoints: endpoints.unwrap_or_default() }
}

fn from_gateway(model: &Model, gateway: &Gateway, id: ServiceId) -> Vec<AllowPlan> {
    let mut lines = Vec::new();
    for route in &gateway.routes {
        let origin = model.origin(route.said.key.span);
        for target in route.targets.iter().filter(|target| target.service == id) {
            lines.push(line(GATEWAY, origin.clone(), Some(vec![forwarded(route, target)])));
        }
        if route.mirror == Some(id) && !route.targets.iter().any(|target| target.service == id) {
            let copied = route.targets.iter().map(|target| forwarded(route, target)).collect();
            lines.push(line(GATEWAY, origin, Some(copied)));
        }
    }
    lines
}

/// What a route asks of its target: method and path as they leave the gateway.
pub(crate) fn forwarded(route: &Route, target: &Target) -> EndpointPattern {
    if let Some(endpoint) = &target.endpoint {
        return without_query(endpoint.clone());
    }
    let key = &route.said.key;
    let rewrite = match &route.said.action {
        Some(RouteAction::Forward { rewrite: Some(rewrite), .. }) => Some(rewrite.value.as_str()),
        _ => None,
    };
    let path = rewrite.map_or_else(|| key.path.clone(), |prefix| rewritten(&key.path, prefix));
    EndpointPattern::Http { method: key.method.clone(), path, query: None }
}

/// A route's path with its literal beginning replaced; a slash at the end of the new beginning does not count.
pub(crate) fn rewritten(path: &PathPattern, prefix: &str) -> PathPattern {
    let literal = |segment: &&Segment| matches!(segment, Segment::Literal(_));
    let rest = path.segments.iter().skip_while(literal).cloned();
    let front =
        prefix.split('/').filter(|part| !part.is_empty()).map(|part| Segment::Literal(part.to_owned()));
    PathPattern { segments: front.chain(rest).collect() }
}
