//! Files, includes and overlays: what is merged, and what is refused.

use std::collections::BTreeMap;

use super::*;

struct Memory(BTreeMap<String, String>);

impl Files for Memory {
    fn read(&self, path: &str, _: usize) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or(FileError::Missing)
    }
}

fn gathered(files: &[(&str, &str)], overlay: Option<&str>) -> Gathered {
    let files = Memory(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect());
    gather(&files, "weft.yaml", overlay, &Environment::new())
}

fn codes(gathered: &Gathered) -> Vec<Code> {
    gathered.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn paths_stay_in_the_folder() {
    assert_eq!(resolve("weft.yaml", "a/b.yaml").unwrap(), "a/b.yaml");
    assert_eq!(resolve("a/b.yaml", "../c.yaml").unwrap(), "c.yaml");
    assert_eq!(resolve("a/b.yaml", "./c.yaml").unwrap(), "a/c.yaml");
    for path in ["../c.yaml", "/etc/passwd", "a/../../c", "..", "http://x/y", "a\\..\\b"] {
        assert_eq!(resolve("weft.yaml", path), None, "{path}");
    }
    assert_eq!(overlay_path("weft.yaml", "prod"), "weft.prod.yaml");
    assert_eq!(overlay_path("a.b/weft", "prod"), "a.b/weft.prod");
    assert_eq!(overlay_path("shop.json", "ci"), "shop.ci.json");
}

#[test]
fn an_overlay_merges_maps_replaces_the_rest_and_removes_by_null() {
    let files = [
        ("weft.yaml", "system: a\nservices:\n  x: {run: y, port: 1, env: {A: '1', B: '2'}}\n  z: {run: z}\n"),
        (
            "weft.ci.yaml",
            "services:\n  x: {port: 2, env: {A: null, C: '3'}}\n  z: null\n  new: {run: n, cwd: null}\n",
        ),
    ];
    let gathered = gathered(&files, Some("ci"));
    assert_eq!(gathered.findings, []);
    let tree = gathered.tree.unwrap();
    let services = tree.get("services").unwrap();
    let x = services.get("x").unwrap();
    assert_eq!(x.get("port").unwrap().scalar().unwrap().text, "2");
    assert_eq!(x.get("port").unwrap().span.file, FileId(1));
    assert_eq!(x.get("run").unwrap().span.file, FileId(0));
    let env: Vec<_> = x.get("env").unwrap().entries().iter().map(|e| e.key.scalar.text.as_str()).collect();
    assert_eq!(env, ["B", "C"]);
    assert!(services.get("z").is_none());
    assert_eq!(services.get("new").unwrap().entries().len(), 1);
}

#[test]
fn an_overlay_over_a_short_form_keeps_what_it_stands_for() {
    let files = [
        (
            "weft.yaml",
            "system: a\ngateway: {auth: none, routes: {GET /a: x}}\nrollout: {x: {v2: 5%}}\nservices: {x: {run: x}}\n",
        ),
        (
            "weft.ci.yaml",
            "gateway: {routes: {GET /a: {timeout: 1s}}}\nrollout: {x: {v2: {header: {h: '1'}}}}\n",
        ),
    ];
    let gathered = gathered(&files, Some("ci"));
    assert_eq!(gathered.findings, []);
    let tree = gathered.tree.unwrap();
    let route = tree.get("gateway").unwrap().get("routes").unwrap().get("GET /a").unwrap();
    assert_eq!(route.get("to").unwrap().scalar().unwrap().text, "x");
    assert_eq!(route.get("to").unwrap().span.file, FileId(0));
    assert_eq!(route.get("timeout").unwrap().span.file, FileId(1));
    let version = tree.get("rollout").unwrap().get("x").unwrap().get("v2").unwrap();
    assert_eq!(version.get("weight").unwrap().scalar().unwrap().text, "5%");
}

#[test]
fn a_team_file_is_added() {
    let files = [
        (
            "weft.yaml",
            "system: a\ninclude: [t/sales.yaml]\ngateway: {auth: none, routes: {GET /a: a}}\nservices: {a: {run: a}}\n",
        ),
        (
            "t/sales.yaml",
            "include: [more.yaml]\ncontexts: {sales: [b]}\nservices: {b: {run: b}}\ngateway: {routes: {GET /b: b}}\n",
        ),
        (
            "t/more.yaml",
            "contexts: {more: [c]}\nservices: {c: {run: c}}\nrelations: [more > any: open-host]\n",
        ),
    ];
    let gathered = gathered(&files, None);
    assert_eq!(gathered.findings, []);
    let tree = gathered.tree.unwrap();
    assert_eq!(tree.get("services").unwrap().entries().len(), 3);
    assert_eq!(tree.get("gateway").unwrap().get("routes").unwrap().entries().len(), 2);
    assert_eq!(tree.get("contexts").unwrap().entries().len(), 2);
}

#[test]
fn circles_and_repetitions_are_refused() {
    let files = [
        ("weft.yaml", "system: a\ninclude: [a.yaml, ./a.yaml, ../b.yaml, none.yaml]\n"),
        ("a.yaml", "include: [weft.yaml, a.yaml]\ncontexts: {a: []}\n"),
    ];
    let gathered = gathered(&files, None);
    let expected =
        [Code::IncludeCycle, Code::IncludeCycle, Code::SaidTwice, Code::PathOutside, Code::FileMissing];
    assert_eq!(codes(&gathered), expected);
    assert!(!gathered.whole);
}

#[test]
fn a_chain_of_includes_ends() {
    let names: Vec<(String, String)> = (0..20)
        .map(|n| {
            let name = if n == 0 { "weft.yaml".to_owned() } else { format!("f{n}.yaml") };
            (name, format!("include: [f{}.yaml]\ncontexts: {{c{n}: []}}\n", n + 1))
        })
        .collect();
    let files: Vec<(&str, &str)> = names.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(codes(&gathered(&files, None)).contains(&Code::TooDeep));
}

#[test]
fn every_file_is_reported_although_one_cannot_be_read() {
    let files = [("weft.yaml", "system: [\n"), ("weft.ci.yaml", "sevices: {}\n")];
    assert_eq!(codes(&gathered(&files, Some("ci"))), [Code::YamlSyntax, Code::UnknownKey]);
    assert_eq!(codes(&gathered(&[("weft.yaml", "system: a\n")], Some("ci"))), [Code::OverlayMissing]);
    assert_eq!(codes(&gathered(&[("weft.yaml", "system: a\n")], Some("../x"))), [Code::BadName]);
    assert_eq!(codes(&gathered(&[], None)), [Code::FileMissing]);
}

#[test]
fn findings_are_bounded() {
    let text = (0..2000).map(|n| format!("unknown{n}: 1\n")).collect::<String>();
    let mut gathered = gathered(&[("weft.yaml", &text)], None);
    tidy(&mut gathered.findings);
    assert_eq!(gathered.findings.len(), FINDINGS_MAX + 1);
    assert!(gathered.findings.iter().any(|finding| finding.code == Code::TooManyFindings));
}

#[test]
fn a_file_that_cannot_be_read_hides_no_mistake_of_another() {
    let wrong = "contexts: {b: [three]}\nservices:\n  three: {run: x, prt: 3}\n";
    let main = "system: s\ninclude: [a.yaml, b.yaml]\nservices:\n  one: {run: x, bogus: 1}\n";
    let broken = format!("{main}gateway:\n  routes: {{ \"GET /**\": one\n");
    let good = "contexts: {a: [two]}\nservices: {two: {run: x}}\n";
    for (main, team) in [(broken.as_str(), good), (main, "contexts: {a: [two\n")] {
        let gathered = gathered(&[("weft.yaml", main), ("a.yaml", team), ("b.yaml", wrong)], None);
        let mut codes = codes(&gathered);
        codes.sort_by_key(|code| code.number());
        assert_eq!(codes, [Code::YamlSyntax, Code::UnknownKey, Code::UnknownKey], "{:?}", gathered.findings);
        assert!(!gathered.whole);
    }
}
