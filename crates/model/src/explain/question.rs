//! The question: a request as one writes it down, at the edge or between two services.

use std::fmt;

use crate::code::Code;
use crate::path::{PathRefusal, canonicalise};
use crate::pattern::EndpointPattern;
use crate::plan::FieldMatch;
use crate::route_order::{host_of, query_matches};

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Caller and callee, between services; absent at the edge.
    pub pair: Option<(String, String)>,
    /// Method; empty where a connection to a service that speaks TCP is asked about.
    pub method: String,
    /// Host, lower case, without port; absent: none that a route names.
    pub host: Option<String>,
    /// Canonical path.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Fields with lower-case names.
    pub headers: Vec<(String, String)>,
}

/// How a question is written.
pub(super) fn usage() -> QuestionError {
    QuestionError::Text(USAGE.to_owned())
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// It cannot be read.
    #[error("{0}")]
    Text(String),
    /// A field of `-H` has no colon.
    #[error("`{0}` is not a field: write `name: value`")]
    Field(String),
    /// No such service.
    #[error("no service is named `{name}`{}", near.as_ref().map_or_else(String::new, |near| format!(": did you mean `{near}`?")))]
    UnknownService {
        /// What was asked.
        name: String,
        /// What was perhaps meant.
        near: Option<String>,
    },
    /// The manifest has no edge.
    #[error("the system has no gateway: ask for a call between services, `orders -> inventory GET /stock/1`")]
    NoGateway,
}

const USAGE: &str = "write `GET /path`, `GET host/path`, `caller -> callee GET /path`, or a gRPC endpoint \
                     `package.Service/Method` in place of method and path";

impl Question {
    /// Reads a question: `[caller -> callee] METHOD [host]/path[?query]`, or a gRPC endpoint in place of method and path;
    /// `caller -> callee` alone for a service that speaks TCP.
    /// `headers` are `name: value`; a `host` among them is the host.
    ///
    /// # Errors
    /// The text or a field cannot be read.
    pub fn read(text: &str, headers: &[String]) -> Result<Question, QuestionError> {
        let text = text.trim();
        let (pair, request) = match text.split_once("->") {
            Some((caller, rest)) => {
                let (callee, request) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
                (Some((caller.trim().to_owned(), callee.to_owned())), request.trim())
            }
            None => (None, text),
        };
        let connection = pair.is_some() && request.is_empty();
        let mut question = if connection { plain("", None, "/", None) } else { request_line(request)? };
        question.pair = pair;
        for field in headers {
            let (name, value) = field.split_once(':').ok_or_else(|| QuestionError::Field(field.clone()))?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            if name == "host" {
                question.host = Some(host_of(&value));
            } else {
                question.headers.push((name, value));
            }
        }
        Ok(question)
    }

    /// Whether a field of the request fits.
    pub(crate) fn has_header(&self, want: &FieldMatch) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| *name == want.name && want.value.as_ref().is_none_or(|want| want == value))
    }

    /// Whether a query parameter fits.
    pub(crate) fn has_query(&self, want: &FieldMatch) -> bool {
        query_matches(want, self.query.as_deref().unwrap_or_default())
    }
}

fn plain(method: &str, host: Option<String>, path: &str, query: Option<&str>) -> Question {
    Question {
        pair: None,
        method: method.to_owned(),
        host,
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers: Vec::new(),
    }
}

fn request_line(text: &str) -> Result<Question, QuestionError> {
    let Some((method, target)) = text.split_once(' ') else {
        return match text.parse::<EndpointPattern>() {
            Ok(EndpointPattern::Grpc { service, method }) if method != "*" => {
                let mut question = plain("POST", None, &format!("/{service}/{method}"), None);
                question.headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
                Ok(question)
            }
            _ => Err(usage()),
        };
    };
    let slash = target.find('/').ok_or_else(usage)?;
    let (host, target) = target.split_at(slash);
    let host = (!host.is_empty()).then(|| host_of(host));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let wildcard = |part: &str| matches!(part, "*" | "**") || (part.starts_with('{') && part.ends_with('}'));
    if path.split('/').any(wildcard) {
        let why = "a request has no wildcards: write a real path, e.g. `GET /orders/42`";
        return Err(QuestionError::Text(why.to_owned()));
    }
    let any: EndpointPattern =
        format!("{method} /").parse().map_err(|error| QuestionError::Text(format!("{error}")))?;
    let EndpointPattern::Http { method: Some(method), .. } = any else {
        return Err(QuestionError::Text("a request has one method: write it instead of `ANY`".to_owned()));
    };
    let path = canonical(path).map_err(|refusal| {
        let code = Code::BadPath;
        QuestionError::Text(format!("a request for `{path}` is refused with {code}: its path {refusal}"))
    })?;
    Ok(plain(&method, host, &path, query))
}

/// The path as routes, policies and services see it.
fn canonical(path: &str) -> Result<String, PathRefusal> {
    let mut canonical = Vec::with_capacity(path.len());
    canonicalise(path.as_bytes(), &mut canonical)?;
    String::from_utf8(canonical).map_err(|_| PathRefusal::RawByte)
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((caller, callee)) = &self.pair {
            write!(f, "{caller} -> {callee}")?;
            if self.method.is_empty() {
                return Ok(());
            }
            f.write_str(" ")?;
        }
        write!(f, "{} {}{}", self.method, self.host.as_deref().unwrap_or_default(), self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}
