//! Routes: who may use them, where they lead, and which one wins.

use std::collections::BTreeMap;

use weft_stdx::units::show_duration;

use crate::check::{Report, note};
use crate::code::Code;
use crate::derive;
use crate::finding::Span;
use crate::manifest::RouteAction;
use crate::model::{Gateway, Model, Route, Target};
use crate::pattern::{EndpointPattern, PathPattern, Segment};
use crate::plan::{Protocol, RoutePlan};
use crate::route_order::{host_matches, host_of, overlap};

pub(super) fn check(model: &Model, report: &mut Report) {
    let Some(gateway) = &model.gateway else { return };
    if !gateway.said.has_routes {
        let message = "the gateway has no routes: it answers everything with 404";
        report.warning(Code::NotReachable, gateway.said.span, message, "add `routes`, or remove `gateway`");
    }
    for route in &gateway.routes {
        auth(gateway, route, report);
        targets(model, route, report);
        shares(route, report);
        parameters(route, report);
        rewrite(route, report);
        redirect(route, report);
        timeout(model, gateway, route, report);
    }
    overlaps(model, gateway, report);
}

/// Nothing is open by silence.
fn auth(gateway: &Gateway, route: &Route, report: &mut Report) {
    // One that could not be read was found already.
    if !gateway.said.has_auth && !route.said.has_auth {
        let message = format!("`{}` does not say who may use it", route.said.key.text);
        let remedy =
            "write `auth: none` on the route, or on `gateway` for all routes, to open it to everyone";
        report.error(Code::AuthNotSaid, route.said.key.span, message, remedy);
    }
}

fn targets(model: &Model, route: &Route, report: &mut Report) {
    let key = &route.said.key;
    let replaced = route.targets.iter().find(|target| target.endpoint.is_some());
    if let Some(target) = replaced.filter(|_| route.targets.len() > 1) {
        let message = "a route to several services keeps method and path";
        report.error(
            Code::NotBuilt,
            target.span,
            message,
            "name the services alone, and use `rewrite` for the path",
        );
    }
    for target in &route.targets {
        let service = model.service(target.service);
        let name = service.name();
        if service.protocol == Protocol::Tcp {
            let message = format!("`{name}` speaks TCP: no request can be routed to it");
            report.error(
                Code::ProtocolMismatch,
                target.span,
                message,
                "route to a service that speaks HTTP or gRPC",
            );
            continue;
        }
        if let Some(EndpointPattern::Grpc { service: grpc, .. }) = &target.endpoint {
            let message =
                format!("a request over HTTP is not translated to gRPC in this version (`{}`)", key.text);
            let remedy = format!("write `POST /{grpc}/**: {name}` for gRPC clients");
            report.error(Code::NotBuilt, target.span, message, remedy);
        } else if target.endpoint.is_none() {
            unanswered(model, route, target, report);
        }
    }
    let mirror = route.mirror.filter(|id| model.service(*id).protocol == Protocol::Tcp);
    if let (Some(id), Some(said)) = (mirror, &route.said.mirror) {
        let message = format!("`{}` speaks TCP: no request can be copied to it", model.service(id).name());
        report.error(
            Code::ProtocolMismatch,
            said.to.span,
            message,
            "mirror to a service that speaks HTTP or gRPC",
        );
    }
    if let (Some(id), Some(said)) = (route.mirror, &route.said.mirror)
        && route.targets.iter().any(|target| target.service == id)
    {
        let message = format!("`{}` would get its own requests twice", model.service(id).name());
        report.error(
            Code::BadValue,
            said.to.span,
            message,
            "mirror to another service, or use `rollout` for versions",
        );
    }
}

/// A route to a service whose API has nothing that it could match: surely a slip, but an API file may be incomplete.
fn unanswered(model: &Model, route: &Route, target: &Target, report: &mut Report) {
    let service = model.service(target.service);
    let Some(api) = &service.api else { return };
    let sent = derive::allow::forwarded(route, target);
    if !api.operations.iter().any(|operation| operation.endpoint.intersects(&sent)) {
        let message = format!("the API of `{}` has nothing that answers `{sent}`", service.name());
        let finding = report.warning(
            Code::UnknownEndpoint,
            target.span,
            message,
            "correct the path, or add the operation to the API file",
        );
        if let Some(file) = &service.said.api {
            note(finding, file.span, "its API is read from here");
        }
    }
}

fn shares(route: &Route, report: &mut Report) {
    if let Some(share) = route.said.mirror.as_ref().and_then(|mirror| mirror.share.as_ref()) {
        report.share(share, 100, "0.01%");
    }
}

/// What is filled into a path comes from the route's own path.
fn parameters(route: &Route, report: &mut Report) {
    let known: Vec<&str> = names(&route.said.key.path).collect();
    for target in &route.targets {
        let Some(EndpointPattern::Http { path, query, .. }) = &target.endpoint else { continue };
        let queried = query.as_deref().map(|query| braces(query)).unwrap_or_default();
        for name in names(path).chain(queried) {
            parameter(name, &known, target.span, report);
        }
        if path.segments.iter().any(|segment| matches!(segment, Segment::Any | Segment::Rest)) {
            let message = "the callee's path is one path: `*` and `**` cannot be sent";
            report.error(
                Code::UnknownParameter,
                target.span,
                message,
                "use `{name}` of the route's path, or `rewrite`",
            );
        }
    }
    if let Some(RouteAction::Redirect { to, .. }) = &route.said.action {
        for name in braces(&to.value) {
            parameter(name, &known, to.span, report);
        }
        wildcards(route, &to.value, to.span, report);
    }
}

