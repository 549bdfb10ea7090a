//! The model: the manifest with its names resolved. What cannot be resolved is not in it; there is a finding instead.
//!
//! Services, contexts and relations are referred to by index ([`ServiceId`] and the like), so that everything behind this
//! point cannot name what does not exist.

use crate::api::Api;
use crate::finding::Span;
use crate::manifest::{self, Downstream, RelationPattern, Spanned};
use crate::pattern::EndpointPattern;
use crate::plan::{Origin, Protocol};

/// Index into [`Model::services`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// Index into [`Model::contexts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(pub usize);

/// Index into [`Model::relations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub usize);

/// The manifest with its names resolved.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// Names of the files, by [`FileId`](crate::finding::FileId).
    pub files: Vec<String>,
    /// The main file.
    pub span: Span,
    /// Name of the system.
    pub system: String,
    /// SPIFFE trust domain, if it was said.
    pub trust_domain: Option<Spanned<String>>,
    /// Bounded contexts, by name.
    pub contexts: Vec<Spanned<String>>,
    /// How contexts may talk.
    pub relations: Vec<Relation>,
    /// Services, by name.
    pub services: Vec<Service>,
    /// Outside hosts for every service.
    pub external: Vec<Spanned<manifest::HostPort>>,
    /// The edge.
    pub gateway: Option<Gateway>,
    /// What to record.
    pub observe: manifest::Observe,
}

/// How two contexts may talk.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// The entry.
    pub span: Span,
    /// Who is called.
    pub upstream: ContextId,
    /// Who calls; any where absent.
    pub downstream: Option<ContextId>,
    /// What it means.
    pub pattern: RelationPattern,
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// What was said.
    pub said: manifest::Service,
    /// Its context.
    pub context: Option<ContextId>,
    /// What it speaks: said, or seen from its API or URL.
    pub protocol: Protocol,
    /// Its API, if there is a file that could be read.
    pub api: Option<Api>,
    /// What it calls.
    pub calls: Vec<Call>,
    /// What was said about recovery toward it.
    pub resilience: Option<manifest::Resilience>,
    /// What was said about its versions.
    pub rollout: Option<manifest::Rollout>,
}

/// A declared call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The entry in `calls`.
    pub span: Span,
    /// Who is called.
    pub callee: ServiceId,
    /// What is called, the package filled in; everything where absent.
    pub endpoint: Option<EndpointPattern>,
}

/// The edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// What was said; its routes are in [`Gateway::routes`].
    pub said: manifest::Gateway,
    /// What is answered.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What was said.
    pub said: manifest::Route,
    /// Where it goes, with relative weights; empty for a redirect or a fixed answer.
    pub targets: Vec<Target>,
    /// Where copies go.
    pub mirror: Option<ServiceId>,
}

/// A target of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Where it is named.
    pub span: Span,
    /// Who.
    pub service: ServiceId,
    /// In place of the request's method and path.
    pub endpoint: Option<EndpointPattern>,
    /// Parts of a million; absent where it is the only target.
    pub weight_ppm: Option<u32>,
}

impl Service {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.said.name
    }
}

impl Model {
    /// A service.
    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.0]
    }

    /// The service of this name.
    pub fn find(&self, name: &str) -> Option<ServiceId> {
        self.services.binary_search_by(|service| service.name().cmp(name)).ok().map(ServiceId)
    }

    /// All services with their ids.
    pub fn ids(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.services.iter().enumerate().map(|(index, service)| (ServiceId(index), service))
    }

    /// Name of a context.
    pub fn context_name(&self, id: ContextId) -> &str {
        &self.contexts[id.0]
    }

    /// The relation that governs calls from a service of `downstream` to one of `upstream`, if any is declared. One that
    /// names both goes before one that says `any`. Partnership, shared kernel and separate ways hold in both directions.
    pub fn relation(&self, downstream: ContextId, upstream: ContextId) -> Option<RelationId> {
        let fits = |relation: &Relation| {
            let forth = relation.upstream == upstream && relation.downstream == Some(downstream);
            let back = relation.upstream == downstream && relation.downstream == Some(upstream);
            forth || (back && relation.pattern.is_mutual())
        };
        let any = |relation: &Relation| relation.upstream == upstream && relation.downstream.is_none();
        let find = |test: &dyn Fn(&Relation) -> bool| self.relations.iter().position(test).map(RelationId);
        find(&fits).or_else(|| find(&any))
    }

    /// A relation as it was written, e.g. `catalog > sales: open-host`.
    pub fn show_relation(&self, id: RelationId) -> String {
        let relation = &self.relations[id.0];
        let downstream = relation.downstream.map_or("any", |context| self.context_name(context));
        format!("{} > {downstream}: {}", self.context_name(relation.upstream), relation.pattern.as_str())
    }

    /// A place as plans carry it.
    pub fn origin(&self, span: Span) -> Origin {
        let file = self.files.get(span.file.0 as usize).cloned().unwrap_or_default();
        Origin { file, line: span.line, column: span.column }
    }
}

impl RelationPattern {
    /// Whether it holds in both directions.
    pub fn is_mutual(self) -> bool {
        matches!(
            self,
            RelationPattern::Partnership | RelationPattern::SharedKernel | RelationPattern::SeparateWays
        )
    }

    /// Whether `any` may stand for the downstream: only where nobody in particular is meant.
    pub fn allows_any(self) -> bool {
        matches!(
            self,
            RelationPattern::OpenHost | RelationPattern::PublishedLanguage | RelationPattern::SeparateWays
        )
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            RelationPattern::OpenHost => "open-host",
            RelationPattern::CustomerSupplier => "customer-supplier",
            RelationPattern::Conformist => "conformist",
            RelationPattern::Anticorruption => "anticorruption",
            RelationPattern::Partnership => "partnership",
            RelationPattern::PublishedLanguage => "published-language",
            RelationPattern::SharedKernel => "shared-kernel",
            RelationPattern::SeparateWays => "separate-ways",
        }
    }
}

impl Downstream {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Downstream::Any => "any",
            Downstream::Context(name) => name,
        }
    }
}
