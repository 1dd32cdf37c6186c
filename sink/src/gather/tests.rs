//! Cuts, and cuts made again.

use std::time::Duration;

use chrono::DateTime;
use event::{Event, EventId};
use proptest::prelude::*;

use super::*;
use crate::window::Window;

const LIMITS: CutLimits = CutLimits {
    rows_max: 3,
    bytes_max: 10_000,
    age_max: Duration::from_millis(500),
};
const TICK: Duration = Duration::from_millis(1);

fn event(id: u128, origin: IdOrigin) -> Event {
    let time = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
    Event {
        id: EventId {
            uuid: Uuid::from_u128(id),
            origin,
        },
        site_id: "site".parse().unwrap(),
        event_type: "page_view".parse().unwrap(),
        path: "/".parse().unwrap(),
        user_id: String::new(),
        timestamp: time,
        received_at: time,
        referrer: String::new(),
        props: Vec::new(),
        context: event::Context::default(),
    }
}

/// A record's value: a batch of client-made ids. The same ids are the same flush sent again.
fn batch(ids: &[u128]) -> Vec<u8> {
    let id = ids
        .iter()
        .fold(7, |id: u128, next| id.wrapping_mul(1_000_003) + next);
    let mut batch = event::wire::BatchEncoder::new(Uuid::from_u128(id));
    for id in ids {
        batch.push(&event::wire::encode(&event(*id, IdOrigin::Client)));
    }
    batch.finish()
}

fn record(partition: u16, offset: u64, value: &[u8]) -> Record<'_> {
    Record {
        partition,
        offset,
        key: None,
        schema: Some(event::wire::SCHEMA_VERSION.as_bytes()),
        value: Some(value),
    }
}

/// Who inserts, in all of these.
const OWNER: u64 = 5;

const LOG: u32 = 1;

fn cut(gather: &mut Gather) -> Cut {
    gather.cut(Uuid::from_u128(9), LOG)
}

#[test]
fn a_cut_is_due_once_its_first_record_has_waited_age_max() {
    let opened = Instant::now();
    let mut gather = Gather::default();
    assert!(
        !gather.is_due(&LIMITS, opened + LIMITS.age_max),
        "nothing gathered"
    );
    let mut memory = Memory::empty(10);
    gather.accept(record(0, 0, &batch(&[1])), 0, OWNER, &mut memory, opened);
    gather.accept(
        record(0, 1, &batch(&[2])),
        1,
        OWNER,
        &mut memory,
        opened + TICK,
    );
    assert!(!gather.is_due(&LIMITS, opened + LIMITS.age_max - TICK));
    assert!(gather.is_due(&LIMITS, opened + LIMITS.age_max));
    assert_eq!(gather.due_at(&LIMITS), Some(opened + LIMITS.age_max));
}

#[test]
fn a_cut_is_due_at_once_when_it_has_rows_max_or_bytes_max() {
    let now = Instant::now();
    let mut memory = Memory::empty(10);
    let mut gather = Gather::default();
    gather.accept(record(0, 0, &batch(&[1, 2])), 0, OWNER, &mut memory, now);
    assert!(!gather.is_full(&LIMITS));
    gather.accept(record(1, 0, &batch(&[3])), 0, OWNER, &mut memory, now);
    assert!(gather.is_full(&LIMITS));
    let mut gather = Gather::default();
    let garbage = vec![0xFF; LIMITS.bytes_max];
    gather.accept(record(0, 0, &garbage), 0, OWNER, &mut memory, now);
    assert!(gather.is_full(&LIMITS), "dead letters take memory too");
}

#[test]
fn a_cut_covers_gaps_before_its_records_and_ends_after_the_last() {
    let now = Instant::now();
    let mut memory = Memory::empty(10);
    let mut gather = Gather::default();
    gather.accept(record(3, 7, &batch(&[1])), 5, OWNER, &mut memory, now);
    gather.accept(record(3, 9, &batch(&[2])), 8, OWNER, &mut memory, now);
    let cut = cut(&mut gather);
    let range = Range {
        partition: 3,
        from: 5,
        to: 10,
    };
    assert!(cut.ranges().eq([range]));
    assert!(gather.is_empty());
    assert_eq!(gather.due_at(&LIMITS), None);
}

#[test]
fn a_repeat_is_dropped_within_a_record_and_across_records() {
    let now = Instant::now();
    let mut memory = Memory::empty(10);
    let mut gather = Gather::default();
    gather.accept(record(0, 0, &batch(&[1, 1, 2])), 0, OWNER, &mut memory, now);
    gather.accept(record(0, 1, &batch(&[2, 3])), 1, OWNER, &mut memory, now);
    let cut = cut(&mut gather);
    assert_eq!((cut.rows, cut.repeats()), (3, 2));
}

#[test]
fn a_range_of_nothing_but_repeats_still_moves_its_partition() {
    let now = Instant::now();
    let mut memory = Memory::empty(10);
    memory.events.admit(window::key("site", Uuid::from_u128(1)));
    let mut gather = Gather::default();
    gather.accept(record(0, 4, &batch(&[1])), 4, OWNER, &mut memory, now);
    let cut = cut(&mut gather);
    assert_eq!((cut.rows, cut.repeats()), (0, 1));
    assert_eq!(cut.entries[0].range.to, 5);
}

