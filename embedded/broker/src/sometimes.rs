//! Lines of the log that clients could repeat without end: one in ten seconds, with a count.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Sometimes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logged_at: Option<Instant>,
    times: u64,
}

impl Sometimes {
    /// How often it has happened since the last line, this time included, if a line is due.
    pub(crate) fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        let logged_lately = |at| now.saturating_duration_since(at) < EVERY;
        if state.logged_at.is_some_and(logged_lately) {
            return None;
        }
        state.logged_at = Some(now);
        Some(std::mem::take(&mut state.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_once_in_ten_seconds_and_counts_what_was_not_logged() {
        let (sometimes, start) = (Sometimes::default(), Instant::now());
        assert_eq!(sometimes.at(start), Some(1));
        assert_eq!(sometimes.at(start), None);
        assert_eq!(sometimes.at(start + EVERY - Duration::from_millis(1)), None);
        assert_eq!(sometimes.at(start + EVERY), Some(3));
        assert_eq!(sometimes.at(start + EVERY), None);
    }
}
