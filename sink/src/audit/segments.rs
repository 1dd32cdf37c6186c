//! Ranges of the ledger, in order: what they promise of the rows, and where they leave gaps or
//! overlap. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::report::Kind;

/// One row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) cut: Uuid,
    pub(super) records: u64,
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) repeats: u64,
    pub(super) dead_letters: u64,
    pub(super) places: u64,
}

/// Rows and the wrapping sum of their places' hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) places: u64,
}

impl Sum {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.wrapping_add(other.rows),
            places: self.places.wrapping_add(other.places),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            rows: self.rows.wrapping_sub(other.rows),
            places: self.places.wrapping_sub(other.places),
        }
    }
}

/// Ranges that overlap each other, almost always a single one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: u64,
    pub(super) to: u64,
    /// In order; the same one again is left out.
    pub(super) entries: Vec<Entry>,
}

impl Segment {
    fn new(entry: Entry) -> Self {
        Self {
            from: entry.from,
            to: entry.to,
            entries: vec![entry],
        }
    }

    /// What should be stored; None where its ranges overlap, so that nothing follows from them.
    pub(super) fn expected(&self) -> Option<Sum> {
        match self.entries.as_slice() {
            [entry] => Some(Sum {
                rows: entry.rows,
                places: entry.places,
            }),
            _ => None,
        }
    }
}

/// What is wrong with the ledger itself, in offsets `from..to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) kind: Kind,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) expected: Option<u64>,
    pub(super) found: Option<u64>,
    pub(super) text: String,
}

/// Puts entries into segments, in the order of their offsets.
pub(super) fn segments(mut entries: Vec<Entry>) -> Vec<Segment> {
    entries.sort_unstable_by_key(|entry| (entry.from, entry.to, entry.cut));
    let mut segments: Vec<Segment> = Vec::new();
    for entry in entries {
        match segments.last_mut() {
            Some(segment) if entry.from < segment.to || entry.from == segment.from => {
                // Its INSERT was repeated beyond the deduplication window: harmless.
                if !segment.entries.contains(&entry) {
                    segment.entries.push(entry);
                    segment.to = segment.to.max(entry.to);
                }
            }
            _ => segments.push(Segment::new(entry)),
        }
    }
    segments
}

/// What lies before a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It is the first one, and where the log began is not known.
    Unknown,
    /// It is the first one, and the log has no offsets before this one.
    Log(u64),
    /// Another segment, with this end.
    Segment(u64),
}

/// The flaws of one segment.
pub(super) fn flaws(segment: &Segment, before: Before) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    if let Before::Log(reached) | Before::Segment(reached) = before
        && reached < segment.from
    {
        flaws.push(gap(reached, segment.from));
    }
    if let Before::Segment(reached) = before
        && segment.from < reached
    {
        flaws.push(Flaw {
            kind: Kind::Overlap,
            from: segment.from,
            to: reached.min(segment.to),
            expected: None,
            found: None,
            text: "overlap: a range before them holds them too".to_owned(),
        });
    }
    for pair in segment.entries.windows(2) {
        flaws.extend(overlap(&pair[0], &pair[1]));
    }
    for entry in &segment.entries {
        flaws.extend(imbalance(entry));
        flaws.extend(missing_records(entry));
    }
    flaws
}

pub(super) fn gap(from: u64, to: u64) -> Flaw {
    Flaw {
        kind: Kind::Gap,
        from,
        to,
        expected: None,
        found: None,
        text: "gap: no range of the ledger holds them".to_owned(),
    }
}

fn overlap(one: &Entry, next: &Entry) -> Option<Flaw> {
    let (from, to) = (next.from, one.to.min(next.to));
    let is_same = one.cut == next.cut && one.from == next.from && one.to == next.to;
    if !is_same && from >= to {
        // Neighbours in a segment that a third, longer range holds together.
        return None;
    }
    let (kind, text) = if is_same {
        let text = format!("cut {} stands in the ledger with other figures", one.cut);
        (Kind::Contradiction, text)
    } else {
        let text = format!(
            "overlap: cut {} of {}..{} and cut {} of {}..{} hold the same offsets",
            one.cut, one.from, one.to, next.cut, next.from, next.to
        );
        (Kind::Overlap, text)
    };
    Some(Flaw {
        kind,
        from,
        to,
        expected: None,
        found: None,
        text,
    })
}

