//! Ids for idempotent producers, never given twice, not even after a crash.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use tracing::error;

use crate::{clock, disk::Disk, frame};

/// Ids are reserved on disk in blocks, so that most need no fsync.
const BLOCK: i64 = 1000;

pub(crate) struct ProducerIds {
    path: PathBuf,
    disk: Disk,
    range: Mutex<(i64, i64)>,
}

impl ProducerIds {
    pub(crate) fn open(dir: &Path, disk: &Disk) -> anyhow::Result<Self> {
        let path = dir.join("producer-ids");
        let reserved = match fs::read(&path) {
            Ok(file) => frame::next(&mut &file[..])
                .and_then(|content| content.try_into().ok())
                .map(i64::from_be_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        if reserved.is_none() && path.exists() {
            error!(
                "{} is damaged: ids for producers go on at a number that none of them can have had. Check the disk of this machine",
                path.display()
            );
        }
        // Ids grow more slowly than milliseconds pass, so what may have been given before is less.
        let reserved = reserved.unwrap_or_else(clock::now);
        Ok(Self {
            path,
            disk: disk.clone(),
            range: Mutex::new((reserved, reserved)),
        })
    }

    pub(crate) fn next(&self) -> io::Result<i64> {
        let mut range = self.range.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, end) = *range;
        if next == end {
            // Before the first id of the block is given away.
            self.disk
                .write_whole(&self.path, &frame::of(&(end + BLOCK).to_be_bytes()))?;
            range.1 = end + BLOCK;
        }
        range.0 = next + 1;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice_after_the_file_was_damaged_or_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("producer-ids");
        let mut given = std::collections::HashSet::new();
        let mut give = || {
            let ids = ProducerIds::open(dir.path(), &Disk::default()).unwrap();
            given.insert(ids.next().unwrap())
        };
        assert!(give());
        let mut file = fs::read(&path).unwrap();
        *file.last_mut().unwrap() ^= 1;
        for damaged in [file, Vec::new()] {
            fs::write(&path, damaged).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(give());
        }
        fs::remove_file(&path).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(give());
    }

    #[test]
    fn no_id_is_given_twice_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = std::collections::HashSet::new();
        for _ in 0..3 {
            let ids = ProducerIds::open(dir.path(), &Disk::default()).unwrap();
            for _ in 0..BLOCK + 1 {
                assert!(given.insert(ids.next().unwrap()));
            }
        }
    }
}
