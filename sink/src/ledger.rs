//! What became of a range of offsets, as it stands in the table `ledger`.

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use crate::native::Block;
use crate::plan::Range;

/// One range of one cut. Written once its rows are in `events` and in every rollup, and before its
/// end is committed: what stands here need never be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) range: Range,
    /// Kafka records in it.
    pub(crate) records: u64,
    /// Events of those that could be read.
    pub(crate) events: u64,
    /// Events that are stored.
    pub(crate) rows: u64,
    /// Events that were dropped as repeats.
    pub(crate) repeats: u64,
    /// Records that were set aside.
    pub(crate) dead_letters: u64,
    /// Sum of [`place`] over the stored events.
    pub(crate) places: u64,
    /// Stored events whose id the client made.
    pub(crate) client_ids: u64,
    /// Keys of the batches taken in, in the order of their offsets.
    pub(crate) batches: Vec<u64>,
    /// Who inserts.
    pub(crate) owner: u64,
}

/// What one row's place adds to [`Entry::places`]: ClickHouse's
/// `intHash64(_offset * 65536 + _index)`, a finalizer that moves every bit.
pub(crate) fn place(offset: u64, index: u16) -> u64 {
    let mut hash = offset.wrapping_mul(65536).wrapping_add(index.into()) ^ 0x4CF2_D2BA_AE6D_A887;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}

/// What all entries of a cut have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) log: u32,
    pub(crate) cut: Uuid,
    /// Milliseconds since 1970.
    pub(crate) stored_at: i64,
}

/// The columns that [`encode`] writes.
pub(crate) const COLUMNS: &str = "_log, _partition, from_offset, to_offset, cut, records, events, rows, repeats, dead_letters, places, client_ids, batches, stored_at, _owner";

/// Entries of one cut as one block.
pub(crate) fn encode(page: Page, entries: &[Entry]) -> Bytes {
    const ENTRY_BYTES: usize = 128;
    const NAMES_BYTES: usize = 512;
    let batches: usize = entries.iter().map(|entry| entry.batches.len()).sum();
    let bytes = NAMES_BYTES + entries.len() * ENTRY_BYTES + batches * 8;
    let columns = COLUMNS.split(',').count();
    let mut block = Block::new(columns, entries.len(), bytes);
    let column = block.column("_log", "UInt32");
    entries.iter().for_each(|_| column.put_u32_le(page.log));
    let column = block.column("_partition", "UInt16");
    entries
        .iter()
        .for_each(|entry| column.put_u16_le(entry.range.partition));
    let mut numbers = |name: &str, of: &dyn Fn(&Entry) -> u64| {
        let column = block.column(name, "UInt64");
        entries
            .iter()
            .for_each(|entry| column.put_u64_le(of(entry)));
    };
    numbers("from_offset", &|entry| entry.range.from);
    numbers("to_offset", &|entry| entry.range.to);
    numbers("records", &|entry| entry.records);
    numbers("events", &|entry| entry.events);
    numbers("rows", &|entry| entry.rows);
    numbers("repeats", &|entry| entry.repeats);
    numbers("dead_letters", &|entry| entry.dead_letters);
    numbers("places", &|entry| entry.places);
    numbers("client_ids", &|entry| entry.client_ids);
    numbers("_owner", &|entry| entry.owner);
    let column = block.column("cut", "UUID");
    let (high, low) = page.cut.as_u64_pair();
    for _ in entries {
        column.put_u64_le(high);
        column.put_u64_le(low);
    }
    // An array column is where each row's values end, then all values.
    let column = block.column("batches", "Array(UInt64)");
    let mut end = 0;
    for entry in entries {
        end += entry.batches.len() as u64;
        column.put_u64_le(end);
    }
    for batch in entries.iter().flat_map(|entry| &entry.batches) {
        column.put_u64_le(*batch);
    }
    let column = block.column("stored_at", "DateTime64(3, 'UTC')");
    entries
        .iter()
        .for_each(|_| column.put_i64_le(page.stored_at));
    block.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_hashed_as_clickhouse_does_it() {
        // SELECT intHash64(toUInt64(0)), intHash64(toUInt64(65537))
        assert_eq!(place(0, 0), 4_761_183_170_873_013_810);
        assert_eq!(place(1, 1), 11_988_683_050_140_514_794);
    }
}