fn imbalance(entry: &Entry) -> Option<Flaw> {
    let accounted = entry.rows.saturating_add(entry.repeats);
    (entry.events != accounted).then(|| Flaw {
        kind: Kind::Unbalanced,
        from: entry.from,
        to: entry.to,
        expected: Some(entry.events),
        found: Some(accounted),
        text: format!(
            "{} events came in, {} rows and {} repeats are accounted for",
            entry.events, entry.rows, entry.repeats
        ),
    })
}

fn missing_records(entry: &Entry) -> Option<Flaw> {
    let span = entry.to.saturating_sub(entry.from);
    if entry.to > entry.from && entry.records == span {
        return None;
    }
    let text = if entry.to <= entry.from {
        "the range is empty or ends before it begins".to_owned()
    } else if entry.records < span {
        let missing = span - entry.records;
        format!("{missing} of {span} offsets had no record")
    } else {
        format!("{} records at {span} offsets", entry.records)
    };
    Some(Flaw {
        kind: Kind::OffsetsWithoutRecord,
        from: entry.from,
        to: entry.to,
        expected: Some(span),
        found: Some(entry.records),
        text,
    })
}

/// Rows that lie together: within one range of the ledger, or between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) sum: Sum,
    /// The least and the greatest offset of them.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Whether they are from before rows knew their log.
    pub(super) is_unlogged: bool,
}

/// Rows that no segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stray {
    pub(super) rows: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Gives groups to their segments: the sum of each segment, and what stands between and behind.
