//! The log of one partition: append, make durable, read, look up by time, forget.
//! All calls block on the disk; callers run them off the async threads.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::{
    batch::{self, HEADER_BYTES, Header, OFFSETS_MAX},
    damage,
    index::{INTERVAL_BYTES, Spot},
    producers::{Producers, Verdict},
    recovery,
    segment::{Segment, Take, Walk, file_name},
};
use crate::{
    clock::{self, UnixMs},
    damaged,
    disk::{DataFile, Disk},
    topic_config::TopicConfig,
};

/// A read sets aside one damage and looks again. More than a few of them mean that the disk does not
/// keep what is written.
const MENDS_MAX: usize = 8;

pub(crate) struct Partition {
    pub(super) dir: PathBuf,
    pub(super) disk: Disk,
    state: Mutex<State>,
    /// Held by the one caller that fsyncs, while the others wait to share its result.
    syncing: Mutex<()>,
    waiting: Mutex<Vec<Weak<Notify>>>,
}

pub(super) struct State {
    /// In order of offsets; the last one is written to. Never empty.
    pub(super) segments: VecDeque<Segment>,
    pub(super) start: i64,
    /// Everything before it is durable, and nothing behind it is shown to readers: what a reader
    /// has seen must not vanish in a crash and come back as something else.
    pub(super) durable: i64,
    pub(super) producers: Producers,
    /// Set once the topic is gone, so that a late request cannot write into the void.
    closed: bool,
}

/// Where a batch has landed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) start: i64,
    /// What `sync` must reach before this batch may be acknowledged.
    pub(crate) sync_to: i64,
}

/// First offset, and the one behind the last that readers may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl State {
    pub(super) fn new(segments: VecDeque<Segment>, start: i64, producers: Producers) -> Self {
        let mut state = Self {
            segments,
            start,
            durable: 0,
            producers,
            closed: false,
        };
        state.durable = state.active().next;
        state.start = state.start.min(state.durable);
        state
    }

    fn active(&mut self) -> &mut Segment {
        self.segments
            .back_mut()
            .expect("a log has at least one segment")
    }

    fn next(&self) -> i64 {
        self.segments
            .back()
            .expect("a log has at least one segment")
            .next
    }

    fn extent(&self) -> Extent {
        Extent {
            start: self.start,
            end: self.durable,
        }
    }

    /// The segment to read `offset` from; the following one if `offset` fell into a gap.
    fn segment_of(&self, offset: i64) -> &Segment {
        let after = self
            .segments
            .partition_point(|segment| segment.base <= offset);
        let at = after.saturating_sub(1);
        let gap = self.segments[at].next <= offset && at + 1 < self.segments.len();
        &self.segments[if gap { at + 1 } else { at }]
    }

    fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }
}

