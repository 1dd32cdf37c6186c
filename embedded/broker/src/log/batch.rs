//! The record batch of the Kafka protocol (format v2), read in place. Batches are never
//! decompressed: base offset and leader epoch, all that a broker sets, lie outside the CRC.

use bytes::{Buf, BufMut};
use kafka_protocol::ResponseError;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;

/// Base offset and length stand before what the length counts.
const LENGTH_PREFIX_BYTES: usize = 12;
const CRC_AT: usize = 17;
pub(crate) const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;

const COMPRESSION_MASK: i16 = 0x07;
const COMPRESSION_MAX: i16 = 4;
const APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// The fixed part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// Of the whole batch, header included.
    pub(crate) size: usize,
    attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    records: i32,
}

impl Header {
    /// `None` unless the bytes start with a header that makes sense. Says nothing of the CRC.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.get(..HEADER_BYTES)?;
        let base_offset = bytes.get_i64();
        let size = usize::try_from(bytes.get_i32()).ok()? + LENGTH_PREFIX_BYTES;
        let _leader_epoch = bytes.get_i32();
        let magic = bytes.get_i8();
        let _crc = bytes.get_u32();
        let header = Self {
            base_offset,
            size,
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            records: bytes.get_i32(),
        };
        let sane =
            magic == 2 && size >= HEADER_BYTES && base_offset >= 0 && header.last_offset_delta >= 0;
        (sane
            && base_offset
                .checked_add(i64::from(header.last_offset_delta) + 1)
                .is_some())
        .then_some(header)
    }

    /// Whether it can be the batch at `offset` of the log: one that was appended, or a gap.
    pub(crate) fn stands_at(&self, offset: i64) -> bool {
        self.base_offset == offset && (self.is_gap() || self.is_counted())
    }

    /// It covers offsets and holds no records: see [`gap`].
    pub(crate) fn is_gap(&self) -> bool {
        self.records == 0
    }

    fn is_counted(&self) -> bool {
        self.records >= 1 && self.records - 1 == self.last_offset_delta
    }

    /// The offsets it speaks of, by the larger of its two counts: one of them may be damaged.
    pub(crate) fn offsets_max(&self) -> i64 {
        i64::from(self.records).max(i64::from(self.last_offset_delta) + 1)
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Sequence numbers start again at 0 after the largest one.
    pub(crate) fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION_MASK != 0
    }
}

/// Whether the content is what its producer sent. `batch` is exactly one batch.
pub(crate) fn is_intact(batch: &[u8]) -> bool {
    crc32c::crc32c(&batch[CRC_FROM..]) == stored_crc(batch)
}

/// What a batch says of its content. `batch` is at least its header.
pub(crate) fn stored_crc(batch: &[u8]) -> u32 {
    (&batch[CRC_AT..CRC_FROM]).get_u32()
}

/// Checks what a producer sent for one partition: exactly one whole, plain batch.
pub(crate) fn check_produced(records: &[u8], bytes_max: usize) -> Result<Header, ResponseError> {
    if records.len() <= MAGIC_AT {
        return Err(ResponseError::CorruptMessage);
    }
    if records[MAGIC_AT] != 2 {
        return Err(ResponseError::UnsupportedForMessageFormat);
    }
    let header = Header::parse(records).ok_or(ResponseError::CorruptMessage)?;
    if header.size > records.len() {
        return Err(ResponseError::CorruptMessage);
    }
    if header.size < records.len() {
        // The protocol allows one batch for each partition since version 3 of Produce.
        return Err(ResponseError::InvalidRecord);
    }
    if header.size > bytes_max {
        return Err(ResponseError::MessageTooLarge);
    }
    if !is_intact(records) {
        return Err(ResponseError::CorruptMessage);
    }
    if header.attributes & COMPRESSION_MASK > COMPRESSION_MAX {
        return Err(ResponseError::UnsupportedCompressionType);
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err(ResponseError::InvalidTxnState);
    }
    let sequenced =
        header.producer_id < 0 || (header.base_sequence >= 0 && header.producer_epoch >= 0);
    // A count that disagrees with the offsets would shift every offset after this batch.
    if header.attributes & CONTROL != 0 || !header.is_counted() || !sequenced {
        return Err(ResponseError::InvalidRecord);
    }
    Ok(header)
}

