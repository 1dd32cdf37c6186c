//! Whether the tables are such that a block sent again counts once.

use anyhow::{Context, bail};
use clickhouse::Client;
use infra::clickhouse::rollups;

/// Rows go through all of these: a block sent again must be dropped by each.
fn all() -> Vec<&'static str> {
    let rollups = rollups::ALL.iter().map(|rollup| rollup.table);
    ["events", "ledger"].into_iter().chain(rollups).collect()
}

/// The least window that [`check`] lets pass, in blocks.
pub(crate) const BLOCKS_REMEMBERED: u64 = 10_000;

/// Tables that would count a block twice.
#[derive(Debug, thiserror::Error)]
#[error(
    "table {} has no deduplication window of {BLOCKS_REMEMBERED} blocks or more: ALTER TABLE it MODIFY SETTING non_replicated_deduplication_window = {BLOCKS_REMEMBERED} (replicated_deduplication_window on a cluster)",
    .0.join(", ")
)]
pub(crate) struct NoWindow(pub(crate) Vec<String>);

/// Refuses tables in which a block sent again would count twice; `Ok(None)` where all is well,
/// a sentence where they are not there yet.
///
/// # Errors
/// [`NoWindow`], or that ClickHouse cannot be asked.
pub(crate) async fn check(client: &Client) -> anyhow::Result<Option<String>> {
    let missing = missing(client).await?;
    if !missing.is_empty() {
        return Ok(Some(format!(
            "there is no table {}: run weir migrate",
            missing.join(", ")
        )));
    }
    let without = names(client, include_str!("../sql/undeduplicated_tables.sql")).await?;
    if !without.is_empty() {
        bail!(NoWindow(without));
    }
    Ok(None)
}

/// Whether a table of it forgets blocks by time too.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub(crate) async fn are_replicated(client: &Client) -> anyhow::Result<bool> {
    let replicated = names(
        client,
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN ({tables:Array(String)}) AND match(engine, '^(Replicated|Shared)')",
    )
    .await?;
    Ok(!replicated.is_empty())
}

/// Those of these settings that the server knows: one that it does not is an error.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub(crate) async fn known_settings(client: &Client, names: &[&str]) -> anyhow::Result<Vec<String>> {
    client
        .query("SELECT name FROM system.settings WHERE name IN ({names:Array(String)})")
        .param("names", names)
        .fetch_all::<String>()
        .await
        .context("ask which settings ClickHouse knows")
}

async fn missing(client: &Client) -> anyhow::Result<Vec<String>> {
    let present = names(
        client,
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN ({tables:Array(String)})",
    )
    .await;
    let present = match present {
        Ok(present) => present,
        // UNKNOWN_DATABASE: as good as no table.
        Err(error) if format!("{error:#}").contains("Code: 81") => Vec::new(),
        Err(error) => return Err(error),
    };
    let is_missing = |table: &&str| !present.iter().any(|name| name == table);
    let missing = all().into_iter().filter(is_missing);
    Ok(missing.map(str::to_owned).collect())
}

async fn names(client: &Client, sql: &str) -> anyhow::Result<Vec<String>> {
    client
        .query(sql)
        .param("tables", all().as_slice())
        .fetch_all::<String>()
        .await
        .context("look at the tables")
}
