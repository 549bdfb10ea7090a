//! Tests of the head: canonical paths by table, fields by operation, and memory that is kept.

use weft_model::explain::Question;
use weft_model::pattern::PathPattern;

use super::*;

/// Raw path, canonical path; or raw path, refusal.
const PATHS: &[(&str, Result<&str, PathRefusal>)] = &[
    ("/", Ok("/")),
    ("/a", Ok("/a")),
    ("/a/", Ok("/a/")),
    ("/a/b.c/d-e_f~g", Ok("/a/b.c/d-e_f~g")),
    ("/pkg.Service/Method", Ok("/pkg.Service/Method")),
    ("/a:b@c!$&'()*+,;=", Ok("/a:b@c!$&'()*+,;=")),
    ("/.well-known/x", Ok("/.well-known/x")),
    ("/a/...", Ok("/a/...")),
    ("/..a/.b./c..", Ok("/..a/.b./c..")),
    // RFC 3986, 6.2.2.3: dot segments.
    ("/.", Ok("/")),
    ("/./", Ok("/")),
    ("/a/.", Ok("/a/")),
    ("/a/./b", Ok("/a/b")),
    ("/a/..", Ok("/")),
    ("/a/../", Ok("/")),
    ("/a/../b", Ok("/b")),
    ("/a/b/..", Ok("/a/")),
    ("/a/b/../../c", Ok("/c")),
    ("/a/b/c/./../../g", Ok("/a/g")),
    ("/..", Err(PathRefusal::AboveRoot)),
    ("/../", Err(PathRefusal::AboveRoot)),
    ("/../a", Err(PathRefusal::AboveRoot)),
    ("/a/../..", Err(PathRefusal::AboveRoot)),
    ("/./../a", Err(PathRefusal::AboveRoot)),
    ("//../a", Err(PathRefusal::AboveRoot)),
    ("/%2e%2e/a", Err(PathRefusal::AboveRoot)),
    ("/a/%2e%2e/b", Ok("/b")),
    ("/a/.%2E/b", Ok("/b")),
    ("/a/%2e/b", Ok("/a/b")),
    ("/a/%252e%252e/b", Ok("/a/%252e%252e/b")),
    // Slashes.
    ("//", Ok("/")),
    ("///a///b//", Ok("/a/b/")),
    ("/a//../b", Ok("/b")),
    ("/a%2fb", Err(PathRefusal::EncodedSlash)),
    ("/a%2Fb", Err(PathRefusal::EncodedSlash)),
    ("/a\\b", Err(PathRefusal::Backslash)),
    ("/a%5cb", Err(PathRefusal::Backslash)),
    ("/a%5C..%5Cb", Err(PathRefusal::Backslash)),
    // RFC 3986, 6.2.2.1 and 6.2.2.2: escapes.
    ("/%61%5A%30%7e%2D%2e%5f", Ok("/aZ0~-._")),
    ("/%c3%a9", Ok("/%C3%A9")),
    ("/a%20b", Ok("/a%20b")),
    ("/%3b%3f%23", Ok("/%3B%3F%23")),
    ("/%0d%0a", Ok("/%0D%0A")),
    ("/%25", Ok("/%25")),
    ("/[a]|^\"<>{}`", Ok("/%5Ba%5D%7C%5E%22%3C%3E%7B%7D%60")),
    ("/%", Err(PathRefusal::PercentInvalid)),
    ("/%4", Err(PathRefusal::PercentInvalid)),
    ("/%4/1", Err(PathRefusal::PercentInvalid)),
    ("/%zz", Err(PathRefusal::PercentInvalid)),
    ("/%+1", Err(PathRefusal::PercentInvalid)),
    ("/%u0041", Err(PathRefusal::PercentInvalid)),
    ("/a%00", Err(PathRefusal::Nul)),
    ("/a\0", Err(PathRefusal::RawByte)),
    ("/a\nb", Err(PathRefusal::RawByte)),
    ("/a b", Err(PathRefusal::RawByte)),
    ("/a#b", Err(PathRefusal::RawByte)),
    ("/a\u{7f}", Err(PathRefusal::RawByte)),
    ("/\u{e9}", Err(PathRefusal::RawByte)),
    // Parameters on dot segments.
    ("/..;/a", Err(PathRefusal::DotSegmentParameter)),
    ("/a/.;x=y/b", Err(PathRefusal::DotSegmentParameter)),
    ("/a/%2e.;x", Err(PathRefusal::DotSegmentParameter)),
    ("/a;x/b", Ok("/a;x/b")),
    // What is no path.
    ("", Err(PathRefusal::NotAbsolute)),
    ("a", Err(PathRefusal::NotAbsolute)),
    ("../a", Err(PathRefusal::NotAbsolute)),
];

