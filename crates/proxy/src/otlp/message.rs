//! The messages of OTLP's trace service, as far as they are used (opentelemetry-proto 1.x, `trace/v1/trace.proto`), and
//! what a span of ours says in them, in the words of OpenTelemetry's semantic conventions for HTTP and gRPC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::{Message, Oneof};

use super::Resource as Who;
use crate::trace::Span as Finished;

/// The name of our instrumentation.
const SCOPE: &str = "weft";

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum SpanKind {
    Unspecified = 0,
    Server = 2,
    Client = 3,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(enumeration = "StatusCode", tag = "3")]
    code: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum StatusCode {
    Unset = 0,
    Error = 2,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value.into())) }) }
}

fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Number(value.into())) }) }
}

/// An encoded `ExportTraceServiceRequest`.
pub(super) fn encode(who: &Who, spans: &[Finished]) -> Bytes {
    let resource = Resource {
        attributes: vec![
            text("service.name", who.service.as_str()),
            text("service.instance.id", who.instance.as_str()),
            text("telemetry.sdk.name", SCOPE),
            text("telemetry.sdk.language", "rust"),
            text("telemetry.sdk.version", who.build.as_str()),
        ],
    };
    let scope = Scope { name: SCOPE.to_owned(), version: who.build.clone() };
    let spans = spans.iter().map(Span::from).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans }];
    Request { resource_spans }.encode_to_vec().into()
}

/// Names of the spans in an encoded request.
#[cfg(test)]
pub(super) fn names(body: &[u8]) -> Vec<String> {
    let request = Request::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

impl From<&Finished> for Span {
    fn from(span: &Finished) -> Span {
        let context = &span.context;
        let end = span.start.checked_add(Duration::from_micros(span.duration_us)).unwrap_or(span.start);
        let parent = if context.parent_id == [0; 8] { Vec::new() } else { context.parent_id.to_vec() };
        Span {
            trace_id: context.trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            parent_span_id: parent,
            name: name_of(span),
            kind: if span.server { SpanKind::Server } else { SpanKind::Client } as i32,
            start_time_unix_nano: unix_nanos(span.start),
            end_time_unix_nano: unix_nanos(end),
            attributes: attributes_of(span),
            status: is_error(span).then(|| Status {
                message: span.code.unwrap_or_default().to_owned(),
                code: StatusCode::Error as i32,
            }),
        }
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Path pattern, or operation of gRPC; `None` where nothing matched.
fn route_of(span: &Finished) -> Option<&str> {
    let name = span.name.split_once(' ').map_or(span.name.as_str(), |(_, path)| path);
    (!name.is_empty() && name != "unmatched").then_some(name)
}

/// `METHOD route`, the method alone where there is no route; of gRPC the operation.
fn name_of(span: &Finished) -> String {
    match route_of(span) {
        // An operation of gRPC has no slash before it, also where the exchange ended before its status.
        Some(route) if span.grpc.is_some() || !route.starts_with('/') => {
            route.trim_start_matches('/').to_owned()
        }
        Some(route) => format!("{} {route}", span.method),
        None => span.method.to_owned(),
    }
}

fn attributes_of(span: &Finished) -> Vec<KeyValue> {
    let mut all = vec![
        text("http.request.method", span.method),
        text("weft.source", span.source.as_str()),
        text("weft.destination", span.destination.as_str()),
    ];
    if span.status > 0 {
        all.push(number("http.response.status_code", span.status));
    }
    if let Some(route) = route_of(span) {
        all.push(text("http.route", route));
    }
    if let Some(status) = span.grpc {
        all.push(text("rpc.system", "grpc"));
        all.push(number("rpc.grpc.status_code", status));
    }
    if let Some(code) = span.code {
        all.push(text("weft.code", code));
    }
    if span.attempts > 0 {
        all.push(number("weft.attempts", span.attempts));
    }
    all
}

/// A server is not to blame for what it was asked; a caller sees every refusal as its own failure.
fn is_error(span: &Finished) -> bool {
    match span.grpc {
        // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        Some(status) if span.server => matches!(status, 2 | 4 | 12 | 13 | 14 | 15),
        Some(status) => status != 0,
        None => span.status == 0 || span.status >= if span.server { 500 } else { 400 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceContext;

    fn span() -> Finished {
        Finished {
            context: TraceContext { trace_id: [1; 16], span_id: [2; 8], parent_id: [0; 8], sampled: true },
            server: true,
            name: "GET /orders/{id}".to_owned(),
            source: "outside".to_owned(),
            destination: "orders".to_owned(),
            method: "GET",
            status: 200,
            grpc: None,
            code: None,
            start: UNIX_EPOCH + Duration::from_secs(1),
            duration_us: 1500,
            attempts: 1,
        }
    }

    #[test]
    fn names_are_method_and_route_and_never_a_raw_path() {
        let of = |name: &str, grpc| Span::from(&Finished { name: name.to_owned(), grpc, ..span() }).name;
        assert_eq!(of("GET /orders/{id}", None), "GET /orders/{id}");
        assert_eq!(of("/assets/**", None), "GET /assets/**");
        assert_eq!(of("shop.Pricing/Quote", Some(0)), "shop.Pricing/Quote");
        assert_eq!(of("shop.Pricing/Quote", None), "shop.Pricing/Quote");
        assert_eq!(of("POST /shop.Pricing/**", Some(0)), "shop.Pricing/**");
        assert_eq!(of("unmatched", None), "GET");
        assert_eq!(of("", None), "GET");
    }

    #[test]
    fn an_error_is_the_fault_of_whose_span_it_is() {
        let error = |server, status, grpc| is_error(&Finished { server, status, grpc, ..span() });
        assert!(!error(true, 404, None) && error(false, 404, None));
        assert!(error(true, 503, None) && error(true, 0, None) && !error(false, 302, None));
        assert!(!error(true, 200, Some(5)) && error(false, 200, Some(5)));
        assert!(error(true, 200, Some(14)) && !error(false, 200, Some(0)));
    }

    #[test]
    fn times_are_nanoseconds_and_the_first_span_has_no_parent() {
        let first = Span::from(&span());
        assert_eq!(first.start_time_unix_nano, 1_000_000_000);
        assert_eq!(first.end_time_unix_nano, 1_001_500_000);
        assert!(first.parent_span_id.is_empty());
        assert_eq!(unix_nanos(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
