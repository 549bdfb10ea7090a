//! Writes metric families as text, in one of the two formats that scrapers read.

use std::fmt::Write as _;

use weft_model::wire::{Kind, Sample};

use super::{Joined, Whose};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Prometheus,
}

impl Format {
    /// What a scraper asks for; the older format where it does not say.
    pub(crate) fn wanted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// `content-type` of the answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Collects the text. Writing to a string cannot fail, so what `write!` gives is not looked at.
pub(super) struct Writer {
    format: Format,
    text: String,
}

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    pub(super) fn family(&mut self, family: &Joined<'_>) {
        let name = family.name;
        let (kind, suffix) = match family.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
        };
        let (head, unit) = match self.format {
            Format::OpenMetrics => (name.to_owned(), unit_of(name)),
            Format::Prometheus => (format!("{name}{suffix}"), None),
        };
        let _ = writeln!(self.text, "# TYPE {head} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {head} {unit}");
        }
        let _ = write!(self.text, "# HELP {head} ");
        self.escaped(family.help, self.format == Format::OpenMetrics);
        self.text.push('\n');
        for (whose, bounds, sample) in &family.samples {
            match family.kind {
                Kind::Histogram => self.histogram(name, *whose, bounds, sample),
                Kind::Counter | Kind::Gauge => {
                    self.text.push_str(name);
                    self.text.push_str(suffix);
                    self.labels(sample, *whose, None);
                    let _ = writeln!(self.text, " {}", sample.value);
                }
            }
        }
    }

    fn histogram(&mut self, name: &str, whose: Option<Whose<'_>>, bounds: &[f64], sample: &Sample) {
        let mut sum = 0_u64;
        for (index, count) in sample.buckets.iter().enumerate() {
            sum = sum.saturating_add(*count);
            // `{:?}` keeps the point of whole numbers, which OpenMetrics asks for in `le`.
            let le = bounds.get(index).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            let _ = write!(self.text, "{name}_bucket");
            self.labels(sample, whose, Some(&le));
            let _ = writeln!(self.text, " {sum}");
        }
        let _ = write!(self.text, "{name}_count");
        self.labels(sample, whose, None);
        let _ = writeln!(self.text, " {sum}");
        let _ = write!(self.text, "{name}_sum");
        self.labels(sample, whose, None);
        let _ = writeln!(self.text, " {}", sample.value);
    }

    fn labels(&mut self, sample: &Sample, whose: Option<Whose<'_>>, le: Option<&str>) {
        let own = sample.labels.chunks_exact(2).filter_map(|pair| match pair {
            [name, value] => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        let added = whose
            .map(|whose| [("instance", whose.instance), ("role", whose.role), ("service", whose.service)]);
        let all = own.chain(added.into_iter().flatten()).chain(le.map(|le| ("le", le)));
        let mut separator = '{';
        for (name, value) in all {
            let _ = write!(self.text, "{separator}{name}=\"");
            self.escaped(value, true);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        for character in text.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '"' if quotes => self.text.push_str("\\\""),
                other => self.text.push(other),
            }
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// The unit that a name ends in, of those that are used.
fn unit_of(name: &str) -> Option<&'static str> {
    ["seconds", "bytes", "ratio"]
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
}
