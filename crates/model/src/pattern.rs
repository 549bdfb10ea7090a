//! Patterns of paths and endpoints: the endpoint string of the manifest.
//!
//! `METHOD /path/{param}` or `package.Service/Method`; `*` is one segment, `**` the rest. The same type stands in routes,
//! calls, operations and the allow graph, so that all of them agree on what matches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::{PathRefusal, canonical_segment};

/// One segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Exactly this.
    Literal(String),
    /// One segment, named.
    Param(String),
    /// One segment (`*`).
    Any,
    /// Zero or more segments (`**`); only at the end.
    Rest,
}

/// A path pattern such as `/orders/{id}/**`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    /// Segments between slashes. `/` alone has none; a trailing slash is one last empty literal.
    pub segments: Vec<Segment>,
}

/// What an endpoint string says, without the service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EndpointPattern {
    /// `METHOD /path`; any method where absent (`ANY`).
    Http {
        /// Upper case.
        method: Option<String>,
        /// Path.
        path: PathPattern,
        /// Query as written after `?`, without it.
        query: Option<String>,
    },
    /// `package.Service/Method`; `*` for all methods of the service.
    Grpc {
        /// Package and service, or the service alone.
        service: String,
        /// Method or `*`.
        method: String,
    },
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// For people, lower case, names the remedy where there is one.
    pub reason: String,
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, PatternError> {
    Err(PatternError { reason: reason.into() })
}

impl PathPattern {
    /// Whether `path` (canonical, without query) matches.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut parts = (!rest.is_empty()).then_some(rest);
        for segment in &self.segments {
            if *segment == Segment::Rest {
                return true;
            }
            let Some(text) = parts else { return false };
            let (part, next) = match text.split_once('/') {
                Some((part, next)) => (part, Some(next)),
                None => (text, None),
            };
            match segment {
                Segment::Literal(literal) if literal != part => return false,
                Segment::Param(_) | Segment::Any if part.is_empty() => return false,
                _ => parts = next,
            }
        }
        parts.is_none()
    }

    /// Whether some path matches both.
    pub fn intersects(&self, other: &PathPattern) -> bool {
        let (mut ours, mut theirs) = (self.segments.iter(), other.segments.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(Segment::Rest), _) | (_, Some(Segment::Rest)) | (None, None) => return true,
                (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a != b => return false,
                (Some(Segment::Literal(a)), Some(_)) | (Some(_), Some(Segment::Literal(a)))
                    if a.is_empty() =>
                {
                    // A trailing slash's empty segment is matched by nothing but itself.
                    return ours.next().is_none() && theirs.next().is_none() && ends_alike(self, other);
                }
                (Some(_), Some(_)) => {}
                _ => return false,
            }
        }
    }

    /// Whether every path that `other` matches is matched by this pattern too.
    pub fn covers(&self, other: &PathPattern) -> bool {
        let (mut ours, mut theirs) = (self.segments.iter(), other.segments.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(Segment::Rest), _) | (None, None) => return true,
                (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => {}
                (Some(Segment::Param(_) | Segment::Any), Some(Segment::Param(_) | Segment::Any)) => {}
                (Some(Segment::Param(_) | Segment::Any), Some(Segment::Literal(b))) if !b.is_empty() => {}
                _ => return false,
            }
        }
    }

    /// The literal part before the first wildcard, e.g. `/products` of `/products/**`.
    pub fn literal_prefix(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            let Segment::Literal(literal) = segment else { break };
            text.push('/');
            text.push_str(literal);
        }
        text
    }
}

fn ends_alike(a: &PathPattern, b: &PathPattern) -> bool {
    a.segments.last() == b.segments.last()
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return refuse(format!("a path starts with `/`, and `{text}` does not"));
        };
        if rest.is_empty() {
            return Ok(PathPattern { segments: Vec::new() });
        }
        let mut segments = Vec::new();
        let parts: Vec<&str> = rest.split('/').collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            segments.push(parse_segment(part, last)?);
        }
        let mut names: Vec<&String> = segments
            .iter()
            .filter_map(|s| if let Segment::Param(name) = s { Some(name) } else { None })
            .collect();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("the parameter `{{{}}}` is named twice", pair[0]));
        }
        Ok(PathPattern { segments })
    }
}

