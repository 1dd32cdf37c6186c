//! What ClickHouse holds of a partition: the ledger's ranges, places, and the ids that a window is
//! filled with.

use std::collections::{BTreeSet, HashSet};

use anyhow::Context;
use chrono::Datelike;
use clickhouse::{Client, Row};
use infra::clickhouse::rollups;
use serde::Deserialize;
use uuid::Uuid;

use crate::mend::date;
use crate::plan::Range;
use crate::window::{self, Memory, Window};

/// A takeover reads ids of at most so many ranges of a partition back: 28 hours at two cuts a second.
const RANGES_REMEMBERED: u64 = 200_000;

/// Asks about what is stored. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stored {
    client: Client,
}

/// What the ledger covers of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// The first offset after all ledgered ranges; None where there are none.
    pub(crate) end: Option<u64>,
    /// What it skips from the log's first offset to `end`, in order.
    pub(crate) gaps: Vec<Range>,
}

impl Stored {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// What a partition remembers once everything before `before` is stored, at most `limit` ids of
    /// each kind.
    pub(crate) async fn memory(
        &self,
        log: u32,
        partition: u16,
        before: u64,
        limit: u32,
    ) -> anyhow::Result<Memory> {
        if limit == 0 || before == 0 {
            return Ok(Memory {
                events: Window::new(limit, []),
                batches: Window::new(limit, []),
            });
        }
        let depth = self.depth(log, partition, before, limit.into()).await?;
        let events = match depth.events {
            Some(from) => self.client_ids(log, partition, from..before, limit).await?,
            None => Vec::new(),
        };
        let batches = match depth.batches {
            Some(from) => self.batches(log, partition, from..before, limit).await?,
            None => Vec::new(),
        };
        Ok(Memory {
            events: Window::new(limit, events),
            batches: Window::new(limit, batches),
        })
    }

