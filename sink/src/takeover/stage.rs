//! How far a takeover is.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a takeover is doing, for who wonders why it takes long. Cheap to clone; clones are of one
/// takeover.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    begun_at: Instant,
    doing: Arc<Mutex<Cow<'static, str>>>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            begun_at: Instant::now(),
            doing: Arc::new(Mutex::new("beginning".into())),
        }
    }
}

impl Stage {
    /// From here on it is doing this.
    pub(crate) fn set(&self, doing: impl Into<Cow<'static, str>>) {
        // A string is whole at every step, so a poisoned one is still right.
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing.into();
    }

    /// How long ago the takeover began.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun_at)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
