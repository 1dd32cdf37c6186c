//! One process per folder: a lock the system gives back however its holder dies.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// A predecessor that was just killed needs a moment to leave.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

pub(crate) fn folder(folder: &Path) -> anyhow::Result<FolderLock> {
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("create the data directory {shown}"))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .with_context(|| format!("open the lock of the data directory {shown}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "the data directory {shown} is in use by another process; stop it or choose another --data-dir"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock the data directory {shown}"));
            }
        }
    }
}
