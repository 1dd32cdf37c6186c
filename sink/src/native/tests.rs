//! The encoder against a decoder that knows the format from its description alone.

use chrono::DateTime;
use event::{Context, Event, EventId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A row as ClickHouse would show it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    texts: [String; 11],
    timestamp: i64,
    props: Vec<(String, String)>,
    event_id: Uuid,
    origin: u8,
    lag_ms: i64,
    user_origin: u8,
    place: (u16, u64, u16),
    log: u32,
    owner: u64,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.varint()?;
        String::from_utf8(self.take(bytes)?.to_vec()).ok()
    }

    fn texts(&mut self, rows: usize) -> Option<Vec<String>> {
        (0..rows).map(|_| self.text()).collect()
    }

    /// What ClickHouse's documentation of `LowCardinality` in Native says, and nothing else.
    fn low_cardinality(&mut self, rows: usize) -> Option<Vec<String>> {
        if rows == 0 {
            return Some(Vec::new());
        }
        let mut number = || Some(u64::from_le_bytes(self.take(8)?.try_into().unwrap()));
        assert_eq!(number()?, 1, "the keys' version");
        let kind = number()?;
        assert_eq!(kind & !0xFF, 0x200, "keys of its own, and no others");
        let keys = number()?;
        let keys = self.texts(usize::try_from(keys).unwrap())?;
        let counted = u64::from_le_bytes(self.take(8)?.try_into().unwrap());
        assert_eq!(counted, rows as u64);
        let numbers = match kind & 0xFF {
            0 => self.integers::<1>(rows)?,
            1 => self.integers::<2>(rows)?,
            2 => self.integers::<4>(rows)?,
            other => panic!("numbers of kind {other}"),
        };
        let text = |number: i128| keys[usize::try_from(number).unwrap()].clone();
        Some(numbers.into_iter().map(text).collect())
    }

    fn integers<const N: usize>(&mut self, rows: usize) -> Option<Vec<i128>> {
        let integer = |bytes: &[u8]| {
            let mut wide = [0; 16];
            wide[..N].copy_from_slice(bytes);
            i128::from_le_bytes(wide)
        };
        (0..rows).map(|_| self.take(N).map(integer)).collect()
    }
}

/// None if the block is not whole.
fn decode(block: &[u8]) -> Option<Vec<Row>> {
    let mut reader = Reader(block);
    let (columns, rows) = (reader.varint()?, reader.varint()?);
    assert_eq!(columns, COLUMNS.len());
    let head = |reader: &mut Reader<'_>, column: usize| {
        let (name, kind) = (reader.text()?, reader.text()?);
        let Column {
            name: expected,
            kind: declared,
            ..
        } = COLUMNS[column];
        assert_eq!((name.as_str(), kind.as_str()), (expected, declared));
        Some(())
    };
    let mut texts = Vec::new();
    for column in 0..3 {
        head(&mut reader, column)?;
        texts.push(reader.low_cardinality(rows)?);
    }
    head(&mut reader, 3)?;
    texts.push(reader.texts(rows)?);
    head(&mut reader, 4)?;
    let timestamps = reader.integers::<8>(rows)?;
    head(&mut reader, 5)?;
    texts.push(reader.low_cardinality(rows)?);
    head(&mut reader, 6)?;
    let ends = reader.integers::<8>(rows)?;
    let entries = ends.last().map_or(0, |end| usize::try_from(*end).unwrap());
    let (keys, values) = (reader.texts(entries)?, reader.texts(entries)?);
    let mut integers = Vec::new();
    for (column, Column { kind, .. }) in COLUMNS.into_iter().enumerate().skip(7) {
        head(&mut reader, column)?;
        if kind == "LowCardinality(String)" {
            texts.push(reader.low_cardinality(rows)?);
            continue;
        }
        integers.push(match kind {
            "Int64" | "UInt64" => reader.integers::<8>(rows)?,
            "UInt32" => reader.integers::<4>(rows)?,
            "UInt16" => reader.integers::<2>(rows)?,
            _ => reader.integers::<1>(rows)?,
        });
    }
    assert!(reader.0.is_empty(), "nothing follows the block");

    let mut begin = 0;
    let row = |row: usize| {
        let end = usize::try_from(ends[row]).unwrap();
        let props = (begin..end).map(|at| (keys[at].clone(), values[at].clone()));
        let props = props.collect();
        begin = end;
        let timestamp = timestamps[row] as i64;
        let expected = (timestamp << 16) | 0x7000;
        let high = (integers[0][row] as i64)
            .wrapping_add(expected)
            .cast_unsigned();
        Row {
            texts: std::array::from_fn(|column| texts[column][row].clone()),
            timestamp,
            props,
            event_id: Uuid::from_u64_pair(high, integers[1][row] as u64),
            origin: integers[2][row] as u8,
            lag_ms: integers[3][row] as i64,
            place: (
                integers[4][row] as u16,
                integers[5][row] as u64,
                integers[6][row] as u16,
            ),
            user_origin: integers[7][row] as u8,
            log: integers[8][row] as u32,
            owner: integers[9][row] as u64,
        }
    };
    Some((0..rows).map(row).collect())
}

