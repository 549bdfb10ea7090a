//! Findings → text for people and JSON for programs.
//!
//! Text is an excerpt of the line with the place marked, the code, the message and the remedy. Whatever the span, the
//! rendering holds: it is cut to its first line and to the file, because a finding about a whole section must not print
//! the section.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

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
    let mut group = level
        .primary_title(finding.message.as_str())
        .id(finding.code.as_str())
        .elements(snippet(finding.span, &finding.label, AnnotationKind::Primary, sources));
    for note in &finding.notes {
        group = group.elements(snippet(note.span, &note.text, AnnotationKind::Context, sources));
    }
    if let Some(remedy) = &finding.remedy {
        group = group.element(Level::HELP.message(remedy.as_str()));
    }
    vec![group]
}

fn snippet<'a>(
    span: Span,
    label: &'a str,
    kind: AnnotationKind,
    sources: &'a Sources,
) -> Option<Snippet<'a, Annotation<'a>>> {
    let source = sources.get(span.file)?;
    let (line, line_start) = line_of(source, span)?;
    let range = shown(line, line_start, span);
    let label = (!label.is_empty()).then_some(label);
    let annotation = kind.span(range).label(label);
    Some(
        Snippet::source(line)
            .path(source.path.as_str())
            .line_start(span.line as usize)
            .annotation(annotation),
    )
}

/// The line that a span starts in, and where it starts.
fn line_of(source: &Source, span: Span) -> Option<(&str, usize)> {
    let at = (span.start as usize).min(source.text.len());
    let at = (0..=at).rev().find(|at| source.text.is_char_boundary(*at))?;
    let start = source.text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = source.text[at..].find('\n').map_or(source.text.len(), |length| at + length);
    let line = source.text[start..end].trim_end_matches('\r');
    // A byte order mark has no width.
    let bom = if start == 0 && line.starts_with('\u{feff}') { 3 } else { 0 };
    Some((&line[bom..], start + bom))
}

/// The part of a line that a span covers, at least nothing.
fn shown(line: &str, line_start: usize, span: Span) -> Range<usize> {
    let boundary = |at: usize| {
        let at = at.saturating_sub(line_start).min(line.len());
        (0..=at).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0)
    };
    let start = boundary(span.start as usize);
    let end = boundary(span.end as usize).max(start);
    let kept = line[start..end].trim_end().len();
    start..start + kept
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
        "file": sources.get(span.file).map(|source| source.path.as_str()),
        "line": span.line,
        "column": span.column,
        "start_byte": span.start,
        "end_byte": span.end,
    })
}
