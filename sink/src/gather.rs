//! Records on their way into a cut: when one is due, what it covers, what it drops and what it
//! sets aside. Knows neither client.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use event::IdOrigin;
use event::wire::BatchRef;
use uuid::Uuid;

use crate::config::CutLimits;
use crate::ledger::{self, Entry};
use crate::months::Months;
use crate::native::{Columns, Part, Rows};
use crate::plan::Range;
use crate::window::{self, Memory};

/// One Kafka record, borrowed from its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) key: Option<&'a [u8]>,
    /// The value of its header of the schema version.
    pub(crate) schema: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// A reason may repeat what stood in the record.
const REASON_CHARS_MAX: usize = 1000;

/// A record that cannot be read, and why. Decided by its bytes alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) reason: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// What one partition brings to a cut.
#[derive(Debug)]
pub(crate) struct Slice {
    columns: Columns,
    /// What the ledger will say of it.
    entry: Entry,
    /// Places that are stored already: they count, and are not sent again.
    stored: HashSet<(u64, u16)>,
    months: Months,
    dead_letters: Vec<DeadLetter>,
    dead_bytes: usize,
}

impl Slice {
    /// An empty slice that begins at `from`, which need not be the offset of its first record:
    /// compaction and control records leave gaps. `owner` is who took the partition over.
    pub(crate) fn new(partition: u16, from: u64, owner: u64) -> Self {
        let range = Range {
            partition,
            from,
            to: from,
        };
        Self {
            columns: Columns::default(),
            entry: Entry {
                range,
                records: 0,
                events: 0,
                rows: 0,
                repeats: 0,
                dead_letters: 0,
                places: 0,
                client_ids: 0,
                batches: Vec::new(),
                owner,
            },
            stored: HashSet::new(),
            months: Months::default(),
            dead_letters: Vec::new(),
            dead_bytes: 0,
        }
    }

    /// Of which some rows are stored already.
    pub(crate) fn beside(mut self, stored: HashSet<(u64, u16)>) -> Self {
        self.stored = stored;
        self
    }

    /// Takes in the next record of the partition.
    pub(crate) fn accept(&mut self, record: Record<'_>, memory: &mut Memory) {
        self.entry.range.to = record.offset + 1;
        self.entry.records += 1;
        match event::wire::read(record.schema, record.value) {
            Ok(batch) => self.accept_batch(&batch, record.offset, memory),
            Err(error) => {
                let reason = error.to_string();
                let dead = DeadLetter {
                    partition: record.partition,
                    offset: record.offset,
                    reason: reason.chars().take(REASON_CHARS_MAX).collect(),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                };
                self.dead_bytes += [&dead.key, &dead.value]
                    .into_iter()
                    .flatten()
                    .map(Vec::len)
                    .sum::<usize>();
                self.dead_letters.push(dead);
                self.entry.dead_letters += 1;
            }
        }
    }

    fn accept_batch(&mut self, batch: &BatchRef<'_>, offset: u64, memory: &mut Memory) {
        let entry = &mut self.entry;
        entry.events += batch.len() as u64;
        let is_stored = |index| self.stored.contains(&(offset, index));
        let key = window::batch_key(batch.id);
        // What is stored was no repeat, whatever the window says by now.
        if !memory.batches.admit(key) && !self.stored.iter().any(|place| place.0 == offset) {
            entry.repeats += batch.len() as u64;
            return;
        }
        entry.batches.push(key);
        for (index, event) in (0_u16..).zip(batch.events()) {
            let id = event.id;
            let is_clients = id.origin == IdOrigin::Client;
            if is_clients
                && !memory
                    .events
                    .admit(window::key(event.site_id.as_str(), id.uuid))
                && !is_stored(index)
            {
                entry.repeats += 1;
                continue;
            }
            entry.rows += 1;
            entry.client_ids += u64::from(is_clients);
            entry.places = entry.places.wrapping_add(ledger::place(offset, index));
            self.months.add(event.timestamp.timestamp_millis());
            if !is_stored(index) {
                self.columns
                    .push(&event, entry.range.partition, offset, index);
            }
        }
        if let Some(event) = batch.events().last() {
            let millis = event.received_at.timestamp_millis();
            memory.batches.came_at(millis);
            memory.events.came_at(millis);
        }
    }

    /// Extends the range to `to`, over a gap that holds no record.
    pub(crate) fn reach(&mut self, to: u64) {
        self.entry.range.to = self.entry.range.to.max(to);
    }

    pub(crate) fn is_full(&self, limits: &CutLimits) -> bool {
        self.rows() >= limits.rows_max || self.bytes() >= limits.bytes_max
    }

