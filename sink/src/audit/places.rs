//! The ledger against Kafka and against the rows: ranges without gap or overlap, and in each of
//! them the rows it says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clickhouse::{Client, Row};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::{Deserialize, Serialize};

use super::{Findings, LOOK_AGAIN_AFTER, LOOKS};
use crate::membership;
use crate::plan::Range;

const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);
/// Ranges compared at a time.
const RANGES: u32 = 5000;

/// One partition of one life of the topic.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// Which life of the topic; see the column `_log`.
    pub log: u32,
    pub partition: u16,
    /// Whether it is the topic as it is now.
    pub is_current: bool,
    /// The first offset that the ledger knows.
    pub from_offset: u64,
    /// The first offset after what it knows.
    pub to_offset: u64,
    /// Where the group stands, if it was asked.
    pub committed: Option<u64>,
    /// Ranges in the ledger.
    pub ranges: u64,
    /// Kafka records in them.
    pub records: u64,
    /// Events in those records.
    pub events: u64,
    /// Events stored, as counted.
    pub rows: u64,
    /// Events dropped as repeats.
    pub repeats: u64,
    /// Repeats that `weir seal` removed later.
    pub removed: u64,
    /// Records set aside.
    pub dead_letters: u64,
    pub sound: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
struct Entry {
    from_offset: u64,
    to_offset: u64,
    records: u64,
    events: u64,
    rows: u64,
    repeats: u64,
    dead_letters: u64,
    places: u64,
}

#[derive(Debug, Clone, Copy, Default, Row, Deserialize)]
struct Stored {
    start: u64,
    rows: u64,
    places: u64,
}

#[derive(Debug, Clone, Row, Deserialize)]
struct Log {
    _log: u32,
    _partition: u16,
    stored: u64,
    ledgered: u64,
    first_row: u64,
    last_row: u64,
}

/// What Kafka says of a partition.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    low: u64,
    committed: Option<u64>,
}

pub(super) async fn compare(
    client: &Client,
    kafka: Option<(&str, &infra::kafka::Config)>,
    findings: &mut Findings,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Vec<PartitionReport>> {
    let (current, bounds) = match kafka {
        Some((group, kafka)) => {
            let log = infra::kafka::log_id(kafka).await?;
            (Some(log), bounds(group, kafka).await?)
        }
        None => (None, BTreeMap::new()),
    };
    let mut logs: BTreeMap<(u32, u16), Option<Log>> = logs(client)
        .await?
        .into_iter()
        .map(|log| ((log._log, log._partition), Some(log)))
        .collect();
    if let Some(current) = current {
        for partition in bounds.keys() {
            logs.entry((current, *partition)).or_default();
        }
    }
    let mut reports = Vec::with_capacity(logs.len());
    for ((log, partition), known) in logs {
        // Rows from before there was a ledger are counted with the log that took them over.
        if log == 0 && known.as_ref().is_some_and(|known| known.ledgered == 0) {
            continue;
        }
        progress(&format!("partition {partition}"));
        let is_current = current == Some(log) || (current.is_none() && log != 0);
        let bounds = bounds.get(&partition).filter(|_| is_current).copied();
        let mut walk = Walk {
            client,
            findings: &mut *findings,
            report: PartitionReport {
                log,
                partition,
                is_current,
                from_offset: 0,
                to_offset: 0,
                committed: bounds.and_then(|bounds| bounds.committed),
                ranges: 0,
                records: 0,
                events: 0,
                rows: 0,
                repeats: 0,
                removed: 0,
                dead_letters: 0,
                sound: true,
            },
        };
        walk.run(bounds, known.as_ref()).await?;
        reports.push(walk.report);
    }
    let unfinished = client
        .query(include_str!("../../sql/audit/unfinished_removals.sql"))
        .fetch_all::<u64>()
        .await
        .context("look for unfinished removals")?;
    let unfinished: u64 = unfinished.into_iter().sum();
    if unfinished > 0 {
        findings.add(
            "events",
            "removed_repeats".to_owned(),
            format!(
                "{unfinished} repeats are noted as removed and still counted: run weir seal again"
            ),
        );
    }
    Ok(reports)
}

/// One partition's ledger, from its beginning to its end.
struct Walk<'a> {
    client: &'a Client,
    findings: &'a mut Findings,
    report: PartitionReport,
}

