//! What to say about text that is not the YAML of a manifest.
//!
//! The parser says where it stopped understanding; a person needs to know what they wrote that led there. The commonest
//! slips are recognised by what stands around the place, and each gets the remedy that fits it.

use crate::code::Code;
use crate::finding::{FileId, Finding, Span, excerpt};

use super::{FILE_BYTES_MAX, clamp};

/// Bytes → text that holds only characters that a manifest may hold.
pub(super) fn decode(file: FileId, bytes: &[u8]) -> Result<&str, Box<Finding>> {
    let start = Span { file, start: 0, end: 0, line: 1, column: 1 };
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        let remedy = "split it into files and `include` them";
        return Err(Box::new(Finding::error(Code::FileTooLarge, start, message).remedy(remedy)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let span = place(file, &bytes[..error.valid_up_to()], 1);
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let message = if utf16 { "the file is UTF-16" } else { "the file is not UTF-8 text from here on" };
        Box::new(Finding::error(Code::NotUtf8, span, message).remedy("save it as UTF-8"))
    })?;
    let lone_cr = |at: usize| !text[at + 1..].starts_with('\n');
    let bad = text.char_indices().find(|(at, c)| match c {
        '\n' | '\t' => false,
        '\r' => lone_cr(*at),
        '\u{feff}' => *at != 0,
        c => c.is_control() && *c != '\u{85}',
    });
    if let Some((at, c)) = bad {
        let span = place(file, &bytes[..at], c.len_utf8());
        let message = format!("the control character U+{:04X} stands here", c as u32);
        let remedy = "remove it; inside double quotes it can be written as an escape";
        return Err(Box::new(Finding::error(Code::YamlSyntax, span, message).remedy(remedy)));
    }
    Ok(text)
}

/// The place behind `before`, `length` bytes long.
fn place(file: FileId, before: &[u8], length: usize) -> Span {
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let line = String::from_utf8_lossy(&before[line_start..]);
    let column = line.trim_start_matches('\u{feff}').chars().count();
    let start = clamp(before.len());
    Span { file, start, end: start + clamp(length), line: clamp(lines + 1), column: clamp(column + 1) }
}

/// A second document in the file.
pub(super) fn several_documents(span: Span) -> Finding {
    Finding::error(Code::SeveralDocuments, span, "a manifest is one document, and a second one starts here")
        .remedy("remove `---`, or put the second part into a file of its own and `include` it")
}

/// `*name`
pub(super) fn alias(span: Span) -> Finding {
    Finding::error(Code::CustomTag, span, "aliases (`*name`) are not part of the manifest")
        .remedy("say the value again; if `*` is meant as text, put it in quotes")
}

/// `&name`
pub(super) fn anchor(span: Span) -> Finding {
    Finding::error(Code::CustomTag, span, "anchors (`&name`) are not part of the manifest")
        .remedy("remove it and say the value where it is needed; if `&` is meant as text, put it in quotes")
}

/// `!tag`
pub(super) fn tag(span: Span) -> Finding {
    Finding::error(Code::CustomTag, span, "tags (`!name`) are not part of the manifest")
        .remedy("remove it; if `!` is meant as text, put it in quotes")
}

/// `<<: *name`
pub(super) fn merge_key(span: Span) -> Finding {
    Finding::error(Code::CustomTag, span, "merge keys (`<<`) are not part of the manifest")
        .remedy("say the keys where they are needed, or in an overlay (`weft.NAME.yaml`)")
}

/// A key that stands twice.
pub(super) fn duplicate(key: &str, span: Span, first: Span) -> Finding {
    let message = format!("the key `{}` stands twice in the same map", excerpt(key));
    Finding::error(Code::DuplicateKey, span, message)
        .label("again here")
        .remedy("keep one of the two")
        .note(first, "first said here")
}

/// A list or map in the place of a key.
pub(super) fn key_not_text(span: Span) -> Finding {
    Finding::error(Code::YamlSyntax, span, "a key must be text, and a list or map starts here")
        .remedy("put quotes around it if the brackets belong to the text")
}

/// Nothing before the colon.
pub(super) fn key_missing(span: Span) -> Finding {
    Finding::error(Code::YamlSyntax, span, "the key before the colon is missing").remedy("write `key: value`")
}

