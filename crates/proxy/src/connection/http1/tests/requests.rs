//! Request heads: three tables, by what varies. Bytes that no table is about are the same in every row.

use super::*;

/// The rows; see there.
#[path = "../../../../tests/table/requests.rs"]
mod table;

use table::{FIELDS, HTTP10, WHOLE};

/// The rows as they are on the wire.
pub(super) fn bytes() -> Vec<Vec<u8>> {
    let whole = WHOLE.iter().chain(HTTP10).map(|(_, bytes, _)| bytes.to_vec());
    whole.chain(FIELDS.iter().map(|(_, fields, _)| with_fields(fields))).collect()
}

fn with_fields(fields: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: h\r\n", fields, b"\r\n"].concat()
}

pub(super) fn rows() -> usize {
    WHOLE.len() + FIELDS.len() + HTTP10.len()
}

#[test]
fn lines_and_targets() {
    check_rows(WHOLE, |name, bytes| match request(name, bytes, &HeadLimits::EDGE) {
        Err(refusal) => refusal_words(refusal),
        Ok(None) => "more".to_owned(),
        Ok(Some((parsed, seen))) => {
            assert!(bytes[..parsed.head_bytes].ends_with(b"\r\n\r\n"), "{name}");
            target_words(&seen)
        }
    });
}

#[test]
fn fields() {
    check_rows(FIELDS, |name, fields| outcome_words(request(name, &with_fields(fields), &HeadLimits::EDGE)));
}

#[test]
fn http10_and_connect() {
    check_rows(HTTP10, |name, bytes| outcome_words(request(name, bytes, &HeadLimits::EDGE)));
}

fn target_words(seen: &Seen) -> String {
    let mut words = format!("{} {}", seen.method, seen.path);
    if let Some(query) = &seen.query {
        words += &format!("?{query}");
    }
    words += &format!(" @{}", seen.authority);
    match seen.form {
        TargetForm::Origin => {}
        TargetForm::Absolute => words += " absolute",
        TargetForm::Authority => words += " authority",
        TargetForm::Asterisk => words += " asterisk",
    }
    if seen.version == Version::Http10 {
        words += " 1.0";
    }
    words
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Err(refusal) => refusal_words(refusal),
        Ok(None) => "more".to_owned(),
        Ok(Some((parsed, seen))) => {
            let mut words = framing_words(parsed.framing);
            words += if parsed.keep_alive { " keep" } else { " close" };
            words += if parsed.expect_continue { " expect" } else { "" };
            words += match parsed.upgrade {
                Upgrade::None => "",
                Upgrade::WebSocket => " websocket",
                Upgrade::Other => " other",
            };
            for (name, value) in seen.fields {
                words += &format!(" {name}={}", String::from_utf8_lossy(&value));
            }
            words
        }
    }
}

/// The limits: what is exactly at one passes, one byte or field more is refused with the limit's own name.
#[test]
fn limits_are_exact() {
    let limits =
        HeadLimits { line_bytes_max: 40, head_bytes_max: 100, fields_max: 4, underscores_allowed: false };
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes - 14));
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let cases: &[(&str, String, &str)] = &[
        ("line at its limit", line(40), "none keep"),
        ("line beyond its limit", line(41), "414 request_line_too_long"),
        ("line without end", "GET /".to_owned() + &"a".repeat(37), "414 request_line_too_long"),
        ("line that may still end", "GET /".to_owned() + &"a".repeat(36), "more"),
        ("head beyond its limit", head(101), "431 head_too_large"),
        ("head without end", head(101)[..100].to_owned(), "431 head_too_large"),
        ("head that may still end", head(101)[..99].to_owned(), "more"),
        ("fields beyond their limit", fields(5), "431 too_many_fields"),
    ];
    for (name, text, expected) in cases {
        assert_eq!(outcome_words(request(name, text.as_bytes(), &limits)), *expected, "{name}");
    }
    assert!(matches!(request("head at its limit", head(100).as_bytes(), &limits), Ok(Some(_))));
    assert!(matches!(request("fields at their limit", fields(4).as_bytes(), &limits), Ok(Some(_))));
}

/// The edge's own limits, with the numbers that the documents promise.
#[test]
fn the_edge_refuses_what_it_promises_to() {
    let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(8 * 1024));
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(32 * 1024));
    let fields = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(100));
    let parse = |text: &str, limits| {
        parse_request(text.as_bytes(), &mut HeadScan::default(), limits, &mut Head::new()).map(|_| ())
    };
    assert_eq!(parse(&line, &HeadLimits::EDGE), Err(HeadRefusal::RequestLineTooLong));
    assert_eq!(parse(&head, &HeadLimits::EDGE), Err(HeadRefusal::HeadTooLarge));
    assert_eq!(parse(&head, &HeadLimits::MESH), Ok(()));
    assert_eq!(parse(&fields, &HeadLimits::EDGE), Err(HeadRefusal::TooManyFields));
}

/// A request that the edge took with nothing to spare, and to which we add what a hop adds, is taken by the next.
#[test]
fn what_one_of_us_forwards_the_next_takes() {
    let path = "[".repeat(8 * 1024 - 14);
    let text = format!("GET /{path} HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(99));
    let mut head = Head::new();
    let parsed = parse_request(text.as_bytes(), &mut HeadScan::default(), &HeadLimits::EDGE, &mut head);
    assert!(matches!(parsed, Ok(Some(_))), "{parsed:?}");
    for at in 0..20 {
        head.push(format!("weft-{at}").as_bytes(), b"added").unwrap();
    }
    let mut out = Vec::new();
    write_request(&head, &RequestWire { framing: BodyFraming::None, upgrade: false, close: false }, &mut out);
    for (limits, expected) in [(&HeadLimits::HOP, true), (&HeadLimits::EDGE, false)] {
        let parsed = parse_request(&out, &mut HeadScan::default(), limits, &mut head);
        assert_eq!(parsed.is_ok(), expected, "{parsed:?}");
    }
}

#[test]
fn the_mesh_takes_underscores() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nx_y: a\r\n\r\n";
    assert_eq!(outcome_words(request("underscore", bytes, &HeadLimits::MESH)), "none keep x_y=a");
}

#[test]
fn too_many_connection_options_are_refused() {
    let with = |count: usize| {
        let options = vec!["a"; count].join(",");
        outcome_words(request(
            "options",
            format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n\r\n").as_bytes(),
            &HeadLimits::EDGE,
        ))
    };
    assert_eq!(with(32), "none keep");
    assert_eq!(with(33), "400 connection_invalid");
}
