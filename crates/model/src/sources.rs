//! The files of a manifest: the main one, what it includes, an overlay; checked one by one, merged into one tree.
//!
//! Nothing is read here: whoever calls passes [`Files`] in. A path stays in the folder of the main file, the number and
//! the size of files are bounded, a circle is refused. An included file speaks only for its own contexts (`team.rs`), so
//! that a team can own its file without being able to change what another team said.

mod merge;
mod team;

use crate::code::Code;
use crate::finding::{FileId, Finding, Severity, Span, excerpt};
use crate::grammar::variables::Environment;
use crate::grammar::{self, MANIFEST, Shape, lexical};
use crate::yaml::{self, FILE_BYTES_MAX, Node, Text};

/// Most files of one manifest.
pub const FILES_MAX: usize = 64;
/// Deepest chain of includes.
pub const INCLUDE_DEPTH_MAX: usize = 8;
/// Most findings that are kept; a manifest with more is not one.
pub const FINDINGS_MAX: usize = 500;

/// Where files come from.
pub trait Files {
    /// The bytes of a file. `path` is relative to the folder of the main file, with `/` between its parts.
    ///
    /// # Errors
    /// Why there are none. A file that is longer than `bytes_max` may be cut behind it or refused.
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError>;

    /// Whether there is a folder at this path, relative to that of the main file; true where nothing is known of folders.
    fn is_folder(&self, _path: &str) -> bool {
        true
    }

    /// What TLS has against a chain of certificates and a private key, both PEM; `None` where nothing is known of TLS.
    fn certificate_mistake(&self, _chain: &[u8], _key: &[u8]) -> Option<CertificateMistake> {
        None
    }

    /// What stands before a path where people see it, such as `examples/shop/`; empty where that is nothing.
    fn folder(&self) -> String {
        String::new()
    }
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is there, and something else is wrong.
    #[error("{0}")]
    Other(String),
}

/// Why TLS cannot be served with a chain of certificates and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateMistake {
    /// Whether it is the key that is to be corrected.
    pub in_key: bool,
    /// For people, in lower case; holds nothing of what the files hold.
    pub why: String,
}

/// All files that were read, for excerpts and names.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
    folder: String,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user gave it, relative to the main file's folder.
    pub path: String,
    /// Its text; what is not UTF-8 is replaced.
    pub text: String,
}

impl Sources {
    /// No files yet. `folder` stands before their paths where people see them.
    pub fn new(folder: String) -> Self {
        Sources { files: Vec::new(), folder }
    }

    /// The path of a file as people see it.
    pub fn shown(&self, source: &Source) -> String {
        format!("{}{}", self.folder, source.path)
    }

    /// Adds a file; bytes beyond [`FILE_BYTES_MAX`] are not kept.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> FileId {
        let kept = &bytes[..bytes.len().min(FILE_BYTES_MAX)];
        self.files.push(Source { path: path.to_owned(), text: String::from_utf8_lossy(kept).into_owned() });
        FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file of a span.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.files.get(file.0 as usize)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// What a span covers, if it lies in its file.
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.get(span.file)?.text.get(span.start as usize..span.end as usize)
    }
}

/// What was gathered.
#[derive(Debug)]
pub struct Gathered {
    /// What could be read of all files, merged; absent where nothing of the main one could.
    pub tree: Option<Node>,
    /// Whether the tree is all of it. If not, it is good for finding more mistakes, and for nothing else.
    pub whole: bool,
    /// All mistakes so far.
    pub findings: Vec<Finding>,
    /// The files.
    pub sources: Sources,
}

/// Reads, checks and merges all files. `overlay` is the name of `--env`.
pub fn gather(files: &dyn Files, main: &str, overlay: Option<&str>, environment: &Environment) -> Gathered {
    let gatherer = Gatherer {
        files,
        environment,
        sources: Sources::new(files.folder()),
        findings: Vec::new(),
        whole: true,
        seen: Vec::new(),
    };
    gatherer.run(main, overlay)
}

struct Gatherer<'a> {
    files: &'a dyn Files,
    environment: &'a Environment,
    sources: Sources,
    findings: Vec<Finding>,
    /// Whether every file could be read.
    whole: bool,
    /// Paths of the files so far, with the place that named them.
    seen: Vec<(String, Span)>,
}

/// An included file: its tree and its place.
struct Team {
    tree: Node,
    start: Span,
}

