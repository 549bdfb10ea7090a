//! YAML text → a tree of nodes that know where they stand.
//!
//! The strict subset of YAML 1.2 that a manifest is written in, built from the events of `saphyr-parser`, because what a
//! mistake looks like matters more here than what a document could be: one document; keys are text and stand once in
//! their map; no tags; no anchors and aliases (a line says what it says: what repeats goes into a default or an overlay);
//! nesting, size and number of nodes are bounded. JSON is a part of YAML and is taken as it is. Whatever the bytes are,
//! the answer is a tree or findings, never a panic.

mod mistake;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use crate::code::Code;
use crate::finding::{FileId, Finding, Span};

/// Largest file. A system of a thousand services needs about 200 KiB.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting; the grammar needs 9.
pub const DEPTH_MAX: usize = 32;
/// Most nodes in one file.
pub const NODES_MAX: usize = 100_000;

/// A value of the manifest's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands; with quotes and brackets.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text, number, boolean or nothing.
    Scalar(Scalar),
    /// `[a, b]` or lines with `-`.
    List(Vec<Node>),
    /// `{a: b}` or lines with `key:`. Keys are unique.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, always a scalar.
    pub key: Text,
    /// The value; an empty plain scalar where nothing stands behind the colon.
    pub value: Node,
}

/// A leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Escapes and line folds undone.
    pub text: String,
    /// Written without quotes: only then it can be a number, a boolean or nothing.
    pub plain: bool,
    /// Offset of `text` in the node's span where it stands there unchanged.
    pub verbatim: Option<u32>,
}

/// A scalar with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The scalar.
    pub scalar: Scalar,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// Nothing: an empty value, `null` or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The entries of a map; none if it is something else.
    pub fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    /// The items of a list; none if it is something else.
    pub fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key.scalar.text == key).map(|entry| &entry.value)
    }

    /// The leaf, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        if let Kind::Scalar(scalar) = &self.kind { Some(scalar) } else { None }
    }

    /// The leaf with its place, if it is one.
    pub fn text(&self) -> Option<Text> {
        self.scalar().map(|scalar| Text { scalar: scalar.clone(), span: self.span })
    }
}

impl Scalar {
    /// Nothing: empty, `null` or `~`, without quotes.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// What YAML takes it for, if not text: `true` is a boolean, `10` a number.
    pub fn other_type(&self) -> Option<&'static str> {
        let number = || {
            let digits = self.text.trim_start_matches(['+', '-']);
            digits.starts_with(|first: char| first.is_ascii_digit()) && digits.parse::<f64>().is_ok()
        };
        match self.text.as_str() {
            _ if !self.plain => None,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Some("a boolean"),
            _ if self.is_null() => Some("nothing"),
            _ if number() => Some("a number"),
            _ => None,
        }
    }
}

impl Text {
    /// The place of a part of the text, given in bytes; the whole where the text is not written verbatim.
    pub fn part(&self, start: usize, end: usize) -> Span {
        let whole = self.span;
        let Some(offset) = self.scalar.verbatim else { return whole };
        let text = &self.scalar.text;
        let (Some(before), Some(_)) = (text.get(..start), text.get(start..end)) else { return whole };
        if before.contains('\n') {
            return whole;
        }
        let first = whole.start + offset;
        Span {
            start: first + clamp(start),
            end: first + clamp(end),
            column: whole.column + offset + clamp(before.chars().count()),
            ..whole
        }
    }
}

/// Parses one file. The tree is absent after a mistake behind which nothing can be read.
pub fn parse(file: FileId, bytes: &[u8]) -> (Option<Node>, Vec<Finding>) {
    let text = match mistake::decode(file, bytes) {
        Ok(text) => text,
        Err(finding) => return (None, vec![*finding]),
    };
    let mut builder = Builder::new(file, text);
    let tree = builder.run().map_err(|finding| builder.findings.push(*finding)).ok();
    (tree, builder.findings)
}

