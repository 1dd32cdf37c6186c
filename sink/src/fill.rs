//! Fills rollups that a newer version brings, from the rows there are.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::fences::Fences;
use crate::mend::{Mender, Mending};
use crate::tables;

/// Somebody else who rebuilds rollups is waited for: longer than the lease of one who has died.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);

/// Rebuilds months that the tables of this version lack. To be called after the migrations; may
/// be cut off and repeated, and does nothing where all is there. Sinks wait meanwhile. Returns how
/// many months were filled.
///
/// # Errors
/// If ClickHouse cannot be asked or refuses, if its tables are not such that every event can count
/// once, or if somebody else keeps rebuilding rollups.
pub async fn fill_rollups(
    config: &Config,
    clickhouse: &infra::clickhouse::Config,
) -> anyhow::Result<usize> {
    let client = infra::clickhouse::client(clickhouse);
    if let Some(unfit) = tables::check(&client).await? {
        bail!("database {}: {unfit}", clickhouse.database);
    }
    let fences = Fences::new(client.clone(), config.insert_timeout);
    let mender = Mender::new(client, fences);
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        match mender.fill_months().await {
            Err(error) if error.is::<Mending>() && Instant::now() < give_up_at => {
                sleep(POLL).await;
                // One that was left behind is put away.
                mender.is_under_way().await?;
            }
            filled => return filled.context("fill the rollups that this version brings"),
        }
    }
}