impl Walk<'_> {
    async fn run(&mut self, bounds: Option<Bounds>, known: Option<&Log>) -> anyhow::Result<()> {
        let mut reached: Option<u64> = None;
        let mut from = 0;
        loop {
            let (entries, is_last) = self.entries(from).await?;
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                break;
            };
            from = last.from_offset + 1;
            if reached.is_none() {
                self.report.from_offset = first.from_offset;
                let low = bounds.map_or(first.from_offset, |bounds| bounds.low);
                if first.from_offset > low {
                    self.fault("ledger", low, first.from_offset, "not in the ledger");
                }
            }
            for entry in &entries {
                reached = Some(self.follow(entry, reached));
            }
            self.compare_rows(&entries).await?;
            if is_last {
                break;
            }
        }
        let end = reached.unwrap_or(0);
        self.report.to_offset = end;
        if let Some(committed) = self.report.committed.filter(|committed| *committed > end) {
            let fault = "the group is past them, and they are not in the ledger";
            let begin = bounds.map_or(end, |bounds| end.max(bounds.low.min(committed)));
            if begin < committed {
                self.fault("ledger", begin, committed, fault);
            }
        }
        if known.is_some_and(|known| known.stored > 0) {
            self.look_beyond(end, known).await?;
        }
        Ok(())
    }

    /// The next ranges, whole groups of those that begin alike; whether they are the last.
    async fn entries(&self, from: u64) -> anyhow::Result<(Vec<Entry>, bool)> {
        let mut entries = self
            .client
            .query(include_str!("../../sql/audit/ranges.sql"))
            .param("log", self.report.log)
            .param("partition", self.report.partition)
            .param("from", from)
            .param("limit", RANGES)
            .fetch_all::<Entry>()
            .await
            .with_context(|| format!("read the ledger of partition {}", self.report.partition))?;
        let is_last = entries.len() < RANGES as usize;
        if let (false, Some(last)) = (is_last, entries.last().cloned())
            && entries[0].from_offset < last.from_offset
        {
            entries.retain(|entry| entry.from_offset < last.from_offset);
        }
        Ok((entries, is_last))
    }

    /// Takes a range in behind those before it; returns where they reach now.
    fn follow(&mut self, entry: &Entry, reached: Option<u64>) -> u64 {
        let report = &mut self.report;
        report.ranges += 1;
        report.records += entry.records;
        report.events += entry.events;
        report.repeats += entry.repeats;
        report.dead_letters += entry.dead_letters;
        let (from, to) = (entry.from_offset, entry.to_offset);
        let before = reached.unwrap_or(from);
        if from > before {
            self.fault("ledger", before, from, "not in the ledger");
        }
        if from < before {
            self.fault(
                "ledger",
                from,
                before.min(to),
                "in the ledger twice, of different cuts",
            );
        }
        if entry.records != to - from {
            let fault = format!("{} records in {} offsets", entry.records, to - from);
            self.fault("ledger", from, to, &fault);
        }
        if entry.events != entry.rows + entry.repeats {
            let fault = format!(
                "{} events are not {} rows and {} repeats",
                entry.events, entry.rows, entry.repeats
            );
            self.fault("ledger", from, to, &fault);
        }
        before.max(to)
    }

    async fn compare_rows(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let (Some(first), Some(last)) =
            (entries.first(), entries.iter().max_by_key(|e| e.to_offset))
        else {
            return Ok(());
        };
        let range = Range {
            partition: self.report.partition,
            from: first.from_offset,
            to: last.to_offset,
        };
        let mut starts: Vec<u64> = entries.iter().map(|entry| entry.from_offset).collect();
        starts.dedup();
        let stored = self
            .sums(
                include_str!("../../sql/audit/rows_of_ranges.sql"),
                range,
                &starts,
            )
            .await?;
        let removed = self
            .sums(
                include_str!("../../sql/audit/removed_of_ranges.sql"),
                range,
                &starts,
            )
            .await?;
        for (at, entry) in entries.iter().enumerate() {
            let is_told_apart = |other: Option<&Entry>| {
                other.is_none_or(|other| other.from_offset != entry.from_offset)
            };
            let before = at.checked_sub(1).and_then(|before| entries.get(before));
            let of = |sums: &BTreeMap<u64, Stored>| {
                sums.get(&entry.from_offset).copied().unwrap_or_default()
            };
            let (stored, removed) = (of(&stored), of(&removed));
            if is_told_apart(before) {
                self.report.rows += stored.rows;
                self.report.removed += removed.rows;
            }
            let expected = entry.rows.wrapping_sub(removed.rows);
            let places = entry.places.wrapping_sub(removed.places);
            if stored.rows == expected && stored.places == places {
                continue;
            }
            self.name(entry, expected, stored.rows, removed.rows)
                .await?;
        }
        Ok(())
    }

    async fn sums(
        &self,
        sql: &str,
        range: Range,
        starts: &[u64],
    ) -> anyhow::Result<BTreeMap<u64, Stored>> {
        let sums = self
            .client
            .query(sql)
            .param("log", self.report.log)
            .param("partition", range.partition)
            .param("from", range.from)
            .param("to", range.to)
            .param("starts", starts)
            .fetch_all::<Stored>()
            .await
            .with_context(|| {
                format!(
                    "count rows of {}..{} of partition {}",
                    range.from, range.to, range.partition
                )
            })?;
        Ok(sums.into_iter().map(|sum| (sum.start, sum)).collect())
    }

    /// Says what is wrong with a range's rows, as exactly as can be told.
    async fn name(
        &mut self,
        entry: &Entry,
        expected: u64,
        rows: u64,
        removed: u64,
    ) -> anyhow::Result<()> {
        #[derive(Row, Deserialize)]
        struct Double {
            _offset: u64,
            _index: u16,
            rows: u64,
        }
        #[derive(Row, Deserialize)]
        struct Hole {
            offset: u64,
            indexes: u64,
        }
        let (from, to) = (entry.from_offset, entry.to_offset);
        let mut fault = match rows.cmp(&expected) {
            std::cmp::Ordering::Less => {
                format!("{} of {expected} rows are missing", expected - rows)
            }
            std::cmp::Ordering::Greater => format!("{} rows too many", rows - expected),
            std::cmp::Ordering::Equal => format!("{rows} rows, and not those that were stored"),
        };
        let doubles = self
            .ask::<Double>(include_str!("../../sql/audit/doubles.sql"), from, to)
            .await?;
        let named: Vec<String> = doubles
            .iter()
            .map(|double| {
                format!(
                    "{}/{} is there {} times",
                    double._offset, double._index, double.rows
                )
            })
            .collect();
        if !named.is_empty() {
            fault = format!("{fault}: {}", named.join(", "));
        }
        if entry.repeats == 0 && entry.dead_letters == 0 && removed == 0 && to - from < 100_000 {
            let holes = self
                .ask::<Hole>(include_str!("../../sql/audit/holes.sql"), from, to)
                .await?;
            let named: Vec<String> = holes
                .iter()
                .map(|hole| match hole.indexes {
                    0 => format!("offset {} has no row", hole.offset),
                    _ => format!("offset {} has a hole", hole.offset),
                })
                .collect();
            if !named.is_empty() {
                fault = format!("{fault}: {}", named.join(", "));
            }
        }
        self.fault("events", from, to, &fault);
        Ok(())
    }

    async fn ask<T>(&self, sql: &str, from: u64, to: u64) -> anyhow::Result<Vec<T>>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        self.client
            .query(sql)
            .param("log", self.report.log)
            .param("partition", self.report.partition)
            .param("from", from)
            .param("to", to)
            .fetch_all::<T>()
            .await
            .with_context(|| format!("look closer at {from}..{to}"))
    }

    /// Rows where the ledger has nothing. At its end they may be a cut on its way.
    async fn look_beyond(&mut self, end: u64, known: Option<&Log>) -> anyhow::Result<()> {
        let begin = self.report.from_offset;
        if let Some(known) = known.filter(|known| known.first_row < begin && end > 0) {
            let fault = "rows are stored and not in the ledger";
            self.fault("events", known.first_row, begin, fault);
        }
        if known.is_none_or(|known| known.last_row < end) {
            return Ok(());
        }
        let mut end = end;
        let mut rows = 0;
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            let now = self
                .client
                .query("SELECT max(to_offset) FROM ledger WHERE _log = {log:UInt32} AND _partition = {partition:UInt16}")
                .param("log", self.report.log)
                .param("partition", self.report.partition)
                .fetch_all::<u64>()
                .await
                .context("read where the ledger ends")?;
            let is_moving = now.first().is_some_and(|now| *now > end);
            end = now.into_iter().next().unwrap_or(end).max(end);
            rows = self
                .client
                .query("SELECT count() FROM events WHERE _log = {log:UInt32} AND _partition = {partition:UInt16} AND _offset >= {end:UInt64}")
                .param("log", self.report.log)
                .param("partition", self.report.partition)
                .param("end", end)
                .fetch_all::<u64>()
                .await
                .context("count rows beyond the ledger")?
                .into_iter()
                .sum();
            if rows == 0 || is_moving {
                return Ok(());
            }
        }
        let fault = format!("{rows} rows are stored and not in the ledger");
        let last = known.map_or(end, |known| known.last_row);
        self.fault("events", end, last.max(end) + 1, &fault);
        Ok(())
    }

    fn fault(&mut self, table: &'static str, from: u64, to: u64, fault: &str) {
        self.report.sound = false;
        let log = if self.report.is_current {
            String::new()
        } else {
            format!(" of log {}", self.report.log)
        };
        let place = format!(
            "partition {} offsets {from}..{to}{log}",
            self.report.partition
        );
        self.findings.add(table, place, fault.to_owned());
    }
}

