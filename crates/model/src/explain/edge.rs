//! A request from outside: the route that it takes and the routes that it does not.

use crate::code::Code;
use crate::explain::upstream::{Reached, Request};
use crate::explain::{Explainer, Outcome, QuestionError, Source};
use crate::model::Route;
use crate::pattern::{EndpointPattern, method_covers};
use crate::plan::{ActionPlan, FieldEdits, GatewayPlan, Plan, RolePlan, RoutePlan};
use crate::route_order::{decided_by, host_matches, matches};
use crate::target;

/// Most of the routes that lost which are named.
const LOSERS_MAX: usize = 5;

impl Explainer<'_> {
    pub(super) fn edge(&mut self) -> Result<Outcome, QuestionError> {
        let plans = self.plans;
        let Some(plan) = &plans.gateway else { return Err(QuestionError::NoGateway) };
        let RolePlan::Gateway(gateway) = &plan.role else { return Err(QuestionError::NoGateway) };
        let found: Vec<&RoutePlan> = gateway.routes.iter().filter(|route| self.takes(route)).collect();
        let Some((route, lost)) = found.split_first() else { return Ok(self.no_route(gateway)) };
        let method = route.method.as_deref().unwrap_or("any method");
        let host = route.host.as_deref().unwrap_or("any host");
        self.line("route", format!("`{}` ({method}, {host})", route.key), Source::Line(route.origin.clone()));
        for other in lost.iter().take(LOSERS_MAX) {
            let says = format!("not `{}`: {}", other.key, decided_by(route, other));
            self.line("route", says, Source::Line(other.origin.clone()));
        }
        self.auth(route);
        self.cors(route);
        Ok(match &route.action {
            ActionPlan::Forward { targets, rewrite, replace } => {
                let total: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
                let mut upstreams = Vec::new();
                for target in targets {
                    if targets.len() > 1 {
                        let share = u64::from(target.weight) * 10_000 / total.max(1);
                        let says = format!("{} of the requests go to `{}`", percent(share), target.upstream);
                        self.line("share", says, Source::Line(route.origin.clone()));
                    }
                    let sent = self.sent(route, rewrite.as_deref(), replace.as_ref());
                    self.upstream(plan, &target.upstream, &sent, Reached::Edge { gateway, route });
                    upstreams.push(target.upstream.clone());
                }
                self.after(route);
                Outcome::Forwarded { upstreams }
            }
            ActionPlan::Redirect { to, status } => {
                let question = self.question;
                let location = target::location(to, &route.path, &question.path, question.query.as_deref());
                self.line(
                    "answer",
                    format!("{status} with `location: {location}`"),
                    Source::Line(route.origin.clone()),
                );
                Outcome::Answered { status: *status }
            }
            ActionPlan::Respond(fixed) => {
                let says = format!("{} with a fixed body of {} bytes", fixed.status, fixed.body.len());
                self.line("answer", says, Source::Line(route.origin.clone()));
                Outcome::Answered { status: fixed.status }
            }
        })
    }

    fn takes(&self, route: &RoutePlan) -> bool {
        let question = self.question;
        let host = question.host.as_deref().unwrap_or_default();
        let header = |want: &_| question.has_header(want);
        let query = |want: &_| question.has_query(want);
        matches(route, &question.method, host, &question.path, &header, &query)
    }

    /// Why no route matches: what each that has the path asks for besides.
    fn no_route(&mut self, gateway: &GatewayPlan) -> Outcome {
        let question = self.question;
        let host = question.host.clone().unwrap_or_default();
        let near: Vec<&RoutePlan> =
            gateway.routes.iter().filter(|route| route.path.matches(&question.path)).collect();
        let mut methods: Vec<&str> = Vec::new();
        for route in near.iter().take(LOSERS_MAX) {
            let why = if !host_matches(route.host.as_deref(), &host) {
                format!("it is for host `{}`", route.host.as_deref().unwrap_or_default())
            } else if !method_covers(route.method.as_deref(), &question.method) {
                format!("it is for `{}`", route.method.as_deref().unwrap_or_default())
            } else {
                let names = route.headers.iter().chain(&route.query).map(|field| field.name.as_str());
                format!("it asks for {}", crate::resolve::list(&names.collect::<Vec<_>>()))
            };
            self.line("route", format!("not `{}`: {why}", route.key), Source::Line(route.origin.clone()));
        }
        for route in near {
            let fields = route.headers.iter().all(|want| question.has_header(want))
                && route.query.iter().all(|want| question.has_query(want));
            if let Some(method) =
                route.method.as_deref().filter(|_| fields && host_matches(route.host.as_deref(), &host))
            {
                methods.push(method);
            }
        }
        if methods.is_empty() {
            return self.refused(Code::NoRoute, "no route matches", Source::Derived);
        }
        methods.sort_unstable();
        methods.dedup();
        let why = format!("the path is there for {}", crate::resolve::list(&methods));
        self.refused(Code::MethodNotAllowed, why, Source::Derived)
    }

    fn said_route(&self, plan: &RoutePlan) -> Option<&Route> {
        let gateway = self.model.gateway.as_ref()?;
        gateway.routes.iter().find(|route| self.model.origin(route.said.key.span) == plan.origin)
    }

    fn auth(&mut self, route: &RoutePlan) {
        let own = self.said_route(route).and_then(|route| route.said.auth.as_ref()).map(|auth| auth.span);
        let gateway =
            self.model.gateway.as_ref().and_then(|gateway| gateway.said.auth.as_ref()).map(|auth| auth.span);
        let source = self.said(own.or(gateway));
        self.line("auth", "none: open to everyone", source);
    }

    fn cors(&mut self, route: &RoutePlan) {
        let Some(cors) = &route.cors else { return };
        let own = self.said_route(route).and_then(|route| route.said.cors.as_ref()).map(|cors| cors.span);
        let gateway =
            self.model.gateway.as_ref().and_then(|gateway| gateway.said.cors.as_ref()).map(|cors| cors.span);
        let source = self.said(own.or(gateway));
        let credentials = if cors.credentials { ", with credentials" } else { "" };
        let says =
            format!("origins {}; methods {}{credentials}", cors.origins.join(", "), cors.methods.join(", "));
        self.line("cors", says, source);
    }

    /// Method and path as they leave the gateway.
    fn sent(
        &mut self,
        route: &RoutePlan,
        rewrite: Option<&str>,
        replace: Option<&EndpointPattern>,
    ) -> Request {
        let question = self.question;
        let mut sent = Request { method: question.method.clone(), path: question.path.clone() };
        let mut query = question.query.clone();
        if let Some(prefix) = rewrite {
            sent.path = target::rewritten(prefix, &route.path, &question.path);
        }
        if let Some(EndpointPattern::Http { method, path, query: own }) = replace {
            let to = target::replaced(
                path,
                own.as_deref(),
                &route.path,
                &question.path,
                question.query.as_deref(),
            );
            let (path, own) = to.split_once('?').map_or((to.as_str(), None), |(path, own)| (path, Some(own)));
            (sent.path, query) = (path.to_owned(), own.map(str::to_owned));
            sent.method = method.clone().unwrap_or(sent.method);
        }
        if sent.path != question.path || sent.method != question.method || query != question.query {
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            let says = format!("sent as `{} {}{query}`", sent.method, sent.path);
            self.line("rewrite", says, Source::Line(route.origin.clone()));
        }
        sent
    }

    /// Edits and copies.
    fn after(&mut self, route: &RoutePlan) {
        for (what, edits) in [("request", &route.request_headers), ("response", &route.response_headers)] {
            if let Some(says) = edits_text(what, edits) {
                self.line("fields", says, Source::Line(route.origin.clone()));
            }
        }
        if let Some(mirror) = &route.mirror {
            let says = format!("{} copied to `{}`", percent(u64::from(mirror.share_bp)), mirror.upstream);
            let span =
                self.said_route(route).and_then(|route| route.said.mirror.as_ref()).map(|said| said.to.span);
            let source = self.said(span);
            self.line("mirror", says, source);
        }
    }

    /// The identity of a service.
    pub(super) fn identity(plan: &Plan, service: &str) -> String {
        format!("spiffe://{}/ns/default/svc/{service}", plan.trust_domain)
    }
}

fn edits_text(what: &str, edits: &FieldEdits) -> Option<String> {
    let removed = edits.remove.iter().map(|name| format!("without {name}"));
    let set = edits.set.iter().map(|(name, value)| format!("{name}: {value}"));
    let all: Vec<String> = removed.chain(set).collect();
    (!all.is_empty()).then(|| format!("{what}: {}", all.join(", ")))
}

/// Parts of ten thousand.
pub(super) fn percent(share_bp: u64) -> String {
    if share_bp.is_multiple_of(100) {
        format!("{}%", share_bp / 100)
    } else {
        format!("{}.{:02}%", share_bp / 100, share_bp % 100)
    }
}
