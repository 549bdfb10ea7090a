//! The examples, as they are in the tree but for ports, and for what builds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use weft_testkit::{Manifest, System, build, http, tool};

use super::WEFT;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// An example's manifest on ports of this test.
fn example(name: &str, edit: impl Fn(&str) -> String) -> Manifest {
    let folder = folder(name);
    let text = std::fs::read_to_string(folder.join("weft.yaml")).unwrap();
    let text = text.replace("127.0.0.1:8080", "{edge}").replace("127.0.0.1:9464", "{metrics}");
    Manifest::new(&edit(&text)).beside(&folder)
}

#[test]
fn hello_says_hello() {
    if tool("python3").is_none() {
        return;
    }
    let mut system = System::up(WEFT, &example("hello", str::to_owned));
    assert_eq!(http::get(system.edge, "/hello").unwrap().text(), "hello from behind Weft\n");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn services_in_four_languages_talk() {
    let tools = ["python3", "node", "go", "java"].map(tool);
    if tools.iter().any(Option::is_none) {
        return;
    }
    let mut system = System::up(WEFT, &example("polyglot", str::to_owned));
    let check = Command::new("python3")
        .arg(folder("polyglot").join("check.py"))
        .arg(format!("http://{}", system.edge))
        .status()
        .unwrap();
    assert!(check.success());
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}

#[test]
fn customers_of_the_shop_notice_nothing_while_every_part_is_restarted() {
    let shop = build(WEFT.as_ref(), "shop", "shop");
    let here = |text: &str| {
        let text = text.replace("../../target/release/shop", &shop.display().to_string());
        let text = text.replace("../../target/shop-orders.jsonl", "orders.jsonl");
        let fixed = |line: &&str| !(line.starts_with("    build:") || line.starts_with("    port:"));
        text.lines().filter(fixed).map(|line| format!("{line}\n")).collect()
    };
    let mut system = System::up(WEFT, &example("shop", here));
    let url = format!("http://{}", system.edge);
    // Ended by the test, once everything was restarted.
    let customers = |requests: &str| {
        Command::new(&shop)
            .args(["load", "--url", &url, "--customers", "4", "--requests", requests])
            .spawn()
            .unwrap()
    };
    let mut first = customers("500");
    for what in [&["restart"][..], &["restart", "sidecars"], &["restart", "gateway"], &["restart", "control"]]
    {
        let run = system.weft(what);
        assert_eq!(run.status, Some(0), "{what:?}: {}{}", run.out, run.err);
    }
    assert!(first.wait().unwrap().success(), "an answer was not the expected one while parts were restarted");
    assert!(customers("200").wait().unwrap().success(), "an answer was not the expected one afterwards");
    assert!(system.interrupt().success());
    system.assert_nothing_left();
}
