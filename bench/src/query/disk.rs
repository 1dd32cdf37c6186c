//! What the tables take on disk, as ClickHouse counts it.

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

/// Active parts of one database.
#[derive(Debug, Serialize)]
pub struct Disk {
    pub raw_bytes: u64,
    pub rollup_bytes: u64,
    pub raw_bytes_per_event: f64,
    pub bytes_per_event: f64,
    pub tables: Vec<Table>,
}

/// Active parts of one table.
#[derive(Debug, Row, Serialize, Deserialize)]
pub struct Table {
    pub table: String,
    pub rows: u64,
    pub bytes: u64,
    pub parts: u64,
}

/// # Errors
/// If ClickHouse does not tell.
pub(crate) async fn measure(client: &Client, database: &str) -> anyhow::Result<Disk> {
    let tables: Vec<Table> = client
        .query(include_str!("disk.sql"))
        .param("database", database)
        .fetch_all()
        .await
        .context("ask for the size of the tables")?;
    let raw = tables.iter().find(|table| table.table == "events");
    let raw = raw.context("find the table events")?;
    let (raw_bytes, events) = (raw.bytes, raw.rows as f64);
    let of_rollup = |table: &&Table| {
        ["stats_", "paths_"]
            .iter()
            .any(|it| table.table.starts_with(it))
    };
    let rollup_bytes = tables
        .iter()
        .filter(of_rollup)
        .map(|table| table.bytes)
        .sum();
    Ok(Disk {
        raw_bytes,
        rollup_bytes,
        raw_bytes_per_event: raw_bytes as f64 / events,
        bytes_per_event: (raw_bytes + rollup_bytes) as f64 / events,
        tables,
    })
}
