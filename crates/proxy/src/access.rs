//! One record per exchange, written when its body ends: metrics, span, access log.

use std::time::Duration;

use weft_model::code::Code;
use weft_model::plan::AccessLog;
use weft_stdx::clock::Tick;

use crate::connection::{Conn, Entry};
use crate::exchange::Request;
use crate::head::Known;
use crate::metrics::{Meter, NameId, Series, Side};
use crate::stage::authorize;
use crate::stage::route::{Decision, To};
use crate::trace::{Span, TraceContext};
use crate::worker::{Active, Worker};

/// What there is to say about an exchange.
pub(crate) struct Record {
    pub(crate) began: Tick,
    pub(crate) trace: Option<TraceContext>,
    /// Route or operation.
    pub(crate) name: Option<NameId>,
    /// Index into the gateway's routes, once one takes it.
    pub(crate) route: Option<usize>,
    /// Whom it went to.
    pub(crate) destination: Option<NameId>,
    pub(crate) status: u16,
    pub(crate) grpc: Option<u8>,
    pub(crate) code: Option<Code>,
    pub(crate) detail: String,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) attempts: u32,
    /// Whether the head of the answer went out.
    pub(crate) head_sent: bool,
}

impl Record {
    pub(crate) fn begin(began: Tick) -> Self {
        Record {
            began,
            trace: None,
            name: None,
            route: None,
            destination: None,
            status: 0,
            grpc: None,
            code: None,
            detail: String::new(),
            request_bytes: 0,
            response_bytes: 0,
            attempts: 0,
            head_sent: false,
        }
    }

    pub(crate) fn decided(&mut self, decision: &Decision, conn: &Conn) {
        self.name = Some(decision.name);
        self.route = decision.route;
        if let To::Callee(callee) = &decision.target
            && conn.entry != Entry::Inbound
        {
            self.destination = Some(callee.upstream.id);
        }
    }

    /// Counts, traces and logs. Health checks of the sidecar's own API are nobody's traffic.
    pub(crate) fn finish(self, worker: &Worker, active: &Active, request: &Request<'_>) {
        if request.conn.entry == Entry::Api {
            return;
        }
        let micros = worker.timer.now().us_since(self.began);
        self.count(worker, active, request, micros);
        if self.trace.is_some_and(|trace| trace.sampled) && active.compiled.plan.observe.traces.is_some() {
            self.span(worker, active, request, micros);
        }
        if self.is_logged(worker, active.compiled.plan.observe.access_log) {
            self.log(worker, active, request, micros);
        }
    }

    fn count(&self, worker: &Worker, active: &Active, request: &Request<'_>, micros: u64) {
        let compiled = &active.compiled;
        let names = worker.names();
        let series = |side, source, destination| Series {
            side,
            source,
            destination,
            route: self.name.unwrap_or(compiled.unmatched),
            method: request.head.method(),
            status: self.status,
            grpc: self.grpc.or_else(|| request.grpc.then_some(2)),
        };
        let mut stats = worker.stats.borrow_mut();
        let mut add = |series| stats.exchange(series, micros, self.request_bytes, self.response_bytes);
        match request.conn.entry {
            Entry::Edge => {
                add(series(Side::Server, compiled.outside, compiled.me));
                if let Some(destination) = self.destination {
                    add(series(Side::Client, compiled.me, destination));
                }
            }
            Entry::Inbound => {
                add(series(Side::Server, authorize::caller_id(request.conn, names), compiled.me));
            }
            Entry::Outbound(_) | Entry::Forward => {
                let destination = self.destination.unwrap_or(compiled.outside);
                add(series(Side::Client, compiled.me, destination));
            }
            Entry::Api => {}
        }
        if let Some(code) = self.code {
            stats.add(Meter::Refused(code.name()), 1);
        }
    }

    fn is_logged(&self, worker: &Worker, log: AccessLog) -> bool {
        match log {
            AccessLog::Off => false,
            AccessLog::Full => true,
            AccessLog::Sampled(share_bp) => {
                self.status >= 500
                    || self.code.is_some()
                    || worker.rng.borrow_mut().below(10_000) < share_bp as usize
            }
        }
    }

    fn log(&self, worker: &Worker, active: &Active, request: &Request<'_>, micros: u64) {
        let names = worker.names();
        let route = self.name.map(|id| names.get(id));
        let (source, destination) = self.ends(worker, active, request);
        let line = Line {
            method: request.head.method_str(),
            path: request.head.path(),
            route: route.as_deref(),
            source: &source,
            destination: &destination,
            request_id: request.head.get_str(Known::XRequestId),
            duration_us: micros,
        };
        line.write(self);
    }

