//! The last ids of one partition. What a window admits is a function of the log before an event
//! alone, so a cut that is made again comes out the same.

use std::collections::VecDeque;

use uuid::Uuid;

/// The last `limit` admitted keys, at most 17 bytes each: a ring of keys in the order they came,
/// and a table of their places in it.
#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    /// Oldest first.
    order: VecDeque<u64>,
    /// How many keys have left `order`: a key's number is this plus its place.
    gone: u32,
    /// Open addressing with linear probing: the numbers of keys, each at or after its key's own
    /// slot. A power of two, at most three quarters full.
    slots: Vec<u32>,
    /// When each of a few keys came, as (its number, milliseconds): enough to tell a rate by.
    times: VecDeque<(u32, i64)>,
}

const EMPTY: u32 = u32::MAX;
/// Numbers wrap below [`EMPTY`].
const NUMBERS: u32 = EMPTY;
const SLOTS_MIN: usize = 64;
/// A time is kept for every so many keys.
const KEYS_A_TIME: u32 = 256;
const TIMES_MAX: usize = 1024;

impl Window {
    /// A window over the last `limit` admitted keys; `newest_first` are those admitted before.
    pub(crate) fn new(limit: u32, newest_first: impl IntoIterator<Item = u64>) -> Self {
        let limit = limit as usize;
        let mut order: VecDeque<u64> = VecDeque::new();
        for key in newest_first.into_iter().take(limit) {
            order.push_front(key);
        }
        let mut window = Self {
            limit,
            order,
            gone: 0,
            slots: Vec::new(),
            times: VecDeque::new(),
        };
        window.rebuild();
        window
    }

    /// Whether `key` is new; it is then remembered, and the oldest forgotten once the window is
    /// full. A repeat does not make its id younger: what was dropped leaves no trace in storage.
    pub(crate) fn admit(&mut self, key: u64) -> bool {
        if self.limit == 0 {
            return true;
        }
        if self.find(key).is_some() {
            return false;
        }
        if self.order.len() >= self.limit {
            self.forget_oldest();
        }
        self.order.push_back(key);
        if self.order.len() * 4 > self.slots.len() * 3 {
            self.rebuild();
        } else {
            self.place(self.order.len() - 1);
        }
        true
    }

    /// How many keys it holds now.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// What it takes of memory, but for a few times.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.order.capacity() * size_of::<u64>() + self.slots.capacity() * size_of::<u32>()
    }

    /// Notes that the newest key came at `millis`; for [`hours`](Self::hours) only.
    pub(crate) fn came_at(&mut self, millis: i64) {
        let Some(last) = self.order.len().checked_sub(1) else {
            return;
        };
        let number = self.number(last);
        let is_due = self.times.back().is_none_or(|(before, _)| {
            number.wrapping_sub(*before) >= KEYS_A_TIME || number < *before
        });
        if is_due {
            self.times.push_back((number, millis));
            if self.times.len() > TIMES_MAX {
                self.times.pop_front();
            }
        }
    }

    /// How long `limit` keys last at the rate of those that came last; None while that is unknown.
    pub(crate) fn hours(&self) -> Option<f64> {
        let (first, last) = (self.times.front()?, self.times.back()?);
        let keys = f64::from(last.0.checked_sub(first.0).filter(|keys| *keys > 0)?);
        let hours = (last.1 - first.1).max(1) as f64 / 3_600_000.0;
        Some(self.limit as f64 / keys * hours)
    }

    fn number(&self, place: usize) -> u32 {
        ((u64::from(self.gone) + place as u64) % u64::from(NUMBERS)) as u32
    }

    fn place_of(&self, number: u32) -> usize {
        let distance =
            (u64::from(number) + u64::from(NUMBERS) - u64::from(self.gone)) % u64::from(NUMBERS);
        distance as usize
    }

    fn home(&self, key: u64) -> usize {
        // Keys are mixed already.
        key as usize & (self.slots.len() - 1)
    }

    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    /// The slot of `key`.
    fn find(&self, key: u64) -> Option<usize> {
        let mut slot = self.home(key);
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                number if self.order[self.place_of(number)] == key => return Some(slot),
                _ => slot = self.next(slot),
            }
        }
    }

    fn place(&mut self, place: usize) {
        let mut slot = self.home(self.order[place]);
        while self.slots[slot] != EMPTY {
            slot = self.next(slot);
        }
        self.slots[slot] = self.number(place);
    }

    fn forget_oldest(&mut self) {
        let slot = self.order.front().and_then(|key| self.find(*key));
        if let Some(slot) = slot {
            self.vacate(slot);
        }
        self.order.pop_front();
        self.gone = (self.gone + 1) % NUMBERS;
    }

    /// Empties a slot and moves up those behind it that it kept from their own.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = hole;
        loop {
            slot = self.next(slot);
            let number = self.slots[slot];
            if number == EMPTY {
                break;
            }
            let home = self.home(self.order[self.place_of(number)]);
            let may_move = (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask);
            if may_move {
                self.slots[hole] = number;
                hole = slot;
            }
        }
        self.slots[hole] = EMPTY;
    }

    fn rebuild(&mut self) {
        let wanted = (self.order.len() * 4 / 3 + 2).next_power_of_two();
        self.slots = vec![EMPTY; wanted.max(SLOTS_MIN)];
        for place in 0..self.order.len() {
            self.place(place);
        }
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

/// A batch's id, in 64 bits. As fixed as [`key`], and stored in the ledger.
pub(crate) fn batch_key(batch_id: Uuid) -> u64 {
    let (high, low) = batch_id.as_u64_pair();
    mix(mix(high) ^ low)
}

/// The finalizer of splitmix64: every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// What a partition remembers to tell repeats by.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Ids that clients made.
    pub(crate) events: Window,
    /// Ids of flushes.
    pub(crate) batches: Window,
}

