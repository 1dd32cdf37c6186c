//! What ClickHouse itself does with the same rows: the sink's own blocks in Native, read back cut by
//! cut and kept in memory.

use anyhow::{Context, ensure};
use bytes::Bytes;
use clickhouse::{Client, Row};
use serde::Deserialize;

const PIECE_BYTES: usize = 1024 * 1024;

pub(super) struct Blocks {
    columns: String,
    blocks: Vec<Bytes>,
}

/// A cut, as the ledger has it: `(partition, first offset, first offset after)` of each range.
#[derive(Row, Deserialize)]
struct Cut {
    ranges: Vec<(u16, u64, u64)>,
}

impl Blocks {
    /// Reads all `rows` of the table `events`: a block for each cut, with the rows that it brought.
    pub(super) async fn read(client: &Client, rows: u64) -> anyhow::Result<Self> {
        let columns: String = client
            .query("SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE database = currentDatabase() AND table = 'events' AND default_kind IN ('', 'DEFAULT')")
            .fetch_one()
            .await
            .context("ask for the columns of events")?;
        let cuts: Vec<Cut> = client
            .query("SELECT groupArray((_partition, from_offset, to_offset)) AS ranges FROM ledger GROUP BY cut ORDER BY min(stored_at)")
            .fetch_all()
            .await
            .context("read the ledger")?;
        let mut blocks = Vec::with_capacity(cuts.len());
        let mut found = 0;
        for Cut { ranges } in cuts {
            let within: Vec<String> = ranges
                .iter()
                .map(|(partition, from, to)| {
                    format!("(_partition = {partition} AND _offset >= {from} AND _offset < {to})")
                })
                .collect();
            let within = within.join(" OR ");
            let count: u64 = client
                .query(&format!("SELECT count() FROM events WHERE {within}"))
                .fetch_one()
                .await
                .context("count a cut's rows")?;
            found += count;
            let sql = format!(
                "SELECT {columns} FROM events WHERE {within} ORDER BY _partition, _offset, _index SETTINGS max_block_size = {count}"
            );
            let mut answer = client
                .query(&sql)
                .fetch_bytes("Native")
                .context("read a block")?;
            blocks.push(answer.collect().await.context("read a block")?);
        }
        ensure!(found == rows, "the cuts hold {found} rows of {rows}");
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
