//! What happens toward a service: who is called, whether the callee lets it in, and what is done when it fails.

use std::time::Duration;

use weft_stdx::units::show_duration;

use crate::code::Code;
use crate::defaults;
use crate::derive::allow::GATEWAY;
use crate::explain::edge::percent;
use crate::explain::{Explainer, Source};
use crate::finding::Span;
use crate::model::Service;
use crate::pattern::EndpointPattern;
use crate::plan::{
    Balance, FieldMatch, GatewayPlan, HashKey, Plan, Protocol, Reach, ResiliencePlan, RolePlan, RoutePlan,
    UpstreamPlan,
};

/// A request as the callee gets it.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
}

/// Where it comes from.
#[derive(Clone, Copy)]
pub(super) enum Reached<'a> {
    Edge { gateway: &'a GatewayPlan, route: &'a RoutePlan },
    Mesh { caller: &'a str },
}

impl Explainer<'_> {
    /// Explains the way to one service. Returns whether the callee lets it in.
    pub(super) fn upstream(&mut self, plan: &Plan, name: &str, sent: &Request, from: Reached<'_>) -> bool {
        let model = self.model;
        let Some(upstream) = plan.upstreams.iter().find(|upstream| upstream.name == name) else {
            return false;
        };
        let Some(service) = model.find(name).map(|id| model.service(id)) else { return false };
        self.reach(service, upstream);
        self.versions(service, upstream);
        let caller = match from {
            Reached::Edge { .. } => GATEWAY,
            Reached::Mesh { caller } => caller,
        };
        let allowed = self.identity_and_allow(plan, upstream, caller, sent);
        if !allowed {
            return false;
        }
        if upstream.protocol == Protocol::Tcp {
            self.connecting(service, &upstream.resilience);
            self.breaker(service, &upstream.resilience);
            return true;
        }
        self.time(service, upstream, from);
        self.retry(service, upstream, sent);
        self.limits(service, &upstream.resilience, from);
        self.breaker(service, &upstream.resilience);
        self.fallback(service, &upstream.resilience);
        true
    }

    fn reach(&mut self, service: &Service, upstream: &UpstreamPlan) {
        let how = match &upstream.reach {
            Reach::Mesh => "in the mesh".to_owned(),
            Reach::Url { tls, host, port, prefix } => {
                let scheme = if *tls { "https" } else { "http" };
                let port = port.map_or_else(String::new, |port| format!(":{port}"));
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("elsewhere, {scheme}://{host}{port}{prefix}")
            }
        };
        let source = Source::Line(upstream.origin.clone());
        self.line("upstream", format!("`{}`, {how}", upstream.name), source);
        let how = match &upstream.balance {
            Balance::LeastLoaded => "the less loaded of two instances".to_owned(),
            Balance::RoundRobin => "instances in turn".to_owned(),
            Balance::Ring(HashKey::Header(name)) => format!("the same instance for the same `{name}`"),
            Balance::Ring(HashKey::Cookie(name)) => format!("the same instance for the same cookie `{name}`"),
            Balance::Ring(HashKey::Address) => "the same instance for the same address".to_owned(),
        };
        let said = service.resilience.as_ref().and_then(|said| said.balance.as_ref()).map(|said| said.span);
        let source = self.said(said);
        self.line("balance", how, source);
    }

    fn versions(&mut self, service: &Service, upstream: &UpstreamPlan) {
        if upstream.versions.is_empty() {
            return;
        }
        let span = |name: &str| {
            let versions = service.rollout.iter().flat_map(|rollout| &rollout.versions);
            versions
                .into_iter()
                .find(|version| version.version.value == name)
                .map(|version| version.version.span)
        };
        let forced = upstream
            .versions
            .iter()
            .find(|version| version.header.as_ref().is_some_and(|header| self.question.has_header(header)));
        if let Some(version) = forced {
            let field = version.header.as_ref().map(field_text).unwrap_or_default();
            let source = self.said(span(&version.version));
            self.line("version", format!("`{}`, because of {field}", version.version), source);
            return;
        }
        let mut rest = 10_000_u32;
        for version in &upstream.versions {
            rest = rest.saturating_sub(version.share_bp);
            let asked = version
                .header
                .as_ref()
                .map_or_else(String::new, |header| format!(", and all with {}", field_text(header)));
            let source = self.said(span(&version.version));
            let says = format!("`{}` gets {}{asked}", version.version, percent(u64::from(version.share_bp)));
            self.line("version", says, source);
        }
        let says = format!("`{}` gets {}", defaults::BASE_VERSION, percent(u64::from(rest)));
        self.line("version", says, Source::Derived);
    }

    /// Both sides of the mutual TLS, and the line of the allow graph that lets the caller in.
    fn identity_and_allow(
        &mut self,
        plan: &Plan,
        upstream: &UpstreamPlan,
        caller: &str,
        sent: &Request,
    ) -> bool {
        if upstream.reach != Reach::Mesh {
            let says = "none: the service runs elsewhere, so nothing there checks who calls";
            self.line("identity", says, Source::Derived);
            return true;
        }
        let name = if caller == GATEWAY { "weft-gateway" } else { caller };
        let says = format!("{} calls {}", Self::identity(plan, name), Self::identity(plan, &upstream.name));
        self.line("identity", says, Source::Derived);
        let Some(RolePlan::Sidecar(callee)) = self.plans.sidecars.get(&upstream.name).map(|plan| &plan.role)
        else {
            return false;
        };
        let line = callee.inbound.allow.iter().find(|line| {
            (line.caller == caller || line.caller == "*")
                && (line.endpoints.is_empty()
                    || line.endpoints.iter().any(|endpoint| endpoint.matches(&sent.method, &sent.path)))
        });
        let Some(line) = line else {
            let says = format!(
                "the sidecar of `{}` lets no `{} {}` of {caller} in",
                upstream.name, sent.method, sent.path
            );
            self.refused(Code::NotAllowed, says, Source::Default);
            return false;
        };
        let what = line.endpoints.iter().find(|endpoint| endpoint.matches(&sent.method, &sent.path));
        let what = what.map_or_else(|| "everything".to_owned(), |endpoint| format!("`{endpoint}`"));
        let source = Source::Line(line.origin.clone());
        self.line("allow", format!("yes: `{}` may call {what} of `{}`", line.caller, upstream.name), source);
        true
    }

    /// The limits that hold, see [`ResiliencePlan::timeout_whole`].
    fn time(&mut self, service: &Service, upstream: &UpstreamPlan, from: Reached<'_>) {
        let outer = match from {
            Reached::Edge { gateway, route } => self.outer(gateway, route),
            Reached::Mesh { .. } => None,
        };
        let resilience = &upstream.resilience;
        let said = service.resilience.as_ref();
        let span = said.and_then(|said| said.timeout.as_ref()).map(|timeout| timeout.span);
        let inner = resilience.timeout_whole.then_some((resilience.timeout_ms, span));
        let limits = [outer.map(|(ms, span)| (ms, Some(span))), inner];
        match limits.into_iter().flatten().min_by_key(|(ms, _)| *ms) {
            Some((ms, span)) => {
                let source = self.said(span);
                self.line("time", format!("{}, to the last byte of the answer", show(ms)), source);
            }
            None => {
                let says = format!("{}, to the head of the answer", show(defaults::TIMEOUT_MS));
                self.line("time", says, Source::Default);
            }
        }
        if let Some(ms) = resilience.per_try_timeout_ms {
            let span = said.and_then(|said| said.per_try_timeout.as_ref()).map(|said| said.span);
            let source = self.said(span);
            self.line("time", format!("{} for one try", show(ms)), source);
        }
        self.connecting(service, resilience);
    }

    fn connecting(&mut self, service: &Service, resilience: &ResiliencePlan) {
        let said = service.resilience.as_ref().and_then(|said| said.connect_timeout.as_ref());
        let source = self.said(said.map(|said| said.span));
        self.line("time", format!("{} for making a connection", show(resilience.connect_timeout_ms)), source);
    }

    /// The limit that the edge says: the route's, else the gateway's.
    fn outer(&self, gateway: &GatewayPlan, route: &RoutePlan) -> Option<(u64, Span)> {
        let model = self.model.gateway.as_ref()?;
        if let Some(ms) = route.timeout_ms {
            let said =
                model.routes.iter().find(|said| self.model.origin(said.said.key.span) == route.origin)?;
            return Some((ms, said.said.timeout.as_ref()?.span));
        }
        Some((gateway.timeout_ms, model.said.timeout.as_ref()?.span))
    }

    fn retry(&mut self, service: &Service, upstream: &UpstreamPlan, sent: &Request) {
        let resilience = &upstream.resilience;
        let said = service.resilience.as_ref().and_then(|said| said.retry.as_ref()).map(|said| said.span);
        if resilience.retries == 0 {
            let source = self.said(said);
            self.line("retry", "none", source);
            return;
        }
        let safe = matches!(sent.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE");
        let declared =
            service.api.iter().flat_map(|api| &api.operations).find(|operation| {
                operation.idempotent && operation.endpoint.matches(&sent.method, &sent.path)
            });
        let keyed = self.question.has_header(&FieldMatch { name: "idempotency-key".to_owned(), value: None });
        let (why, source) = match declared {
            Some(operation) => {
                (format!("{} is declared idempotent", endpoint(&operation.endpoint)), self.at(operation.span))
            }
            None if safe => (format!("{} is idempotent", sent.method), Source::Derived),
            None if keyed => ("the request has an `idempotency-key`".to_owned(), Source::Derived),
            None => {
                let says = format!("none: {} is not idempotent and has no `idempotency-key`", sent.method);
                self.line("retry", says, Source::Default);
                return;
            }
        };
        let (low, high) = resilience.backoff_ms;
        let times =
            if resilience.retries == 1 { "once".to_owned() } else { format!("{} times", resilience.retries) };
        let says = format!(
            "{times}, after {} to {}; at most {} % of the requests plus {}/s",
            show(low),
            show(high),
            resilience.retry_budget_percent,
            resilience.retry_budget_floor
        );
        let rule = self.said(said);
        self.line("retry", says, rule);
        self.line("retry", format!("because {why}"), source);
    }

    fn limits(&mut self, service: &Service, resilience: &ResiliencePlan, from: Reached<'_>) {
        let said = service.resilience.as_ref();
        let limit = said.and_then(|said| said.limit.as_ref());
        let span =
            limit.and_then(|limit| limit.open.as_ref().or(limit.queued.as_ref())).map(|said| said.span);
        let source = self.said(span);
        // A sidecar has one worker; the gateway's do not count together.
        let whose = match from {
            Reached::Edge { .. } => "each worker thread of the gateway",
            Reached::Mesh { .. } => "each instance of the caller",
        };
        let (open, queued) = (resilience.limit.open, resilience.limit.queued);
        let says = format!("{open} open and {queued} queued for {whose}, then 503");
        self.line("limit", says, source);
    }

    fn breaker(&mut self, service: &Service, resilience: &ResiliencePlan) {
        let said = service.resilience.as_ref();
        let breaker = said.and_then(|said| said.breaker.as_ref());
        let span = breaker.and_then(|breaker| {
            breaker.failures.as_ref().map(|said| said.span).or(breaker.success.as_ref().map(|said| said.span))
        });
        let source = self.said(span);
        let says = format!(
            "an instance is set aside after {} failures in a row, or below {} % success",
            resilience.breaker_failures, resilience.breaker_success_percent
        );
        self.line("breaker", says, source);
    }

    fn fallback(&mut self, service: &Service, resilience: &ResiliencePlan) {
        let said = service.resilience.as_ref();
        match &resilience.fallback {
            Some(fallback) => {
                let source = self.said(said.and_then(|said| said.fallback.as_ref()).map(|said| said.span));
                self.line(
                    "fallback",
                    format!("{} with {} bytes", fallback.status, fallback.body.len()),
                    source,
                );
            }
            None => self.line("fallback", "none: the fault is shown", Source::Default),
        }
    }
}

fn show(ms: u64) -> String {
    show_duration(Duration::from_millis(ms)).to_string()
}

fn endpoint(endpoint: &EndpointPattern) -> String {
    format!("`{endpoint}`")
}

fn field_text(field: &FieldMatch) -> String {
    field
        .value
        .as_ref()
        .map_or_else(|| format!("`{}`", field.name), |value| format!("`{}: {value}`", field.name))
}
