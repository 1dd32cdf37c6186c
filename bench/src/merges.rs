//! What ClickHouse does behind the answers: merging parts, which costs processor time that an
//! INSERT left behind.

use std::time::{Duration, Instant};

use anyhow::Context;
use clickhouse::Client;

/// ClickHouse is given so long to merge what was inserted.
const WITHIN: Duration = Duration::from_secs(600);
const QUIET_LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_secs(1);

/// Waits until ClickHouse has not been seen merging a few times in a row.
///
/// # Errors
/// If it cannot be asked.
pub async fn until_quiet(client: &Client) -> anyhow::Result<()> {
    let give_up_at = Instant::now() + WITHIN;
    let mut quiet = 0;
    while quiet < QUIET_LOOKS && Instant::now() < give_up_at {
        tokio::time::sleep(LOOK).await;
        let merges: u64 = client
            .query("SELECT count() FROM system.merges")
            .fetch_one()
            .await
            .context("look for merges")?;
        quiet = if merges == 0 { quiet + 1 } else { 0 };
    }
    Ok(())
}
