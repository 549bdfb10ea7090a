//! Write a manifest with mistakes, and be told all of them at once.

use std::path::PathBuf;

use weft_testkit::{Run, run};

use super::WEFT;

const MISTAKES: &str = "
system: shop
services:
  orders: { run: \"./orders\", calls: [stok], tiemout: 5s }
  stock: { run: \"./stock\", replicas: many }
gateway:
  listen: \"127.0.0.1:8080\"
  auth: none
  routes:
    GET /orders/**: ordres
    GET /stock: { to: stock, timeout: 5 }
cache: { stores: [ memory 64MB ] }
";

/// Runs a command in a folder that holds this manifest.
fn with_manifest(name: &str, text: &str, words: &[&str]) -> Run {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("weft.yaml"), text).unwrap();
    run(WEFT.as_ref(), &folder, words)
}

#[test]
fn all_mistakes_are_shown_at_once_with_their_places() {
    let run = with_manifest("mistakes", MISTAKES, &["check"]);
    assert_eq!(run.status, Some(1), "{}{}", run.out, run.err);
    for shown in
        ["weft.yaml:4:", "weft.yaml:5:", "weft.yaml:11:", "weft.yaml:12:", "W1007", "W1016", "timeout"]
    {
        assert!(run.out.contains(shown), "{shown} is missing:\n{}", run.out);
    }
    let json = with_manifest("mistakes", MISTAKES, &["check", "--output", "json"]);
    let findings = json.json();
    let codes: Vec<&str> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    assert!(codes.len() >= 4, "{codes:?}");
    assert!(codes.contains(&"W1007") && codes.contains(&"W1016"), "{codes:?}");
}

/// `weft check | head` in a pipeline that asks for the status of each of its commands.
#[test]
fn a_refusal_is_the_exit_status_also_where_nobody_reads_on() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("unread");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("weft.yaml"), MISTAKES).unwrap();
    for words in [["check", "--output", "text"], ["check", "--output", "json"], ["plan", "--output", "json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(WEFT);
        let status = command.args(words).current_dir(&folder).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(1), "{words:?}");
    }
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let text =
        MISTAKES.replace(", tiemout: 5s", "").replace(", replicas: many", "").replace("timeout: 5 ", "");
    let text = text.replace("cache: { stores: [ memory 64MB ] }", "");
    let run = with_manifest("nearly", &text, &["check"]);
    assert_eq!(run.status, Some(1), "{}{}", run.out, run.err);
    assert!(run.out.contains("`stock`") && run.out.contains("`orders`"), "{}", run.out);
    assert!(run.out.contains("W1101"), "{}", run.out);
}

#[test]
fn a_manifest_with_mistakes_starts_nothing() {
    let run = with_manifest("starts-nothing", MISTAKES, &["up"]);
    assert_eq!(run.status, Some(1), "{}{}", run.out, run.err);
    assert!(run.err.contains("W1007") || run.out.contains("W1007"), "{}{}", run.out, run.err);
}

#[test]
fn wrong_use_has_an_exit_status_of_its_own() {
    let run = with_manifest("wrong-use", "system: a\n", &["check", "--no-such-flag"]);
    assert_eq!(run.status, Some(2));
}

#[test]
fn a_request_is_explained_before_anything_runs() {
    let text = "
system: shop
services:
  orders: { run: \"./orders\" }
gateway:
  auth: none
  routes:
    GET /orders/{id}: orders
";
    let run = with_manifest("explain", text, &["explain", "GET /orders/42"]);
    assert_eq!(run.status, Some(0), "{}{}", run.out, run.err);
    assert!(run.out.contains("orders") && run.out.contains("weft.yaml:8"), "{}", run.out);
}

#[test]
fn every_command_refuses_a_manifest_in_the_same_words() {
    let text = "system: shop\nservices:\n  orders: { run: \"./orders | tee log\", cwd: nowhere }\n";
    for command in [&["check"][..], &["explain", "GET /"], &["plan"]] {
        let run = with_manifest("refused", text, command);
        let said = format!("{}{}", run.out, run.err);
        assert_eq!(run.status, Some(1), "{command:?}: {said}");
        assert!(said.contains("weft.yaml:3:28") && said.contains("W1030"), "{command:?}: {said}");
        assert!(said.contains("weft.yaml:3:45") && said.contains("W1031"), "{command:?}: {said}");
        assert!(said.ends_with("refused: 2 errors\n"), "{command:?}: {said}");
    }
}

#[test]
fn plans_and_schema_are_printed_for_programs() {
    let text = "system: shop\nservices:\n  orders: { run: ./orders }\n";
    let plans = with_manifest("plan", text, &["plan", "--output", "json"]);
    assert_eq!(plans.status, Some(0), "{}", plans.err);
    assert_eq!(plans.json()["system"], "shop");
    let schema = with_manifest("plan", text, &["schema"]);
    assert!(schema.json()["$defs"]["weft-yaml"]["properties"]["services"].is_object(), "{}", schema.err);
}

const WITH_TLS: &str = "
system: shop
services:
  orders: { run: \"./orders\" }
gateway:
  auth: none
  tls:
    cert: edge.pem
    key: edge.key
  routes:
    ANY /**: orders
";

/// What the gateway would refuse only when it starts is found before, at the place that names the file; and nothing that
/// stands in a file is shown.
#[test]
fn a_certificate_that_tls_cannot_be_served_with_is_found() {
    let (chain, key) = certificate();
    let (_, other) = certificate();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("certificate");
    std::fs::create_dir_all(&folder).unwrap();
    let secrets: Vec<&str> = key.lines().chain(other.lines()).filter(|line| !line.starts_with('-')).collect();
    let check = |chain: Option<&str>, key: Option<&str>| {
        for (name, text) in [("edge.pem", chain), ("edge.key", key)] {
            let _ = std::fs::remove_file(folder.join(name));
            if let Some(text) = text {
                std::fs::write(folder.join(name), text).unwrap();
            }
        }
        let run = with_manifest("certificate", WITH_TLS, &["check"]);
        let shown = format!("{}{}", run.out, run.err);
        assert!(!secrets.iter().any(|secret| shown.contains(secret)), "{shown}");
        (run.status, shown)
    };
    let wrong = [
        (None, None, ["W1017", "weft.yaml:8:11", "weft.yaml:9:10"]),
        (Some(chain.as_str()), None, ["W1017", "weft.yaml:9:10", "edge.key"]),
        (Some(key.as_str()), Some(key.as_str()), ["W1032", "weft.yaml:8:11", "`edge.pem` cannot be used"]),
        (Some(chain.as_str()), Some(chain.as_str()), ["W1032", "weft.yaml:9:10", "not PEM of a private key"]),
        (Some(chain.as_str()), Some(""), ["W1032", "weft.yaml:9:10", "not PEM of a private key"]),
        (
            Some(chain.as_str()),
            Some(other.as_str()),
            ["W1032", "weft.yaml:9:10", "does not belong to the certificate"],
        ),
    ];
    for (chain, key, expected) in wrong {
        let (status, shown) = check(chain, key);
        assert_eq!(status, Some(1), "{shown}");
        assert!(expected.iter().all(|part| shown.contains(part)), "{expected:?} in\n{shown}");
    }
    let (status, shown) = check(Some(&chain), Some(&key));
    assert_eq!(status, Some(0), "{shown}");
    std::fs::remove_file(folder.join("edge.key")).unwrap();
    std::fs::create_dir_all(folder.join("edge.key")).unwrap();
    let run = with_manifest("certificate", WITH_TLS, &["check"]);
    std::fs::remove_dir(folder.join("edge.key")).unwrap();
    assert!(run.out.contains("W1017") && run.out.contains("it is not a file"), "{}", run.out);
}

/// A self-signed certificate and its key, PEM.
pub(super) fn certificate() -> (String, String) {
    let signed = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap();
    (signed.cert.pem(), signed.signing_key.serialize_pem())
}