#[test]
fn paths() {
    for (raw, expected) in PATHS {
        let mut out = b"before".to_vec();
        let got = path::canonicalise(raw.as_bytes(), &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        match expected {
            Ok(canonical) => {
                assert_eq!((got, text), (Ok(()), format!("before{canonical}").as_str()), "{raw:?}");
            }
            Err(refusal) => assert_eq!((got, text), (Err(*refusal), "before"), "{raw:?}"),
        }
    }
}

/// `weft explain` asks about the path that the gateway would see, or says that it would refuse it.
#[test]
fn a_question_has_the_path_of_its_request() {
    let wildcard = |part: &str| part.starts_with(['{', '*']);
    for (raw, expected) in PATHS.iter().filter(|(raw, _)| raw.starts_with('/') && !raw.contains('?')) {
        let asked = Question::read(&format!("GET {raw}"), &[]);
        match (raw.split('/').any(wildcard), expected) {
            (false, Ok(canonical)) => assert_eq!(asked.unwrap().path, *canonical, "{raw:?}"),
            _ => assert!(asked.is_err(), "{raw:?}: {asked:?}"),
        }
    }
}

/// A pattern matches the path of a request that is spelt as the pattern is; where the gateway refuses or resolves the
/// request's path, it is no pattern. What a request may not hold as it is, a pattern may (`/é`).
#[test]
fn a_pattern_means_the_path_of_its_spelling() {
    let mut matched = 0;
    for (raw, expected) in PATHS {
        let resolved = raw.contains("//")
            || expected.is_ok_and(|path| path.matches('/').count() != raw.matches('/').count());
        match (raw.parse::<PathPattern>(), expected) {
            (Ok(pattern), Ok(canonical)) => {
                assert!(pattern.matches(canonical) && !resolved, "{raw:?}");
                assert_eq!(pattern.to_string(), *canonical, "{raw:?}");
                matched += 1;
            }
            (Ok(_), Err(refusal)) => {
                assert_eq!((*refusal, raw.is_ascii()), (PathRefusal::RawByte, false), "{raw:?}");
            }
            (Err(refused), Ok(_)) => {
                // What patterns use themselves stands in no literal.
                let dots = raw.split('/').any(|part| matches!(part.replace("%2e", ".").as_str(), "." | ".."));
                assert!(resolved || dots || raw.contains(['{', '*']), "{raw:?}: {refused}");
            }
            (Err(_), Err(_)) => {}
        }
    }
    assert!(matched > 15, "{matched}");
}

/// Canonical is a fixed point: making it canonical again changes nothing, and the quick look never disagrees.
#[test]
fn a_canonical_path_stays_as_it_is() {
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let pieces = ["/", "/", ".", "..", "a", "%2e", "%41", "%2B", ";", "%", "\\", "|", "%c3%A9", "?", "é"];
        let raw: String = (0..rng.usize(0..9)).map(|_| *rng.choice(&pieces).unwrap()).collect();
        let raw = format!("/{raw}");
        let mut once = Vec::new();
        if path::canonicalise(raw.as_bytes(), &mut once).is_err() {
            assert!(!path::is_plain(raw.as_bytes()), "seed {seed}: {raw}");
            continue;
        }
        let mut twice = Vec::new();
        path::canonicalise(&once, &mut twice)
            .unwrap_or_else(|refusal| panic!("seed {seed}: {raw}: {refusal}"));
        assert_eq!(once, twice, "seed {seed}: {raw}");
        assert!(once.starts_with(b"/") && !once.windows(2).any(|pair| pair == b"//"), "seed {seed}: {raw}");
        if path::is_plain(raw.as_bytes()) {
            assert_eq!(once, raw.as_bytes(), "seed {seed}: {raw}");
        }
    }
}

