//! A v2 record batch, looked at and never opened: what a broker needs stands in its header.
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// `base_offset` and `batch_length`, which the length does not count.
const PREFIX_BYTES: usize = 12;
/// The checksum covers everything from the attributes on, so a broker may set the base offset and
/// the leader epoch of a batch without touching it.
const CHECKED_FROM: usize = 21;

const COMPRESSION_MASK: i16 = 0b111;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Why bytes are not a batch that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchError {
    /// Cut short, or its checksum does not match.
    Corrupt,
    /// Not format v2, or transactional, which this broker does not do.
    Unsupported,
}

/// A whole batch whose checksum matched.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'b>(&'b [u8]);

impl<'b> Batch<'b> {
    /// The batch at the start of `bytes`.
    pub(crate) fn parse(bytes: &'b [u8]) -> Result<Self, BatchError> {
        let length = Self::length(bytes).ok_or(BatchError::Corrupt)?;
        let batch = Self(bytes.get(..length).ok_or(BatchError::Corrupt)?);
        if batch.0[16] != 2 {
            return Err(BatchError::Unsupported);
        }
        if crc32c::crc32c(&batch.0[CHECKED_FROM..]) != u32::from_be_bytes(batch.array(17)) {
            return Err(BatchError::Corrupt);
        }
        if batch.count() != batch.last_offset_delta().wrapping_add(1) || batch.count() < 1 {
            return Err(BatchError::Corrupt);
        }
        Ok(batch)
    }

    /// A batch that was parsed before [`place`] wrote outside its checksum.
    pub(crate) fn placed(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The length a header claims, if there is enough of it to claim one.
    pub(crate) fn length(header: &[u8]) -> Option<usize> {
        let length = header.get(8..PREFIX_BYTES)?;
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let length = PREFIX_BYTES + usize::try_from(length).ok()?;
        (length >= HEADER_BYTES).then_some(length)
    }

    pub(crate) fn bytes(&self) -> &'b [u8] {
        self.0
    }

    pub(crate) fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.array(0))
    }

    pub(crate) fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.array(23))
    }

    pub(crate) fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(27))
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(35))
    }

    /// -1: not idempotent.
    pub(crate) fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.array(43))
    }

    pub(crate) fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.array(51))
    }

    pub(crate) fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.array(53))
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes() & (TRANSACTIONAL | CONTROL) != 0
    }

    /// Offset and timestamp of the first record at or after `timestamp`. Records that are
    /// compressed stay closed: the batch's first offset stands for them, so a reader that starts
    /// there misses none.
    pub(crate) fn first_at(&self, timestamp: i64) -> (i64, i64) {
        if self.attributes() & COMPRESSION_MASK == 0 {
            let mut records = &self.0[HEADER_BYTES..];
            while let Some((timestamp_delta, offset_delta)) = next_record(&mut records) {
                if self.base_timestamp() + timestamp_delta >= timestamp {
                    let offset = self.base_offset() + offset_delta;
                    return (offset, self.base_timestamp() + timestamp_delta);
                }
            }
        }
        (self.base_offset(), self.max_timestamp())
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.array(CHECKED_FROM))
    }

    fn count(&self) -> i32 {
        i32::from_be_bytes(self.array(57))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N]
            .try_into()
            .expect("a batch holds its header")
    }
}

/// Writes what the broker decides into a batch that is about to be stored.
pub(crate) fn place(batch: &mut [u8], base_offset: i64) {
    const LEADER_EPOCH: i32 = 0;
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
}

/// Timestamp and offset deltas of the record at the start of `records`, which moves past it.
fn next_record(records: &mut &[u8]) -> Option<(i64, i64)> {
    let length = usize::try_from(varint(records)?).ok()?;
    let mut record = records.get(..length)?;
    *records = &records[length..];
    record = record.get(1..)?;
    Some((varint(&mut record)?, varint(&mut record)?))
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            #[expect(clippy::cast_possible_wrap, reason = "zigzag decoding is on bits")]
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
