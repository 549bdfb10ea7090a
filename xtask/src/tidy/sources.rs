//! Rules about files: how they open, how long they are, what must not stand in them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::shell::Shell;
use crate::{errors, shown};

/// Lines that a source file may have.
const LINES_MAX: usize = 1000;
/// Bytes that a file of the tree may have; larger ones were built, not written.
const BYTES_MAX: u64 = 512 * 1024;

/// Words that stand for something else here (`GLOSSARY.md`), where they would name a public thing.
const NOT_OUR_WORDS: [(&str, &str); 9] = [
    ("Filter", "Stage"),
    ("Middleware", "Stage"),
    ("Transaction", "Exchange"),
    ("Snapshot", "Plan"),
    ("Diagnostic", "Finding"),
    ("Backend", "Upstream"),
    ("Ingress", "Inbound"),
    ("Egress", "Outbound"),
    ("Bootstrapper", "assemble"),
];

/// Checks all files that git knows or would take up.
///
/// # Errors
/// A file cannot be read, or git is missing.
pub(super) fn check(shell: &Shell) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut codes = errors::variants(&shell.root)?;
    for path in files(shell)? {
        let name = shown(&shell.root, &path);
        let bytes = std::fs::metadata(&path).with_context(|| name.clone())?.len();
        if bytes > BYTES_MAX {
            breaches.push(format!("{name}: {bytes} bytes; built files do not belong into the tree"));
            continue;
        }
        let Ok(text) = String::from_utf8(std::fs::read(&path).with_context(|| name.clone())?) else {
            continue;
        };
        breaches.extend(of_text(&name, &text));
        if name.ends_with(".rs") {
            breaches.extend(of_source(&name, &text));
        }
        let ours = name.starts_with("crates/") && name.contains("/src/") && !name.contains("test");
        if ours && name != errors::SOURCE {
            codes.retain(|(_, variant)| !gives(&text, variant));
        }
    }
    breaches.extend(codes.iter().map(|(code, _)| format!("errors.toml: nothing gives {code}")));
    Ok(breaches)
}

/// Tracked files and new ones, without what is ignored, deleted, or data of a test.
fn files(shell: &Shell) -> anyhow::Result<Vec<PathBuf>> {
    let mut git = shell.command("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("git ls-files")?;
    anyhow::ensure!(output.status.success(), "git ls-files failed");
    let names = String::from_utf8(output.stdout).context("names of files")?;
    let paths = names.split('\0').filter(|name| !name.is_empty()).map(|name| shell.root.join(name));
    Ok(paths.filter(|path| path.is_file() && !is_test_data(path)).collect())
}

fn is_test_data(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "cases" || part.as_os_str() == "corpus")
}

fn of_text(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    // Put together here, so that this file does not break its own rule.
    let machine = [["/ro", "ot/"].concat(), ["/ho", "me/"].concat(), ["/wo", "rk/"].concat()];
    for (number, line) in (1..).zip(text.lines()) {
        let example = line.contains("/home/me");
        if !example && machine.iter().any(|path| names_a_path(line, path)) {
            breaches.push(format!("{name}:{number}: a path of one machine"));
        }
        if !name.ends_with(".md") && line.ends_with([' ', '\t']) {
            breaches.push(format!("{name}:{number}: white space at the end of a line"));
        }
    }
    if name.ends_with(".rs") && text.lines().count() > LINES_MAX {
        breaches.push(format!("{name}: more than {LINES_MAX} lines"));
    }
    breaches
}

/// Whether a code is given here: named, and not only as one side of a `match` that maps codes.
fn gives(text: &str, variant: &str) -> bool {
    let name = format!("Code::{variant}");
    text.lines().filter(|line| !line.trim_start().starts_with("| ")).any(|line| {
        line.match_indices(&name).any(|(at, _)| {
            let rest = &line[at + name.len()..];
            let looked_up = ["=>", "| "].iter().any(|next| rest.trim_start().starts_with(next));
            !rest.starts_with(char::is_alphanumeric) && !looked_up
        })
    })
}

/// Whether a path begins here, and is not the middle of another one or of a word.
fn names_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| matches!(before, ' ' | '"' | '\'' | '`' | '=' | '(' | ':'))
    })
}

fn of_source(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(format!("{name}:1: does not open with what it is for (`//!`)"));
    }
    if name.ends_with("/mod.rs") && !name.contains("/tests/") {
        breaches.push(format!("{name}: `foo.rs` beside `foo/`, not `mod.rs`"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if line.contains(concat!("todo", "!(")) || line.contains(concat!("unimplemented", "!(")) {
            breaches.push(format!("{name}:{number}: not built; refuse it by name instead"));
        }
        if line.trim_start().starts_with(concat!("#[all", "ow(")) {
            breaches.push(format!("{name}:{number}: `#[expect(…, reason = …)]` instead of `allow`"));
        }
        if let Some((wrong, right)) = NOT_OUR_WORDS.iter().find(|(wrong, _)| names_type(line, wrong)) {
            breaches.push(format!("{name}:{number}: `{wrong}` in a name; our word is {right} (GLOSSARY.md)"));
        }
    }
    breaches
}

/// Whether the line declares a type or trait whose name holds the word.
fn names_type(line: &str, word: &str) -> bool {
    let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| line.strip_prefix(kind));
    let name = rest.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
    name.is_some_and(|name| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_opens_with_what_it_is_for() {
        assert!(of_source("a.rs", "//! What.\n").is_empty());
        assert_eq!(of_source("a.rs", "use x;\n").len(), 1);
    }

    #[test]
    fn what_is_not_built_and_what_is_allowed_is_seen() {
        let line = ["//! A.\nfn f() { ", "todo", "!() }\n"].concat();
        assert_eq!(of_source("a.rs", &line).len(), 1);
        let line = ["//! A.\n#[all", "ow(dead_code)]\n"].concat();
        assert_eq!(of_source("a.rs", &line).len(), 1);
    }

    #[test]
    fn words_of_others_are_seen_in_names_of_types_only() {
        assert_eq!(of_source("a.rs", "//! A.\npub(crate) struct RouteFilter;\n").len(), 1);
        assert!(of_source("a.rs", "//! A.\nlet filter = x.iter().filter(Filter::new);\n").is_empty());
    }

    #[test]
    fn a_code_is_given_where_it_is_made_and_not_where_it_is_looked_up() {
        for (line, expected) in [
            ("    Err(Code::Timeout.into())", true),
            ("    report.error(Code::Timeout, span)", true),
            ("    let code = if late { Code::Timeout } else { code };", true),
            ("    Err(Code::TimeoutOfTry.into())", false),
            ("        Code::Timeout => \"timeout\",", false),
            ("        Code::Timeout | Code::Other => \"timeout\",", false),
            ("            | Code::Timeout", false),
        ] {
            assert_eq!(gives(line, "Timeout"), expected, "{line}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_seen() {
        let path = |before: &str| format!("{before}{}x\n", ["/wo", "rk/"].concat());
        assert_eq!(of_text("a.md", &path("see `")).len(), 1);
        assert!(of_text("a.md", &path("src")).is_empty());
        assert_eq!(of_text("a.rs", &"//\n".repeat(LINES_MAX + 1)).len(), 1);
    }
}
