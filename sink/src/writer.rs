//! ClickHouse as the sink uses it: one block an INSERT under a token, and what it has to know
//! about the tables.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clickhouse::{Client, Row};
use serde::Deserialize;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::native::COLUMNS;
use crate::plan::Plan;
use crate::window::{self, Window};

/// Rows go through all of these: a block sent again must be dropped by each.
const TABLES: [&str; 5] = [
    "events",
    "stats_quarter_hour",
    "stats_day",
    "paths_day",
    "paths_month",
];

/// A body is handed over in pieces of this size: each is compressed at once and alone.
const PIECE_BYTES: usize = 1024 * 1024;

/// Writes cuts and reads back what a window is made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    topic: String,
    insert_timeout: Duration,
    known_settings: std::sync::Arc<OnceCell<Vec<String>>>,
}

/// Whether the tables can be written to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    Ready,
    /// Not there: `weir migrate` makes them.
    Missing(Vec<String>),
    /// There, but a block sent again would count twice in these.
    WithoutWindow(Vec<String>),
}

impl Writer {
    pub(crate) fn new(
        config: &infra::clickhouse::Config,
        topic: &str,
        insert_timeout: Duration,
    ) -> Self {
        Self {
            client: infra::clickhouse::client(config),
            topic: topic.to_owned(),
            insert_timeout,
            known_settings: std::sync::Arc::default(),
        }
    }

    /// Inserts a cut's block under its token. A block that landed before, whole or in part, is
    /// completed in every table and doubled in none.
    pub(crate) async fn insert(&self, plan: &Plan, block: Bytes) -> anyhow::Result<()> {
        let columns: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let sql = format!("INSERT INTO events ({}) FORMAT Native", columns.join(", "));
        let mut insert = self
            .client
            .insert_formatted_with(sql)
            .with_timeouts(Some(self.insert_timeout), Some(self.insert_timeout));
        for (name, value) in self.settings(plan).await? {
            insert = insert.with_setting(name, value);
        }
        let mut rest = block;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            insert.send(piece).await.context("send a block")?;
        }
        insert.end().await.map_err(|error| {
            // UNKNOWN_TABLE, UNKNOWN_DATABASE, NO_SUCH_COLUMN_IN_TABLE.
            let schema = ["Code: 60.", "Code: 81.", "Code: 16."];
            let text = error.to_string();
            let context = if schema.iter().any(|code| text.contains(code)) {
                "insert a block into tables that are not as weir migrate makes them: run it"
            } else {
                "insert a block"
            };
            anyhow::Error::new(error).context(context)
        })
    }

    /// How many rows of a partition from `offset` on are stored.
    pub(crate) async fn rows_from(&self, partition: u16, offset: u64) -> anyhow::Result<u64> {
        self.client
            .query(include_str!("../sql/rows_from.sql"))
            .param("partition", partition)
            .param("offset", offset)
            .fetch_one()
            .await
            .with_context(|| format!("count rows of partition {partition} from {offset} on"))
    }

    /// All of them with each INSERT: defaults changed more than once.
    async fn settings(&self, plan: &Plan) -> anyhow::Result<BTreeMap<&'static str, String>> {
        let mut settings = BTreeMap::from([
            (
                "insert_deduplication_token",
                format!("{}/{}", self.topic, plan.id.simple()),
            ),
            ("async_insert", "0".to_owned()),
            ("insert_deduplicate", "1".to_owned()),
            (
                "deduplicate_blocks_in_dependent_materialized_views",
                "1".to_owned(),
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
        for name in self.known_settings().await? {
            if name == "deduplicate_insert" {
                settings.insert("deduplicate_insert", "enable".to_owned());
            }
        }
        Ok(settings)
    }

    /// Settings that only newer servers have, and an unknown one is an error.
    async fn known_settings(&self) -> anyhow::Result<&[String]> {
        let known = self
            .known_settings
            .get_or_try_init(async || {
                self.client
                    .query("SELECT name FROM system.settings WHERE name IN ('deduplicate_insert')")
                    .fetch_all::<String>()
                    .await
                    .context("ask which settings ClickHouse knows")
            })
            .await?;
        Ok(known)
    }

    /// The window of a partition as it stood when everything before `before` had been stored.
    pub(crate) async fn window(
        &self,
        partition: u16,
        before: u64,
        limit: u32,
    ) -> anyhow::Result<Window> {
        #[derive(Row, Deserialize)]
        struct Id {
            site_id: String,
            #[serde(with = "clickhouse::serde::uuid")]
            event_id: Uuid,
        }
        if limit == 0 || before == 0 {
            return Ok(Window::new(limit, []));
        }
        let context = || format!("read the last client-made ids of partition {partition}");
        let mut cursor = self
            .client
            .query(include_str!("../sql/recent_client_ids.sql"))
            .param("partition", partition)
            .param("before", before)
            .param("limit", limit)
            .fetch::<Id>()
            .with_context(context)?;
        // Hashed as they come: the ids themselves would be ten times the window.
        let mut keys = Vec::new();
        while let Some(id) = cursor.next().await.with_context(context)? {
            keys.push(window::key(&id.site_id, id.event_id));
        }
        Ok(Window::new(limit, keys))
    }

    /// Looks whether every table is there and drops blocks it has seen.
    pub(crate) async fn tables(&self) -> anyhow::Result<Tables> {
        let names = |sql: &'static str| async move {
            self.client
                .query(sql)
                .param("tables", TABLES.as_slice())
                .fetch_all::<String>()
                .await
                .context("look at the tables")
        };
        let present = names(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN ({tables:Array(String)})",
        )
        .await;
        let present = match present {
            Ok(present) => present,
            // UNKNOWN_DATABASE: as good as no table.
            Err(error) if format!("{error:#}").contains("Code: 81") => Vec::new(),
            Err(error) => return Err(error),
        };
        let missing: Vec<String> = TABLES
            .iter()
            .filter(|table| !present.iter().any(|name| name == *table))
            .map(|table| (*table).to_owned())
            .collect();
        if !missing.is_empty() {
            return Ok(Tables::Missing(missing));
        }
        let without = names(include_str!("../sql/undeduplicated_tables.sql")).await?;
        if without.is_empty() {
            Ok(Tables::Ready)
        } else {
            Ok(Tables::WithoutWindow(without))
        }
    }

    /// Refuses tables in which a block sent again would count twice; `Ok(None)` where all is well,
    /// a sentence where they are not there yet.
    pub(crate) async fn check(&self) -> anyhow::Result<Option<String>> {
        match self.tables().await? {
            Tables::Ready => Ok(None),
            Tables::Missing(tables) => Ok(Some(format!(
                "there is no table {}: run weir migrate",
                tables.join(", ")
            ))),
            Tables::WithoutWindow(tables) => bail!(NoWindow(tables)),
        }
    }
}

/// Tables that would count a block twice.
#[derive(Debug, thiserror::Error)]
#[error(
    "table {} has no deduplication window: ALTER TABLE it MODIFY SETTING non_replicated_deduplication_window = 10000 (replicated_deduplication_window on a cluster)",
    .0.join(", ")
)]
pub(crate) struct NoWindow(pub(crate) Vec<String>);
