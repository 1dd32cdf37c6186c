//! Where to start reading in a segment: one entry for every few batches, by offset and by time.

use std::{io, ops::Range, path::Path};

use bytes::{Buf, BufMut};

use crate::{disk::Disk, frame};

/// Log bytes between two entries: what a look-up reads in vain at most.
pub(crate) const INTERVAL_BYTES: u64 = 16 << 10;

const ENTRY_BYTES: usize = 24;
const SUMMARY_BYTES: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: i64,
    position: u64,
    /// The latest timestamp of all batches before `position`; it never falls from entry to entry.
    latest_before: i64,
}

/// Where a batch begins in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) position: u64,
    pub(crate) offset: i64,
}

impl Entry {
    fn spot(&self) -> Spot {
        Spot {
            position: self.position,
            offset: self.offset,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    entries: Vec<Entry>,
}

/// What a segment holds, as its index file remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) len: u64,
    pub(crate) max_timestamp: i64,
    pub(crate) last_batch: u64,
}

impl Index {
    /// Takes note of a batch; most need no entry of their own.
    pub(crate) fn note(&mut self, offset: i64, position: u64, latest_before: i64) {
        let due = self
            .entries
            .last()
            .is_none_or(|last| position - last.position >= INTERVAL_BYTES);
        if due {
            self.entries.push(Entry {
                offset,
                position,
                latest_before,
            });
        }
    }

    /// A batch at or before the one that holds `offset`.
    pub(crate) fn before(&self, offset: i64) -> Option<Spot> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries[..after].last().map(Entry::spot)
    }

    /// A batch at or before the first one that reaches `timestamp`.
    pub(crate) fn before_time(&self, timestamp: i64) -> Option<Spot> {
        let after = self
            .entries
            .partition_point(|entry| entry.latest_before < timestamp);
        self.entries[..after].last().map(Entry::spot)
    }

    /// Forgets batches that begin in a part of the file.
    pub(crate) fn forget(&mut self, part: Range<u64>) {
        self.entries.retain(|entry| !part.contains(&entry.position));
    }

    pub(crate) fn encode(&self, summary: &Summary) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUMMARY_BYTES + self.entries.len() * ENTRY_BYTES);
        out.put_i64(summary.base_offset);
        out.put_i64(summary.next_offset);
        out.put_u64(summary.len);
        out.put_i64(summary.max_timestamp);
        out.put_u64(summary.last_batch);
        for entry in &self.entries {
            out.put_i64(entry.offset);
            out.put_u64(entry.position);
            out.put_i64(entry.latest_before);
        }
        frame::of(&out)
    }

    pub(crate) fn decode(mut file: &[u8]) -> Option<(Summary, Self)> {
        let mut bytes = frame::next(&mut file)?;
        if bytes.len() < SUMMARY_BYTES || !(bytes.len() - SUMMARY_BYTES).is_multiple_of(ENTRY_BYTES)
        {
            return None;
        }
        let summary = Summary {
            base_offset: bytes.get_i64(),
            next_offset: bytes.get_i64(),
            len: bytes.get_u64(),
            max_timestamp: bytes.get_i64(),
            last_batch: bytes.get_u64(),
        };
        let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while bytes.has_remaining() {
            entries.push(Entry {
                offset: bytes.get_i64(),
                position: bytes.get_u64(),
                latest_before: bytes.get_i64(),
            });
        }
        Some((summary, Self { entries }))
    }

    pub(crate) fn save(&self, disk: &Disk, path: &Path, summary: &Summary) -> io::Result<()> {
        disk.write_whole(path, &self.encode(summary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let mut index = Index::default();
        index.note(0, 0, -1);
        index.note(1, 100, 10);
        index.note(50, INTERVAL_BYTES, 500);
        index.note(90, 2 * INTERVAL_BYTES, 700);
        index
    }

    #[test]
    fn a_look_up_never_starts_behind_what_it_looks_for() {
        let index = sample();
        let of = |offset| index.before(offset).unwrap().position;
        assert_eq!(of(0), 0);
        assert_eq!(of(49), 0);
        assert_eq!(of(50), INTERVAL_BYTES);
        assert_eq!(of(1000), 2 * INTERVAL_BYTES);
        let at = |timestamp| index.before_time(timestamp).unwrap().position;
        assert_eq!(at(500), 0);
        assert_eq!(at(501), INTERVAL_BYTES);
        assert_eq!(at(701), 2 * INTERVAL_BYTES);
    }

    #[test]
    fn an_index_file_comes_back_whole_or_not_at_all() {
        let summary = Summary {
            base_offset: 5,
            next_offset: 9,
            len: 77,
            max_timestamp: 3,
            last_batch: 8,
        };
        let file = sample().encode(&summary);
        assert_eq!(Index::decode(&file), Some((summary, sample())));
        for len in 0..file.len() {
            assert_eq!(Index::decode(&file[..len]), None);
        }
    }
}
