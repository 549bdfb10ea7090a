//! What the manifest says, typed and not yet understood: names are not resolved, defaults are not filled in.
//!
//! Every name and value that a later check may point at carries its [`Span`]. The types hold what could be read: after a
//! mistake the part in question is absent (and there is a finding), everything else is there, so that later checks can
//! report their own findings in the same run.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use weft_stdx::units::{DurationRange, Percent, Rate};

pub use crate::finding::{FileId, Span, Spanned};
use crate::pattern::{EndpointPattern, PathPattern};
pub use crate::plan::{Balance, Protocol};

/// The manifest: all files merged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// The main file: where findings about the whole point to.
    pub span: Span,
    /// Name of the system.
    pub system: Option<Spanned<String>>,
    /// Bounded contexts.
    pub contexts: Vec<Context>,
    /// How contexts may talk.
    pub relations: Vec<Relation>,
    /// Named workloads.
    pub services: Vec<Service>,
    /// Hosts outside the system that every service may reach.
    pub external: Vec<Spanned<HostPort>>,
    /// The edge.
    pub gateway: Option<Gateway>,
    /// Recovery toward services, by callee.
    pub resilience: Vec<Resilience>,
    /// Shares of versions, by service.
    pub rollout: Vec<Rollout>,
    /// `trust.domain`.
    pub trust_domain: Option<Spanned<String>>,
    /// What to record and where to send it.
    pub observe: Observe,
}

/// `contexts: { sales: [orders, payments] }`
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Name.
    pub name: Spanned<String>,
    /// Names of services, as said.
    pub services: Vec<Spanned<String>>,
}

/// `upstream > downstream: pattern`
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// The whole entry.
    pub span: Span,
    /// Context that is called.
    pub upstream: Spanned<String>,
    /// Context that calls, or any.
    pub downstream: Spanned<Downstream>,
    /// What it means.
    pub pattern: Spanned<RelationPattern>,
}

/// The side that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downstream {
    /// Every context (`any`).
    Any,
    /// This one.
    Context(String),
}

/// Patterns of relations between bounded contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationPattern {
    /// `open-host`
    OpenHost,
    /// `customer-supplier`
    CustomerSupplier,
    /// `conformist`
    Conformist,
    /// `anticorruption`
    Anticorruption,
    /// `partnership`
    Partnership,
    /// `published-language`
    PublishedLanguage,
    /// `shared-kernel`
    SharedKernel,
    /// `separate-ways`
    SeparateWays,
}

/// A named workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name.
    pub name: Spanned<String>,
    /// Shell-like words that start it.
    pub run: Option<Spanned<String>>,
    /// Runs before the first start.
    pub build: Option<Spanned<String>>,
    /// Where it runs, if elsewhere.
    pub url: Option<Spanned<ServiceUrl>>,
    /// `run` or `url` is there, also where it could not be read.
    pub has_place: bool,
    /// Port that it listens on.
    pub port: Option<Spanned<u16>>,
    /// What it speaks; seen by itself where absent.
    pub protocol: Option<Spanned<Protocol>>,
    /// File of its API (OpenAPI 3 or `.proto`), relative to the main file's folder.
    pub api: Option<Spanned<String>>,
    /// What it calls.
    pub calls: Vec<Callee>,
    /// Copies.
    pub replicas: Option<Spanned<u32>>,
    /// Extra environment.
    pub env: Vec<EnvEntry>,
    /// Folder of the process, relative to the main file's folder.
    pub cwd: Option<Spanned<String>>,
    /// How to see that it is well.
    pub health: Option<Health>,
    /// Hosts outside the system that it may reach.
    pub external: Vec<Spanned<HostPort>>,
    /// Versions beside the base, which is `v1`.
    pub versions: Vec<Version>,
}

/// A version of a service: it says only what differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Name, e.g. `v2`.
    pub name: Spanned<String>,
    /// See [`Service`].
    pub run: Option<Spanned<String>>,
    /// See [`Service`].
    pub build: Option<Spanned<String>>,
    /// Added to the base's; what both name is this one's.
    pub env: Vec<EnvEntry>,
    /// See [`Service`].
    pub cwd: Option<Spanned<String>>,
    /// See [`Service`].
    pub port: Option<Spanned<u16>>,
    /// See [`Service`].
    pub replicas: Option<Spanned<u32>>,
}

/// A variable of a process.
#[derive(Clone, PartialEq)]
pub struct EnvEntry {
    /// Name.
    pub name: Spanned<String>,
    /// Value with `${…}` filled in.
    pub value: Spanned<String>,
    /// As written, with `${…}`: this is what may be shown to people.
    pub written: String,
}

