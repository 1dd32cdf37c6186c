//! Finds the engine's library: the operator's own, the one in the cache, or a new one, fetched once
//! through npm.

use std::path::PathBuf;

use npm_package::Package;

use crate::Config;

const VERSION: &str = "26.7.3-stable.1";

/// Why there is no engine, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the engine library {0} does not exist; correct WEIR_CLICKHOUSE__LIBRARY")]
    NoLibrary(PathBuf),
    #[error(
        "there is no engine to fetch for {0}; set WEIR_CLICKHOUSE__LIBRARY to a libchdb of your own, or run against a ClickHouse server"
    )]
    Platform(String),
    #[error(transparent)]
    Package(#[from] npm_package::FetchError),
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
    let package = package_of_this_platform()?;
    Ok(npm_package::ensure(
        &package,
        config.cache_dir.as_deref(),
        &config.npm,
    )?)
}

/// Only platforms whose checksum is known are fetched for; the engine needs glibc.
fn package_of_this_platform() -> Result<Package, FetchError> {
    let libc = if cfg!(target_env = "musl") {
        " with musl"
    } else {
        ""
    };
    match (std::env::consts::OS, std::env::consts::ARCH, libc) {
        ("linux", "x86_64", "") => Ok(Package {
            what: "the engine",
            instead: "set WEIR_CLICKHOUSE__LIBRARY",
            file: "libchdb.so",
            name: "@chdb/lib-linux-x64-gnu".into(),
            version: VERSION.into(),
            integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==".into(),
            packed_bytes: 177_817_999,
            unpacked_bytes: 566_330_096,
        }),
        (os, arch, libc) => Err(FetchError::Platform(format!("{os} on {arch}{libc}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_ones_own_must_exist() {
        let config = Config {
            library: Some("/nowhere/libchdb.so".into()),
            ..Config::default()
        };
        let refused = ensure(&config).unwrap_err().to_string();
        assert!(refused.contains("/nowhere/libchdb.so"), "{refused}");
    }
}
