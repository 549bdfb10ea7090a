//! Trace context (W3C Trace Context, level 1) and the spans that are handed to the exporter.

use std::time::SystemTime;

use weft_stdx::rng::Rng;

use crate::head::{Head, HeadError, Known};

/// Where an exchange stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never zero.
    pub trace_id: [u8; 16],
    /// The span of this exchange; never zero.
    pub span_id: [u8; 8],
    /// The caller's span; zero for the first of a trace.
    pub parent_id: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Continues the trace that the request came with, or begins one, of which `sample_bp` in 10000 are recorded.
    pub(crate) fn of(head: &Head, sample_bp: u32, rng: &mut Rng) -> Self {
        let span_id = nonzero(rng).to_be_bytes();
        match head.get(Known::Traceparent).and_then(parse) {
            Some((trace_id, parent_id, sampled)) => TraceContext { trace_id, span_id, parent_id, sampled },
            None => {
                let mut trace_id = [0; 16];
                trace_id[..8].copy_from_slice(&nonzero(rng).to_be_bytes());
                trace_id[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
                let sampled = sample_bp > 0 && rng.below(10_000) < sample_bp as usize;
                TraceContext { trace_id, span_id, parent_id: [0; 8], sampled }
            }
        }
    }

    /// Writes `traceparent` for the next hop.
    pub(crate) fn write(&self, head: &mut Head) -> Result<(), HeadError> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&self.trace_id, &mut text[3..35]);
        hex(&self.span_id, &mut text[36..52]);
        text[54] = b'0' + u8::from(self.sampled);
        if head.get(Known::Traceparent).is_none() {
            // A state without its parent is nobody's.
            head.remove(Known::Tracestate);
        }
        head.set_known(Known::Traceparent, &text)
    }
}

fn nonzero(rng: &mut Rng) -> u64 {
    rng.next_u64().max(1)
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// `version-traceid-parentid-flags`; later versions may append more after another `-`.
fn parse(text: &[u8]) -> Option<([u8; 16], [u8; 8], bool)> {
    if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return None;
    }
    let version = unhex::<1>(&text[..2])?[0];
    let longer_is_wrong = version == 0 && text.len() != 55;
    if version == 0xff || longer_is_wrong || (text.len() > 55 && text[55] != b'-') {
        return None;
    }
    let trace_id = unhex::<16>(&text[3..35])?;
    let parent_id = unhex::<8>(&text[36..52])?;
    let flags = unhex::<1>(&text[53..55])?[0];
    (trace_id != [0; 16] && parent_id != [0; 8]).then_some((trace_id, parent_id, flags & 1 == 1))
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// One finished exchange of a recorded trace.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it stands.
    pub context: TraceContext,
    /// Whether this process served it (else it called).
    pub server: bool,
    /// Route or operation.
    pub name: String,
    /// Who called.
    pub source: String,
    /// Who was called.
    pub destination: String,
    /// Method.
    pub method: &'static str,
    /// HTTP status; 0 when none was sent.
    pub status: u16,
    /// gRPC status, where the exchange was gRPC.
    pub grpc: Option<u8>,
    /// Our code, if we ended the exchange ourselves.
    pub code: Option<&'static str>,
    /// Begin.
    pub start: SystemTime,
    /// Length in microseconds.
    pub duration_us: u64,
    /// Attempts that were made.
    pub attempts: u32,
}

/// Whether an `x-request-id` may be kept: 1 to 128 letters, digits and `._:+/=@-`. It stands in logs and answers, also
/// where these are text, so it must not hold what could look like more than one word.
pub(crate) fn is_request_id(value: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:+/=@-".contains(byte);
    (1..=128).contains(&value.len()) && value.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(traceparent: &str, sample_bp: u32) -> TraceContext {
        let mut head = Head::new();
        head.start_request(b"GET", crate::head::Version::Http11).unwrap();
        head.push(b"traceparent", traceparent.as_bytes()).unwrap();
        TraceContext::of(&head, sample_bp, &mut Rng::seeded(3))
    }

    #[test]
    fn a_valid_parent_is_continued_and_written_with_our_span() {
        let seen = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 0);
        assert!(seen.sampled);
        assert_eq!(seen.parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        let mut head = Head::new();
        head.start_request(b"GET", crate::head::Version::Http11).unwrap();
        seen.write(&mut head).unwrap();
        let text = head.get_str(Known::Traceparent).unwrap().to_owned();
        assert!(text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && text.ends_with("-01"), "{text}");
        assert_eq!(context(&text, 0).parent_id, seen.span_id);
    }

    #[test]
    fn what_is_not_a_parent_begins_a_new_trace() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let begun = context(bad, 10_000);
            assert_eq!(begun.parent_id, [0; 8], "{bad}");
            assert!(begun.sampled);
            assert!(!context(bad, 0).sampled);
        }
        assert_eq!(
            context("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more", 0).trace_id[0],
            0x4b
        );
    }

    #[test]
    fn a_request_id_is_one_word() {
        for good in ["1", "4f-A.b_c:d+e/f=@", &"x".repeat(128)] {
            assert!(is_request_id(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a\tb", "a\"b", "id status=200", "ä", "a,b", &"x".repeat(129)] {
            assert!(!is_request_id(bad.as_bytes()), "{bad}");
        }
    }
}
