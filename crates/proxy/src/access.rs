//! One record per exchange, written when its body ends: metrics, span, access log.

use std::time::Duration;

use weft_model::code::Code;
use weft_model::plan::AccessLog;
use weft_stdx::clock::Tick;

use crate::connection::{Conn, Entry};
use crate::exchange::Request;
use crate::head::{Known, Method};
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
            method: method_label(request.head.method()),
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
                add(series(Side::Server, names.intern(authorize::caller(request.conn)), compiled.me));
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
        let name = |id: Option<NameId>| id.map(|id| names.get(id));
        let (source, destination) = self.ends(worker, active, request);
        tracing::info!(
            target: "weft::access",
            method = request.head.method_str(),
            path = request.head.path(),
            route = name(self.name).as_deref(),
            source = &*source,
            destination = &*destination,
            status = self.status,
            grpc_status = self.grpc,
            code = self.code.map(Code::as_str),
            detail = (!self.detail.is_empty()).then_some(&*self.detail),
            request_id = request.head.get_str(Known::XRequestId),
            duration_us = micros,
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            attempts = self.attempts,
        );
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
            method: method_label(request.head.method()),
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

/// Methods that nobody defined are one label, so that they cannot be made up without end.
fn method_label(method: Method) -> &'static str {
    match method {
        Method::Other => "_OTHER",
        known => known.as_str(),
    }
}
