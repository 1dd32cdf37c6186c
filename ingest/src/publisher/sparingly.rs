//! Saying the same thing now and then: while Kafka is away and the spool is full, every request
//! fails, and a line for each would fill the next disk.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Allows one line a second.
#[derive(Default)]
pub(super) struct Sparingly(Mutex<Option<Instant>>);

impl Sparingly {
    /// Whether it is time for the next line.
    pub(super) fn may_tell(&self) -> bool {
        let mut told_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_time = told_at.is_none_or(|at| now - at >= EVERY);
        if is_time {
            *told_at = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_second() {
        let lines = Sparingly::default();
        assert!(lines.may_tell());
        assert!(!lines.may_tell());
        tokio::time::advance(EVERY).await;
        assert!(lines.may_tell());
        assert!(!lines.may_tell());
    }
}
