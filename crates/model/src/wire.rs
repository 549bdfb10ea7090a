//! The protocol between control and the processes of the data plane: gRPC messages of `weft.control.v1.Control`.
//!
//! This is the one place for types that cross that boundary. Fields are only ever added; a number is never used again.
//! Methods (all `application/grpc`, protobuf):
//! - `Enrol(EnrolRequest) -> Issued`: over TLS that proves control to the caller; a single-use token proves the caller.
//! - `Renew(RenewRequest) -> Issued`: the request's signature proves the key that enrolled, also after expiry.
//! - `Watch(stream Up) -> stream Down`: over mutual TLS; plans, endpoints and trust flow down, acknowledgements, health
//!   and metrics flow up.

use prost::{Message, Oneof};

/// gRPC service name.
pub const SERVICE: &str = "weft.control.v1.Control";

/// Trade a single-use token for an identity.
#[derive(Clone, PartialEq, Message)]
pub struct EnrolRequest {
    /// Single-use token.
    #[prost(string, tag = "1")]
    pub token: String,
    /// PKCS#10 certificate request, DER.
    #[prost(bytes = "vec", tag = "2")]
    pub csr: Vec<u8>,
}

/// Renew an identity by the key that enrolled.
#[derive(Clone, PartialEq, Message)]
pub struct RenewRequest {
    /// Instance name as given at enrolment.
    #[prost(string, tag = "1")]
    pub instance: String,
    /// PKCS#10 certificate request, DER, signed by the same key.
    #[prost(bytes = "vec", tag = "2")]
    pub csr: Vec<u8>,
}

/// An issued identity.
#[derive(Clone, PartialEq, Message)]
pub struct Issued {
    /// Instance name.
    #[prost(string, tag = "1")]
    pub instance: String,
    /// Leaf first, DER.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub chain: Vec<Vec<u8>>,
    /// Trust bundle and revocations at this moment.
    #[prost(message, optional, tag = "3")]
    pub trust: Option<Trust>,
    /// Seconds since the epoch.
    #[prost(uint64, tag = "4")]
    pub not_before: u64,
    /// Seconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub not_after: u64,
}

/// From a process to control.
#[derive(Clone, PartialEq, Message)]
pub struct Up {
    /// What it says.
    #[prost(oneof = "UpKind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<UpKind>,
}

/// What a process says to control.
#[derive(Clone, PartialEq, Oneof)]
pub enum UpKind {
    /// First message of a stream.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// A plan is in force.
    #[prost(message, tag = "2")]
    Ack(Ack),
    /// A plan was refused; the old one serves.
    #[prost(message, tag = "3")]
    Nack(Nack),
    /// Where the instance is reached and whether it is well. Sent at the start and on each change.
    #[prost(message, tag = "4")]
    Presence(Presence),
    /// Counters.
    #[prost(message, tag = "5")]
    Report(Report),
}

/// Who speaks.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// `gateway` or `sidecar`.
    #[prost(string, tag = "1")]
    pub role: String,
    /// Instance name; must be the one of the certificate's enrolment.
    #[prost(string, tag = "2")]
    pub instance: String,
    /// Version of the plan that it runs; empty: none.
    #[prost(string, tag = "3")]
    pub plan_version: String,
    /// Version of the executable.
    #[prost(string, tag = "4")]
    pub build: String,
    /// Process id, for `weft status`.
    #[prost(uint32, tag = "5")]
    pub pid: u32,
    /// Isolation tier in force, e.g. `peer-credentials`; empty where it does not apply.
    #[prost(string, tag = "6")]
    pub isolation: String,
}

/// A plan is in force.
#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    /// Its version.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// A plan was refused.
#[derive(Clone, PartialEq, Message)]
pub struct Nack {
    /// Its version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// Where an instance is reached and whether it is well.
#[derive(Clone, PartialEq, Message)]
pub struct Presence {
    /// `HOST:PORT` of the sidecar's inbound listener.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Version of the service, e.g. `v1`.
    #[prost(string, tag = "2")]
    pub version: String,
    /// State of the instance.
    #[prost(enumeration = "InstanceState", tag = "3")]
    pub state: i32,
    /// Gateway: why the newest certificate of the edge is not served, for people; empty: it is, or there is none.
    #[prost(string, tag = "4")]
    pub edge_refused: String,
    /// Gateway: when the certificate of the edge ends, seconds since the epoch; 0: there is none.
    #[prost(uint64, tag = "5")]
    pub edge_not_after: u64,
}

/// State of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum InstanceState {
    /// Not yet well.
    Starting = 0,
    /// Takes requests.
    Ready = 1,
    /// Failed its probes.
    Unhealthy = 2,
    /// Finishes what is open; takes nothing new.
    Draining = 3,
}

