//! How flushes stand in a segment's file. Plain code, no I/O.
//!
//! A frame is `mark(4) crc(4) length(4) partition(4) appended_at(8) record(length)`, little-endian.
//! The CRC-32C goes over the segment's number and everything behind the CRC itself, so a frame
//! that was torn, changed, or belongs to another segment is none. A frame without a record says
//! that its segment was closed in order: what follows no such frame may have been torn by a crash.

use std::ops::Range;

const MARK: [u8; 4] = *b"wfl1";
const CRC: Range<usize> = 4..8;
const LENGTH: Range<usize> = 8..12;
const PARTITION: Range<usize> = 12..16;
const APPENDED_AT: Range<usize> = 16..24;
pub(super) const HEAD_BYTES: usize = 24;

/// A flush as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'s> {
    pub(crate) partition: u32,
    /// Unix time in milliseconds.
    pub(crate) appended_at: u64,
    pub(crate) record: &'s [u8],
}

/// What a stretch of a segment turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'s> {
    Frame(Frame<'s>),
    Closed,
    /// These bytes are no frame.
    Damage(Range<usize>),
}

/// Appends `frame` to `bytes`, as one of segment `number`.
pub(super) fn write(bytes: &mut Vec<u8>, number: u64, frame: Frame<'_>) {
    let start = bytes.len();
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(frame.record.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&frame.partition.to_le_bytes());
    bytes.extend_from_slice(&frame.appended_at.to_le_bytes());
    bytes.extend_from_slice(frame.record);
    let crc = crc(number, &bytes[start + CRC.end..]);
    bytes[start + CRC.start..start + CRC.end].copy_from_slice(&crc.to_le_bytes());
}

/// Appends the frame that closes segment `number`.
pub(super) fn write_closed(bytes: &mut Vec<u8>, number: u64) {
    let closed = Frame {
        partition: u32::MAX,
        appended_at: 0,
        record: &[],
    };
    write(bytes, number, closed);
}

/// Cuts the bytes of segment `number` into pieces, none left out. Behind damage it goes on at the
/// next whole frame.
pub(super) fn pieces(bytes: &[u8], number: u64) -> impl Iterator<Item = Piece<'_>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        if position == bytes.len() {
            return None;
        }
        if let Some((piece, length)) = read(&bytes[position..], number) {
            position += length;
            return Some(piece);
        }
        let start = position;
        position = (start + 1..bytes.len())
            .find(|at| read(&bytes[*at..], number).is_some())
            .unwrap_or(bytes.len());
        Some(Piece::Damage(start..position))
    })
}

/// The whole frame at the start of `bytes`, and its length.
fn read(bytes: &[u8], number: u64) -> Option<(Piece<'_>, usize)> {
    if !bytes.starts_with(&MARK) {
        return None;
    }
    let head = bytes.get(..HEAD_BYTES)?;
    let u32_at = |range: Range<usize>| Some(u32::from_le_bytes(head[range].try_into().ok()?));
    let end = HEAD_BYTES.checked_add(u32_at(LENGTH)? as usize)?;
    let whole = bytes.get(..end)?;
    if u32_at(CRC)? != crc(number, &whole[CRC.end..]) {
        return None;
    }
    let record = &whole[HEAD_BYTES..];
    let piece = if record.is_empty() {
        Piece::Closed
    } else {
        Piece::Frame(Frame {
            partition: u32_at(PARTITION)?,
            appended_at: u64::from_le_bytes(head[APPENDED_AT].try_into().ok()?),
            record,
        })
    };
    Some((piece, end))
}

fn crc(number: u64, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMBER: u64 = 7;

    fn segment(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (nth, record) in (0..).zip(records) {
            let frame = Frame {
                partition: nth,
                appended_at: 1_763_200_800_000,
                record,
            };
            write(&mut bytes, NUMBER, frame);
        }
        bytes
    }

    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        pieces(bytes, NUMBER)
            .filter_map(|piece| match piece {
                Piece::Frame(frame) => Some(frame.record.to_vec()),
                _ => None,
            })
            .collect()
    }

    fn some_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let record = prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..60),
            // Records that look like frames.
            Just(segment(&[b"inner".to_vec()])),
        ];
        proptest::collection::vec(record, 0..8)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(records in some_records()) {
            let mut bytes = segment(&records);
            write_closed(&mut bytes, NUMBER);
            prop_assert_eq!(self::records(&bytes), records);
            prop_assert_eq!(pieces(&bytes, NUMBER).last(), Some(Piece::Closed));
        }

        #[test]
        fn a_torn_segment_gives_the_frames_before_the_tear(
            records in some_records(),
            at in any::<prop::sample::Index>(),
        ) {
            let whole = segment(&records);
            let torn = &whole[..at.index(whole.len() + 1)];
            let mut end = 0;
            let before: Vec<_> = records.iter().take_while(|record| {
                end += HEAD_BYTES + record.len();
                end <= torn.len()
            }).cloned().collect();
            let read = self::records(torn);
            prop_assert_eq!(&read[..before.len()], &before[..]);
        }

        #[test]
        fn a_changed_byte_costs_one_frame_and_no_more(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 1..8),
            at in any::<prop::sample::Index>(),
            by in 1..=255_u8,
        ) {
            let mut bytes = segment(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            let mut end = 0;
            let hit = records.iter().position(|record| {
                end += HEAD_BYTES + record.len();
                at < end
            }).unwrap();
            let mut others = records.clone();
            others.remove(hit);
            prop_assert_eq!(self::records(&bytes), others);
            let damaged = pieces(&bytes, NUMBER).filter(|piece| matches!(piece, Piece::Damage(_)));
            prop_assert_eq!(damaged.count(), 1);
        }

        #[test]
        fn any_bytes_are_cut_into_pieces_without_a_gap(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let length: usize = pieces(&bytes, NUMBER).map(|piece| match piece {
                Piece::Frame(frame) => HEAD_BYTES + frame.record.len(),
                Piece::Closed => HEAD_BYTES,
                Piece::Damage(range) => range.len(),
            }).sum();
            prop_assert_eq!(length, bytes.len());
        }
    }

    #[test]
    fn a_frame_of_another_segment_is_damage() {
        let bytes = segment(&[b"record".to_vec()]);
        let read: Vec<_> = pieces(&bytes, NUMBER + 1).collect();
        assert_eq!(read, [Piece::Damage(0..bytes.len())]);
    }
}
