//! Memory that requests and answers of all connections may take together. It is counted as bytes
//! arrive, not as they are announced, and who keeps it without need gives it back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::places::{Kind, Place, Places, SLOW_AFTER};

/// How often it is looked whether somebody has become slow.
const LOOK: Duration = Duration::from_millis(100);

/// The last eighth is for small requests, heartbeats and the like, which large ones cannot hold up.
const KEPT_FOR_SMALL: usize = 8;
pub(super) const SMALL_BYTES: usize = 64 << 10;

pub(crate) struct Memory {
    kind: Kind,
    used: AtomicUsize,
    bytes_max: usize,
    freed: Notify,
    places: Arc<Places>,
}

impl Memory {
    pub(super) fn new(kind: Kind, bytes_max: usize, places: Arc<Places>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            used: AtomicUsize::new(0),
            bytes_max,
            freed: Notify::new(),
            places,
        })
    }

    /// What a connection holds, nothing at first.
    pub(super) fn hold(self: &Arc<Self>, place: Arc<Place>) -> Held {
        Held {
            memory: self.clone(),
            place,
            bytes: 0,
        }
    }

    /// Takes between `least` and `most` bytes beside `own`, if so many are free.
    fn try_take(&self, own: usize, least: usize, most: usize) -> Option<usize> {
        let is_small = own + most <= SMALL_BYTES;
        let kept = if is_small {
            0
        } else {
            self.bytes_max / KEPT_FOR_SMALL
        };
        let max = self.bytes_max - kept;
        let mut taken = 0;
        let take = |used: usize| {
            taken = most.min(max.saturating_sub(used));
            if used <= own {
                // Nobody else has any, so what is larger than all there is need not wait.
                taken = taken.max(least);
            }
            (taken >= least).then_some(used + taken)
        };
        self.used.fetch_update(SeqCst, SeqCst, take).ok()?;
        Some(taken)
    }
}

/// Counted bytes of one connection; dropped, they are free again.
pub(crate) struct Held {
    memory: Arc<Memory>,
    place: Arc<Place>,
    bytes: usize,
}

impl Held {
    /// Waits until so many bytes more are free, and makes slow clients give way.
    pub(super) async fn more(&mut self, bytes: usize) {
        self.between(bytes, bytes).await;
    }

    /// The same for at least `least` bytes; returns how many there were, `most` at most.
    pub(crate) async fn between(&mut self, least: usize, most: usize) -> usize {
        let begun_at = Instant::now();
        loop {
            let freed = self.memory.freed.notified();
            if let Some(taken) = self.memory.try_take(self.bytes, least, most) {
                self.bytes += taken;
                self.place.hold(self.memory.kind, taken);
                return taken;
            }
            let waited = begun_at.elapsed() >= SLOW_AFTER;
            self.memory
                .places
                .make_room(&self.place, self.memory.kind, waited);
            // Either way the loop looks again.
            let _ = timeout(LOOK, freed).await;
        }
    }

    /// Keeps `bytes` and gives the rest back. One batch may turn out larger than what was taken.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let (before, kind) = (self.bytes, self.memory.kind);
        self.bytes = bytes;
        if bytes > before {
            self.memory.used.fetch_add(bytes - before, SeqCst);
            self.place.hold(kind, bytes - before);
        } else {
            self.memory.used.fetch_sub(before - bytes, SeqCst);
            self.place.let_go(kind, before - bytes);
            self.memory.freed.notify_waiters();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MAX: usize = 1 << 20;

    /// Whether it need not be waited for.
    async fn is_there(taking: impl Future<Output = ()>) -> bool {
        timeout(Duration::ZERO, taking).await.is_ok()
    }

    #[tokio::test]
    async fn what_is_large_takes_what_is_free_or_waits_and_what_is_small_has_a_part_of_its_own() {
        let places = Places::new(2);
        let memory = Memory::new(Kind::Answers, MAX, places.clone());
        let taken = [(); 2].map(|()| places.take(Ipv4Addr::LOCALHOST.into()).unwrap());
        let [mut first, mut second] = taken
            .each_ref()
            .map(|taken| memory.hold(taken.place.clone()));
        let for_large = MAX - MAX / KEPT_FOR_SMALL;
        assert_eq!(first.between(1, for_large - 1000).await, for_large - 1000);
        assert_eq!(second.between(1000, MAX).await, 1000);
        assert!(!is_there(second.more(SMALL_BYTES)).await);
        assert!(is_there(second.more(1000)).await);
        drop(first);
        assert_eq!(second.between(1, for_large - 2000).await, for_large - 2000);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_there_is_may_have_it_alone() {
        let places = Places::new(1);
        let memory = Memory::new(Kind::Requests, MAX, places.clone());
        let taken = places.take(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut held = memory.hold(taken.place.clone());
        held.more(MAX).await;
        held.more(MAX).await;
        let mut other = memory.hold(taken.place.clone());
        assert!(!is_there(other.more(1)).await);
    }
}
