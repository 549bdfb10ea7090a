//! `errors.toml` → the enum of public codes and its page.
//!
//! One table for all planes, so that a code means one thing in a log, in a `problem+json` body, in a gRPC trailer and in
//! the documentation. Generated text is committed: a build needs no generator, and a review sees what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The table as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    error: Vec<Entry>,
    /// Codes that were given once and never will be again.
    #[serde(default)]
    retired: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    name: String,
    kind: Kind,
    #[serde(default)]
    severity: Severity,
    status: Option<u16>,
    grpc: Option<String>,
    fate: Option<Fate>,
    retry_after_s: Option<u32>,
    summary: String,
    remedy: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Finding,
    Refusal,
    Fault,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
enum Severity {
    #[default]
    Error,
    Warning,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum Fate {
    Keep,
    Close,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Finding, Kind::Refusal, Kind::Fault];

    fn thousand(self) -> u16 {
        match self {
            Kind::Finding => 1,
            Kind::Refusal => 2,
            Kind::Fault => 3,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Finding => "Findings: the manifest is wrong",
            Kind::Refusal => "Refusals: we said no",
            Kind::Fault => "Faults: something broke",
        }
    }
}

/// Names of gRPC status codes, by number (gRPC, `doc/statuscodes.md`).
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Where the codes are for the program.
pub(crate) const SOURCE: &str = "crates/model/src/code.rs";

/// The generated files, by path relative to `root`.
///
/// # Errors
/// `errors.toml` cannot be read, or breaks one of its own rules.
pub(crate) fn generate(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let table = read(root)?;
    Ok(BTreeMap::from([
        (PathBuf::from(SOURCE), source(&table)?),
        (PathBuf::from("docs/errors.md"), page(&table)?),
    ]))
}

/// Every code with the name that it has in the sources.
///
/// # Errors
/// `errors.toml` cannot be read, or breaks one of its own rules.
pub(crate) fn variants(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    Ok(read(root)?.error.into_iter().map(|entry| (entry.code, variant(&entry.name))).collect())
}

fn read(root: &Path) -> anyhow::Result<Table> {
    let path = root.join("errors.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table: Table = toml::from_str(&text).context("errors.toml")?;
    check(&table)?;
    Ok(table)
}

fn check(table: &Table) -> anyhow::Result<()> {
    let mut codes: BTreeSet<&str> = table.retired.iter().map(String::as_str).collect();
    let mut names = BTreeSet::new();
    let mut last = "";
    for entry in &table.error {
        let code = entry.code.as_str();
        ensure!(codes.insert(code), "{code} is given twice, or was retired");
        ensure!(names.insert(&entry.name), "{code}: the name `{}` is given twice", entry.name);
        ensure!(last < code, "{code} stands after {last}");
        last = code;
        let number = number(entry)?;
        ensure!(number / 1000 == entry.kind.thousand(), "{code} is no code of kind {:?}", entry.kind);
        ensure!(
            entry.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            "{code}: name"
        );
        for text in [&entry.summary, &entry.remedy] {
            ensure!(text.ends_with('.') && !text.contains('\n'), "{code}: one line of sentences: {text}");
        }
        if let Some(grpc) = &entry.grpc {
            ensure!(GRPC.contains(&grpc.as_str()), "{code}: no gRPC status {grpc}");
        }
        if matches!(entry.kind, Kind::Refusal | Kind::Fault) {
            ensure!(entry.fate.is_some(), "{code}: `fate` is missing");
            ensure!(
                entry.status.is_some() == entry.grpc.is_some(),
                "{code}: `status` and `grpc` go together"
            );
        }
    }
    Ok(())
}

fn number(entry: &Entry) -> anyhow::Result<u16> {
    let digits = entry.code.strip_prefix('W').filter(|digits| digits.len() == 4);
    digits
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("{}: not `W` and four digits", entry.code))
}

fn variant(name: &str) -> String {
    let word = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('_').map(word).collect()
}

const SOURCE_HEAD: &str = r#"//! Public codes of findings, refusals and faults. Generated from `errors.toml` by `cargo xtask bless`; not edited by hand.

use std::fmt;

/// A public code. Displayed as e.g. `W2001`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[rustfmt::skip]
pub enum Code {
"#;

const SOURCE_TAIL: &str = r#"
/// What a code is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The manifest is wrong.
    Finding,
    /// We said no.
    Refusal,
    /// Something broke.
    Fault,
}

struct Entry {
    number: u16,
    id: &'static str,
    name: &'static str,
    kind: Kind,
    status: Option<u16>,
    grpc: Option<u8>,
    closes: bool,
    retry_after_s: Option<u32>,
    summary: &'static str,
    remedy: &'static str,
}

