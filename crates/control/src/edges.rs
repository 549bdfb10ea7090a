//! Who calls whom, how often, how well and how fast: derived from the counters that data planes report, over the last
//! [`WINDOW`]. Pure: reports and time come in, a table goes out.
//!
//! Counters only grow within one process. A series of a process that is new to us only sets the mark to count from,
//! since it may have been counting while control was away; a value that shrank is a new process under the same name.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_model::wire::{Family, Kind, Report, Sample};
use weft_stdx::clock::Tick;

/// What rates and percentiles are taken over.
pub const WINDOW: Duration = Duration::from_secs(10);
/// The family that edges are derived from: what a caller's process saw of its calls.
pub const FAMILY: &str = "http_client_request_duration_seconds";
/// Series that are followed; more are counted in [`Edges::dropped`].
pub const SERIES_MAX: usize = 16_384;
/// Bounds that a histogram may have.
const BOUNDS_MAX: usize = 64;

/// Follows the counters of all processes.
#[derive(Debug, Default)]
pub struct Edges {
    instances: BTreeMap<String, BTreeMap<Series, Track>>,
    series: usize,
    dropped: u64,
}

/// What tells one series of calls from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    source: String,
    destination: String,
    method: String,
    route: String,
    failed: bool,
    // Two codes that both mean failure are two counters, each with marks of its own.
    outcome: String,
}

#[derive(Debug, Default)]
struct Track {
    last: Vec<u64>,
    bounds: Vec<f64>,
    gained: VecDeque<(Tick, Vec<u64>)>,
}

/// Rate, success and latency of some calls over the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls per second.
    pub rate_per_s: f64,
    /// Calls in the window.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Share that did not fail, 0 to 1; 1 where there were no calls.
    pub success: f64,
    /// Half of them took at most this, milliseconds; absent without calls.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred took at most this, milliseconds; absent without calls.
    pub p99_ms: Option<f64>,
}

/// Those of no calls.
impl Default for Figures {
    fn default() -> Self {
        Self { rate_per_s: 0.0, calls: 0, failures: 0, success: 1.0, p50_ms: None, p99_ms: None }
    }
}

/// One edge: a caller, a callee.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Who calls; the gateway is `gateway`.
    pub source: String,
    /// Who is called.
    pub destination: String,
    /// All its calls.
    #[serde(flatten)]
    pub figures: Figures,
    /// The same by operation, most frequent first.
    pub routes: Vec<RouteFigures>,
}

/// The calls of one operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteFigures {
    /// Request method.
    pub method: String,
    /// Template of the path, or gRPC service and method; empty where the API is not declared.
    pub route: String,
    /// Its calls.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Edges {
    /// A process's counters at `now`. Reports come about once a second; how often does not matter. `service` is whose process
    /// it is by its certificate: nobody counts in another's name.
    pub fn observe(&mut self, instance: &str, service: &str, report: &Report, now: Tick) {
        let fresh = !self.instances.contains_key(instance);
        let tracks = self.instances.entry(instance.to_owned()).or_default();
        let mut merged: BTreeMap<Series, (Vec<f64>, Vec<u64>)> = BTreeMap::new();
        for family in report.families.iter().filter(|family| is_calls(family)) {
            for sample in
                family.samples.iter().filter(|sample| sample.buckets.len() == family.bounds.len() + 1)
            {
                // Labels that are not looked at here split a series in several: they are one for us.
                let (_, sum) = merged
                    .entry(series_of(service, sample))
                    .or_insert_with(|| (family.bounds.clone(), vec![0; sample.buckets.len()]));
                if sum.len() == sample.buckets.len() {
                    add(sum, &sample.buckets);
                }
            }
        }
        for (series, (bounds, buckets)) in merged {
            if !tracks.contains_key(&series) {
                if self.series >= SERIES_MAX {
                    self.dropped += 1;
                    continue;
                }
                self.series += 1;
            }
            tracks.entry(series).or_default().advance(bounds, buckets, fresh, now);
        }
    }

    /// A process is gone for good.
    pub fn forget(&mut self, instance: &str) {
        if let Some(tracks) = self.instances.remove(instance) {
            self.series -= tracks.len();
        }
    }

    /// Series that were not followed because there are too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All edges that are known, sorted by source and destination; also those without calls in the window.
    pub fn table(&self, now: Tick) -> Vec<Edge> {
        let mut edges: BTreeMap<(&str, &str), Routes<'_>> = BTreeMap::new();
        for (series, track) in self.instances.values().flatten() {
            let routes = edges.entry((&series.source, &series.destination)).or_default();
            let tally = routes.entry((&series.method, &series.route)).or_default();
            track.tally(series.failed, now, tally);
        }
        edges
            .into_iter()
            .map(|((source, destination), routes)| {
                let mut all = Tally::default();
                routes.values().for_each(|tally| all.merge(tally));
                let mut routes: Vec<RouteFigures> = routes
                    .into_iter()
                    .map(|((method, route), tally)| RouteFigures {
                        method: method.to_owned(),
                        route: route.to_owned(),
                        figures: tally.figures(),
                    })
                    .collect();
                routes.sort_by_key(|route| std::cmp::Reverse(route.figures.calls));
                Edge {
                    source: source.to_owned(),
                    destination: destination.to_owned(),
                    figures: all.figures(),
                    routes,
                }
            })
            .collect()
    }
}