/// The parser stopped at `at`; `bracket` is the innermost one that is open there.
pub(super) fn syntax(text: &str, skip: u32, at: Span, info: &str, bracket: Option<Span>) -> Finding {
    let byte = ((at.start - skip) as usize).min(text.len());
    if let Some(finding) = braces(text, byte, at) {
        return finding;
    }
    let line_start = text[..byte].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let before = &text[line_start..byte];
    let next = text[byte..].chars().next();
    let outdented = !line.starts_with([' ', ']', '}']);
    let open = bracket
        .filter(|bracket| at.line > bracket.line && (next.is_none() || outdented && bracket.column > 1));
    if let Some(bracket) = open {
        let list = text[(bracket.start - skip) as usize..].starts_with('[');
        let (open, close) = if list { ('[', ']') } else { ('{', '}') };
        let finding = Finding::error(Code::YamlSyntax, bracket, format!("this `{open}` is never closed"));
        return finding.remedy(format!("close it with `{close}`"));
    }
    if before.trim().is_empty() && line.trim_start_matches(' ').starts_with('\t') {
        return tab(text, byte, line_start, at);
    }
    if info.contains("simple key") || info.contains("mapping values") && !before.contains(": ") {
        return colon_missing(text, line_start, at, byte, info);
    }
    let here = Span { end: at.start + next.map_or(0, |c| u32::try_from(c.len_utf8()).unwrap_or(1)), ..at };
    let (message, remedy) = explained(info, before).unwrap_or_else(|| by_character(info, next));
    Finding::error(Code::YamlSyntax, here, message).remedy(remedy)
}

/// What the parser's own words tell.
fn explained(info: &str, before: &str) -> Option<(String, &'static str)> {
    let (message, remedy) = if info.contains("mapping values are not allowed") {
        (
            "a second `: ` on the same line",
            "put the value in quotes if the colon belongs to it; otherwise give the second key a line of its own",
        )
    } else if info.contains("escape") {
        (
            "a backslash in double quotes starts an escape, and this one is not known",
            "write `\\\\` for a backslash, or use single quotes",
        )
    } else if info.contains("trailing content")
        || info.contains("<document start>") && !before.trim().is_empty()
    {
        ("something stands behind the closing quote or bracket", "remove it, or put quotes around the whole")
    } else if info.contains("comment intercepting") {
        (
            "a comment stands in the middle of a text of several lines",
            "move the comment, or put the text in quotes",
        )
    } else if info.contains("quoted scalar") {
        (
            "a quote is opened and never closed",
            "close it; a quote inside text in single quotes is written twice (`''`)",
        )
    } else {
        return None;
    };
    Some((message.to_owned(), remedy))
}

/// What the character tells at which the parser stopped.
fn by_character(info: &str, next: Option<char>) -> (String, &'static str) {
    match next {
        Some('\t') => ("a tab stands where YAML takes only spaces".into(), "indent with spaces"),
        Some(c @ ('@' | '`')) => (format!("a value cannot start with `{c}`"), "put the value in quotes"),
        Some(c @ ('*' | '&' | '!' | '%' | '|' | '>')) => (
            format!("`{c}` has a meaning of its own in YAML and is not understood here"),
            "if it belongs to the text, put the text in quotes",
        ),
        None => (
            "the text ends in the middle of a value".into(),
            "close what is open: a bracket, a brace or a quote",
        ),
        Some(c @ (']' | '}')) => (
            format!("`{c}` closes nothing that is open here"),
            "remove it, or put text that holds it in quotes",
        ),
        _ if info.contains("flow") || info.contains("',' or") => (
            "inside brackets, a comma or the closing bracket is expected here".into(),
            "separate items with commas, close what is open, and quote text that holds `{`, `}`, `[`, `]` or `,`",
        ),
        _ if info.contains("indent") || info.contains("block") => (
            "the indentation does not fit the lines above, or a `:` is missing".into(),
            "keys of one map stand in one column, and each has a colon and a space behind it",
        ),
        _ => (
            format!("this is not YAML: {}", excerpt(info)),
            "put text that holds special characters in quotes",
        ),
    }
}

