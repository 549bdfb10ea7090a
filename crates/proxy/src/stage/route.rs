//! Where a request goes: at the edge by the route table, in a sidecar by the listener it came to.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::time::Duration;

use weft_model::code::Code;
use weft_model::plan::{ActionPlan, Protocol, RoutePlan};

use crate::compiled::{Compiled, Found};
use crate::connection::{Conn, Entry};
use crate::head::{Head, Method, TargetForm};
use crate::metrics::NameId;
use crate::rescue::Ended;
use crate::worker::{Active, Callee, Worker};

/// What was decided about a request.
pub(crate) struct Decision {
    pub(crate) target: To,
    /// Index into the gateway's routes.
    pub(crate) route: Option<usize>,
    /// Name in metrics: the route at the edge, else the operation.
    pub(crate) name: NameId,
    /// Declared idempotent by the callee's API; of a route it is known once its target is.
    pub(crate) idempotent: bool,
}

/// What happens with it.
pub(crate) enum To {
    /// It goes on.
    Callee(Rc<Callee>),
    /// The route answers by itself.
    Route,
    /// A tunnel to an outside host.
    Tunnel(Rc<Callee>),
    /// The sidecar's own API.
    Api,
}

/// Decides where a request goes.
///
/// # Errors
/// Nothing here takes it.
pub(crate) fn decide(
    worker: &Rc<Worker>,
    conn: &Conn,
    active: &Active,
    head: &Head,
) -> Result<Decision, Ended> {
    match &conn.entry {
        Entry::Edge => edge(worker, active, head),
        Entry::Inbound => inbound(active, head),
        Entry::Outbound(callee) => outbound(active, callee, head),
        Entry::Forward => forward_proxy(worker, active, head),
        Entry::Api => {
            Ok(Decision { target: To::Api, route: None, name: active.compiled.unmatched, idempotent: false })
        }
    }
}

fn edge(worker: &Rc<Worker>, active: &Active, head: &Head) -> Result<Decision, Ended> {
    let Some((plan, gateway)) = active.compiled.gateway() else { return Err(Code::NotReady.into()) };
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(Ended::new(Code::MethodNotSupported, head.method_str()));
    }
    let index = match gateway.find(plan, head) {
        Found::Route(index) => index,
        Found::OtherMethods(methods) => {
            let mut ended = Ended::from(Code::MethodNotAllowed);
            ended.allow = methods.into_iter().map(str::to_owned).collect();
            return Err(ended);
        }
        Found::Nothing => {
            return Err(Ended::new(Code::NoRoute, format!("{} {}", head.method_str(), head.path())));
        }
    };
    let (route, compiled) = (&plan.routes[index], &gateway.routes[index]);
    let mut decision =
        Decision { target: To::Route, route: Some(index), name: compiled.name, idempotent: false };
    if let ActionPlan::Forward { .. } = &route.action {
        let callee = weighted(worker, active, &compiled.targets).ok_or_else(|| {
            Ended::new(Code::NoEndpoint, "all weights of the route are 0").by(&route.origin)
        })?;
        decision.target = To::Callee(callee);
    }
    Ok(decision)
}

/// One of the targets by weight.
fn weighted(worker: &Worker, active: &Active, targets: &[(usize, u32)]) -> Option<Rc<Callee>> {
    let index = match targets {
        [(index, _)] => *index,
        targets => {
            let sum: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let mut drawn = if sum == 0 { return None } else { worker.rng.borrow_mut().between(0, sum - 1) };
            targets.iter().find_map(|(index, weight)| match drawn.checked_sub(u64::from(*weight)) {
                Some(rest) => {
                    drawn = rest;
                    None
                }
                None => Some(*index),
            })?
        }
    };
    active.callees.get(index).cloned()
}

fn inbound(active: &Active, head: &Head) -> Result<Decision, Ended> {
    let callee = active.local.as_ref().ok_or(Code::NotReady)?;
    if let Some((plan, _)) = active.compiled.sidecar()
        && plan.inbound.protocol == Protocol::Tcp
    {
        return Err(Ended::new(Code::NotAllowed, format!("`{}` takes bytes, not requests", plan.service)));
    }
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(Ended::new(Code::MethodNotSupported, head.method_str()));
    }
    Ok(to_callee(&active.compiled, callee, head))
}

fn outbound(active: &Active, name: &str, head: &Head) -> Result<Decision, Ended> {
    let callee = declared(active, name).ok_or_else(|| {
        Ended::new(Code::CalleeNotDeclared, format!("the call to `{name}` was taken out of `calls`"))
    })?;
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(Ended::new(Code::MethodNotSupported, head.method_str()));
    }
    Ok(to_callee(&active.compiled, &callee, head))
}

