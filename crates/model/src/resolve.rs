//! Manifest → Model: every name that is said is looked up, and what cannot be found is a finding with what was perhaps meant.
//!
//! What a name stands for is decided here alone; whether what is said makes sense is `check.rs`.

use std::collections::BTreeMap;

use crate::api::{Api, ApiKind, Mismatch};
use crate::code::Code;
use crate::finding::{Finding, Span, did_you_mean};
use crate::manifest::{self, Callee, Downstream, Manifest, RouteAction, Scheme, Spanned};
use crate::model::{Call, ContextId, Gateway, Model, Relation, Route, Service, ServiceId, Target};
use crate::pattern::EndpointPattern;
use crate::plan::Protocol;

/// Resolves all names. `apis` holds what could be read, by the name of the service; `files` the names of all files.
///
/// The model holds what could be resolved, so that `check` finds what else is wrong.
pub fn resolve(
    manifest: Manifest,
    mut apis: BTreeMap<String, Api>,
    files: Vec<String>,
) -> (Model, Vec<Finding>) {
    let mut services: Vec<Service> =
        manifest.services.into_iter().map(|said| service(&mut apis, said)).collect();
    services.sort_by(|a, b| a.name().cmp(b.name()));
    services.dedup_by(|a, b| a.name() == b.name());
    let model = Model {
        files,
        span: manifest.span,
        system: manifest.system.map(|system| system.value).unwrap_or_default(),
        trust_domain: manifest.trust_domain,
        contexts: manifest.contexts.iter().map(|context| context.name.clone()).collect(),
        services,
        external: manifest.external,
        observe: manifest.observe,
        ..Model::default()
    };
    let mut resolver = Resolver { model, findings: Vec::new(), hints_left: HINTS_MAX };
    resolver.contexts(&manifest.contexts);
    resolver.relations(&manifest.relations);
    resolver.calls();
    resolver.resilience(manifest.resilience);
    resolver.rollout(manifest.rollout);
    resolver.model.gateway = manifest.gateway.map(|said| resolver.gateway(said));
    (resolver.model, resolver.findings)
}

fn service(apis: &mut BTreeMap<String, Api>, said: manifest::Service) -> Service {
    let api = apis.remove(&said.name.value);
    let seen = || match (api.as_ref().map(|api| api.kind), said.url.as_ref().map(|url| url.scheme)) {
        (_, Some(Scheme::Tcp)) => Protocol::Tcp,
        (Some(ApiKind::Proto), _) => Protocol::Grpc,
        (Some(ApiKind::OpenApi), _) => Protocol::Http,
        (None, _) => Protocol::Auto,
    };
    let protocol = said.protocol.as_ref().map_or_else(seen, |protocol| protocol.value);
    Service { said, context: None, protocol, api, calls: Vec::new(), resilience: None, rollout: None }
}

/// Most names for which a near one is looked for: it compares with every known name.
const HINTS_MAX: usize = 200;

struct Resolver {
    model: Model,
    findings: Vec<Finding>,
    hints_left: usize,
}

impl Resolver {
    /// Whether a hint may still be looked for.
    fn may_hint(&mut self) -> bool {
        let may = self.hints_left > 0;
        self.hints_left = self.hints_left.saturating_sub(1);
        may
    }

