//! Routes that answer by themselves: redirects and fixed answers.

use weft_model::pattern::{PathPattern, Segment};
use weft_model::plan::{ActionPlan, RoutePlan};

use crate::head::{Head, Known, Version};
use crate::rescue;

/// Fills `answer` and returns the body.
pub(crate) fn respond(route: &RoutePlan, request: &Head, answer: &mut Head) -> Vec<u8> {
    match &route.action {
        ActionPlan::Redirect { to, status } => {
            let mut location = fill(to, &route.path, request.path());
            // A redirect that names no query keeps the request's.
            if let Some(query) = request.query()
                && !location.contains('?')
            {
                location.push('?');
                location.push_str(query);
            }
            answer.start_response(*status, Version::Http11);
            // The location is made of the manifest's text and of a canonical path, so it always is a field value.
            let _ = answer.push_known(Known::Location, location.as_bytes());
            Vec::new()
        }
        ActionPlan::Respond(fixed) => rescue::fixed(fixed, answer),
        ActionPlan::Forward { .. } => Vec::new(),
    }
}

/// Puts what the pattern's parameters matched in `path` into the `{name}` places of `text`; `/**` at its end becomes what
/// the pattern's `**` matched.
pub(crate) fn fill(text: &str, pattern: &PathPattern, path: &str) -> String {
    let mut out = text.to_owned();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    for segment in &pattern.segments {
        match segment {
            Segment::Param(name) => {
                out = out.replace(&format!("{{{name}}}"), parts.next().unwrap_or_default());
            }
            Segment::Rest => {
                let rest = parts.by_ref().collect::<Vec<_>>().join("/");
                if let Some(prefix) = out.strip_suffix("**") {
                    out = format!("{prefix}{rest}");
                }
            }
            Segment::Literal(_) | Segment::Any => {
                parts.next();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_the_rest_are_filled_in() {
        let check = |text: &str, pattern: &str, path: &str, expected: &str| {
            assert_eq!(fill(text, &pattern.parse().unwrap(), path), expected);
        };
        check("/new/{id}", "/old/{id}", "/old/42", "/new/42");
        check("https://shop.test/{b}/{a}", "/x/{a}/{b}", "/x/1/2", "https://shop.test/2/1");
        check("/v2/**", "/v1/**", "/v1/a/b", "/v2/a/b");
        check("/fixed", "/v1/**", "/v1/a/b", "/fixed");
    }
}