prop_compose! {
    fn events()(
        id in any::<u128>(),
        client in any::<bool>(),
        site in "[a-zA-Z0-9._:-]{1,128}",
        kind in "[a-z_]{1,64}",
        path in "[^?#]{0,300}",
        user_id in ".{0,40}",
        referrer in ".{0,40}",
        millis in 946_684_800_000_i64..7_258_118_400_000,
        lag in 0..1_000_000_i64,
        props in proptest::collection::vec((".{0,10}", ".{0,10}"), 0..4),
        context in proptest::collection::vec(".{0,10}", 6),
        user_by_edge in any::<bool>(),
    ) -> Event {
        let [hostname, source, agent, place, language, screen] = context.try_into().unwrap();
        let uuid = Uuid::from_u128(id);
        let origin = if client { IdOrigin::Client } else { IdOrigin::Edge };
        Event {
            id: EventId { uuid, origin },
            site_id: site.parse().unwrap(),
            event_type: kind.parse().unwrap(),
            path: path.parse().unwrap(),
            user_id,
            timestamp: DateTime::from_timestamp_millis(millis).unwrap(),
            received_at: DateTime::from_timestamp_millis(millis + lag).unwrap(),
            referrer,
            props,
            context: Context {
                hostname,
                source,
                agent,
                place,
                language,
                screen,
                user_origin: if user_by_edge { UserOrigin::Edge } else { UserOrigin::Client },
            },
        }
    }
}

fn expected(event: &Event, place: (u16, u64, u16)) -> Row {
    let texts = [
        event.site_id.as_str(),
        event.event_type.as_str(),
        event.path.as_str(),
        &event.user_id,
        &event.referrer,
        &event.context.hostname,
        &event.context.source,
        &event.context.agent,
        &event.context.place,
        &event.context.language,
        &event.context.screen,
    ];
    Row {
        texts: texts.map(str::to_owned),
        timestamp: event.timestamp.timestamp_millis(),
        props: event.props.clone(),
        event_id: event.id.uuid,
        origin: u8::from(event.id.origin == IdOrigin::Client),
        lag_ms: (event.received_at - event.timestamp).num_milliseconds(),
        place,
        user_origin: u8::from(event.context.user_origin == UserOrigin::Edge),
        log: LOG,
        owner: u64::from(place.0) + 100,
    }
}

const LOG: u32 = 77;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_of_several_partitions_reads_back_row_by_row(
        partitions in proptest::collection::vec(proptest::collection::vec(events(), 0..6), 0..4),
    ) {
        let mut parts = Vec::new();
        let mut rows = Vec::new();
        for (partition, events) in (0_u16..).zip(&partitions) {
            let mut columns = Columns::default();
            for (index, event) in (0_u16..).zip(events) {
                let place = (partition, 1_u64 << 40, index);
                columns.push(&event.into(), place.0, place.1, place.2);
                rows.push(expected(event, place));
            }
            prop_assert_eq!(columns.rows(), events.len());
            parts.push(Part { columns, owner: u64::from(partition) + 100 });
        }
        let block = Rows { parts, log: LOG };
        for piece_bytes in [1, 7, 1024 * 1024] {
            let pieces: Vec<Bytes> = block.pieces(piece_bytes).collect();
            let all_but_the_last = &pieces[..pieces.len() - 1];
            prop_assert!(all_but_the_last.iter().all(|piece| piece.len() == piece_bytes));
            prop_assert_eq!(decode(&pieces.concat()), Some(rows.clone()));
        }
    }

    #[test]
    fn columns_that_are_used_again_hold_nothing_of_before(
        before in proptest::collection::vec(events(), 1..4),
        events in proptest::collection::vec(events(), 1..4),
    ) {
        let mut columns = Columns::default();
        for event in &before {
            columns.push(&event.into(), 3, 3, 3);
        }
        let mut columns = columns.emptied();
        prop_assert_eq!((columns.rows(), columns.bytes()), (0, 0));
        let mut rows = Vec::new();
        for event in &events {
            columns.push(&event.into(), 0, 0, 0);
            rows.push(expected(event, (0, 0, 0)));
        }
        let parts = vec![Part { columns, owner: 100 }];
        let block = Rows { parts, log: LOG }.pieces(100).collect::<Vec<_>>().concat();
        prop_assert_eq!(decode(&block), Some(rows));
    }

    #[test]
    fn a_block_that_was_cut_short_anywhere_is_not_a_block(
        events in proptest::collection::vec(events(), 1..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut columns = Columns::default();
        for event in &events {
            columns.push(&event.into(), 0, 0, 0);
        }
        let parts = vec![Part { columns, owner: 1 }];
        let block = Rows { parts, log: LOG }.pieces(100).collect::<Vec<_>>().concat();
        prop_assert_eq!(decode(&block[..at.index(block.len())]), None);
    }
}

#[test]
fn columns_whose_memory_was_mostly_unused_are_not_kept() {
    const ROWS: u64 = 100_000;
    let time = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
    let event = Event {
        id: EventId {
            uuid: Uuid::nil(),
            origin: IdOrigin::Edge,
        },
        site_id: "site".parse().unwrap(),
        event_type: "page_view".parse().unwrap(),
        path: "/".parse().unwrap(),
        user_id: "visitor".to_owned(),
        timestamp: time,
        received_at: time,
        referrer: String::new(),
        props: Vec::new(),
        context: Context::default(),
    };
    let mut columns = Columns::default();
    let fill = |columns: &mut Columns, rows| {
        (0..rows).for_each(|offset| columns.push(&(&event).into(), 0, offset, 0));
    };
    fill(&mut columns, ROWS);
    let mut columns = columns.emptied();
    assert!(columns.user_id.capacity() >= ROWS as usize);
    fill(&mut columns, ROWS / 10);
    assert_eq!(columns.emptied().user_id.capacity(), 0);
}
