//! Seeded properties: the seed of a failing round is in the message, and `round(seed)` repeats it.

use super::bodies::decode_in_pieces;
use super::*;

const ROUNDS: u64 = 3_000;

/// Pieces that heads are made of, good and bad, so that random heads get past the first line.
const PIECES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"GET http://h/ HTTP/1.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade, x\r\n",
    b"Upgrade: websocket\r\n",
    b"X: y\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\xff",
    b"%",
    b"..",
    b"//",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n",
    b"0\r\n",
    b"5\r\nhello\r\n",
    b"5;x\r\n",
    b"\r\n\r\n",
    b"Keep-Alive: timeout=5\r\n",
];

fn random_pieces(rng: &mut fastrand::Rng, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(0..count) {
        bytes.extend_from_slice(rng.choice(PIECES).unwrap());
        if rng.u8(..) < 8 && !bytes.is_empty() {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
    }
    bytes
}

/// A request that is valid by construction, in a spelling of its own.
fn random_request(rng: &mut fastrand::Rng) -> Vec<u8> {
    let method = *rng.choice(&["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "PURGE"]).unwrap();
    let path =
        *rng.choice(&["/", "/a", "/a/../b", "/%7e", "/%2b", "//x", "/a?b=c", "/a/?%00", "/[x]|"]).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let host = *rng.choice(&["h", "H.Example", "h:80", "[::1]:8080"]).unwrap();
    let mut fields = vec![format!("{}: {host}", if rng.bool() { "Host" } else { "HOST" })];
    for at in 0..rng.usize(0..12) {
        let name = *rng.choice(&["X-A", "accept", "Cookie", "USER-AGENT", "x-~!", "Set-Cookie"]).unwrap();
        let space = *rng.choice(&["", " ", "\t  "]).unwrap();
        fields.push(format!("{name}:{space}value {at}{space}"));
    }
    match rng.u8(..3) {
        0 => fields.push(format!("Content-Length: {}", rng.u32(..))),
        1 => fields.push("Transfer-Encoding: chunked".to_owned()),
        _ => {}
    }
    rng.shuffle(&mut fields);
    for field in fields {
        text += &field;
        text += "\r\n";
    }
    text += "\r\n";
    text.into_bytes()
}

fn random_cuts(rng: &mut fastrand::Rng, len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..rng.usize(0..6)).map(|_| rng.usize(0..=len)).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn cuts_never_change_a_verdict() {
    for seed in 0..ROUNDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let bytes = random_pieces(&mut rng, 14);
        let cuts = random_cuts(&mut rng, bytes.len());
        let whole = request_in_pieces(&bytes, std::iter::empty(), &HeadLimits::EDGE);
        let cut = request_in_pieces(&bytes, cuts.iter().copied(), &HeadLimits::EDGE);
        assert_eq!(whole, cut, "seed {seed}: {:?} cut at {cuts:?}", String::from_utf8_lossy(&bytes));
        let whole = decode_in_pieces(BodyFraming::Chunked, &bytes, std::iter::empty());
        let cut = decode_in_pieces(BodyFraming::Chunked, &bytes, cuts.iter().copied());
        assert_eq!(whole, cut, "seed {seed}: body {:?} cut at {cuts:?}", String::from_utf8_lossy(&bytes));
    }
}

/// What is written parses, and parses to what was written; writing that again gives the same bytes.
#[test]
fn parsing_what_was_written_is_identity() {
    for seed in 0..ROUNDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let bytes = random_request(&mut rng);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut head = Head::new();
        let parsed = parse_request(&bytes, &mut HeadScan::default(), &HeadLimits::EDGE, &mut head);
        let parsed = parsed.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}: {text}")).unwrap();
        assert_eq!(parsed.head_bytes, bytes.len(), "seed {seed}");

        let wire = RequestWire { framing: parsed.framing, upgrade: false, close: false };
        let (mut once, mut again, mut second) = (Vec::new(), Vec::new(), Head::new());
        write_request(&head, &wire, &mut once);
        let reparsed = parse_request(&once, &mut HeadScan::default(), &HeadLimits::EDGE, &mut second);
        let reparsed = reparsed.unwrap().unwrap();
        assert_eq!(ParsedRequest { head_bytes: 0, ..reparsed }, ParsedRequest { head_bytes: 0, ..parsed });
        write_request(&second, &wire, &mut again);
        assert_eq!(once, again, "seed {seed}: {text}");

        // Cookies are joined in writing, so they are compared joined.
        let fields = |head: &Head| {
            let seen = see(head);
            let (cookies, mut others): (Vec<_>, Vec<_>) =
                seen.fields.into_iter().partition(|(name, _)| name == "cookie");
            others.sort();
            let values: Vec<_> = cookies.into_iter().map(|(_, value)| value).collect();
            (others, values.join(b"; ".as_slice()))
        };
        assert_eq!(fields(&head), fields(&second), "seed {seed}: {text}");
        assert_eq!(
            (head.method_str(), head.path(), head.query(), head.authority()),
            (second.method_str(), second.path(), second.query(), second.authority()),
            "seed {seed}"
        );
    }
}

