//! What control counts itself.

use std::sync::atomic::{AtomicU64, Ordering};

use weft_model::wire::{Family, Kind, Sample};

use crate::hub::InstanceStatus;

/// Counters that grow wherever something happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) enrolled: AtomicU64,
    pub(crate) enrolments_refused: AtomicU64,
    pub(crate) renewed: AtomicU64,
    pub(crate) renewals_refused: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_refused: AtomicU64,
    pub(crate) plans_sent: AtomicU64,
    pub(crate) plans_refused: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What control says about itself and the registry in one scrape.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) counted: Vec<(&'static str, &'static str, &'static str, u64)>,
    pub(crate) instances: Vec<InstanceStatus>,
    pub(crate) plans: Vec<(String, String)>,
    pub(crate) now_unix_s: u64,
    pub(crate) samples_left_out: u64,
    pub(crate) series_left_out: u64,
}

impl Counters {
    /// Rows of family, label `outcome`, help, value.
    pub(crate) fn rows(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let enrolments = ("weft_control_enrolments", "Processes that asked for an identity with a token.");
        let renewals = ("weft_control_renewals", "Renewals of identities.");
        let reloads = ("weft_control_reloads", "Times that the manifest was read anew.");
        let plans = ("weft_control_plans", "Plans sent to processes, and answers that refused one.");
        let connections = ("weft_control_connections", "Connections of processes that ended before a call.");
        [
            (enrolments, "accepted", read(&self.enrolled)),
            (enrolments, "refused", read(&self.enrolments_refused)),
            (renewals, "accepted", read(&self.renewed)),
            (renewals, "refused", read(&self.renewals_refused)),
            (reloads, "accepted", read(&self.reloads)),
            (reloads, "refused", read(&self.reloads_refused)),
            (plans, "sent", read(&self.plans_sent)),
            (plans, "refused", read(&self.plans_refused)),
            (connections, "refused", read(&self.connections_refused)),
        ]
        .into_iter()
        .map(|((name, help), outcome, value)| (name, outcome, help, value))
        .collect()
    }
}

impl Own {
    /// As families, ready to be rendered.
    #[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^52")]
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = Vec::new();
        for (name, outcome, help, value) in &self.counted {
            let sample = sample(&[("outcome", outcome)], *value as f64);
            match families.last_mut().filter(|family| family.name == *name) {
                Some(family) => family.samples.push(sample),
                None => families.push(family(name, help, Kind::Counter, vec![sample])),
            }
        }
        let left_out = vec![
            sample(&[("of", "samples")], self.samples_left_out as f64),
            sample(&[("of", "edges")], self.series_left_out as f64),
        ];
        let help = "What processes reported beyond the limits, and is not shown.";
        families.push(family("weft_control_left_out", help, Kind::Counter, left_out));
        let help = "Time until the identity of an instance ends.";
        let expiry = self.instances.iter().map(|one| {
            let left = one.identity_expires_unix_s as f64 - self.now_unix_s as f64;
            sample(&[("instance", &one.instance), ("role", &one.role), ("service", &one.service)], left)
        });
        families.push(family("weft_identity_expiry_seconds", help, Kind::Gauge, expiry.collect()));
        let help = "Time until the certificate that a gateway serves TLS with ends.";
        let edges = self.instances.iter().filter_map(|one| {
            let left = one.edge_expires_unix_s? as f64 - self.now_unix_s as f64;
            Some(sample(&[("instance", &one.instance), ("role", &one.role)], left))
        });
        families.push(family("weft_edge_certificate_expiry_seconds", help, Kind::Gauge, edges.collect()));
        let help = "Whether an instance's stream to control is open.";
        let connected = self.instances.iter().map(|one| {
            let labels = [
                ("instance", one.instance.as_str()),
                ("role", &one.role),
                ("service", &one.service),
                ("state", &one.state),
            ];
            sample(&labels, if one.connected { 1.0 } else { 0.0 })
        });
        families.push(family("weft_control_instance_connected", help, Kind::Gauge, connected.collect()));
        let help = "The version of the plan in force, by service.";
        let plans = self
            .plans
            .iter()
            .map(|(service, version)| sample(&[("service", service), ("version", version)], 1.0));
        families.push(family("weft_plan_info", help, Kind::Gauge, plans.collect()));
        families
    }
}

fn family(name: &str, help: &str, kind: Kind, samples: Vec<Sample>) -> Family {
    Family { name: name.to_owned(), help: help.to_owned(), kind: kind as i32, bounds: Vec::new(), samples }
}

fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
    let labels = labels.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
    Sample { labels, value, buckets: Vec::new() }
}