#[test]
fn a_flush_that_is_sent_again_is_dropped_whole_also_with_ids_made_at_the_edge() {
    let now = Instant::now();
    let mut flush = event::wire::BatchEncoder::new(Uuid::from_u128(77));
    for id in 0..3 {
        flush.push(&event::wire::encode(&event(id, IdOrigin::Edge)));
    }
    let flush = flush.finish();
    let mut memory = Memory::empty(10);
    let mut gather = Gather::default();
    gather.accept(record(0, 0, &flush), 0, OWNER, &mut memory, now);
    gather.accept(record(0, 1, &flush), 1, OWNER, &mut memory, now);
    let cut = cut(&mut gather);
    assert_eq!((cut.rows, cut.repeats()), (3, 3));
    let entry = &cut.entries[0];
    assert_eq!((entry.records, entry.events, entry.rows), (2, 6, 3));
    assert_eq!(entry.batches, [window::batch_key(Uuid::from_u128(77))]);
}

#[test]
fn rows_that_are_stored_already_count_and_are_not_sent_again() {
    let now = Instant::now();
    let mut memory = Memory::empty(10);
    let stored = [(4, 1), (5, 0)].into();
    let mut slice = Slice::new(0, 4, OWNER).beside(stored);
    slice.accept(record(0, 4, &batch(&[1, 2, 3])), &mut memory);
    slice.accept(record(0, 5, &batch(&[4])), &mut memory);
    let beside = Cut::new(Uuid::from_u128(9), LOG, vec![slice]);
    let mut gather = Gather::default();
    let mut memory = Memory::empty(10);
    gather.accept(record(0, 4, &batch(&[1, 2, 3])), 4, OWNER, &mut memory, now);
    gather.accept(record(0, 5, &batch(&[4])), 5, OWNER, &mut memory, now);
    let whole = cut(&mut gather);
    assert_eq!((beside.rows, whole.rows), (2, 4));
    assert_eq!(beside.entries, whole.entries, "the ledger says the same");
}

#[test]
fn a_cut_is_full_once_it_touches_a_hundred_months() {
    let mut memory = Memory::empty(10);
    let mut gather = Gather::default();
    for month in 0..MONTHS_MAX as i64 {
        assert!(!gather.is_full(&CutLimits::default()));
        let mut old = event(month as u128, IdOrigin::Edge);
        let date = format!("{}-{:02}-10T00:00:00Z", 2005 + month / 12, month % 12 + 1);
        old.timestamp = date.parse().unwrap();
        let mut batch = event::wire::BatchEncoder::new(Uuid::from_u128(month as u128));
        batch.push(&event::wire::encode(&old));
        let offset = month as u64;
        let record = batch.finish();
        gather.accept(
            self::record(0, offset, &record),
            offset,
            OWNER,
            &mut memory,
            Instant::now(),
        );
    }
    assert!(gather.is_full(&CutLimits::default()));
    cut(&mut gather);
    assert!(!gather.is_full(&CutLimits::default()));
}