fn parse_segment(part: &str, last: bool) -> Result<Segment, PatternError> {
    match part {
        "**" if last => Ok(Segment::Rest),
        "**" => refuse("`**` stands only at the end of a path"),
        "*" => Ok(Segment::Any),
        "" if last => Ok(Segment::Literal(String::new())),
        "" => refuse("an empty segment (`//`) never matches: paths are made canonical first"),
        _ => {
            if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                let good = !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
                return if good {
                    Ok(Segment::Param(name.to_owned()))
                } else {
                    refuse(format!(
                        "`{part}` is not a parameter: write `{{name}}` with letters, digits, `_`, `-` or `.`"
                    ))
                };
            }
            if part.contains(['{', '}', '*', '?', '#', '\\', ' ']) || part.chars().any(char::is_control) {
                return refuse(format!(
                    "`{part}`: a segment is a literal, `{{name}}`, `*` or `**`, nothing in between"
                ));
            }
            literal(part).map(Segment::Literal)
        }
    }
}

/// A literal segment in the form in which a request has it, whatever spelling it is written in: `%7Eme` is `~me`, and `é` is
/// `%C3%A9`. So one who writes another spelling of a path means the same as the gateway.
///
/// # Errors
/// No request has such a segment: the gateway refuses it, or resolves it.
pub(crate) fn literal(part: &str) -> Result<String, PatternError> {
    match canonical_segment(part) {
        Ok(canonical) if canonical == "." || canonical == ".." => {
            refuse("no path has `.` or `..`, in any spelling: paths are made canonical first")
        }
        Ok(canonical) => Ok(canonical),
        Err(refusal) => {
            let remedy = match refusal {
                PathRefusal::PercentInvalid => "; write `%25` for the percent sign itself",
                _ => "",
            };
            refuse(format!("no path has `{part}`: one that {refusal} is refused{remedy}"))
        }
    }
}

/// A plain path of a manifest in its canonical form; see [`literal`].
///
/// # Errors
/// As of [`literal`], and an empty segment in the middle.
pub(crate) fn literal_path(text: &str) -> Result<String, PatternError> {
    let Some(rest) = text.strip_prefix('/') else {
        return refuse(format!("a path starts with `/`, and `{text}` does not"));
    };
    let mut path = String::new();
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() && parts.peek().is_some() {
            return refuse("an empty segment (`//`) is nowhere kept: paths are made canonical first");
        }
        path.push('/');
        path.push_str(&literal(part)?);
    }
    Ok(path)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
                Segment::Any => f.write_str("/*")?,
                Segment::Rest => f.write_str("/**")?,
            }
        }
        Ok(())
    }
}

impl EndpointPattern {
    /// Whether a request matches. A gRPC endpoint is `POST /service/method` on the wire. What may be asked by `GET` may be
    /// asked by `HEAD` (RFC 9110, section 9.3.2).
    pub fn matches(&self, method: &str, path: &str) -> bool {
        match self {
            EndpointPattern::Http { method: want, path: pattern, .. } => {
                method_covers(want.as_deref(), method) && pattern.matches(path)
            }
            EndpointPattern::Grpc { service, method: want } => {
                let Some((got_service, got_method)) = path.strip_prefix('/').and_then(|p| p.split_once('/'))
                else {
                    return false;
                };
                let one_method = !got_method.is_empty() && !got_method.contains('/');
                method == "POST"
                    && is_grpc_service(service, got_service)
                    && one_method
                    && (want == "*" || want == got_method)
            }
        }
    }

    /// Whether some request matches both.
    pub fn intersects(&self, other: &EndpointPattern) -> bool {
        match (self, other) {
            (
                EndpointPattern::Http { method: a, path: ours, .. },
                EndpointPattern::Http { method: b, path: theirs, .. },
            ) => {
                let methods = match (a, b) {
                    (Some(a), Some(b)) => method_covers(Some(a), b) || method_covers(Some(b), a),
                    _ => true,
                };
                methods && ours.intersects(theirs)
            }
            (
                EndpointPattern::Grpc { service: a, method: x },
                EndpointPattern::Grpc { service: b, method: y },
            ) => (is_grpc_service(a, b) || is_grpc_service(b, a)) && (x == y || x == "*" || y == "*"),
            (EndpointPattern::Grpc { service, method }, EndpointPattern::Http { method: want, path, .. })
            | (EndpointPattern::Http { method: want, path, .. }, EndpointPattern::Grpc { service, method }) => {
                method_covers(want.as_deref(), "POST") && meets_grpc(path, service, method)
            }
        }
    }

