//! Counters of one worker thread, and their sum as a report.
//!
//! Nothing here is shared between threads: a worker counts into its own table, and a scrape asks each worker for a copy.
//! Names are interned when a plan is compiled, so that counting an exchange is one lookup by small integers. Cardinality
//! is bounded by what the plan names: routes and operations, never raw paths; services, never addresses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use weft_model::wire::{Family, Kind, Report, Sample};

use crate::head::Method;

/// An interned name.
pub(crate) type NameId = u32;

/// Names of services, routes and operations, the same on all threads of a process.
#[derive(Default)]
pub(crate) struct Names {
    table: Mutex<NameTable>,
}

#[derive(Default)]
struct NameTable {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, NameId>,
}

/// Names kept at most: plans come and go, names stay. Later ones are counted as `other`.
const NAMES_MAX: usize = 100_000;

impl Names {
    /// The number of a name.
    pub(crate) fn intern(&self, name: &str) -> NameId {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = table.ids.get(name) {
            return *id;
        }
        let name: Arc<str> = if table.names.len() < NAMES_MAX { name.into() } else { "other".into() };
        if let Some(id) = table.ids.get(&name) {
            return *id;
        }
        let id = NameId::try_from(table.names.len()).unwrap_or(NameId::MAX);
        table.names.push(name.clone());
        table.ids.insert(name, id);
        id
    }

    /// The name of a number.
    pub(crate) fn get(&self, id: NameId) -> Arc<str> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(id as usize).cloned().unwrap_or_else(|| "other".into())
    }
}

/// Upper bounds of latency buckets, seconds: the OpenTelemetry advice for HTTP durations, with finer steps below 5 ms.
pub(crate) const BOUNDS_S: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0];
const BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Which side of the exchange this process was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Seen from the callee: a sidecar's inbound, or the edge itself.
    Server,
    /// Seen from the caller.
    Client,
}

/// What one series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) side: Side,
    pub(crate) source: NameId,
    pub(crate) destination: NameId,
    pub(crate) route: NameId,
    pub(crate) method: Method,
    pub(crate) status: u16,
    /// gRPC status, where the exchange was gRPC.
    pub(crate) grpc: Option<u8>,
}

/// Sums of one series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    buckets: [u64; BOUNDS_US.len() + 1],
    micros: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl Sums {
    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, other: &Sums) {
        for (mine, more) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += more;
        }
        self.micros += other.micros;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
    }
}

/// Who talks raw TCP to whom, seen from one of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TcpEdge {
    pub(crate) side: Side,
    pub(crate) source: NameId,
    pub(crate) destination: NameId,
}