#[test]
fn every_known_name_is_found_in_any_case() {
    let mut names = 0;
    // Names are found through themselves: a name that hides another in the table would come back as the other.
    for (id, name) in (1_u8..).zip(Known::all()) {
        assert_eq!(Known::from_bytes(name.as_str().as_bytes()), name);
        assert_eq!(Known::from_bytes(name.as_str().to_ascii_uppercase().as_bytes()), name);
        assert_eq!(name as u8, id);
        names += 1;
    }
    assert!(names > 90);
    // Any one byte changed, the case aside, makes another name: also where the change is the case's own bit.
    for name in Known::all() {
        let text = name.as_str().as_bytes();
        for at in 0..text.len() {
            for byte in 0..=255_u8 {
                let mut changed = text.to_vec();
                changed[at] = byte;
                let expected = changed.eq_ignore_ascii_case(text);
                assert_eq!(
                    Known::from_bytes(&changed) == name,
                    expected,
                    "{:?}",
                    changed.escape_ascii().to_string()
                );
            }
        }
    }
    for other in ["", "x", "hosts", "hos", "content-lengt", "content-length2", "content_length", "h\0st"] {
        assert_eq!(Known::from_bytes(other.as_bytes()), Known::Other, "{other}");
    }
}

fn head() -> Head {
    let mut head = Head::new();
    head.start_request(b"GET", Version::Http11).unwrap();
    head
}

fn names(head: &Head) -> Vec<&str> {
    head.iter().map(|field| field.name_str()).collect()
}

