//! One partition's log: segments of raw record batches, fsynced before anybody is told.
//!
//! What the operating system has is not what the disk has. A batch is acknowledged, and shown to
//! consumers, only once an fsync covers it: an offset that was ever seen never means another
//! record later.

mod batch;
mod checkpoint;
mod producers;
mod segment;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use batch::{Batch, BatchError, place};
use checkpoint::Checkpoint;
use producers::{Producers, SequenceError};
use segment::Segment;

/// Why an append was refused; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the batch is cut short or damaged")]
    Corrupt,
    #[error("the batch is of a format this broker does not store")]
    Unsupported,
    #[error("the batch has {0} bytes, more than the topic takes")]
    TooLarge(usize),
    #[error("a batch of this producer is missing before this one")]
    OutOfOrder,
    #[error("a newer incarnation of this producer has been here")]
    Fenced,
    #[error("the disk refused")]
    Disk(#[from] io::Error),
}

/// Why a read was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the offset is outside the log")]
    OutOfRange,
    #[error("the disk refused")]
    Disk(#[from] io::Error),
}

/// What a reader may know of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    /// The oldest offset kept.
    pub(crate) start: i64,
    /// One past the newest offset that an fsync covers.
    pub(crate) high: i64,
}

/// What a topic may set of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) segment_bytes: u64,
    pub(crate) batch_bytes_max: usize,
}

pub(crate) struct PartitionLog {
    directory: PathBuf,
    inner: Mutex<Inner>,
    /// Held during an fsync, so that those who come meanwhile share the next one.
    syncing: Mutex<()>,
}

struct Inner {
    /// Never empty; the last one is written to.
    segments: Vec<Segment>,
    next_offset: i64,
    synced_offset: i64,
    producers: Producers,
    /// An fsync failed: what the disk holds is unknown, and nothing more is promised.
    failed: bool,
}

impl PartitionLog {
    /// Opens or makes the log. After a clean end only its checkpoint is read; otherwise what was
    /// written since is read again, and bytes that are no whole batch are cut off.
    pub(crate) fn open(directory: &Path, now_ms: i64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut checkpoint = Checkpoint::load(directory)?.unwrap_or_default();
        let mut bases = base_offsets(directory)?;
        if bases.is_empty() {
            bases.push(0);
        }
        let mut producers = std::mem::take(&mut checkpoint.producers);
        let mut next_offset = bases[0];
        let mut segments = Vec::with_capacity(bases.len());
        for base_offset in bases {
            if base_offset != next_offset {
                warn!(
                    "{} has no batch from offset {next_offset} to {base_offset}",
                    directory.display()
                );
                next_offset = base_offset;
            }
            let mut segment = Segment::open(directory, base_offset)?;
            if let Some((index, end_offset)) = checkpoint.segments.remove(&base_offset)
                && segment.adopt(index)?
            {
                next_offset = end_offset;
            }
            let torn = segment.scan(|batch| {
                producers.note(batch, now_ms);
                next_offset = batch.base_offset() + i64::from(batch.last_offset_delta()) + 1;
            })?;
            if torn > 0 {
                info!(
                    "cut {torn} bytes of an unfinished batch off {} at offset {next_offset}",
                    directory.display()
                );
            }
            segments.push(segment);
        }
        let inner = Inner {
            segments,
            next_offset,
            synced_offset: next_offset,
            producers,
            failed: false,
        };
        let log = Self {
            directory: directory.to_owned(),
            inner: Mutex::new(inner),
            syncing: Mutex::new(()),
        };
        // What the scan found may never have been synced.
        log.inner().active().file().sync_all()?;
        sync_directory(directory)?;
        Ok(log)
    }

    /// Appends the batch in `records` and returns its offset, the earlier one's if it is a repeat.
    /// It is safe, and visible, after [`sync`](Self::sync).
    pub(crate) fn append(
        &self,
        records: &[u8],
        limits: Limits,
        now_ms: i64,
    ) -> Result<i64, AppendError> {
        let length = {
            let batch = Batch::parse(records)?;
            if batch.is_transactional() {
                return Err(AppendError::Unsupported);
            }
            batch.bytes().len()
        };
        // One batch a request and partition, as the protocol has it since record format v2.
        if length != records.len() {
            return Err(AppendError::Corrupt);
        }
        if length > limits.batch_bytes_max {
            return Err(AppendError::TooLarge(length));
        }
        let mut bytes = records.to_vec();
        let mut inner = self.inner();
        if inner.failed {
            return Err(AppendError::Disk(io::Error::other(
                "an earlier fsync failed",
            )));
        }
        if let Some(offset) = inner.producers.check(&Batch::parse(&bytes)?)? {
            return Ok(offset);
        }
        let active = inner.active().len();
        if active > 0 && active + length as u64 > limits.segment_bytes {
            self.roll(&mut inner)?;
        }
        let offset = inner.next_offset;
        place(&mut bytes, offset);
        let batch = Batch::placed(&bytes);
        inner.active_mut().append(&batch)?;
        inner.producers.note(&batch, now_ms);
        inner.next_offset = offset + i64::from(batch.last_offset_delta()) + 1;
        Ok(offset)
    }

