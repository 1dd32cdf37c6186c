//! Damage inside a segment: found, kept beside it, and replaced by a gap, so that the batches behind it
//! stay where they are and consumers go on there.
//!
//! In this order: the damaged bytes are durable in a file of their own; then the gap is written over
//! them and is durable. A crash in between leaves the damage, which the next start finds again.

use std::{io, ops::Range, path::Path};

use tracing::error;

use super::{
    batch::{self, HEADER_BYTES, Header, OFFSETS_MAX},
    index::Spot,
    segment::file_name,
};
use crate::{
    damaged,
    disk::{DataFile, Disk},
};

/// Bytes that may be checked in vain in search of the next whole batch: records can be made to look
/// like many beginnings of large batches.
const SEARCHED_BYTES_MAX: u64 = 4 << 30;

/// Bytes searched at once.
const SEARCH_BYTES: usize = 1 << 20;

const MAGIC_AT: usize = 16;

/// Part of a segment where no whole batch stands, and the offsets it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) bytes: Range<u64>,
    pub(super) offsets: Range<i64>,
}

/// What is known of a segment.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The length of its file, as far as it counts.
    pub(super) len: u64,
    /// The offset behind its last one. `None` if its end may be torn.
    pub(super) next: Option<i64>,
}

/// What is wrong at `at`, where no whole batch stands. `None` if it is a torn tail: nothing of it was
/// acknowledged, as far as one can see.
pub(super) fn find(file: &DataFile, at: Spot, known: Known) -> io::Result<Option<Damage>> {
    let search = Search {
        file,
        at,
        known,
        left: SEARCHED_BYTES_MAX,
    };
    let (to, next) = match search.next_whole_batch()? {
        Some(found) => (found.position, found.offset),
        None => match known.next {
            Some(next) => (known.len, next),
            None => match header_at(file, at.position)? {
                // A write that was cut short ends before its batch does, so this one rotted.
                Some(header)
                    if header.size as u64 <= known.len - at.position
                        && (header.base_offset == at.offset
                            || is_intact_at(file, at.position, &header)?) =>
                {
                    let to = at.position + header.size as u64;
                    (to, at.offset + header.offsets_max().min(OFFSETS_MAX))
                }
                _ => return Ok(None),
            },
        },
    };
    let coverable = (1..=OFFSETS_MAX).contains(&(next - at.offset))
        && to - at.position <= i32::MAX.cast_unsigned().into();
    Ok(coverable.then_some(Damage {
        bytes: at.position..to,
        offsets: at.offset..next,
    }))
}

fn header_at(file: &DataFile, position: u64) -> io::Result<Option<Header>> {
    let mut header = [0; HEADER_BYTES];
    let filled = file.read_at(&mut header, position)?;
    Ok(Header::parse(&header[..filled]))
}

struct Search<'a> {
    file: &'a DataFile,
    /// The damage.
    at: Spot,
    known: Known,
    /// How many bytes may still be checked in vain.
    left: u64,
}