    fn service(&mut self, name: &Spanned<String>) -> Option<ServiceId> {
        let found = self.model.find(name);
        if found.is_none() {
            let taken = if self.may_hint() { usize::MAX } else { 0 };
            let known: Vec<&str> = self.model.services.iter().map(Service::name).take(taken).collect();
            let near = did_you_mean(name, known.iter().copied());
            let remedy = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "declare it under `services`".to_owned(),
                None => format!("declare it under `services`, or use one of {}", list(&known)),
            };
            let message = format!("no service is named `{name}`");
            self.findings.push(Finding::error(Code::UnknownService, name.span, message).remedy(remedy));
        }
        found
    }

    fn context(&mut self, name: &str, span: Span) -> Option<ContextId> {
        let found = self.model.contexts.iter().position(|context| context.value == name).map(ContextId);
        if found.is_none() {
            let taken = if self.may_hint() { usize::MAX } else { 0 };
            let contexts = self.model.contexts.iter().map(|context| context.value.as_str());
            let known: Vec<&str> = contexts.take(taken).collect();
            let remedy = match did_you_mean(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `contexts`".to_owned(),
            };
            let message = format!("no context is named `{name}`");
            self.findings.push(Finding::error(Code::UnknownContext, span, message).remedy(remedy));
        }
        found
    }

    fn contexts(&mut self, contexts: &[manifest::Context]) {
        let mut first: BTreeMap<ServiceId, (usize, Span)> = BTreeMap::new();
        for (index, context) in contexts.iter().enumerate() {
            for name in &context.services {
                let Some(id) = self.service(name) else { continue };
                let Some((other, span)) = first.get(&id) else {
                    first.insert(id, (index, name.span));
                    self.model.services[id.0].context = Some(ContextId(index));
                    continue;
                };
                let message = if *other == index {
                    format!("`{name}` stands twice in context `{}`", context.name)
                } else {
                    format!(
                        "`{name}` is in context `{}` and in context `{}`",
                        contexts[*other].name, context.name
                    )
                };
                self.findings.push(
                    Finding::error(Code::ServiceInTwoContexts, name.span, message)
                        .remedy("keep it in the context whose language it speaks")
                        .note(*span, "it stands here first"),
                );
            }
        }
    }

    fn relations(&mut self, relations: &[manifest::Relation]) {
        for said in relations {
            let upstream = self.context(&said.upstream, said.upstream.span);
            let downstream = match &said.downstream.value {
                Downstream::Any => Some(None),
                Downstream::Context(name) => self.context(name, said.downstream.span).map(Some),
            };
            if let (Some(upstream), Some(downstream)) = (upstream, downstream) {
                let pattern = said.pattern.value;
                self.model.relations.push(Relation { span: said.span, upstream, downstream, pattern });
            }
        }
    }

    fn calls(&mut self) {
        for caller in 0..self.model.services.len() {
            let said = std::mem::take(&mut self.model.services[caller].said.calls);
            let calls: Vec<Call> = said.iter().filter_map(|callee| self.call(callee)).collect();
            let service = &mut self.model.services[caller];
            service.said.calls = said;
            service.calls = calls;
        }
    }

    fn call(&mut self, said: &Callee) -> Option<Call> {
        let callee = self.service(&said.service)?;
        let endpoint = match &said.endpoint {
            None => None,
            Some(endpoint) => Some(self.endpoint(callee, endpoint)?),
        };
        Some(Call { span: said.span, callee, endpoint })
    }

    /// The endpoint of a service, checked against what it speaks and, where there is a file, against its API.
    fn endpoint(&mut self, id: ServiceId, said: &Spanned<EndpointPattern>) -> Option<EndpointPattern> {
        let hint = self.hints_left > 0;
        let service = self.model.service(id);
        let name = service.name();
        let finding = |code, message: String| Finding::error(code, said.span, message);
        let grpc = matches!(said.value, EndpointPattern::Grpc { .. });
        let refused = match service.protocol {
            Protocol::Tcp => Some(format!("`{name}` speaks TCP: it has no endpoints")),
            Protocol::Http if grpc => Some(format!("`{name}` speaks HTTP, not gRPC")),
            _ => None,
        };
        if let Some(message) = refused {
            let remedy = format!("write `{name}` alone, or correct its `protocol`");
            self.findings.push(finding(Code::ProtocolMismatch, message).remedy(remedy));
            return None;
        }
        let Some(api) = &service.api else { return Some(said.value.clone()) };
        let found = match api.resolve(said, hint) {
            Ok(endpoint) => return Some(endpoint),
            Err(Mismatch::Method(methods)) => {
                let message = format!("`{name}` has this path, but not with this method");
                finding(Code::MethodMismatch, message).remedy(format!("it has {}", list(&methods)))
            }
            Err(Mismatch::Unknown(near)) => {
                let remedy = match near {
                    Some(near) => format!("did you mean `{name} {near}`?"),
                    None => "correct it, or add it to the API file".to_owned(),
                };
                finding(Code::UnknownEndpoint, format!("the API of `{name}` has no `{said}`")).remedy(remedy)
            }
            Err(Mismatch::Protocol) => {
                let kind = if api.kind == ApiKind::Proto { "gRPC" } else { "HTTP" };
                finding(Code::ProtocolMismatch, format!("the API of `{name}` is {kind}, and `{said}` is not"))
                    .remedy(if api.kind == ApiKind::Proto {
                        "write `package.Service/Method`"
                    } else {
                        "write `METHOD /path`"
                    })
            }
        };
        let found = match service.said.api.as_ref() {
            Some(file) => found.note(file.span, "its API is read from here"),
            None => found,
        };
        self.findings.push(found);
        self.may_hint();
        None
    }

    fn resilience(&mut self, said: Vec<manifest::Resilience>) {
        for entry in said {
            if let Some(id) = self.service(&entry.service) {
                self.model.services[id.0].resilience = Some(entry);
            }
        }
    }

    fn rollout(&mut self, said: Vec<manifest::Rollout>) {
        for entry in said {
            if let Some(id) = self.service(&entry.service) {
                self.model.services[id.0].rollout = Some(entry);
            }
        }
    }

    fn gateway(&mut self, mut said: manifest::Gateway) -> Gateway {
        let routes = std::mem::take(&mut said.routes);
        let routes = routes.into_iter().map(|route| self.route(route)).collect();
        Gateway { said, routes }
    }

    fn route(&mut self, said: manifest::Route) -> Route {
        let mut targets = Vec::new();
        if let Some(RouteAction::Forward { targets: named, .. }) = &said.action {
            for target in named {
                let Some(call) = self.call(&target.to) else { continue };
                targets.push(Target {
                    span: call.span,
                    service: call.callee,
                    endpoint: call.endpoint,
                    weight_ppm: target.weight.as_ref().map(|weight| weight.as_ppm()),
                });
            }
        }
        let mirror = said.mirror.as_ref().and_then(|mirror| self.service(&mirror.to));
        Route { said, targets, mirror }
    }
}

/// "`a`, `b` and `c`", at most ten of them.
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    const SHOWN_MAX: usize = 10;
    let quoted: Vec<String> =
        names.iter().take(SHOWN_MAX).map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        _ if names.len() > SHOWN_MAX => format!("{} and {} more", quoted.join(", "), names.len() - SHOWN_MAX),
        [] => "none".to_owned(),
        [one] => one.clone(),
        [several @ .., last] => format!("{} and {last}", several.join(", ")),
    }
}