/// A key without its colon: on the last line with something in it before the place, or, where that line has a value, a
/// key that is too deep.
fn colon_missing(text: &str, line_start: usize, at: Span, byte: usize, info: &str) -> Finding {
    let above = text[..line_start].trim_end_matches(['\n', '\r', ' ']);
    let start = above.rfind('\n').map_or(0, |at| at + 1);
    let key = above[start..].trim_start();
    let has_value = key.split_once(':').is_some_and(|(_, value)| value.is_empty() || value.starts_with(' '));
    let simple = info.contains("simple key") || !has_value;
    if !simple || key.is_empty() || key.starts_with(['-', '#']) {
        let message = "a key with a value stands here, and the line above has a value already";
        let remedy = "give it the column of the keys it belongs to, or take the value of the line above away";
        return Finding::error(Code::YamlSyntax, at, message).remedy(remedy);
    }
    let indent = above[start..].len() - key.len();
    let back = clamp(byte) - clamp(start + indent);
    let first = at.start - back;
    let lines = clamp(text[start..byte].matches('\n').count());
    let column = clamp(above[start..start + indent].chars().count() + 1);
    let span = Span { start: first, end: first + clamp(key.len()), line: at.line - lines, column, ..at };
    let finding =
        Finding::error(Code::YamlSyntax, span, format!("a `:` is missing behind `{}`", excerpt(key)));
    finding.remedy(format!("write `{}: …`", excerpt(key)))
}

/// A tab in the indentation of the line where the parser stopped.
fn tab(text: &str, byte: usize, line_start: usize, at: Span) -> Finding {
    let spaces = text[line_start..].bytes().take_while(|byte| *byte == b' ').count();
    let start = at.start + clamp(line_start + spaces) - clamp(byte);
    let span = Span { start, end: start + 1, column: clamp(spaces + 1), ..at };
    Finding::error(Code::YamlSyntax, span, "a tab stands where YAML takes only spaces")
        .remedy("indent with spaces")
}

/// The classic: an endpoint with `{braces}`, not quoted, inside `{ }` or `[ ]`. `byte` is where the parser stopped.
fn braces(text: &str, byte: usize, at: Span) -> Option<Finding> {
    let line_start = text[..byte].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[byte..].find('\n').map_or(text.len(), |length| byte + length);
    let upto = text[byte..line_end].chars().next().map_or(byte, |c| byte + c.len_utf8());
    let brace = text[line_start..upto].rfind("/{").map(|at| line_start + at + 1)?;
    let before = &text[line_start..brace];
    if before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1 {
        return None;
    }
    let starts = [before.rfind([',', '[', '{']).map(|at| at + 1), before.rfind(": ").map(|at| at + 2)];
    let start = line_start + starts.into_iter().flatten().max().unwrap_or(0);
    let start = start + text[start..brace].len() - text[start..brace].trim_start().len();
    let end = brace + endpoint_length(&text[brace..line_end]);
    let endpoint = &text[start..end];
    let (start, end) = (clamp(start), clamp(end));
    let back =
        clamp(text[..byte].chars().count()).saturating_sub(clamp(text[..start as usize].chars().count()));
    let span = Span {
        start: at.start + start - clamp(byte),
        end: at.start + end - clamp(byte),
        column: at.column.saturating_sub(back).max(1),
        ..at
    };
    let remedy = format!("write \"{}\"", excerpt(endpoint));
    let message = "inside `{ }` or `[ ]`, an endpoint with braces needs quotes";
    Some(Finding::error(Code::YamlSyntax, span, message).remedy(remedy))
}

/// Length of the rest of an endpoint that begins with a brace: its own braces belong to it, an outer bracket does not.
fn endpoint_length(line: &str) -> usize {
    let mut depth = 0usize;
    let ends = |(_, c): &(usize, char)| {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return true,
            '}' => depth -= 1,
            ',' | ']' | ':' if depth == 0 => return true,
            c if c.is_whitespace() && depth == 0 => return true,
            _ => {}
        }
        false
    };
    line.char_indices().find(ends).map_or(line.len(), |(at, _)| at)
}