#[test]
fn ids_made_at_the_edge_are_never_repeats() {
    let encoded = event::wire::encode(&event(1, IdOrigin::Edge));
    let mut batch = event::wire::BatchEncoder::new(Uuid::nil());
    batch.push(&encoded);
    batch.push(&encoded);
    let mut gather = Gather::default();
    gather.accept(
        record(0, 0, &batch.finish()),
        0,
        OWNER,
        &mut Memory::empty(10),
        Instant::now(),
    );
    assert_eq!(cut(&mut gather).rows, 2);
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_with_its_place_and_reason() {
    let mut gather = Gather::default();
    let mut memory = Memory::empty(10);
    let garbage = Record {
        key: Some(b"key"),
        ..record(2, 8, b"garbage")
    };
    gather.accept(garbage, 8, OWNER, &mut memory, Instant::now());
    gather.accept(
        Record {
            schema: None,
            ..garbage
        },
        9,
        OWNER,
        &mut memory,
        Instant::now(),
    );
    let cut = cut(&mut gather);
    assert_eq!((cut.rows, cut.dead_letters.len()), (0, 2));
    let dead = &cut.dead_letters[0];
    assert_eq!((dead.partition, dead.offset), (2, 8));
    assert_eq!(dead.value.as_deref(), Some(b"garbage".as_slice()));
    assert_eq!(dead.key.as_deref(), Some(b"key".as_slice()));
    assert!(dead.reason.contains("not an EventBatch"), "{}", dead.reason);
    assert!(cut.dead_letters[1].reason.contains("no weir-schema header"));
}

#[test]
fn a_cut_takes_all_partitions_however_many_there_are() {
    let now = Instant::now();
    let mut gather = Gather::default();
    for partition in 0..500 {
        gather.accept(
            record(partition, 0, &batch(&[1])),
            0,
            OWNER,
            &mut Memory::empty(10),
            now,
        );
    }
    assert_eq!(cut(&mut gather).ranges().count(), 500);
    assert!(gather.is_empty());
}

#[test]
fn what_was_gathered_of_a_partition_is_forgotten_when_it_is_given_up() {
    let now = Instant::now();
    let mut gather = Gather::default();
    gather.accept(
        record(0, 0, &batch(&[1, 2])),
        0,
        OWNER,
        &mut Memory::empty(10),
        now,
    );
    gather.accept(
        record(1, 0, &batch(&[3])),
        0,
        OWNER,
        &mut Memory::empty(10),
        now,
    );
    gather.forget(0);
    assert!(!gather.is_full(&LIMITS));
    assert_eq!(cut(&mut gather).rows, 1);
    gather.forget(1);
    assert!(gather.is_empty());
}

#[test]
fn a_cut_in_the_memory_of_another_holds_its_own_rows_alone() {
    let cut_at = |gather: &mut Gather, offset: u64| {
        for partition in 0..2_u16 {
            let value = batch(&[u128::from(offset) * 10 + u128::from(partition)]);
            let record = record(partition, offset, &value);
            let mut memory = Memory::empty(10);
            gather.accept(record, offset, OWNER, &mut memory, Instant::now());
        }
        cut(gather)
    };
    let bytes = |cut: &Cut| cut.block.pieces(1024).collect::<Vec<_>>().concat();
    let mut gather = Gather::default();
    let first = cut_at(&mut gather, 0);
    gather.reuse(first);
    assert_eq!(gather.spare.len(), 2);
    let second = cut_at(&mut gather, 1);
    assert!(gather.spare.is_empty());
    assert_eq!(bytes(&second), bytes(&cut_at(&mut Gather::default(), 1)));
}

proptest! {
    /// The promise that recovery rests on: whatever rows of a range are stored, and however a window
    /// was filled, those that are missing are sent and the ledger says the same.
    #[test]
    fn a_range_is_completed_whatever_is_stored_of_it(
        log in proptest::collection::vec((0..3_u16, proptest::collection::vec(0..30_u128, 1..4)), 1..40),
        before in any::<prop::sample::Index>(),
        window_limit in 0..12_u32,
        is_stored in proptest::collection::vec(any::<bool>(), 120),
    ) {
        let mut offsets = [0_u64; 3];
        let records: Vec<(u16, u64, Vec<u8>)> = log
            .iter()
            .map(|(partition, ids)| {
                let offset = &mut offsets[usize::from(*partition)];
                *offset += 1;
                (*partition, *offset - 1, batch(ids))
            })
            .collect();
        let (before, after) = records.split_at(before.index(records.len()));

        // The first time: memories are those left by the cuts before.
        let mut memories: Vec<Memory> = (0..3).map(|_| Memory::empty(window_limit)).collect();
        let mut accepted: [Vec<u64>; 3] = Default::default();
        let mut batches: [Vec<u64>; 3] = Default::default();
        for (partition, _, value) in before {
            let at = usize::from(*partition);
            let decoded = event::wire::decode(Some(b"1"), Some(value)).unwrap();
            let key = window::batch_key(decoded.id);
            if !memories[at].batches.admit(key) {
                continue;
            }
            batches[at].push(key);
            for event in decoded.events {
                let key = window::key("site", event.id.uuid);
                if memories[at].events.admit(key) {
                    accepted[at].push(key);
                }
            }
        }
        let mut next: Vec<u64> = (0..3_u16)
            .map(|p| before.iter().filter(|(partition, ..)| *partition == p).count() as u64)
            .collect();
        let mut gather = Gather::default();
        for (partition, offset, value) in after {
            let at = usize::from(*partition);
            gather.accept(record(*partition, *offset, value), next[at], OWNER, &mut memories[at], Instant::now());
            next[at] = offset + 1;
        }
        let whole = cut(&mut gather);

        // Again, beside some of its rows; windows filled from what was stored before.
        let mut is_stored = is_stored.iter().cycle();
        let mut slices = Vec::new();
        let mut stored_rows = 0;
        for (part, entry) in whole.block.parts.iter().zip(&whole.entries) {
            let range = entry.range;
            let at = usize::from(range.partition);
            let newest_first = |stored: &[u64]| {
                Window::new(window_limit, stored.iter().rev().copied())
            };
            let mut memory = Memory {
                events: newest_first(&accepted[at]),
                batches: newest_first(&batches[at]),
            };
            let stored: HashSet<_> = part
                .columns
                .places()
                .into_iter()
                .filter(|_| *is_stored.next().unwrap())
                .collect();
            stored_rows += stored.len();
            let mut slice = Slice::new(range.partition, range.from, OWNER).beside(stored);
            for (partition, offset, value) in &records {
                if *partition == range.partition && (range.from..range.to).contains(offset) {
                    slice.accept(record(*partition, *offset, value), &mut memory);
                }
            }
            slice.reach(range.to);
            slices.push(slice);
        }
        let rest = Cut::new(Uuid::from_u128(10), LOG, slices);
        prop_assert_eq!(rest.rows + stored_rows, whole.rows);
        prop_assert_eq!(rest.entries, whole.entries);
    }
}
