//! Plans as they are sent: each with its JSON, its version and the names that it refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_model::plan::{Plan, Plans, Reach};
use weft_model::wire::{EdgePair, PlanDown};

/// Service name of the gateway in its SPIFFE id.
pub const GATEWAY: &str = "weft-gateway";
/// Bytes of a plan's JSON; with its frame it stays below what a message may hold.
const PLAN_BYTES_MAX: usize = 15 * 1024 * 1024;

/// Why plans cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It would not fit in a message.
    #[error("the plan of {service} has {bytes} bytes, more than the {PLAN_BYTES_MAX} that can be sent")]
    TooLarge {
        /// Whose.
        service: String,
        /// Size of its JSON.
        bytes: usize,
    },
    /// It has no JSON.
    #[error("the plan of {service} cannot be written as JSON: {source}")]
    Json {
        /// Whose.
        service: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Plans in force.
#[derive(Debug)]
pub struct Published {
    plans: Plans,
    by_service: BTreeMap<String, Ready>,
}

#[derive(Debug)]
struct Ready {
    down: Arc<PlanDown>,
    upstreams: BTreeSet<String>,
}

impl Published {
    /// Writes each plan as it will be sent.
    ///
    /// # Errors
    /// One of them cannot be.
    pub fn new(plans: Plans, edge: Option<EdgePair>) -> Result<Self, PublishError> {
        let mut by_service = BTreeMap::new();
        if let Some(plan) = &plans.gateway {
            by_service.insert(GATEWAY.to_owned(), ready(GATEWAY, plan, edge)?);
        }
        for (service, plan) in &plans.sidecars {
            by_service.insert(service.clone(), ready(service, plan, None)?);
        }
        Ok(Self { plans, by_service })
    }

    /// What was derived from the manifest.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The plan of the processes of `service`.
    pub fn plan_of(&self, service: &str) -> Option<&Arc<PlanDown>> {
        self.by_service.get(service).map(|ready| &ready.down)
    }

    /// Services whose instances the processes of `service` must know.
    pub fn upstreams_of(&self, service: &str) -> Option<&BTreeSet<String>> {
        self.by_service.get(service).map(|ready| &ready.upstreams)
    }

    /// Version of each plan, by service.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_service.iter().map(|(service, ready)| (service.as_str(), ready.down.version.as_str()))
    }

    /// Where metrics of the whole system are served, `HOST:PORT`.
    pub fn metrics(&self) -> Option<&str> {
        let all = self.plans.gateway.iter().chain(self.plans.sidecars.values());
        all.filter_map(|plan| plan.observe.metrics.as_deref()).next()
    }

    /// Whether the same is in force.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.plans.launch == other.plans.launch && self.versions().eq(other.versions())
    }
}

fn ready(service: &str, plan: &Plan, edge: Option<EdgePair>) -> Result<Ready, PublishError> {
    let json = serde_json::to_string(plan)
        .map_err(|source| PublishError::Json { service: service.to_owned(), source })?;
    if json.len() > PLAN_BYTES_MAX {
        return Err(PublishError::TooLarge { service: service.to_owned(), bytes: json.len() });
    }
    // The edge's pair is part of what the process runs, so that a new pair is a new version.
    let pair = edge.as_ref().map(|edge| edge.cert_pem.as_str()).unwrap_or_default();
    let version = digest_of(&[&json, pair]);
    let meshed = plan.upstreams.iter().filter(|upstream| upstream.reach == Reach::Mesh);
    let upstreams = meshed.map(|upstream| upstream.name.clone()).collect();
    Ok(Ready { down: Arc::new(PlanDown { version, json, edge }), upstreams })
}

/// Version of a plan: the first 16 hex digits of the SHA-256 of its parts.
pub fn digest_of(parts: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
