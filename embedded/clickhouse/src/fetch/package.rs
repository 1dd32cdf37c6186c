//! Which package holds the engine for which platform, and the checksum it must have.

use super::FetchError;

/// Name of the library inside the package, and in the cache.
pub(super) const LIBRARY: &str = "libchdb.so";

const VERSION: &str = "26.7.3-stable.1";

/// One pinned package.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// The tarball's checksum in the registry's notation: `sha512-` and base64.
    pub(super) integrity: String,
    /// Sizes for the progress bars, in bytes.
    pub(super) packed_bytes: u64,
    pub(super) unpacked_bytes: u64,
}

impl Package {
    /// Only platforms whose checksum is known are fetched for; the engine needs glibc.
    pub(super) fn of_this_platform() -> Result<Self, FetchError> {
        let libc = if cfg!(target_env = "musl") {
            " with musl"
        } else {
            ""
        };
        match (std::env::consts::OS, std::env::consts::ARCH, libc) {
            ("linux", "x86_64", "") => Ok(Self {
                name: "@chdb/lib-linux-x64-gnu".into(),
                version: VERSION.into(),
                integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==".into(),
                packed_bytes: 177_817_999,
                unpacked_bytes: 566_330_096,
            }),
            (os, arch, libc) => Err(FetchError::Platform(format!("{os} on {arch}{libc}"))),
        }
    }

    pub(super) fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    pub(super) fn folder_name(&self) -> String {
        let short = self.name.rsplit('/').next().unwrap_or(&self.name);
        format!("{short}-{}", self.version)
    }
}