pub(super) fn assign(segments: &[Segment], groups: &[Group]) -> (Vec<Sum>, Vec<Stray>) {
    let mut sums = vec![Sum::default(); segments.len()];
    let mut strays: BTreeMap<u64, Stray> = BTreeMap::new();
    for group in groups {
        let after = segments.partition_point(|segment| segment.from <= group.first);
        let holder = after.checked_sub(1).map(|index| (index, &segments[index]));
        match holder {
            // A longer range of the segment may hold what stands behind a shorter one's end.
            Some((index, segment)) if group.first < segment.to => {
                sums[index] = sums[index].plus(group.sum);
            }
            // The ledger knows of them only what it took in.
            _ if group.is_unlogged => {}
            _ => {
                let stray = Stray {
                    rows: group.sum.rows,
                    first: group.first,
                    last: group.last,
                };
                strays.insert(group.first, stray);
            }
        }
    }
    (sums, strays.into_values().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(from: u64, to: u64, cut: u128) -> Entry {
        Entry {
            from,
            to,
            cut: Uuid::from_u128(cut),
            records: to.saturating_sub(from),
            events: 10,
            rows: 9,
            repeats: 1,
            dead_letters: 0,
            places: 77,
        }
    }

    fn all_flaws(entries: Vec<Entry>, mut before: Before) -> Vec<(Kind, u64, u64)> {
        let mut all = Vec::new();
        for segment in segments(entries) {
            let flaws = flaws(&segment, before);
            all.extend(flaws.iter().map(|flaw| (flaw.kind, flaw.from, flaw.to)));
            before = Before::Segment(segment.to);
        }
        all
    }

    proptest! {
        #[test]
        fn ranges_that_follow_each_other_have_no_flaw_in_any_order_and_however_often(
            lengths in proptest::collection::vec(1..1000_u64, 1..50),
            again in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut at = 0;
            let mut entries: Vec<Entry> = Vec::new();
            for length in lengths {
                entries.push(entry(at, at + length, u128::from(at)));
                at += length;
            }
            let count = entries.len();
            for index in again {
                entries.push(*index.get(&entries[..count]));
            }
            entries.reverse();
            prop_assert_eq!(segments(entries.clone()).len(), count);
            prop_assert_eq!(all_flaws(entries, Before::Log(0)), []);
        }

        #[test]
        fn a_range_that_is_taken_away_leaves_a_gap_of_its_very_offsets(
            lengths in proptest::collection::vec(1..1000_u64, 2..50),
            gone in any::<prop::sample::Index>(),
        ) {
            let mut at = 0;
            let mut entries: Vec<Entry> = Vec::new();
            for length in lengths {
                entries.push(entry(at, at + length, u128::from(at)));
                at += length;
            }
            let end = *entries.last().unwrap();
            let gone = entries.remove(gone.index(entries.len()));
            let expected = if gone == end { vec![] } else { vec![(Kind::Gap, gone.from, gone.to)] };
            prop_assert_eq!(all_flaws(entries, Before::Log(0)), expected);
        }
    }

    #[test]
    fn two_cuts_of_the_same_offsets_overlap_there_and_promise_nothing() {
        let entries = vec![entry(0, 10, 1), entry(8, 20, 2), entry(20, 21, 3)];
        assert_eq!(segments(entries.clone())[0].expected(), None);
        assert_eq!(all_flaws(entries, Before::Log(0)), [(Kind::Overlap, 8, 10)]);
        let same = vec![entry(0, 10, 1), entry(0, 10, 2)];
        assert_eq!(all_flaws(same, Before::Log(0)), [(Kind::Overlap, 0, 10)]);
    }

    #[test]
    fn a_log_may_begin_after_the_ledger_but_no_range_before_another_ends() {
        let segment = &segments(vec![entry(5, 10, 1)])[0];
        assert_eq!(flaws(segment, Before::Log(7)), []);
        assert_eq!(flaws(segment, Before::Log(4))[0].kind, Kind::Gap);
        let overlap = &flaws(segment, Before::Segment(7))[0];
        assert_eq!(
            (overlap.kind, overlap.from, overlap.to),
            (Kind::Overlap, 5, 7)
        );
    }

    #[test]
    fn one_cut_with_two_accounts_of_a_range_contradicts_itself() {
        let mut other = entry(0, 10, 1);
        other.rows = 8;
        other.repeats = 2;
        let entries = vec![entry(0, 10, 1), other];
        assert_eq!(
            all_flaws(entries, Before::Unknown),
            [(Kind::Contradiction, 0, 10)]
        );
    }

    #[test]
    fn events_are_rows_and_repeats_and_offsets_are_records() {
        let mut lossy = entry(0, 10, 1);
        lossy.rows = 8;
        let mut holed = entry(10, 20, 1);
        holed.records = 9;
        let empty = entry(20, 20, 1);
        assert_eq!(
            all_flaws(vec![lossy, holed, empty], Before::Log(0)),
            [
                (Kind::Unbalanced, 0, 10),
                (Kind::OffsetsWithoutRecord, 10, 20),
                (Kind::OffsetsWithoutRecord, 20, 20),
            ]
        );
    }

    #[test]
    fn rows_between_and_behind_the_ranges_are_strays() {
        let segments = segments(vec![entry(5, 10, 1), entry(12, 20, 2)]);
        let group = |first, last| Group {
            sum: Sum { rows: 3, places: 1 },
            first,
            last,
            is_unlogged: false,
        };
        let groups = [
            group(2, 4),
            group(5, 9),
            group(10, 11),
            group(12, 19),
            group(20, 25),
        ];
        let (sums, strays) = assign(&segments, &groups);
        assert_eq!(sums, [Sum { rows: 3, places: 1 }; 2]);
        let bounds: Vec<_> = strays.iter().map(|s| (s.first, s.last)).collect();
        assert_eq!(bounds, [(2, 4), (10, 11), (20, 25)]);
    }

    #[test]
    fn a_range_within_another_does_not_make_strays_of_the_longer_ones_rows() {
        let segments = segments(vec![entry(0, 10, 1), entry(5, 8, 2)]);
        let behind = Group {
            sum: Sum { rows: 2, places: 0 },
            first: 8,
            last: 9,
            is_unlogged: false,
        };
        let (sums, strays) = assign(&segments, &[behind]);
        assert_eq!((sums[0].rows, strays.len()), (2, 0));
    }
}
