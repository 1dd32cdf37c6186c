//! Opening a partition: after a clean stop by its snapshot, otherwise by reading the last segment,
//! the only one that can have a torn tail.

use std::{collections::VecDeque, fs, io, path::Path};

use tracing::{error, warn};

use super::{
    index::{Index, Spot, Summary},
    partition::{Partition, State},
    producers::Producers,
    segment::{Segment, Take, Walk, file_name},
};
use crate::{clock, disk::Disk, frame};

const SNAPSHOT: &str = "clean.snapshot";
const START: &str = "start.offset";

/// What a clean stop leaves behind.
pub(super) struct Snapshot<'a> {
    pub(super) summary: Summary,
    pub(super) index: &'a Index,
    pub(super) producers: &'a Producers,
}

pub(super) fn save_snapshot(disk: &Disk, dir: &Path, snapshot: &Snapshot<'_>) -> io::Result<()> {
    let mut content = snapshot.index.encode(&snapshot.summary);
    content.extend(snapshot.producers.encode());
    disk.write_whole(&dir.join(SNAPSHOT), &content)
}

/// Remembers a start that lies inside a segment.
pub(super) fn save_start(disk: &Disk, dir: &Path, start: i64) -> io::Result<()> {
    disk.write_whole(&dir.join(START), &frame::of(&start.to_be_bytes()))
}

/// Opens the log in `dir`, and makes it if there is none.
pub(crate) fn open(disk: &Disk, dir: &Path) -> io::Result<Partition> {
    fs::create_dir_all(dir)?;
    let snapshot = take_snapshot(disk, dir)?;
    let mut bases = segment_bases(dir)?;
    let saved_start = load_start(dir)?;
    if bases.is_empty() {
        bases.push(saved_start);
    }
    let (last, sealed) = bases.split_last().expect("there is at least one segment");

    let mut segments = VecDeque::with_capacity(bases.len());
    for (&base, &next) in sealed.iter().zip(&bases[1..]) {
        segments.push_back(open_sealed(disk, dir, base, next)?);
    }
    let (active, producers) = open_active(disk, dir, *last, &mut segments, snapshot)?;
    segments.push_back(active);
    report_gaps(dir, &segments);
    disk.sync_dir(dir)?;

    let start = saved_start.max(bases[0]);
    Ok(Partition::new(
        dir.to_owned(),
        disk.clone(),
        State::new(segments, start, producers),
    ))
}

