//! What ingest needs to say where an event comes from: made at the start, and kept up to date.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use context::Describer;
use context::agent::Agents;
use context::place::{self, Places, fetched};
use context::visitor::{self, Period, Visitors};
use tracing::{info, warn};

use crate::config::Config;

/// Blocks while it reads files.
///
/// # Errors
/// If the visitors' secret or the database of places cannot be read.
pub(crate) fn describer(config: &Config) -> anyhow::Result<Describer> {
    let places = Places::default();
    if let Some(database) = of_own(&config.geo) {
        places.read(database).context("ingest.geo.database")?;
    }
    Ok(Describer {
        paths: config.paths.clone(),
        agents: Agents::default(),
        places,
        visitors: visitors(&config.visitors)?,
    })
}

fn visitors(config: &visitor::Config) -> anyhow::Result<Option<Visitors>> {
    if config.period == Period::Off {
        return Ok(None);
    }
    let secret = config.secret().context("ingest.visitors")?;
    Ok(Some(Visitors::new(secret, config.period)))
}

fn of_own(geo: &place::Config) -> Option<&PathBuf> {
    let asks = geo.enabled && geo.country_header.is_none();
    geo.database.as_ref().filter(|_| asks)
}

/// Fetches the countries where no other file is given, and reads a file again that changes. Runs
/// until it is dropped; without countries everything else goes on.
pub(crate) async fn keep_places(describer: Arc<Describer>, geo: place::Config) -> Infallible {
    if !geo.enabled || geo.country_header.is_some() {
        return std::future::pending().await;
    }
    let Some(database) = geo.database else {
        let fetching = tokio::task::spawn_blocking(move || {
            let path = fetched(None, Path::new("npm"))?;
            describer.places.read(&path)?;
            anyhow::Ok(path)
        });
        match fetching.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(path) => info!("countries are known by {}", path.display()),
            Err(failure) => warn!("countries of visitors are not known: {failure:#}"),
        }
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(geo.check_every).await;
        let (describer, path) = (describer.clone(), database.clone());
        let reading = tokio::task::spawn_blocking(move || {
            anyhow::Ok(describer.places.read_if_changed(&path)?)
        });
        match reading.await.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(false) => {}
            Ok(true) => info!("read {} again", database.display()),
            Err(failure) => warn!("the places stay as they were: {failure:#}"),
        }
    }
}