/// A plain counter or gauge beside the series of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Meter {
    /// Refusals and faults by code name.
    Refused(&'static str),
    /// Attempts after the first.
    Retries(NameId),
    /// Retries that the budget forbade.
    BudgetEmpty(NameId),
    /// Free resends on a connection that the upstream had already closed.
    Resends(NameId),
    /// Connections accepted, by listener.
    Accepted(&'static str),
    /// Connections accepted and not yet closed, by listener.
    Open(&'static str),
    /// Connections refused before any request, by reason.
    Rejected(&'static str),
    /// Connections made to an upstream.
    Connected(NameId),
    /// Connections of raw TCP that were joined with the callee.
    TcpOpened(TcpEdge),
    /// Those of them that are over.
    TcpClosed(TcpEdge),
    /// Bytes of raw TCP, received from downstream.
    TcpReceived(TcpEdge),
    /// Bytes of raw TCP, sent to downstream.
    TcpSent(TcpEdge),
    /// Spans that were dropped because the exporter did not keep up.
    SpansDropped,
}

/// All that one worker has counted. Cheap to clone compared with what it describes.
#[derive(Clone, Default)]
pub(crate) struct Stats {
    series: HashMap<Series, Sums, foldhash::Build>,
    meters: HashMap<Meter, i64, foldhash::Build>,
    /// State of endpoints at the moment of the copy: (upstream, instance, open requests, breaker state).
    pub(crate) endpoints: Vec<EndpointState>,
}

pub(crate) mod foldhash {
    //! A fast hash for small keys made of our own integers: no key comes from outside, so none can be chosen to collide.
    use std::hash::{BuildHasherDefault, Hasher};

    pub(crate) type Build = BuildHasherDefault<Fold>;

    #[derive(Clone, Default)]
    pub(crate) struct Fold(u64);

    impl Hasher for Fold {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.write_u64(u64::from(*byte));
            }
        }

        fn write_u8(&mut self, value: u8) {
            self.write_u64(u64::from(value));
        }

        fn write_u16(&mut self, value: u16) {
            self.write_u64(u64::from(value));
        }

        fn write_u32(&mut self, value: u32) {
            self.write_u64(u64::from(value));
        }

        fn write_u64(&mut self, value: u64) {
            self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
        }

        fn write_usize(&mut self, value: usize) {
            self.write_u64(value as u64);
        }

        fn write_isize(&mut self, value: isize) {
            self.write_u64(value.cast_unsigned() as u64);
        }
    }
}

/// State of one endpoint for a report.
#[derive(Clone, Debug)]
pub(crate) struct EndpointState {
    pub(crate) upstream: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) open: u32,
    /// 0 closed, 1 half-open, 2 open.
    pub(crate) breaker: u8,
}

impl Stats {
    /// Counts an exchange.
    pub(crate) fn exchange(&mut self, series: Series, micros: u64, request_bytes: u64, response_bytes: u64) {
        let sums = self.series.entry(series).or_default();
        let bucket = BOUNDS_US.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_US.len());
        sums.buckets[bucket] += 1;
        sums.micros += micros;
        sums.request_bytes += request_bytes;
        sums.response_bytes += response_bytes;
    }

    /// Adds to a counter.
    pub(crate) fn add(&mut self, meter: Meter, amount: i64) {
        *self.meters.entry(meter).or_default() += amount;
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: &Stats) {
        for (series, sums) in &other.series {
            self.series.entry(*series).or_default().add(sums);
        }
        for (meter, amount) in &other.meters {
            self.add(*meter, *amount);
        }
        self.endpoints.extend(other.endpoints.iter().cloned());
    }

    /// The sums as metric families, in a stable order; with the names of Istio's dashboards if they are wanted.
    pub(crate) fn report(&self, names: &Names, istio: Istio) -> Report {
        let mut out = Families { istio, ..Families::default() };
        let mut series: Vec<_> = self.series.iter().collect();
        series.sort_by_key(|(series, _)| **series);
        for (series, sums) in series {
            out.exchange(series, sums, names);
        }
        let mut meters: Vec<_> = self.meters.iter().collect();
        meters.sort();
        for (meter, amount) in meters {
            out.meter(*meter, *amount, names);
        }
        out.endpoints(&self.endpoints);
        Report { families: out.families.into_values().collect() }
    }
}

/// How a counter of raw TCP is told.
struct TcpCounter {
    name: &'static str,
    istio_name: &'static str,
    help: &'static str,
}

const TCP_OPENED: TcpCounter = TcpCounter {
    name: "weft_tcp_connections_opened",
    istio_name: "istio_tcp_connections_opened",
    help: "Connections of raw TCP that were joined with the callee.",
};
const TCP_CLOSED: TcpCounter = TcpCounter {
    name: "weft_tcp_connections_closed",
    istio_name: "istio_tcp_connections_closed",
    help: "Joined connections of raw TCP that are over.",
};
const TCP_RECEIVED: TcpCounter = TcpCounter {
    name: "weft_tcp_received_bytes",
    istio_name: "istio_tcp_received_bytes",
    help: "Raw TCP bytes from the caller, counted as they pass.",
};
const TCP_SENT: TcpCounter = TcpCounter {
    name: "weft_tcp_sent_bytes",
    istio_name: "istio_tcp_sent_bytes",
    help: "Raw TCP bytes to the caller, counted as they pass.",
};

