//! Finds the engine's library: the operator's own, the one in the cache, or a new one, fetched
//! once through npm, checked against a pinned checksum, unpacked, and moved into place whole.

mod npm;
mod package;
mod progress;
mod unpack;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::Config;
use package::Package;

/// Why there is no engine, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the engine library {0} does not exist; correct WEIR_CLICKHOUSE__LIBRARY")]
    NoLibrary(PathBuf),
    #[error(
        "there is no engine to fetch for {0}; set WEIR_CLICKHOUSE__LIBRARY to a libchdb of your own, or run against a ClickHouse server"
    )]
    Platform(String),
    #[error("there is no home directory to cache the engine in; set WEIR_ENGINE__CACHE_DIR")]
    NoCache,
    #[error(
        "npm is needed once to fetch the engine and {0} cannot be run; install Node.js or set WEIR_CLICKHOUSE__LIBRARY"
    )]
    NoNpm(PathBuf),
    #[error(
        "the package registry cannot be reached to fetch the engine ({0}); connect and try again, or set WEIR_CLICKHOUSE__LIBRARY"
    )]
    Offline(String),
    #[error("npm could not fetch the engine: {0}")]
    Npm(String),
    #[error(
        "the fetched engine has a wrong checksum ({found}, expected {expected}) and was deleted; try again, and mistrust the registry if it stays so"
    )]
    Checksum { expected: String, found: String },
    #[error("the fetched engine package is damaged ({0}); try again")]
    Package(String),
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

/// The path of a usable engine library, fetched first if it must be. Blocks; several processes
/// may do this at once, one of them fetches.
pub fn ensure(config: &Config) -> Result<PathBuf, FetchError> {
    if let Some(library) = &config.library {
        return if library.is_file() {
            Ok(library.clone())
        } else {
            Err(FetchError::NoLibrary(library.clone()))
        };
    }
    let package = Package::of_this_platform()?;
    let cache = match &config.cache_dir {
        Some(folder) => folder.clone(),
        None => std::env::home_dir()
            .ok_or(FetchError::NoCache)?
            .join(".cache")
            .join("weir"),
    };
    ensure_package(&package, &cache, &config.npm)
}

fn ensure_package(package: &Package, cache: &Path, npm: &Path) -> Result<PathBuf, FetchError> {
    let folder = cache.join(package.folder_name());
    let library = folder.join(package::LIBRARY);
    // Before the library is trusted: its checksum is that of the fetch, and what another user could
    // have put here since would be loaded.
    private_folder::make(&folder).map_err(FetchError::Folder)?;
    if unpack::is_whole(&library) {
        return Ok(library);
    }
    let _lock = lock(&folder.join("lock"))?;
    // Whoever held the lock may have fetched it meanwhile.
    if unpack::is_whole(&library) {
        return Ok(library);
    }
    if library.exists() {
        progress::line("the cached engine was cut short and is fetched again");
    }
    let temporary = folder.join("fetching");
    // What a fetch that was killed has left.
    remove(&temporary)?;
    fs::create_dir(&temporary).map_err(disk("create", &temporary))?;
    let fetched = npm::pack(npm, package, &temporary)
        .and_then(|tarball| unpack::install(&tarball, package, &temporary, &library));
    remove(&temporary)?;
    fetched?;
    progress::line(&format!("the engine is ready in {}", folder.display()));
    Ok(library)
}

fn lock(path: &Path) -> Result<File, FetchError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(disk("open", path))?;
    if file.try_lock().is_err() {
        progress::line("another process is fetching the engine, waiting for it");
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
