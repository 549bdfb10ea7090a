//! Findings as people and programs see them, whatever the span.

use super::*;
use crate::code::Code;
use crate::finding::FileId;

fn shown(text: &str, start: usize, end: usize, line: u32, column: u32) -> String {
    let mut sources = Sources::new("examples/shop/".to_owned());
    let file = sources.add("weft.yaml", text.as_bytes());
    let clamp = |value: usize| u32::try_from(value).unwrap();
    let span = Span { file, start: clamp(start), end: clamp(end), line, column };
    let finding = Finding::error(Code::BadValue, span, "wrong").label("here").remedy("right");
    super::text(&[finding], &sources, Style::default())
}

#[test]
fn a_finding_about_a_section_shows_its_first_line() {
    let text = shown("a: b\nc:\n  d: e\n  f: g\n", 5, 22, 2, 1);
    assert!(text.contains("examples/shop/weft.yaml:2:1"), "{text}");
    assert!(text.contains("^^ here") && !text.contains("d: e"), "{text}");
}

#[test]
fn a_line_that_is_a_whole_file_is_cut_around_the_place() {
    let line = format!("{}é{}", "a".repeat(100_000), "b".repeat(400_000));
    let text = shown(&line, 100_000, 100_002, 1, 100_001);
    assert!(text.contains("weft.yaml:1:100001"), "{}", &text[..200]);
    assert!(text.len() < 2_000 && text.contains('é'), "{}", text.len());
}

#[test]
fn nothing_in_a_file_speaks_to_the_terminal() {
    let text = shown("a: \u{9b}31m \u{1b}[31m \u{202e}x\n", 0, 1, 1, 1);
    for c in ['\u{9b}', '\u{1b}', '\u{202e}'] {
        assert!(!text.contains(c), "{text:?}");
    }
}

#[test]
fn spans_that_lie_outside_are_cut_to_the_file() {
    for (start, end) in [(0, 1_000), (1_000, 2_000), (3, 1), (1, 1)] {
        assert!(shown("é: x", start, end, 1, 1).contains("wrong"));
    }
    let nowhere = Span { file: FileId(7), ..Span::default() };
    let text = super::text(
        &[Finding::error(Code::BadValue, nowhere, "wrong")],
        &Sources::default(),
        Style::default(),
    );
    assert!(text.contains("wrong"));
    assert!(shown("", 0, 0, 1, 1).contains("examples/shop/weft.yaml:1:1"));
}
