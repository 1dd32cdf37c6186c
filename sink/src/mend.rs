//! Rebuilds days of the rollups from the rows of `events`, while nobody inserts, and swaps them
//! in whole: a reader sees the old days or the new ones.

mod draft;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use clickhouse::{Client, Row};
use infra::clickhouse::rollups::{self, Grain, Partition, Rollup, STATS_MONTH, Source};
use serde::Deserialize;
use tracing::{info, warn};
use uuid::Uuid;

use crate::fences::Fences;
use crate::stored::Stored;
use draft::{Draft, Drafts};

/// One whose maker has died holds the sinks up for so long.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Another mend that is being made is looked at so often.
const POLL: Duration = Duration::from_millis(50);

/// Mends rollups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Mender {
    client: Client,
    fences: Fences,
    stored: Stored,
    drafts: Drafts,
    /// What this process began and could not put away: nobody has to wait for its lease.
    left: Arc<Mutex<BTreeSet<Uuid>>>,
}

/// What was begun; left for [`Mender::is_under_way`] unless it was put away.
struct Begun {
    id: Uuid,
    left: Arc<Mutex<BTreeSet<Uuid>>>,
    is_put_away: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.is_put_away {
            lock(&self.left).insert(self.id);
        }
    }
}

fn lock(left: &Mutex<BTreeSet<Uuid>>) -> MutexGuard<'_, BTreeSet<Uuid>> {
    // A set is whole at every step.
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody sees to the rollups: nobody inserts until that is over.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("rollups are being seen to; nothing is inserted meanwhile")]
pub(crate) struct Mending;

/// The partition of a rollup that a day is in, and the day, or the first of the month, that is made
/// again for it.
fn place(rollup: &Rollup, day: NaiveDate) -> (u32, NaiveDate) {
    let year = day.year().cast_unsigned();
    let partition = match rollup.partition {
        Partition::Month => year * 100 + day.month(),
        Partition::Year => year,
    };
    let first = match rollup.grain {
        Grain::QuarterHour | Grain::Day => day,
        Grain::Month => day - TimeDelta::days(i64::from(day.day0())),
    };
    (partition, first)
}

/// What is to be rebuilt, per partition, in days since 1970.
fn places(rollup: &Rollup, days: &BTreeSet<u16>) -> BTreeMap<u32, BTreeSet<u16>> {
    let mut places: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    for day in days {
        let (partition, first) = place(rollup, date(*day));
        let number = first.signed_duration_since(date(0)).num_days();
        places.entry(partition).or_default().insert(number as u16);
    }
    places
}

/// The date of a day since 1970.
pub(crate) fn date(day: u16) -> NaiveDate {
    DateTime::UNIX_EPOCH.date_naive() + TimeDelta::days(day.into())
}

/// Days since 1970, as ClickHouse's Date has them.
pub(crate) fn day(date: NaiveDate) -> anyhow::Result<u16> {
    let days = date.signed_duration_since(self::date(0)).num_days();
    u16::try_from(days).with_context(|| format!("{date} is not between 1970 and 2149"))
}

impl Mender {
    pub(crate) fn new(client: Client, fences: Fences) -> Self {
        Self {
            stored: Stored::new(client.clone()),
            drafts: Drafts {
                client: client.clone(),
                fences: fences.clone(),
            },
            client,
            fences,
            left: Arc::default(),
        }
    }

    /// Whether somebody sees to the rollups: no sink may insert. A mend that was left behind is put
    /// away first, and a gate that nobody holds is opened.
    pub(crate) async fn is_under_way(&self) -> anyhow::Result<bool> {
        let left: Vec<Uuid> = lock(&self.left).iter().copied().collect();
        for id in left {
            self.put_away(id).await?;
            lock(&self.left).remove(&id);
        }
        // Asked before the mends: who closes it has noted a mend before.
        let gate = self.fences.gate().await?;
        let mends = self.all().await?;
        let is_active = mends.iter().any(|mend| mend.is_active);
        for mend in &mends {
            if !mend.is_active && !mend.has_ended {
                warn!(
                    mend.id = %mend.id,
                    "a mend of rollups was left behind by who made it: what it was swapping in is, the rest is dropped"
                );
                self.put_away(mend.id).await?;
            }
        }
        if let (Some(gate), false) = (gate, is_active) {
            // Its maker died when its mend had ended, or closed it when its lease had: who
            // rebuilds rollups looks whether it is still closed before it swaps them in.
            self.fences.open(gate).await?;
        }
        Ok(is_active)
    }

