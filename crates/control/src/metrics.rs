//! Counters of all processes, and control's own, as text for a scraper.
//!
//! Two formats, by `Accept`: OpenMetrics 1.0 (github.com/prometheus/OpenMetrics) and the older text format 0.0.4 of
//! Prometheus. What a data plane reports is not believed: names and labels that do not fit the grammar are left out, and
//! there are at most [`SAMPLES_MAX`] samples of one process.

mod own;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_model::wire::{Family, Kind, Report, Sample};

use crate::status::Breaker;

pub(crate) use own::{Counters, Own, count};
pub(crate) use text::Format;

/// Families of one process.
pub(crate) const FAMILIES_MAX: usize = 256;
/// Samples of one process.
pub(crate) const SAMPLES_MAX: usize = 10_000;
/// Bytes of a label's value.
const VALUE_BYTES_MAX: usize = 256;
/// Labels of a sample.
const LABELS_MAX: usize = 16;
/// Bounds of a histogram.
const BOUNDS_MAX: usize = 64;

/// Where data planes say how their breakers are: 0 closed, 1 half-open, 2 open.
const BREAKER_FAMILY: &str = "weft_breaker_state";

/// The last report of each process.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    by_instance: BTreeMap<String, Reported>,
    left_out: u64,
}

#[derive(Debug)]
struct Reported {
    role: &'static str,
    service: String,
    report: Arc<Report>,
}

impl Reports {
    /// Keeps what fits.
    pub(crate) fn keep(&mut self, instance: &str, service: &str, report: Report) -> Arc<Report> {
        let mut room = SAMPLES_MAX;
        let before: usize = report.families.iter().map(|family| family.samples.len()).sum();
        let mut families: Vec<Family> =
            report.families.into_iter().take(FAMILIES_MAX).filter_map(fitting).collect();
        for family in &mut families {
            family.samples.truncate(room);
            room -= family.samples.len();
        }
        self.left_out += (before - (SAMPLES_MAX - room)) as u64;
        let report = Arc::new(Report { families });
        let role = if service == crate::hub::GATEWAY { "gateway" } else { "sidecar" };
        let reported = Reported { role, service: service.to_owned(), report: Arc::clone(&report) };
        self.by_instance.insert(instance.to_owned(), reported);
        report
    }

    /// Breakers that are not closed, as their callers reported them last.
    pub(crate) fn breakers(&self) -> Vec<Breaker> {
        let mut open = Vec::new();
        for (caller, reported) in &self.by_instance {
            let families = reported.report.families.iter().filter(|family| family.name == BREAKER_FAMILY);
            for sample in families.flat_map(|family| &family.samples).filter(|sample| sample.value > 0.0) {
                let label = |name: &str| {
                    let mut pairs = sample.labels.chunks_exact(2);
                    pairs.find(|pair| pair[0] == name).map(|pair| pair[1].clone()).unwrap_or_default()
                };
                open.push(Breaker {
                    caller: caller.clone(),
                    upstream: label("upstream"),
                    instance: label("endpoint"),
                    state: if sample.value > 1.0 { "open" } else { "half-open" }.to_owned(),
                });
            }
        }
        open
    }

    /// Drops whoever is not there any more; gives their names.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let gone: Vec<String> = self.by_instance.keys().filter(|name| !is_there(name)).cloned().collect();
        for name in &gone {
            self.by_instance.remove(name);
        }
        gone
    }

    /// Samples that did not fit or could not be read, since the start.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Everything that is known, as text.
    pub(crate) fn render(&self, own: &[Family], format: Format) -> String {
        let mut families: BTreeMap<&str, Joined<'_>> = BTreeMap::new();
        for family in own {
            join(&mut families, family, None);
        }
        for (instance, reported) in &self.by_instance {
            let whose = Whose { instance, role: reported.role, service: &reported.service };
            for family in &reported.report.families {
                join(&mut families, family, Some(whose));
            }
        }
        let mut writer = text::Writer::new(format);
        for family in families.values() {
            writer.family(family);
        }
        writer.finish()
    }
}