impl Code {
    fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// The code as text, e.g. `W2001`.
    pub fn as_str(self) -> &'static str {
        self.entry().id
    }

    /// The code's number, e.g. 2001.
    pub fn number(self) -> u16 {
        self.entry().number
    }

    /// Its name, e.g. `no_route`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it is about.
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// HTTP status with which an exchange ends, where one can.
    pub fn status(self) -> Option<u16> {
        self.entry().status
    }

    /// Number of the gRPC status with which a call ends, where one can.
    pub fn grpc_status(self) -> Option<u8> {
        self.entry().grpc
    }

    /// Whether the downstream's HTTP/1.1 connection is closed after the answer.
    pub fn closes(self) -> bool {
        self.entry().closes
    }

    /// Value of `Retry-After` that goes with the answer, in seconds.
    pub fn retry_after_s(self) -> Option<u32> {
        self.entry().retry_after_s
    }

    /// What it means: sentences.
    pub fn summary(self) -> &'static str {
        self.entry().summary
    }

    /// What to do about it: sentences.
    pub fn remedy(self) -> &'static str {
        self.entry().remedy
    }

    /// The code of this text, e.g. of `W2001`.
    pub fn from_id(id: &str) -> Option<Code> {
        Self::ALL.iter().copied().find(|code| code.as_str() == id)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
"#;

fn source(table: &Table) -> anyhow::Result<String> {
    let mut text = SOURCE_HEAD.to_owned();
    for entry in &table.error {
        writeln!(text, "    /// {}: {}", entry.code, entry.summary)?;
        writeln!(text, "    {},", variant(&entry.name))?;
    }
    text.push_str("}\n");
    text.push_str(SOURCE_TAIL);
    let count = table.error.len();
    write!(text, "\n#[rustfmt::skip]\nimpl Code {{\n    /// All of them, by number.\n")?;
    writeln!(text, "    pub const ALL: [Code; {count}] = [")?;
    for row in table.error.chunks(4) {
        let names: Vec<String> = row.iter().map(|entry| format!("Code::{},", variant(&entry.name))).collect();
        writeln!(text, "        {}", names.join(" "))?;
    }
    write!(text, "    ];\n}}\n\n#[rustfmt::skip]\nstatic TABLE: [Entry; {count}] = [\n")?;
    for entry in &table.error {
        let grpc = entry.grpc.as_deref().and_then(|grpc| GRPC.iter().position(|name| *name == grpc));
        writeln!(
            text,
            "    Entry {{ number: {}, id: {:?}, name: {:?}, kind: Kind::{:?}, status: {:?}, grpc: {grpc:?}, closes: {}, \
             retry_after_s: {:?},\n        summary: {:?},\n        remedy: {:?} }},",
            number(entry)?,
            entry.code,
            entry.name,
            entry.kind,
            entry.status,
            entry.fate == Some(Fate::Close),
            entry.retry_after_s,
            entry.summary,
            entry.remedy,
        )?;
    }
    text.push_str("];\n");
    Ok(text)
}

const PAGE_HEAD: &str = "# Codes

Whatever is wrong with a manifest, and whatever keeps a request from its answer, has a code that never changes its
meaning and is never used again. It stands in what `weft check` prints, in the body of a refused request
(`application/problem+json`, RFC 9457), in the `Proxy-Status` field (RFC 9209), in `grpc-message`, in logs and in the
metric `weft_refusals_total`. This page is made from `errors.toml` by `cargo xtask bless`.

Where the connection is `closed`, that is a connection of HTTP/1.1: the bytes after the request are not read as another one. Over HTTP/2 only the
stream ends.
";

fn page(table: &Table) -> anyhow::Result<String> {
    let mut text = PAGE_HEAD.to_owned();
    for kind in Kind::ALL {
        write!(text, "\n## {}\n\n", kind.title())?;
        let exchanges = matches!(kind, Kind::Refusal | Kind::Fault);
        text.push_str(if exchanges {
            "| code | name | HTTP | gRPC | connection | means | remedy |\n|---|---|---|---|---|---|---|\n"
        } else {
            "| code | name | means | remedy |\n|---|---|---|---|\n"
        });
        for entry in table.error.iter().filter(|entry| entry.kind == kind) {
            row(&mut text, entry, exchanges)?;
        }
    }
    if !table.retired.is_empty() {
        write!(text, "\nNo longer given: {}.\n", table.retired.join(", "))?;
    }
    Ok(text)
}

fn row(text: &mut String, entry: &Entry, exchanges: bool) -> anyhow::Result<()> {
    let cell = |words: &str| words.replace('|', "\\|");
    write!(text, "| {} | `{}` | ", entry.code, entry.name)?;
    if exchanges {
        let status = entry.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let retry = entry.retry_after_s.map_or_else(String::new, |after| format!(", `Retry-After: {after}`"));
        let fate = match entry.fate {
            Some(Fate::Keep) => "kept",
            Some(Fate::Close) => "closed",
            None => "",
        };
        write!(text, "{status}{retry} | {} | {fate} | ", entry.grpc.as_deref().unwrap_or("none"))?;
    }
    let advice = if entry.severity == Severity::Warning { " (A warning.)" } else { "" };
    writeln!(text, "{}{advice} | {} |", cell(&entry.summary), cell(&entry.remedy))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (path, text) in generate(root).unwrap() {
            let there = std::fs::read_to_string(root.join(&path)).unwrap();
            assert!(there == text, "{} is stale: run `cargo xtask bless`", path.display());
        }
    }

    #[test]
    fn a_code_is_never_given_twice() {
        let entry = |code: &str, name: &str| {
            format!("[[error]]\ncode='{code}'\nname='{name}'\nkind='finding'\nsummary='A.'\nremedy='B.'\n")
        };
        let verdict = |text: String| check(&toml::from_str::<Table>(&text).unwrap());
        assert!(verdict(entry("W1001", "a") + &entry("W1002", "b")).is_ok());
        assert!(verdict(entry("W1001", "a") + &entry("W1001", "b")).is_err());
        assert!(verdict(entry("W1001", "a") + &entry("W1002", "a")).is_err());
        assert!(verdict(entry("W2001", "a")).is_err());
        assert!(verdict(format!("retired=['W1001']\n{}", entry("W1001", "a"))).is_err());
    }
}