/// `**` at the end of a redirect is what the route's own `**` matched; all else would be sent as it is written.
fn wildcards(route: &Route, to: &str, span: Span, report: &mut Report) {
    let rest = route.said.key.path.segments.last() == Some(&Segment::Rest);
    let path = to.split(['?', '#']).next().unwrap_or_default();
    let literal = if rest { to.strip_suffix("/**").unwrap_or(to) } else { to };
    let message = if literal.contains("**") {
        let why =
            if rest { "only at the end of a redirect" } else { "for nothing: the route's path has none" };
        format!("`**` stands {why}")
    } else if path.split('/').any(|segment| segment == "*") {
        "`*` is not filled in here".to_owned()
    } else {
        return;
    };
    let remedy = "name the segment in the route's path, `{name}`, and write `{name}` here; `**` is filled in as the end of both";
    report.error(Code::UnknownParameter, span, message, remedy);
}

fn parameter(name: &str, known: &[&str], span: Span, report: &mut Report) {
    if known.contains(&name) {
        return;
    }
    if name.starts_with("principal.") {
        let message = format!("`{{{name}}}` needs authentication, which is not built in this version");
        report.error(Code::NotBuilt, span, message, "take the value from the path");
        return;
    }
    let message = format!("the route's path has no `{{{name}}}`");
    let remedy = if known.is_empty() {
        format!("write `{{{name}}}` where the route's path has it")
    } else {
        format!("it has {}", crate::resolve::list(known))
    };
    report.error(Code::UnknownParameter, span, message, remedy);
}

fn names(path: &PathPattern) -> impl Iterator<Item = &str> {
    path.segments
        .iter()
        .filter_map(|segment| if let Segment::Param(name) = segment { Some(name.as_str()) } else { None })
}

/// Names in braces.
fn braces(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
}

fn rewrite(route: &Route, report: &mut Report) {
    let Some(RouteAction::Forward { rewrite: Some(rewrite), .. }) = &route.said.action else { return };
    let prefix = route.said.key.path.literal_prefix();
    let same = |a: &str| if a.is_empty() { "/".to_owned() } else { a.to_owned() };
    if same(&prefix) == same(rewrite.trim_end_matches('/')) {
        let message = format!("`{}` is rewritten to itself", same(&prefix));
        report.error(Code::RewriteUseless, rewrite.span, message, "remove `rewrite`");
    }
}

/// A redirect whose answer is matched by its own route never ends.
fn redirect(route: &Route, report: &mut Report) {
    let Some(RouteAction::Redirect { to, .. }) = &route.said.action else { return };
    let key = &route.said.key;
    // Other fields or parameters can tell the second request from the first.
    if !route.said.match_query.is_empty() || !route.said.match_headers.is_empty() {
        return;
    }
    let target = to.value.as_str();
    let path = if target.starts_with('/') && !target.starts_with("//") {
        target
    } else {
        let Some((_, rest)) = target.split_once("://") else { return };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let host = host_of(host);
        if key.host.is_none() || !host_matches(key.host.as_deref(), &host) {
            return;
        }
        path
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if key.path.matches(path) {
        let message = format!("`{}` redirects to itself", key.text);
        report.error(Code::RedirectLoop, to.span, message, "redirect to another path");
    }
}

/// A limit toward the service that is longer than the one around it.
fn timeout(model: &Model, gateway: &Gateway, route: &Route, report: &mut Report) {
    let Some(outer) = route.said.timeout.as_ref().or(gateway.said.timeout.as_ref()) else { return };
    for target in &route.targets {
        let service = model.service(target.service);
        let Some(inner) = service.resilience.as_ref().and_then(|said| said.timeout.as_ref()) else {
            continue;
        };
        if inner.value <= outer.value {
            continue;
        }
        // Said of the gateway once, not for each of its routes: equal findings are shown once.
        let whose = if route.said.timeout.is_some() { route.said.key.text.as_str() } else { "gateway" };
        let message = format!(
            "`{whose}` may take {}, and `{}` inside it {}",
            show_duration(outer.value),
            service.name(),
            show_duration(inner.value)
        );
        let remedy = "raise the outer limit, or lower the one of the service";
        let finding = report.error(Code::TimeoutOrder, outer.span, message, remedy);
        note(finding, inner.span, "the limit of the service");
    }
}

/// Two routes that match the same request, neither of them more specific.
fn overlaps(model: &Model, gateway: &Gateway, report: &mut Report) {
    // Only routes whose paths match exactly the same can overlap, so that a thousand routes need no million comparisons.
    let mut alike: BTreeMap<String, Vec<(RoutePlan, &Route)>> = BTreeMap::new();
    for route in &gateway.routes {
        let Some(plan) = derive::gateway::route(model, &gateway.said, route) else { continue };
        alike.entry(shape(&plan.path)).or_default().push((plan, route));
    }
    for group in alike.values() {
        for (index, (second, route)) in group.iter().enumerate() {
            if let Some((_, first)) = group[..index].iter().find(|(first, _)| overlap(first, second)) {
                let message = format!(
                    "`{}` and `{}` match the same requests",
                    first.said.key.text, route.said.key.text
                );
                let remedy = "remove one of them, or tell them apart by path, method, host or `match`";
                let finding = report.error(Code::RouteOverlap, route.said.key.span, message, remedy);
                note(finding, first.said.key.span, "the other one");
            }
        }
    }
}

/// The path without the names of its parameters.
fn shape(path: &PathPattern) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Param(_) | Segment::Any => "/*".to_owned(),
        Segment::Rest => "/**".to_owned(),
    };
    path.segments.iter().map(part).collect()
}
