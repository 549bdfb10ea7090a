//! The edge: routes, their targets and answers, cross-origin rules.

use weft_stdx::units::Percent;

use crate::code::Code;
use crate::finding::{Finding, Span, Spanned};
use crate::grammar::lexical;
use crate::manifest::{Answer, Cors, FieldEdits, Gateway, GatewayTls, Mirror, Route, RouteAction, Target};
use crate::yaml::{Entry, Node};

use super::{Reader, callee, callee_node, entries, field, field_match, list, name, scalar, status, value};

impl Reader<'_> {
    pub(super) fn gateway(&mut self, entry: &Entry) -> Option<Gateway> {
        let node = &entry.value;
        if node.scalar().is_some_and(|scalar| !scalar.is_null()) || !node.items().is_empty() {
            return None;
        }
        let listen = match field(node, "listen") {
            Some(one) if one.scalar().is_some() => value(one, lexical::listen_address).into_iter().collect(),
            _ => list(node, "listen", lexical::listen_address),
        };
        if let Some(said) = field(node, "listen")
            && said.scalar().is_none()
            && said.items().is_empty()
            && said.entries().is_empty()
        {
            self.error(
                Code::BadValue,
                said.span,
                "`listen` names no address",
                "write for example `listen: \"127.0.0.1:8080\"`",
            );
        }
        Some(Gateway {
            span: entry.key.span,
            listen,
            tls: field(node, "tls").and_then(gateway_tls),
            trusted_proxies: list(node, "trusted_proxies", lexical::network),
            auth: scalar(node, "auth", lexical::auth),
            has_auth: field(node, "auth").is_some(),
            timeout: scalar(node, "timeout", lexical::duration),
            cors: field(node, "cors").map(|cors| self.cors(cors)),
            has_routes: !entries(node, "routes").is_empty(),
            routes: entries(node, "routes").iter().filter_map(|entry| self.route(entry)).collect(),
        })
    }

    fn route(&mut self, entry: &Entry) -> Option<Route> {
        let key = name(&entry.key, lexical::route_key)?;
        let node = &entry.value;
        let match_node = field(node, "match");
        let headers = field(node, "headers");
        let edits =
            |side: &str| headers.and_then(|node| field(node, side)).map(field_edits).unwrap_or_default();
        Some(Route {
            action: self.action(entry),
            match_headers: match_node
                .map_or(&[][..], |node| entries(node, "headers"))
                .iter()
                .filter_map(|entry| field_match(entry, lexical::edge_field_name))
                .collect(),
            match_query: match_node
                .map_or(&[][..], |node| entries(node, "query"))
                .iter()
                .filter_map(|entry| field_match(entry, lexical::query_name))
                .collect(),
            timeout: scalar(node, "timeout", lexical::duration),
            request_headers: edits("request"),
            response_headers: edits("response"),
            cors: field(node, "cors").map(|cors| self.cors(cors)),
            mirror: field(node, "mirror").and_then(mirror),
            auth: scalar(node, "auth", lexical::auth),
            has_auth: field(node, "auth").is_some(),
            key,
        })
    }

    /// Exactly one of the three, and what goes with it.
    fn action(&mut self, entry: &Entry) -> Option<RouteAction> {
        let node = &entry.value;
        if node.is_null() {
            let remedy = "write the service that answers, for example `GET /orders/**: orders`";
            self.error(Code::MissingKey, entry.key.span, "the route leads nowhere", remedy);
            return None;
        }
        if node.scalar().is_some() {
            let to = callee_node(node)?;
            return Some(RouteAction::Forward { targets: vec![Target { to, weight: None }], rewrite: None });
        }
        if self.one_of(node, &["to", "redirect", "respond"]) == 0 && !node.entries().iter().any(later_action)
        {
            let remedy = "add `to: SERVICE`, `redirect: PATH` or `respond: { status: 204 }`";
            self.error(Code::MissingKey, entry.key.span, "the route leads nowhere", remedy);
        }
        if let Some(to) = field(node, "to") {
            let targets = self.targets(to);
            let rewrite = scalar(node, "rewrite", lexical::rewrite);
            if targets.iter().any(|target| target.to.endpoint.is_some()) {
                self.useless(node, &["rewrite"], "`to` with a method and a path");
            }
            return (!targets.is_empty()).then_some(RouteAction::Forward { targets, rewrite });
        }
        if let Some(redirect) = field(node, "redirect") {
            self.unsent(node, "`redirect`");
            let (to, status) = match redirect.scalar() {
                Some(_) => (value(redirect, lexical::redirect_target), None),
                None => (
                    scalar(redirect, "to", lexical::redirect_target),
                    scalar(redirect, "status", lexical::redirect_status),
                ),
            };
            return Some(RouteAction::Redirect { to: to?, status });
        }
        let respond = field(node, "respond")?;
        self.unsent(node, "`respond`");
        self.answer(respond).map(RouteAction::Respond)
    }

    /// Reports what is for a request that goes to a service, where none does.
    fn unsent(&mut self, node: &Node, beside: &str) {
        self.useless(node, &["rewrite", "mirror", "timeout"], beside);
        if let Some(headers) = field(node, "headers") {
            self.useless(headers, &["request"], beside);
        }
    }

    /// One service, or several with their shares.
    fn targets(&mut self, node: &Node) -> Vec<Target> {
        if node.scalar().is_some() {
            return callee_node(node).map(|to| Target { to, weight: None }).into_iter().collect();
        }
        let mut targets: Vec<Target> = Vec::new();
        for entry in node.entries() {
            let weight = value(&entry.value, lexical::percent);
            let Some(to) = callee(&entry.key) else { continue };
            targets.push(Target { to, weight });
        }
        let read = targets.iter().filter(|target| target.weight.is_some()).count();
        if read == node.entries().len() && read > 0 {
            let shares = targets.iter().filter_map(|target| target.weight.as_ref());
            let sum: u64 = shares.map(|share| u64::from(share.as_ppm())).sum();
            let sum = u32::try_from(sum).unwrap_or(u32::MAX);
            self.shares(node.span, sum, "the shares of this route");
        } else if node.entries().is_empty() && node.items().is_empty() {
            self.error(Code::BadShares, node.span, "`to` names no service", "write for example `to: orders`");
        }
        targets
    }

    /// Shares of one whole must be all of it.
    pub(super) fn shares(&mut self, span: Span, sum_ppm: u32, what: &str) {
        if sum_ppm != Percent::ALL.as_ppm() {
            let message = format!("{what} add up to {}, not to 100%", show_ppm(sum_ppm));
            self.error(Code::BadShares, span, message, "change them so that they add up to 100%");
        }
    }

    pub(super) fn answer(&mut self, node: &Node) -> Option<Answer> {
        if node.scalar().is_some() {
            let status = value(node, lexical::fallback)?;
            return Some(Answer { span: node.span, status, headers: Vec::new(), body: None });
        }
        let status = scalar(node, "status", status);
        let body = scalar(node, "body", lexical::free_text);
        if let (Some(status), Some(body)) = (&status, &body)
            && matches!(status.value, 204 | 304)
            && !body.is_empty()
        {
            let message = format!("an answer with status {} has no body", status.value);
            self.error(Code::BadValue, body.span, message, "remove `body`, or use another status");
        }
        Some(Answer { span: node.span, status: status?, headers: pairs(entries(node, "headers")), body })
    }

    fn cors(&mut self, node: &Node) -> Cors {
        let origins = list(node, "origins", lexical::origin);
        let credentials = scalar(node, "credentials", lexical::boolean);
        let star = origins.iter().find(|origin| origin.value == "*");
        if let (Some(star), Some(said)) = (star, &credentials)
            && said.value
        {
            let message = "credentials together with the origin `*` are refused by every browser";
            let finding = Finding::error(Code::CorsContradiction, said.span, message);
            let finding =
                finding.remedy("list the origins that may send credentials, or remove `credentials`");
            self.findings.push(finding.note(star.span, "every origin is allowed here"));
        }
        if let Some(star) = star.filter(|_| origins.len() > 1) {
            let message = "`*` stands beside other origins, which it includes";
            self.error(
                Code::CorsContradiction,
                star.span,
                message,
                "write `[\"*\"]` alone, or only the list",
            );
        }
        if let Some(said) =
            field(node, "origins").filter(|said| said.items().is_empty() && said.scalar().is_none())
        {
            let message = "`origins` is empty: no page is allowed anything";
            self.error(Code::CorsContradiction, said.span, message, "list origins, or remove `cors`");
        }
        Cors {
            span: node.span,
            credentials,
            methods: field(node, "methods").map(|_| list(node, "methods", lexical::method)),
            headers: list(node, "headers", lexical::edge_field_name),
            expose: list(node, "expose", lexical::field_name),
            max_age: scalar(node, "max_age", lexical::duration),
            origins,
        }
    }
}

