//! Records on their way into a cut: when one is due, what it covers, what it drops and what it
//! sets aside. Knows neither client.

use std::collections::BTreeMap;
use std::time::Instant;

use event::IdOrigin;
use uuid::Uuid;

use crate::config::CutLimits;
use crate::native::Columns;
use crate::plan::{self, Plan, Range};
use crate::window::{self, Window};

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
    range: Range,
    columns: Columns,
    repeats: u64,
    dead_letters: Vec<DeadLetter>,
    dead_bytes: usize,
}

impl Slice {
    /// An empty slice that begins at `from`, which need not be the offset of its first record:
    /// compaction and control records leave gaps.
    pub(crate) fn new(partition: u16, from: u64) -> Self {
        let range = Range {
            partition,
            from,
            to: from,
        };
        Self {
            range,
            columns: Columns::default(),
            repeats: 0,
            dead_letters: Vec::new(),
            dead_bytes: 0,
        }
    }

    /// Takes in the next record of the partition.
    pub(crate) fn accept(&mut self, record: Record<'_>, window: &mut Window) {
        let Record {
            partition, offset, ..
        } = record;
        self.range.to = offset + 1;
        match event::wire::decode(record.schema, record.value) {
            Ok(batch) => {
                for (index, event) in (0_u16..).zip(&batch.events) {
                    let id = event.id;
                    if id.origin == IdOrigin::Client
                        && !window.admit(window::key(event.site_id.as_str(), id.uuid))
                    {
                        self.repeats += 1;
                        continue;
                    }
                    self.columns.push(event, partition, offset, index);
                }
            }
            Err(error) => {
                let dead = DeadLetter {
                    partition,
                    offset,
                    reason: error.to_string(),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                };
                self.dead_bytes += [&dead.key, &dead.value]
                    .into_iter()
                    .flatten()
                    .map(Vec::len)
                    .sum::<usize>();
                self.dead_letters.push(dead);
            }
        }
    }

    /// Extends the range to `to`, over a gap that holds no record.
    pub(crate) fn reach(&mut self, to: u64) {
        self.range.to = self.range.to.max(to);
    }

    fn rows(&self) -> usize {
        self.columns.rows() + self.dead_letters.len()
    }

    fn bytes(&self) -> usize {
        self.columns.bytes() + self.dead_bytes
    }
}

/// Rows of all partitions waiting for one INSERT.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    slices: BTreeMap<u16, Slice>,
    rows: usize,
    bytes: usize,
    opened_at: Option<Instant>,
}

impl Gather {
    /// Takes in the record at `from` or, over a gap, after it.
    pub(crate) fn accept(
        &mut self,
        record: Record<'_>,
        from: u64,
        window: &mut Window,
        now: Instant,
    ) {
        let slice = self
            .slices
            .entry(record.partition)
            .or_insert_with(|| Slice::new(record.partition, from));
        let (rows, bytes) = (slice.rows(), slice.bytes());
        slice.accept(record, window);
        self.rows += slice.rows() - rows;
        self.bytes += slice.bytes() - bytes;
        self.opened_at.get_or_insert(now);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(crate) fn is_full(&self, limits: &CutLimits) -> bool {
        self.rows >= limits.rows_max || self.bytes >= limits.bytes_max
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

    /// Forgets what was gathered of a partition.
    pub(crate) fn forget(&mut self, partition: u16) {
        if let Some(slice) = self.slices.remove(&partition) {
            self.rows -= slice.rows();
            self.bytes -= slice.bytes();
        }
        if self.slices.is_empty() {
            self.opened_at = None;
        }
    }

    /// Takes out as many partitions as one plan can name; the rest stays for the next cut, at its
    /// age.
    pub(crate) fn cut(&mut self, id: Uuid, repeat_window: u32) -> Cut {
        let partitions: Vec<u16> = self
            .slices
            .keys()
            .copied()
            .take(plan::ranges_max())
            .collect();
        let mut slices = Vec::with_capacity(partitions.len());
        for partition in partitions {
            if let Some(slice) = self.slices.remove(&partition) {
                self.rows -= slice.rows();
                self.bytes -= slice.bytes();
                slices.push(slice);
            }
        }
        if self.slices.is_empty() {
            self.opened_at = None;
        }
        Cut::new(id, repeat_window, slices)
    }
}

/// A finished cut: its plan and what the plan stands for.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) plan: Plan,
    pub(crate) rows: usize,
    pub(crate) repeats: u64,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// The INSERT's body.
    pub(crate) block: bytes::Bytes,
}

impl Cut {
    /// `slices` in the order of their partitions.
    pub(crate) fn new(id: Uuid, repeat_window: u32, slices: Vec<Slice>) -> Self {
        let mut ranges = Vec::with_capacity(slices.len());
        let mut parts = Vec::with_capacity(slices.len());
        let mut dead_letters = Vec::new();
        let mut repeats = 0;
        for slice in slices {
            ranges.push(slice.range);
            parts.push(slice.columns);
            dead_letters.extend(slice.dead_letters);
            repeats += slice.repeats;
        }
        Self {
            plan: Plan {
                id,
                repeat_window,
                ranges,
            },
            rows: parts.iter().map(Columns::rows).sum(),
            repeats,
            dead_letters,
            block: crate::native::encode(&parts),
        }
    }
}

#[cfg(test)]
mod tests;
