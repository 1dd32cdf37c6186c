//! What an audit asks ClickHouse. Sums leave the server, rows only those of a range that is wrong.

use std::time::Duration;

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::Deserialize;
use uuid::Uuid;

use super::segments::{Entry, Group, Sum};

/// A partition of one life of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) log: u32,
    pub(super) partition: u16,
}

/// Offsets of a place that are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) place: Place,
    /// 0 where rows from before rows knew their log may be of this one, else the log itself.
    pub(super) unlogged: u32,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Asks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tables {
    client: Client,
    /// Ranges of the ledger that are looked at together.
    pub(super) ranges_at_once: u32,
}

/// What a place has in one table.
#[derive(Debug, Clone, Copy, Default, Row, Deserialize)]
pub(super) struct Extent {
    pub(super) log: u32,
    pub(super) partition: u16,
    pub(super) rows: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Extent {
    pub(super) fn place(&self) -> Place {
        Place {
            log: self.log,
            partition: self.partition,
        }
    }
}

/// A row of a range that is wrong.
#[derive(Debug, Row, Deserialize)]
pub(super) struct PlaceRows {
    pub(super) offset: u64,
    pub(super) index: u16,
    pub(super) rows: u64,
    pub(super) is_removed: bool,
}

impl Tables {
    pub(super) fn new(config: &infra::clickhouse::Config, ranges_at_once: u32) -> Self {
        let client = infra::clickhouse::client(config)
            .with_product_info("weir-audit", env!("CARGO_PKG_VERSION"));
        // An audit runs beside everything else: it takes its time, and little room.
        let settings = [
            ("max_threads", "2"),
            ("max_memory_usage", "1000000000"),
            ("max_bytes_before_external_group_by", "200000000"),
            ("max_bytes_before_external_sort", "200000000"),
            ("max_execution_time", "3600"),
        ];
        let client = settings.into_iter().fold(client, |client, (name, value)| {
            client.with_setting(name, value)
        });
        Self {
            client,
            ranges_at_once: ranges_at_once.max(1),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What stands in `events`, per place.
    pub(super) async fn stored(&self) -> anyhow::Result<Vec<Extent>> {
        self.extents(
            include_str!("../../sql/audit/stored.sql"),
            "look through events",
        )
        .await
    }

    /// What stands in `ledger`, per place; `rows` are ranges.
    pub(super) async fn ledgered(&self) -> anyhow::Result<Vec<Extent>> {
        self.extents(
            include_str!("../../sql/audit/ledgered.sql"),
            "look through ledger",
        )
        .await
    }

    /// What stands in `removed_repeats`, per place.
    pub(super) async fn removed(&self) -> anyhow::Result<Vec<Extent>> {
        let sql = include_str!("../../sql/audit/removed.sql");
        self.extents(sql, "look through removed_repeats").await
    }

    async fn extents(&self, sql: &str, attempt: &'static str) -> anyhow::Result<Vec<Extent>> {
        self.client.query(sql).fetch_all().await.context(attempt)
    }

    /// Entries of the ledger from an offset on, so many and those that begin where the last does.
    pub(super) async fn entries(&self, place: Place, from: u64) -> anyhow::Result<Vec<Entry>> {
        #[derive(Row, Deserialize)]
        struct Line {
            from_offset: u64,
            to_offset: u64,
            #[serde(with = "clickhouse::serde::uuid")]
            cut: Uuid,
            records: u64,
            events: u64,
            rows: u64,
            repeats: u64,
            dead_letters: u64,
            places: u64,
        }
        let lines: Vec<Line> = self
            .client
            .query(include_str!("../../sql/audit/entries.sql"))
            .param("log", place.log)
            .param("partition", place.partition)
            .param("from", from)
            .param("limit", self.ranges_at_once)
            .fetch_all()
            .await
            .with_context(|| format!("read the ledger of partition {}", place.partition))?;
        let entry = |line: Line| Entry {
            from: line.from_offset,
            to: line.to_offset,
            cut: line.cut,
            records: line.records,
            events: line.events,
            rows: line.rows,
            repeats: line.repeats,
            dead_letters: line.dead_letters,
            places: line.places,
        };
        Ok(lines.into_iter().map(entry).collect())
    }

    /// Rows with offsets `from..to`, summed per range of the ledger.
    pub(super) async fn groups(&self, window: Window) -> anyhow::Result<Vec<Group>> {
        let sql = include_str!("../../sql/audit/groups.sql");
        self.grouped(sql, "events", window).await
    }

    /// Removed repeats with offsets `from..to`, summed per range of the ledger.
    pub(super) async fn removed_groups(&self, window: Window) -> anyhow::Result<Vec<Group>> {
        let sql = include_str!("../../sql/audit/removed_groups.sql");
        self.grouped(sql, "removed_repeats", window).await
    }

    async fn grouped(&self, sql: &str, table: &str, window: Window) -> anyhow::Result<Vec<Group>> {
        let Window {
            place,
            unlogged,
            from,
            to,
        } = window;
        #[derive(Row, Deserialize)]
        struct Line {
            rows: u64,
            is_unlogged: bool,
            places: u64,
            first: u64,
            last: u64,
        }
        let lines: Vec<Line> = self
            .client
            .query(sql)
            .param("log", place.log)
            .param("partition", place.partition)
            .param("unlogged", unlogged)
            .param("from", from)
            .param("to", to)
            .fetch_all()
            .await
            .with_context(|| {
                format!(
                    "count {table} of partition {} from {from} on",
                    place.partition
                )
            })?;
        let group = |line: Line| Group {
            sum: Sum {
                rows: line.rows,
                places: line.places,
            },
            first: line.first,
            last: line.last,
            is_unlogged: line.is_unlogged,
        };
        Ok(lines.into_iter().map(group).collect())
    }

    /// Every place of offsets `from..to`, in order; handed to `each` as they come.
    pub(super) async fn places(
        &self,
        window: Window,
        mut each: impl FnMut(PlaceRows),
    ) -> anyhow::Result<()> {
        let Window {
            place,
            unlogged,
            from,
            to,
        } = window;
        let attempt = || format!("read places {from}..{to} of partition {}", place.partition);
        let mut rows = self
            .client
            .query(include_str!("../../sql/audit/places.sql"))
            .param("log", place.log)
            .param("partition", place.partition)
            .param("unlogged", unlogged)
            .param("from", from)
            .param("to", to)
            .fetch::<PlaceRows>()
            .with_context(attempt)?;
        while let Some(row) = rows.next().await.with_context(attempt)? {
            each(row);
        }
        Ok(())
    }

    /// How many mends of rollups are being made.
    pub(super) async fn mends_active(&self) -> anyhow::Result<u64> {
        self.client
            .query(include_str!("../../sql/audit/mends_active.sql"))
            .fetch_one()
            .await
            .context("ask for mends of rollups")
    }

    /// The first offset after all ranges of a place.
    pub(super) async fn ledgered_end(&self, place: Place) -> anyhow::Result<u64> {
        self.client
            .query(include_str!("../../sql/audit/ledgered_end.sql"))
            .param("log", place.log)
            .param("partition", place.partition)
            .fetch_one()
            .await
            .context("ask where the ledger ends")
    }
}

/// How long an audit waits in all for what may only be on its way.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    const STEP: Duration = Duration::from_secs(1);

    pub(super) fn new(all: Duration) -> Self {
        Self { left: all }
    }

    /// Waits a step and says true, or says false once there is none left.
    pub(super) async fn wait(&mut self) -> bool {
        let step = self.left.min(Self::STEP);
        self.left -= step;
        tokio::time::sleep(step).await;
        !step.is_zero()
    }
}
