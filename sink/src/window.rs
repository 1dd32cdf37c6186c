//! The last client-made event ids of one partition. What it admits is a function of the log
//! before an event alone, so a cut that is made again comes out the same.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// A partition's window of repeats.
#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    /// Oldest first.
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Window {
    /// A window over the last `limit` admitted ids; `newest_first` are those admitted before.
    pub(crate) fn new(limit: u32, newest_first: impl IntoIterator<Item = u64>) -> Self {
        let limit = limit as usize;
        let mut order: VecDeque<u64> = VecDeque::new();
        for key in newest_first.into_iter().take(limit) {
            order.push_front(key);
        }
        let known = order.iter().copied().collect();
        Self {
            limit,
            order,
            known,
        }
    }

    /// Whether `key` is new; it is then remembered, and the oldest forgotten once the window is
    /// full. A repeat does not make its id younger: what was dropped leaves no trace in storage.
    pub(crate) fn admit(&mut self, key: u64) -> bool {
        if self.limit == 0 {
            return true;
        }
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// A client's id counts within its site. FNV-1a over the site, then a mix with the id: fixed here,
/// because a rebuilt cut may meet another build of weir. Two of a full window's ids are taken for
/// one with a chance of about 1 in 10^13.
pub(crate) fn key(site_id: &str, event_id: Uuid) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325;
    for byte in site_id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    let (high, low) = event_id.as_u64_pair();
    mix(mix(hash ^ high) ^ low)
}

/// The finalizer of splitmix64: every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The keys admitted, in order, and what was said of each.
    fn admit_all(window: &mut Window, keys: &[u64]) -> (Vec<u64>, Vec<bool>) {
        let said: Vec<bool> = keys.iter().map(|&key| window.admit(key)).collect();
        let admitted = keys.iter().zip(&said).filter(|(_, said)| **said);
        (admitted.map(|(key, _)| *key).collect(), said)
    }

    proptest! {
        #[test]
        fn a_window_filled_from_what_was_stored_decides_as_the_first_one_did(
            limit in 0..20_u32,
            keys in proptest::collection::vec(0..40_u64, 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let (before, after) = keys.split_at(at.index(keys.len() + 1));
            let mut first = Window::new(limit, []);
            let (stored, _) = admit_all(&mut first, before);
            let mut filled = Window::new(limit, stored.iter().rev().copied());
            prop_assert_eq!(admit_all(&mut first, after), admit_all(&mut filled, after));
        }
    }

    #[test]
    fn an_id_is_a_repeat_while_no_more_than_limit_ids_came_after_it() {
        let mut window = Window::new(2, []);
        assert!(window.admit(1));
        assert!(window.admit(2));
        assert!(!window.admit(1), "the last two are 1 and 2");
        assert!(window.admit(3));
        assert!(window.admit(1), "the last two were 2 and 3");
    }

    #[test]
    fn a_window_of_none_admits_everything() {
        let mut window = Window::new(0, []);
        assert!(window.admit(1));
        assert!(window.admit(1));
    }

    #[test]
    fn the_same_id_of_two_sites_is_two_ids() {
        let id = Uuid::from_u128(7);
        assert_ne!(key("a", id), key("b", id));
        assert_ne!(key("a", id), key("a", Uuid::from_u128(7 << 64)));
        // The value is part of how cuts are rebuilt: it must not change without a new encoder.
        assert_eq!(
            key("site-abc-123", Uuid::from_u128(1)),
            0x08FA_B2C3_2083_B9A7
        );
    }
}