    async fn all(&self) -> anyhow::Result<Vec<Mend>> {
        self.client
            .query(include_str!("../sql/mends.sql"))
            .fetch_all::<Mend>()
            .await
            .context("ask for mends of rollups")
    }

    /// Rebuilds `days` of every rollup.
    pub(crate) async fn mend(&self, days: &BTreeSet<u16>, reason: &str) -> anyhow::Result<()> {
        let work = async |id| {
            self.rebuild_all(id, &rollups::ALL, days, None, reason)
                .await
        };
        self.alone(reason, work).await
    }

    /// Compares `days` of every rollup with the rows, and rebuilds those that differ. For the
    /// takeover that owns its partitions as `owner`.
    pub(crate) async fn settle(
        &self,
        days: &BTreeSet<u16>,
        owner: u64,
        reason: &str,
    ) -> anyhow::Result<()> {
        if days.is_empty() {
            return Ok(());
        }
        let work = async |id| {
            self.fences.close().await?;
            self.fences.drain(Instant::now()).await?;
            // Nobody inserts now, so a difference is one for good.
            let differing = self.stored.differing_days(days).await?;
            if differing.is_empty() {
                return Ok(());
            }
            warn!(
                "rollups of {} of {} days differ from their rows: {reason}",
                differing.len(),
                days.len()
            );
            self.rebuild_all(id, &rollups::ALL, &differing, Some(owner), reason)
                .await
        };
        self.alone(reason, work).await
    }

    /// Fills the rollup of months where it does not hold what that of days does: an upgrade brings
    /// it empty. Returns how many months were filled.
    pub(crate) async fn fill_months(&self) -> anyhow::Result<usize> {
        // Beside a sink at work a month may differ for the moment between two views.
        if self.stored.unfilled_months().await?.is_empty() {
            return Ok(0);
        }
        let mut filled = 0;
        let reason = "months of users are filled from the rows there are";
        let work = async |id| {
            self.fences.close().await?;
            self.fences.drain(Instant::now()).await?;
            let months = self.stored.unfilled_months().await?;
            if months.is_empty() {
                return Ok(());
            }
            filled = months.len();
            self.rebuild_all(id, &[&STATS_MONTH], &months, None, reason)
                .await
        };
        self.alone(reason, work).await?;
        Ok(filled)
    }