/// A route with one of these has been refused by name; that it leads nowhere would be a second finding for the same.
fn later_action(entry: &Entry) -> bool {
    matches!(entry.key.scalar.text.as_str(), "join" | "view" | "publish")
}

fn gateway_tls(node: &Node) -> Option<Spanned<GatewayTls>> {
    let tls = if node.scalar().is_some() {
        value(node, lexical::tls)?;
        GatewayTls::Auto
    } else {
        GatewayTls::Files {
            cert: scalar(node, "cert", lexical::file)?,
            key: scalar(node, "key", lexical::file)?,
        }
    };
    Some(Spanned::new(tls, node.span))
}

fn pairs(entries: &[Entry]) -> Vec<(Spanned<String>, Spanned<String>)> {
    let pair = |entry: &Entry| {
        Some((name(&entry.key, lexical::editable_field_name)?, value(&entry.value, lexical::field_value)?))
    };
    entries.iter().filter_map(pair).collect()
}

fn field_edits(node: &Node) -> FieldEdits {
    FieldEdits {
        set: pairs(entries(node, "set")),
        remove: list(node, "remove", lexical::editable_field_name),
    }
}

/// `service 10%` or the long form.
fn mirror(node: &Node) -> Option<Mirror> {
    let Some(text) = node.text() else {
        return Some(Mirror {
            to: scalar(node, "to", lexical::name)?,
            share: scalar(node, "share", lexical::percent),
        });
    };
    let (service, share) = lexical::mirror(&text.scalar.text).ok()?;
    let to = Spanned::new(service.clone(), text.part(0, service.len()));
    let end = text.scalar.text.trim_end().len();
    let share = share.map(|(share, start)| Spanned::new(share, text.part(start, end)));
    Some(Mirror { to, share })
}

/// A sum of shares, which may be above all.
pub(super) fn show_ppm(ppm: u32) -> String {
    let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
    if fraction == 0 {
        return format!("{whole}%");
    }
    format!("{whole}.{}%", format!("{fraction:04}").trim_end_matches('0'))
}
