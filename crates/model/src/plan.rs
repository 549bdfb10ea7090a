//! Derived, immutable instructions for one process: what the model lowers to and what the data plane runs.
//!
//! A plan names no key of the manifest and holds no expression that still has to be understood: each part says what to do
//! and carries the [`Origin`] of the line that asked for it, so that a refusal can name its rule. Plans cross process
//! boundaries as JSON ([`PLAN_FORMAT`]); deriving the same manifest twice gives the same bytes, so all maps are ordered.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pattern::{EndpointPattern, PathPattern};

/// Version of the JSON form below. A process refuses a plan of a format that it does not know.
pub const PLAN_FORMAT: u32 = 1;

/// Everything derived from one manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plans {
    /// Name of the system.
    pub system: String,
    /// Plan of the gateway, if the manifest has one.
    pub gateway: Option<Plan>,
    /// Plan of the sidecars of each service, by service name. Services elsewhere (`url`) have none.
    pub sidecars: BTreeMap<String, Plan>,
    /// What `weft up` starts.
    pub launch: LaunchPlan,
}

/// Instructions for one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Always [`PLAN_FORMAT`] when written by this build.
    pub format: u32,
    /// Name of the system.
    pub system: String,
    /// SPIFFE trust domain, e.g. `shop.test`.
    pub trust_domain: String,
    /// What this process is.
    pub role: RolePlan,
    /// Services that this process may reach, sorted by name; other parts refer to them by name.
    pub upstreams: Vec<UpstreamPlan>,
    /// What to record and where to send it.
    pub observe: ObservePlan,
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolePlan {
    /// The edge.
    Gateway(GatewayPlan),
    /// Beside one instance of a service.
    Sidecar(SidecarPlan),
}

/// Where in the manifest something was said; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Origin {
    /// Path as the user gave it, relative to the manifest's folder.
    pub file: String,
    /// Line, from 1; 0 where the value is a default.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

// --- gateway ----------------------------------------------------------------------------------------------------

/// The edge: where it listens and what it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayPlan {
    /// `HOST:PORT` addresses.
    pub listen: Vec<String>,
    /// TLS at the edge; plain where absent.
    pub tls: Option<EdgeTlsPlan>,
    /// Networks (CIDR) whose forwarding headers are believed.
    pub trusted_proxies: Vec<String>,
    /// Routes, the more specific first ([`route_order::precedence`](crate::route_order::precedence)): the first that matches
    /// is the one. Overlaps were refused.
    pub routes: Vec<RoutePlan>,
    /// Whole exchange, where neither the route nor the upstream says otherwise.
    pub timeout_ms: u64,
    /// See [`ResiliencePlan::timeout_whole`].
    #[serde(default)]
    pub timeout_whole: bool,
}

/// Certificates of the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeTlsPlan {
    /// PEM files, relative to the manifest's folder.
    Files {
        /// Chain, leaf first.
        cert: String,
        /// Private key.
        key: String,
    },
    /// From the built-in authority, for development.
    Auto,
}

/// One route: what matches and where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutePlan {
    /// The key as written, e.g. `GET /products/**`; the route's name in metrics and logs.
    pub key: String,
    /// Where it was said.
    pub origin: Origin,
    /// Exact host (lower case), or `*.example.org`; any where absent.
    pub host: Option<String>,
    /// Method; any where absent (`ANY`).
    pub method: Option<String>,
    /// Path.
    pub path: PathPattern,
    /// All of these fields must match (long form `match.headers`).
    #[serde(default)]
    pub headers: Vec<FieldMatch>,
    /// All of these query parameters must match (long form `match.query`).
    #[serde(default)]
    pub query: Vec<FieldMatch>,
    /// What happens.
    pub action: ActionPlan,
    /// Whole exchange, in place of the gateway's (also where that one is shorter); absent: the gateway's. Always said by
    /// the manifest, so it covers the response's body too.
    pub timeout_ms: Option<u64>,
    /// Edits of the request's fields.
    #[serde(default)]
    pub request_headers: FieldEdits,
    /// Edits of the response's fields.
    #[serde(default)]
    pub response_headers: FieldEdits,
    /// Cross-origin rules; preflights are answered by the gateway.
    pub cors: Option<CorsPlan>,
    /// A share of the traffic is copied there; its answers are dropped.
    pub mirror: Option<MirrorPlan>,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionPlan {
    /// Send on to one of the targets, chosen by weight.
    Forward {
        /// At least one; weights are relative.
        targets: Vec<WeightedTarget>,
        /// Replaces the literal part of the route's path before its first wildcard.
        rewrite: Option<String>,
        /// Method and path of the callee in place of the request's (`GET /me: users GET /users/1`).
        replace: Option<EndpointPattern>,
    },
    /// Answer with `Location`.
    Redirect {
        /// Absolute URL or path. `{param}` of the route's path is filled in.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// A fixed answer.
    Respond(FixedResponse),
}

/// A target with its relative weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedTarget {
    /// Name of an upstream.
    pub upstream: String,
    /// Relative weight; 0 gets nothing.
    pub weight: u32,
}

