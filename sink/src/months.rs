//! How many months a cut touches: rows of each month are a part of their own in a table.

/// A set of periods of an average month's length, each of which overlaps at most two months of the
/// calendar: far cheaper to find than the months themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Months {
    /// A bit a period since 2000.
    periods: [u64; WORDS],
    count: usize,
}

/// Enough for the years 2000 to 2200.
const WORDS: usize = 38;
const SINCE_MS: i64 = 946_684_800_000;
const PERIOD_MS: i64 = 2_629_746_000;

impl Default for Months {
    fn default() -> Self {
        Self {
            periods: [0; WORDS],
            count: 0,
        }
    }
}

impl Months {
    /// Adds the month of a time in milliseconds since 1970.
    pub(crate) fn add(&mut self, millis: i64) {
        let period = (millis - SINCE_MS) / PERIOD_MS;
        let period = usize::try_from(period).unwrap_or(0).min(WORDS * 64 - 1);
        let (word, bit) = (period / 64, 1 << (period % 64));
        if self.periods[word] & bit == 0 {
            self.periods[word] |= bit;
            self.count += 1;
        }
    }

    pub(crate) fn merge(&mut self, others: &Self) {
        if others.count == 0 || self.periods == others.periods {
            return;
        }
        for (word, other) in self.periods.iter_mut().zip(others.periods) {
            *word |= other;
        }
        self.count = self
            .periods
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum();
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, Datelike};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_count_is_at_most_twice_too_small_or_too_large(
            times in proptest::collection::vec(946_684_800_000..7_258_118_400_000_i64, 0..300),
            at in any::<prop::sample::Index>(),
        ) {
            let calendar: BTreeSet<_> = times
                .iter()
                .map(|time| {
                    let date = DateTime::from_timestamp_millis(*time).unwrap();
                    (date.year(), date.month())
                })
                .collect();
            let (mut months, mut others) = (Months::default(), Months::default());
            let (some, rest) = times.split_at(at.index(times.len() + 1));
            some.iter().for_each(|time| months.add(*time));
            rest.iter().for_each(|time| others.add(*time));
            months.merge(&others);
            prop_assert!(months.count() * 2 >= calendar.len());
            prop_assert!(months.count() <= calendar.len() * 2);
        }
    }
}