impl Gatherer<'_> {
    fn run(mut self, main: &str, overlay: Option<&str>) -> Gathered {
        let start = Span { file: FileId(0), line: 1, column: 1, ..Span::default() };
        self.seen.push((main.to_owned(), start));
        let mut tree = self.file(main, None, Code::FileMissing, false).or_else(|| self.prefix()).map(as_map);
        if let Some(tree) = &mut tree {
            let mut teams = Vec::new();
            self.includes(tree, &mut vec![main.to_owned()], &mut teams);
            for team in teams {
                team::check(&team.tree, team.start, &mut self.findings);
                merge::team(tree, team.tree, &mut self.findings);
            }
        }
        if let Some(over) = overlay.and_then(|name| self.overlay(main, name))
            && let Some(tree) = &mut tree
        {
            let shape = Shape::object(&MANIFEST);
            let mut unheard = Vec::new();
            merge::overlay(tree, as_map(over), Some(&shape), &mut unheard);
            // Where not all could be read, it may be in what could not.
            self.findings.extend(unheard.into_iter().filter(|_| self.whole));
        }
        if let Some(tree) = tree.as_ref().filter(|_| self.whole) {
            self.findings.extend(grammar::check::complete(tree, &MANIFEST));
        }
        Gathered { tree, whole: self.whole, findings: self.findings, sources: self.sources }
    }

    /// The keys of the main file before the one with the mistake behind which nothing can be read: what it includes is
    /// mostly said there, so that the mistakes of other files come in the same run.
    fn prefix(&mut self) -> Option<Node> {
        let file = FileId(0);
        let mistake = self.findings.iter().rfind(|finding| finding.span.file == file)?;
        let text = self.sources.get(file)?.text.get(..mistake.span.start as usize)?;
        let is_key = |at: usize| {
            text[at..].starts_with(|first: char| !first.is_whitespace() && !"#-}]".contains(first))
        };
        let end = text.match_indices('\n').map(|(at, _)| at + 1).rfind(|at| is_key(*at))?;
        let (tree, _) = yaml::parse(file, &text.as_bytes()[..end]);
        let tree = tree?;
        self.findings.extend(grammar::check::check(&tree, &MANIFEST, false, self.environment));
        Some(tree)
    }

    /// Reads, parses and checks one file. `named` is the place that names it.
    fn file(&mut self, path: &str, named: Option<Span>, missing: Code, overlay: bool) -> Option<Node> {
        let bytes = match self.files.read(path, FILE_BYTES_MAX + 1) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.whole = false;
                let span = named.unwrap_or_else(|| {
                    let file = self.sources.add(path, b"");
                    Span { file, line: 1, column: 1, ..Span::default() }
                });
                let message = format!("`{}` cannot be read: {error}", excerpt(path));
                let path_is_folder = error != FileError::Missing && self.files.is_folder(path);
                let remedy = match (named, missing) {
                    (_, Code::OverlayMissing) => {
                        "create it beside the main file, or give `--env` another name"
                    }
                    (Some(_), _) if path.contains(['*', '?', '[']) => {
                        "name each file: patterns of names are not understood"
                    }
                    (Some(_), _) if path_is_folder => "name each file of the folder",
                    (Some(_), _) => "correct the path; it is relative to the file that names it",
                    (None, _) => "name the manifest, or the folder with its `weft.yaml`, by `--file PATH`",
                };
                self.findings.push(Finding::error(missing, span, message).remedy(remedy));
                return None;
            }
        };
        let file = self.sources.add(path, &bytes);
        let (tree, findings) = yaml::parse(file, &bytes);
        self.whole &= tree.is_some();
        self.findings.extend(findings);
        let tree = tree?;
        self.findings.extend(grammar::check::check(&tree, &MANIFEST, overlay, self.environment));
        Some(tree)
    }

    /// The files that `tree` includes, and what they include.
    fn includes(&mut self, tree: &Node, chain: &mut Vec<String>, teams: &mut Vec<Team>) {
        let named: Vec<Text> =
            tree.get("include").map_or(&[][..], Node::items).iter().filter_map(Node::text).collect();
        for text in named {
            let from = chain.last().map_or("", String::as_str);
            let Some(path) = self.include_path(from, &text, chain) else { continue };
            self.seen.push((path.clone(), text.span));
            let Some(tree) = self.file(&path, Some(text.span), Code::FileMissing, false) else { continue };
            let tree = as_map(tree);
            let start = Span { end: tree.span.start, start: tree.span.start, ..tree.span };
            chain.push(path);
            self.includes(&tree, chain, teams);
            chain.pop();
            teams.push(Team { tree, start });
        }
    }

    /// The path of an included file, if it may be included here.
    fn include_path(&mut self, from: &str, text: &Text, chain: &[String]) -> Option<String> {
        let written = text.scalar.text.as_str();
        let shown = excerpt(written);
        let (code, message, remedy) = match resolve(from, written) {
            None => {
                let message = format!("`{shown}` leads out of the folder of the main file");
                (
                    Code::PathOutside,
                    message,
                    "put the file into that folder or below, and name it by a relative path",
                )
            }
            Some(path) if chain.contains(&path) => (
                Code::IncludeCycle,
                format!("`{shown}` includes itself in the end"),
                "remove one of the includes",
            ),
            Some(path) => match self.seen.iter().find(|(seen, _)| *seen == path) {
                Some((_, first)) => {
                    let message = format!("`{shown}` is included twice");
                    let finding =
                        Finding::error(Code::SaidTwice, text.span, message).remedy("keep one of the two");
                    let finding = finding.note(*first, "first included here");
                    self.findings.push(finding);
                    return None;
                }
                None if self.seen.len() >= FILES_MAX => {
                    let message = format!("a manifest has at most {FILES_MAX} files");
                    (Code::TooDeep, message, "join some of them")
                }
                None if chain.len() >= INCLUDE_DEPTH_MAX => {
                    let message = format!("includes go at most {INCLUDE_DEPTH_MAX} files deep");
                    (Code::TooDeep, message, "include the file from the main file")
                }
                None => return Some(path),
            },
        };
        self.findings.push(Finding::error(code, text.span, message).remedy(remedy));
        None
    }

    /// The tree of `weft.NAME.yaml`.
    fn overlay(&mut self, main: &str, name: &str) -> Option<Node> {
        if let Err(mistake) = lexical::name(name) {
            let span = Span { file: FileId(0), line: 1, column: 1, ..Span::default() };
            let message = format!("`--env {}` names no overlay", excerpt(name));
            self.findings.push(Finding::error(Code::BadName, span, message).remedy(mistake.why));
            self.whole = false;
            return None;
        }
        let path = overlay_path(main, name);
        let tree = self.file(&path, None, Code::OverlayMissing, true)?;
        if let Some(entry) = tree.entries().iter().find(|entry| entry.key.scalar.text == "include") {
            let message = "an overlay includes nothing";
            let finding = Finding::error(Code::IncludeForeign, entry.key.span, message);
            self.findings.push(finding.remedy("move `include` to the main file"));
        }
        Some(tree)
    }
}

