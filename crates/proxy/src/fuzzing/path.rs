//! Paths, authorities, and the patterns that decide about them.

#![expect(clippy::panic, reason = "a finding is a panic")]

use weft_model::pattern::{EndpointPattern, PathPattern};

use crate::head::authority;
use crate::head::path::{canonicalise, is_plain, split_query};
use crate::stage::trie::Trie;

/// Makes a target canonical, twice.
///
/// # Panics
/// If the second time changes it, if something is left in it that two servers read in two ways, or if it means another
/// resource: a finding.
pub fn check_path(data: &[u8]) {
    check_authority(data);
    let Ok(split) = split_query(data) else { return };
    let mut canonical = b"kept".to_vec();
    let verdict = canonicalise(split.path, &mut canonical);
    let Some(path) = canonical.strip_prefix(b"kept") else { panic!("what stood before is gone") };
    if verdict.is_err() {
        assert!(path.is_empty() && !is_plain(split.path));
        return;
    }
    let shown = String::from_utf8_lossy(path);
    assert!(!is_plain(split.path) || path == split.path, "{shown}");
    assert!(path.len() <= 3 * split.path.len(), "{shown}");
    assert!(path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic), "{shown}");
    for bad in ["//", "/./", "/../", "\\", "?", "#", "%2F", "%5C", "%00", "%2E", "/.;", "/..;"] {
        assert!(!shown.contains(bad), "{bad} in {shown}");
    }
    assert!(!shown.ends_with("/.") && !shown.ends_with("/.."), "{shown}");
    let mut again = Vec::new();
    assert!(canonicalise(path, &mut again).is_ok() && again == path, "{shown} is not canonical");
    assert_eq!(resolved(split.path), resolved(path), "{shown} is another resource");
}

/// The resource that a path names, by the plainest reading: decoded whole, then resolved segment by segment.
fn resolved(path: &[u8]) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    for (at, part) in parts.iter().enumerate() {
        match decoded(part).as_slice() {
            b"." => {}
            b".." => {
                segments.pop();
            }
            b"" => {}
            other => segments.push(other.to_vec()),
        }
        // A slash at the end, written or left by a dot segment, names something else than none.
        let is_last = at + 1 == parts.len();
        if is_last && matches!(decoded(part).as_slice(), b"" | b"." | b"..") {
            segments.push(Vec::new());
        }
    }
    segments
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%'
            && let [high, low, after @ ..] = after
            && let Ok(Ok(value)) = std::str::from_utf8(&[*high, *low]).map(|hex| u8::from_str_radix(hex, 16))
        {
            out.push(value);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    out
}

fn check_authority(data: &[u8]) {
    if authority::check(data).is_err() {
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { panic!("an authority is text") };
    let (host, port) = authority::split_port(text);
    assert!(!host.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok()), "{text}");
    assert!(!text.contains([' ', ',', '/', '@', '\\', '?', '#', '%']), "{text}");
    assert!(authority::check(host.as_bytes()).is_ok(), "{text}");
}

/// Lines: two patterns, then paths, each perhaps with a method before it.
///
/// # Panics
/// If the route table and the patterns disagree about what matches, or if one pattern is said to cover another, or not to
/// meet it, and a path shows the contrary: a finding.
pub fn check_patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    let paths: Vec<&str> = lines.take(16).collect();
    if let (Ok(one), Ok(other)) = (first.parse::<PathPattern>(), second.parse::<PathPattern>()) {
        check_path_patterns(&one, &other, &paths);
    }
    let (Ok(one), Ok(other)) = (first.parse::<EndpointPattern>(), second.parse::<EndpointPattern>()) else {
        return;
    };
    assert_eq!(one.to_string().parse().as_ref(), Ok(&one), "{first:?}");
    assert_eq!(one.intersects(&other), other.intersects(&one), "{one} and {other}");
    for line in paths {
        let (method, path) = line.split_once(' ').unwrap_or(("POST", line));
        if !is_plain(path.as_bytes()) {
            continue;
        }
        let (by_one, by_other) = (one.matches(method, path), other.matches(method, path));
        assert!(!(by_one && by_other) || one.intersects(&other), "{one} and {other} meet at {line}");
        assert!(!by_other || by_one || !one.covers(&other), "{one} does not cover {other} at {line}");
    }
}

fn check_path_patterns(one: &PathPattern, other: &PathPattern, paths: &[&str]) {
    assert_eq!(one.to_string().parse().as_ref(), Ok(one));
    assert_eq!(one.intersects(other), other.intersects(one), "{one} and {other}");
    assert!(one.covers(one) && one.intersects(one), "{one}");
    let mut trie = Trie::default();
    trie.insert(one, 1);
    trie.insert(other, 2);
    for path in paths.iter().filter(|path| is_plain(path.as_bytes())) {
        let expected = [(one, 1), (other, 2)].map(|(pattern, value)| pattern.matches(path).then_some(value));
        let expected: Vec<u32> = expected.into_iter().flatten().collect();
        let mut found = Vec::new();
        trie.visit(path, &mut |value| {
            found.push(value);
            false
        });
        found.sort_unstable();
        assert_eq!(found, expected, "{one} and {other} at {path}");
        assert!(expected.len() < 2 || one.intersects(other), "{one} and {other} meet at {path}");
        assert!(expected != [2] || !one.covers(other), "{one} does not cover {other} at {path}");
    }
}
