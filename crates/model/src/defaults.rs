//! Every default of the manifest in one place, each with the reason for its number.
//!
//! Only `derive` uses these: a plan has them filled in, so that nothing behind it has defaults of its own.

/// Where the gateway listens without TLS: loopback, so that an empty manifest opens nothing to the network.
pub const GATEWAY_LISTEN: &str = "127.0.0.1:8080";
/// Where it listens with TLS.
pub const GATEWAY_LISTEN_TLS: &str = "127.0.0.1:8443";
/// Console and admin API.
pub const ADMIN_PORT: u16 = 7700;
/// Where control serves metrics: the port that OpenTelemetry's Prometheus exporter takes.
pub const METRICS_LISTEN: &str = "127.0.0.1:9464";

/// An exchange until the head of its response. As Envoy's route timeout; Apollo's 30 s is beyond what a person waits.
pub const TIMEOUT_MS: u64 = 15_000;
/// Making a connection. As Linkerd: on a network that works, it takes a few round trips; Envoy's 5 s eats a third of
/// the deadline.
pub const CONNECT_TIMEOUT_MS: u64 = 1_000;
/// Attempts after the first. As Envoy and Linkerd; a second one helps seldom and doubles the load of an outage.
pub const RETRIES: u32 = 1;
/// Full jitter between these: low enough to stay inside a deadline, high enough to outlast a restart's connect failures.
pub const BACKOFF_MS: (u64, u64) = (25, 250);
/// Share of retries over requests in the window. As Finagle and Linkerd.
pub const RETRY_BUDGET_PERCENT: u32 = 20;
/// Retries per second that are always allowed, so that a quiet service can retry at all. As Finagle and Linkerd.
pub const RETRY_BUDGET_FLOOR: u32 = 10;
/// Consecutive failures that eject an endpoint. As Linkerd.
pub const BREAKER_FAILURES: u32 = 7;
/// Success rate over the window below which an endpoint is ejected. As Linkerd.
pub const BREAKER_SUCCESS_PERCENT: u32 = 80;
/// Requests open at once toward one upstream. As Envoy.
pub const LIMIT_OPEN: u32 = 1_024;
/// Requests that wait for a place. As Envoy.
pub const LIMIT_QUEUED: u32 = 1_024;

/// Between probes: a stopped instance is noticed within about a second, and a probe over loopback costs nothing.
pub const HEALTH_INTERVAL_MS: u64 = 1_000;
/// One probe. As Kubernetes.
pub const HEALTH_TIMEOUT_MS: u64 = 1_000;
/// Copies of a service.
pub const REPLICAS: u32 = 1;

/// A redirect keeps the method and may be changed tomorrow: browsers keep 301 and 308 for ever, a slip could not be undone.
pub const REDIRECT_STATUS: u16 = 307;
/// How long a preflight is kept: long enough to halve the requests of a page, and a correction arrives within minutes.
pub const CORS_MAX_AGE_S: u64 = 600;
/// Methods in preflights of a route for any method.
pub const CORS_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// All traffic, where `mirror` names no share.
pub const MIRROR_SHARE_BP: u32 = 10_000;
/// Share of new traces, in 1/10000: enough to see the shape of the traffic, little enough to be left on.
pub const TRACE_SAMPLE_BP: u32 = 100;

/// Version of a service that is not under `versions`.
pub const BASE_VERSION: &str = "v1";
/// Behind the system's name in the trust domain; ICANN reserves `.internal` for private use.
pub const TRUST_DOMAIN_SUFFIX: &str = ".internal";
