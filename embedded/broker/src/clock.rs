//! Wall-clock time the way the protocol counts it.

use std::time::{Duration, SystemTime};

/// Milliseconds since 1970.
pub(crate) type UnixMs = i64;

pub(crate) fn now() -> UnixMs {
    since_1970(SystemTime::now())
}

pub(crate) fn since_1970(time: SystemTime) -> UnixMs {
    millis(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Saturates: a duration beyond the protocol's range means "for ever".
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