/// A fixed answer (route `respond`, resilience `fallback`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// HTTP status.
    pub status: u16,
    /// Fields, lower-case names.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default)]
    pub body: String,
}

/// A field or query parameter that must be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldMatch {
    /// Name; lower case for fields.
    pub name: String,
    /// Exact value; any value where absent.
    pub value: Option<String>,
}

/// Fields to set (replacing all of that name) and to remove. Names are lower case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FieldEdits {
    /// Set after removing.
    pub set: Vec<(String, String)>,
    /// Removed first.
    pub remove: Vec<String>,
}

/// Cross-origin rules (Fetch standard).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorsPlan {
    /// Exact origins, or the single `*`.
    pub origins: Vec<String>,
    /// Methods allowed in preflights.
    pub methods: Vec<String>,
    /// Request fields allowed in preflights; lower case.
    pub headers: Vec<String>,
    /// Response fields that scripts may read.
    pub expose: Vec<String>,
    /// Whether credentials may be sent; never together with `*`.
    pub credentials: bool,
    /// How long a preflight may be kept.
    pub max_age_s: u64,
}

/// A copy of a share of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MirrorPlan {
    /// Name of an upstream.
    pub upstream: String,
    /// Share in 1/10000.
    pub share_bp: u32,
}

// --- sidecar ----------------------------------------------------------------------------------------------------

/// The process beside one instance of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SidecarPlan {
    /// The service.
    pub service: String,
    /// Its bounded context.
    pub context: Option<String>,
    /// What comes in.
    pub inbound: InboundPlan,
    /// What goes out, sorted by callee.
    pub outbound: Vec<OutboundPlan>,
    /// Hosts outside the system that may be reached through the forward proxy.
    pub external: Vec<ExternalPlan>,
}

/// Toward the local service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboundPlan {
    /// What the service speaks.
    pub protocol: Protocol,
    /// Who may call; nobody else. Sorted by caller.
    pub allow: Vec<AllowPlan>,
    /// How to see that the service is well.
    pub health: HealthPlan,
    /// Operations of its API, for names in metrics.
    pub operations: Vec<OperationPlan>,
    /// Open and queued requests toward the local service.
    pub limit: LimitPlan,
}

/// One line of the allow graph: a caller and what it may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllowPlan {
    /// Service name, or `gateway`; `*` stands for every service of the trust domain.
    pub caller: String,
    /// The line that allows it.
    pub origin: Origin,
    /// Only these endpoints; all where empty.
    pub endpoints: Vec<EndpointPattern>,
}

/// Away from the local service: one declared callee.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundPlan {
    /// Name of an upstream.
    pub callee: String,
    /// Name of the variable that the service gets, e.g. `CATALOG_URL`.
    pub variable: String,
    /// The line that declares the call.
    pub origin: Origin,
    /// Only these endpoints; all where empty.
    pub endpoints: Vec<EndpointPattern>,
}

/// A host outside the system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalPlan {
    /// Lower-case host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Where it was said.
    pub origin: Origin,
}

