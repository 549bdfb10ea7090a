//! Routes that answer by themselves: redirects and fixed answers.

use weft_model::plan::{ActionPlan, RoutePlan};
use weft_model::target;

use crate::head::{Head, Known, Version};
use crate::rescue;

/// Fills `answer` and returns the body.
pub(crate) fn respond(route: &RoutePlan, request: &Head, answer: &mut Head) -> Vec<u8> {
    match &route.action {
        ActionPlan::Redirect { to, status } => {
            let location = target::location(to, &route.path, request.path(), request.query());
            answer.start_response(*status, Version::Http11);
            // The location is made of the manifest's text and of a canonical path, so it always is a field value.
            let _ = answer.push_known(Known::Location, location.as_bytes());
            Vec::new()
        }
        ActionPlan::Respond(fixed) => rescue::fixed(fixed, answer),
        ActionPlan::Forward { .. } => Vec::new(),
    }
}