/// From control to a process.
#[derive(Clone, PartialEq, Message)]
pub struct Down {
    /// What it says.
    #[prost(oneof = "DownKind", tags = "1, 2, 3")]
    pub kind: Option<DownKind>,
}

/// What control says to a process.
#[derive(Clone, PartialEq, Oneof)]
pub enum DownKind {
    /// Run this plan.
    #[prost(message, tag = "1")]
    Plan(PlanDown),
    /// All instances of all upstreams of the plan; replaces what was sent before.
    #[prost(message, tag = "2")]
    Endpoints(Endpoints),
    /// Roots and revocations; replaces what was sent before.
    #[prost(message, tag = "3")]
    Trust(Trust),
}

/// A plan.
#[derive(Clone, PartialEq, Message)]
pub struct PlanDown {
    /// Digest of the JSON.
    #[prost(string, tag = "1")]
    pub version: String,
    /// JSON of [`crate::plan::Plan`].
    #[prost(string, tag = "2")]
    pub json: String,
    /// PEM of the edge's certificate chain and key (gateway with `tls: auto` only).
    #[prost(message, optional, tag = "3")]
    pub edge: Option<EdgePair>,
}

/// Certificate and key of the edge, from the built-in authority.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct EdgePair {
    /// PEM chain.
    #[prost(string, tag = "1")]
    pub cert_pem: String,
    /// PEM key.
    #[prost(string, tag = "2")]
    pub key_pem: String,
}

impl std::fmt::Debug for EdgePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgePair(redacted)")
    }
}

/// Instances of services.
#[derive(Clone, PartialEq, Message)]
pub struct Endpoints {
    /// Sorted by service, then instance.
    #[prost(message, repeated, tag = "1")]
    pub instances: Vec<Instance>,
}

/// One running copy.
#[derive(Clone, PartialEq, Message)]
pub struct Instance {
    /// Service name.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Instance name, e.g. `orders-1`.
    #[prost(string, tag = "2")]
    pub instance: String,
    /// `HOST:PORT` of its sidecar.
    #[prost(string, tag = "3")]
    pub address: String,
    /// Version, e.g. `v1`.
    #[prost(string, tag = "4")]
    pub version: String,
    /// State.
    #[prost(enumeration = "InstanceState", tag = "5")]
    pub state: i32,
}

/// Roots and revocations.
#[derive(Clone, PartialEq, Message)]
pub struct Trust {
    /// Root certificates, DER.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub roots: Vec<Vec<u8>>,
    /// Serial numbers, big-endian.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub revoked_serials: Vec<Vec<u8>>,
    /// SPIFFE ids.
    #[prost(string, repeated, tag = "3")]
    pub revoked_ids: Vec<String>,
    /// SHA-256 of public keys.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub revoked_keys: Vec<Vec<u8>>,
}

/// Counters of one process since its start. The whole of it is sent each time; control keeps the last one.
#[derive(Clone, PartialEq, Message)]
pub struct Report {
    /// Metric families.
    #[prost(message, repeated, tag = "1")]
    pub families: Vec<Family>,
}

/// A metric family.
#[derive(Clone, PartialEq, Message)]
pub struct Family {
    /// Name without `_total`, `_bucket` and the like.
    #[prost(string, tag = "1")]
    pub name: String,
    /// One sentence.
    #[prost(string, tag = "2")]
    pub help: String,
    /// Kind.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// Upper bounds of a histogram's buckets, without +Inf.
    #[prost(double, repeated, tag = "4")]
    pub bounds: Vec<f64>,
    /// Samples.
    #[prost(message, repeated, tag = "5")]
    pub samples: Vec<Sample>,
}

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Buckets, sum and count.
    Histogram = 2,
}

/// One time series.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Name and value in turn: `[name, value, name, value, …]`.
    #[prost(string, repeated, tag = "1")]
    pub labels: Vec<String>,
    /// Counter or gauge; sum of a histogram.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Per bucket, not cumulative; one more than the bounds (the last is +Inf). Empty unless a histogram.
    #[prost(uint64, repeated, tag = "3")]
    pub buckets: Vec<u64>,
}
