//! Inside a range whose rows are not what the ledger says: which places are at fault. Pure.
//!
//! `intHash64` takes no two values to one, so it can be taken back: where a single row is missing
//! or too many, the difference of the sums is the hash of its place and names it.

use super::report::{Fault, Wrong};
use super::segments::Sum;
use crate::ledger::place;

/// So many places of a range are told.
const FAULTS_MAX: usize = 100;
/// Holes that are tried as one half of a pair; a record may have 65,535 of them.
const HOLES_MAX: usize = 10_000;

/// What `intHash64` mixes in first.
const SALT: u64 = 0x4CF2_D2BA_AE6D_A887;

/// The value that `intHash64` takes to `hashed`.
fn unhash(hashed: u64) -> u64 {
    // The factors are the inverses of MurmurHash3's, modulo 2^64.
    let hashed = (hashed ^ (hashed >> 33)).wrapping_mul(0x9CB4_B2F8_1293_37DB);
    let hashed = (hashed ^ (hashed >> 33)).wrapping_mul(0x4F74_430C_22A5_4005);
    hashed ^ (hashed >> 33) ^ SALT
}

/// Takes in the rows of a range in the order of their places.
#[derive(Debug)]
pub(super) struct Narrowing {
    from: u64,
    to: u64,
    /// What should remain once doubles and removed rows are left out.
    expected: Sum,
    rest: Sum,
    faults: Vec<Fault>,
    holes: Vec<(u64, u16)>,
    next: (u64, u32),
}

/// What is at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Narrowed {
    pub(super) faults: Vec<Fault>,
    /// Whether they explain the whole difference.
    pub(super) is_all: bool,
}

impl Narrowing {
    /// `expected` are the rows of `from..to` as they should be, without removed ones.
    pub(super) fn new(from: u64, to: u64, expected: Sum) -> Self {
        Self {
            from,
            to,
            expected,
            rest: Sum::default(),
            faults: Vec::new(),
            holes: Vec::new(),
            next: (from, 0),
        }
    }

    /// A place that `rows` rows have; `is_removed`: no row should have it any more.
    pub(super) fn push(&mut self, offset: u64, index: u16, rows: u64, is_removed: bool) {
        if offset != self.next.0 {
            self.next = (offset, 0);
        }
        for hole in self.next.1..index.into() {
            if self.holes.len() < HOLES_MAX {
                self.holes.push((offset, hole as u16));
            }
        }
        self.next.1 = u32::from(index) + 1;
        if is_removed {
            self.fault(offset, index, Wrong::Removed);
        } else {
            let one = Sum {
                rows: 1,
                places: place(offset, index),
            };
            self.rest = self.rest.plus(one);
        }
        if rows > 1 {
            self.fault(offset, index, Wrong::Double);
        }
    }

    /// `has_holes`: repeats were dropped or removed here, so a hole by itself is no fault.
    pub(super) fn finish(mut self, has_holes: bool) -> Narrowed {
        let missing = self.expected.minus(self.rest);
        let faults: Option<Vec<Fault>> = match missing.rows.cast_signed() {
            0 if missing.places == 0 => Some(Vec::new()),
            1 => self
                .named(missing.places, Wrong::Missing)
                .map(|one| vec![one]),
            -1 => self
                .named(missing.places.wrapping_neg(), Wrong::Unknown)
                .map(|one| vec![one]),
            0 => self.swapped(missing.places),
            count => self.holes_and_one(count, missing.places),
        };
        let is_all = faults.is_some();
        let faults = faults.unwrap_or_else(|| {
            // A guess, and called a hole, not a missing row.
            let holes = if has_holes {
                &[]
            } else {
                self.holes.as_slice()
            };
            let hole = |&(offset, index): &(u64, u16)| Fault {
                offset,
                index,
                what: Wrong::Hole,
            };
            holes.iter().map(hole).collect()
        });
        self.faults.extend(faults);
        self.faults.sort_by_key(|fault| (fault.offset, fault.index));
        self.faults.truncate(FAULTS_MAX);
        Narrowed {
            faults: self.faults,
            is_all,
        }
    }

