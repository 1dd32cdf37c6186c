//! One broker a directory: two would interleave their logs.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

const RETRY: Duration = Duration::from_millis(50);

/// Holds the directory until it is dropped; the system lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Waits a while, since a predecessor may be about to end.
    pub(crate) async fn acquire(dir: &Path, wait: Duration) -> anyhow::Result<Self> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await
                }
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    // Only a hint for the message; the lock itself is what counts.
                    let _ = file.read_to_string(&mut owner);
                    bail!(
                        "the directory {} belongs to another weir that is running (process {}): stop it or choose another directory",
                        dir.display(),
                        owner.trim()
                    );
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}