    /// From which offsets on the last `limit` ids of each kind lie. Read off the last
    /// [`RANGES_REMEMBERED`] ranges of the ledger, so that `events` is not searched from its
    /// beginning, and the ledger not either.
    async fn depth(
        &self,
        log: u32,
        partition: u16,
        before: u64,
        limit: u64,
    ) -> anyhow::Result<Depth> {
        self.client
            .query(include_str!("../sql/ids_of_ranges.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("before", before)
            .param("limit", limit)
            .param("ranges", RANGES_REMEMBERED)
            .fetch_one::<Depth>()
            .await
            .with_context(|| format!("read the ledger of partition {partition}"))
    }

    async fn client_ids(
        &self,
        log: u32,
        partition: u16,
        offsets: std::ops::Range<u64>,
        limit: u32,
    ) -> anyhow::Result<Vec<u64>> {
        #[derive(Row, Deserialize)]
        struct Id {
            site_id: String,
            #[serde(with = "clickhouse::serde::uuid")]
            event_id: Uuid,
        }
        let context = || format!("read the last client-made ids of partition {partition}");
        let mut cursor = self
            .client
            .query(include_str!("../sql/client_ids.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("from", offsets.start)
            .param("before", offsets.end)
            .param("limit", limit)
            .fetch::<Id>()
            .with_context(context)?;
        // Hashed as they come: the ids themselves would be several times the window.
        let mut keys = Vec::new();
        while let Some(id) = cursor.next().await.with_context(context)? {
            keys.push(window::key(&id.site_id, id.event_id));
        }
        Ok(keys)
    }

    async fn batches(
        &self,
        log: u32,
        partition: u16,
        offsets: std::ops::Range<u64>,
        limit: u32,
    ) -> anyhow::Result<Vec<u64>> {
        let context = || format!("read the last batches of partition {partition}");
        let mut cursor = self
            .client
            .query(include_str!("../sql/batches.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("from", offsets.start)
            .param("before", offsets.end)
            .fetch::<Vec<u64>>()
            .with_context(context)?;
        let mut keys = Vec::new();
        // To its end, which is one range beyond the limit: a cursor dropped early counts as given up.
        while let Some(batches) = cursor.next().await.with_context(context)? {
            keys.extend(batches.into_iter().rev());
        }
        keys.truncate(limit as usize);
        Ok(keys)
    }

    /// What the ledger covers of a partition whose log begins at `low`.
    pub(crate) async fn coverage(
        &self,
        log: u32,
        partition: u16,
        low: u64,
    ) -> anyhow::Result<Coverage> {
        #[derive(Row, Deserialize)]
        struct Gap {
            gap_from: u64,
            gap_to: u64,
        }
        let context = || format!("read the ledger of partition {partition}");
        let end = self
            .client
            .query(include_str!("../sql/ledgered_end.sql"))
            .param("log", log)
            .param("partition", partition)
            .fetch_all::<u64>()
            .await
            .with_context(context)?;
        let Some(end) = end.into_iter().next().filter(|end| *end > 0) else {
            return Ok(Coverage {
                end: None,
                gaps: Vec::new(),
            });
        };
        let gaps = self
            .client
            .query(include_str!("../sql/gaps.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("low", low)
            .fetch_all::<Gap>()
            .await
            .with_context(context)?;
        let gaps = gaps.into_iter().map(|gap| Range {
            partition,
            from: gap.gap_from.max(low),
            to: gap.gap_to,
        });
        Ok(Coverage {
            end: Some(end),
            gaps: gaps.filter(|gap| gap.from < gap.to).collect(),
        })
    }

    /// The first offset after the last stored row of a partition in `offsets`, if there is any.
    pub(crate) async fn rows_reach(
        &self,
        log: u32,
        partition: u16,
        offsets: std::ops::Range<u64>,
    ) -> anyhow::Result<Option<u64>> {
        let reach = self
            .client
            .query(include_str!("../sql/last_row_from.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("from", offsets.start)
            .param("to", offsets.end)
            .fetch_all::<u64>()
            .await
            .with_context(|| format!("look for rows of partition {partition} in {offsets:?}"))?;
        Ok(reach.into_iter().next().filter(|reach| *reach > 0))
    }

    /// Which rows of a range are stored: offset and index of each.
    pub(crate) async fn places(
        &self,
        log: u32,
        range: Range,
    ) -> anyhow::Result<HashSet<(u64, u16)>> {
        #[derive(Row, Deserialize)]
        struct Place {
            _offset: u64,
            _index: u16,
        }
        let Range {
            partition,
            from,
            to,
        } = range;
        let context =
            || format!("read which rows of {from}..{to} of partition {partition} are stored");
        let mut cursor = self
            .client
            .query(include_str!("../sql/places.sql"))
            .param("log", log)
            .param("partition", partition)
            .param("from", from)
            .param("to", to)
            .fetch::<Place>()
            .with_context(context)?;
        let mut places = HashSet::new();
        while let Some(place) = cursor.next().await.with_context(context)? {
            places.insert((place._offset, place._index));
        }
        Ok(places)
    }

    /// On which days, since 1970, a range counts.
    pub(crate) async fn days(&self, log: u32, range: Range) -> anyhow::Result<Vec<u16>> {
        self.client
            .query(include_str!("../sql/days.sql"))
            .param("log", log)
            .param("partition", range.partition)
            .param("from", range.from)
            .param("to", range.to)
            .fetch_all::<u16>()
            .await
            .with_context(|| format!("list the days of partition {}", range.partition))
    }

    /// Which of these days, since 1970, differ between the rows and a rollup.
    pub(crate) async fn differing_days(
        &self,
        days: &BTreeSet<u16>,
    ) -> anyhow::Result<BTreeSet<u16>> {
        let compared = include_str!("../sql/rollup/compared.sql").replace(
            "{wanted}",
            "toDate(period) IN (SELECT toStartOfInterval(toDate(arrayJoin({days:Array(UInt16)})), INTERVAL 1 {unit})::Date)",
        );
        let sql = include_str!("../sql/rollup/differing_days.sql").replace("{compared}", &compared);
        let listed: Vec<u16> = days.iter().copied().collect();
        let differing = self
            .client
            .query(&rollups::union_all(&sql))
            .param("days", listed.as_slice())
            .with_setting("max_bytes_before_external_group_by", "200000000")
            .with_setting("max_threads", "2")
            .fetch_all::<u16>()
            .await
            .context("compare rollups with the rows")?;
        // A month stands for its first day among them.
        let month = |day: u16| date(day).with_day(1);
        let of_month = |first: u16| days.iter().find(|day| month(**day) == month(first));
        let named = |day: u16| days.get(&day).or_else(|| of_month(day)).copied();
        Ok(differing.into_iter().filter_map(named).collect())
    }

    /// Months, as their first day since 1970, of which `stats_month` does not hold the events that
    /// `stats_day` holds.
    pub(crate) async fn unfilled_months(&self) -> anyhow::Result<BTreeSet<u16>> {
        let months = self
            .client
            .query(include_str!("../sql/unfilled_months.sql"))
            .fetch_all::<u16>()
            .await
            .context("compare months with their days")?;
        Ok(months.into_iter().collect())
    }
}

/// None where there are no ids.
#[derive(Row, Deserialize)]
struct Depth {
    events: Option<u64>,
    batches: Option<u64>,
}
