//! `weft explain`: what would happen to a request, and which line of the manifest says so.
//!
//! The answer is read off the plans, the same data that the gateway and the sidecars run, and matched by the same code; the
//! model only adds the places of what was said. So an explanation cannot promise what is not enforced.

mod edge;
mod mesh;
mod question;
mod upstream;

use std::fmt::{self, Write as _};

use serde::Serialize;

pub use self::question::{Question, QuestionError};
use crate::code::Code;
use crate::finding::Span;
use crate::model::Model;
use crate::plan::{Origin, Plans};

/// What would happen to a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The request.
    pub request: String,
    /// How it ends.
    pub outcome: Outcome,
    /// Everything that was decided, in the order in which it is decided.
    pub lines: Vec<Line>,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It is sent on; one of these services answers.
    Forwarded {
        /// Services.
        upstreams: Vec<String>,
    },
    /// The gateway answers by itself.
    Answered {
        /// HTTP status.
        status: u16,
    },
    /// It is refused.
    Refused {
        /// Public code, e.g. `W2001`.
        code: String,
        /// Its name, e.g. `no_route`.
        name: String,
        /// HTTP status.
        status: Option<u16>,
    },
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What it is about, e.g. `route`.
    pub topic: String,
    /// What was decided.
    pub says: String,
    /// Who says so.
    pub source: Source,
}

/// Who says something.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A line of a file.
    Line(Origin),
    /// Nothing was said: a default.
    Default,
    /// It follows from the other lines.
    Derived,
}

/// Explains a request.
///
/// # Errors
/// The question names a service that does not exist, or the system has no gateway.
pub fn explain(model: &Model, plans: &Plans, question: &Question) -> Result<Explanation, QuestionError> {
    let mut explainer = Explainer { model, plans, question, lines: Vec::new() };
    let outcome = match &question.pair {
        _ if matches!(question.method.as_str(), "CONNECT" | "TRACE") => {
            let why = format!("{} is served nowhere in the system", question.method);
            explainer.refused(Code::MethodNotSupported, why, Source::Derived)
        }
        None => explainer.edge()?,
        Some((caller, callee)) => explainer.mesh(caller, callee)?,
    };
    Ok(Explanation { request: question.to_string(), outcome, lines: explainer.lines })
}

struct Explainer<'a> {
    model: &'a Model,
    plans: &'a Plans,
    question: &'a Question,
    lines: Vec<Line>,
}

impl Explainer<'_> {
    fn line(&mut self, topic: &str, says: impl Into<String>, source: Source) {
        self.lines.push(Line { topic: topic.to_owned(), says: says.into(), source });
    }

    /// A place in the manifest.
    fn at(&self, span: Span) -> Source {
        Source::Line(self.model.origin(span))
    }

    /// What was said, or the default.
    fn said(&self, span: Option<Span>) -> Source {
        span.map_or(Source::Default, |span| self.at(span))
    }

    fn refused(&mut self, code: Code, why: impl Into<String>, source: Source) -> Outcome {
        let status = code.status().map_or_else(String::new, |status| format!("{status} "));
        self.line("answer", format!("{status}{code} {}: {}", code.name(), why.into()), source);
        Outcome::Refused { code: code.to_string(), name: code.name().to_owned(), status: code.status() }
    }
}

/// For people: a line for each decision, the place behind it.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.request)?;
        let width = self.lines.iter().map(|line| line.topic.chars().count()).max().unwrap_or(0);
        let mut last = "";
        for line in &self.lines {
            let topic = if line.topic == last { "" } else { line.topic.as_str() };
            last = &line.topic;
            let mut text = format!("{topic:width$}  {}", line.says);
            match &line.source {
                Source::Line(origin) => write!(text, "  ({}:{})", origin.file, origin.line)?,
                Source::Default => text.push_str("  (default)"),
                Source::Derived => {}
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}
