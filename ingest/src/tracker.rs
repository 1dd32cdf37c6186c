//! The tracker: the script that a website loads, under a name that says nothing and one that holds
//! its version. It is made of `sdk/js`, packed once, and part of the binary.

use std::io::Write as _;

use anyhow::ensure;
use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const SCRIPT: &str = include_str!("../../sdk/js/dist/w.js");
const VERSION_BYTES: usize = 8;
const PATH_BYTES_MAX: usize = 200;

/// What ingest answers at besides, by whole paths or all that is below them.
const TAKEN: [&str; 8] = [
    "/event",
    "/events",
    "/pixel.gif",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/api-docs",
];

/// The `ingest.tracker` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackerConfig {
    /// Where the script is, and where it sends its events: another one than the default if blockers
    /// know that (`WEIR_INGEST__TRACKER__PATH=/assets/s.js`).
    pub path: String,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            path: "/w.js".to_owned(),
        }
    }
}

impl TrackerConfig {
    /// # Errors
    /// If the path is none, or is one of ingest's own.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let path = &self.path;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
        let is_path = path.len() <= PATH_BYTES_MAX
            && path.bytes().all(is_plain)
            && segments.is_some_and(|mut segments| {
                segments.all(|segment| !matches!(segment, "" | "." | ".."))
            });
        ensure!(
            is_path,
            "ingest.tracker.path is {path:?}: it must be a path like /w.js, of `A-Z a-z 0-9 . _ ~ - /`, at most {PATH_BYTES_MAX} bytes"
        );
        let taken = TAKEN.iter().find(|taken| {
            let below = path.strip_prefix(**taken);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        });
        ensure!(
            taken.is_none(),
            "ingest.tracker.path is {path:?}, where ingest answers something else: choose another path"
        );
        Ok(())
    }
}

/// The script as it is served.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) path: String,
    /// The same with a hash of the script in its name.
    pub(crate) versioned_path: String,
    pub(crate) etag: String,
    pub(crate) plain: Bytes,
    pub(crate) gzip: Bytes,
}

impl Tracker {
    pub(crate) fn new(config: &TrackerConfig) -> Self {
        let digest = Sha256::digest(SCRIPT);
        let version = digest.iter().take(VERSION_BYTES);
        let version: String = version.map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: config.path.clone(),
            versioned_path: versioned(&config.path, &version),
            etag: format!("\"{version}\""),
            plain: Bytes::from_static(SCRIPT.as_bytes()),
            gzip: packed(SCRIPT.as_bytes()),
        }
    }

    /// Whether this is one of its paths, which take events too.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        path == self.path || path == self.versioned_path
    }

    /// The versioned name, as seen from beside it: a proxy may have put it elsewhere.
    pub(crate) fn versioned_name(&self) -> &str {
        let name = self.versioned_path.rfind('/').map_or(0, |slash| slash + 1);
        &self.versioned_path[name..]
    }
}

/// `/a/w.js` as `/a/w.VERSION.js`.
fn versioned(path: &str, version: &str) -> String {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].rfind('.') {
        Some(dot) if dot > 0 => {
            let (stem, extension) = path.split_at(name + dot);
            format!("{stem}.{version}{extension}")
        }
        _ => format!("{path}.{version}"),
    }
}

fn packed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &str) -> TrackerConfig {
        TrackerConfig {
            path: path.to_owned(),
        }
    }

    #[test]
    fn the_version_stands_before_the_extension() {
        for (path, expected) in [
            ("/w.js", "/w.1a.js"),
            ("/a.b/w.min.js", "/a.b/w.min.1a.js"),
            ("/a.b/w", "/a.b/w.1a"),
            ("/.w", "/.w.1a"),
        ] {
            assert_eq!(versioned(path, "1a"), expected);
        }
        let tracker = Tracker::new(&config("/a/w.js"));
        assert!(tracker.is_at(&format!("/a/{}", tracker.versioned_name())));
    }

    #[test]
    fn a_path_that_is_none_or_taken_is_refused_by_its_name() {
        for path in ["/w.js", "/a/b.js", "/x", "/eventual", "/api-docs.js", "/~w"] {
            config(path).check().unwrap();
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        for path in [
            "", "/", "w.js", "//w.js", "/w/", "/a/../w", "/{w}", "/w?x", "/w js", "/é", &long,
        ] {
            let refused = config(path).check().unwrap_err().to_string();
            assert!(refused.contains("must be a path"), "{path}: {refused}");
        }
        config(&long[..PATH_BYTES_MAX]).check().unwrap();
        for path in TAKEN.into_iter().chain(["/api-docs/w.js", "/event/w.js"]) {
            let refused = config(path).check().unwrap_err().to_string();
            assert!(refused.contains("something else"), "{path}: {refused}");
        }
    }

    #[test]
    fn the_script_stays_below_a_thousand_bytes_packed() {
        let tracker = Tracker::new(&TrackerConfig::default());
        assert!(tracker.gzip.len() < 1000, "{} bytes", tracker.gzip.len());
    }
}
