//! A service that others can reach without a key or a password says so.

use std::net::{IpAddr, SocketAddr};

use tracing::warn;

/// Whether only this machine reaches what listens there.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// One line in the log if others reach `address`: what they `may` do, and how to `close` it, with the
/// name of a setting.
pub fn tell_of_open_access(address: SocketAddr, may: &str, close: &str) {
    if !is_loopback(address.ip()) {
        warn!(listen.address = %address, "anyone who reaches {address} can {may}; to prevent it, {close}");
    }
}