/// Maps the parser's places (in characters) to bytes, lines and columns. Lines and columns are counted here, because
/// behind the end of the text the parser's own are not those of the text.
struct Places<'t> {
    file: FileId,
    text: &'t str,
    /// Byte of each character; absent where each is one byte.
    bytes: Option<Vec<u32>>,
    /// Where each line starts: its first byte and its first character.
    lines: Vec<(usize, usize)>,
    /// A byte order mark in front that the parser does not see.
    skip: u32,
}

const BOM: char = '\u{feff}';

impl<'t> Places<'t> {
    fn new(file: FileId, text: &'t str) -> Self {
        let (skip, text) = match text.strip_prefix(BOM) {
            Some(rest) => (3, rest),
            None => (0, text),
        };
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| clamp(byte)).collect());
        let breaks = text.char_indices().enumerate().filter(|(_, (_, c))| *c == '\n');
        let lines =
            std::iter::once((0, 0)).chain(breaks.map(|(index, (byte, _))| (byte + 1, index + 1))).collect();
        Places { file, text, bytes, lines, skip }
    }

    /// Byte in `text` of a character's index.
    fn byte(&self, index: usize) -> usize {
        let byte = match &self.bytes {
            None => index,
            Some(bytes) => bytes.get(index).map_or(self.text.len(), |byte| *byte as usize),
        };
        byte.min(self.text.len())
    }

    fn span(&self, at: saphyr_parser::Span) -> Span {
        let start = self.byte(at.start.index());
        let slice = &self.text[start..self.byte(at.end.index()).max(start)];
        Span { end: clamp(start + slice.trim_end().len()) + self.skip, ..self.point(at.start) }
    }

    /// An empty span.
    fn point(&self, marker: saphyr_parser::Marker) -> Span {
        let byte = self.byte(marker.index());
        let line = self.lines.partition_point(|(start, _)| *start <= byte).max(1);
        let (line_start, first) = self.lines.get(line - 1).copied().unwrap_or_default();
        // At the end of the text an index may lie behind the last character.
        let column = if byte == self.text.len() {
            self.text[line_start..].chars().count()
        } else {
            marker.index().saturating_sub(first)
        };
        let at = clamp(byte) + self.skip;
        Span { file: self.file, start: at, end: at, line: clamp(line), column: clamp(column + 1) }
    }

    /// What a span covers.
    fn slice(&self, span: Span) -> &'t str {
        self.text.get((span.start - self.skip) as usize..(span.end - self.skip) as usize).unwrap_or("")
    }
}

/// Files are far below 4 GiB.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A map or list that is not closed yet.
enum Open {
    List { span: Span, items: Vec<Node> },
    Map { span: Span, entries: Vec<Entry>, seen: HashMap<String, Span>, key: Option<Text>, skip: bool },
}

impl Open {
    fn span(&self) -> Span {
        match self {
            Open::List { span, .. } | Open::Map { span, .. } => *span,
        }
    }
}

struct Builder<'t> {
    places: Places<'t>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    findings: Vec<Finding>,
}

type Refusal = Box<Finding>;

impl<'t> Builder<'t> {
    fn new(file: FileId, text: &'t str) -> Self {
        let places = Places::new(file, text);
        Builder { places, open: Vec::new(), root: None, nodes: 0, findings: Vec::new() }
    }

