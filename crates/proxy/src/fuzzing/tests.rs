//! The kept inputs are replayed in every test run, with or without a fuzzer at hand.

use super::*;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 20, "{target}: {files} files");
}

#[test]
fn the_kept_requests_hold() {
    replay("http1_request", check_request);
}

#[test]
fn the_kept_responses_hold() {
    replay("http1_response", check_response);
}

#[test]
fn the_kept_bodies_hold() {
    replay("body", check_body);
}

#[test]
fn the_kept_paths_hold() {
    replay("path", check_path);
}

#[test]
fn the_kept_patterns_hold() {
    replay("pattern", check_patterns);
}

#[test]
fn the_kept_requests_of_http2_hold() {
    replay("http2", check_http2);
}

#[test]
fn the_kept_fields_hold() {
    replay("fields", check_fields);
}

/// Writes the tables of the codec as inputs of the fuzzer, into the folder that `WEFT_FUZZ_SEEDS` names.
#[test]
fn seeds() {
    let Some(folder) = std::env::var_os("WEFT_FUZZ_SEEDS") else { return };
    for (target, inputs) in crate::connection::http1::tests::seeds() {
        let folder = std::path::Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("row-{number:04}")), input).unwrap();
        }
    }
}