async fn logs(client: &Client) -> anyhow::Result<Vec<Log>> {
    client
        .query(include_str!("../../sql/audit/logs.sql"))
        .fetch_all::<Log>()
        .await
        .context("list the partitions of rows and ledger")
}

async fn bounds(
    group: &str,
    kafka: &infra::kafka::Config,
) -> anyhow::Result<BTreeMap<u16, Bounds>> {
    let (group, kafka) = (group.to_owned(), kafka.clone());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer<membership::Membership> = kafka
            .client("weir-audit")
            // Named to read its offsets; it does not join.
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .create_with_context(membership::Membership::default())
            .context("create a Kafka consumer for the audit")?;
        let topic = &kafka.topic;
        let metadata = consumer
            .fetch_metadata(Some(topic), KAFKA_TIMEOUT)
            .with_context(|| format!("ask Kafka at {} for topic {topic}", kafka.brokers))?;
        let partitions: Vec<u16> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .filter_map(|partition| u16::try_from(partition.id()).ok())
            .collect();
        let mut bounds = BTreeMap::new();
        for committed in membership::committed(&consumer, topic, &partitions, KAFKA_TIMEOUT)? {
            let (low, _) = consumer
                .fetch_watermarks(topic, committed.partition.into(), KAFKA_TIMEOUT)
                .with_context(|| {
                    format!("ask for the bounds of partition {}", committed.partition)
                })?;
            bounds.insert(
                committed.partition,
                Bounds {
                    low: u64::try_from(low).unwrap_or(0),
                    committed: committed.offset,
                },
            );
        }
        Ok(bounds)
    })
    .await
    .context("ask Kafka")?
}
