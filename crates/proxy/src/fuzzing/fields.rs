//! Values that others send and that decide something: where in a trace a request stands, how long it may take, the text
//! of gRPC-Web.

use weft_stdx::rng::Rng;

use super::Cuts;
use crate::head::{Head, Known, Version};
use crate::resilience::deadline::{grpc_timeout, parse_grpc_timeout, parse_weft_deadline};
use crate::stage::grpc_web;
use crate::trace::TraceContext;

/// Reads bytes as each of those values.
///
/// # Panics
/// If what is said of a value is not what is read when it is said again, or a cut changes it: a finding.
pub fn check_fields(data: &[u8]) {
    check_trace(data);
    check_deadlines(data);
    let Some((cuts, bytes)) = Cuts::take(data) else { return };
    let ends = cuts.ends(bytes.len());
    grpc_web::check_text(bytes, &ends);
}

fn check_trace(data: &[u8]) {
    let mut head = Head::new();
    let begun = head.start_request(b"GET", Version::Http11);
    if begun.is_err() || head.push(b"traceparent", data).is_err() {
        return;
    }
    let context = TraceContext::of(&head, 0, &mut Rng::seeded(1));
    assert!(context.trace_id != [0; 16] && context.span_id != [0; 8]);
    assert_eq!(context.write(&mut head), Ok(()));
    let written = head.get_str(Known::Traceparent).unwrap_or_default();
    assert!(written.len() == 55 && written.is_ascii(), "{written}");
    let next = TraceContext::of(&head, 0, &mut Rng::seeded(2));
    assert_eq!(
        (next.trace_id, next.parent_id, next.sampled),
        (context.trace_id, context.span_id, context.sampled)
    );
}

fn check_deadlines(data: &[u8]) {
    let weft = parse_weft_deadline(data);
    let grpc = parse_grpc_timeout(data);
    assert!(weft.is_err() || grpc.is_err(), "digits alone, and digits with a unit");
    if let Ok(granted) = grpc {
        let (number, unit) = grpc_timeout(granted);
        let said = format!("{number}{unit}");
        let passed = parse_grpc_timeout(said.as_bytes());
        assert!(passed.is_ok_and(|passed| passed <= granted), "{said} for {granted:?}");
    }
}