impl Partition {
    pub(super) fn new(dir: PathBuf, disk: Disk, state: State) -> Self {
        Self {
            dir,
            disk,
            state: Mutex::new(state),
            syncing: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves positions that still describe the file.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn extent(&self) -> Extent {
        self.state().extent()
    }

    /// Writes what a producer sent to the end of the log. It is neither durable nor visible before
    /// `sync` has reached it.
    pub(crate) fn append(
        &self,
        records: &[u8],
        config: &TopicConfig,
        now: UnixMs,
    ) -> Result<Appended, ResponseError> {
        let mut header = batch::check_produced(records, config.message_bytes_max)?;
        let mut placed = records.to_vec();

        let mut state = self.state();
        if state.closed {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        let start = state.start;
        if let Verdict::Repeated(base_offset) = state.producers.check(&header)? {
            // Its first copy may still wait for its fsync, and this answer must wait with it.
            return Ok(Appended {
                base_offset,
                start,
                sync_to: state.next(),
            });
        }
        let written = self.write(&mut state, &mut header, &mut placed, config, now);
        if let Err(error) = written {
            error!(log.dir = %self.dir.display(), "refused a batch, since writing it failed: {error}");
            return Err(ResponseError::KafkaStorageError);
        }
        Ok(Appended {
            base_offset: header.base_offset,
            start,
            sync_to: header.next_offset(),
        })
    }

    fn write(
        &self,
        state: &mut State,
        header: &mut Header,
        placed: &mut [u8],
        config: &TopicConfig,
        now: UnixMs,
    ) -> io::Result<()> {
        let active = state.active();
        if active.len > 0 && active.len + header.size as u64 > config.segment_bytes {
            self.roll(state, now)?;
        }
        header.base_offset = state.next();
        batch::place(placed, header.base_offset);
        let active = state.active();
        active.file.write_at(placed, active.len)?;
        active.note(header, now);
        state.producers.note(header, now);
        Ok(())
    }

    /// Starts a new segment. The old one is durable before, so only the last can have a torn tail.
    fn roll(&self, state: &mut State, now: UnixMs) -> io::Result<()> {
        let next = state.next();
        let sealed = state.active();
        sealed.file.sync()?;
        let (base, summary) = (sealed.base, sealed.summary());
        let mut segment = Segment::open(&self.disk, &self.dir, next)?;
        segment.opened_at = now;
        segment.appended_at = now;
        self.disk.sync_dir(&self.dir)?;

        // Both files only save time at the next start, so the log goes on without them.
        let index = self.dir.join(file_name(base, "index"));
        if let Err(error) = state.active().index.save(&self.disk, &index, &summary) {
            warn!(
                "cannot write {}, the next start will read its segment: {error}",
                index.display()
            );
        }
        let producers = self.dir.join(file_name(next, "producers"));
        if let Err(error) = self.disk.write_whole(&producers, &state.producers.encode()) {
            warn!(
                "cannot write {}, a start after a crash will read all segments: {error}",
                producers.display()
            );
        }
        let _ = fs::remove_file(self.dir.join(file_name(base, "producers")));

        state.segments.push_back(segment);
        state.durable = state.durable.max(next);
        Ok(())
    }

    /// Has the log go on at `offset`, behind a gap, if it ends before. False if the gap would be too
    /// large to be meant.
    pub(crate) fn go_on_at(&self, offset: i64) -> io::Result<bool> {
        let mut state = self.state();
        let active = state.active();
        let missing = offset.saturating_sub(active.next);
        if missing > OFFSETS_MAX {
            return Ok(false);
        }
        if missing > 0 {
            let gap = batch::gap(active.next, missing, HEADER_BYTES);
            active.file.write_at(&gap, active.len)?;
            let file = active.file.clone();
            if let Some(header) = Header::parse(&gap) {
                active.note(&header, clock::now());
                state.producers.note(&header, clock::now());
            }
            file.sync()?;
            state.durable = state.next();
        }
        Ok(true)
    }

    /// Makes the log durable up to an offset. One fsync serves all who asked before it began.
    pub(crate) fn sync(&self, to: i64) -> io::Result<()> {
        if self.extent().end >= to {
            return self.disk.check();
        }
        let turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.extent().end >= to {
            return self.disk.check();
        }
        let (file, next) = {
            let mut state = self.state();
            (state.active().file.clone(), state.next())
        };
        file.sync()?;
        {
            let mut state = self.state();
            state.durable = state.durable.max(next);
        }
        drop(turn);
        self.wake_readers();
        Ok(())
    }

    /// Wakes `reader` at the next change. A `Notify` that is dropped is forgotten.
    pub(crate) fn wake_on_change(&self, reader: &Arc<Notify>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = Arc::downgrade(reader);
        // A reader that names the partition twice, or looks again, is there once.
        waiting.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&reader));
        waiting.push(reader);
    }

    fn wake_readers(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in waiting.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.notify_one();
        }
    }