impl Search<'_> {
    fn next_whole_batch(mut self) -> io::Result<Option<Spot>> {
        match self.by_lengths()? {
            Some(found) => Ok(Some(found)),
            None => self.by_bytes(),
        }
    }

    /// From length to length, as long as the offsets fit. First, because records may hold whole
    /// batches as their values.
    fn by_lengths(&mut self) -> io::Result<Option<Spot>> {
        let mut at = self.at;
        while let Some(header) = header_at(self.file, at.position)? {
            let position = at.position + header.size as u64;
            let Some(offset) = at.offset.checked_add(header.offsets_max()) else {
                break;
            };
            at = Spot { position, offset };
            if position >= self.known.len {
                break;
            }
            if self.is_whole(position)? == Some(offset) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn by_bytes(&mut self) -> io::Result<Option<Spot>> {
        let mut buffer = vec![0; SEARCH_BYTES];
        // A gap must fit in before it.
        let mut from = self.at.position + HEADER_BYTES as u64;
        while from + HEADER_BYTES as u64 <= self.known.len {
            let filled = self.file.read_at(&mut buffer, from)?;
            if filled < HEADER_BYTES {
                break;
            }
            let starts = filled - HEADER_BYTES + 1;
            for start in 0..starts {
                let position = from + start as u64;
                if buffer[start + MAGIC_AT] == 2
                    && self.is_plausible(&buffer[start..], position)
                    && let Some(offset) = self.is_whole(position)?
                    && self.goes_on_behind(position)?
                {
                    return Ok(Some(Spot { position, offset }));
                }
            }
            from += starts as u64;
        }
        Ok(None)
    }

    fn is_plausible(&self, bytes: &[u8], position: u64) -> bool {
        let Some(header) = Header::parse(bytes) else {
            return false;
        };
        header.base_offset > self.at.offset
            && header.base_offset - self.at.offset <= OFFSETS_MAX
            && header.stands_at(header.base_offset)
            && position + header.size as u64 <= self.known.len
            && self
                .known
                .next
                .is_none_or(|next| header.next_offset() <= next)
    }

    /// Whether the batch at `position` is the last, or another one follows at its next offset: one
    /// whose offset is damaged, or that is the value of a record, is not gone on with.
    fn goes_on_behind(&self, position: u64) -> io::Result<bool> {
        let Some(header) = header_at(self.file, position)? else {
            return Ok(false);
        };
        let end = position + header.size as u64;
        if end == self.known.len {
            return Ok(true);
        }
        let next = header_at(self.file, end)?;
        Ok(next.is_some_and(|next| next.base_offset == header.next_offset()))
    }

    /// The offset of the whole batch at `position`.
    fn is_whole(&mut self, position: u64) -> io::Result<Option<i64>> {
        let mut header = [0; HEADER_BYTES];
        let filled = self.file.read_at(&mut header, position)?;
        if !self.is_plausible(&header[..filled], position) {
            return Ok(None);
        }
        let Some(parsed) = Header::parse(&header) else {
            return Ok(None);
        };
        if parsed.size as u64 > self.left {
            return Ok(None);
        }
        self.left -= parsed.size as u64;
        let whole = is_intact_at(self.file, position, &parsed)?;
        Ok(whole.then_some(parsed.base_offset))
    }
}

/// Checks a batch without holding all of it in memory.
pub(super) fn is_intact_at(file: &DataFile, position: u64, header: &Header) -> io::Result<bool> {
    let mut head = [0; HEADER_BYTES];
    if file.read_at(&mut head, position)? < HEADER_BYTES {
        return Ok(false);
    }
    let end = position + header.size as u64;
    let mut at = position + batch::CRC_FROM as u64;
    let mut buffer = vec![0; SEARCH_BYTES.min(header.size)];
    let mut crc = 0;
    while at < end {
        let wanted = (end - at).min(buffer.len() as u64) as usize;
        if file.read_at(&mut buffer[..wanted], at)? < wanted {
            return Ok(false);
        }
        crc = crc32c::crc32c_append(crc, &buffer[..wanted]);
        at += wanted as u64;
    }
    Ok(crc == batch::stored_crc(&head))
}

/// Keeps the damaged bytes and writes a gap in their stead.
pub(super) fn set_aside(
    disk: &Disk,
    dir: &Path,
    base: i64,
    file: &DataFile,
    damage: &Damage,
) -> io::Result<()> {
    let len = damage.bytes.end - damage.bytes.start;
    let kept = damaged::keep(
        dir,
        &file_name(base, "log"),
        damage.bytes.start,
        len,
        |to| disk.copy_part(file, damage.bytes.clone(), to),
    )?;
    let records = damage.offsets.end - damage.offsets.start;
    // Smaller than that is only what is left at the end of a file that was cut.
    let size = (len as usize).max(HEADER_BYTES);
    let gap = batch::gap(damage.offsets.start, records, size);
    file.overwrite_at(&gap, damage.bytes.start)?;
    file.sync()?;
    error!(
        log.file = file.name(),
        log.position = damage.bytes.start,
        log.damaged_bytes = len,
        log.first_offset = damage.offsets.start,
        log.next_offset = damage.offsets.end,
        "{} is damaged at byte {}: up to {records} records, offsets {} to {}, cannot be read; {kept}. Consumers go on at offset {}. Check the disk of this machine",
        file.name(),
        damage.bytes.start,
        damage.offsets.start,
        damage.offsets.end - 1,
        damage.offsets.end,
    );
    Ok(())
}