    fn ends(&self, worker: &Worker, active: &Active, request: &Request<'_>) -> (String, String) {
        let names = worker.names();
        let me = names.get(active.compiled.me).to_string();
        let destination = self.destination.map_or_else(String::new, |id| names.get(id).to_string());
        match request.conn.entry {
            Entry::Inbound => (authorize::caller(request.conn).to_owned(), me),
            Entry::Edge if destination.is_empty() => ("outside".to_owned(), me),
            _ => (me, destination),
        }
    }

    fn span(&self, worker: &Worker, active: &Active, request: &Request<'_>, micros: u64) {
        let (Some(spans), Some(context)) = (&worker.shared.spans, self.trace) else { return };
        let (source, destination) = self.ends(worker, active, request);
        let now = worker.shared.clock.wall();
        let span = Span {
            context,
            server: matches!(request.conn.entry, Entry::Edge | Entry::Inbound),
            name: self.name.map_or_else(String::new, |id| worker.names().get(id).to_string()),
            source,
            destination,
            method: request.head.method().label(),
            status: self.status,
            grpc: self.grpc,
            code: self.code.map(Code::as_str),
            start: now.checked_sub(Duration::from_micros(micros)).unwrap_or(now),
            duration_us: micros,
            attempts: self.attempts,
        };
        if spans.try_send(span).is_err() {
            worker.stats.borrow_mut().add(Meter::SpansDropped, 1);
        }
    }
}

/// What a line of the access log says beside the record.
struct Line<'a> {
    method: &'a str,
    path: &'a str,
    route: Option<&'a str>,
    source: &'a str,
    destination: &'a str,
    request_id: Option<&'a str>,
    duration_us: u64,
}

impl Line<'_> {
    /// What there is not is left out, not written as nothing.
    fn write(&self, record: &Record) {
        tracing::info!(
            target: "weft::access",
            method = self.method,
            path = self.path,
            route = self.route,
            source = self.source,
            destination = self.destination,
            status = record.status,
            grpc_status = record.grpc,
            code = record.code.map(Code::as_str),
            detail = (!record.detail.is_empty()).then_some(&*record.detail),
            request_id = self.request_id,
            duration_us = self.duration_us,
            request_bytes = record.request_bytes,
            response_bytes = record.response_bytes,
            attempts = record.attempts,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The line as text and as JSON, in the formats of the executable.
    fn written(line: &Line<'_>, record: &Record) -> (String, serde_json::Value) {
        let (text, json) = (Kept::default(), Kept::default());
        let as_text = tracing_subscriber::fmt().with_writer(text.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(as_text, || line.write(record));
        let as_json = tracing_subscriber::fmt().json().flatten_event(true).with_writer(json.clone()).finish();
        tracing::subscriber::with_default(as_json, || line.write(record));
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let json = serde_json::from_slice(&json.0.lock().unwrap()).unwrap();
        (text, json)
    }

    const OPTIONAL: [&str; 5] = ["route", "grpc_status", "code", "detail", "request_id"];

    fn line() -> Line<'static> {
        Line {
            method: "GET",
            path: "/orders",
            route: None,
            source: "outside",
            destination: "gateway",
            request_id: None,
            duration_us: 7,
        }
    }

    #[test]
    fn what_there_is_not_is_left_out_of_a_line() {
        let record = Record { status: 200, ..Record::begin(Tick::ZERO) };
        let (text, json) = written(&line(), &record);
        for name in OPTIONAL {
            assert!(!text.contains(name), "{name} in {text}");
            assert!(json.get(name).is_none(), "{name} in {json}");
        }
        assert!(text.contains("path=\"/orders\"") && text.contains("status=200"), "{text}");
        assert_eq!((&json["path"], &json["status"]), (&"/orders".into(), &200.into()), "{json}");
    }

    #[test]
    fn what_there_is_stands_in_a_line() {
        let record = Record {
            status: 404,
            grpc: Some(5),
            code: Some(Code::NoRoute),
            detail: "nothing there".to_owned(),
            ..Record::begin(Tick::ZERO)
        };
        let line = Line { route: Some("ANY /**"), request_id: Some("r-1"), ..line() };
        let (text, json) = written(&line, &record);
        let code = Code::NoRoute.as_str();
        let values = ["ANY /**", "5", code, "nothing there", "r-1"];
        for (name, value) in OPTIONAL.into_iter().zip(values) {
            let shown = json[name].as_str().map_or_else(|| json[name].to_string(), str::to_owned);
            assert_eq!(shown, value, "{name} in {json}");
            assert!(
                text.contains(&format!("{name}=\"{value}\"")) || text.contains(&format!("{name}={value}")),
                "{name} in {text}"
            );
        }
    }
}
