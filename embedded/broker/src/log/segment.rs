//! One file of a partition's log, and the sparse index that finds a place in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{Batch, HEADER_BYTES};

/// One index entry for this many bytes of log.
const INDEX_EVERY_BYTES: u64 = 4096;
const READ_BYTES: usize = 1 << 20;

pub(crate) struct Segment {
    base_offset: i64,
    path: PathBuf,
    file: Arc<File>,
    index: Index,
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// Bytes of whole batches.
    length: u64,
    max_timestamp: i64,
    entries: Vec<Entry>,
    indexed_to: u64,
}

/// The first batch at or after a position.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Entry {
    base_offset: i64,
    position: u64,
    /// The newest timestamp before this batch, over the whole segment so far.
    max_timestamp_before: i64,
}

impl Segment {
    /// Makes the file, or opens the one that is there; what it holds is told by `adopt` or `scan`.
    pub(super) fn open(directory: &Path, base_offset: i64) -> io::Result<Self> {
        let path = directory.join(format!("{base_offset:020}.log"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)?;
        let index = Index {
            max_timestamp: -1,
            ..Index::default()
        };
        Ok(Self {
            base_offset,
            path,
            file: Arc::new(file),
            index,
        })
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(super) fn len(&self) -> u64 {
        self.index.length
    }

    pub(super) fn max_timestamp(&self) -> i64 {
        self.index.max_timestamp
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Takes over an index that was written when the file had been synced up to its length.
    /// Refused, and the file to be scanned from its start, if the file is shorter than that.
    pub(super) fn adopt(&mut self, index: Index) -> io::Result<bool> {
        if self.file.metadata()?.len() < index.length {
            return Ok(false);
        }
        self.index = index;
        Ok(true)
    }

    /// Reads what the index does not know yet, telling `each` batch; bytes behind the last whole
    /// batch are cut off. Returns how many those were.
    pub(super) fn scan(&mut self, mut each: impl FnMut(&Batch<'_>)) -> io::Result<u64> {
        let file_length = self.file.metadata()?.len();
        let mut buffer = Vec::new();
        while self.index.length < file_length {
            let left = file_length - self.index.length;
            let want = READ_BYTES
                .max(buffer.len())
                .min(usize::try_from(left).unwrap_or(READ_BYTES));
            buffer.resize(want, 0);
            self.file.read_exact_at(&mut buffer, self.index.length)?;
            let mut taken = 0;
            while let Ok(batch) = Batch::parse(&buffer[taken..]) {
                each(&batch);
                self.index.note(&batch);
                taken += batch.bytes().len();
            }
            if taken == 0 {
                let whole = Batch::length(&buffer).filter(|length| *length as u64 <= left);
                match whole {
                    // A batch larger than the buffer: read all of it.
                    Some(length) if length > buffer.len() => buffer.resize(length, 0),
                    _ => break,
                }
            } else {
                buffer.truncate(READ_BYTES);
            }
        }
        let torn = file_length - self.index.length;
        if torn > 0 {
            self.file.set_len(self.index.length)?;
            self.file.sync_all()?;
        }
        Ok(torn)
    }

    /// Writes behind the last batch. After an error the file is as it was.
    pub(super) fn append(&mut self, batch: &Batch<'_>) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(batch.bytes(), self.index.length) {
            // A disk that is full takes no more, but it gives back.
            self.file.set_len(self.index.length)?;
            return Err(error);
        }
        self.index.note(batch);
        Ok(())
    }

    /// Where the batch that holds `offset` begins, and where whole batches of at most `bytes_max`
    /// bytes from there end: at least one batch, none that reaches `end_offset`.
    pub(super) fn extent(
        &self,
        offset: i64,
        end_offset: i64,
        bytes_max: u64,
    ) -> io::Result<(u64, u64)> {
        let near = self
            .index
            .entries
            .partition_point(|entry| entry.base_offset <= offset);
        let mut position = near
            .checked_sub(1)
            .map_or(0, |before| self.index.entries[before].position);
        let mut start = None;
        while position < self.index.length {
            let (base_offset, last_offset, length) = self.header(position)?;
            if base_offset >= end_offset {
                break;
            }
            let end = position + length;
            match start {
                None if last_offset >= offset => {
                    start = Some(position);
                    position = end.max(self.skip_to(position + bytes_max, end_offset));
                    continue;
                }
                Some(start) if end - start > bytes_max => return Ok((start, position)),
                _ => {}
            }
            position = end;
        }
        Ok((start.unwrap_or(position), position))
    }

    /// The last indexed place that begins no later than `position` and before `end_offset`.
    fn skip_to(&self, position: u64, end_offset: i64) -> u64 {
        let after = self
            .index
            .entries
            .partition_point(|entry| entry.position <= position && entry.base_offset < end_offset);
        after
            .checked_sub(1)
            .map_or(0, |at| self.index.entries[at].position)
    }

    /// Offset and timestamp of the first record at or after `timestamp`.
    pub(super) fn first_at(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let near = self
            .index
            .entries
            .partition_point(|entry| entry.max_timestamp_before < timestamp);
        let mut position = near
            .checked_sub(1)
            .map_or(0, |before| self.index.entries[before].position);
        while position < self.index.length {
            let (_, _, length) = self.header(position)?;
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            self.file.read_exact_at(&mut bytes, position)?;
            let batch = Batch::parse(&bytes)
                .map_err(|error| io::Error::other(format!("{}: {error:?}", self.path.display())))?;
            if batch.max_timestamp() >= timestamp {
                return Ok(Some(batch.first_at(timestamp)));
            }
            position += length;
        }
        Ok(None)
    }

    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// First offset, last offset and length of the batch at `position`.
    fn header(&self, position: u64) -> io::Result<(i64, i64, u64)> {
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, position)?;
        let length = Batch::length(&header)
            .ok_or_else(|| io::Error::other(format!("{} is damaged", self.path.display())))?;
        let base_offset = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
        let delta = i32::from_be_bytes(header[23..27].try_into().expect("four bytes"));
        Ok((base_offset, base_offset + i64::from(delta), length as u64))
    }
}

impl Index {
    fn note(&mut self, batch: &Batch<'_>) {
        if self.entries.is_empty() || self.length - self.indexed_to >= INDEX_EVERY_BYTES {
            self.entries.push(Entry {
                base_offset: batch.base_offset(),
                position: self.length,
                max_timestamp_before: self.max_timestamp,
            });
            self.indexed_to = self.length;
        }
        self.length += batch.bytes().len() as u64;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp());
    }
}
