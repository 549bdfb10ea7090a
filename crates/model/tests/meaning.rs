//! Golden cases of what makes no sense: `cases/meaning/NAME/weft.yaml` (with its other files) ⇒ `findings.txt`, exactly as a
//! person sees it. `WEFT_BLESS=1` writes the expected files anew; a review reads the difference.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Folder, expect_file};
use weft_model::finding::refuses;
use weft_model::render::{self, Style};

#[test]
fn every_case_gives_its_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/meaning");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let compiled = weft_model::compile(&Folder(case.clone()), "weft.yaml", None, &Default::default());
        let mut text = render::text(&compiled.findings, &compiled.sources, Style::default());
        if compiled.findings.is_empty() {
            text.push_str("no findings\n");
        }
        assert_eq!(compiled.findings.is_empty(), name.starts_with("good-"), "{name}:\n{text}");
        assert_eq!(refuses(&compiled.findings), compiled.plans.is_none(), "{name}");
        for finding in &compiled.findings {
            assert!(finding.remedy.is_some(), "{name}: no remedy:\n{text}");
        }
        wrong.extend(expect_file(&case.join("findings.txt"), &text));
    }
    assert!(wrong.is_empty(), "{}\n(WEFT_BLESS=1 writes what is expected anew)", wrong.join("\n"));
}
