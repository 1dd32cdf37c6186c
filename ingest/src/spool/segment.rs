//! The files of the spool: one a segment, named by its number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::frame::{self, Frame, Piece};

const EXTENSION: &str = "spool";
/// What is kept for somebody to look at.
const ASIDE_EXTENSION: &str = "aside";

/// A segment that nothing is appended to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// When its first flush was appended, in milliseconds.
    pub(super) begun_at: u64,
}

impl Segment {
    /// Reads it whole.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(super) fn read(self, dir: &Path) -> io::Result<Contents> {
        let bytes = fs::read(path(dir, self.number))?;
        Ok(Contents {
            number: self.number,
            bytes,
        })
    }

    pub(super) fn remove(self, dir: &Path) -> io::Result<()> {
        fs::remove_file(path(dir, self.number))?;
        sync_dir(dir)
    }

    /// Keeps its file under another name, which it returns.
    pub(super) fn set_aside(self, dir: &Path) -> io::Result<PathBuf> {
        let from = path(dir, self.number);
        let to = from.with_extension(ASIDE_EXTENSION);
        fs::rename(&from, &to)?;
        sync_dir(dir)?;
        Ok(to)
    }
}

/// A segment's bytes.
pub(crate) struct Contents {
    number: u64,
    bytes: Vec<u8>,
}

/// What a segment holds.
pub(crate) struct Frames<'c> {
    /// In the order they were appended.
    pub(crate) frames: Vec<Frame<'c>>,
    /// Bytes that a crash tore: nobody was told that they are safe.
    pub(crate) torn_bytes: usize,
    /// Bytes that were whole once.
    pub(crate) damaged_bytes: usize,
}

impl Contents {
    pub(crate) fn frames(&self) -> Frames<'_> {
        let (mut frames, mut torn_bytes, mut damaged_bytes) = (Vec::new(), 0, 0);
        for piece in frame::pieces(&self.bytes, self.number) {
            // Appending goes front to back: only the last bytes can have been torn.
            damaged_bytes += std::mem::take(&mut torn_bytes);
            match piece {
                Piece::Frame(frame) => frames.push(frame),
                Piece::Closed => {}
                Piece::Damage(range) => torn_bytes = range.len(),
            }
        }
        Frames {
            frames,
            torn_bytes,
            damaged_bytes,
        }
    }
}

/// The segments in `dir`, the oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_segment = path.extension().is_some_and(|name| name == EXTENSION);
        let number = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        if let (true, Some(number)) = (is_segment, number) {
            let metadata = entry.metadata()?;
            segments.push(Segment {
                number,
                bytes: metadata.len(),
                begun_at: begun_at(&path, number)
                    .unwrap_or_else(|| millis(metadata.modified().unwrap_or(UNIX_EPOCH))),
            });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// The highest number that a file in `dir` has, in use or set aside.
pub(super) fn last_number(dir: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

/// When the first frame was appended, if it is small enough to be read for this.
fn begun_at(path: &Path, number: u64) -> Option<u64> {
    const LOOKED_AT_BYTES: u64 = 64 << 10;
    let mut start = Vec::new();
    File::open(path)
        .ok()?
        .take(LOOKED_AT_BYTES)
        .read_to_end(&mut start)
        .ok()?;
    match frame::pieces(&start, number).next() {
        Some(Piece::Frame(frame)) => Some(frame.appended_at),
        _ => None,
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    pub(super) segment: Segment,
}

impl Open {
    /// Makes its file, and its name durable.
    pub(super) fn create(dir: &Path, number: u64, begun_at: u64) -> io::Result<Self> {
        let path = path(dir, number);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)?;
        if let Err(error) = sync_dir(dir) {
            // Left behind, it would be an empty segment of no harm.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            file,
            segment: Segment {
                number,
                bytes: 0,
                begun_at,
            },
        })
    }

    /// Appends `frames`, whole or not at all.
    ///
    /// # Errors
    /// The fault, and whether the file is as it was before.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<(), (io::Error, bool)> {
        match self.file.write_all(frames) {
            Ok(()) => {
                self.segment.bytes += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                let is_as_before = self.file.set_len(self.segment.bytes).is_ok();
                Err((error, is_as_before))
            }
        }
    }

    /// Returns once everything appended is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// What must be known before Kafka can be asked, kept beside the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) topic: String,
    pub(super) partitions: u32,
}

impl Placement {
    const FILE: &str = "placement";

    /// What was stored; `None` if nothing was, or nothing that can be read.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(Self::FILE)).ok()?;
        let (topic, partitions) = text.trim().split_once(' ')?;
        Some(Self {
            topic: topic.to_owned(),
            partitions: partitions.parse().ok().filter(|count| *count > 0)?,
        })
    }

    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let fresh = dir.join("placement.new");
        let mut file = File::create(&fresh)?;
        writeln!(file, "{} {}", self.topic, self.partitions)?;
        file.sync_all()?;
        fs::rename(&fresh, dir.join(Self::FILE))?;
        sync_dir(dir)
    }
}

pub(super) fn now_millis() -> u64 {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis() as u64
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{EXTENSION}"))
}

/// A new, removed or renamed file is so for good only with its directory.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
