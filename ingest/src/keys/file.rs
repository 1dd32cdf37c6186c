//! Reading the file of keys, at the start and on every SIGHUP.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::KeyRing;
use super::config::{KeysConfig, SiteKeys};

/// Some 100,000 sites.
const BYTES_MAX: u64 = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sites: Vec<SiteKeys>,
}

/// The sites in a file.
///
/// # Errors
/// If it cannot be read or understood: one line with the file and the line in it.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<SiteKeys>> {
    let attempt = || format!("read the keys in {} (ingest.keys.file)", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
        .with_context(attempt)?;
    ensure!(
        text.len() as u64 <= BYTES_MAX,
        "{} (ingest.keys.file) is larger than {BYTES_MAX} bytes",
        path.display()
    );
    let file: File = toml::from_str(&text).map_err(|fault| {
        // Its own text would show the lines around, and so perhaps a key that was put there.
        let before = &text[..fault.span().map_or(0, |span| span.start.min(text.len()))];
        let line = 1 + before.matches('\n').count();
        anyhow!(
            "{} (ingest.keys.file) line {line}: {}",
            path.display(),
            fault.message()
        )
    })?;
    Ok(file.sites)
}

/// Reads the file again on every SIGHUP, if there is one. What cannot be read or understood
/// changes nothing. Runs until it is dropped.
///
/// # Errors
/// If the signal cannot be listened for.
pub(crate) async fn read_again_on_hangup(
    keys: Option<KeyRing>,
    config: KeysConfig,
) -> anyhow::Result<()> {
    let (Some(keys), Some(_)) = (keys, &config.file) else {
        return std::future::pending().await;
    };
    let mut hangups = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    while let Some(()) = hangups.recv().await {
        let (keys, config) = (keys.clone(), config.clone());
        let loading = tokio::task::spawn_blocking(move || keys.load_again(&config));
        match loading.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(sites) => info!(
                keys.sites = sites,
                "read the write keys again: {sites} sites"
            ),
            Err(failure) => error!("the write keys stay as they were: {failure:#}"),
        }
    }
    std::future::pending().await
}