    /// Whole batches from the one that holds `offset` on: the first one in any case if `at_least_one`,
    /// more while they fit into `bytes_max`. Damage among them is set aside.
    pub(crate) fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<(Bytes, Extent), ResponseError> {
        for _ in 0..MENDS_MAX {
            let (base, source, extent) = {
                let state = self.state();
                let extent = state.extent();
                if state.closed {
                    return Err(ResponseError::UnknownTopicOrPartition);
                }
                if offset < extent.start || offset > extent.end {
                    return Err(ResponseError::OffsetOutOfRange);
                }
                let segment = state.segment_of(offset);
                let source = Source {
                    file: segment.file.clone(),
                    from: segment.before(offset),
                    len: segment.len,
                    end: extent.end,
                };
                (segment.base, source, extent)
            };
            if offset == extent.end {
                return Ok((Bytes::new(), extent));
            }
            match source.read(offset, bytes_max, at_least_one) {
                Ok(Some(records)) => return Ok((records, extent)),
                Ok(None) => self.mend(base, source.from)?,
                Err(error) => return Err(unreadable(&source.file, &error)),
            }
        }
        error!(log.dir = %self.dir.display(), "offset {offset} cannot be read, and its damage cannot be set aside");
        Err(ResponseError::KafkaStorageError)
    }

    /// Sets aside the first damage behind a batch of a segment, if nobody else has.
    fn mend(&self, base: i64, from: Spot) -> Result<(), ResponseError> {
        let mut state = self.state();
        // Retention may have taken it.
        let Some(segment) = state.segments.iter_mut().find(|other| other.base == base) else {
            return Ok(());
        };
        match segment.mend(&self.disk, &self.dir, from) {
            Ok(_) => Ok(()),
            Err(error) => Err(unreadable(&segment.file, &error)),
        }
    }

    /// Offset and timestamp of the first record at or after `timestamp`.
    pub(crate) fn first_at_or_after(
        &self,
        timestamp: i64,
    ) -> Result<Option<(i64, i64)>, ResponseError> {
        let (spans, extent) = {
            let state = self.state();
            let late_enough =
                |segment: &&Segment| segment.len > 0 && segment.max_timestamp >= timestamp;
            let bases: Vec<i64> = state
                .segments
                .iter()
                .filter(late_enough)
                .map(|segment| segment.base)
                .collect();
            (bases, state.extent())
        };
        for base in spans {
            let mut mends = 0;
            while mends < MENDS_MAX {
                match self.first_in_segment(base, timestamp, extent)? {
                    Found::At(found) => return Ok(found),
                    Found::Nothing => break,
                    Found::Damage(from) => self.mend(base, from)?,
                }
                mends += 1;
            }
        }
        Ok(None)
    }

    fn first_in_segment(
        &self,
        base: i64,
        timestamp: i64,
        extent: Extent,
    ) -> Result<Found, ResponseError> {
        let (file, from, len) = {
            let state = self.state();
            let Some(segment) = state.segments.iter().find(|other| other.base == base) else {
                return Ok(Found::Nothing);
            };
            (
                segment.file.clone(),
                segment.before_time(timestamp),
                segment.len,
            )
        };
        let mut walk = Walk::new(&file, from.position, len);
        let mut at = from;
        loop {
            let next = walk
                .next(Take::Batches)
                .map_err(|error| unreadable(&file, &error))?;
            let Some((header, batch)) = next else { break };
            if !header.stands_at(at.offset) || !batch::is_intact(batch) {
                return Ok(Found::Damage(from));
            }
            if header.base_offset >= extent.end {
                return Ok(Found::At(None));
            }
            let found = batch::first_at_or_after(&header, batch, timestamp);
            if let Some(found) = found.filter(|(offset, _)| *offset >= extent.start) {
                return Ok(Found::At(Some(found)));
            }
            at.position += header.size as u64;
            at.offset = header.next_offset();
        }
        Ok(if at.position < len {
            Found::Damage(from)
        } else {
            Found::Nothing
        })
    }