#[test]
fn fields_are_found_kept_in_order_and_removed() {
    let mut head = head();
    head.push(b"X-A", b" 1 ").unwrap();
    head.push(b"Cookie", b"a").unwrap();
    head.push(b"x-a", b"2").unwrap();
    head.push(b"COOKIE", b"b").unwrap();
    head.push(b"x-b", b"").unwrap();
    assert_eq!(names(&head), ["x-a", "cookie", "x-a", "cookie", "x-b"]);
    assert_eq!(head.get(Known::Cookie), Some(b"a".as_slice()));
    assert_eq!(head.get_str(Known::Cookie), Some("a"));
    assert_eq!(head.get_all(Known::Cookie).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(head.get_name("X-a"), Some(b"1".as_slice()));
    assert_eq!(head.get_name("cookie"), Some(b"a".as_slice()));
    assert_eq!(head.get_all_name("x-A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.get_name("x-b"), Some(b"".as_slice()));
    assert_eq!((head.get(Known::Te), head.get_name("x-c")), (None, None));

    head.set(b"X-A", b"3").unwrap();
    head.set_known(Known::Cookie, b"c").unwrap();
    assert_eq!(names(&head), ["x-b", "x-a", "cookie"]);
    assert_eq!(head.get_name("x-a"), Some(b"3".as_slice()));
    assert_eq!(head.get(Known::Cookie), Some(b"c".as_slice()));
    assert!(head.set(b"x-a", b"\n").is_err());
    assert_eq!(head.get_name("x-a"), Some(b"3".as_slice()), "a refused value leaves the old one");

    assert!(head.remove(Known::Cookie) && !head.remove(Known::Cookie) && !head.has(Known::Cookie));
    assert!(head.remove_name(b"X-B") && !head.remove_name(b"x-b"));
    assert!(head.remove_prefix(b"x-") && head.is_empty());
}

#[test]
fn removing_by_condition_forgets_known_names_that_are_gone() {
    let mut head = head();
    head.push(b"weft-caller", b"a").unwrap();
    head.push(b"weft-thing", b"b").unwrap();
    head.push(b"te", b"trailers").unwrap();
    assert!(head.remove_prefix(b"weft-"));
    assert!(!head.has(Known::WeftCaller) && head.has(Known::Te));
    assert_eq!(names(&head), ["te"]);
}

#[test]
fn of_a_request_host_is_the_authority() {
    let mut head = head();
    assert_eq!((head.get(Known::Host), head.has(Known::Host)), (None, false));
    head.push(b"Host", b"Shop:80").unwrap();
    assert_eq!((head.authority(), head.host()), ("shop:80", "shop"));
    assert_eq!(head.get_name("host"), Some(b"shop:80".as_slice()));
    assert_eq!(head.get_all_name("host").count(), 1);
    assert!(head.is_empty() && head.has(Known::Host));
    assert_eq!(head.push(b"host", b"SHOP:80"), Ok(()));
    assert_eq!(head.push(b"host", b"other"), Err(HeadError::AuthorityMismatch));
    head.set(b"host", b"[::1]:7").unwrap();
    assert_eq!((head.authority(), head.host()), ("[::1]:7", "[::1]"));
    head.start_response(200, Version::Http11);
    head.push(b"host", b"anything at all").unwrap();
    assert_eq!(names(&head), ["host"]);
}

#[test]
fn targets_are_set_and_rewritten() {
    let mut head = head();
    assert_eq!((head.path(), head.query()), ("/", None));
    head.set_target(b"/a/./b?x=/../y").unwrap();
    assert_eq!((head.path(), head.query()), ("/a/b", Some("x=/../y")));
    head.set_path(b"/c//d").unwrap();
    assert_eq!((head.path(), head.query()), ("/c/d", Some("x=/../y")));
    assert_eq!(head.set_path(b"/c?d"), Err(HeadError::Path(PathRefusal::RawByte)));
    assert_eq!(head.path(), "/c/d", "a refused path leaves the old one");
    head.set_target(b"*").unwrap();
    assert_eq!((head.target_form(), head.path(), head.query()), (TargetForm::Asterisk, "*", None));
    head.set_target(b"/").unwrap();
    assert_eq!(head.target_form(), TargetForm::Origin);
}

#[test]
fn methods_have_their_properties() {
    for (text, method, safe, idempotent) in [
        ("GET", Method::Get, true, true),
        ("HEAD", Method::Head, true, true),
        ("OPTIONS", Method::Options, true, true),
        ("TRACE", Method::Trace, true, true),
        ("QUERY", Method::Query, true, true),
        ("PUT", Method::Put, false, true),
        ("DELETE", Method::Delete, false, true),
        ("POST", Method::Post, false, false),
        ("PATCH", Method::Patch, false, false),
        ("CONNECT", Method::Connect, false, false),
        ("get", Method::Other, false, false),
        ("PURGE", Method::Other, false, false),
    ] {
        let mut head = head();
        head.set_method(text.as_bytes()).unwrap();
        assert_eq!((head.method(), head.method_str()), (method, text));
        assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{text}");
    }
    let mut head = head();
    for refused in ["A B", "", "A\r\n"] {
        assert_eq!(head.set_method(refused.as_bytes()), Err(HeadError::MethodInvalid));
        assert_eq!(head.method_str(), "GET", "a refused method leaves the old one");
    }
}

#[test]
fn what_a_head_holds_is_bounded() {
    let mut head = head();
    for _ in 0..HEAD_FIELDS_MAX {
        head.push(b"x", b"y").unwrap();
    }
    assert_eq!(head.push(b"x", b"y"), Err(HeadError::TooManyFields));
    assert_eq!(head.push_known(Known::Te, b"y"), Err(HeadError::TooManyFields));
    head.clear();
    assert_eq!(head.push(b"x", &vec![b'y'; HEAD_BYTES_MAX]), Err(HeadError::TooLarge));
    assert!(head.is_empty());
}

#[test]
fn memory_is_kept_when_it_is_cleared() {
    let mut head = head();
    head.push(b"x", &[b'y'; 1000]).unwrap();
    let mut other = Head::new();
    other.copy_from(&head);
    assert_eq!(other.get_name("x"), Some([b'y'; 1000].as_slice()));
    let before = (head.bytes.capacity(), head.fields.capacity());
    head.clear();
    assert_eq!((head.bytes.capacity(), head.fields.capacity()), before);
}

#[test]
fn debug_shows_no_value() {
    let mut head = head();
    head.push(b"authorization", b"secret-1").unwrap();
    head.push(b"x-key", b"secret-2").unwrap();
    let shown = format!("{head:?}");
    assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
}