/// How to see that a service is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthPlan {
    /// What is asked.
    pub probe: Probe,
    /// Time between probes.
    pub interval_ms: u64,
    /// Limit of one probe.
    pub timeout_ms: u64,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET path` answers 2xx or 3xx.
    Http {
        /// Absolute path.
        path: String,
    },
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc,
    /// A connection can be made.
    Tcp,
}

// --- upstreams --------------------------------------------------------------------------------------------------

/// A service that this process may reach, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamPlan {
    /// Name of the service.
    pub name: String,
    /// Where it was said.
    pub origin: Origin,
    /// How to reach it.
    pub reach: Reach,
    /// What it speaks.
    pub protocol: Protocol,
    /// How an instance is chosen.
    pub balance: Balance,
    /// Shares of versions other than `v1`; the rest goes to `v1`.
    pub versions: Vec<VersionPlan>,
    /// Time limits and recovery.
    pub resilience: ResiliencePlan,
    /// Operations of its API: names in metrics, and which may be retried.
    pub operations: Vec<OperationPlan>,
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Through the sidecars of its registered instances, with mutual TLS.
    Mesh,
    /// Directly.
    Url {
        /// Whether to speak TLS (`https`).
        tls: bool,
        /// Host name or address.
        host: String,
        /// Port; looked up by SRV where absent.
        port: Option<u16>,
        /// Put before every path; empty or starts with `/`, never ends with it.
        prefix: String,
    },
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 without TLS, for gRPC.
    Grpc,
    /// Bytes.
    Tcp,
    /// Seen by itself: requests that come as HTTP/2 gRPC go on as such, all others as HTTP/1.1.
    Auto,
}

/// How an instance is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Two random choices, the less loaded one by peak EWMA.
    LeastLoaded,
    /// In turn.
    RoundRobin,
    /// Consistent hash.
    Ring(HashKey),
}

/// What the consistent hash is taken of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// A field's value (lower-case name).
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// The downstream's address.
    Address,
}

/// The share of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionPlan {
    /// Name, e.g. `v2`.
    pub version: String,
    /// Share in 1/10000.
    pub share_bp: u32,
    /// Requests with this field go to this version whatever the share.
    pub header: Option<FieldMatch>,
}

/// Time limits and recovery toward one upstream. Defaults are filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResiliencePlan {
    /// Time limit of an exchange toward this upstream.
    pub timeout_ms: u64,
    /// Whether the manifest said the limit. Then it covers the exchange to the last byte of the response; where route (or
    /// gateway) and upstream both say one, the shorter holds. A default ends with the response's head, so that it never
    /// cuts server-sent events, long downloads or gRPC streams (those have the idle limit), and gives way to a limit
    /// that was said elsewhere (route, gateway, upstream). A deadline of the downstream always holds.
    #[serde(default)]
    pub timeout_whole: bool,
    /// One try; absent: what remains.
    pub per_try_timeout_ms: Option<u64>,
    /// Making a connection.
    pub connect_timeout_ms: u64,
    /// Attempts after the first; 0 is none.
    pub retries: u32,
    /// Backoff, full jitter: lowest and highest.
    pub backoff_ms: (u64, u64),
    /// Share of retries over requests, in percent.
    pub retry_budget_percent: u32,
    /// Retries per second that are always allowed.
    pub retry_budget_floor: u32,
    /// Consecutive failures that eject an endpoint.
    pub breaker_failures: u32,
    /// Success rate over the window below which an endpoint is ejected, in percent.
    pub breaker_success_percent: u32,
    /// Open and queued requests.
    pub limit: LimitPlan,
    /// Answer when the upstream cannot.
    pub fallback: Option<FixedResponse>,
}

/// Concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitPlan {
    /// Requests open at once.
    pub open: u32,
    /// Requests that wait for a place.
    pub queued: u32,
}

/// An operation of a service's API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationPlan {
    /// Method and path, or gRPC service and method.
    pub endpoint: EndpointPattern,
    /// Declared idempotent although its method is not (`x-idempotent: true`, `idempotency_level`).
    pub idempotent: bool,
}

// --- observe ----------------------------------------------------------------------------------------------------

/// What to record and where to send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservePlan {
    /// `HOST:PORT` where control serves metrics of the whole system; absent: none.
    pub metrics: Option<String>,
    /// Whether exchanges are also counted by the names of Istio's dashboards.
    pub istio_names: bool,
    /// Whether durations are also told in milliseconds by Istio's name.
    pub istio_durations: bool,
    /// Where spans go.
    pub traces: Option<TracesPlan>,
    /// One line per exchange.
    pub access_log: AccessLog,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TracesPlan {
    /// `http://HOST:PORT`.
    pub url: String,
    /// OTLP over gRPC or HTTP.
    pub over: TracesOver,
    /// Share of new traces that are sampled, in 1/10000; a sampled parent is always followed.
    pub sample_bp: u32,
}

/// OTLP transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TracesOver {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// The access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    /// None.
    Off,
    /// A share, in 1/10000; errors always.
    Sampled(u32),
    /// Every exchange.
    Full,
}

// --- launch -----------------------------------------------------------------------------------------------------

/// What `weft up` starts, in the order in which it starts it (callees before callers).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// Services that run here. Services with `url` are not in it.
    pub services: Vec<LaunchService>,
}

/// How a service is built and run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchService {
    /// Name.
    pub service: String,
    /// `v1`, or a name under `versions`.
    pub version: String,
    /// Where it was said.
    pub origin: Origin,
    /// Shell-like words; run without a shell.
    pub run: String,
    /// Runs before the first start; the same text for several services runs once.
    pub build: Option<String>,
    /// Folder of the process, relative to the manifest's folder.
    pub cwd: String,
    /// Extra environment.
    pub env: BTreeMap<String, EnvValue>,
    /// The port it wants; a free one where absent, and for replicas after the first.
    pub port: Option<u16>,
    /// Copies.
    pub replicas: u32,
    /// Names of services that must be well first.
    pub after: Vec<String>,
    /// How to see that it is well.
    pub health: HealthPlan,
    /// What it speaks.
    pub protocol: Protocol,
}

/// Value of a variable. Shown and serialised as it was written (`${NAME}`), so that what came from the environment is
/// in no log and in no printed plan.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue {
    written: String,
    value: String,
}

impl EnvValue {
    /// A value with the text that stands for it.
    pub fn new(value: impl Into<String>, written: impl Into<String>) -> Self {
        EnvValue { written: written.into(), value: value.into() }
    }

    /// The value that the process gets. May be a secret.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// As written in the manifest: this may be shown.
    pub fn written(&self) -> &str {
        &self.written
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|written| EnvValue { value: written.clone(), written })
    }
}