    /// The first offset that is not part of it.
    pub(crate) fn end(&self) -> u64 {
        self.entry.range.to
    }

    pub(crate) fn rows(&self) -> usize {
        self.columns.rows() + self.dead_letters.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes() + self.dead_bytes + self.entry.batches.len() * 8
    }
}

/// Rows of all partitions waiting for one INSERT.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    slices: BTreeMap<u16, Slice>,
    rows: usize,
    bytes: usize,
    months: Months,
    opened_at: Option<Instant>,
    /// Empty ones, in the memory of the last cut that has landed.
    spare: Vec<Columns>,
}

/// A cut is full once it touches so many months: each is a part of its own in every table.
const MONTHS_MAX: usize = 100;

impl Gather {
    /// Takes in the record at `from` or, over a gap, after it; for `owner`, who took the partition
    /// over.
    pub(crate) fn accept(
        &mut self,
        record: Record<'_>,
        from: u64,
        owner: u64,
        memory: &mut Memory,
        now: Instant,
    ) {
        let slice = self
            .slices
            .entry(record.partition)
            .or_insert_with(|| Slice {
                columns: self.spare.pop().unwrap_or_default(),
                ..Slice::new(record.partition, from, owner)
            });
        let (rows, bytes, months) = (slice.rows(), slice.bytes(), slice.months.count());
        slice.accept(record, memory);
        self.rows += slice.rows() - rows;
        self.bytes += slice.bytes() - bytes;
        if slice.months.count() != months {
            self.months.merge(&slice.months);
        }
        self.opened_at.get_or_insert(now);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(crate) fn is_full(&self, limits: &CutLimits) -> bool {
        self.rows >= limits.rows_max
            || self.bytes >= limits.bytes_max
            || self.months.count() >= MONTHS_MAX
    }

    pub(crate) fn is_due(&self, limits: &CutLimits, now: Instant) -> bool {
        let aged = self
            .opened_at
            .is_some_and(|opened_at| now - opened_at >= limits.age_max);
        aged || self.is_full(limits)
    }

    /// When age alone makes it due.
    pub(crate) fn due_at(&self, limits: &CutLimits) -> Option<Instant> {
        self.opened_at.map(|opened_at| opened_at + limits.age_max)
    }

    /// Has the memory of a cut that is over used again by the next ones: at most twice what its
    /// rows took. What the cut before has left unused is given back.
    pub(crate) fn reuse(&mut self, cut: Cut) {
        let parts = cut.block.parts.into_iter();
        self.spare = parts.map(|part| part.columns.emptied()).collect();
    }

    /// Forgets what was gathered of a partition.
    pub(crate) fn forget(&mut self, partition: u16) {
        if let Some(slice) = self.slices.remove(&partition) {
            self.rows -= slice.rows();
            self.bytes -= slice.bytes();
        }
        self.months = Months::default();
        for slice in self.slices.values() {
            self.months.merge(&slice.months);
        }
        if self.slices.is_empty() {
            self.opened_at = None;
        }
    }

    /// Takes everything out.
    pub(crate) fn cut(&mut self, id: Uuid, log: u32) -> Cut {
        let slices = std::mem::take(&mut self.slices).into_values().collect();
        (self.rows, self.bytes) = (0, 0);
        self.months = Months::default();
        self.opened_at = None;
        Cut::new(id, log, slices)
    }
}

/// A finished cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Drawn at random: it is never that of another cut.
    pub(crate) id: Uuid,
    /// Which life of the topic its offsets are of.
    pub(crate) log: u32,
    /// Rows in the block.
    pub(crate) rows: usize,
    /// The INSERT's body.
    pub(crate) block: Rows,
    pub(crate) dead_letters: Arc<[DeadLetter]>,
    /// A range each.
    pub(crate) entries: Vec<Entry>,
}

impl Cut {
    /// `slices` in the order of their partitions.
    pub(crate) fn new(id: Uuid, log: u32, slices: Vec<Slice>) -> Self {
        let mut entries = Vec::with_capacity(slices.len());
        let mut parts = Vec::with_capacity(slices.len());
        let mut dead_letters = Vec::new();
        for slice in slices {
            parts.push(Part {
                columns: slice.columns,
                owner: slice.entry.owner,
            });
            dead_letters.extend(slice.dead_letters);
            entries.push(slice.entry);
        }
        let block = Rows { parts, log };
        Self {
            id,
            log,
            rows: block.count(),
            block,
            dead_letters: dead_letters.into(),
            entries,
        }
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range> {
        self.entries.iter().map(|entry| entry.range)
    }

    pub(crate) fn repeats(&self) -> u64 {
        self.entries.iter().map(|entry| entry.repeats).sum()
    }
}

#[cfg(test)]
mod tests;
