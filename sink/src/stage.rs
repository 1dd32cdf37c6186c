//! How far a takeover is.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a takeover is doing, for who wonders why it takes long. Cheap to clone; clones are of one
/// takeover.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    begun_at: Instant,
    doing: Arc<Mutex<Doing>>,
}

#[derive(Debug)]
struct Doing {
    what: Cow<'static, str>,
    since: Instant,
}

impl Default for Stage {
    fn default() -> Self {
        let begun_at = Instant::now();
        let doing = Doing {
            what: "beginning".into(),
            since: begun_at,
        };
        Self {
            begun_at,
            doing: Arc::new(Mutex::new(doing)),
        }
    }
}

impl Stage {
    /// From here on it is doing this.
    pub(crate) fn set(&self, what: impl Into<Cow<'static, str>>) {
        *self.doing() = Doing {
            what: what.into(),
            since: Instant::now(),
        };
    }

    /// How long ago the takeover began.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun_at)
    }

    /// Returns once it has been doing one thing for so long.
    pub(crate) async fn stands_for(&self, patience: Duration) {
        loop {
            let stands = self.doing().since.elapsed();
            if stands >= patience {
                return;
            }
            tokio::time::sleep(patience - stands).await;
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // It is whole at every step, so a poisoned one is still right.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing().what)
    }
}
