//! Small files that are there whole or not at all, and the lock on a data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::log::sync_directory;

/// Replaces the file at once; a crash leaves the old one or the new one.
pub(crate) fn write_checked(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&crc32c::crc32c(bytes).to_be_bytes())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// What [`write_checked`] wrote; `None` if there is no such file.
///
/// # Errors
/// Of the kind `InvalidData` if its checksum does not match.
pub(crate) fn read_checked(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let checksum = bytes
        .get(..4)
        .map(|sum| u32::from_be_bytes(sum.try_into().expect("4 bytes")));
    let matches = checksum.is_some_and(|checksum| checksum == crc32c::crc32c(&bytes[4..]));
    if !matches {
        let message = format!("{} is damaged", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(bytes.split_off(4)))
}

/// A killed predecessor's lock goes with it, but perhaps a moment later.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Takes `directory` for this process alone, as long as the file returned is open.
pub(crate) async fn lock(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) if Instant::now() > give_up_at => bail!(
                "{} belongs to another running weir: stop that one, or choose another data directory",
                directory.display()
            ),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
        }
    }
}
