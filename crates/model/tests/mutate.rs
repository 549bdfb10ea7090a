//! Whatever the bytes are: no panic on the whole way to the plans, every span in its file, every finding rendered. Good manifests are changed by a
//! seeded generator (bytes, lines, whole parts of other manifests) thousands of times; a failure prints its seed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use weft_model::finding::Span;
use weft_model::render::{self, Style};
use weft_model::sources::{FileError, Files, Sources};
use weft_stdx::rng::Rng;

/// Changed manifests of one run.
const ROUNDS: u64 = 6_000;

struct Memory(BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        let bytes = self.0.get(path).ok_or(FileError::Missing)?;
        Ok(bytes[..bytes.len().min(bytes_max)].to_vec())
    }
}

/// All manifests of the golden cases, and what an attacker would try.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/form");
    let mut paths: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("weft.yaml")).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
    assert!(seeds.len() > 60);
    seeds.push(b"\xef\xbb\xbfsystem: \xc3\xa9\r\nservices:\r\n  a: {run: \"\\u00e9\\n\"}\r\n".to_vec());
    seeds.push(b"? [a]\n: b\n? c\n".to_vec());
    seeds.push(b"%YAML 1.2\n%TAG ! tag:x,2000:\n---\na: !b c\n...\n".to_vec());
    seeds
}

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "\"",
    "'",
    "|",
    ">",
    "&a ",
    "*a",
    "!t ",
    "#",
    "---\n",
    "...\n",
    "${",
    "}",
    "$${",
    "${A}",
    "null",
    "~",
    "true",
    "yes",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "5%",
    "101%",
    "10s",
    "..",
    "GET /a/{b}",
    "**",
    "/*",
    "a > b",
    "\u{feff}",
    "\0",
    "\u{85}",
    "\u{2028}",
    "é",
    "日本",
    "<<",
    "include",
    "system",
    "\\",
];

fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = pick(rng, seeds).clone();
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(rng.below(256)).unwrap()),
            2 if at < bytes.len() => bytes[at] = u8::try_from(rng.below(256)).unwrap(),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let other = pick(rng, seeds);
                let from = rng.below(other.len() + 1);
                let part = &other[from..(from + 40).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            5 => {
                let end = (at + rng.below(30)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            _ => {
                let word = WORDS[rng.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

fn pick<'s>(rng: &mut Rng, seeds: &'s [Vec<u8>]) -> &'s Vec<u8> {
    &seeds[rng.below(seeds.len())]
}

fn inside(span: Span, sources: &Sources) -> bool {
    let Some(source) = sources.get(span.file) else { return false };
    let (start, end) = (span.start as usize, span.end as usize);
    // The text that is kept has a replacement of three bytes for what is not UTF-8: the end may be inside of it.
    start <= end
        && end <= source.text.len()
        && source.text.is_char_boundary(start)
        && span.line >= 1
        && span.column >= 1
}

/// The place of a span by counting, to compare line and column with.
fn place(span: Span, sources: &Sources) -> (u32, u32) {
    let text = sources.get(span.file).unwrap().text.get(..span.start as usize).unwrap();
    let line_start = text.rfind('\n').map_or(0, |at| at + 1);
    let lines = text.matches('\n').count() + 1;
    let column = text[line_start..].trim_start_matches('\u{feff}').chars().count() + 1;
    (u32::try_from(lines).unwrap(), u32::try_from(column).unwrap())
}

fn try_one(bytes: &[u8], overlay: &[u8]) {
    let files = Memory(
        [
            ("weft.yaml".to_owned(), bytes.to_vec()),
            ("weft.ci.yaml".to_owned(), overlay.to_vec()),
            ("a.yaml".to_owned(), overlay.to_vec()),
        ]
        .into(),
    );
    let environment = [("A".to_owned(), "x".to_owned())].into();
    let loaded = weft_model::compile(&files, "weft.yaml", Some("ci"), &environment);
    for finding in &loaded.findings {
        for span in finding.notes.iter().map(|note| note.span).chain([finding.span]) {
            assert!(inside(span, &loaded.sources), "{span:?} is outside: {finding:?}");
            assert_eq!((span.line, span.column), place(span, &loaded.sources), "{finding:?}");
        }
        assert!(!finding.message.is_empty() && finding.message.len() < 1_000);
    }
    let text = render::text(&loaded.findings, &loaded.sources, Style::default());
    assert_eq!(text.is_empty(), loaded.findings.is_empty());
    let json = render::json(&loaded.findings, &loaded.sources);
    assert_eq!(json.as_array().unwrap().len(), loaded.findings.len());
}

#[test]
fn changed_manifests_never_panic() {
    let seeds = seeds();
    for seed in 0..ROUNDS {
        let mut rng = Rng::seeded(seed);
        let (bytes, overlay) = (mutate(&mut rng, &seeds), mutate(&mut rng, &seeds));
        let result = catch_unwind(AssertUnwindSafe(|| try_one(&bytes, &overlay)));
        assert!(
            result.is_ok(),
            "seed {seed}:\n{}\n--- overlay\n{}",
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&overlay)
        );
    }
}

#[test]
fn what_is_hostile_ends_soon() {
    let hostile: Vec<Vec<u8>> = vec![
        b"[".repeat(1 << 20),
        b"{".repeat(1 << 20),
        b"{a: ".repeat(1 << 18),
        b"- ".repeat(1 << 19),
        b"? ".repeat(1 << 19),
        b"a: &a [*a, *a]\n".repeat(60_000),
        b"\"".repeat(1 << 20),
        b"a\n".repeat(1 << 19),
        b"x: {y: z}\n".repeat(100_000),
        b"\n".repeat(1 << 20),
        b"#".repeat(1 << 20),
        b"\xff".repeat(1 << 20),
        [b"a: ".to_vec(), b"b".repeat((1 << 20) - 4)].concat(),
        [b"b".repeat((1 << 20) - 4), b": a".to_vec()].concat(),
        (0..90_000).map(|n| format!("k{n}: 1\n")).collect::<String>().into_bytes(),
        vec![b'a'; 3 << 20],
        b"!".repeat(1 << 20),
        b"a: |\n ".repeat(1 << 17),
        "é: ".repeat(1 << 18).into_bytes(),
    ];
    for bytes in hostile {
        try_one(&bytes, b"");
    }
}

/// The inputs that the fuzzer kept, in every run. A NUL byte parts the main file from an overlay, as in
/// `fuzz/fuzz_targets/manifest.rs`.
#[test]
fn the_kept_manifests_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/manifest");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let mut parts = bytes.split(|byte| *byte == 0);
        let (main, overlay) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let result = catch_unwind(AssertUnwindSafe(|| try_one(main, overlay)));
        assert!(result.is_ok(), "{}", path.display());
        files += 1;
    }
    assert!(files >= 20, "{files} files");
}