fn declared(active: &Active, name: &str) -> Option<Rc<Callee>> {
    let (_, sidecar) = active.compiled.sidecar()?;
    let (index, _) = sidecar.outbound.get(name)?;
    active.callees.get(*index).cloned()
}

fn to_callee(compiled: &Compiled, callee: &Rc<Callee>, head: &Head) -> Decision {
    let operation = callee.operations.find(head);
    Decision {
        target: To::Callee(Rc::clone(callee)),
        route: None,
        name: operation.map_or(compiled.unmatched, |operation| operation.name),
        idempotent: operation.is_some_and(|operation| operation.idempotent),
    }
}

/// `http://name/path` goes to a declared callee or a declared outside host, `CONNECT host:port` only to the latter.
fn forward_proxy(worker: &Rc<Worker>, active: &Active, head: &Head) -> Result<Decision, Ended> {
    let Some((plan, _)) = active.compiled.sidecar() else { return Err(Code::NotReady.into()) };
    let host = head.host();
    let is_tunnel = head.method() == Method::Connect;
    if !is_tunnel && head.target_form() != TargetForm::Absolute {
        let detail =
            "this is a forward proxy: the request line names the whole URL (`GET http://service/path`)";
        return Err(Ended::new(Code::BadHost, detail));
    }
    if !is_tunnel && let Some(callee) = declared(active, host) {
        return Ok(to_callee(&active.compiled, &callee, head));
    }
    let port = port_of(head.authority()).unwrap_or(if is_tunnel { 443 } else { 80 });
    let plain = unbracketed(host);
    if plan.external.iter().any(|external| external.host == plain && external.port == port) {
        let callee = worker.external(&plain, port);
        let target = if is_tunnel { To::Tunnel(callee) } else { To::Callee(callee) };
        return Ok(Decision { target, route: None, name: active.compiled.unmatched, idempotent: false });
    }
    Err(undeclared(active, &plan.service, host, port))
}

/// A host as the manifest's hosts stand in plans: an IPv6 address in its shortest form and without brackets.
fn unbracketed(host: &str) -> Cow<'_, str> {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = address.and_then(|address| address.parse::<Ipv6Addr>().ok());
    address.map_or(Cow::Borrowed(host), |address| Cow::Owned(address.to_string()))
}

/// Why the forward proxy does not take a host, in the words of `weft explain "a -> b"` where it is a service that is meant:
/// a name of one label is no host outside.
fn undeclared(active: &Active, service: &str, host: &str, port: u16) -> Ended {
    if declared(active, host).is_some() {
        let detail =
            format!("`{host}` is a service of the system: ask for `http://{host}/`, not for a tunnel");
        return Ended::new(Code::ExternalNotDeclared, detail);
    }
    if host != "localhost" && !host.contains(['.', ':']) {
        return Ended::new(
            Code::CalleeNotDeclared,
            format!("`{service}` does not declare calls to `{host}`"),
        );
    }
    let detail = format!("`{service}` does not declare `{host}:{port}` in `external`");
    Ended::new(Code::ExternalNotDeclared, detail)
}

fn port_of(authority: &str) -> Option<u16> {
    crate::head::authority::split_port(authority).1.and_then(|port| port.parse().ok())
}

/// The time limits of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLimits {
    /// Said by the manifest: to the last byte of the response.
    pub(crate) whole: Option<Duration>,
    /// A default: to the head of the response, where nothing was said.
    pub(crate) head: Option<Duration>,
}

/// What the plan says about time; the shortest of what was said, else the shortest default.
pub(crate) fn time_limits(active: &Active, route: Option<&RoutePlan>, callee: Option<&Callee>) -> TimeLimits {
    let gateway = active.compiled.gateway().map(|(plan, _)| (plan.timeout_ms, plan.timeout_whole));
    let upstream = callee.map(|callee| {
        let resilience = &callee.plan.resilience;
        (resilience.timeout_ms, resilience.timeout_whole)
    });
    // A route's own limit takes the place of the gateway's, also where it is longer.
    let edge = route.and_then(|route| route.timeout_ms).map(|ms| (ms, true)).or(gateway);
    let shortest = |said: bool| {
        let limits = [edge, upstream].into_iter().flatten().filter(|(_, whole)| *whole == said);
        limits.map(|(ms, _)| Duration::from_millis(ms)).min()
    };
    match shortest(true) {
        Some(whole) => TimeLimits { whole: Some(whole), head: None },
        None => TimeLimits { whole: None, head: shortest(false) },
    }
}