impl Memory {
    #[cfg(test)]
    pub(crate) fn empty(limit: u32) -> Self {
        Self {
            events: Window::new(limit, []),
            batches: Window::new(limit, []),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The keys admitted, in order, and what was said of each.
    fn admit_all(window: &mut Window, keys: &[u64]) -> (Vec<u64>, Vec<bool>) {
        let said: Vec<bool> = keys.iter().map(|&key| window.admit(key)).collect();
        let admitted = keys.iter().zip(&said).filter(|(_, said)| **said);
        (admitted.map(|(key, _)| *key).collect(), said)
    }

    /// The plainest window there is.
    fn said_by_the_rule(limit: usize, keys: &[u64]) -> Vec<bool> {
        let (mut order, mut known) = (VecDeque::new(), HashSet::new());
        let admit = |key: &u64| {
            if limit == 0 {
                return true;
            }
            if !known.insert(*key) {
                return false;
            }
            order.push_back(*key);
            if order.len() > limit {
                known.remove(&order.pop_front().unwrap());
            }
            true
        };
        keys.iter().map(admit).collect()
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

        // Keys that share their lowest bits crowd the same slots.
        #[test]
        fn a_window_decides_as_the_plainest_one_would(
            limit in 0..300_u32,
            keys in proptest::collection::vec((0..400_u64).prop_map(|n| n % 20 * 64 + n / 20), 0..3000),
        ) {
            let mut window = Window::new(limit, []);
            prop_assert_eq!(admit_all(&mut window, &keys).1, said_by_the_rule(limit as usize, &keys));
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
    fn numbers_wrap_without_a_trace() {
        let mut window = Window::new(100, []);
        window.gone = NUMBERS - 50;
        let keys: Vec<u64> = (0..500).map(|n| mix(n / 2)).collect();
        assert_eq!(
            admit_all(&mut window, &keys).1,
            said_by_the_rule(100, &keys)
        );
    }

    #[test]
    fn a_window_of_none_admits_everything() {
        let mut window = Window::new(0, []);
        assert!(window.admit(1));
        assert!(window.admit(1));
    }

    #[test]
    fn a_million_ids_take_seventeen_bytes_each() {
        let mut window = Window::new(1_000_000, []);
        for number in 0..1_500_000 {
            window.admit(mix(number));
        }
        let bytes = window.bytes();
        assert!(bytes <= 17 << 20, "{bytes} bytes");
    }

    #[test]
    fn hours_are_the_window_at_the_rate_of_the_last_ids() {
        let mut window = Window::new(36_000, []);
        assert_eq!(window.hours(), None);
        // Ten a second.
        for number in 0..10_000_i64 {
            window.admit(mix(number as u64));
            window.came_at(number * 100);
        }
        let hours = window.hours().unwrap();
        assert!((0.99..1.01).contains(&hours), "{hours}");
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