fn segment_bases(dir: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(base) = name.to_str().and_then(|name| name.strip_suffix(".log")) else {
            continue;
        };
        let number = base.parse::<i64>().ok().filter(|number| *number >= 0);
        match number {
            // Two names for one number would be one segment twice.
            Some(number) if name == file_name(number, "log").as_str() => bases.push(number),
            _ => error!(
                "{} is not read: no segment is named so",
                dir.join(&name).display()
            ),
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn load_start(dir: &Path) -> io::Result<i64> {
    let path = dir.join(START);
    let Some(file) = read_if_there(&path)? else {
        return Ok(0);
    };
    let start = frame::next(&mut &file[..])
        .and_then(|start| start.try_into().ok())
        .map(i64::from_be_bytes);
    if start.is_none() {
        error!(
            "{} is damaged: records that were deleted from the segments that are left can be read again",
            path.display()
        );
    }
    Ok(start.unwrap_or(0).max(0))
}

/// Reads the snapshot and removes it: once something is written it would be a lie.
fn take_snapshot(disk: &Disk, dir: &Path) -> io::Result<Option<(Summary, Index, Producers)>> {
    let path = dir.join(SNAPSHOT);
    let Some(file) = read_if_there(&path)? else {
        return Ok(None);
    };
    fs::remove_file(&path)?;
    disk.sync_dir(dir)?;
    let mut rest = &file[..];
    let Some((summary, index)) = Index::decode(rest) else {
        return Ok(None);
    };
    frame::next(&mut rest);
    Ok(Producers::decode(&mut rest).map(|producers| (summary, index, producers)))
}

fn open_sealed(disk: &Disk, dir: &Path, base: i64, next: i64) -> io::Result<Segment> {
    let mut segment = Segment::open(disk, dir, base)?;
    let file_len = segment.file.len()?;
    let path = dir.join(file_name(base, "index"));
    let index = read_if_there(&path)?.and_then(|file| Index::decode(&file));
    if let Some((summary, index)) = index
        && segment.adopt(&summary, index, file_len)
    {
        return Ok(segment);
    }
    segment.scan(disk, dir, Some(next), |_| {})?;
    cut_tail(&segment)?;
    if let Err(error) = segment.index.save(disk, &path, &segment.summary()) {
        warn!(
            "cannot write {}, the next start will read its segment again: {error}",
            path.display()
        );
    }
    Ok(segment)
}

fn open_active(
    disk: &Disk,
    dir: &Path,
    base: i64,
    sealed: &mut VecDeque<Segment>,
    snapshot: Option<(Summary, Index, Producers)>,
) -> io::Result<(Segment, Producers)> {
    let mut segment = Segment::open(disk, dir, base)?;
    let file_len = segment.file.len()?;
    let mut next = None;
    if let Some((summary, index, producers)) = snapshot {
        if segment.adopt(&summary, index, file_len) {
            return Ok((segment, producers));
        }
        // Whatever a clean stop has seen in the file and is missing now is no torn tail.
        next =
            (summary.base_offset == base && summary.len > file_len).then_some(summary.next_offset);
    }

    let now = clock::now();
    let before = read_if_there(&dir.join(file_name(base, "producers")))?;
    let mut producers = match before.and_then(|file| Producers::decode(&mut &file[..])) {
        Some(producers) => producers,
        None => producers_of(disk, dir, sealed, now)?,
    };
    segment.scan(disk, dir, next, |header| producers.note(header, now))?;
    cut_tail(&segment)?;
    // What was read may still be on its way to the disk if only the process died.
    segment.file.sync()?;
    Ok((segment, producers))
}

/// Cuts off what a write left that was not finished.
fn cut_tail(segment: &Segment) -> io::Result<()> {
    let file_len = segment.file.len()?;
    if segment.len < file_len {
        warn!(
            log.file = segment.file.name(),
            log.cut_bytes = file_len - segment.len,
            "cut a torn tail of {} bytes off {}, the log goes on at offset {}",
            file_len - segment.len,
            segment.file.name(),
            segment.next
        );
        segment.file.truncate(segment.len)?;
    }
    Ok(())
}

/// The producers of all sealed segments, by their headers alone.
fn producers_of(
    disk: &Disk,
    dir: &Path,
    sealed: &mut VecDeque<Segment>,
    now: clock::UnixMs,
) -> io::Result<Producers> {
    let mut producers = Producers::default();
    for segment in sealed {
        let start = Spot {
            position: 0,
            offset: segment.base,
        };
        loop {
            let file = segment.file.clone();
            let mut walk = Walk::new(&file, 0, segment.len);
            let mut at = start;
            while let Some((header, _)) = walk.next(Take::Headers)? {
                if !header.stands_at(at.offset) {
                    break;
                }
                producers.note(&header, now);
                at.position += header.size as u64;
                at.offset = header.next_offset();
            }
            // Once more from the start: a length that rotted leads astray.
            if at.position == segment.len || !segment.mend(disk, dir, start)? {
                break;
            }
        }
    }
    Ok(producers)
}

fn report_gaps(dir: &Path, segments: &VecDeque<Segment>) {
    for (before, after) in segments.iter().zip(segments.iter().skip(1)) {
        if before.next != after.base {
            error!(log.dir = %dir.display(), "offsets {} to {} are missing", before.next, after.base);
        }
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
