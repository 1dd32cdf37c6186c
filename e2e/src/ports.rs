//! Ports for servers that must be told theirs before they start.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

// Below the range from which systems take ports for outgoing connections and for port 0: there a
// server that is restarted could find its port in somebody's use.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;

/// Where this process begins; others begin elsewhere, most likely.
static NEXT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new(RandomState::new().build_hasher().finish() as u16));

/// A port on loopback that nobody has, and that no other call in this process will return soon.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    (0..COUNT)
        .map(|_| FIRST + NEXT.fetch_add(1, Relaxed) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of thousands of ports is free")
}
