//! The canonical path: one spelling for each resource, so that what a policy decided on is what is forwarded.
//!
//! Two spellings of one path (`/a/../b` and `/b`, `/%61` and `/a`) let a caller pass a rule for the one and reach
//! the other (threat 4). So a path is made canonical once, here, and every stage and every upstream sees only that
//! form. What has no safe canonical form, because servers disagree about what it means, is refused.
//!
//! It stands here and not in the proxy because patterns are compared with canonical paths: a literal of a manifest or of
//! an API file must have the same form, or it never matches ([`canonical_segment`]).

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathRefusal {
    /// It does not begin with a slash.
    #[error("does not begin with a slash")]
    NotAbsolute,
    /// `%2F`: some servers see a separator, some do not.
    #[error("holds an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`: some servers see a slash.
    #[error("holds a backslash")]
    Backslash,
    /// `%00`: some servers see the end.
    #[error("holds an encoded NUL")]
    Nul,
    /// `%` without two hexadecimal digits.
    #[error("holds an invalid percent-encoding")]
    PercentInvalid,
    /// `..` above the root.
    #[error("leaves the root")]
    AboveRoot,
    /// `/..;x/` or `/.;x/`: some servers drop the parameter and then see a dot segment.
    #[error("holds a dot segment with a parameter")]
    DotSegmentParameter,
    /// A control byte, a space, `#`, or a byte beyond ASCII.
    #[error("holds a byte that must be encoded")]
    RawByte,
}

/// Whether a path is canonical for certain: begins with a slash and holds nothing that has to be looked at twice.
/// A `false` may still be canonical; [`canonicalise`] decides.
#[inline]
pub fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    if path.first() != Some(&b'/') {
        return false;
    }
    for &byte in path {
        let slash = byte == b'/';
        if !PLAIN[byte as usize] || (after_slash && (slash || byte == b'.')) {
            return false;
        }
        after_slash = slash;
    }
    true
}

/// Appends the canonical form of a path to `out`: unreserved characters decoded, other escapes in upper case,
/// characters that RFC 3986 wants encoded but browsers send raw (`[ ] | ^ " < > { }` and the backtick) encoded,
/// repeated slashes merged, dot segments resolved (RFC 3986, 6.2.2). Grows `out` by at most three times the path.
///
/// # Errors
/// See [`PathRefusal`]; `out` is as it was then.
pub fn canonicalise(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathRefusal> {
    if is_plain(path) {
        out.extend_from_slice(path);
        return Ok(());
    }
    let root = out.len();
    let done = rewrite(path, root, out);
    if done.is_err() {
        out.truncate(root);
    }
    done
}

fn rewrite(path: &[u8], root: usize, out: &mut Vec<u8>) -> Result<(), PathRefusal> {
    let Some(mut rest) = path.strip_prefix(b"/") else {
        return Err(PathRefusal::NotAbsolute);
    };
    out.push(b'/');
    loop {
        let segment_start = out.len();
        let end = rest.iter().position(|byte| *byte == b'/');
        let segment = &rest[..end.unwrap_or(rest.len())];
        write_segment(segment, out)?;
        let keep = settle_segment(root, segment_start, out)?;
        let Some(end) = end else { return Ok(()) };
        if keep {
            out.push(b'/');
        }
        rest = &rest[end + 1..];
    }
}

/// Writes one segment with its escapes made canonical.
fn write_segment(mut segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathRefusal> {
    while let [byte, rest @ ..] = segment {
        segment = rest;
        match *byte {
            b'%' => {
                let [high, low, rest @ ..] = rest else { return Err(PathRefusal::PercentInvalid) };
                segment = rest;
                write_escape(hex_value(*high)? << 4 | hex_value(*low)?, out)?;
            }
            b'\\' => return Err(PathRefusal::Backslash),
            byte if PLAIN[byte as usize] => out.push(byte),
            b'[' | b']' | b'|' | b'^' | b'"' | b'<' | b'>' | b'{' | b'}' | b'`' => push_escape(*byte, out),
            _ => return Err(PathRefusal::RawByte),
        }
    }
    Ok(())
}

fn write_escape(byte: u8, out: &mut Vec<u8>) -> Result<(), PathRefusal> {
    match byte {
        b'/' => return Err(PathRefusal::EncodedSlash),
        b'\\' => return Err(PathRefusal::Backslash),
        0 => return Err(PathRefusal::Nul),
        b'-' | b'.' | b'_' | b'~' => out.push(byte),
        byte if byte.is_ascii_alphanumeric() => out.push(byte),
        byte => push_escape(byte, out),
    }
    Ok(())
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]);
}

fn hex_value(digit: u8) -> Result<u8, PathRefusal> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathRefusal::PercentInvalid),
    }
}

/// Resolves the segment that was just written; says whether it stays and wants a slash after it.
fn settle_segment(root: usize, segment_start: usize, out: &mut Vec<u8>) -> Result<bool, PathRefusal> {
    match &out[segment_start..] {
        b"" => return Ok(false),
        b"." => out.truncate(segment_start),
        b".." => {
            if segment_start == root + 1 {
                return Err(PathRefusal::AboveRoot);
            }
            // Everything from `root` to `segment_start` ends with a slash; the one before it ends the parent.
            let parent = out[root..segment_start - 1].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            out.truncate(root + parent + 1);
        }
        segment if is_dot_with_parameter(segment) => return Err(PathRefusal::DotSegmentParameter),
        _ => return Ok(true),
    }
    Ok(false)
}

fn is_dot_with_parameter(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    name.len() < segment.len() && (name == b"." || name == b"..")
}

/// The canonical form of one segment as people write it: as [`canonicalise`] leaves it, and characters beyond ASCII, which
/// no request may hold as they are, encoded as UTF-8 (RFC 3987, 3.1). `.` and `..` are left to the caller.
///
/// # Errors
/// No request that is taken can have this segment.
pub fn canonical_segment(segment: &str) -> Result<String, PathRefusal> {
    let mut ascii = Vec::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii() { ascii.push(byte) } else { push_escape(byte, &mut ascii) }
    }
    let mut out = Vec::with_capacity(ascii.len());
    write_segment(&ascii, &mut out)?;
    if is_dot_with_parameter(&out) {
        return Err(PathRefusal::DotSegmentParameter);
    }
    // Only ASCII was written.
    String::from_utf8(out).map_err(|_| PathRefusal::RawByte)
}

/// The bytes that stand for themselves in a canonical path: `pchar` without escapes, and the slash.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"-._~!$&'()*+,;=:@/";
    let mut at = 0;
    while at < allowed.len() {
        table[allowed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = true;
        }
        byte += 1;
    }
    table
};