/// Sorts, removes what is said twice, and cuts at [`FINDINGS_MAX`].
pub(crate) fn tidy(findings: &mut Vec<Finding>) {
    let before = findings.len();
    findings.retain(|finding| finding.code != Code::TooManyFindings);
    let cut = findings.len() < before || findings.len() > FINDINGS_MAX;
    crate::finding::sort(findings);
    findings.dedup();
    if cut {
        findings.truncate(FINDINGS_MAX);
        let last = findings.last().map_or(Span::default(), |finding| finding.span);
        let message = format!("there are more than {FINDINGS_MAX} findings, and the rest is not shown");
        let finding = Finding::new(Code::TooManyFindings, Severity::Error, last, message);
        findings.push(finding.remedy("correct the first ones and check again"));
    }
}

/// An empty file is an empty map.
fn as_map(node: Node) -> Node {
    if node.is_null() { Node { kind: yaml::Kind::Map(Vec::new()), ..node } } else { node }
}

/// `weft.yaml` and `prod` → `weft.prod.yaml`
fn overlay_path(main: &str, name: &str) -> String {
    let file_start = main.rfind('/').map_or(0, |at| at + 1);
    match main[file_start..].rfind('.') {
        Some(dot) if dot > 0 => format!("{}.{name}{}", &main[..file_start + dot], &main[file_start + dot..]),
        _ => format!("{main}.{name}"),
    }
}

/// `path` as written in the file `from`, relative to the folder of the main file; `None` if it leads out of it.
fn resolve(from: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains(['\\', '\0']) || path.contains("://") {
        return None;
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests;
