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
            // A redirect that names no query keeps the request's, before its fragment if it has one (RFC 3986, 3).
            let end = location.find('#').unwrap_or(location.len());
            if let Some(query) = request.query()
                && !location[..end].contains('?')
            {
                location.insert_str(end, &format!("?{query}"));
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

/// Puts what the pattern's parameters matched in `path` into the `{name}` places of `text`, once each from left to right;
/// `**` at its end becomes what the pattern's `**` matched. What stands behind a `?` stays one value of the query: the
/// characters that are plain in a path and end or change a value there are encoded.
pub(crate) fn fill(text: &str, pattern: &PathPattern, path: &str) -> String {
    let value = |wanted: &str| {
        let parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let mut pairs = pattern.segments.iter().zip(parts);
        pairs.find_map(|(segment, part)| {
            matches!(segment, Segment::Param(name) if name == wanted).then_some(part)
        })
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}').map(|(name, after)| (value(name), after)) {
            Some((Some(value), after)) => {
                // A value that was filled in has no `?`: in a canonical path it is encoded.
                if out.contains('?') {
                    push_query_value(value, &mut out);
                } else {
                    out.push_str(value);
                }
                rest = after;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    match (out.strip_suffix("**"), pattern.segments.last()) {
        (Some(prefix), Some(Segment::Rest)) => {
            let literal = pattern.segments.len() - 1;
            let tail = path.strip_prefix('/').unwrap_or(path).splitn(literal + 1, '/').nth(literal);
            format!("{prefix}{}", tail.unwrap_or_default())
        }
        _ => out,
    }
}

/// `value` is a segment of a canonical path.
fn push_query_value(value: &str, out: &mut String) {
    for char in value.chars() {
        match char {
            '&' => out.push_str("%26"),
            '+' => out.push_str("%2B"),
            ';' => out.push_str("%3B"),
            '=' => out.push_str("%3D"),
            char => out.push(char),
        }
    }
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
        check("/{b}/{a}", "/x/{a}/{b}", "/x/{b}/2", "/2/{b}");
        check("/v2/**", "/v1/**", "/v1", "/v2/");
        check("/o?c={id}&x={y", "/c/{id}", "/c/7", "/o?c=7&x={y");
    }

    #[test]
    fn a_value_from_the_path_adds_nothing_to_the_query() {
        let check = |text: &str, path: &str, expected: &str| {
            assert_eq!(fill(text, &"/c/{id}/{x}".parse().unwrap(), path), expected);
        };
        check("/o?c={id}&who=me", "/c/7&who=you/a", "/o?c=7%26who%3Dyou&who=me");
        check("/o/{x}?c={id}", "/c/a+b;c%26/k=v", "/o/k=v?c=a%2Bb%3Bc%26");
    }
}
