//! Ports that are free.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what Linux gives to outgoing connections (32768 up), so that none of those takes a port between the look and
/// its use.
const RANGE: Range<u16> = 10_000..18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback on which nothing listens, another one at each call.
///
/// # Panics
/// All are taken.
#[expect(clippy::panic, reason = "a harness ends the test")]
pub fn free() -> u16 {
    // Test processes that run at the same time begin at different places.
    let spread = u16::try_from(std::process::id() % 97).unwrap_or(0) * 137;
    for _ in RANGE {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = RANGE.start + (spread.wrapping_add(step)) % (RANGE.end - RANGE.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}