/// Gives the batch its place in the log.
pub(crate) fn place(batch: &mut [u8], base_offset: i64) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    reset_leader_epoch(batch);
}

/// There is one node, so there is one leader and its epoch is 0. No CRC covers it: on disk it may rot,
/// and clients would commit it with their offsets.
pub(crate) fn reset_leader_epoch(batch: &mut [u8]) {
    batch[12..16].copy_from_slice(&0_i32.to_be_bytes());
}

/// The most offsets that one batch can cover.
pub(crate) const OFFSETS_MAX: i64 = i32::MAX as i64;

/// A batch of `size` bytes that covers `offsets` from `base_offset` on and holds no records, as
/// Kafka's own log has them after compaction: consumers go on behind it. What follows its header is
/// zeros, which no client expects, so it is sent with its header alone.
pub(crate) fn gap(base_offset: i64, offsets: i64, size: usize) -> Vec<u8> {
    debug_assert!((1..=OFFSETS_MAX).contains(&offsets) && size >= HEADER_BYTES);
    let mut batch = Vec::with_capacity(size);
    batch.put_i64(base_offset);
    batch.put_i32((size - LENGTH_PREFIX_BYTES) as i32);
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32((offsets - 1) as i32);
    // Neither timestamps nor a producer.
    batch.put_i64(-1);
    batch.put_i64(-1);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(0);
    batch.resize(size, 0);
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Offset and timestamp of the first record at or after `timestamp`. A compressed batch is answered
/// by its first offset, which is exact if its first record is late enough and early otherwise.
pub(crate) fn first_at_or_after(
    header: &Header,
    batch: &[u8],
    timestamp: i64,
) -> Option<(i64, i64)> {
    if header.max_timestamp < timestamp || header.is_gap() {
        return None;
    }
    if header.attributes & APPEND_TIME != 0 {
        return Some((header.base_offset, header.max_timestamp));
    }
    if header.base_timestamp >= timestamp {
        return Some((header.base_offset, header.base_timestamp));
    }
    if header.is_compressed() {
        return Some((header.base_offset, header.max_timestamp));
    }
    let mut records = &batch[HEADER_BYTES..];
    while !records.is_empty() {
        let len = usize::try_from(varint(&mut records)?).ok()?;
        let mut record = records.get(..len)?;
        records = &records[len..];
        let _attributes = record.first()?;
        record = &record[1..];
        let at = header.base_timestamp.checked_add(varint(&mut record)?)?;
        let delta = varint(&mut record)?;
        if at >= timestamp {
            return Some((header.base_offset.checked_add(delta)?, at));
        }
    }
    None
}

/// Zigzag, 7 bits a byte, at most 10 bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        raw |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod samples {
    //! Batches as a producer would send them.

    use super::*;

    /// Who sent a batch: id, epoch, first sequence number.
    pub(crate) type Sender = (i64, i16, i32);
    pub(crate) const NOBODY: Sender = (-1, -1, -1);

    fn put_varint(out: &mut Vec<u8>, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)) as u64;
        while raw >= 0x80 {
            out.put_u8(raw as u8 | 0x80);
            raw >>= 7;
        }
        out.put_u8(raw as u8);
    }

    /// An uncompressed batch with one record for each timestamp, all with the same value.
    pub(crate) fn batch(sender: Sender, timestamps: &[i64], value: &[u8]) -> Vec<u8> {
        let base_timestamp = timestamps[0];
        let mut after_crc = Vec::new();
        after_crc.put_i16(0);
        after_crc.put_i32(timestamps.len() as i32 - 1);
        after_crc.put_i64(base_timestamp);
        after_crc.put_i64(timestamps.iter().copied().max().unwrap());
        after_crc.put_i64(sender.0);
        after_crc.put_i16(sender.1);
        after_crc.put_i32(sender.2);
        after_crc.put_i32(timestamps.len() as i32);
        for (delta, timestamp) in timestamps.iter().enumerate() {
            let mut record = vec![0];
            put_varint(&mut record, timestamp - base_timestamp);
            put_varint(&mut record, delta as i64);
            put_varint(&mut record, -1);
            put_varint(&mut record, value.len() as i64);
            record.put_slice(value);
            put_varint(&mut record, 0);
            put_varint(&mut after_crc, record.len() as i64);
            after_crc.put_slice(&record);
        }
        sealed(&after_crc)
    }

    fn sealed(after_crc: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i64(0);
        out.put_i32((after_crc.len() + CRC_FROM - LENGTH_PREFIX_BYTES) as i32);
        out.put_i32(-1);
        out.put_i8(2);
        out.put_u32(crc32c::crc32c(after_crc));
        out.put_slice(after_crc);
        out
    }

    /// The same batch with other attributes and a CRC that fits.
    pub(crate) fn with_attributes(batch: &[u8], attributes: i16) -> Vec<u8> {
        let mut after_crc = batch[CRC_FROM..].to_vec();
        after_crc[..2].copy_from_slice(&attributes.to_be_bytes());
        sealed(&after_crc)
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    const ROOMY: usize = 1 << 20;

    #[test]
    fn a_produced_batch_is_accepted_up_to_the_size_limit() {
        let good = batch((7, 0, 3), &[10, 20, 30], b"value");
        let header = check_produced(&good, good.len()).unwrap();
        assert_eq!((header.last_offset_delta, header.last_sequence()), (2, 5));
        assert_eq!(
            check_produced(&good, good.len() - 1),
            Err(ResponseError::MessageTooLarge)
        );
    }

    #[test]
    fn a_damaged_cut_or_doubled_batch_is_refused() {
        let good = batch(NOBODY, &[10], b"value");
        for at in [CRC_AT, CRC_FROM, good.len() - 1] {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            assert_eq!(
                check_produced(&damaged, ROOMY),
                Err(ResponseError::CorruptMessage)
            );
        }
        for len in 0..good.len() {
            assert_eq!(
                check_produced(&good[..len], ROOMY),
                Err(ResponseError::CorruptMessage)
            );
        }
        assert_eq!(
            check_produced(&[&good[..], &good].concat(), ROOMY),
            Err(ResponseError::InvalidRecord)
        );
    }

    #[test]
    fn transactional_control_and_unknown_compression_are_refused() {
        let good = batch((1, 0, 0), &[10], b"value");
        let refused =
            |attributes| check_produced(&with_attributes(&good, attributes), ROOMY).unwrap_err();
        assert_eq!(refused(TRANSACTIONAL), ResponseError::InvalidTxnState);
        assert_eq!(refused(CONTROL), ResponseError::InvalidRecord);
        assert_eq!(refused(5), ResponseError::UnsupportedCompressionType);
        assert!(check_produced(&with_attributes(&good, 4), ROOMY).is_ok());
    }

    #[test]
    fn the_first_record_at_or_after_a_time_is_found_exactly() {
        let mut stored = batch(NOBODY, &[100, 50, 200, 300], b"value");
        place(&mut stored, 40);
        let header = Header::parse(&stored).unwrap();
        let find = |timestamp| first_at_or_after(&header, &stored, timestamp);
        assert_eq!(find(0), Some((40, 100)));
        assert_eq!(find(100), Some((40, 100)));
        assert_eq!(find(101), Some((42, 200)));
        assert_eq!(find(300), Some((43, 300)));
        assert_eq!(find(301), None);
    }

    #[test]
    fn a_gap_is_a_whole_batch_of_any_size_without_records() {
        for size in [HEADER_BYTES, 100, 5000] {
            let gap = gap(7, 3, size);
            let header = Header::parse(&gap).unwrap();
            assert!(is_intact(&gap) && header.is_gap() && header.stands_at(7));
            assert_eq!((header.size, header.next_offset()), (size, 10));
            assert_eq!(first_at_or_after(&header, &gap, -1), None);
            assert!(check_produced(&gap, ROOMY).is_err());
        }
    }

    #[test]
    fn placing_a_batch_leaves_its_crc_valid() {
        let mut stored = batch(NOBODY, &[1], b"value");
        place(&mut stored, i64::MAX - 5);
        assert!(is_intact(&stored));
        assert_eq!(Header::parse(&stored).unwrap().next_offset(), i64::MAX - 4);
    }
}