    /// The record with the latest timestamp.
    pub(crate) fn latest_by_time(&self) -> Result<Option<(i64, i64)>, ResponseError> {
        let latest = {
            let state = self.state();
            state
                .segments
                .iter()
                .filter(|segment| segment.len > 0)
                .map(|segment| segment.max_timestamp)
                .max()
        };
        latest.map_or(Ok(None), |latest| self.first_at_or_after(latest))
    }

    /// Forgets everything before `to`, or all there is if `to` is -1. Returns the new start.
    pub(crate) fn delete_before(&self, to: i64) -> Result<i64, ResponseError> {
        let mut state = self.state();
        let to = if to == -1 { state.durable } else { to };
        if to < 0 || to > state.durable {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if to > state.start {
            if let Err(error) = recovery::save_start(&self.disk, &self.dir, to) {
                error!(log.dir = %self.dir.display(), "cannot delete records: {error}");
                return Err(ResponseError::KafkaStorageError);
            }
            state.start = to;
            self.drop_segments(&mut state, |state| state.segments[0].next <= state.start);
        }
        Ok(state.start)
    }

    /// Applies the retention limits, to the segment that is written to as well once it is old.
    pub(crate) fn retain(&self, config: &TopicConfig, now: UnixMs) -> io::Result<()> {
        let mut state = self.state();
        if state.closed {
            return Ok(());
        }
        state
            .producers
            .expire(now.saturating_sub(clock::millis(config.producer_retention)));
        let outlived = |segment: &Segment| {
            config
                .retention
                .is_some_and(|limit| now - segment.latest_at() > clock::millis(limit))
        };
        let active = state.active();
        let aged = now - active.opened_at >= clock::millis(config.segment_age);
        // Even if no new segment can be begun, the old ones go: that is how a full disk gets space.
        let rolled = if active.len > 0 && (aged || outlived(active)) {
            self.roll(&mut state, now)
        } else {
            Ok(())
        };
        let before = state.segments.len();
        self.drop_segments(&mut state, |state| {
            let first = &state.segments[0];
            let too_many = |limit: u64| state.total_bytes() - first.len >= limit;
            outlived(first) || config.retention_bytes.is_some_and(too_many)
        });
        let dropped = before - state.segments.len();
        drop(state);
        if dropped > 0 {
            info!(log.dir = %self.dir.display(), log.segments = dropped, "deleted {dropped} segments past their retention");
        }
        self.wake_readers();
        rolled
    }

    /// Deletes segments from the front while `spent` says so, but never the last.
    fn drop_segments(&self, state: &mut State, spent: impl Fn(&State) -> bool) {
        while state.segments.len() > 1 && spent(state) {
            let Some(segment) = state.segments.pop_front() else {
                break;
            };
            state.start = state.start.max(state.segments[0].base);
            for extension in ["index", "producers", "log"] {
                let path = self.dir.join(file_name(segment.base, extension));
                if let Err(error) = fs::remove_file(&path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    warn!("cannot delete {}: {error}", path.display());
                }
            }
            if let Err(error) = damaged::forget(&self.dir, &file_name(segment.base, "log")) {
                warn!(log.dir = %self.dir.display(), "cannot delete what was damaged of a segment past its retention: {error}");
            }
        }
    }

    /// Makes all durable and leaves a snapshot, so that the next start reads nothing.
    pub(crate) fn close(&self) -> io::Result<()> {
        let next = self.state().next();
        self.sync(next)?;
        let mut state = self.state();
        state.closed = true;
        let summary = state.active().summary();
        let snapshot = recovery::Snapshot {
            summary,
            index: &state.active().index.clone(),
            producers: &state.producers,
        };
        recovery::save_snapshot(&self.disk, &self.dir, &snapshot)
    }

    /// The topic is deleted: nothing is written or read from now on.
    pub(crate) fn abandon(&self) {
        self.state().closed = true;
        self.wake_readers();
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a look for a time has found in a segment.
enum Found {
    At(Option<(i64, i64)>),
    Nothing,
    /// Behind this batch.
    Damage(Spot),
}

/// Where a read takes its batches from.
struct Source {
    file: Arc<DataFile>,
    from: Spot,
    len: u64,
    /// Batches from this offset on are not shown yet.
    end: i64,
}

impl Source {
    /// `None` if there is damage before the first batch that is wanted, or in it.
    fn read(&self, offset: i64, bytes_max: usize, at_least_one: bool) -> io::Result<Option<Bytes>> {
        // The batch begins less than an index interval behind `from`, and its header must fit.
        let reach = INTERVAL_BYTES + HEADER_BYTES as u64;
        let left = self.len - self.from.position;
        let wanted = (bytes_max as u64).saturating_add(reach).min(left) as usize;
        let mut buffer = vec![0; wanted];
        if self.file.read_at(&mut buffer, self.from.position)? < wanted {
            return Ok(None);
        }
        let mut at = self.from;
        let mut from = 0;
        // What is skipped needs no CRC: if its length or count is wrong, no batch follows in order.
        let first = loop {
            let Some(header) = self.header(&buffer[from..], at)? else {
                return Ok(None);
            };
            if header.last_offset() >= offset {
                break header;
            }
            from += header.size;
            at.position += header.size as u64;
            at.offset = header.next_offset();
            if from > buffer.len() {
                from = buffer.len();
            }
        };
        if first.base_offset >= self.end {
            return Ok(Some(Bytes::new()));
        }
        if first.is_gap() {
            return self.gap(&first, at);
        }
        if first.size > buffer.len() - from {
            if !at_least_one {
                return Ok(Some(Bytes::new()));
            }
            buffer.resize(first.size, 0);
            let filled = self.file.read_at(&mut buffer, at.position)?;
            if filled < first.size || !batch::is_intact(&buffer) {
                return Ok(None);
            }
            batch::reset_leader_epoch(&mut buffer);
            return Ok(Some(Bytes::from(buffer)));
        }
        let mut to = from;
        while let Some(header) = Header::parse(&buffer[to..]) {
            let fits = header.size <= buffer.len() - to
                && (to - from + header.size <= bytes_max || (to == from && at_least_one));
            if !header.stands_at(at.offset) || header.is_gap() || at.offset >= self.end || !fits {
                break;
            }
            let batch = &mut buffer[to..to + header.size];
            if !batch::is_intact(batch) {
                if to == from {
                    return Ok(None);
                }
                break;
            }
            batch::reset_leader_epoch(batch);
            to += header.size;
            at.offset = header.next_offset();
        }
        Ok(Some(Bytes::from(buffer).slice(from..to)))
    }

    /// The header of the batch at `at`, where `bytes` begin unless they are too few. `None` if it is
    /// damaged.
    fn header(&self, bytes: &[u8], at: Spot) -> io::Result<Option<Header>> {
        let mut own = [0; HEADER_BYTES];
        let header = if bytes.len() >= HEADER_BYTES {
            Header::parse(bytes)
        } else {
            let filled = self.file.read_at(&mut own, at.position)?;
            Header::parse(&own[..filled])
        };
        Ok(header.filter(|header| {
            header.stands_at(at.offset)
                && header.size as u64 <= self.len.saturating_sub(at.position)
        }))
    }

    /// A gap as consumers get it: its header alone, whatever space it takes in the file.
    fn gap(&self, header: &Header, at: Spot) -> io::Result<Option<Bytes>> {
        if !damage::is_intact_at(&self.file, at.position, header)? {
            return Ok(None);
        }
        let offsets = header.next_offset() - header.base_offset;
        Ok(Some(batch::gap(at.offset, offsets, HEADER_BYTES).into()))
    }
}

fn unreadable(file: &DataFile, error: &io::Error) -> ResponseError {
    error!("cannot read {}: {error}", file.name());
    ResponseError::KafkaStorageError
}
