//! Waiting for a dependency that is down: capped exponential backoff.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Before the second attempt; doubles from there.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// Never longer than this.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failed attempts in a row (1 or more).
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = Backoff::default();
        assert_eq!(backoff.after(1), Duration::from_millis(100));
        assert_eq!(backoff.after(2), Duration::from_millis(200));
        assert_eq!(backoff.after(6), Duration::from_millis(3200));
        assert_eq!(backoff.after(7), backoff.max);
        assert_eq!(backoff.after(u32::MAX), backoff.max);
    }
}
