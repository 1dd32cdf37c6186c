//! Token buckets by key, in bounded memory. Pure: the time is an argument.
//!
//! A bucket is one number: when it will be full again (the "theoretical arrival time" of the
//! generic cell rate algorithm). One that is full is the same as one that was never used, so it
//! can be forgotten at any time.

use std::collections::HashMap;
use std::time::Duration;

/// Nanoseconds since some beginning.
pub(super) type Nanos = u64;

pub(super) struct Buckets {
    token: Nanos,
    burst: u64,
    buckets_max: usize,
    full_at: HashMap<u64, Nanos>,
}

impl Buckets {
    /// `burst` tokens a bucket, refilled at `per_second`.
    pub(super) fn new(per_second: f64, burst: u64, buckets_max: usize) -> Self {
        Self {
            token: (1e9 / per_second).ceil() as Nanos,
            burst,
            buckets_max,
            full_at: HashMap::new(),
        }
    }

    /// `None`: `tokens` can be charged now; otherwise, how long it will take until they can.
    ///
    /// More than the bucket ever holds are granted once it is full, and leave a debt: refused for
    /// good, a large batch could never be sent.
    pub(super) fn wait(&self, key: u64, tokens: u64, now: Nanos) -> Option<Duration> {
        let full_at = self.full_at.get(&key).copied().unwrap_or(0).max(now);
        let missing = full_at - now;
        let room = self
            .token
            .saturating_mul(self.burst - tokens.min(self.burst));
        (missing > room).then(|| Duration::from_nanos(missing - room))
    }

    pub(super) fn charge(&mut self, key: u64, tokens: u64, now: Nanos) {
        if self.full_at.len() >= self.buckets_max && !self.full_at.contains_key(&key) {
            self.forget(now);
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        *full_at = (*full_at)
            .max(now)
            .saturating_add(self.token.saturating_mul(tokens));
    }

    /// Makes room: the full ones go, and if that is not half, the fuller half does. Whoever makes
    /// up keys by the thousand thereby loses those first, and not the buckets he has emptied.
    fn forget(&mut self, now: Nanos) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() <= self.buckets_max / 2 {
            return;
        }
        let mut times: Vec<Nanos> = self.full_at.values().copied().collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.full_at.retain(|_, full_at| *full_at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn take(buckets: &mut Buckets, key: u64, tokens: u64, now: Nanos) -> Option<Duration> {
        let wait = buckets.wait(key, tokens, now);
        if wait.is_none() {
            buckets.charge(key, tokens, now);
        }
        wait
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut buckets = Buckets::new(2.0, 3, 10);
        for _ in 0..3 {
            assert_eq!(take(&mut buckets, 1, 1, 0), None);
        }
        let half = Duration::from_millis(500);
        assert_eq!(take(&mut buckets, 1, 1, 0), Some(half));
        assert!(take(&mut buckets, 1, 1, SECOND / 2 - 1).is_some());
        assert_eq!(take(&mut buckets, 1, 1, SECOND / 2), None);
        assert_eq!(take(&mut buckets, 1, 1, SECOND / 2), Some(half));
        // Another key has a bucket of its own.
        assert_eq!(take(&mut buckets, 2, 3, 0), None);
    }

    #[test]
    fn tokens_are_taken_all_or_none() {
        let mut buckets = Buckets::new(1.0, 10, 10);
        assert_eq!(take(&mut buckets, 1, 6, 0), None);
        assert_eq!(take(&mut buckets, 1, 6, 0), Some(Duration::from_secs(2)));
        assert_eq!(take(&mut buckets, 1, 4, 0), None);
    }

    #[test]
    fn more_than_a_bucket_holds_is_granted_when_it_is_full_and_paid_for_afterwards() {
        let mut buckets = Buckets::new(1.0, 10, 10);
        assert_eq!(take(&mut buckets, 1, 30, 0), None);
        assert_eq!(take(&mut buckets, 1, 1, 0), Some(Duration::from_secs(21)));
        assert_eq!(take(&mut buckets, 1, 30, 0), Some(Duration::from_secs(30)));
        assert!(take(&mut buckets, 1, 30, 30 * SECOND - 1).is_some());
        assert_eq!(take(&mut buckets, 1, 30, 30 * SECOND), None);
    }

    #[test]
    fn buckets_have_a_most_and_the_emptiest_are_kept() {
        let mut buckets = Buckets::new(1.0, 10, 100);
        assert_eq!(take(&mut buckets, 0, 10, 0), None);
        for key in 1..10_000 {
            assert_eq!(take(&mut buckets, key, 1, 0), None);
            assert!(buckets.full_at.len() <= 100);
        }
        assert!(take(&mut buckets, 0, 1, 0).is_some());
    }

    #[test]
    fn full_buckets_are_forgotten_first() {
        let mut buckets = Buckets::new(1.0, 10, 4);
        buckets.charge(1, 10, 0);
        for key in 2..=4 {
            buckets.charge(key, 1, 0);
        }
        buckets.charge(5, 1, 5 * SECOND);
        let mut kept: Vec<u64> = buckets.full_at.keys().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 5]);
    }
}
