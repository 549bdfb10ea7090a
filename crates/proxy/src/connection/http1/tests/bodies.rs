//! Bodies: chunked coding in every way it can be said wrongly, lengths, and the connection's end.

use super::*;

/// Rows of chunked bodies, everything after the head. The verdict is the data with what was left over, or the
/// fault.
const CHUNKED: &[Row] = &[
    // RFC 9112, 7.1: chunks.
    ("9112-7.1/empty", b"0\r\n\r\n", "''"),
    ("9112-7.1/one", b"5\r\nhello\r\n0\r\n\r\n", "'hello'"),
    ("9112-7.1/two", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "'hello!'"),
    ("9112-7.1/what-follows-stays", b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1", "'a' left 14"),
    ("9112-7.1/data-with-line-ends", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", "'\r\n\r\n'"),
    ("9112-7.1/hexadecimal", b"a\r\n0123456789\r\n0\r\n\r\n", "'0123456789'"),
    ("9112-7.1/hexadecimal-upper-case", b"A\r\n0123456789\r\n0\r\n\r\n", "'0123456789'"),
    ("9112-7.1/leading-zeros", b"0005\r\nhello\r\n000\r\n\r\n", "'hello'"),
    ("9112-7.1/16-digits", b"0000000000000001\r\na\r\n0\r\n\r\n", "'a'"),
    ("9112-7.1/17-digits", b"00000000000000001\r\na\r\n0\r\n\r\n", "fault chunk_size_too_long"),
    ("9112-7.1/overflow", b"10000000000000005\r\nhello\r\n0\r\n\r\n", "fault chunk_size_too_long"),
    ("9112-7.1/largest-waits", b"ffffffffffffffff\r\nhello", "'hello' more"),
    ("9112-7.1/no-size", b"\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/prefix-0x", b"0x5\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/plus", b"+5\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/minus", b"-5\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/minus-zero", b"-0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/underscore", b"1_0\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/letter-g", b"g\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/space-before", b" 5\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/space-after", b"5 \r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/tab-after", b"5\t\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/nul-after", b"5\0\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/quoted", b"\"5\"\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/full-width-digit", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1/size-bare-lf", b"5\nhello\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1/size-bare-cr", b"5\rhello\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1/size-cr-cr-lf", b"5\r\r\nhello\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1/data-bare-lf", b"5\r\nhello\n0\r\n\r\n", "fault chunk_end_missing"),
    ("9112-7.1/data-bare-cr", b"5\r\nhello\r0\r\n\r\n", "fault chunk_end_missing"),
    ("9112-7.1/data-two-skipped-bytes", b"5\r\nhelloXX0\r\n\r\n", "fault chunk_end_missing"),
    ("9112-7.1/data-too-long", b"4\r\nhello\r\n0\r\n\r\n", "fault chunk_end_missing"),
    ("9112-7.1/data-too-short", b"6\r\nhello\r\n0\r\n\r\n", "fault chunk_end_missing"),
    ("9112-7.1/last-bare-lf", b"0\n\r\n", "fault line_end"),
    ("9112-7.1/end-bare-lf", b"0\r\n\n", "fault line_end"),
    ("9112-7.1/end-bare-cr", b"0\r\n\rG", "fault line_end"),
    ("9112-7.1/incomplete-size", b"5", "'' more"),
    ("9112-7.1/incomplete-data", b"5\r\nhel", "'hel' more"),
    ("9112-7.1/incomplete-end", b"0\r\n\r", "'' more"),
    // RFC 9112, 7.1.1: extensions.
    ("9112-7.1.1/extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", "'hello'"),
    ("9112-7.1.1/extension-quoted", b"5;a=\"b;c\"\r\nhello\r\n0;x\r\n\r\n", "'hello'"),
    ("9112-7.1.1/extension-empty", b"5;\r\nhello\r\n0\r\n\r\n", "'hello'"),
    ("9112-7.1.1/extension-without-semicolon", b"5 a=b\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1.1/extension-space-before", b"5 ;a\r\nhello\r\n0\r\n\r\n", "fault chunk_size_invalid"),
    ("9112-7.1.1/extension-bare-lf", b"5;a\nhello\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1.1/extension-bare-lf-smuggles", b"2;\nxx\r\n4c\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1.1/extension-bare-cr", b"5;a\rb\r\nhello\r\n0\r\n\r\n", "fault line_end"),
    ("9112-7.1.1/extension-nul", b"5;\0\r\nhello\r\n0\r\n\r\n", "fault chunk_extension_invalid"),
    // RFC 9112, 7.1.2: trailers.
    ("9112-7.1.2/trailer", b"0\r\nX-Sum: abc\r\n\r\n", "'' x-sum=abc"),
    ("9112-7.1.2/trailer-spaces", b"0\r\nX-Sum: \t abc \r\n\r\n", "'' x-sum=abc"),
    ("9112-7.1.2/two-trailers", b"1\r\na\r\n0\r\nX: a\r\nY: b\r\n\r\nrest", "'a' x=a y=b left 4"),
    (
        "9112-7.1.2/grpc",
        b"0\r\ngrpc-status: 0\r\ngrpc-message: ok\r\n\r\n",
        "'' grpc-status=0 grpc-message=ok",
    ),
    ("9112-7.1.2/bare-lf", b"0\r\nX: a\n\r\n", "fault line_end"),
    ("9112-7.1.2/bare-cr", b"0\r\nX: a\rb\r\n\r\n", "fault line_end"),
    ("9112-7.1.2/folded", b"0\r\nX: a\r\n b\r\n\r\n", "fault trailer_invalid"),
    ("9112-7.1.2/no-colon", b"0\r\nX\r\n\r\n", "fault trailer_invalid"),
    ("9112-7.1.2/space-before-colon", b"0\r\nX : a\r\n\r\n", "fault trailer_invalid"),
    ("9112-7.1.2/nul", b"0\r\nX: \0\r\n\r\n", "fault trailer_invalid"),
    ("9112-7.1.2/request-as-trailer", b"0\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "fault trailer_invalid"),
    ("9110-6.5.1/framing-dropped", b"0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "''"),
    (
        "9110-6.5.1/routing-dropped",
        b"0\r\nHost: evil\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\nX: a\r\n\r\n",
        "'' x=a",
    ),
    (
        "9110-6.5.1/authentication-dropped",
        b"0\r\nAuthorization: a\r\nCookie: a\r\nSet-Cookie: a\r\n\r\n",
        "''",
    ),
    ("9110-6.5.1/identity-dropped", b"0\r\nWeft-Caller: x\r\nWeft-Anything: y\r\n\r\n", "''"),
    ("9110-6.5.1/connection-dropped", b"0\r\nConnection: close\r\nUpgrade: foo\r\nProxy-X: y\r\n\r\n", "''"),
];

/// The rows as they are on the wire.
pub(super) fn bytes() -> impl Iterator<Item = &'static [u8]> {
    CHUNKED.iter().map(|(_, bytes, _)| *bytes)
}

pub(super) fn rows() -> usize {
    CHUNKED.len()
}

/// Everything a decoder made of pieces that end at `cuts`, in the tables' words.
pub(super) fn decode_in_pieces(
    framing: BodyFraming,
    bytes: &[u8],
    cuts: impl Iterator<Item = usize>,
) -> Result<String, BodyFault> {
    let mut decoder = BodyDecoder::new(framing);
    let mut data = Vec::new();
    let mut at = 0;
    for end in cuts.chain([bytes.len()]) {
        loop {
            let (taken, event) = decoder.decode(&bytes[at..end.max(at)])?;
            at += taken;
            match event {
                BodyEvent::Data(piece) => {
                    assert!(!piece.is_empty(), "data is never empty");
                    data.extend_from_slice(piece);
                }
                BodyEvent::More => {
                    assert_eq!(at, end.max(at), "More means that everything was taken");
                    break;
                }
                BodyEvent::End => break,
            }
        }
    }
    let mut words = format!("'{}'", String::from_utf8_lossy(&data));
    if let Some(trailers) = decoder.trailers() {
        for field in trailers.iter() {
            words += &format!(" {}={}", field.name_str(), String::from_utf8_lossy(field.value));
        }
    }
    if !decoder.is_done() {
        assert_eq!(at, bytes.len());
        words += " more";
    }
    if at < bytes.len() {
        words += &format!(" left {}", bytes.len() - at);
    }
    Ok(words)
}

#[test]
fn chunked() {
    check_rows(CHUNKED, |name, bytes| {
        let whole = decode_in_pieces(BodyFraming::Chunked, bytes, std::iter::empty());
        let singly = decode_in_pieces(BodyFraming::Chunked, bytes, 0..bytes.len());
        assert_eq!(whole, singly, "{name}: a byte at a time");
        for cut in 0..bytes.len() {
            let cut_once = decode_in_pieces(BodyFraming::Chunked, bytes, std::iter::once(cut));
            assert_eq!(whole, cut_once, "{name}: cut at {cut}");
        }
        whole.unwrap_or_else(|fault| format!("fault {}", fault.reason()))
    });
}

#[test]
fn lengths_and_the_connections_end() {
    let decode = |framing, bytes: &[u8]| decode_in_pieces(framing, bytes, 0..bytes.len()).unwrap();
    assert_eq!(decode(BodyFraming::Length(5), b"helloGET"), "'hello' left 3");
    assert_eq!(decode(BodyFraming::Length(5), b"hel"), "'hel' more");
    assert_eq!(decode(BodyFraming::Length(0), b"GET"), "'' left 3");
    assert_eq!(decode(BodyFraming::None, b"GET"), "'' left 3");
    assert_eq!(decode(BodyFraming::UntilClose, b"hello"), "'hello' more");

    for (framing, bytes, expected) in [
        (BodyFraming::UntilClose, b"hello".as_slice(), Ok(())),
        (BodyFraming::UntilClose, b"", Ok(())),
        (BodyFraming::None, b"", Ok(())),
        (BodyFraming::Length(5), b"hello", Ok(())),
        (BodyFraming::Length(5), b"hell", Err(BodyFault::Truncated)),
        (BodyFraming::Chunked, b"", Err(BodyFault::Truncated)),
        (BodyFraming::Chunked, b"5\r\nhello\r\n", Err(BodyFault::Truncated)),
        (BodyFraming::Chunked, b"0\r\n", Err(BodyFault::Truncated)),
    ] {
        let mut decoder = BodyDecoder::new(framing);
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[decoder.decode(rest).unwrap().0..];
        }
        assert_eq!(decoder.finish(), expected, "{framing:?} {bytes:?}");
        assert_eq!(decoder.finish(), expected, "and again");
    }
}

#[test]
fn a_fault_is_final() {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    assert_eq!(decoder.decode(b"x"), Err(BodyFault::ChunkSizeInvalid));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(BodyFault::ChunkSizeInvalid));
    assert_eq!(decoder.finish(), Err(BodyFault::ChunkSizeInvalid));
}

#[test]
fn what_surrounds_the_data_is_bounded() {
    let decode = |bytes: &[u8]| decode_in_pieces(BodyFraming::Chunked, bytes, std::iter::empty());
    let one = |bytes: usize| [b"1;", vec![b'x'; bytes].as_slice(), b"\r\na\r\n"].concat();
    assert!(decode(&one(256)).is_ok());
    assert_eq!(decode(&one(257)), Err(BodyFault::ChunkExtensionTooLong));
    assert!(decode(&one(256).repeat(64)).is_ok());
    assert_eq!(decode(&one(256).repeat(65)), Err(BodyFault::ChunkExtensionTooLong));

    let fields = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert!(decode(fields(TRAILER_FIELDS_MAX).as_bytes()).is_ok());
    assert_eq!(decode(fields(TRAILER_FIELDS_MAX + 1).as_bytes()), Err(BodyFault::TrailersTooLarge));
    let dropped = format!("0\r\n{}\r\n", "host: y\r\n".repeat(TRAILER_BYTES_MAX / 9));
    assert_eq!(decode(dropped.as_bytes()), Ok("''".to_owned()), "dropped fields count as bytes");
    let more = format!("0\r\n{}\r\n", "host: y\r\n".repeat(TRAILER_BYTES_MAX / 9 + 1));
    assert_eq!(decode(more.as_bytes()), Err(BodyFault::TrailersTooLarge));
    let endless = [b"0\r\nx: ".as_slice(), &vec![b'y'; TRAILER_BYTES_MAX]].concat();
    assert_eq!(decode(&endless), Err(BodyFault::TrailersTooLarge));
}
