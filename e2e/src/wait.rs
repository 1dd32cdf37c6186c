//! Waiting for a condition, never for luck.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers with `expected`.
///
/// # Panics
/// After a minute, with the last answer.
pub async fn eventually<T: PartialEq + Debug>(expected: T, mut probe: impl AsyncFnMut() -> T) {
    let give_up_at = Instant::now() + GIVE_UP_AFTER;
    loop {
        let answer = probe().await;
        if answer == expected {
            return;
        }
        assert!(
            Instant::now() < give_up_at,
            "after {GIVE_UP_AFTER:?}: {answer:?}, expected {expected:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}
