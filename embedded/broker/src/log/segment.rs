//! One file of a partition's log and the reading of batches from it.

use std::{fs, io, path::Path, sync::Arc};

use super::{
    batch::{self, HEADER_BYTES, Header},
    damage::{self, Known},
    index::{Index, Spot, Summary},
};
use crate::{
    clock::{self, UnixMs},
    disk::{DataFile, Disk},
};

/// Bytes fetched at once while walking over batches.
const WALK_BYTES: usize = 256 << 10;

pub(crate) struct Segment {
    pub(super) base: i64,
    pub(super) next: i64,
    pub(super) len: u64,
    pub(super) max_timestamp: i64,
    /// Wall clock of the first and the last append.
    pub(super) opened_at: UnixMs,
    pub(super) appended_at: UnixMs,
    pub(super) file: Arc<DataFile>,
    pub(super) index: Index,
    last_batch: u64,
}

/// `.log` holds the batches, `.index` finds them, `.producers` is who had written before the first.
pub(super) fn file_name(base: i64, extension: &str) -> String {
    format!("{base:020}.{extension}")
}

impl Segment {
    pub(super) fn open(disk: &Disk, dir: &Path, base: i64) -> io::Result<Self> {
        let file = disk.open(&dir.join(file_name(base, "log")))?;
        let modified = clock::since_1970(file.modified()?);
        Ok(Self {
            base,
            next: base,
            len: 0,
            max_timestamp: -1,
            opened_at: modified,
            appended_at: modified,
            file: Arc::new(file),
            index: Index::default(),
            last_batch: 0,
        })
    }

    /// Takes note of a batch at the end of the file.
    pub(super) fn note(&mut self, batch: &Header, now: UnixMs) {
        if self.len == 0 {
            self.opened_at = now;
        }
        self.appended_at = now;
        self.index
            .note(batch.base_offset, self.len, self.max_timestamp);
        self.last_batch = self.len;
        self.len += batch.size as u64;
        self.next = batch.next_offset();
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// The latest time the segment speaks of. A timestamp from the future does not count, or one
    /// wrong clock would keep the segment for ever.
    pub(super) fn latest_at(&self) -> UnixMs {
        if self.max_timestamp < 0 {
            self.appended_at
        } else {
            self.max_timestamp.min(self.appended_at)
        }
    }

    /// A batch at or before the one that holds `offset`.
    pub(super) fn before(&self, offset: i64) -> Spot {
        // Most readers are at the end, so that is the usual answer.
        if offset >= self.next {
            Spot {
                position: self.len,
                offset: self.next,
            }
        } else {
            self.index.before(offset).unwrap_or(self.first())
        }
    }

    /// A batch at or before the first one that reaches `timestamp`.
    pub(super) fn before_time(&self, timestamp: i64) -> Spot {
        self.index.before_time(timestamp).unwrap_or(self.first())
    }

    fn first(&self) -> Spot {
        Spot {
            position: 0,
            offset: self.base,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            base_offset: self.base,
            next_offset: self.next,
            len: self.len,
            max_timestamp: self.max_timestamp,
            last_batch: self.last_batch,
        }
    }

    /// Trusts an index instead of reading the file, if it speaks of this very file.
    pub(super) fn adopt(&mut self, summary: &Summary, index: Index, file_len: u64) -> bool {
        let fits = summary.base_offset == self.base
            && summary.len == file_len
            && summary.next_offset >= self.base
            && summary.last_batch <= summary.len;
        if fits {
            self.next = summary.next_offset;
            self.len = summary.len;
            self.max_timestamp = summary.max_timestamp;
            self.last_batch = summary.last_batch;
            self.index = index;
        }
        fits
    }

    /// Reads the file from its start and takes note of every batch. Damage is set aside; what is left
    /// behind `len` is a torn tail. `next` is the offset behind the last one, if it is known.
    pub(super) fn scan(
        &mut self,
        disk: &Disk,
        dir: &Path,
        next: Option<i64>,
        mut seen: impl FnMut(&Header),
    ) -> io::Result<()> {
        let file = self.file.clone();
        let (opened_at, appended_at) = (self.opened_at, self.appended_at);
        let mut set_aside = None;
        loop {
            let known = Known {
                len: file.len()?,
                next,
            };
            let mut walk = Walk::new(&file, self.len, known.len);
            while let Some((header, body)) = walk.next(Take::Batches)? {
                if !header.stands_at(self.next) || !batch::is_intact(body) {
                    break;
                }
                self.note(&header, appended_at);
                seen(&header);
            }
            if self.len == known.len && next.is_none_or(|next| self.next >= next) {
                break;
            }
            let at = Spot {
                position: self.len,
                offset: self.next,
            };
            if set_aside == Some(at) {
                return Err(still_damaged(&file, at));
            }
            let Some(damage) = damage::find(&file, at, known)? else {
                break;
            };
            damage::set_aside(disk, dir, self.base, &file, &damage)?;
            set_aside = Some(at);
        }
        self.opened_at = opened_at;
        Ok(())
    }

    /// Sets aside the first damage behind `from`, of a segment whose end is known. Returns whether
    /// there was any.
    pub(super) fn mend(&mut self, disk: &Disk, dir: &Path, from: Spot) -> io::Result<bool> {
        let file = self.file.clone();
        let known = Known {
            len: self.len,
            next: Some(self.next),
        };
        let mut at = from;
        let mut walk = Walk::new(&file, at.position, known.len);
        while let Some((header, body)) = walk.next(Take::Batches)? {
            if !header.stands_at(at.offset) || !batch::is_intact(body) {
                break;
            }
            at.position += header.size as u64;
            at.offset = header.next_offset();
        }
        if at.position >= known.len {
            return Ok(false);
        }
        let damage = damage::find(&file, at, known)?.ok_or_else(|| still_damaged(&file, at))?;
        damage::set_aside(disk, dir, self.base, &file, &damage)?;
        // Batches that began in the middle of it are no more.
        self.index.forget(at.position + 1..damage.bytes.end);
        let index = dir.join(file_name(self.base, "index"));
        if index.exists() && self.index.save(disk, &index, &self.summary()).is_err() {
            // The next start reads the segment instead.
            fs::remove_file(&index)?;
        }
        Ok(true)
    }
}

fn still_damaged(file: &DataFile, at: Spot) -> io::Error {
    let name = file.name();
    io::Error::other(format!(
        "{name} is damaged at byte {} (offset {}), and that cannot be set aside",
        at.position, at.offset
    ))
}

/// What a walk reads of each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    Headers,
    Batches,
}