impl EnvEntry {
    /// Whether a part of the value came from the environment: then only [`EnvEntry::written`] may be shown.
    pub fn from_environment(&self) -> bool {
        self.value.value != self.written
    }
}

/// A value may be a secret of the environment, so that only what was written is shown.
impl fmt::Debug for EnvEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}={:?}", self.name, self.written)
    }
}

/// `service`, `service METHOD /path` or `service package.Service/Method`.
#[derive(Debug, Clone, PartialEq)]
pub struct Callee {
    /// The whole string.
    pub span: Span,
    /// Name of a service.
    pub service: Spanned<String>,
    /// All endpoints where absent.
    pub endpoint: Option<Spanned<EndpointPattern>>,
}

/// Where a service that is not started here runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// What is spoken.
    pub scheme: Scheme,
    /// Lower-case name or address; IPv6 without brackets.
    pub host: String,
    /// As said; absent: the scheme's or by SRV.
    pub port: Option<u16>,
    /// Put before every path; empty or starts with `/`, never ends with it.
    pub prefix: String,
}

/// Scheme of a [`ServiceUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
    /// `tcp://`
    Tcp,
}

/// A host with a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Lower-case name or address; IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Written as it stands in an authority: IPv6 in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How to see that a service is well.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is asked; the default of the protocol where absent.
    pub probe: Option<Spanned<HealthProbe>>,
    /// Time between probes.
    pub interval: Option<Spanned<Duration>>,
    /// Limit of one probe.
    pub timeout: Option<Spanned<Duration>>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbe {
    /// `GET path`.
    Path(String),
    /// `grpc.health.v1`.
    Grpc,
    /// A connection.
    Tcp,
}

// --- gateway ----------------------------------------------------------------------------------------------------

/// The edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// The key `gateway`.
    pub span: Span,
    /// Where it listens.
    pub listen: Vec<Spanned<HostPort>>,
    /// TLS; plain where absent.
    pub tls: Option<Spanned<GatewayTls>>,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<Spanned<IpNet>>,
    /// `auth: none` opens all routes.
    pub auth: Option<Spanned<Auth>>,
    /// `auth` is there, also where it could not be read.
    pub has_auth: bool,
    /// Whole exchange.
    pub timeout: Option<Spanned<Duration>>,
    /// Cross-origin rules of all routes.
    pub cors: Option<Cors>,
    /// What is answered.
    pub routes: Vec<Route>,
    /// There are routes, also where they could not be read.
    pub has_routes: bool,
}

/// Certificates of the edge.
#[derive(Debug, Clone, PartialEq)]
pub enum GatewayTls {
    /// From the built-in authority.
    Auto,
    /// PEM files, relative to the main file's folder.
    Files {
        /// Chain.
        cert: Spanned<String>,
        /// Key.
        key: Spanned<String>,
    },
}

/// Authentication; `none` is the only one so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Open.
    None,
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `METHOD /path`, with a host in front or not.
    pub key: Spanned<RouteKey>,
    /// What happens; absent after a mistake.
    pub action: Option<RouteAction>,
    /// These fields must match.
    pub match_headers: Vec<FieldMatch>,
    /// These query parameters must match.
    pub match_query: Vec<FieldMatch>,
    /// Whole exchange.
    pub timeout: Option<Spanned<Duration>>,
    /// Edits of the request's fields.
    pub request_headers: FieldEdits,
    /// Edits of the response's fields.
    pub response_headers: FieldEdits,
    /// Cross-origin rules in place of the gateway's.
    pub cors: Option<Cors>,
    /// A copy of a share of the traffic.
    pub mirror: Option<Mirror>,
    /// `auth: none` opens this route.
    pub auth: Option<Spanned<Auth>>,
    /// `auth` is there, also where it could not be read.
    pub has_auth: bool,
}

/// What a route matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteKey {
    /// As written.
    pub text: String,
    /// Lower case; `*.` in front stands for one label.
    pub host: Option<String>,
    /// Any where absent (`ANY`).
    pub method: Option<String>,
    /// Path.
    pub path: PathPattern,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteAction {
    /// `to`
    Forward {
        /// At least one.
        targets: Vec<Target>,
        /// Replaces the literal part of the route's path before its first wildcard.
        rewrite: Option<Spanned<String>>,
    },
    /// `redirect`
    Redirect {
        /// Absolute URL or path.
        to: Spanned<String>,
        /// 301, 302, 303, 307 or 308; the default where absent.
        status: Option<Spanned<u16>>,
    },
    /// `respond`
    Respond(Answer),
}

