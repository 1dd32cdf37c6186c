//! The events that are asked about, made by ClickHouse itself: a function of their number, so that
//! a run can be repeated. The same columns as the sink stores, in the order in which time passes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use chrono::NaiveDate;
use clickhouse::Client;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::merges;

pub(crate) const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2024, 1, 1).expect("a date");
/// 104 weeks, from a Monday on.
pub(super) const DAYS: u64 = 728;
pub(super) const SITES: u16 = 50;
pub(super) const TWO_YEARS: Shape = Shape {
    days: DAYS,
    sites: SITES,
};
const PATHS: u16 = 5000;
const SEED: u64 = 1;

/// What one INSERT brings. Everything below becomes one block of `events`, as a cut does.
const ROWS_PER_INSERT: u64 = 1_000_000;
const INSERTS_AT_ONCE_MAX: usize = 4;

/// Over how many days and sites events are spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Whole weeks, or the last one's curve is cut.
    pub(crate) days: u64,
    pub(crate) sites: u16,
}

/// What loading took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loading {
    pub rows: u64,
    /// Until the last INSERT was answered: rows and rollups, written and synced.
    pub seconds: f64,
    pub rows_per_second: f64,
    /// Until ClickHouse had merged what it wanted to merge by itself, after that, and what it would
    /// have merged an hour later.
    pub merging_seconds: f64,
}

/// Which events one INSERT brings.
struct Slice {
    first: u64,
    count: u64,
    /// Where in the two years the first one lies, from 0 to 1, and how far each is from the next.
    first_position: f64,
    step: f64,
    /// Of all sites, which decides how many users there are.
    rows_per_day: f64,
    shape: Shape,
}

pub(crate) fn database(rows: u64) -> String {
    format!("rows_{rows}")
}

/// Makes the tables and fills them, unless an earlier run has left them in `folder`.
///
/// # Errors
/// If ClickHouse refuses, or what an earlier run left is not all there.
pub(crate) async fn prepare(
    clickhouse: &infra::clickhouse::Config,
    folder: &Path,
    rows: u64,
    shape: Shape,
) -> anyhow::Result<Loading> {
    infra::clickhouse::migrate(clickhouse).await?;
    let client = infra::clickhouse::client(clickhouse);
    let note = folder.join(format!("{}.json", database(rows)));
    if let Some(loading) = noted(&note)? {
        let there = count(&client).await?;
        ensure!(
            there >= rows,
            "{} tells of {rows} events, and {there} are there",
            note.display()
        );
        info!("{there} events are there from an earlier run");
        return Ok(loading);
    }
    // What an interrupted run has left is not worth sorting out.
    ensure!(
        count(&client).await? == 0,
        "database {} was not filled to its end: remove the folder",
        clickhouse.database
    );
    let loading = load(&client, rows, shape).await?;
    let json = serde_json::to_vec_pretty(&loading).context("write what loading took")?;
    std::fs::write(&note, json).with_context(|| format!("write {}", note.display()))?;
    Ok(loading)
}

fn noted(note: &PathBuf) -> anyhow::Result<Option<Loading>> {
    let reading = || format!("read {}", note.display());
    match std::fs::read(note) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json).with_context(reading)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(reading),
    }
}

async fn count(client: &Client) -> anyhow::Result<u64> {
    let counting = client.query("SELECT count() FROM events").fetch_one();
    counting.await.context("count the events")
}

async fn load(client: &Client, rows: u64, shape: Shape) -> anyhow::Result<Loading> {
    info!("inserting {rows} events");
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let at_once = crate::ingest::cpus().min(INSERTS_AT_ONCE_MAX);
    let inserting = || async {
        loop {
            let first = next.fetch_add(ROWS_PER_INSERT, Ordering::Relaxed);
            if first >= rows {
                return anyhow::Ok(());
            }
            let slice = Slice {
                first,
                count: ROWS_PER_INSERT.min(rows - first),
                first_position: first as f64 / rows as f64,
                step: 1.0 / rows as f64,
                rows_per_day: rows as f64 / shape.days as f64,
                shape,
            };
            insert(client, &slice).await?;
            let done = first + slice.count;
            info!("{done} of {rows} after {:.0?}", begin.elapsed());
        }
    };
    // No task outlives this: what is not awaited any more is not sent either.
    let mut all: Vec<_> = (0..at_once).map(|_| Box::pin(inserting())).collect();
    match all.as_mut_slice() {
        [] => {}
        [one] => one.await?,
        [one, two] => drop(tokio::try_join!(one, two)?),
        [one, two, three] => drop(tokio::try_join!(one, two, three)?),
        [one, two, three, four, ..] => drop(tokio::try_join!(one, two, three, four)?),
    }
    let seconds = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    merges::until_quiet(client).await?;
    merges::of_past_partitions(client).await?;
    Ok(Loading {
        rows,
        seconds,
        rows_per_second: rows as f64 / seconds,
        merging_seconds: begin.elapsed().as_secs_f64(),
    })
}

async fn insert(client: &Client, slice: &Slice) -> anyhow::Result<()> {
    let start_ms = FIRST_DAY
        .and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp_millis();
    client
        .query(include_str!("rows.sql"))
        .param("first", slice.first)
        .param("count", slice.count)
        .param("first_position", slice.first_position)
        .param("step", slice.step)
        .param("rows_per_day", slice.rows_per_day)
        .param("days", slice.shape.days as f64)
        .param("start_ms", start_ms)
        .param("sites", slice.shape.sites)
        .param("paths", PATHS)
        .param("seed", SEED)
        .execute()
        .await
        .with_context(|| format!("insert {} events", slice.count))
}

/// Inserts `count` more events of the last day's noon, as live traffic would.
///
/// # Errors
/// If ClickHouse refuses.
pub(super) async fn insert_live(
    client: &Client,
    rows: u64,
    inserted: u64,
    count: u64,
) -> anyhow::Result<()> {
    let slice = Slice {
        first: rows + inserted,
        count,
        first_position: 1.0 - 0.5 / DAYS as f64,
        step: 1e-9,
        rows_per_day: rows as f64 / DAYS as f64,
        shape: TWO_YEARS,
    };
    insert(client, &slice).await
}
