//! Folders that belong to one user and to one process at a time.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// A predecessor whose parent has just ended finishes the statements that run, for up to 5 s.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the folder, and those above it, or sees to it that nobody else can enter it.
pub(crate) fn private(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("create {shown}"))?;
    let found = fs::metadata(folder).with_context(|| format!("look at {shown}"))?;
    ensure_own(folder, &found)?;
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .with_context(|| format!("close {shown} to other users"))?;
    }
    Ok(())
}

/// Refuses what another user could have put there.
pub(crate) fn ensure_own(path: &Path, found: &fs::Metadata) -> anyhow::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    ensure!(
        found.uid() == user,
        "{} belongs to another user (uid {}, weir runs as {user}): start weir as that user, or choose another folder",
        path.display(),
        found.uid()
    );
    Ok(())
}

/// Held as long as it lives; the system gives it back however its holder dies.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Makes the folder private to this user and to this process.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<FolderLock> {
    private(folder)?;
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