/// What is told once more by the names of Istio's dashboards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Istio {
    /// Requests and bytes.
    pub(crate) names: bool,
    /// Durations, in milliseconds.
    pub(crate) durations: bool,
}

#[derive(Default)]
struct Families {
    istio: Istio,
    families: BTreeMap<&'static str, Family>,
}

impl Families {
    fn sample(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let family = self.families.entry(name).or_insert_with(|| Family {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: kind as i32,
            bounds: Vec::new(),
            samples: Vec::new(),
        });
        let labels =
            labels.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        family.samples.push(Sample { labels, value, buckets: Vec::new() });
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], sums: &Sums) {
        self.sample(name, help, Kind::Histogram, labels, seconds(sums.micros));
        if let Some(family) = self.families.get_mut(name) {
            family.bounds = BOUNDS_S.to_vec();
            if let Some(sample) = family.samples.last_mut() {
                sample.buckets = sums.buckets.to_vec();
            }
        }
    }

    fn exchange(&mut self, series: &Series, sums: &Sums, names: &Names) {
        let (source, destination) = (names.get(series.source), names.get(series.destination));
        let route = names.get(series.route);
        let status = series.status.to_string();
        let grpc = series.grpc.map(|grpc| grpc.to_string());
        let mut labels = vec![
            ("weft_source", &*source),
            ("weft_destination", &*destination),
            ("http_request_method", series.method.label()),
            ("http_route", &*route),
            ("http_response_status_code", &*status),
        ];
        if let Some(grpc) = &grpc {
            labels.push(("rpc_grpc_status_code", grpc));
        }
        let (http, rpc) = match series.side {
            Side::Server => ("http_server_request_duration_seconds", "rpc_server_call_duration_seconds"),
            Side::Client => ("http_client_request_duration_seconds", "rpc_client_call_duration_seconds"),
        };
        self.histogram(http, "Duration of HTTP exchanges, to the end of the response body.", &labels, sums);
        if let Some(grpc) = &grpc {
            let labels = [
                ("weft_source", &*source),
                ("weft_destination", &*destination),
                ("rpc_method", &*route),
                ("rpc_response_status_code", grpc),
            ];
            self.histogram(rpc, "Duration of gRPC calls, to the trailers.", &labels, sums);
        }
        if self.istio != Istio::default() {
            self.istio(series, sums, &source, &destination, &status, grpc.as_deref());
        }
    }

    /// The names that existing mesh dashboards ask for.
    fn istio(
        &mut self,
        series: &Series,
        sums: &Sums,
        source: &str,
        destination: &str,
        status: &str,
        grpc: Option<&str>,
    ) {
        let reporter = if series.side == Side::Server { "destination" } else { "source" };
        let labels = [
            ("reporter", reporter),
            ("source_workload", source),
            ("destination_workload", destination),
            ("destination_service_name", destination),
            ("request_protocol", if grpc.is_some() { "grpc" } else { "http" }),
            ("response_code", status),
            ("grpc_response_status", grpc.unwrap_or("")),
        ];
        if self.istio.durations {
            // A unit that is no base unit, so that `promtool check metrics` refuses it: there if it is asked for.
            let (name, help) = ("istio_request_duration_milliseconds", "Durations, for Istio's dashboards.");
            let ms = seconds(sums.micros) * 1e3;
            self.accumulate(name, help, Kind::Histogram, &labels, ms, &sums.buckets);
            if let Some(family) = self.families.get_mut(name) {
                family.bounds = BOUNDS_S.map(|bound| bound * 1e3).to_vec();
            }
        }
        if !self.istio.names {
            return;
        }
        let help = "Requests, by the names of Istio's dashboards.";
        self.accumulate("istio_requests", help, Kind::Counter, &labels, number(sums.count()), &[]);
        // Sums and counts only: sizes are not kept apart.
        let help = "Body bytes, by the names of Istio's dashboards.";
        let bytes =
            [("istio_request_bytes", sums.request_bytes), ("istio_response_bytes", sums.response_bytes)];
        for (name, value) in bytes {
            self.accumulate(name, help, Kind::Histogram, &labels, number(value), &[sums.count()]);
        }
    }

    /// Adds to the last sample if it has the same labels (routes and methods are not among Istio's labels).
    fn accumulate(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &[(&str, &str)],
        value: f64,
        buckets: &[u64],
    ) {
        let flat: Vec<String> =
            labels.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        let family = self.families.get_mut(name);
        let found = family.and_then(|family| family.samples.iter_mut().find(|sample| sample.labels == flat));
        if let Some(sample) = found {
            sample.value += value;
            sample.buckets.iter_mut().zip(buckets).for_each(|(sum, more)| *sum += more);
            return;
        }
        self.sample(name, help, kind, labels, value);
        if let Some(sample) = self.families.get_mut(name).and_then(|family| family.samples.last_mut()) {
            sample.buckets = buckets.to_vec();
        }
    }

    fn meter(&mut self, meter: Meter, amount: i64, names: &Names) {
        #[expect(clippy::cast_precision_loss, reason = "counters stay far below 2^53")]
        let value = amount as f64;
        let mut counter = |name, help, labels: &[(&str, &str)]| {
            self.sample(name, help, Kind::Counter, labels, value);
        };
        match meter {
            Meter::Refused(code) => {
                counter("weft_refusals", "Refusals and faults by code.", &[("code", code)]);
            }
            Meter::Retries(to) => {
                counter(
                    "weft_upstream_retries",
                    "Attempts after the first.",
                    &[("upstream", &names.get(to))],
                );
            }
            Meter::BudgetEmpty(to) => {
                let labels = [("upstream", &*names.get(to))];
                counter("weft_retry_budget_exhausted", "Retries that the budget forbade.", &labels);
            }
            Meter::Resends(to) => {
                let help = "Free resends after the upstream had closed an idle connection.";
                counter("weft_upstream_resends", help, &[("upstream", &names.get(to))]);
            }
            Meter::Accepted(listener) => {
                counter("weft_downstream_connections", "Connections accepted.", &[("listener", listener)]);
            }
            Meter::Open(listener) => {
                let labels = [("listener", listener)];
                self.sample(
                    "weft_downstream_connections_open",
                    "Open connections.",
                    Kind::Gauge,
                    &labels,
                    value,
                );
            }
            Meter::Rejected(reason) => {
                counter(
                    "weft_downstream_rejected",
                    "Connections refused before any request.",
                    &[("reason", reason)],
                );
            }
            Meter::Connected(to) => {
                counter("weft_upstream_connections", "Connections made.", &[("upstream", &names.get(to))]);
            }
            Meter::TcpOpened(edge) => self.tcp(&TCP_OPENED, edge, value, names),
            Meter::TcpClosed(edge) => self.tcp(&TCP_CLOSED, edge, value, names),
            Meter::TcpReceived(edge) => self.tcp(&TCP_RECEIVED, edge, value, names),
            Meter::TcpSent(edge) => self.tcp(&TCP_SENT, edge, value, names),
            Meter::SpansDropped => {
                counter("weft_spans_dropped", "Spans that the exporter could not take.", &[]);
            }
        }
    }

    /// A counter of raw TCP, by our name and by that of existing mesh dashboards.
    fn tcp(&mut self, counter: &TcpCounter, edge: TcpEdge, value: f64, names: &Names) {
        let (source, destination) = (names.get(edge.source), names.get(edge.destination));
        let (side, reporter) = match edge.side {
            Side::Server => ("server", "destination"),
            Side::Client => ("client", "source"),
        };
        let labels = [("weft_source", &*source), ("weft_destination", &*destination), ("side", side)];
        self.sample(counter.name, counter.help, Kind::Counter, &labels, value);
        if self.istio.names {
            let labels = [
                ("reporter", reporter),
                ("source_workload", &*source),
                ("destination_workload", &*destination),
                ("destination_service_name", &*destination),
                ("request_protocol", "tcp"),
            ];
            self.sample(counter.istio_name, counter.help, Kind::Counter, &labels, value);
        }
    }

    fn endpoints(&mut self, endpoints: &[EndpointState]) {
        let mut open: BTreeMap<(&str, &str), (u32, u8)> = BTreeMap::new();
        for state in endpoints {
            let entry = open.entry((&state.upstream, &state.instance)).or_default();
            entry.0 += state.open;
            entry.1 = entry.1.max(state.breaker);
        }
        for ((upstream, instance), (requests, breaker)) in open {
            let labels = [("upstream", upstream), ("endpoint", instance)];
            let help = "Requests open toward an endpoint.";
            self.sample("weft_upstream_requests_open", help, Kind::Gauge, &labels, f64::from(requests));
            let help = "0 closed, 1 half-open, 2 open.";
            self.sample("weft_breaker_state", help, Kind::Gauge, &labels, f64::from(breaker));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counters stay far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}

fn seconds(micros: u64) -> f64 {
    number(micros) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_become_one() {
        let names = Names::default();
        let known = names.intern("orders");
        let ids: Vec<NameId> = (0..NAMES_MAX + 10).map(|n| names.intern(&format!("/round/{n}"))).collect();
        assert_eq!(names.intern("orders"), known);
        assert_eq!(names.table.lock().unwrap().names.len(), NAMES_MAX + 1);
        assert_eq!(&*names.get(*ids.last().unwrap()), "other");
        assert_eq!(ids[ids.len() - 1], ids[ids.len() - 2]);
    }

    #[test]
    fn workers_sum_into_one_series_and_one_histogram() {
        let names = Names::default();
        let series = Series {
            side: Side::Client,
            source: names.intern("orders"),
            destination: names.intern("pricing"),
            route: names.intern("Pricing/GetPrice"),
            method: Method::Post,
            status: 200,
            grpc: Some(0),
        };
        let (mut one, mut two) = (Stats::default(), Stats::default());
        one.exchange(series, 400, 10, 20);
        two.exchange(series, 60_000, 1, 2);
        two.add(Meter::Retries(names.intern("pricing")), 3);
        one.merge(&two);
        let report = one.report(&names, Istio { names: true, durations: true });
        let family = |name: &str| report.families.iter().find(|family| family.name == name).unwrap();
        let histogram = family("http_client_request_duration_seconds");
        assert_eq!(histogram.samples.len(), 1);
        assert_eq!(histogram.samples[0].buckets.iter().sum::<u64>(), 2);
        assert_eq!(histogram.samples[0].buckets[0], 1);
        assert!((histogram.samples[0].value - 0.0604).abs() < 1e-9);
        assert_eq!(family("rpc_client_call_duration_seconds").samples.len(), 1);
        assert!((family("istio_requests").samples[0].value - 2.0).abs() < 1e-9);
        let sent = family("istio_request_bytes");
        assert!(sent.bounds.is_empty() && (sent.samples[0].value - 11.0).abs() < 1e-9);
        assert_eq!(sent.samples[0].buckets, [2]);
        let durations = family("istio_request_duration_milliseconds");
        assert!((durations.bounds[0] - 0.5).abs() < 1e-9 && (durations.samples[0].value - 60.4).abs() < 1e-9);
        assert_eq!(durations.samples[0].buckets, histogram.samples[0].buckets);
        let plain = one.report(&names, Istio::default());
        assert!(plain.families.iter().all(|family| !family.name.starts_with("istio")));
        assert!(plain.families.iter().any(|family| family.name == "http_client_request_duration_seconds"));
        assert!((family("weft_upstream_retries").samples[0].value - 3.0).abs() < 1e-9);
    }
}
