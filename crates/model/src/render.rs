//! Findings → text for people and JSON for programs.
//!
//! Text is an excerpt of the line with the place marked, the code, the message and the remedy. Whatever the span, the
//! rendering holds: it is cut to its first line and to the file, because a finding about a whole section must not print
//! the section.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::code::Code;
use crate::finding::{Finding, Severity, Span};
use crate::sources::{Source, Sources};

/// How text is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { colour: false, width: 120 }
    }
}

/// All findings, one blank line between two.
pub fn text(findings: &[Finding], sources: &Sources, style: Style) -> String {
    let renderer = if style.colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(style.width).decor_style(DecorStyle::Ascii);
    let mut rendered = String::new();
    for finding in findings {
        rendered.push_str(&renderer.render(&report(finding, sources)));
        rendered.push_str("\n\n");
    }
    rendered
}

fn report<'a>(finding: &'a Finding, sources: &'a Sources) -> Vec<Group<'a>> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Advice => Level::INFO.with_name("advice"),
    };
    let group = level.primary_title(finding.message.as_str()).id(finding.code.as_str());
    let group = Group::with_title(group);
    // The line of a secret holds the secret, and what is shown ends in logs.
    let mut group = if finding.code == Code::SecretInPlainText {
        place(group, finding.span, sources)
    } else {
        excerpt(group, finding.span, &finding.label, AnnotationKind::Primary, sources)
    };
    for note in &finding.notes {
        group = excerpt(group, note.span, &note.text, AnnotationKind::Context, sources);
    }
    if let Some(remedy) = &finding.remedy {
        group = group.element(Level::HELP.message(remedy.as_str()));
    }
    vec![group]
}

/// Longest part of a line that is shown before and behind a place, in bytes.
const AROUND_BYTES_MAX: usize = 500;

/// The place alone.
fn place<'a>(group: Group<'a>, span: Span, sources: &'a Sources) -> Group<'a> {
    let Some(source) = sources.get(span.file) else { return group };
    let origin = Origin::path(sources.shown(source)).line(span.line as usize);
    group.element(origin.char_column(span.column as usize))
}

/// The place and the line around it.
fn excerpt<'a>(
    group: Group<'a>,
    span: Span,
    label: &'a str,
    kind: AnnotationKind,
    sources: &'a Sources,
) -> Group<'a> {
    let Some(source) = sources.get(span.file) else { return group };
    let path = sources.shown(source);
    let line_number = span.line as usize;
    let origin = || Origin::path(path.clone()).line(line_number).char_column(span.column as usize);
    let Some((line, line_start)) = line_of(source, span).filter(|(line, _)| !line.is_empty()) else {
        return group.element(origin());
    };
    let range = shown(line, line_start, span);
    let label = (!label.is_empty()).then_some(label);
    if line.len() <= 2 * AROUND_BYTES_MAX {
        let snippet = Snippet::source(printable(line)).path(path).line_start(line_number);
        return group.element(snippet.annotation(kind.span(range).label(label)));
    }
    // Of a line that is a whole file, only what is around the place: then the column has to be said.
    let first = boundary(line, range.start.saturating_sub(AROUND_BYTES_MAX));
    let last = boundary(line, (range.start + AROUND_BYTES_MAX).min(line.len()));
    let range = range.start - first..range.end.min(last) - first;
    let snippet = Snippet::source(printable(&line[first..last])).line_start(line_number);
    group.element(origin()).element(snippet.annotation(kind.span(range).label(label)))
}

/// The line that a span starts in, and where it starts.
fn line_of(source: &Source, span: Span) -> Option<(&str, usize)> {
    let at = boundary(&source.text, span.start as usize);
    let start = source.text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = source.text[at..].find('\n').map_or(source.text.len(), |length| at + length);
    let line = source.text[start..end].trim_end_matches('\r');
    // A byte order mark has no width.
    let bom = if start == 0 && line.starts_with('\u{feff}') { 3 } else { 0 };
    Some((&line[bom..], start + bom))
}

/// The part of a line that a span covers, at least nothing.
fn shown(line: &str, line_start: usize, span: Span) -> Range<usize> {
    let start = boundary(line, (span.start as usize).saturating_sub(line_start));
    let end = boundary(line, (span.end as usize).saturating_sub(line_start)).max(start);
    let kept = line[start..end].trim_end().len();
    start..start + kept
}

/// The nearest boundary of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A line whose characters cannot speak to the terminal. The renderer shows C0 controls by their pictures and marks what
/// turns the direction of text; C1 controls are left, and are as long as what replaces them here.
fn printable(line: &str) -> Cow<'_, str> {
    if line.contains(|c: char| ('\u{80}'..='\u{9f}').contains(&c)) {
        Cow::Owned(
            line.chars().map(|c| if ('\u{80}'..='\u{9f}').contains(&c) { '\u{b7}' } else { c }).collect(),
        )
    } else {
        Cow::Borrowed(line)
    }
}

/// All findings as a JSON array.
pub fn json(findings: &[Finding], sources: &Sources) -> Value {
    findings.iter().map(|finding| finding_json(finding, sources)).collect()
}

fn finding_json(finding: &Finding, sources: &Sources) -> Value {
    let notes: Vec<Value> = finding
        .notes
        .iter()
        .map(|note| json!({ "place": place_json(note.span, sources), "text": note.text }))
        .collect();
    json!({
        "code": finding.code.as_str(),
        "name": finding.code.name(),
        "severity": finding.severity.as_str(),
        "message": finding.message,
        "label": finding.label,
        "remedy": finding.remedy,
        "place": place_json(finding.span, sources),
        "notes": notes,
    })
}

fn place_json(span: Span, sources: &Sources) -> Value {
    json!({
        "file": sources.get(span.file).map(|source| sources.shown(source)),
        "line": span.line,
        "column": span.column,
        "start_byte": span.start,
        "end_byte": span.end,
    })
}

#[cfg(test)]
mod tests;