    fn run(&mut self) -> Result<Node, Refusal> {
        let mut parser = Parser::new(StrInput::new(self.places.text));
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, at) = event.map_err(|error| Box::new(self.syntax(&error)))?;
            let span = self.places.span(at);
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    return Err(Box::new(mistake::several_documents(span)));
                }
            }
            self.event(event, span)?;
        }
        let place = Span { file: self.places.file, line: 1, column: 1, ..Span::default() };
        let nothing = Scalar { text: String::new(), plain: true, verbatim: None };
        Ok(self.root.take().unwrap_or(Node { span: place, kind: Kind::Scalar(nothing) }))
    }

    /// Where the parser stopped, and the innermost bracket that is open there.
    fn syntax(&self, error: &saphyr_parser::ScanError) -> Finding {
        let at = self.places.point(*error.marker());
        let bracket = self
            .open
            .iter()
            .rev()
            .map(Open::span)
            .find(|span| self.places.slice(*span).starts_with(['[', '{']));
        mistake::syntax(self.places.text, self.places.skip, at, error.info(), bracket)
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.subset(span, anchor, tag.is_some());
                self.count(span)?;
                let scalar = self.scalar(&text, style, span);
                self.leaf(scalar, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.subset(span, anchor, tag.is_some());
                self.begin(Open::List { span, items: Vec::new() }, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.subset(span, anchor, tag.is_some());
                let open =
                    Open::Map { span, entries: Vec::new(), seen: HashMap::new(), key: None, skip: false };
                self.begin(open, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Ok(())
            }
            Event::Alias(_) => {
                self.findings.push(mistake::alias(span));
                self.leaf(Scalar { text: String::new(), plain: true, verbatim: None }, span)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn subset(&mut self, span: Span, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.findings.push(mistake::anchor(span));
        }
        if tag {
            self.findings.push(mistake::tag(span));
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the file holds more than {NODES_MAX} values");
            return Err(Box::new(
                Finding::error(Code::FileTooLarge, span, message)
                    .remedy("split it into files and `include` them"),
            ));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, span: Span) -> Scalar {
        let slice = self.places.slice(span);
        let plain = style == ScalarStyle::Plain;
        let inner = slice.get(1..slice.len().saturating_sub(1)).unwrap_or("");
        let verbatim = match style {
            ScalarStyle::Plain if slice == text => Some(0),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if inner == text => Some(1),
            _ => None,
        };
        Scalar { text: text.to_owned(), plain, verbatim }
    }

    fn begin(&mut self, open: Open, span: Span) -> Result<(), Refusal> {
        self.count(span)?;
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(Box::new(mistake::key_not_text(span)));
        }
        if self.open.len() >= DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} lists and maps stand inside one another");
            return Err(Box::new(Finding::error(Code::TooDeep, span, message).remedy(
                "no key of the manifest needs more than 9: look for a bracket that is never closed",
            )));
        }
        self.open.push(open);
        Ok(())
    }

    fn leaf(&mut self, scalar: Scalar, span: Span) -> Result<(), Refusal> {
        if let Some(Open::Map { seen, key: key @ None, skip, .. }) = self.open.last_mut() {
            if scalar.text.is_empty() {
                return Err(Box::new(mistake::key_missing(span)));
            }
            if scalar.text == "<<" {
                self.findings.push(mistake::merge_key(span));
                *skip = true;
            } else if let Some(first) = seen.get(&scalar.text) {
                self.findings.push(mistake::duplicate(&scalar.text, span, *first));
                *skip = true;
            } else {
                seen.insert(scalar.text.clone(), span);
            }
            *key = Some(Text { scalar, span });
            return Ok(());
        }
        self.put(Node { span, kind: Kind::Scalar(scalar) });
        Ok(())
    }

    /// Closes the innermost map or list. A flow one ends with its bracket, a block one with its last value.
    fn end(&mut self, closing: Span) {
        let node = match self.open.pop() {
            Some(Open::List { span, items }) => {
                let last = items.last().map(|node| node.span);
                Node { span: cover(span, last, closing), kind: Kind::List(items) }
            }
            Some(Open::Map { span, entries, .. }) => {
                let last = entries.last().map(|entry| {
                    if entry.value.span.end > entry.key.span.end { entry.value.span } else { entry.key.span }
                });
                Node { span: cover(span, last, closing), kind: Kind::Map(entries) }
            }
            None => return,
        };
        self.put(node);
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, skip, .. }) => {
                let Some(key) = key.take() else { return };
                if !std::mem::take(skip) {
                    entries.push(Entry { key, value: node });
                }
            }
        }
    }
}

fn cover(open: Span, last: Option<Span>, closing: Span) -> Span {
    let last = last.map_or(open.end, |span| span.end);
    let end = if closing.end > closing.start { closing.end } else { last };
    Span { end: end.max(open.end).max(last), ..open }
}

#[cfg(test)]
mod tests;
