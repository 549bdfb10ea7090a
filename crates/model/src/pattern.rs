//! Patterns of paths and endpoints: the endpoint string of the manifest.
//!
//! `METHOD /path/{param}` or `package.Service/Method`; `*` is one segment, `**` the rest. The same type stands in routes,
//! calls, operations and the allow graph, so that all of them agree on what matches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
        let mut names: Vec<&String> =
            segments.iter().filter_map(|s| if let Segment::Param(name) = s { Some(name) } else { None }).collect();
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
        "." | ".." => refuse("`.` and `..` never match: paths are made canonical first"),
        _ => {
            if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                let good = !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
                return if good {
                    Ok(Segment::Param(name.to_owned()))
                } else {
                    refuse(format!("`{part}` is not a parameter: write `{{name}}` with letters, digits, `_`, `-` or `.`"))
                };
            }
            if part.contains(['{', '}', '*', '?', '#', '\\', ' ']) || part.chars().any(char::is_control) {
                return refuse(format!("`{part}`: a segment is a literal, `{{name}}`, `*` or `**`, nothing in between"));
            }
            Ok(Segment::Literal(part.to_owned()))
        }
    }
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
    /// Whether a request matches. A gRPC endpoint is `POST /service/method` on the wire.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        match self {
            EndpointPattern::Http { method: want, path: pattern, .. } => {
                want.as_deref().is_none_or(|want| want == method) && pattern.matches(path)
            }
            EndpointPattern::Grpc { service, method: want } => {
                let Some((got_service, got_method)) = path.strip_prefix('/').and_then(|p| p.split_once('/')) else {
                    return false;
                };
                let same = got_service == service
                    || got_service.strip_suffix(service.as_str()).is_some_and(|package| package.ends_with('.'));
                method == "POST" && same && (want == "*" || want == got_method)
            }
        }
    }
}

impl FromStr for EndpointPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        if let Some((method, path)) = text.split_once(' ') {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
                return refuse(format!("`{method}` is not a method: write it in capitals, e.g. `GET /path`, or `ANY`"));
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
            _ => refuse(format!("`{text}` is not an endpoint: write `METHOD /path` or `package.Service/Method`")),
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
