//! `weir seal`: closes days. Repeats from beyond the window are removed from the rows, and every
//! rollup of these days that differs from the rows is rebuilt.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use chrono::NaiveDate;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::audit;
use crate::config::Config;
use crate::fences::Fences;
use crate::mend::{self, Mender};
use crate::tables;

/// Ids looked at together; 16 bytes each in ClickHouse, and as much again for its table of them.
const IDS_A_SHARE: u64 = 5_000_000;
/// Days closed at a time.
const DAYS_MAX: u16 = 3660;

/// What sealing did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sealed {
    /// Repeats that were found and removed.
    pub repeats: u64,
    /// Days whose rollups were rebuilt.
    pub days: Vec<NaiveDate>,
}

#[derive(Row, Deserialize)]
struct Noted {
    month: u32,
    day: u16,
}

/// Seals the days from `first` to `last`, in UTC. An event's repeat is found if both are on days
/// among these. Sinks wait while rollups are rebuilt; days on which nothing is wrong cost a
/// look. Cut off anywhere, it goes on at the next call.
///
/// # Errors
/// If ClickHouse cannot be reached, or somebody else is rebuilding rollups.
pub async fn seal(
    config: &Config,
    clickhouse: &infra::clickhouse::Config,
    first: NaiveDate,
    last: NaiveDate,
) -> anyhow::Result<Sealed> {
    let client = infra::clickhouse::client(clickhouse)
        .with_setting("max_bytes_before_external_group_by", "300000000")
        .with_setting("max_bytes_before_external_sort", "300000000")
        .with_setting("max_threads", "2");
    if let Some(unfit) = tables::check(&client).await? {
        bail!("database {}: {unfit}", clickhouse.database);
    }
    let dates = (first, last);
    let (first, last) = (mend::day(first)?, mend::day(last)?);
    if first > last || last - first > DAYS_MAX {
        bail!("seal between 1 and {DAYS_MAX} days, the first of them first");
    }
    let mender = Mender::new(
        client.clone(),
        Fences::new(client.clone(), config.insert_timeout),
    );
    note_repeats(&client, first, last).await?;
    let noted = noted(&client).await?;
    let repeats = remove(&client, &noted).await?;
    let mut days: BTreeSet<u16> = noted.into_values().flatten().collect();
    // Rollups were found to differ also where an earlier call was cut off.
    days.extend(audit::differing_days(clickhouse, dates).await?);
    if !days.is_empty() {
        mender.mend(&days, "sealed").await?;
    }
    Ok(Sealed {
        repeats,
        days: days.into_iter().map(mend::date).collect(),
    })
}

async fn note_repeats(client: &Client, first: u16, last: u16) -> anyhow::Result<()> {
    let ids: u64 = client
        .query(include_str!("../sql/seal/client_ids.sql"))
        .param("first", first)
        .param("last", last)
        .fetch_all::<u64>()
        .await
        .context("count client-made ids")?
        .into_iter()
        .sum();
    let shares = ids / IDS_A_SHARE + 1;
    for share in 0..shares {
        client
            .query(include_str!("../sql/seal/note_repeats.sql"))
            .param("first", first)
            .param("last", last)
            .param("shares", shares)
            .param("share", share)
            .execute()
            .await
            .context("look for repeats")?;
    }
    Ok(())
}

/// Days with rows that are noted as removed and still there, per month.
async fn noted(client: &Client) -> anyhow::Result<BTreeMap<u32, BTreeSet<u16>>> {
    let noted = client
        .query(include_str!("../sql/seal/noted_days.sql"))
        .fetch_all::<Noted>()
        .await
        .context("list days with repeats")?;
    let mut months: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    for Noted { month, day } in noted {
        months.entry(month).or_default().insert(day);
    }
    Ok(months)
}

async fn remove(client: &Client, noted: &BTreeMap<u32, BTreeSet<u16>>) -> anyhow::Result<u64> {
    let count = async || -> anyhow::Result<u64> {
        let rows = client
            .query(include_str!("../sql/seal/unfinished_removals.sql"))
            .fetch_all::<u64>()
            .await
            .context("count repeats")?;
        Ok(rows.into_iter().sum())
    };
    let before = count().await?;
    for month in noted.keys() {
        client
            .query(&format!(
                "DELETE FROM events IN PARTITION {month} WHERE (_log, _partition, _offset, _index) IN (SELECT _log, _partition, _offset, _index FROM removed_repeats)"
            ))
            .with_setting("lightweight_deletes_sync", "2")
            .execute()
            .await
            .with_context(|| format!("remove repeats of {month}"))?;
    }
    Ok(before - count().await?)
}
