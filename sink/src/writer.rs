//! INSERTs: one block each, under a token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clickhouse::Client;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::ledger::{self, Entry, Page};
use crate::native::{COLUMNS, Rows};
use crate::tables;

/// A body is handed over in pieces of this size: each is compressed at once and alone.
const PIECE_BYTES: usize = 1024 * 1024;

/// Writes blocks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    topic: String,
    insert_timeout: Duration,
    /// Without it a block that is sent again counts again, and nothing is entered into the ledger:
    /// for measuring what that costs.
    deduplicates: bool,
    known_settings: Arc<OnceCell<Vec<String>>>,
}

/// The server refused the whole block, by a constraint of its table: somebody else has taken one of
/// its partitions over, or rollups are being rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fenced {
    #[error("a partition of this block was taken over by another sink")]
    Owner,
    #[error("rollups are being seen to; nothing is inserted meanwhile")]
    Gate,
}

/// The constraints' names.
const FENCES: [(&str, Fenced); 2] = [
    ("only_the_owner", Fenced::Owner),
    ("not_while_mending", Fenced::Gate),
];

impl Writer {
    pub(crate) fn new(
        client: Client,
        topic: &str,
        insert_timeout: Duration,
        deduplicates: bool,
    ) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            insert_timeout,
            deduplicates,
            known_settings: Arc::default(),
        }
    }

    /// Inserts a cut's block, once. Where that fails nobody knows what landed of it.
    ///
    /// # Errors
    /// [`Fenced`] if a partition of it is somebody else's by now.
    pub(crate) async fn insert(&self, cut: Uuid, block: &Rows) -> anyhow::Result<()> {
        let columns: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let token = format!("{}/{}", self.topic, cut.simple());
        let pieces = block.pieces(PIECE_BYTES);
        self.send("events", &columns.join(", "), token, pieces)
            .await
            .context("insert a block")
    }

    /// Enters the ranges of a cut into the ledger.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub(crate) async fn enter(&self, page: Page, entries: &[Entry]) -> anyhow::Result<()> {
        if !self.deduplicates || entries.is_empty() {
            return Ok(());
        }
        let token = format!("{}/{}/ledger", self.topic, page.cut.simple());
        let block = ledger::encode(page, entries);
        self.send("ledger", ledger::COLUMNS, token, pieces(block))
            .await
            .context("enter a cut into the ledger")
    }

    async fn send(
        &self,
        table: &str,
        columns: &str,
        token: String,
        pieces: impl Iterator<Item = Bytes>,
    ) -> anyhow::Result<()> {
        let sql = format!("INSERT INTO {table} ({columns}) FORMAT Native");
        let mut insert = self
            .client
            .insert_formatted_with(sql)
            .with_timeouts(Some(self.insert_timeout), Some(self.insert_timeout));
        for (name, value) in self.settings(token).await? {
            insert = insert.with_setting(name, value);
        }
        for piece in pieces {
            insert.send(piece).await.context("send a block")?;
        }
        insert.end().await.map_err(|error| judge(error, table))
    }

    /// All of them with each INSERT: defaults changed more than once.
    async fn settings(&self, token: String) -> anyhow::Result<BTreeMap<&'static str, String>> {
        let deduplicate = if self.deduplicates { "1" } else { "0" };
        let mut settings = BTreeMap::from([
            ("async_insert", "0".to_owned()),
            ("insert_deduplicate", deduplicate.to_owned()),
            (
                "deduplicate_blocks_in_dependent_materialized_views",
                deduplicate.to_owned(),
            ),
            // One block, however many rows; a token covers a block.
            ("max_insert_block_size", "2000000".to_owned()),
            ("min_insert_block_size_rows", "2000000".to_owned()),
            ("min_insert_block_size_bytes", "0".to_owned()),
            // One client's odd timestamps must not stop everybody's events.
            ("max_partitions_per_insert_block", "0".to_owned()),
            (
                "max_execution_time",
                self.insert_timeout.as_secs().max(1).to_string(),
            ),
        ]);
        if self.deduplicates {
            settings.insert("insert_deduplication_token", token);
        }
        for name in self.known_settings().await? {
            if name == "deduplicate_insert" {
                let value = if self.deduplicates {
                    "enable"
                } else {
                    "disable"
                };
                settings.insert("deduplicate_insert", value.to_owned());
            }
        }
        Ok(settings)
    }

    /// Settings that only newer servers have, and an unknown one is an error.
    async fn known_settings(&self) -> anyhow::Result<&[String]> {
        let known = self
            .known_settings
            .get_or_try_init(|| tables::known_settings(&self.client, &["deduplicate_insert"]))
            .await?;
        Ok(known)
    }
}

fn pieces(mut block: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = block.split_to(block.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some(piece)
    })
}

fn judge(error: clickhouse::error::Error, table: &str) -> anyhow::Error {
    // UNKNOWN_TABLE, UNKNOWN_DATABASE, NO_SUCH_COLUMN_IN_TABLE.
    const SCHEMA: [&str; 3] = ["Code: 60.", "Code: 81.", "Code: 16."];
    let text = error.to_string();
    if let Some((_, fenced)) = FENCES.iter().find(|(name, _)| text.contains(name)) {
        return fenced.clone().into();
    }
    let error = anyhow::Error::new(error);
    if SCHEMA.iter().any(|code| text.contains(code)) {
        error.context(format!(
            "insert into {table}, which is not as weir migrate makes it: run it"
        ))
    } else {
        error
    }
}