/// A target of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Service; the endpoint replaces method and path of the request.
    pub to: Callee,
    /// Share; absent where the route has one target.
    pub weight: Option<Spanned<Percent>>,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The whole value.
    pub span: Span,
    /// HTTP status.
    pub status: Spanned<u16>,
    /// Fields; lower-case names.
    pub headers: Vec<(Spanned<String>, Spanned<String>)>,
    /// Body.
    pub body: Option<Spanned<String>>,
}

/// A field or query parameter that must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldMatch {
    /// Lower case for fields.
    pub name: Spanned<String>,
    /// Exact value; `None` for `"*"`: any.
    pub value: Spanned<Option<String>>,
}

/// Fields to set and to remove. Names are lower case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldEdits {
    /// Replace all of that name.
    pub set: Vec<(Spanned<String>, Spanned<String>)>,
    /// Taken away.
    pub remove: Vec<Spanned<String>>,
}

/// Cross-origin rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    /// The whole value.
    pub span: Span,
    /// Exact origins, or the single `*`.
    pub origins: Vec<Spanned<String>>,
    /// The default where absent.
    pub methods: Option<Vec<Spanned<String>>>,
    /// Lower case.
    pub headers: Vec<Spanned<String>>,
    /// Lower case.
    pub expose: Vec<Spanned<String>>,
    /// Never true together with `*`.
    pub credentials: Option<Spanned<bool>>,
    /// How long a preflight may be kept.
    pub max_age: Option<Spanned<Duration>>,
}

/// A copy of a share of the traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// Name of a service.
    pub to: Spanned<String>,
    /// All where absent.
    pub share: Option<Spanned<Percent>>,
}

// --- resilience, rollout, observe ---------------------------------------------------------------------------------

/// Recovery toward one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Resilience {
    /// Callee.
    pub service: Spanned<String>,
    /// Whole exchange toward it.
    pub timeout: Option<Spanned<Duration>>,
    /// One try.
    pub per_try_timeout: Option<Spanned<Duration>>,
    /// Making a connection.
    pub connect_timeout: Option<Spanned<Duration>>,
    /// Repetition.
    pub retry: Option<Spanned<Retry>>,
    /// Ejection.
    pub breaker: Option<Breaker>,
    /// Concurrency.
    pub limit: Option<Limit>,
    /// Answer when it cannot.
    pub fallback: Option<Answer>,
    /// How an instance is chosen.
    pub balance: Option<Spanned<Balance>>,
}

/// Repetition of what may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// Never.
    None,
    /// What differs from the defaults.
    Some {
        /// Attempts after the first.
        attempts: Option<Spanned<u32>>,
        /// Lowest and highest wait.
        backoff: Option<Spanned<DurationRange>>,
        /// Share of retries over requests.
        budget: Option<Spanned<Percent>>,
        /// Always allowed.
        floor: Option<Spanned<Rate>>,
    },
}

/// When an endpoint is ejected.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// Consecutive failures.
    pub failures: Option<Spanned<u32>>,
    /// Success rate below which it is out.
    pub success: Option<Spanned<Percent>>,
}

/// Concurrency toward a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Requests open at once.
    pub open: Option<Spanned<u32>>,
    /// Requests that wait.
    pub queued: Option<Spanned<u32>>,
}

/// Shares of the versions of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Service.
    pub service: Spanned<String>,
    /// By version.
    pub versions: Vec<RolloutVersion>,
}

/// Who gets a version.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutVersion {
    /// Name under `versions`, or `v1`.
    pub version: Spanned<String>,
    /// Share; 0 where absent.
    pub weight: Option<Spanned<Percent>>,
    /// Requests with this field, whatever the share.
    pub header: Option<FieldMatch>,
}

/// What to record and where to send it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observe {
    /// Where metrics are served; `Some(None)` for `none`.
    pub metrics: Option<Spanned<Option<HostPort>>>,
    /// Whether metrics have Istio's names, too.
    pub istio_names: Option<Spanned<bool>>,
    /// Whether metrics have Istio's durations, too.
    pub istio_durations: Option<Spanned<bool>>,
    /// Where spans go.
    pub traces: Option<Spanned<Traces>>,
    /// One line per exchange.
    pub access_log: Option<Spanned<AccessLog>>,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub enum Traces {
    /// Nowhere.
    None,
    /// An OTLP receiver.
    Otlp {
        /// `http://HOST:PORT`.
        url: Spanned<String>,
        /// `grpc` unless said.
        over: Option<Spanned<TracesOver>>,
        /// Share of new traces.
        sample: Option<Spanned<Percent>>,
    },
}

pub use crate::plan::TracesOver;

/// The access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// A share.
    Sampled(Percent),
    /// Every exchange.
    Full,
}
