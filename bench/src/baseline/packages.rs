//! The Node design's own files, which this binary carries, and the packages they need, which npm
//! fetches once under whatever registry the user has set for it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tracing::info;
use uuid::Uuid;

use super::programs::Programs;

const PACKAGE: (&str, &str) = ("package.json", include_str!("../../baseline/package.json"));
const LOCK: (&str, &str) = (
    "package-lock.json",
    include_str!("../../baseline/package-lock.json"),
);
const SOURCES: [(&str, &str); 5] = [
    ("event.js", include_str!("../../baseline/event.js")),
    ("places.js", include_str!("../../baseline/places.js")),
    ("server.js", include_str!("../../baseline/server.js")),
    ("stats.js", include_str!("../../baseline/stats.js")),
    ("worker.js", include_str!("../../baseline/worker.js")),
];
pub(super) const SCHEMA: &str = include_str!("../../baseline/schema.sql");
pub(super) const INDEXES: &str = include_str!("../../baseline/indexes.sql");

const NODE_MODULES: &str = "node_modules";
const INSTALLED_WITHIN: Duration = Duration::from_secs(600);
const COMPLAINT_LINES: usize = 10;

/// Makes `folder`, from which `node server.js` and `node worker.js` run.
///
/// # Errors
/// If the packages are not in `cache` and npm cannot fetch them.
pub(super) async fn lay_out(
    programs: &Programs,
    cache: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let packages = install(programs, cache).await?;
    std::fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in SOURCES.into_iter().chain([PACKAGE]) {
        write(folder, name, text)?;
    }
    let link = folder.join(NODE_MODULES);
    std::os::unix::fs::symlink(&packages, &link)
        .with_context(|| format!("link {} to {}", link.display(), packages.display()))
}

/// The folder with the packages, fetched first if it must be.
async fn install(programs: &Programs, cache: &Path) -> anyhow::Result<PathBuf> {
    // Other packages are another folder: what lies there is whole and never changes.
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, LOCK.1.as_bytes());
    let folder = cache.join(format!("bench-baseline-{}", id.simple()));
    let packages = folder.join(NODE_MODULES);
    if packages.is_dir() {
        return Ok(packages);
    }
    info!("fetching the Node design's packages, once");
    let making = || format!("make a folder in {}", cache.display());
    std::fs::create_dir_all(cache).with_context(making)?;
    let fetching = tempfile::Builder::new()
        .prefix("bench-baseline-fetching-")
        .tempdir_in(cache)
        .with_context(making)?;
    for (name, text) in [PACKAGE, LOCK] {
        write(fetching.path(), name, text)?;
    }
    npm_ci(programs, fetching.path()).await?;
    ensure!(
        fetching.path().join(NODE_MODULES).is_dir(),
        "npm left no packages in {}",
        fetching.path().display()
    );
    // Another run may have been first; its packages are the same.
    let moved = std::fs::rename(fetching.path(), &folder);
    if !packages.is_dir() {
        moved.with_context(|| format!("move the packages to {}", folder.display()))?;
    }
    Ok(packages)
}

async fn npm_ci(programs: &Programs, folder: &Path) -> anyhow::Result<()> {
    let running = Command::new(&programs.npm)
        // No package needs a script of its own to run, so none may.
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--loglevel", "error"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(ended) = tokio::time::timeout(INSTALLED_WITHIN, running).await else {
        bail!("npm did not fetch the Node design's packages within {INSTALLED_WITHIN:?}");
    };
    let ended = ended.context("run npm")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let first: Vec<&str> = said.lines().take(COMPLAINT_LINES).collect();
        bail!(
            "npm cannot fetch the Node design's packages ({}):\n{}",
            ended.status,
            first.join("\n")
        );
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_checksum_and_none_a_registry() {
        let lock: serde_json::Value = serde_json::from_str(LOCK.1).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 50);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].is_string(), "{name}");
            assert!(package["resolved"].is_null(), "{name}");
        }
        assert!(!LOCK.1.contains("://"));
    }

    #[test]
    fn every_version_is_pinned() {
        let package: serde_json::Value = serde_json::from_str(PACKAGE.1).unwrap();
        for (name, version) in package["dependencies"].as_object().unwrap() {
            let version = version.as_str().unwrap();
            let is_exact = version.split('.').all(|part| part.parse::<u32>().is_ok());
            assert!(is_exact, "{name} {version}");
        }
    }
}