    /// Whether every request that `other` matches is matched by this pattern too.
    pub fn covers(&self, other: &EndpointPattern) -> bool {
        match (self, other) {
            (
                EndpointPattern::Http { method: a, path: ours, .. },
                EndpointPattern::Http { method: b, path: theirs, .. },
            ) => {
                let methods = match (a, b) {
                    (None, _) => true,
                    (Some(a), Some(b)) => method_covers(Some(a), b),
                    (Some(_), None) => false,
                };
                methods && ours.covers(theirs)
            }
            (
                EndpointPattern::Grpc { service: a, method: x },
                EndpointPattern::Grpc { service: b, method: y },
            ) => is_grpc_service(a, b) && (x == "*" || x == y),
            (EndpointPattern::Http { method: want, path, .. }, EndpointPattern::Grpc { method, .. }) => {
                // A service may be named without its package, or without the front of it.
                let method = if method == "*" { Segment::Any } else { Segment::Literal(method.clone()) };
                let on_the_wire = PathPattern { segments: vec![Segment::Any, method] };
                method_covers(want.as_deref(), "POST") && path.covers(&on_the_wire)
            }
            (EndpointPattern::Grpc { .. }, EndpointPattern::Http { .. }) => false,
        }
    }
}

/// Whether a wanted method (any where absent) takes this one: `GET` takes `HEAD` too.
pub fn method_covers(want: Option<&str>, method: &str) -> bool {
    want.is_none_or(|want| want == method || (want == "GET" && method == "HEAD"))
}

/// Whether `got` is the gRPC service that `want` names, where `want` may lack the package.
fn is_grpc_service(want: &str, got: &str) -> bool {
    got == want || got.strip_suffix(want).is_some_and(|package| package.ends_with('.'))
}

/// Whether some path of a gRPC endpoint (`/package.Service/Method`) matches a path pattern.
fn meets_grpc(path: &PathPattern, service: &str, method: &str) -> bool {
    let mut segments = path.segments.iter();
    let service_fits = match segments.next() {
        None => return false,
        Some(Segment::Rest) => return true,
        Some(Segment::Literal(literal)) => is_grpc_service(service, literal),
        Some(Segment::Param(_) | Segment::Any) => true,
    };
    let method_fits = match segments.next() {
        None => return false,
        Some(Segment::Rest) => return service_fits,
        Some(Segment::Literal(literal)) => !literal.is_empty() && (method == "*" || method == literal),
        Some(Segment::Param(_) | Segment::Any) => true,
    };
    service_fits && method_fits && matches!(segments.next(), None | Some(Segment::Rest))
}

