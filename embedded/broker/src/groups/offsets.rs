//! Committed offsets and their metadata, in a journal that is fsynced before a commit is answered.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::info;

use crate::log::sync_directory;

/// As in Kafka: `offset.metadata.max.bytes`.
pub(crate) const METADATA_BYTES_MAX: usize = 4096;
/// A journal is written anew once it has this size and is mostly outdated.
const COMPACT_FROM_BYTES: u64 = 1 << 20;
const FRAME_BYTES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_at_ms: i64,
}

type Positions = BTreeMap<(String, i32), Committed>;

/// One commit, or the forgetting of one.
#[derive(Serialize, Deserialize)]
struct Entry<'e> {
    group: &'e str,
    topic: &'e str,
    partition: i32,
    committed: Option<Committed>,
}

pub(super) struct Offsets {
    path: PathBuf,
    journal: File,
    length: u64,
    live_bytes: u64,
    by_group: BTreeMap<String, Positions>,
}

impl Offsets {
    /// Reads the journal up to its last whole entry and writes it anew without what is outdated.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut by_group = BTreeMap::new();
        let mut rest = &bytes[..];
        while let Some((entry, behind)) = next_entry(rest) {
            apply(&mut by_group, entry);
            rest = behind;
        }
        if !rest.is_empty() {
            info!(
                "cut {} bytes of an unfinished commit off {}",
                rest.len(),
                path.display()
            );
        }
        let (journal, length) = rewrite(path, &by_group)?;
        Ok(Self {
            path: path.to_owned(),
            journal,
            length,
            live_bytes: length,
            by_group,
        })
    }

    pub(super) fn commit(
        &mut self,
        group: &str,
        commits: Vec<(String, i32, Committed)>,
    ) -> io::Result<()> {
        let mut frames = Vec::new();
        for (topic, partition, committed) in &commits {
            let committed = Some(committed.clone());
            frame(
                &mut frames,
                &Entry {
                    group,
                    topic,
                    partition: *partition,
                    committed,
                },
            )?;
        }
        self.append(&frames)?;
        let positions = self.by_group.entry(group.to_owned()).or_default();
        for (topic, partition, committed) in commits {
            positions.insert((topic, partition), committed);
        }
        self.compact_if_large()
    }

    pub(super) fn of(&self, group: &str) -> Positions {
        self.by_group.get(group).cloned().unwrap_or_default()
    }

    pub(super) fn has(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.by_group.keys().map(String::as_str)
    }

    /// Forgets a group's positions that `which` names. Whether the group had any.
    pub(super) fn forget(
        &mut self,
        group: &str,
        which: impl Fn(&(String, i32), &Committed) -> bool,
    ) -> io::Result<bool> {
        let Some(positions) = self.by_group.get(group) else {
            return Ok(false);
        };
        let mut frames = Vec::new();
        for (key, _) in positions
            .iter()
            .filter(|(key, committed)| which(key, committed))
        {
            let (topic, partition) = (key.0.as_str(), key.1);
            frame(
                &mut frames,
                &Entry {
                    group,
                    topic,
                    partition,
                    committed: None,
                },
            )?;
        }
        if !frames.is_empty() {
            self.append(&frames)?;
        }
        if let Some(positions) = self.by_group.get_mut(group) {
            positions.retain(|key, committed| !which(key, committed));
            if positions.is_empty() {
                self.by_group.remove(group);
            }
        }
        Ok(true)
    }

    pub(super) fn compact_if_large(&mut self) -> io::Result<()> {
        if self.length > COMPACT_FROM_BYTES && self.length > 4 * self.live_bytes {
            let (journal, length) = rewrite(&self.path, &self.by_group)?;
            self.journal = journal;
            self.length = length;
            self.live_bytes = length;
        }
        Ok(())
    }

    fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        let written = self
            .journal
            .write_all(frames)
            .and_then(|()| self.journal.sync_data());
        if let Err(error) = written {
            // A torn entry in the middle would hide every later one.
            self.journal.set_len(self.length)?;
            return Err(error);
        }
        self.length += frames.len() as u64;
        Ok(())
    }
}

fn frame(frames: &mut Vec<u8>, entry: &Entry<'_>) -> io::Result<()> {
    let bytes = serde_json::to_vec(entry)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    frames.extend(length.to_be_bytes());
    frames.extend(crc32c::crc32c(&bytes).to_be_bytes());
    frames.extend(bytes);
    Ok(())
}

/// The entry at the start of `bytes`, if it is whole, and what follows it.
fn next_entry(bytes: &[u8]) -> Option<(OwnedEntry, &[u8])> {
    let (header, rest) = bytes.split_at_checked(FRAME_BYTES)?;
    let length = u32::from_be_bytes(header[..4].try_into().ok()?);
    let (entry, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if crc32c::crc32c(entry).to_be_bytes() != header[4..] {
        return None;
    }
    Some((serde_json::from_slice(entry).ok()?, rest))
}

#[derive(Deserialize)]
struct OwnedEntry {
    group: String,
    topic: String,
    partition: i32,
    committed: Option<Committed>,
}

fn apply(by_group: &mut BTreeMap<String, Positions>, entry: OwnedEntry) {
    let key = (entry.topic, entry.partition);
    match entry.committed {
        Some(committed) => {
            by_group
                .entry(entry.group)
                .or_default()
                .insert(key, committed);
        }
        None => {
            if let Some(positions) = by_group.get_mut(&entry.group) {
                positions.remove(&key);
                if positions.is_empty() {
                    by_group.remove(&entry.group);
                }
            }
        }
    }
}

fn rewrite(path: &Path, by_group: &BTreeMap<String, Positions>) -> io::Result<(File, u64)> {
    let mut frames = Vec::new();
    for (group, positions) in by_group {
        for ((topic, partition), committed) in positions {
            let committed = Some(committed.clone());
            frame(
                &mut frames,
                &Entry {
                    group,
                    topic,
                    partition: *partition,
                    committed,
                },
            )?;
        }
    }
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&frames)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))?;
    let journal = OpenOptions::new().append(true).open(path)?;
    Ok((journal, frames.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(offset: i64) -> Committed {
        Committed {
            offset,
            leader_epoch: 0,
            metadata: format!("m{offset}"),
            committed_at_ms: 7,
        }
    }

    #[test]
    fn a_commit_and_its_metadata_are_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("offsets");
        let mut offsets = Offsets::open(&path).unwrap();
        offsets
            .commit(
                "g",
                vec![("t".into(), 0, committed(1)), ("t".into(), 1, committed(2))],
            )
            .unwrap();
        offsets
            .commit("g", vec![("t".into(), 0, committed(3))])
            .unwrap();
        offsets
            .forget("g", |(_, partition), _| *partition == 1)
            .unwrap();
        let positions = offsets.of("g");
        drop(offsets);
        assert_eq!(Offsets::open(&path).unwrap().of("g"), positions);
        assert_eq!(positions.into_values().collect::<Vec<_>>(), [committed(3)]);
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_every_whole_commit_before_the_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("offsets");
        let mut offsets = Offsets::open(&path).unwrap();
        let mut ends = Vec::new();
        for offset in 0..5 {
            offsets
                .commit("g", vec![("t".into(), 0, committed(offset))])
                .unwrap();
            ends.push(usize::try_from(offsets.length).unwrap());
        }
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let expected = (whole > 0).then(|| committed(i64::try_from(whole).unwrap() - 1));
            let found = Offsets::open(&path).unwrap().of("g").into_values().next();
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