impl Track {
    fn advance(&mut self, bounds: Vec<f64>, buckets: Vec<u64>, fresh: bool, now: Tick) {
        let comparable = self.last.len() == buckets.len() && self.bounds == bounds;
        let grew = comparable && self.last.iter().zip(&buckets).all(|(old, new)| old <= new);
        let gained: Vec<u64> = if grew {
            self.last.iter().zip(&buckets).map(|(old, new)| new - old).collect()
        } else {
            buckets.clone()
        };
        if !comparable {
            self.gained.clear();
        }
        self.last = buckets;
        self.bounds = bounds;
        while self.gained.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.gained.pop_front();
        }
        if fresh || gained.iter().all(|count| *count == 0) {
            return;
        }
        // Reports that come faster than they should share an entry: the window holds a bounded number of them.
        match self.gained.back_mut() {
            Some((at, counts)) if now.since(*at) < WINDOW / 40 => add(counts, &gained),
            _ => self.gained.push_back((now, gained)),
        }
    }

    fn tally(&self, failed: bool, now: Tick, tally: &mut Tally) {
        for (_, counts) in self.gained.iter().filter(|(at, _)| now.since(*at) < WINDOW) {
            let calls = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            tally.calls = tally.calls.saturating_add(calls);
            if failed {
                tally.failures = tally.failures.saturating_add(calls);
            }
            let counted = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            for (index, count) in counted {
                let bound = self.bounds.get(index).copied().unwrap_or(f64::INFINITY);
                let below =
                    index.checked_sub(1).and_then(|index| self.bounds.get(index)).copied().unwrap_or(0.0);
                tally.spans.push(Span { below_s: below, bound_s: bound, count: *count });
            }
        }
    }
}

/// Calls that took more than `below_s` and at most `bound_s` seconds.
#[derive(Debug, Clone, Copy)]
struct Span {
    below_s: f64,
    bound_s: f64,
    count: u64,
}

/// Calls by method and route.
type Routes<'e> = BTreeMap<(&'e str, &'e str), Tally>;

#[derive(Debug, Default, Clone)]
struct Tally {
    calls: u64,
    failures: u64,
    spans: Vec<Span>,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.spans.extend_from_slice(&other.spans);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
    fn figures(&self) -> Figures {
        let mut spans = self.spans.clone();
        spans.sort_by(|a, b| a.bound_s.total_cmp(&b.bound_s).then(a.below_s.total_cmp(&b.below_s)));
        spans.dedup_by(|next, kept| {
            let same = (next.below_s, next.bound_s) == (kept.below_s, kept.bound_s);
            kept.count = if same { kept.count.saturating_add(next.count) } else { kept.count };
            same
        });
        let success = if self.calls == 0 { 1.0 } else { 1.0 - self.failures as f64 / self.calls as f64 };
        Figures {
            rate_per_s: self.calls as f64 / WINDOW.as_secs_f64(),
            calls: self.calls,
            failures: self.failures,
            success,
            p50_ms: quantile_ms(&spans, self.calls, 0.5),
            p99_ms: quantile_ms(&spans, self.calls, 0.99),
        }
    }
}

/// Linear within the bucket, as `histogram_quantile` of Prometheus does; beyond the last bound, that bound.
#[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
fn quantile_ms(spans: &[Span], calls: u64, share: f64) -> Option<f64> {
    let rank = share * calls as f64;
    let mut before = 0.0;
    for span in spans {
        let upto = before + span.count as f64;
        if upto >= rank {
            let width = span.bound_s - span.below_s;
            let within = (rank - before) / span.count as f64;
            let seconds = if width.is_finite() { span.below_s + width * within } else { span.below_s };
            return Some(seconds * 1_000.0);
        }
        before = upto;
    }
    None
}

