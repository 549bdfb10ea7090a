//! Golden cases of what is derived: `derive/NAME/weft.yaml` ⇒ `plan.json`, and `questions.txt` (a request on each line, its
//! fields behind `|`) ⇒ `explain.txt`. `WEFT_BLESS=1` writes the expected files anew;
//! a review reads the difference.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Folder, expect_file};
use weft_model::Compiled;
use weft_model::explain::{Question, explain};
use weft_model::plan::{Plans, RolePlan};
use weft_model::render::{self, Style};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/derive").join(name)
}

/// All cases, and the examples that stand in the project.
fn cases() -> Vec<(String, PathBuf)> {
    let named = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), path);
    let mut cases: Vec<_> =
        fs::read_dir(folder("")).unwrap().map(|entry| named(entry.unwrap().path())).collect();
    cases.retain(|(_, path)| path.join("weft.yaml").exists());
    for example in ["shop", "hello", "polyglot"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
        cases.push((format!("example-{example}"), path));
    }
    cases.sort();
    cases
}

fn compile(path: &Path) -> Compiled {
    let overlay = path.join("weft.ci.yaml").exists().then_some("ci");
    let environment = [("ORDERS_DB".to_owned(), "s3cret-value".to_owned())].into();
    weft_model::compile(&Folder(path.to_owned()), "weft.yaml", overlay, &environment)
}

fn plans(name: &str, path: &Path) -> Plans {
    let compiled = compile(path);
    let shown = render::text(&compiled.findings, &compiled.sources, Style::default());
    compiled.plans.unwrap_or_else(|| panic!("{name} is refused:\n{shown}"))
}

#[test]
fn every_case_gives_its_plans() {
    let mut wrong = Vec::new();
    for (name, path) in cases() {
        let plans = plans(&name, &path);
        let text = serde_json::to_string_pretty(&plans).unwrap() + "\n";
        assert!(!text.contains("s3cret-value"), "{name} shows a value of the environment");
        assert!(!format!("{plans:?}").contains("s3cret-value"), "{name} shows a value of the environment");
        if name != "example-hello" && name != "example-polyglot" {
            wrong.extend(expect_file(&folder(&name).join("plan.json"), &text));
        }
    }
    assert!(wrong.is_empty(), "{}\n(WEFT_BLESS=1 writes what is expected anew)", wrong.join("\n"));
}

#[test]
fn every_question_is_answered() {
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (name, path) in cases() {
        let Ok(questions) = fs::read_to_string(folder(&name).join("questions.txt")) else { continue };
        let compiled = compile(&path);
        let (model, plans) = (compiled.model.unwrap(), plans(&name, &path));
        let mut text = String::new();
        for question in questions.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = question.split('|').map(|part| part.trim().to_owned());
            let request = parts.next().unwrap();
            let answer = Question::read(&request, &parts.collect::<Vec<_>>())
                .and_then(|question| explain(&model, &plans, &question))
                .unwrap_or_else(|error| panic!("{name}: {question}: {error}"));
            asked += 1;
            text.push_str(&format!("## {question}\n{answer}\n"));
            assert!(
                serde_json::to_value(&answer).unwrap()["outcome"]["kind"].is_string(),
                "{name}: {question}"
            );
        }
        wrong.extend(expect_file(&folder(&name).join("explain.txt"), &text));
    }
    assert!(asked >= 40, "{asked} questions");
    assert!(wrong.is_empty(), "{}\n(WEFT_BLESS=1 writes what is expected anew)", wrong.join("\n"));
}

#[test]
fn deriving_twice_gives_the_same_bytes() {
    for (name, path) in cases() {
        let bytes = || serde_json::to_vec(&plans(&name, &path)).unwrap();
        assert_eq!(bytes(), bytes(), "{name}");
    }
}

/// What is read back from the JSON form is what was written, but for values of the environment.
#[test]
fn plans_survive_the_wire() {
    for (name, path) in cases() {
        let plans = plans(&name, &path);
        for plan in plans.sidecars.values().chain(&plans.gateway) {
            let text = serde_json::to_string(plan).unwrap();
            assert_eq!(&serde_json::from_str::<weft_model::plan::Plan>(&text).unwrap(), plan, "{name}");
        }
    }
}

/// The two sides of a call are derived from one line and cannot disagree: what a caller may send, the callee lets in.
#[test]
fn outbound_and_inbound_agree() {
    for (name, path) in cases() {
        let plans = plans(&name, &path);
        for (caller, plan) in &plans.sidecars {
            let RolePlan::Sidecar(sidecar) = &plan.role else { panic!("{name}: {caller} is no sidecar") };
            for out in &sidecar.outbound {
                assert!(
                    plan.upstreams.iter().any(|upstream| upstream.name == out.callee),
                    "{name}: {caller}"
                );
                let Some(callee) = plans.sidecars.get(&out.callee) else { continue };
                let RolePlan::Sidecar(callee) = &callee.role else { panic!("{name}") };
                let lines: Vec<_> =
                    callee.inbound.allow.iter().filter(|line| line.caller == *caller).collect();
                assert!(!lines.is_empty(), "{name}: {caller} to {}", out.callee);
                if out.endpoints.is_empty() {
                    assert!(
                        lines.iter().any(|line| line.endpoints.is_empty()),
                        "{name}: {caller} to {}",
                        out.callee
                    );
                }
                for endpoint in &out.endpoints {
                    let open = lines.iter().any(|line| line.endpoints.contains(endpoint));
                    assert!(open, "{name}: {caller} to {} {endpoint}", out.callee);
                }
            }
        }
    }
}

/// A thousand services in a chain, a thousand routes: everything is derived, callees start before callers.
#[test]
fn a_large_system_is_derived() {
    use std::fmt::Write as _;
    struct One(String);
    impl weft_model::sources::Files for One {
        fn read(&self, _: &str, _: usize) -> Result<Vec<u8>, weft_model::sources::FileError> {
            Ok(self.0.clone().into_bytes())
        }
    }
    let mut text = "system: large\nservices:\n".to_owned();
    for index in 0..1_000 {
        writeln!(text, "  s{index:04}: {{ run: ./s, calls: [s{:04}] }}", index + 1).unwrap();
    }
    text.push_str("  s1000: { run: ./s }\ngateway:\n  auth: none\n  routes:\n");
    for index in 0..1_000 {
        writeln!(text, "    GET /r{index}/{{id}}: s{index:04}").unwrap();
    }
    let compiled = weft_model::compile(&One(text.clone()), "weft.yaml", None, &Default::default());
    let plans = compiled.plans.unwrap_or_else(|| panic!("{:?}", compiled.findings));
    assert_eq!(plans.sidecars.len(), 1_001);
    let started: Vec<&str> = plans.launch.services.iter().map(|service| service.service.as_str()).collect();
    assert_eq!((started[0], started[1_000]), ("s1000", "s0000"));
    let ring = text.replace("  s1000: { run: ./s }", "  s1000: { run: ./s, calls: [s0000] }");
    let compiled = weft_model::compile(&One(ring), "weft.yaml", None, &Default::default());
    let codes: Vec<_> = compiled.findings.iter().map(|finding| finding.code.name()).collect();
    assert_eq!(codes, ["synchronous_cycle"]);
}