/// A family with the samples of all processes that have it.
pub(super) struct Joined<'r> {
    name: &'r str,
    help: &'r str,
    kind: Kind,
    samples: Vec<(Option<Whose<'r>>, &'r [f64], &'r Sample)>,
}

/// The process that a sample is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'r> {
    instance: &'r str,
    role: &'static str,
    service: &'r str,
}

fn join<'r>(families: &mut BTreeMap<&'r str, Joined<'r>>, family: &'r Family, whose: Option<Whose<'r>>) {
    let joined = families.entry(&family.name).or_insert_with(|| Joined {
        name: &family.name,
        help: &family.help,
        kind: family.kind(),
        samples: Vec::new(),
    });
    // Two builds may disagree on what a family is; a scrape that mixed both would be refused as a whole.
    if joined.kind == family.kind() {
        joined.samples.extend(family.samples.iter().map(|sample| (whose, family.bounds.as_slice(), sample)));
    }
}

/// The family without what cannot be rendered.
fn fitting(mut family: Family) -> Option<Family> {
    if let Some(bare) = family.name.strip_suffix("_total") {
        family.name = bare.to_owned();
    }
    let kind = Kind::try_from(family.kind).ok()?;
    let rising = family.bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    let bounds =
        family.bounds.len() <= BOUNDS_MAX && rising && family.bounds.iter().all(|bound| bound.is_finite());
    // `control` renders these of its own; nobody else may speak for it.
    let reserved = family.name.starts_with("weft_control_") || family.name == "weft_plan_info";
    if !is_name(&family.name) || !bounds || reserved {
        return None;
    }
    let buckets = if kind == Kind::Histogram { family.bounds.len() + 1 } else { 0 };
    family.samples.retain(|sample| sample.buckets.len() == buckets && are_labels(&sample.labels));
    for sample in &mut family.samples {
        clip(&mut sample.labels);
    }
    Some(family)
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn are_labels(labels: &[String]) -> bool {
    let names: Vec<&String> = labels.iter().step_by(2).collect();
    let free =
        |name: &str| !matches!(name, "instance" | "role" | "service" | "le") && !name.starts_with("__");
    let distinct = names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
    labels.len().is_multiple_of(2)
        && labels.len() <= 2 * LABELS_MAX
        && distinct
        && names.iter().all(|name| is_name(name) && free(name))
}

fn clip(labels: &mut [String]) {
    for value in labels.iter_mut().skip(1).step_by(2) {
        value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, kind: Kind, bounds: &[f64], samples: Vec<Sample>) -> Family {
        let help = "Says \"what\" it is \\ does.\nTwice.".to_owned();
        Family { name: name.to_owned(), help, kind: kind as i32, bounds: bounds.to_vec(), samples }
    }

    fn sample(labels: &[&str], value: f64, buckets: &[u64]) -> Sample {
        Sample {
            labels: labels.iter().map(|text| (*text).to_owned()).collect(),
            value,
            buckets: buckets.to_vec(),
        }
    }

    #[test]
    fn breakers_that_are_not_closed_are_named() {
        let mut reports = Reports::default();
        let breaker =
            |endpoint: &str, state: f64| sample(&["upstream", "orders", "endpoint", endpoint], state, &[]);
        let samples = vec![breaker("orders-1", 0.0), breaker("orders-2", 2.0), breaker("orders-3", 1.0)];
        let report = Report { families: vec![family(BREAKER_FAMILY, Kind::Gauge, &[], samples)] };
        reports.keep("weft-gateway", "weft-gateway", report);
        let seen: Vec<_> =
            reports.breakers().into_iter().map(|one| (one.caller, one.instance, one.state)).collect();
        let of =
            |instance: &str, state: &str| ("weft-gateway".to_owned(), instance.to_owned(), state.to_owned());
        assert_eq!(seen, [of("orders-2", "open"), of("orders-3", "half-open")]);
    }

    fn reported() -> Reports {
        let mut reports = Reports::default();
        let all = |n: f64| Report {
            families: vec![
                family("weft_refusals", Kind::Counter, &[], vec![sample(&["code", "W-1\"\\\n"], n, &[])]),
                family("weft_upstream_open_requests", Kind::Gauge, &[], vec![sample(&[], n, &[])]),
                family(
                    "http_client_request_duration_seconds",
                    Kind::Histogram,
                    &[0.005, 1.0],
                    vec![sample(&["weft_source", "orders"], n * 1.5, &[1, 2, 3])],
                ),
            ],
        };
        reports.keep("orders-1", "orders", all(1.0));
        reports.keep("gateway", crate::hub::GATEWAY, all(2.0));
        reports
    }

    #[test]
    fn both_formats_say_the_same_in_their_own_way() {
        let open = reported().render(&[], Format::OpenMetrics);
        let lines: Vec<&str> = open.lines().collect();
        for line in [
            "# TYPE weft_refusals counter",
            "weft_refusals_total{code=\"W-1\\\"\\\\\\n\",instance=\"orders-1\",role=\"sidecar\",service=\"orders\"} 1",
            "# UNIT http_client_request_duration_seconds seconds",
            "http_client_request_duration_seconds_bucket{weft_source=\"orders\",instance=\"gateway\",role=\"gateway\",service=\"weft-gateway\",le=\"1.0\"} 3",
            "http_client_request_duration_seconds_bucket{weft_source=\"orders\",instance=\"gateway\",role=\"gateway\",service=\"weft-gateway\",le=\"+Inf\"} 6",
            "http_client_request_duration_seconds_count{weft_source=\"orders\",instance=\"gateway\",role=\"gateway\",service=\"weft-gateway\"} 6",
            "http_client_request_duration_seconds_sum{weft_source=\"orders\",instance=\"gateway\",role=\"gateway\",service=\"weft-gateway\"} 3",
        ] {
            assert!(lines.contains(&line), "{line}\nis not in\n{open}");
        }
        assert_eq!(lines.last(), Some(&"# EOF"));
        let prometheus = reported().render(&[], Format::Prometheus);
        assert!(prometheus.contains("# TYPE weft_refusals_total counter\n"), "{prometheus}");
        assert!(!prometheus.contains("# EOF") && !prometheus.contains("# UNIT"), "{prometheus}");
    }

    #[test]
    fn what_a_hostile_process_reports_does_not_spoil_the_scrape() {
        let mut reports = Reports::default();
        let many = (0..SAMPLES_MAX + 5).map(|n| sample(&["n", &n.to_string()], 1.0, &[])).collect();
        let report = Report {
            families: vec![
                family("bad name", Kind::Gauge, &[], vec![sample(&[], 1.0, &[])]),
                family("weft_control_up", Kind::Gauge, &[], vec![sample(&[], 1.0, &[])]),
                family(
                    "odd",
                    Kind::Gauge,
                    &[],
                    vec![sample(&["a"], 1.0, &[]), sample(&["a", "1", "a", "2"], 1.0, &[])],
                ),
                family("taken", Kind::Gauge, &[], vec![sample(&["instance", "other-1"], 1.0, &[])]),
                family("short", Kind::Histogram, &[1.0], vec![sample(&[], 1.0, &[1])]),
                family("falling", Kind::Histogram, &[2.0, 1.0], vec![sample(&[], 1.0, &[1, 1, 1])]),
                family("many", Kind::Gauge, &[], many),
            ],
        };
        reports.keep("x-1", "x", report);
        let text = reports.render(&[], Format::Prometheus);
        for name in ["bad", "weft_control_up", "odd{", "taken{", "short_", "falling"] {
            assert!(!text.contains(name), "{name}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("many{")).count(), SAMPLES_MAX);
        assert_eq!(reports.left_out(), 12);
    }

    #[test]
    fn promtool_accepts_what_is_rendered() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let own = Own::default().families();
        let text = reported().render(&own, Format::Prometheus);
        let started = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = started else {
            assert!(std::env::var_os("CI").is_none(), "continuous integration installs what this test needs");
            eprintln!(
                "NOT CHECKED: promtool is not installed, so nothing says that Prometheus accepts the metrics"
            );
            return;
        };
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}\n{text}", String::from_utf8_lossy(&output.stdout));
    }
}
