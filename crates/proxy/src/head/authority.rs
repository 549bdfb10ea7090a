//! The authority of a request, `host` or `host:port`: what is a valid one.
//!
//! Stricter than the grammar of RFC 3986 where the grammar leaves room for two servers to read two hosts: no user
//! information, no percent-encoding, no sub-delimiters, no empty port. Names are compared without regard to case,
//! so a head holds them lower-case.

/// Longest authority, bytes: a DNS name of 253, a port, and room for brackets.
pub const AUTHORITY_BYTES_MAX: usize = 272;

/// Why an authority is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefusal {
    /// Nothing there, or nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// Longer than [`AUTHORITY_BYTES_MAX`].
    #[error("longer than {AUTHORITY_BYTES_MAX} bytes")]
    TooLong,
    /// A byte that no host name holds, or an empty label.
    #[error("not a host name")]
    HostInvalid,
    /// Brackets without an IPv6 address in them.
    #[error("not an IPv6 address in brackets")]
    Ipv6Invalid,
    /// A port that is not a number from 0 to 65535.
    #[error("not a port")]
    PortInvalid,
}

/// Checks that the bytes are `host` or `host:port` (RFC 9110, 7.2; RFC 3986, 3.2).
///
/// # Errors
/// The first thing that is wrong.
pub fn check(raw: &[u8]) -> Result<(), AuthorityRefusal> {
    if raw.len() > AUTHORITY_BYTES_MAX {
        return Err(AuthorityRefusal::TooLong);
    }
    let rest = if let Some(inner) = raw.strip_prefix(b"[") {
        let end = memchr::memchr(b']', inner).ok_or(AuthorityRefusal::Ipv6Invalid)?;
        let address = std::str::from_utf8(&inner[..end]).unwrap_or_default();
        address.parse::<std::net::Ipv6Addr>().map_err(|_| AuthorityRefusal::Ipv6Invalid)?;
        &inner[end + 1..]
    } else {
        let end = memchr::memchr(b':', raw).unwrap_or(raw.len());
        check_name(&raw[..end])?;
        &raw[end..]
    };
    match rest {
        [] => Ok(()),
        [b':', port @ ..] => check_port(port),
        _ => Err(AuthorityRefusal::Ipv6Invalid),
    }
}

/// Splits a valid authority into host and port text.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[host_end..].find(':') {
        Some(at) => (&authority[..host_end + at], Some(&authority[host_end + at + 1..])),
        None => (authority, None),
    }
}

fn check_name(name: &[u8]) -> Result<(), AuthorityRefusal> {
    if name.is_empty() {
        return Err(AuthorityRefusal::Empty);
    }
    let mut label_empty = true;
    for &byte in name {
        let dot = byte == b'.';
        if !IN_NAMES[usize::from(byte)] || (dot && label_empty) {
            return Err(AuthorityRefusal::HostInvalid);
        }
        label_empty = dot;
    }
    Ok(())
}

/// Bytes of host names, the dot between labels included.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let in_label = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'~');
        table[byte] = in_label || byte as u8 == b'.';
        byte += 1;
    }
    table
};

fn check_port(port: &[u8]) -> Result<(), AuthorityRefusal> {
    let mut number = 0_u32;
    if port.is_empty() || port.len() > 5 {
        return Err(AuthorityRefusal::PortInvalid);
    }
    for &byte in port {
        if !byte.is_ascii_digit() {
            return Err(AuthorityRefusal::PortInvalid);
        }
        number = number * 10 + u32::from(byte - b'0');
    }
    if number <= u32::from(u16::MAX) { Ok(()) } else { Err(AuthorityRefusal::PortInvalid) }
}
