//! What ingest needs to say where an event comes from: made at the start, and kept up to date.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    if let Some(File::Own(database)) = File::of(&config.geo) {
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

/// Where places are looked up.
enum File<'c> {
    Own(&'c Path),
    /// The countries that are fetched.
    Countries,
}

impl<'c> File<'c> {
    /// None if nothing is looked up.
    fn of(geo: &'c place::Config) -> Option<Self> {
        if !geo.enabled || geo.country_header.is_some() {
            return None;
        }
        Some(match &geo.database {
            Some(database) => Self::Own(database),
            None => Self::Countries,
        })
    }
}

/// Fetches the countries where no other file is given, and reads a file again that changes. Runs
/// until it is dropped; without countries everything else goes on.
pub(crate) async fn keep_places(describer: Arc<Describer>, geo: place::Config) -> Infallible {
    match File::of(&geo) {
        Some(File::Own(database)) => keep_up(describer, database, geo.check_every).await,
        Some(File::Countries) => fetch(describer, &geo).await,
        None => {}
    }
    std::future::pending().await
}

async fn fetch(describer: Arc<Describer>, geo: &place::Config) {
    let (cache_dir, npm) = (geo.cache_dir.clone(), geo.npm.clone());
    let fetching = tokio::task::spawn_blocking(move || {
        let path = fetched(cache_dir.as_deref(), &npm)?;
        describer.places.read(&path)?;
        anyhow::Ok(path)
    });
    match fetching.await.unwrap_or_else(|panic| Err(panic.into())) {
        Ok(path) => info!("countries are known by {}", path.display()),
        Err(failure) => warn!("countries of visitors are not known: {failure:#}"),
    }
}

async fn keep_up(describer: Arc<Describer>, database: &Path, check_every: Duration) {
    loop {
        tokio::time::sleep(check_every).await;
        let (describer, path) = (describer.clone(), database.to_owned());
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
