//! One file out of an npm package: the one in the cache, or a new one, fetched once through npm,
//! checked against a pinned checksum, unpacked, and moved into place whole.

mod npm;
mod progress;
mod unpack;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Why a package could not be fetched, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("there is no home directory to cache {what} in; set WEIR_ENGINE__CACHE_DIR")]
    NoCache { what: &'static str },
    #[error(
        "npm is needed once to fetch {what} and {npm} cannot be run; install Node.js or {instead}"
    )]
    NoNpm {
        npm: PathBuf,
        what: &'static str,
        instead: &'static str,
    },
    #[error(
        "the package registry cannot be reached to fetch {what} ({code}); connect and try again, or {instead}"
    )]
    Offline {
        code: String,
        what: &'static str,
        instead: &'static str,
    },
    #[error("npm could not fetch {what}: {reason}")]
    Npm { what: &'static str, reason: String },
    #[error(
        "the package of {what} has a wrong checksum ({found}, expected {expected}) and was deleted; try again, and mistrust the registry if it stays so"
    )]
    Checksum {
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("the package of {what} is damaged ({fault}); try again")]
    Package { what: &'static str, fault: String },
    /// The cache is not this user's alone; the message names it.
    #[error("{0}")]
    Folder(io::Error),
    #[error("cannot {attempt} {path}: {source}; check the disk and its permissions")]
    Disk {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// One pinned package, and the file that is wanted of it.
#[derive(Debug, Clone)]
pub struct Package {
    /// What people call the file, as the subject of a sentence: "the engine".
    pub what: &'static str,
    /// What to do where it cannot be fetched, as the end of a sentence: "set WEIR_CLICKHOUSE__LIBRARY".
    pub instead: &'static str,
    pub name: String,
    pub version: String,
    /// The tarball's checksum in the registry's notation: `sha512-` and base64.
    pub integrity: String,
    /// Name of the file inside the package, and in the cache.
    pub file: &'static str,
    /// Sizes for the progress bars, in bytes.
    pub packed_bytes: u64,
    pub unpacked_bytes: u64,
}

impl Package {
    fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn folder_name(&self) -> String {
        let short = self.name.rsplit('/').next().unwrap_or(&self.name);
        format!("{short}-{}", self.version)
    }
}

/// The path of the package's file in `cache`, or in `~/.cache/weir`, fetched first by `npm` if it must
/// be. Blocks; several processes may do this at once, one of them fetches.
///
/// # Errors
/// [`FetchError`], which says what to do.
pub fn ensure(package: &Package, cache: Option<&Path>, npm: &Path) -> Result<PathBuf, FetchError> {
    let cache = match cache {
        Some(folder) => folder.to_owned(),
        None => std::env::home_dir()
            .ok_or(FetchError::NoCache { what: package.what })?
            .join(".cache")
            .join("weir"),
    };
    let folder = cache.join(package.folder_name());
    let target = folder.join(package.file);
    // Before the file is trusted: its checksum is that of the fetch, and what another user could have
    // put here since would be used.
    private_folder::make(&folder).map_err(FetchError::Folder)?;
    if unpack::is_whole(&target) {
        return Ok(target);
    }
    let _lock = lock(&folder.join("lock"), package.what)?;
    // The process that held the lock may have fetched it meanwhile.
    if unpack::is_whole(&target) {
        return Ok(target);
    }
    if target.exists() {
        progress::line(&format!(
            "{} in the cache was cut short and is fetched again",
            package.what
        ));
    }
    let temporary = folder.join("fetching");
    // What a fetch that was killed has left.
    remove(&temporary)?;
    fs::create_dir(&temporary).map_err(disk("create", &temporary))?;
    let fetched = npm::pack(npm, package, &temporary)
        .and_then(|tarball| unpack::install(&tarball, package, &temporary, &target));
    remove(&temporary)?;
    fetched?;
    progress::line(&format!(
        "{} is ready in {}",
        package.what,
        folder.display()
    ));
    Ok(target)
}

fn lock(path: &Path, what: &str) -> Result<File, FetchError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(disk("open", path))?;
    if file.try_lock().is_err() {
        progress::line(&format!(
            "another process is fetching {what}, waiting for it"
        ));
        file.lock().map_err(disk("lock", path))?;
    }
    Ok(file)
}

fn remove(folder: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn disk(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Disk {
        attempt,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
