//! Golden cases of what may be written: `cases/form/NAME/weft.yaml` (with its other files) ⇒ `findings.txt`, exactly as a
//! person sees it. `WEFT_BLESS=1` writes the expected files anew; a review reads the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Folder, bless, expect_file};
use weft_model::render::{self, Style};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/form");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_gives_its_findings() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let overlay = case.join("weft.ci.yaml").exists().then_some("ci");
        let environment = [("ORDERS_DB".to_owned(), "s3cret-value".to_owned())].into();
        let loaded = weft_model::load(&Folder(case.clone()), "weft.yaml", overlay, &environment);
        let mut text = render::text(&loaded.findings, &loaded.sources, Style::default());
        assert!(!text.contains("s3cret-value"), "{name} shows a value of the environment");
        if loaded.findings.is_empty() {
            text.push_str("no findings\n");
        }
        assert_eq!(loaded.findings.is_empty(), name.starts_with("good-"), "{name}:\n{text}");
        for finding in &loaded.findings {
            assert!(finding.remedy.is_some(), "{name}: no remedy:\n{text}");
        }
        wrong.extend(expect_file(&case.join("findings.txt"), &text));
    }
    assert!(wrong.is_empty(), "{}\n(WEFT_BLESS=1 writes what is expected anew)", wrong.join("\n"));
}

#[test]
fn the_reference_page_is_that_of_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    let wrong = expect_file(&page, &weft_model::grammar::reference());
    assert!(
        wrong.is_none(),
        "docs/manifest.md is not what the table says: run `WEFT_BLESS=1 cargo test -p weft-model --test form`"
    );
    assert!(!bless() || page.exists());
}

#[test]
fn findings_are_json_for_programs() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/form/unknown-key-near");
    let loaded = weft_model::load(&Folder(case), "weft.yaml", None, &Default::default());
    let json = render::json(&loaded.findings, &loaded.sources);
    assert_eq!(json[0]["code"], "W1007");
    assert_eq!(json[0]["place"]["file"], "weft.yaml");
    assert_eq!(json[0]["place"]["line"], 4);
    assert_eq!(json[0]["severity"], "error");
}
