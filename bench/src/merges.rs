//! What ClickHouse does behind the answers: merging parts, which costs processor time that an
//! INSERT left behind.

use std::time::{Duration, Instant};

use anyhow::Context;
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use serde::Deserialize;

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

#[derive(Row, Deserialize)]
struct Partition {
    table: String,
    partition_id: String,
}

/// Merges each partition of the rollups but the newest into one part, as the server does by itself
/// an hour after the last insert into it.
///
/// # Errors
/// If ClickHouse does not merge or does not tell its parts.
pub async fn of_past_partitions(client: &Client) -> anyhow::Result<()> {
    let past: Vec<Partition> = client
        .query(include_str!("past_partitions.sql"))
        .fetch_all()
        .await
        .context("look for partitions of several parts")?;
    for Partition {
        table,
        partition_id,
    } in past
    {
        client
            .query("OPTIMIZE TABLE ? PARTITION ID ? FINAL")
            .bind(Identifier(&table))
            .bind(&partition_id)
            .execute()
            .await
            .with_context(|| format!("merge partition {partition_id} of {table}"))?;
    }
    Ok(())
}
