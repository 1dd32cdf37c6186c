//! The encoding: what is written is read back, and what is not a record errs and never panics.

use event::Path;
use event::limits::CONTEXT_BYTES_MAX;
use event::wire::{
    BATCH_EVENTS_MAX, BatchEncoder, DecodeError, EventBatch, SCHEMA_VERSION, decode, encode,
    partition_of,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::{events, with};

const SCHEMA: Option<&[u8]> = Some(SCHEMA_VERSION.as_bytes());

fn record(batch: &EventBatch) -> Vec<u8> {
    let mut encoder = BatchEncoder::new(batch.id);
    for event in &batch.events {
        encoder.push(&encode(event));
    }
    assert_eq!(encoder.events(), batch.events.len());
    encoder.finish()
}

fn batches() -> impl Strategy<Value = EventBatch> {
    (any::<u128>(), prop::collection::vec(events(), 1..5)).prop_map(|(id, events)| EventBatch {
        id: Uuid::from_u128(id),
        events,
    })
}

fn one() -> EventBatch {
    EventBatch {
        id: Uuid::from_u128(7),
        events: vec![with("path", "/a").unwrap()],
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(batch in batches()) {
        prop_assert_eq!(decode(SCHEMA, Some(&record(&batch))), Ok(batch));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(SCHEMA, Some(&bytes));
        let _ = decode(Some(&bytes), Some(&bytes));
    }

    #[test]
    fn a_mutated_record_decodes_or_errs_the_same_each_time(
        batch in batches(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = record(&batch);
        for (index, byte) in mutations {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let decoded = decode(SCHEMA, Some(&bytes));
        prop_assert_eq!(&decode(SCHEMA, Some(&bytes)), &decoded);
        // What passes for a record is one: written again, it reads the same.
        if let Ok(batch) = decoded {
            prop_assert_eq!(decode(SCHEMA, Some(&record(&batch))), Ok(batch));
        }
    }

    #[test]
    fn a_partition_is_one_of_the_topics(id in any::<u128>(), partitions in 1_u32..2000) {
        prop_assert!(partition_of(Uuid::from_u128(id), partitions) < partitions);
    }
}

#[test]
fn a_record_without_its_schema_or_of_another_one_is_refused() {
    let value = record(&one());
    assert_eq!(decode(None, Some(&value)), Err(DecodeError::NoSchema));
    for schema in ["", "0", "2", "11", "\u{e9}"] {
        assert_eq!(
            decode(Some(schema.as_bytes()), Some(&value)),
            Err(DecodeError::Schema(schema.to_owned()))
        );
    }
    let long = vec![b'9'; 10_000];
    assert!(
        decode(Some(&long), Some(&value))
            .unwrap_err()
            .to_string()
            .len()
            < 150
    );
}

#[test]
fn a_record_without_a_value_an_id_or_events_is_refused() {
    assert_eq!(decode(SCHEMA, None), Err(DecodeError::Empty));
    assert_eq!(decode(SCHEMA, Some(b"")), Err(DecodeError::Empty));
    assert_eq!(
        decode(SCHEMA, Some(&BatchEncoder::new(Uuid::nil()).finish())),
        Err(DecodeError::EventCount(0))
    );
    // batch_id of 3 bytes.
    assert_eq!(
        decode(SCHEMA, Some(b"\x0a\x03abc")),
        Err(DecodeError::BatchId(3))
    );
}

#[test]
fn an_event_that_breaks_the_contract_names_its_index_and_its_fault() {
    let good = encode(&with("path", "/a").unwrap());
    let mut bad = good.clone();
    // site_id once more, empty: in protobuf the last one counts.
    bad.extend_from_slice(&[0x1a, 0x00]);
    let mut encoder = BatchEncoder::new(Uuid::nil());
    encoder.push(&good);
    encoder.push(&bad);
    let Err(DecodeError::Event { index, reason }) = decode(SCHEMA, Some(&encoder.finish())) else {
        panic!("it decodes");
    };
    assert_eq!(index, 1);
    assert!(reason.starts_with("site_id"), "{reason}");
}

#[test]
fn a_text_of_the_context_has_a_limit() {
    for (bytes, is_good) in [(CONTEXT_BYTES_MAX, true), (CONTEXT_BYTES_MAX + 1, false)] {
        let mut batch = one();
        batch.events[0].context.source = format!("{}\t\t\t\t\t\t", "x".repeat(bytes - 6));
        let decoded = decode(SCHEMA, Some(&record(&batch)));
        assert_eq!(decoded == Ok(batch), is_good);
    }
}

#[test]
fn a_path_is_read_as_it_was_written() {
    let mut batch = one();
    batch.events[0].path = Path::normal("/?p=12#/about").unwrap().into();
    assert_eq!(decode(SCHEMA, Some(&record(&batch))), Ok(batch));
}

#[test]
fn a_batch_takes_65535_events_and_no_more() {
    let event = encode(&with("path", "/a").unwrap());
    let mut encoder = BatchEncoder::new(Uuid::nil());
    for _ in 0..BATCH_EVENTS_MAX {
        assert!(encoder.has_room(1, event.len() + 6, usize::MAX / 2));
        encoder.push(&event);
    }
    assert!(!encoder.has_room(1, event.len() + 6, usize::MAX / 2));
    let mut value = encoder.finish();
    assert_eq!(
        decode(SCHEMA, Some(&value)).unwrap().events.len(),
        BATCH_EVENTS_MAX
    );
    value.push(0x12);
    value.push(u8::try_from(event.len()).unwrap());
    value.extend_from_slice(&event);
    assert_eq!(
        decode(SCHEMA, Some(&value)),
        Err(DecodeError::EventCount(BATCH_EVENTS_MAX + 1))
    );
}

#[test]
fn a_record_never_grows_beyond_the_room_it_was_asked_for() {
    let event = encode(&with("referrer", "x".repeat(500)).unwrap());
    let mut encoder = BatchEncoder::new(Uuid::nil());
    while encoder.has_room(1, event.len() + 6, 10_000) {
        encoder.push(&event);
    }
    let bytes = encoder.finish().len();
    assert!(
        (10_000 - event.len() - 10..=10_000).contains(&bytes),
        "{bytes}"
    );
}

#[test]
fn the_formula_of_partitions_is_part_of_the_contract() {
    // Computed by hand from the words in its documentation; a change would part repeats.
    let placed: Vec<u32> = [1_u128, 2, 3, 0x018f_3f3e_7a1b_7c3d_8e4f_0000_0000_0001]
        .map(|bits| partition_of(Uuid::from_u128(bits), 8))
        .to_vec();
    let by_hand = |bits: u128| {
        let mixed = u128::from((bits >> 64) as u64 ^ bits as u64) * 0x9E37_79B9_7F4A_7C15;
        ((mixed >> 32) as u32) % 8
    };
    assert_eq!(
        placed,
        [1, 2, 3, 0x018f_3f3e_7a1b_7c3d_8e4f_0000_0000_0001].map(by_hand)
    );
    assert_eq!(placed[..3], [1, 2, 4]);
}

#[test]
fn partitions_are_used_evenly() {
    let mut counts = [0_u32; 8];
    for nth in 0..80_000_u128 {
        let id = Uuid::new_v5(&Uuid::nil(), &nth.to_le_bytes());
        counts[partition_of(id, 8) as usize] += 1;
    }
    assert!(
        counts.iter().all(|count| (9_500..10_500).contains(count)),
        "{counts:?}"
    );
}