    fn fault(&mut self, offset: u64, index: u16, what: Wrong) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault {
                offset,
                index,
                what,
            });
        }
    }

    /// The place of a hash, if it is one of this range: a wrong guess would hardly be.
    fn named(&self, hashed: u64, what: Wrong) -> Option<Fault> {
        let place = unhash(hashed);
        let fault = Fault {
            offset: place / 65_536,
            index: (place % 65_536) as u16,
            what,
        };
        (self.from..self.to)
            .contains(&fault.offset)
            .then_some(fault)
    }

    /// One row with another's place: the one it should have is a hole, or the last of its record.
    fn swapped(&self, difference: u64) -> Option<Vec<Fault>> {
        self.holes.iter().find_map(|&(offset, index)| {
            let missing = place(offset, index);
            let unknown = self.named(missing.wrapping_sub(difference), Wrong::Unknown)?;
            let missing = Fault {
                offset,
                index,
                what: Wrong::Missing,
            };
            Some(vec![missing, unknown])
        })
    }

    /// Several missing rows: all holes, and at most one more.
    fn holes_and_one(&self, count: i64, difference: u64) -> Option<Vec<Fault>> {
        let holes = i64::try_from(self.holes.len()).ok()?;
        let hashes = self
            .holes
            .iter()
            .map(|&(offset, index)| place(offset, index));
        let rest = hashes.fold(difference, u64::wrapping_sub);
        let missing = |&(offset, index): &(u64, u16)| Fault {
            offset,
            index,
            what: Wrong::Missing,
        };
        let mut faults: Vec<Fault> = self.holes.iter().map(missing).collect();
        if count == holes && rest == 0 {
            return Some(faults);
        }
        if count != holes + 1 {
            return None;
        }
        faults.push(self.named(rest, Wrong::Missing)?);
        Some(faults)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Rows = BTreeMap<(u64, u16), u64>;

    fn sum(rows: &Rows) -> Sum {
        let mut sum = Sum::default();
        for (&(offset, index), &count) in rows {
            sum.rows += count;
            let hash = place(offset, index).wrapping_mul(count);
            sum.places = sum.places.wrapping_add(hash);
        }
        sum
    }

    /// Offsets 100..104 with five events each.
    fn sound() -> Rows {
        let places = (100..104).flat_map(|offset| (0..5).map(move |index| (offset, index)));
        places.map(|place| (place, 1)).collect()
    }

    fn narrow(damaged: &Rows, expected: Sum) -> Narrowed {
        let mut narrowing = Narrowing::new(100, 104, expected);
        for (&(offset, index), &rows) in damaged {
            narrowing.push(offset, index, rows, false);
        }
        narrowing.finish(false)
    }

    fn fault(offset: u64, index: u16, what: Wrong) -> Fault {
        Fault {
            offset,
            index,
            what,
        }
    }

    #[test]
    fn the_hash_is_the_one_of_clickhouse() {
        // SELECT intHash64(0), intHash64(1), intHash64(100 * 65536 + 3)
        assert_eq!(place(0, 0), 4_761_183_170_873_013_810);
        assert_eq!(place(0, 1), 10_577_349_846_663_553_072);
        assert_eq!(place(100, 3), 17_481_222_332_705_915_319);
    }

    proptest! {
        #[test]
        fn a_hash_can_be_taken_back(value in any::<u64>()) {
            let (offset, index) = (value / 65_536, (value % 65_536) as u16);
            prop_assert_eq!(unhash(place(offset, index)), value);
        }

        #[test]
        fn a_single_missing_row_is_named(at in any::<prop::sample::Index>()) {
            let mut rows = sound();
            let (&(offset, index), _) = rows.iter().nth(at.index(rows.len())).unwrap();
            rows.remove(&(offset, index));
            let narrowed = narrow(&rows, sum(&sound()));
            prop_assert_eq!(narrowed.faults, [fault(offset, index, Wrong::Missing)]);
            prop_assert!(narrowed.is_all);
        }

        #[test]
        fn a_double_is_named_and_does_not_hide_a_missing_row(
            double in any::<prop::sample::Index>(),
            missing in any::<prop::sample::Index>(),
        ) {
            let mut rows = sound();
            let places: Vec<_> = rows.keys().copied().collect();
            let (double, missing) = (*double.get(&places), *missing.get(&places));
            prop_assume!(double != missing);
            rows.insert(double, 2);
            rows.remove(&missing);
            let mut faults = vec![
                fault(double.0, double.1, Wrong::Double),
                fault(missing.0, missing.1, Wrong::Missing),
            ];
            faults.sort_by_key(|fault| (fault.offset, fault.index));
            let narrowed = narrow(&rows, sum(&sound()));
            prop_assert_eq!(narrowed, Narrowed { faults, is_all: true });
        }
    }

    #[test]
    fn a_row_that_the_ledger_does_not_know_is_named() {
        let mut rows = sound();
        rows.insert((102, 900), 1);
        let narrowed = narrow(&rows, sum(&sound()));
        assert_eq!(narrowed.faults, [fault(102, 900, Wrong::Unknown)]);
        assert!(narrowed.is_all);
    }

    #[test]
    fn a_row_with_another_place_is_named_with_the_place_it_should_have() {
        let mut rows = sound();
        rows.remove(&(101, 2));
        rows.insert((101, 77), 1);
        let narrowed = narrow(&rows, sum(&sound()));
        let faults = [
            fault(101, 2, Wrong::Missing),
            fault(101, 77, Wrong::Unknown),
        ];
        assert_eq!(narrowed.faults, faults);
        assert!(narrowed.is_all);
    }

    #[test]
    fn several_missing_rows_are_named_where_they_leave_holes() {
        let mut rows = sound();
        for place in [(100, 1), (101, 0), (103, 4)] {
            rows.remove(&place);
        }
        let narrowed = narrow(&rows, sum(&sound()));
        let faults = [
            fault(100, 1, Wrong::Missing),
            fault(101, 0, Wrong::Missing),
            fault(103, 4, Wrong::Missing),
        ];
        assert_eq!(narrowed.faults, faults);
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed_beyond_holes() {
        let mut rows = sound();
        for place in [(100, 4), (101, 4), (102, 1)] {
            rows.remove(&place);
        }
        let narrowed = narrow(&rows, sum(&sound()));
        assert_eq!(narrowed.faults, [fault(102, 1, Wrong::Hole)]);
        assert!(!narrowed.is_all);
    }

    #[test]
    fn a_removed_row_that_still_stands_explains_the_surplus() {
        let rows = sound();
        let mut without = rows.clone();
        without.remove(&(100, 3));
        let mut narrowing = Narrowing::new(100, 104, sum(&without));
        for &(offset, index) in rows.keys() {
            narrowing.push(offset, index, 1, (offset, index) == (100, 3));
        }
        let narrowed = narrowing.finish(true);
        assert_eq!(narrowed.faults, [fault(100, 3, Wrong::Removed)]);
        assert!(narrowed.is_all);
    }
}