    /// Makes everything appended so far safe and visible. One fsync serves all who wait for it.
    ///
    /// # Errors
    /// If the disk cannot promise it; the log takes nothing more after that.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let wanted = self.inner().next_offset;
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, reaches) = {
            let inner = self.inner();
            if inner.failed {
                return Err(io::Error::other("an earlier fsync failed"));
            }
            if inner.synced_offset >= wanted {
                return Ok(());
            }
            (inner.active().file(), inner.next_offset)
        };
        let synced = file.sync_data();
        let mut inner = self.inner();
        match synced {
            Ok(()) => inner.synced_offset = inner.synced_offset.max(reaches),
            // The kernel may have dropped the pages: a second fsync would lie.
            Err(_) => inner.failed = true,
        }
        synced
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        let inner = self.inner();
        Watermarks {
            start: inner.segments[0].base_offset(),
            high: inner.synced_offset,
        }
    }

    /// Whole batches from the one that holds `offset`, at most `bytes_max` bytes but at least one
    /// batch; empty at the end of the log.
    pub(crate) fn read(
        &self,
        offset: i64,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, Watermarks), ReadError> {
        use std::os::unix::fs::FileExt;

        let watermarks = self.watermarks();
        if offset < watermarks.start || offset > watermarks.high {
            return Err(ReadError::OutOfRange);
        }
        if offset == watermarks.high {
            return Ok((Vec::new(), watermarks));
        }
        let (file, start, end) = {
            let inner = self.inner();
            let holds = inner
                .segments
                .partition_point(|segment| segment.base_offset() <= offset);
            let segment = holds
                .checked_sub(1)
                .map(|at| &inner.segments[at])
                .ok_or(ReadError::OutOfRange)?;
            let (start, end) = segment.extent(offset, watermarks.high, bytes_max)?;
            (segment.file(), start, end)
        };
        // Outside the lock: a segment is only ever appended to, and a removed one stays readable.
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut batches = vec![0; length];
        file.read_exact_at(&mut batches, start)?;
        Ok((batches, watermarks))
    }

    /// Offset and timestamp of the first visible record at or after `timestamp`.
    pub(crate) fn first_at(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let inner = self.inner();
        for segment in &inner.segments {
            if segment.max_timestamp() >= timestamp
                && let Some((offset, found)) = segment.first_at(timestamp)?
            {
                return Ok((offset < inner.synced_offset).then_some((offset, found)));
            }
        }
        Ok(None)
    }

    /// Drops what is older than `age_ms` or beyond `bytes`, whole segments at a time. The segment
    /// being written is closed first where all of it is too old. Returns how many were dropped.
    pub(crate) fn retain(
        &self,
        age_ms: Option<i64>,
        bytes: Option<u64>,
        now_ms: i64,
    ) -> io::Result<usize> {
        self.sync()?;
        let mut inner = self.inner();
        let aged = |segment: &Segment| {
            age_ms.is_some_and(|age_ms| segment.max_timestamp() < now_ms.saturating_sub(age_ms))
        };
        if inner.active().len() > 0 && inner.segments.iter().all(aged) {
            self.roll(&mut inner)?;
        }
        let mut total: u64 = inner.segments.iter().map(Segment::len).sum();
        let mut dropped = 0;
        while inner.segments.len() > 1 {
            let first = &inner.segments[0];
            let beyond = bytes.is_some_and(|bytes| total - first.len() >= bytes);
            if !aged(first) && !beyond {
                break;
            }
            total -= first.len();
            inner.segments.remove(0).remove()?;
            dropped += 1;
        }
        if dropped > 0 {
            sync_directory(&self.directory)?;
        }
        Ok(dropped)
    }

    /// Forgets producers last seen before `before_ms`.
    pub(crate) fn expire_producers(&self, before_ms: i64) {
        self.inner().producers.expire(before_ms);
    }

    /// Syncs and writes down what is known, so that the next start need not read the log.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.sync()?;
        self.checkpoint(&self.inner())
    }

    /// Closes the segment being written and begins the next one.
    fn roll(&self, inner: &mut Inner) -> io::Result<()> {
        if let Err(error) = inner.active().file().sync_data() {
            inner.failed = true;
            return Err(error);
        }
        inner.synced_offset = inner.next_offset;
        let segment = Segment::open(&self.directory, inner.next_offset)?;
        sync_directory(&self.directory)?;
        inner.segments.push(segment);
        self.checkpoint(inner)
    }

    fn checkpoint(&self, inner: &Inner) -> io::Result<()> {
        let ends = inner
            .segments
            .iter()
            .skip(1)
            .map(Segment::base_offset)
            .chain(std::iter::once(inner.next_offset));
        let segments = inner
            .segments
            .iter()
            .zip(ends)
            .map(|(segment, end)| (segment.base_offset(), (segment.index().clone(), end)))
            .collect();
        Checkpoint {
            segments,
            producers: inner.producers.clone(),
        }
        .store(&self.directory)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock left memory and file apart: nothing more is promised.
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = poisoned.into_inner();
            inner.failed = true;
            inner
        })
    }
}

impl Inner {
    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment")
    }
}

fn base_offsets(directory: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
        bases.extend(base.and_then(|base| base.parse::<i64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Makes the creation and removal of files in `directory` last.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Corrupt => Self::Corrupt,
            BatchError::Unsupported => Self::Unsupported,
        }
    }
}

impl From<SequenceError> for AppendError {
    fn from(error: SequenceError) -> Self {
        match error {
            SequenceError::OutOfOrder => Self::OutOfOrder,
            SequenceError::Fenced => Self::Fenced,
        }
    }
}
