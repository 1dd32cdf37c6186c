//! What a run is asked for by the environment.

use std::ffi::OsString;

/// A number from the environment, if it is there.
///
/// # Panics
/// If it is there and is no number.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let text = text(name)?;
    let text = text.to_string_lossy();
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Text from the environment, if it is there.
pub(crate) fn text(name: &str) -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test runs is no part of weir's configuration"
    )]
    std::env::var_os(name)
}