impl FromStr for EndpointPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        if let Some((method, path)) = text.split_once(' ') {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
                return refuse(format!(
                    "`{method}` is not a method: write it in capitals, e.g. `GET /path`, or `ANY`"
                ));
            }
            let (path, query) = match path.trim_start().split_once('?') {
                Some((path, query)) => (path, Some(query.to_owned())),
                None => (path.trim_start(), None),
            };
            let method = (method != "ANY").then(|| method.to_owned());
            return Ok(EndpointPattern::Http { method, path: path.parse()?, query });
        }
        if text == "**" {
            let path = PathPattern { segments: vec![Segment::Rest] };
            return Ok(EndpointPattern::Http { method: None, path, query: None });
        }
        if text.starts_with('/') {
            return refuse(format!("a method is missing: write `GET {text}` or `ANY {text}`"));
        }
        let word = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        };
        match text.split_once('/') {
            Some((service, method)) if word(service) && (method == "*" || word(method)) => {
                Ok(EndpointPattern::Grpc { service: service.to_owned(), method: method.to_owned() })
            }
            _ => refuse(format!(
                "`{text}` is not an endpoint: write `METHOD /path` or `package.Service/Method`"
            )),
        }
    }
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointPattern::Http { method, path, query } => {
                write!(f, "{} {path}", method.as_deref().unwrap_or("ANY"))?;
                query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
            }
            EndpointPattern::Grpc { service, method } => write!(f, "{service}/{method}"),
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = PatternError;
            fn try_from(text: String) -> Result<Self, PatternError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(pattern: $type) -> String {
                pattern.to_string()
            }
        }
    };
}
as_text!(PathPattern);
as_text!(EndpointPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    fn endpoint(text: &str) -> EndpointPattern {
        text.parse().unwrap()
    }

    /// What is written in another spelling means the path that a request of either spelling has.
    #[test]
    fn literals_are_made_canonical() {
        for (written, canonical) in [
            ("/%7Ezz/é", "/~zz/%C3%A9"),
            ("/%c3%a9", "/%C3%A9"),
            ("/[a]|^\"<>`", "/%5Ba%5D%7C%5E%22%3C%3E%60"),
            ("/a%2Ab/{id}/**", "/a%2Ab/{id}/**"),
            ("/%7Bid%7D", "/%7Bid%7D"),
            ("/a;b=c", "/a;b=c"),
        ] {
            assert_eq!(path(written).to_string(), canonical);
            assert_eq!(path(canonical), path(written));
        }
        assert_eq!(endpoint("ANY /%61"), endpoint("ANY /a"));
    }

    #[test]
    fn literals_that_no_request_has_are_refused() {
        for (written, why) in [
            ("/%zz", "percent"),
            ("/a%", "`%25`"),
            ("/a%2fb", "encoded slash"),
            ("/a%5C", "backslash"),
            ("/a%00", "NUL"),
            ("/%2e%2E/a", "`..`"),
            ("/%2e;x", "parameter"),
            ("/a//b", "empty segment"),
        ] {
            let refused = written.parse::<PathPattern>().unwrap_err();
            assert!(refused.reason.contains(why), "{written}: {refused}");
        }
    }

    #[test]
    fn paths_match_segment_by_segment() {
        for (pattern, good, bad) in [
            ("/", "/", "/a"),
            ("/a/{id}", "/a/1", "/a/"),
            ("/a/*", "/a/1", "/a/1/2"),
            ("/a/**", "/a", "/b"),
            ("/a/**", "/a/1/2/3", "/ab"),
            ("/a/", "/a/", "/a"),
            ("/**", "/", "relative"),
        ] {
            assert!(path(pattern).matches(good), "{pattern} {good}");
            assert!(!path(pattern).matches(bad), "{pattern} {bad}");
        }
    }

    /// `intersects` and `covers` say what trying all short paths says.
    #[test]
    fn intersection_and_cover_agree_with_matching() {
        let parts = ["", "a", "b", "zz"];
        let mut paths = vec!["/".to_owned()];
        for x in parts {
            paths.push(format!("/{x}"));
            for y in parts {
                paths.push(format!("/{x}/{y}"));
                paths.extend(parts.iter().map(|z| format!("/{x}/{y}/{z}")));
            }
        }
        let patterns = [
            "/", "/a", "/a/", "/{p}", "/*/", "/**", "/a/**", "/a/b", "/a/{p}", "/*/b", "/*/b/**", "/a/*/b",
            "/{p}/{q}",
        ];
        for a in patterns {
            for b in patterns {
                let (ours, theirs) = (path(a), path(b));
                let both = paths.iter().any(|path| ours.matches(path) && theirs.matches(path));
                assert_eq!(ours.intersects(&theirs), both, "{a} and {b}");
                let all = paths.iter().all(|path| !theirs.matches(path) || ours.matches(path));
                assert_eq!(ours.covers(&theirs), all, "{a} over {b}");
            }
        }
    }

    #[test]
    fn endpoints_cover_what_they_should() {
        assert!(endpoint("GET /a").matches("HEAD", "/a"));
        assert!(!endpoint("HEAD /a").matches("GET", "/a"));
        assert!(endpoint("ANY /a/**").covers(&endpoint("GET /a/{id}")));
        assert!(!endpoint("GET /a/**").covers(&endpoint("ANY /a/{id}")));
        assert!(endpoint("shop.Pricing/*").covers(&endpoint("shop.Pricing/Get")));
        assert!(endpoint("ANY /{service}/**").covers(&endpoint("shop.Pricing/Get")));
        // What lacks a package means any, so it is wider than what names one.
        assert!(endpoint("Pricing/Get").covers(&endpoint("shop.Pricing/Get")));
        assert!(!endpoint("shop.Pricing/Get").covers(&endpoint("Pricing/Get")));
        assert!(!endpoint("ANY /shop.Pricing/**").covers(&endpoint("Pricing/Get")));
        assert!(endpoint("ANY /shop.Pricing/**").intersects(&endpoint("Pricing/Get")));
        assert!(!endpoint("ANY /shop.Pricing/*/**").covers(&endpoint("GET /shop.Pricing")));
        assert!(!endpoint("Pricing/*").matches("POST", "/shop.Pricing/Get/more"));
        assert!(!endpoint("GET /shop.Pricing/**").intersects(&endpoint("shop.Pricing/Get")));
        assert!(endpoint("Pricing/Get").intersects(&endpoint("shop.Pricing/Get")));
        assert!(!endpoint("Pricing/Get").intersects(&endpoint("shop.OtherPricing/Get")));
    }
}
