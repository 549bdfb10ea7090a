//! The sidecar's own API toward its service: is it alive, is it ready, who am I.

use std::rc::Rc;

use serde_json::json;
use weft_model::code::Code;

use crate::head::{Head, Known, Method, Version};
use crate::rescue::Ended;
use crate::worker::{Active, Phase, Worker};

/// Fills `answer` and returns the body.
///
/// # Errors
/// There is no such path, or it is not read with this method.
pub(crate) fn respond(
    worker: &Rc<Worker>,
    active: &Active,
    head: &Head,
    answer: &mut Head,
) -> Result<Vec<u8>, Ended> {
    if !matches!(head.method(), Method::Get | Method::Head) {
        let mut ended = Ended::from(Code::MethodNotAllowed);
        ended.allow = vec!["GET".to_owned(), "HEAD".to_owned()];
        return Err(ended);
    }
    let (status, body) = match head.path() {
        "/v1/healthz" => (200, json!({ "status": "ok" })),
        "/v1/readyz" => readiness(worker),
        "/v1/metadata" => (200, metadata(worker, active)),
        path => return Err(Ended::new(Code::NoRoute, format!("the sidecar's own API has no {path}"))),
    };
    answer.start_response(status, Version::Http11);
    answer.push_known(Known::ContentType, b"application/json").map_err(|_| Ended::from(Code::Internal))?;
    let mut text = body.to_string().into_bytes();
    text.push(b'\n');
    Ok(text)
}

/// Ready for the service to call others: an identity and a plan are in force, and nobody asked us to leave.
fn readiness(worker: &Worker) -> (u16, serde_json::Value) {
    let identity = worker.mesh().is_some();
    let draining = worker.phase() >= Phase::Draining;
    let ready = identity && !draining;
    let status = if ready { 200 } else { 503 };
    (status, json!({ "ready": ready, "identity": identity, "plan": true, "draining": draining }))
}

fn metadata(worker: &Worker, active: &Active) -> serde_json::Value {
    let plan = &active.compiled.plan;
    let identity = worker.mesh().and_then(|mesh| mesh.identity().map(|identity| identity.current()));
    let calls: Vec<&str> = plan.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    json!({
        "system": plan.system,
        "trust_domain": plan.trust_domain,
        "service": active.compiled.sidecar().map(|(sidecar, _)| sidecar.service.as_str()),
        "instance": worker.shared.metadata.instance,
        "version": worker.shared.metadata.build,
        "identity": identity.map(|identity| identity.id.as_str().to_owned()),
        "calls": calls,
    })
}