fn is_calls(family: &Family) -> bool {
    let rising = family.bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    family.name == FAMILY
        && family.kind() == Kind::Histogram
        && family.bounds.len() <= BOUNDS_MAX
        && rising
        && family.bounds.iter().all(|bound| bound.is_finite())
}

fn add(sum: &mut [u64], more: &[u64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

fn series_of(service: &str, sample: &Sample) -> Series {
    let label = |name: &str| {
        let pairs = sample.labels.chunks_exact(2);
        pairs
            .filter_map(|pair| if let [key, value] = pair { Some((key, value)) } else { None })
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let (status, grpc) = (label("http_response_status_code"), label("rpc_grpc_status_code"));
    Series {
        source: shown_name(service.to_owned()),
        destination: shown_name(label("weft_destination")),
        method: label("http_request_method"),
        route: path_of(label("http_route")),
        failed: failed(&status, &grpc),
        outcome: format!("{status}/{grpc}"),
    }
}

/// A gateway's route is named by its whole key, `ANY /orders/**`; the request's own method stands beside it here.
fn path_of(route: String) -> String {
    match route.split_once(' ') {
        Some((method, path)) if method.bytes().all(|byte| byte.is_ascii_uppercase()) => path.to_owned(),
        _ => route,
    }
}

/// The gateway has one name here, whether a process wrote the one of its identity or the one of the allow graph.
fn shown_name(name: String) -> String {
    if name == crate::hub::GATEWAY { "gateway".to_owned() } else { name }
}

/// Whether a call failed by its own fault or that of what it met, not its caller's: HTTP 5xx or no answer; of gRPC the
/// codes that OpenTelemetry's semantic conventions for RPC count as errors of the server.
fn failed(status: &str, grpc: &str) -> bool {
    let broke = status.parse::<u16>().map_or(true, |status| !(100..500).contains(&status));
    broke || matches!(grpc, "2" | "4" | "12" | "13" | "14" | "15")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.01, 0.1, 1.0];

    fn sample(destination: &str, route: &str, status: &str, buckets: [u64; 4]) -> Sample {
        let labels = [
            ("weft_source", "orders"),
            ("weft_destination", destination),
            ("http_request_method", "GET"),
            ("http_route", route),
            ("http_response_status_code", status),
        ];
        Sample {
            labels: labels
                .iter()
                .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
                .collect(),
            value: 1.0,
            buckets: buckets.to_vec(),
        }
    }

    fn report(samples: Vec<Sample>) -> Report {
        let family = Family {
            name: FAMILY.to_owned(),
            help: "Calls.".to_owned(),
            kind: Kind::Histogram as i32,
            bounds: BOUNDS.to_vec(),
            samples,
        };
        Report { families: vec![family] }
    }

    fn at(s: u64) -> Tick {
        Tick::from_ms(1_000_000 + s * 1_000)
    }

    #[test]
    fn what_was_counted_before_we_looked_is_not_a_rate() {
        let mut edges = Edges::default();
        edges.observe(
            "orders-1",
            "orders",
            &report(vec![sample("catalog", "/p/{id}", "200", [1_000, 0, 0, 0])]),
            at(0),
        );
        assert_eq!(edges.table(at(0))[0].figures.calls, 0);
        assert_eq!(edges.table(at(0))[0].figures.p50_ms, None);
        edges.observe(
            "orders-1",
            "orders",
            &report(vec![sample("catalog", "/p/{id}", "200", [1_010, 0, 0, 0])]),
            at(1),
        );
        let figures = &edges.table(at(1))[0].figures;
        assert_eq!((figures.calls, figures.failures, figures.rate_per_s), (10, 0, 1.0));
    }

    #[test]
    fn a_series_that_appears_later_counts_from_zero_and_leaves_the_window_in_time() {
        let mut edges = Edges::default();
        edges.observe("orders-1", "orders", &report(vec![]), at(0));
        edges.observe(
            "orders-1",
            "orders",
            &report(vec![sample("catalog", "/", "503", [0, 0, 4, 0])]),
            at(1),
        );
        let table = edges.table(at(10));
        assert_eq!((table[0].figures.calls, table[0].figures.success), (4, 0.0));
        assert_eq!(edges.table(at(11))[0].figures.calls, 0, "ten seconds later it is out");
    }

    #[test]
    fn a_counter_that_shrank_is_a_new_process() {
        let mut edges = Edges::default();
        edges.observe("orders-1", "orders", &report(vec![]), at(0));
        edges.observe(
            "orders-1",
            "orders",
            &report(vec![sample("catalog", "/", "200", [50, 0, 0, 0])]),
            at(1),
        );
        edges.observe(
            "orders-1",
            "orders",
            &report(vec![sample("catalog", "/", "200", [3, 0, 0, 0])]),
            at(2),
        );
        assert_eq!(edges.table(at(2))[0].figures.calls, 53);
    }

    #[test]
    fn edges_sum_their_instances_and_outcomes_and_list_their_routes() {
        let mut edges = Edges::default();
        for instance in ["orders-1", "orders-2"] {
            edges.observe(instance, "orders", &report(vec![]), at(0));
            let samples = vec![
                sample("catalog", "/a", "200", [90, 0, 0, 0]),
                sample("catalog", "/a", "500", [0, 0, 10, 0]),
                sample("catalog", "/b", "404", [1, 0, 0, 0]),
                sample("users", "/", "200", [0, 5, 0, 0]),
            ];
            edges.observe(instance, "orders", &report(samples), at(1));
        }
        let table = edges.table(at(1));
        let names: Vec<_> = table.iter().map(|edge| edge.destination.as_str()).collect();
        assert_eq!(names, ["catalog", "users"]);
        let catalog = &table[0];
        assert_eq!((catalog.figures.calls, catalog.figures.failures), (202, 20));
        assert_eq!(catalog.routes[0].route, "/a");
        assert!((catalog.routes[0].figures.success - 0.9).abs() < 1e-9);
        assert_eq!(catalog.routes[1].figures.failures, 0, "404 is the caller's fault");
        let p99 = catalog.routes[0].figures.p99_ms.unwrap();
        assert!((100.0..=1_000.0).contains(&p99), "{p99}");
        let p50 = catalog.routes[0].figures.p50_ms.unwrap();
        assert!((5.0..6.0).contains(&p50), "{p50}");
        edges.forget("orders-1");
        assert_eq!(edges.table(at(1))[0].figures.calls, 101);
    }

    #[test]
    fn names_are_those_of_the_manifest() {
        for (route, shown) in
            [("ANY /orders/**", "/orders/**"), ("/a b", "/a b"), ("pkg.Service/Call", "pkg.Service/Call")]
        {
            assert_eq!(path_of(route.to_owned()), shown);
        }
        assert_eq!(shown_name("weft-gateway".to_owned()), "gateway");
        assert_eq!(shown_name("weft-gateway-2".to_owned()), "weft-gateway-2");
    }

    #[test]
    fn grpc_outcomes_count_by_their_own_code() {
        for (status, grpc, expected) in
            [("200", "0", false), ("200", "5", false), ("200", "14", true), ("", "", true), ("502", "", true)]
        {
            assert_eq!(failed(status, grpc), expected, "{status} {grpc}");
        }
    }

    #[test]
    fn hostile_reports_cost_a_bounded_number_of_series_and_nothing_else() {
        let mut edges = Edges::default();
        edges.observe("x-1", "orders", &report(vec![]), at(0));
        let many =
            (0..SERIES_MAX + 7).map(|n| sample("catalog", &n.to_string(), "200", [1, 0, 0, 0])).collect();
        edges.observe("x-1", "orders", &report(many), at(1));
        assert_eq!((edges.series, edges.dropped()), (SERIES_MAX, 7));
        let mut odd = sample("catalog", "/", "200", [u64::MAX; 4]);
        odd.labels.push("dangling".to_owned());
        let mut short = odd.clone();
        short.buckets.pop();
        let mut edges = Edges::default();
        edges.observe("x-1", "orders", &report(vec![]), at(0));
        edges.observe("x-1", "orders", &report(vec![odd, short]), at(1));
        assert_eq!(edges.table(at(1))[0].figures.calls, u64::MAX);
        let mut unsorted = report(vec![sample("catalog", "/", "200", [1; 4])]);
        unsorted.families[0].bounds = vec![1.0, f64::NAN, 0.5];
        edges.observe("y-1", "orders", &unsorted, at(1));
        assert!(!edges.instances["y-1"].contains_key(&series_of("orders", &unsorted.families[0].samples[0])));
    }
}
