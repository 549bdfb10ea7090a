//! Findings: located problems or advice, each with its remedy, and the spans that they point at.
//!
//! Both halves of the model (what was said, what it means) report through this one type, so that `weft check`, a refused
//! reload and the console show the same text. A finding never holds more than text and places: rendering is `render.rs`.

use std::fmt;
use std::ops::Deref;

use crate::code::Code;

/// Which of the files of a manifest; an index into [`Sources`](crate::sources::Sources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u32);

/// A place in a file. Empty (`start == end`) where something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The file that said it, also where an overlay changed what another file says.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// Line of `start`, from 1.
    pub line: u32,
    /// Column of `start` in characters, from 1.
    pub column: u32,
}

/// A value and where it was said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Spanned<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }

    /// Another value at the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }

    /// The same place, the value borrowed.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned { value: &self.value, span: self.span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}:{}", self.value, self.span.line, self.span.column)
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// It runs, but surely not as meant.
    Warning,
    /// It could be better.
    Advice,
}

impl Severity {
    /// `error`, `warning` or `advice`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Advice => "advice",
        }
    }
}

/// A second place that belongs to a finding, e.g. the first of two definitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note {
    /// Where.
    pub span: Span,
    /// What is there, e.g. `first said here`.
    pub text: String,
}

/// A located problem or advice with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// From `errors.toml`.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it points at.
    pub span: Span,
    /// What is wrong: one sentence, lower case, no full stop, names in backquotes.
    pub message: String,
    /// Shown under the excerpt, at the span; may be empty.
    pub label: String,
    /// What to write instead: one sentence, lower case, no full stop.
    pub remedy: Option<String>,
    /// Other places.
    pub notes: Vec<Note>,
}

impl Finding {
    /// A finding that refuses the manifest.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, span, message)
    }

    /// A finding that lets the manifest pass.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, span, message)
    }

    /// A finding of any severity.
    pub fn new(code: Code, severity: Severity, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Finding { code, severity, span, message, label: String::new(), remedy: None, notes: Vec::new() }
    }

    /// With what to write instead.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// With words under the excerpt.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a second place.
    #[must_use]
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push(Note { span, text: text.into() });
        self
    }
}

/// Whether any of them refuses the manifest.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Puts findings into the order in which they are read: by file and place, then code.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
}

/// The nearest of the known names, if one is near enough to be a slip: for "did you mean".
pub fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A slip in a long text is not guessed: the distance costs the product of both lengths.
    if name.len() > 80 {
        return None;
    }
    let folded = name.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&folded, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= (known.chars().count().max(3) / 3).min(3))
        .min()
        .map(|(_, known)| known)
}

/// The beginning of a text of any length, printable: for messages.
pub fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut cut = String::new();
    for c in text.chars().take(CHARS_MAX) {
        if c.is_control() || turns(c) { cut.extend(c.escape_unicode()) } else { cut.push(c) }
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

/// Invisible characters, and those that turn the direction of text: a name could be shown as another.
fn turns(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
