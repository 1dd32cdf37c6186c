//! Proves, or refutes, that every event counts once: Kafka's offsets against the ledger, the ledger
//! against the rows of `events`, and these against every rollup.
//!
//! It only reads, and runs beside a sink at work: what may still be on its way is looked at again.

mod log;
mod narrow;
mod partitions;
mod report;
mod rollups;
mod segments;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{Datelike, NaiveDate};
use infra::clickhouse::rollups::{Grain, named};

pub use report::{Fault, Finding, Key, Kind, Offsets, Partition, Report, Rollup, Subject, Wrong};

use self::log::Log;
use self::partitions::{Known, Walk};
use self::report::Findings;
use self::rollups::Comparing;
use self::tables::{Extent, Patience, Place, Tables};
use crate::config::Config;

/// Rows of this log are from before rows knew theirs.
const UNLOGGED: u32 = 0;

/// What to look at, and how patiently.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ask ClickHouse alone: neither what Kafka holds nor how far the group is is then known.
    pub without_kafka: bool,
    /// Compare rollups of this day in UTC and later ones.
    pub from: Option<NaiveDate>,
    /// Compare rollups of this day in UTC and earlier ones.
    pub to: Option<NaiveDate>,
    /// What looks wrong is looked at again for so long before it is called wrong: rows may be on
    /// their way into the ledger, and into rollups. Those of a busy sink get three times as long.
    pub patience: Duration,
    /// So many ranges of the ledger are looked at together. This and the next one bound the memory
    /// of an audit, here and in ClickHouse.
    pub ranges_at_once: u32,
    /// So many rows of `events` are compared with a rollup together.
    pub rows_at_once: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            without_kafka: false,
            from: None,
            to: None,
            patience: Duration::from_secs(5),
            ranges_at_once: 100_000,
            rows_at_once: 2_000_000,
        }
    }
}

/// Compares everything with everything. `progress` hears what is being looked at.
///
/// # Errors
/// If Kafka or ClickHouse cannot be asked, or the tables are not there: nothing is then known of
/// the events.
pub async fn audit(
    config: &Config,
    kafka: &infra::kafka::Config,
    clickhouse: &infra::clickhouse::Config,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let tables = Tables::new(clickhouse, options.ranges_at_once);
    let mut notes = Vec::new();
    let unfit = crate::tables::check(tables.client())
        .await
        .with_context(|| format!("ask ClickHouse at {}", clickhouse.url))?;
    if let Some(unfit) = unfit {
        if unfit.is_missing() {
            bail!("database {}: {unfit}", clickhouse.database);
        }
        // What is stored can be judged all the same.
        notes.push(unfit.to_string());
    }
    progress("look where the ledger and Kafka stand");
    // Before Kafka: a ledger that is ahead of the log's end is then so for good.
    let ledgered = tables.ledgered().await?;
    let log = match options.without_kafka {
        true => None,
        false => Some(log::ask(kafka, &config.group).await?),
    };
    let known = known(&tables, ledgered, log.as_ref()).await?;

    let mut findings = Findings::default();
    let mut partitions = Vec::new();
    for (&place, known) in &known {
        if place.log == UNLOGGED {
            continue;
        }
        progress(&format!(
            "partition {} of log {}",
            place.partition, place.log
        ));
        let walk = Walk {
            tables: &tables,
            place,
            known,
            findings: &mut findings,
            patience: &mut Patience::new(options.patience),
        };
        partitions.push(walk.run().await?);
    }
    let unlogged = known.iter().filter(|(place, _)| place.log == UNLOGGED);
    let unlogged: u64 = unlogged.map(|(_, known)| known.stored.rows).sum();
    if unlogged > 0 {
        notes.push(format!(
            "{unlogged} rows of events are from before there was a ledger: what it did not take in since, nothing vouches for"
        ));
    }
    let rollups = Comparing {
        tables: &tables,
        options,
        findings: &mut findings,
        patience: &mut Patience::new(options.patience * 3),
        progress,
    };
    let rollups = rollups.run().await?;
    if rollups.iter().any(|rollup| !rollup.sound) && tables.mends_active().await? > 0 {
        notes.push("rollups are being rebuilt at this moment: ask again".to_owned());
    }
    if let Some(waiting) = waiting(&partitions) {
        notes.push(waiting);
    }
    let count = findings.count();
    Ok(Report {
        sound: count == 0,
        verdict: verdict(count, &partitions, unlogged, options),
        topic: kafka.topic.clone(),
        group: config.group.clone(),
        database: clickhouse.database.clone(),
        log: log.map(|log| log.id),
        partitions,
        rollups,
        findings: findings.kept,
        findings_omitted: findings.omitted,
        notes,
    })
}

