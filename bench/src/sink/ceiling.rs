//! What ClickHouse itself does with the same rows: blocks of the sink's own size in Native, read
//! back once and kept in memory.

use anyhow::{Context, ensure};
use bytes::Bytes;
use clickhouse::Client;

const PIECE_BYTES: usize = 1024 * 1024;

pub(super) struct Blocks {
    columns: String,
    blocks: Vec<Bytes>,
}

impl Blocks {
    /// Reads all `rows` of the table `events`, so many a block, in the order of Kafka.
    pub(super) async fn read(
        client: &Client,
        rows: u64,
        rows_a_block: u64,
    ) -> anyhow::Result<Self> {
        let columns: String = client
            .query("SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE database = currentDatabase() AND table = 'events' AND default_kind IN ('', 'DEFAULT')")
            .fetch_one()
            .await
            .context("ask for the columns of events")?;
        let mut blocks = Vec::new();
        for from in (0..rows).step_by(usize::try_from(rows_a_block).context("a block's rows")?) {
            let sql = format!(
                "SELECT {columns} FROM events ORDER BY _offset, _partition, _index LIMIT {rows_a_block} OFFSET {from} SETTINGS max_block_size = {rows_a_block}"
            );
            let mut answer = client
                .query(&sql)
                .fetch_bytes("Native")
                .context("read a block")?;
            let block = answer.collect().await.context("read a block")?;
            ensure!(!block.is_empty(), "no rows from {from} on");
            blocks.push(block);
        }
        Ok(Self { columns, blocks })
    }

    /// Inserts them one after the other, as the sink does, with the settings it uses.
    pub(super) async fn insert(&self, client: &Client, name: &str) -> anyhow::Result<()> {
        for (number, block) in self.blocks.iter().enumerate() {
            let sql = format!("INSERT INTO events ({}) FORMAT Native", self.columns);
            let mut insert = client
                .insert_formatted_with(sql)
                .with_setting("async_insert", "0")
                .with_setting("insert_deduplicate", "1")
                .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
                .with_setting("insert_deduplication_token", format!("{name}/{number}"))
                .with_setting("max_insert_block_size", "2000000")
                .with_setting("min_insert_block_size_rows", "2000000")
                .with_setting("min_insert_block_size_bytes", "0")
                .with_setting("max_partitions_per_insert_block", "0");
            let mut rest = block.clone();
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                insert.send(piece).await.context("send a block")?;
            }
            insert.end().await.context("insert a block")?;
        }
        Ok(())
    }
}
