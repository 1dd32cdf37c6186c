//! A folder that belongs to one process at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// A predecessor whose parent has just ended finishes the statements that run, for up to 5 s.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as it lives; the system gives it back however its holder dies.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Makes the folder private to this user and to this process.
pub(crate) fn folder(folder: &Path) -> anyhow::Result<FolderLock> {
    private_folder::make(folder)?;
    let shown = folder.display();
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
            Err(TryLockError::WouldBlock) => bail!(
                "the data directory {shown} is in use by another process: stop it, or choose another --data-dir"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock the data directory {shown}"));
            }
        }
    }
}