/// Steps from batch to batch through part of a file.
pub(super) struct Walk<'a> {
    file: &'a DataFile,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffered_from: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a DataFile, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            buffer: Vec::new(),
            buffered_from: position,
        }
    }

    /// The next batch, or `None` at the end and where no whole batch stands.
    pub(super) fn next(&mut self, take: Take) -> io::Result<Option<(Header, &[u8])>> {
        let Some(header) = Header::parse(self.bytes(self.position, HEADER_BYTES)?) else {
            return Ok(None);
        };
        if header.size as u64 > self.end - self.position {
            return Ok(None);
        }
        let at = self.position;
        self.position += header.size as u64;
        let wanted = if take == Take::Batches {
            header.size
        } else {
            HEADER_BYTES
        };
        let body = self.bytes(at, wanted)?;
        if body.len() < wanted {
            return Ok(None);
        }
        Ok(Some((header, body)))
    }

    /// Up to `len` bytes at `position`, fewer at the end.
    fn bytes(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let len = (len as u64).min(self.end.saturating_sub(position)) as usize;
        let buffered_to = self.buffered_from + self.buffer.len() as u64;
        if position < self.buffered_from || position + len as u64 > buffered_to {
            let wanted = (len.max(WALK_BYTES) as u64).min(self.end - position) as usize;
            self.buffer.resize(wanted, 0);
            let read = self.file.read_at(&mut self.buffer, position)?;
            self.buffer.truncate(read);
            self.buffered_from = position;
        }
        let from = (position - self.buffered_from) as usize;
        Ok(&self.buffer[from..self.buffer.len().min(from + len)])
    }
}
