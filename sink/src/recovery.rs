//! Storing ranges that somebody may have stored already, by asking which rows of them are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::Context;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;
use tracing::info;
use uuid::Uuid;

use crate::config::CutLimits;
use crate::dead_letters::{DeadLetters, NotSetAside};
use crate::fences::Fences;
use crate::flight;
use crate::gather::{Cut, Slice};
use crate::mend::{Mender, Mending};
use crate::plan::Range;
use crate::reader::Reader;
use crate::stage::Stage;
use crate::stored::Stored;
use crate::window::Memory;
use crate::writer::{Fenced, Writer};

/// Rows of so many records are asked for at a time.
const RECORDS_AT_A_TIME: u64 = 2000;
/// Clocks may differ by this much.
const CLOCKS_APART_MS: i64 = 60 * 1000;

/// What recovery works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recovery {
    pub(crate) reader: Reader,
    pub(crate) stored: Stored,
    pub(crate) writer: Writer,
    pub(crate) fences: Fences,
    pub(crate) mender: Mender,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) limits: CutLimits,
    pub(crate) repeat_window: u32,
}

/// A taking over of partitions, as far as storing in them goes.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Under this number the partitions are owned in ClickHouse.
    pub(crate) owner: u64,
    /// Which life of the topic it is.
    pub(crate) log: u32,
    /// How far the takeover is.
    pub(crate) stage: Stage,
    pub(crate) cancelled: CancellationToken,
}

/// A range of which nobody knows what is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incomplete {
    pub(crate) range: Range,
    /// When it was planned, if it was, in milliseconds since 1970.
    pub(crate) planned_at: Option<i64>,
}

impl Recovery {
    /// Stores what is not stored yet of ranges of partitions of `claim`, by asking which of their
    /// rows are there. Nobody knows which rollups those had reached, so their days are compared, and
    /// rebuilt where they differ; then the ranges are entered into the ledger.
    pub(crate) async fn complete(
        &self,
        incomplete: Vec<Incomplete>,
        claim: &Claim,
    ) -> anyhow::Result<()> {
        let mut cuts: Vec<Cut> = Vec::new();
        let mut days = BTreeSet::new();
        for part in &incomplete {
            let missing = self.store_missing(part, &mut cuts, claim).await?;
            days.extend(self.stored.days(claim.log, part.range).await?);
            let Range {
                partition,
                from,
                to,
            } = part.range;
            info!(
                kafka.partition = partition,
                "completed what was left behind: offsets {from}..{to} of partition {partition} are stored once, {missing} rows of them were missing"
            );
        }
        claim.stage.set(format!(
            "comparing rollups of {} days with their rows",
            days.len()
        ));
        let reason = "a cut was stored, and nobody knew which rollups it had reached";
        self.mender.settle(&days, claim.owner, reason).await?;
        for cut in &cuts {
            self.writer.enter(flight::page(cut), &cut.entries).await?;
            for range in cut.ranges() {
                self.dead_letters.forget(range.partition, range.to);
            }
        }
        let planned = incomplete.iter().filter(|part| part.planned_at.is_some());
        let planned = planned.count();
        metrics::counter!("weir_sink_cuts_recovered_total").increment(planned as u64);
        let others = incomplete.len() - planned;
        metrics::counter!("weir_sink_ranges_repaired_total").increment(others as u64);
        Ok(())
    }

    /// Inserts the rows of a range that are missing; `cuts` get what the ledger will say of it.
    /// Returns how many those were.
    async fn store_missing(
        &self,
        Incomplete { range, planned_at }: &Incomplete,
        cuts: &mut Vec<Cut>,
        claim: &Claim,
    ) -> anyhow::Result<usize> {
        let partition = range.partition;
        let mut memory = self
            .stored
            .memory(claim.log, partition, range.from, self.repeat_window)
            .await?;
        let mut from = range.from;
        let mut missing = 0;
        while from < range.to {
            let part = Range {
                partition,
                from,
                to: range.to.min(from + RECORDS_AT_A_TIME),
            };
            claim.stage.set(format!(
                "storing what is missing of offsets {}..{} of partition {partition}",
                part.from, part.to
            ));
            let places = self.stored.places(claim.log, part).await?;
            let mut slice = Slice::new(partition, from, claim.owner).beside(places);
            (slice, memory) = self.read(part, slice, memory, claim).await?;
            from = slice.end();
            let mut cut = Cut::new(Uuid::new_v4(), claim.log, vec![slice]);
            missing += cut.rows;
            let letters = std::mem::take(&mut cut.dead_letters);
            if let Some(planned_at) = planned_at {
                let since = planned_at.saturating_sub(CLOCKS_APART_MS);
                self.dead_letters.recall(claim.log, &letters, since).await;
            }
            self.dead_letters.deliver(claim.log, letters).await?;
            if cut.rows > 0 {
                self.writer
                    .insert(cut.id, &cut.block)
                    .await
                    .with_context(|| format!("insert {} rows that were missing", cut.rows))?;
            }
            cut.block.parts.clear();
            cuts.push(cut);
        }
        Ok(missing)
    }

    async fn read(
        &self,
        range: Range,
        mut slice: Slice,
        mut memory: Memory,
        claim: &Claim,
    ) -> anyhow::Result<(Slice, Memory)> {
        let (reader, cancelled) = (self.reader.clone(), claim.cancelled.clone());
        let limits = self.limits;
        tokio::task::spawn_blocking(move || {
            reader.read(range, &mut slice, &mut memory, &limits, &cancelled)?;
            Ok((slice, memory))
        })
        .await
        .context("read a range from Kafka")?
    }

    /// Takes partitions over in ClickHouse: once it returns, nobody else stores anything of them, and
    /// nothing of others is on its way.
    ///
    /// # Errors
    /// If rollups are being mended, or ClickHouse cannot be reached.
    pub(crate) async fn claim(
        &self,
        partitions: &BTreeMap<u16, u64>,
        log: u32,
        stage: &Stage,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Claim> {
        let owner = crate::fences::draw_owner();
        self.fences.raise(partitions.keys().copied(), owner).await?;
        let raised = Instant::now();
        if self.mender.is_under_way().await? {
            return Err(Mending.into());
        }
        stage.set("waiting for INSERTs of other sinks");
        self.fences.drain(raised).await?;
        Ok(Claim {
            owner,
            log,
            stage: stage.clone(),
            cancelled: cancelled.clone(),
        })
    }
}

/// Whether trying again at once may help: another sink, or a mend, was quicker.
pub(crate) fn is_contention(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.is::<Fenced>() || cause.is::<Mending>())
}

/// What an attempt at storing failed for, as `/ready` names it.
pub(crate) fn dependency(error: &anyhow::Error) -> &'static str {
    let is_of = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if is_of(|cause| cause.is::<NotSetAside>()) {
        "dead_letters"
    } else if is_of(|cause| cause.is::<KafkaError>()) {
        "kafka"
    } else {
        "clickhouse"
    }
}