#[test]
fn decoding_what_was_chunked_is_identity() {
    for seed in 0..ROUNDS / 10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let data: Vec<u8> = (0..rng.usize(0..5_000)).map(|_| rng.u8(b'a'..=b'z')).collect();
        let (mut out, mut rest) = (Vec::new(), data.as_slice());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rng.usize(1..=rest.len().min(700)));
            write_chunk(piece, &mut out);
            rest = tail;
        }
        write_last_chunk(None, &mut out);
        out.extend_from_slice(b"next");
        let cuts = random_cuts(&mut rng, out.len());
        let expected = format!("'{}' left 4", String::from_utf8(data).unwrap());
        let got = decode_in_pieces(BodyFraming::Chunked, &out, cuts.iter().copied());
        assert_eq!(got.as_ref(), Ok(&expected), "seed {seed}");
    }
}

/// Random bytes never panic anything, and a body never takes more than it was given.
#[test]
fn random_bytes_panic_nothing() {
    for seed in 0..ROUNDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise: Vec<u8> = if rng.bool() {
            (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect()
        } else {
            random_pieces(&mut rng, 12)
        };
        let mut head = Head::new();
        let _ = parse_request(&noise, &mut HeadScan::default(), &HeadLimits::EDGE, &mut head);
        let to =
            ResponseTo { method: *rng.choice(&[Method::Get, Method::Head]).unwrap(), upgrade: rng.bool() };
        let _ = parse_response(&noise, &mut HeadScan::default(), &HeadLimits::MESH, to, &mut head);
        for framing in [BodyFraming::Chunked, BodyFraming::Length(rng.u64(0..300)), BodyFraming::UntilClose] {
            let mut decoder = BodyDecoder::new(framing);
            let mut at = 0;
            while let Ok((taken, event)) = decoder.decode(&noise[at..]) {
                at += taken;
                if !matches!(event, BodyEvent::Data(_)) {
                    break;
                }
            }
            assert!(at <= noise.len(), "seed {seed}");
        }
    }
}

/// Whatever is accepted is strict: an independent, slow reading of the grammar agrees with every accepted head.
#[test]
fn what_is_accepted_obeys_the_grammar() {
    let mut accepted = 0;
    for seed in 0..ROUNDS * 4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = random_request(&mut rng);
        for _ in 0..rng.usize(0..3) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..3) {
                0 => bytes[at] = *rng.choice(b"\r\n \t:\0,;a%/.\x7f\xff").unwrap(),
                1 => bytes.insert(at, *rng.choice(b"\r\n \t:\0,;a%/.\x7f\xff").unwrap()),
                _ => drop(bytes.remove(at)),
            }
        }
        let mut head = Head::new();
        let parsed = parse_request(&bytes, &mut HeadScan::default(), &HeadLimits::EDGE, &mut head);
        let Ok(Some(parsed)) = parsed else { continue };
        accepted += 1;
        let text = &bytes[..parsed.head_bytes];
        let shown = String::from_utf8_lossy(text);
        let start = text.iter().position(|byte| !b"\r\n".contains(byte)).unwrap();
        let body = text[start..].strip_suffix(b"\r\n\r\n").expect("ends with an empty line");
        for (at, line) in split_crlf(body).into_iter().enumerate() {
            assert!(
                !line.iter().any(|byte| *byte < 0x20 && *byte != b'\t' || *byte == 0x7f),
                "seed {seed}: {shown}"
            );
            if at == 0 {
                assert_eq!(line.split(|byte| *byte == b' ').count(), 3, "seed {seed}: {shown}");
            } else {
                let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
                assert!(
                    colon > 0 && line[..colon].iter().all(|byte| byte.is_ascii_graphic()),
                    "seed {seed}: {shown}"
                );
            }
        }
        assert!(head.path().starts_with('/') && !head.path().contains("//"), "seed {seed}: {shown}");
    }
    assert!(accepted > ROUNDS, "only {accepted} heads were accepted: the property shows nothing");
}

fn split_crlf(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

/// Feeding a head a byte at a time looks at each byte once: the work grows as the head does, not as its square.
/// Counted, not timed: the scan's own place never goes back and every call begins there.
#[test]
fn a_slow_head_is_looked_at_once() {
    let bytes = [b"GET / HTTP/1.1\r\nHost: h\r\n".as_slice(), &b"X: y\r\n".repeat(90), b"\r\n"].concat();
    let mut scan = HeadScan::default();
    let mut head = Head::new();
    let mut place = 0;
    for end in 0..bytes.len() {
        let parsed = parse_request(&bytes[..end], &mut scan, &HeadLimits::EDGE, &mut head);
        assert_eq!(parsed, Ok(None));
        assert!(scan.looked_at() >= place && scan.looked_at() == end, "at {end}: {}", scan.looked_at());
        place = scan.looked_at();
    }
    let parsed = parse_request(&bytes, &mut scan, &HeadLimits::EDGE, &mut head).unwrap().unwrap();
    assert_eq!(parsed.head_bytes, bytes.len());
    assert_eq!(scan.looked_at(), 0, "ready for the next head");
}
