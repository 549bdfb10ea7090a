//! What a route makes of a request's target: the path behind a rewrite, the callee's own path and query, the location of
//! a redirect. The gateway does it and `weft explain` shows it.

use crate::pattern::{PathPattern, Segment};

/// The path of a request whose literal beginning is replaced by `prefix`; a slash at the prefix's end does not count.
pub fn rewritten(prefix: &str, pattern: &PathPattern, path: &str) -> String {
    let rest = path.strip_prefix(&pattern.literal_prefix()).unwrap_or_default();
    let path = format!("{}{rest}", prefix.trim_end_matches('/'));
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// The target at the callee where a route names its path: `to` and `to_query`, filled in. Without a query of its own, the
/// request's.
pub fn replaced(
    to: &PathPattern,
    to_query: Option<&str>,
    pattern: &PathPattern,
    path: &str,
    query: Option<&str>,
) -> String {
    match (to_query, query) {
        (Some(own), _) => fill(&format!("{to}?{own}"), pattern, path),
        (None, Some(query)) => format!("{}?{query}", fill(&to.to_string(), pattern, path)),
        (None, None) => fill(&to.to_string(), pattern, path),
    }
}

/// Where a redirect leads. One that names no query keeps the request's, before its fragment if it has one (RFC 3986,
/// section 3).
pub fn location(to: &str, pattern: &PathPattern, path: &str, query: Option<&str>) -> String {
    let mut location = fill(to, pattern, path);
    let end = location.find('#').unwrap_or(location.len());
    if let Some(query) = query
        && !location[..end].contains('?')
    {
        location.insert_str(end, &format!("?{query}"));
    }
    location
}

/// Puts what the pattern's parameters matched in `path` into the `{name}` places of `text`, once each from left to right;
/// `**` at its end becomes what the pattern's `**` matched. What stands behind a `?` stays one value of the query: the
/// characters that are plain in a path and end or change a value there are encoded.
fn fill(text: &str, pattern: &PathPattern, path: &str) -> String {
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
