//! The door to the disk: every file that promises durability is opened here, and the first fsync
//! that fails stops the whole broker. After a failed fsync the kernel may have dropped the dirty
//! pages, so a second try that succeeds proves nothing and nothing may be acknowledged any more.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio_util::sync::CancellationToken;
use tracing::error;

/// Bytes copied at once from file to file.
const COPY_BYTES: u64 = 1 << 20;

/// A shared handle; clones see the same failure.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    failure: Arc<Failure>,
    #[cfg(test)]
    pub(crate) faults: Arc<faults::Faults>,
}

#[derive(Default)]
struct Failure {
    cause: OnceLock<String>,
    tripped: CancellationToken,
}

impl Disk {
    /// Why nothing may be written or acknowledged any more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.cause.get().map(String::as_str)
    }

    /// Resolves once the disk has failed.
    pub(crate) async fn failed(&self) {
        self.failure.tripped.cancelled().await;
    }

    /// Gives up on the disk for good.
    pub(crate) fn fail(&self, cause: String) {
        error!("stopping, since what is on disk is no longer known: {cause}");
        // Only the first cause is kept: the others follow from it.
        let _ = self.failure.cause.set(cause);
        self.failure.tripped.cancel();
    }

    /// An error once the disk has failed, so that no path can acknowledge afterwards.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.failure() {
            Some(cause) => Err(io::Error::other(cause.to_owned())),
            None => Ok(()),
        }
    }

    /// Opens for reading and writing, and makes the file if it is missing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DataFile> {
        self.check()?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        Ok(DataFile {
            file,
            name: path.display().to_string(),
            disk: self.clone(),
        })
    }

    /// Makes the entries of a directory durable: a new, renamed or removed file.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        if let Err(error) = &synced {
            self.fail(format!("fsync of directory {}: {error}", dir.display()));
        }
        synced
    }

    /// Replaces a small file as a whole: after a crash there is the old content or the new.
    pub(crate) fn write_whole(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.check()?;
        let temporary = path.with_extension("tmp");
        let written = self
            .write_temporary(&temporary, content)
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // The space it took is given back at once; the old file still stands.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Makes a file of part of another, durable with its name.
    pub(crate) fn copy_part(&self, of: &DataFile, part: Range<u64>, to: &Path) -> io::Result<()> {
        self.check()?;
        let copied = self.copy(of, part, to);
        if copied.is_err() {
            // Half of it would only take space.
            let _ = fs::remove_file(to);
        }
        copied?;
        self.sync_dir(to.parent().unwrap_or(Path::new(".")))
    }

    fn copy(&self, of: &DataFile, part: Range<u64>, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults
            .take_room(part.end - part.start)
            .map_err(|_| faults::disk_full())?;
        let mut file = File::create(to)?;
        let mut buffer = vec![0; COPY_BYTES.min(part.end - part.start) as usize];
        let mut position = part.start;
        while position < part.end {
            let wanted = COPY_BYTES.min(part.end - position) as usize;
            let read = of.read_at(&mut buffer[..wanted], position)?;
            file.write_all(&buffer[..read])?;
            if read < wanted {
                break;
            }
            position += read as u64;
        }
        file.sync_all()
    }

    fn write_temporary(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults
            .take_room(content.len() as u64)
            .map_err(|_| faults::disk_full())?;
        let mut file = File::create(path)?;
        file.write_all(content)?;
        // Not fatal: the rename has not happened, so nothing relies on this content yet.
        file.sync_all()
    }
}

/// A file that is read and written by position.
pub(crate) struct DataFile {
    file: File,
    name: String,
    disk: Disk,
}

impl DataFile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn modified(&self) -> io::Result<std::time::SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Fills as much of `buffer` as the file holds from `position` on.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], position + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all of `content`, or leaves the file as long as `position`.
    pub(crate) fn write_at(&self, content: &[u8], position: u64) -> io::Result<()> {
        self.disk.check()?;
        let Err(error) = self.write_all_at(content, position) else {
            return Ok(());
        };
        if let Err(truncation) = self.file.set_len(position) {
            // A part that cannot be taken back could come to life after a crash.
            self.disk.fail(format!(
                "truncate {} after a failed write: {truncation}",
                self.name
            ));
        }
        Err(error)
    }

    /// Replaces bytes that are there. If that fails, part of them may be replaced.
    pub(crate) fn overwrite_at(&self, content: &[u8], position: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.write_all_at(content, position)
    }

    fn write_all_at(&self, content: &[u8], position: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(room) = self.disk.faults.take_room(content.len() as u64) {
            self.file
                .write_all_at(&content[..room as usize], position)?;
            return Err(faults::disk_full());
        }
        self.file.write_all_at(content, position)
    }

    pub(crate) fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Makes everything written so far durable. A failure stops the broker.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.check()?;
        #[cfg(test)]
        let synced = self
            .disk
            .faults
            .before_sync()
            .and_then(|()| self.file.sync_data());
        #[cfg(not(test))]
        let synced = self.file.sync_data();
        if let Err(error) = &synced {
            self.disk.fail(format!("fsync of {}: {error}", self.name));
        }
        synced
    }
}

#[cfg(test)]
pub(crate) mod faults {
    //! A disk that fills up or fails on command.

    use std::{
        io,
        sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    };

    pub(crate) struct Faults {
        room: AtomicU64,
        sync_fails: AtomicBool,
    }

    impl Default for Faults {
        fn default() -> Self {
            Self {
                room: u64::MAX.into(),
                sync_fails: false.into(),
            }
        }
    }

    impl Faults {
        pub(crate) fn leave_room(&self, bytes: u64) {
            self.room.store(bytes, SeqCst);
        }

        pub(crate) fn give_space_back(&self) {
            self.room.store(u64::MAX, SeqCst);
        }

        pub(crate) fn fail_every_sync(&self) {
            self.sync_fails.store(true, SeqCst);
        }

        pub(crate) fn repair_sync(&self) {
            self.sync_fails.store(false, SeqCst);
        }

        /// Err(how much of it still fits).
        pub(super) fn take_room(&self, bytes: u64) -> Result<(), u64> {
            let room = self.room.load(SeqCst);
            if room == u64::MAX {
                return Ok(());
            }
            self.room.store(room.saturating_sub(bytes), SeqCst);
            if bytes > room { Err(room) } else { Ok(()) }
        }

        pub(super) fn before_sync(&self) -> io::Result<()> {
            if self.sync_fails.load(SeqCst) {
                Err(io::Error::other("injected failure"))
            } else {
                Ok(())
            }
        }
    }

    pub(super) fn disk_full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }
}
