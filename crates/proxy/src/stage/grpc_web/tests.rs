//! On bytes: every cut of every text, and what a browser gets.

use super::*;
use crate::head::Version;
use weft_stdx::rng::Rng;

fn request(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.start_request(b"POST", Version::Http11).unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn only_the_registered_types_are_grpc_web() {
    let of = |kind: &str| {
        media(kind.as_bytes()).map(|(text, format)| (text, String::from_utf8_lossy(format).into_owned()))
    };
    for (kind, text, format) in [
        ("application/grpc-web", false, ""),
        ("application/grpc-web+proto", false, "+proto"),
        ("Application/gRPC-Web-Text+thrift; charset=utf-8", true, "+thrift"),
        ("application/grpc-web-text", true, ""),
    ] {
        assert_eq!(of(kind), Some((text, format.to_owned())), "{kind}");
    }
    for kind in [
        "",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-webby",
        "application/grpc-web+",
        "application/grpc-web-textual",
        "application/grpc-we",
        "text/plain",
    ] {
        assert_eq!(of(kind), None, "{kind}");
    }
}

#[test]
fn a_caller_gets_the_spelling_it_asks_for_or_else_its_own() {
    let of = |kind: &str, accept: &[&str]| {
        let mut head = request(&[("content-type", kind)]);
        accept.iter().for_each(|list| head.push(b"accept", list.as_bytes()).unwrap());
        Spelling::of(&head).map(|spelling| (spelling.request_text, spelling.answer_text))
    };
    assert_eq!(of("application/grpc-web", &[]), Some((false, false)));
    assert_eq!(of("application/grpc-web-text", &["*/*"]), Some((true, true)));
    assert_eq!(
        of("application/grpc-web", &["text/html", "*/*, application/grpc-web-text"]),
        Some((false, true))
    );
    assert_eq!(of("application/grpc-web-text", &["application/grpc-web+proto"]), Some((true, false)));
    assert_eq!(of("application/grpc", &["application/grpc-web"]), None);
}

#[test]
fn a_request_becomes_what_a_grpc_client_sends() {
    let mut head = request(&[
        ("content-type", "application/grpc-web-text+proto"),
        ("accept", "application/grpc-web-text"),
        ("x-grpc-web", "1"),
        ("x-user-agent", "grpc-web-javascript/0.1"),
    ]);
    arrive(&mut head).unwrap();
    assert_eq!(head.get_str(Known::ContentType), Some("application/grpc+proto"));
    assert_eq!(head.get_str(Known::Te), Some("trailers"));
    assert!(!head.has(Known::Accept) && !head.has(Known::XGrpcWeb) && head.has(Known::XUserAgent));
    assert!(is_grpc(&head));
}

#[test]
fn only_a_grpc_answer_is_translated() {
    let of = |kind: &str, text| {
        let mut head = Head::new();
        head.start_response(200, Version::Http2);
        head.push_known(Known::ContentType, kind.as_bytes()).unwrap();
        answer_kind(&head, text).map(|kind| String::from_utf8(kind).unwrap())
    };
    assert_eq!(of("application/grpc", false).as_deref(), Some("application/grpc-web+proto"));
    assert_eq!(of("application/grpc+json;x=y", true).as_deref(), Some("application/grpc-web-text+json"));
    assert_eq!(of("text/html", true), None);
    assert_eq!(of("application/problem+json", false), None);
}

/// The bytes that the parts spell.
fn decoded(parts: &[&[u8]]) -> Result<Vec<u8>, BodyError> {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for part in parts {
        decoder.push(part, &mut out)?;
    }
    decoder.finish().map(|()| out)
}

#[test]
fn text_is_read_wherever_it_is_cut_and_padded() {
    // Three runs, each padded on its own: "a", "bc", "def", then "g".
    let text = b"YQ==YmM=ZGVmZw==";
    for one in 0..=text.len() {
        for two in one..=text.len() {
            let parts = [&text[..one], &text[one..two], &text[two..]];
            assert_eq!(decoded(&parts), Ok(b"abcdefg".to_vec()), "cut at {one} and {two}");
        }
    }
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(decoded(&bytes), Ok(b"abcdefg".to_vec()));
}

#[test]
fn what_is_no_base64_is_refused_wherever_it_is_cut() {
    for text in
        ["Y", "YQ", "YQ=", "YQ==Y", "Y===", "=YQ=", "YQ=Q", "YR==", "Y Q=", "YQ==\n", "Y-_a", "\u{fc}YYY"]
    {
        let text = text.as_bytes();
        for cut in 0..=text.len() {
            assert_eq!(
                decoded(&[&text[..cut], &text[cut..]]),
                Err(BodyError::NotBase64),
                "{text:?} at {cut}"
            );
        }
    }
    assert_eq!(decoded(&[]), Ok(Vec::new()));
}

#[test]
fn any_bytes_in_any_parts_with_any_flushes_come_back() {
    for seed in 0..500 {
        let mut rng = Rng::seeded(seed);
        let bytes: Vec<u8> = (0..rng.below(200)).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        let (mut spell, mut text, mut rest) =
            (Spell { base64: Some(Encoder::default()) }, Vec::new(), &bytes[..]);
        let mut flushes = 0;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(1 + rng.below(rest.len()));
            spell.data(part, &mut text);
            if rng.below(3) == 0 {
                spell.flush(&mut text);
                flushes += 1;
                let told = bytes.len() - after.len();
                assert_eq!(
                    decoded(&[&text]).as_deref(),
                    Ok(&bytes[..told]),
                    "seed {seed}: readable after a flush"
                );
            }
            rest = after;
        }
        spell.end(None, &mut text);
        let cut = rng.below(text.len() + 1);
        assert_eq!(decoded(&[&text[..cut], &text[cut..]]).as_deref(), Ok(&bytes[..]), "seed {seed}");
        let padded = memchr::memchr_iter(b'=', &text).count();
        assert!(padded <= 2 * (flushes + 1), "seed {seed}: padding only where something was flushed");
    }
}

fn trailers(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.start_trailers();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn the_trailers_are_the_last_frame() {
    let last = trailers(&[
        ("Grpc-Status", "0"),
        ("grpc-message", ""),
        ("connection", "close"),
        ("x-cost-bin", "AQI"),
    ]);
    let message = [0, 0, 0, 0, 2, 8, 1];
    let lines = b"grpc-status: 0\r\ngrpc-message: \r\nx-cost-bin: AQI\r\n";
    let length = u8::try_from(lines.len()).unwrap();
    let expected = [&message[..], &[0x80, 0, 0, 0, length], lines].concat();

    let (mut bytes, mut plain) = (Vec::new(), Spell { base64: None });
    plain.data(&message, &mut bytes);
    plain.end(Some(&last), &mut bytes);
    assert_eq!(bytes, expected);

    let (mut text, mut spelled) = (Vec::new(), Spell { base64: Some(Encoder::default()) });
    spelled.data(&message, &mut text);
    spelled.end(Some(&last), &mut text);
    assert_eq!(text, STANDARD.encode(&expected).into_bytes());
}

#[test]
fn without_trailers_there_is_no_frame() {
    assert_eq!(trailers_frame(&trailers(&[])), None);
    assert_eq!(trailers_frame(&trailers(&[("connection", "close")])), None);
}