/// Days since 1970, of those from `first` to `last`, on which a rollup differs from the rows.
///
/// # Errors
/// If ClickHouse cannot be asked.
pub(crate) async fn differing_days(
    clickhouse: &infra::clickhouse::Config,
    (first, last): (NaiveDate, NaiveDate),
) -> anyhow::Result<BTreeSet<u16>> {
    let options = Options {
        from: Some(first),
        to: Some(last),
        ..Options::default()
    };
    let tables = Tables::new(clickhouse, options.ranges_at_once);
    let mut findings = Findings::default();
    let comparing = Comparing {
        tables: &tables,
        options: &options,
        findings: &mut findings,
        patience: &mut Patience::new(options.patience),
        progress: &|_| {},
    };
    comparing.run().await?;
    if findings.omitted > 0 {
        // Too many to name: all of them then.
        let all = first.iter_days().take_while(|day| *day <= last);
        return all.map(crate::mend::day).collect();
    }
    let mut days = BTreeSet::new();
    let mut months = BTreeSet::new();
    for finding in &findings.kept {
        let Subject::Key(key) = &finding.subject else {
            continue;
        };
        let Some(day) = key
            .time
            .get(..10)
            .and_then(|day| day.parse::<NaiveDate>().ok())
        else {
            continue;
        };
        if named(key.table).is_some_and(|rollup| rollup.grain == Grain::Month) {
            months.insert(day);
        } else {
            days.insert(day);
        }
    }
    // Any day of a month stands for it, where none does yet.
    for month in months {
        if !days.iter().any(|day| day.with_day(1) == Some(month)) {
            days.insert(month.max(first));
        }
    }
    days.into_iter().map(crate::mend::day).collect()
}

/// All places that Kafka or any table knows of.
async fn known(
    tables: &Tables,
    ledgered: Vec<Extent>,
    log: Option<&Log>,
) -> anyhow::Result<BTreeMap<Place, Known>> {
    let mut known: BTreeMap<Place, Known> = BTreeMap::new();
    for (&partition, position) in log.iter().flat_map(|log| &log.partitions) {
        let log = log.map_or(UNLOGGED, |log| log.id);
        let place = Place { log, partition };
        known.entry(place).or_default().position = Some(position.clone());
    }
    for extent in ledgered {
        known.entry(extent.place()).or_default().ledgered = extent;
    }
    for extent in tables.removed().await? {
        known.entry(extent.place()).or_default().removed = extent;
    }
    let stored = tables.stored().await?;
    for extent in &stored {
        known.entry(extent.place()).or_default().stored = *extent;
    }
    for extent in stored.iter().filter(|extent| extent.log == UNLOGGED) {
        for (place, known) in &mut known {
            // They are of the life that there was when rows began to know theirs.
            let may_be_of_it = log.is_none_or(|log| log.id == place.log);
            if place.partition == extent.partition && may_be_of_it {
                known.unlogged = *extent;
            }
        }
    }
    Ok(known)
}

/// How much Kafka holds that is not stored yet: no fault, it will be.
fn waiting(partitions: &[Partition]) -> Option<String> {
    let mut offsets = 0;
    for partition in partitions {
        let (Some(from), Some(to)) = (partition.kafka_from, partition.kafka_to) else {
            continue;
        };
        offsets += to.saturating_sub(partition.to_offset.max(from));
    }
    (offsets > 0).then(|| format!("{} in Kafka are not stored yet", counted(offsets, "offset")))
}

fn verdict(count: u64, partitions: &[Partition], unlogged: u64, options: &Options) -> String {
    if count > 0 {
        let findings = counted(count, "finding");
        return format!("NOT every event counts once: {findings}");
    }
    let rows: u64 = partitions
        .iter()
        .map(|partition| partition.rows_found)
        .sum();
    let offsets: u64 = partitions.iter().map(|partition| partition.offsets).sum();
    if rows == 0 && offsets == 0 && unlogged == 0 {
        return "nothing is stored yet, and nothing is missing".to_owned();
    }
    let holding = partitions.iter().filter(|p| p.offsets > 0).count() as u64;
    let days = match (options.from, options.to) {
        (None, None) => "in every rollup",
        _ => "in every rollup of the days asked for",
    };
    format!(
        "every event counts once: {} from {} of {}, the same {days}",
        counted(rows, "event"),
        counted(offsets, "offset"),
        counted(holding, "partition"),
    )
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