    /// Does `work` while nobody else does the like, and lets the sinks go on after it.
    async fn alone(
        &self,
        reason: &str,
        work: impl AsyncFnOnce(Uuid) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let id = Uuid::new_v4();
        let mut begun = Begun {
            id,
            left: self.left.clone(),
            is_put_away: false,
        };
        let none = BTreeSet::new();
        self.note(id, LEASE, &none, reason).await?;
        let renew = async {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = self.note(id, LEASE, &none, reason).await {
                    return error;
                }
            }
        };
        let wait_and_work = async {
            self.wait_until_alone(id).await?;
            work(id).await
        };
        let worked = tokio::select! {
            worked = wait_and_work => worked,
            error = renew => Err(error),
        };
        self.put_away(id).await?;
        begun.is_put_away = true;
        worked.with_context(|| format!("see to the rollups: {reason}"))
    }

    /// Returns once no other mend is active, with `id` noted before: who begins after that sees it,
    /// so no two ever work at a time, whichever is noted first. Of those who wait the one with the
    /// least id stays, and the others wait again.
    async fn wait_until_alone(&self, id: Uuid) -> anyhow::Result<()> {
        loop {
            let mut others = self.all().await?;
            others.retain(|mend| mend.id != id && !mend.has_ended);
            if others.iter().any(|mend| mend.is_active && mend.id < id) {
                return Err(Mending.into());
            }
            for left in others.iter().filter(|mend| !mend.is_active) {
                // Its maker may wake up: there is to be nothing that it could swap in then.
                self.put_away(left.id).await?;
            }
            if !others.iter().any(|mend| mend.is_active) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn rebuild_all(
        &self,
        id: Uuid,
        rollups: &[&Rollup],
        days: &BTreeSet<u16>,
        keep: Option<u64>,
        reason: &str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        // A takeover that has compared rollups already is shut out, and compares again.
        self.note(id, LEASE, days, reason).await?;
        let gate = self.fences.close().await?;
        self.fences.shut_takeovers_out(keep).await?;
        self.fences.drain(Instant::now()).await?;
        for rollup in rollups {
            for (partition, days) in places(rollup, days) {
                self.rebuild(id, rollup, partition, &days, gate).await?;
            }
        }
        metrics::counter!("weir_sink_mends_total").increment(1);
        info!(
            mend.id = %id,
            mend.days = days.len(),
            mend.duration_ms = begun.elapsed().as_millis() as u64,
            "rebuilt {} days of the rollups: {reason}", days.len()
        );
        Ok(())
    }

    async fn rebuild(
        &self,
        id: Uuid,
        rollup: &Rollup,
        partition: u32,
        days: &BTreeSet<u16>,
        gate: u64,
    ) -> anyhow::Result<()> {
        let table = rollup.table;
        let new = Draft::unfinished(id, table);
        let days: Vec<u16> = days.iter().copied().collect();
        let context = || format!("rebuild partition {partition} of {table}");
        let insert = |sql| rollup.sql(sql, Source::Events).replace("{draft}", &new);
        for statement in [
            format!("DROP TABLE IF EXISTS {new} SYNC"),
            format!("CREATE TABLE {new} AS {table}"),
            insert(include_str!("../sql/rollup/keep.sql")),
            insert(include_str!("../sql/rollup/rebuild.sql")),
        ] {
            self.client
                .query(&statement)
                .param("partition", partition)
                .param("days", days.as_slice())
                .with_setting("insert_deduplicate", "0")
                .with_setting("max_partitions_per_insert_block", "0")
                .with_setting("max_bytes_before_external_group_by", "200000000")
                .with_setting("max_threads", "2")
                .execute()
                .await
                .with_context(context)?;
        }
        let draft = Draft {
            mend: id,
            gate,
            partition,
            table: table.to_owned(),
        };
        // What was inserted since it was read would be swapped out.
        if !self
            .drafts
            .put_in_place(&draft)
            .await
            .with_context(context)?
        {
            bail!("somebody let the sinks go on while rollups were rebuilt");
        }
        Ok(())
    }

    async fn note(
        &self,
        id: Uuid,
        lease: Duration,
        days: &BTreeSet<u16>,
        reason: &str,
    ) -> anyhow::Result<()> {
        let days: Vec<u16> = days.iter().copied().collect();
        self.client
            .query(include_str!("../sql/note_mend.sql"))
            .param("id", id.to_string())
            .param("lease", lease.as_millis() as u64)
            .param("days", days.as_slice())
            .param("reason", reason)
            .execute()
            .await
            .context("note a mend of rollups")
    }

    /// Leaves nothing half done, and nothing that could be swapped in later; says that it ended, and
    /// lets the sinks go on unless another mend is being made.
    async fn put_away(&self, id: Uuid) -> anyhow::Result<()> {
        let tables = rollups::ALL.map(|rollup| rollup.table);
        self.drafts.put_away(id, &tables).await?;
        self.note(id, Duration::ZERO, &BTreeSet::new(), "ended")
            .await?;
        let gate = self.fences.gate().await?;
        let is_alone = !self.all().await?.iter().any(|mend| mend.is_active);
        if let (Some(gate), true) = (gate, is_alone) {
            self.fences.open(gate).await?;
        }
        Ok(())
    }
}

#[derive(Row, Deserialize)]
struct Mend {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    is_active: bool,
    has_ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_rebuilt_within_the_partitions_they_are_in() {
        // 2024-12-31 and 2025-01-01.
        let days = BTreeSet::from([20_088, 20_089]);
        let partitions = |rollup: &Rollup| places(rollup, &days).into_iter().collect::<Vec<_>>();
        assert_eq!(
            partitions(&rollups::PATHS_DAY),
            [(202_412, [20_088].into()), (202_501, [20_089].into())]
        );
        assert_eq!(
            partitions(&rollups::STATS_DAY),
            [(2024, [20_088].into()), (2025, [20_089].into())]
        );
        assert_eq!(
            partitions(&STATS_MONTH),
            [(2024, [20_058].into()), (2025, [20_089].into())],
            "the first days of the months"
        );
    }
}
