//! Storing ranges that somebody may have stored already: a planned cut under its token, or, where
//! the token cannot vouch for it, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

use crate::config::CutLimits;
use crate::dead_letters::DeadLetters;
use crate::fences::Fences;
use crate::flight;
use crate::gather::{Cut, Head, Slice};
use crate::ledger::Entry;
use crate::mend::{Mender, Mending};
use crate::plan::{Plan, Range};
use crate::reader::{ReadError, Reader};
use crate::stage::Stage;
use crate::stored::Stored;
use crate::window::Memory;
use crate::writer::{Fenced, Writer};

/// Rows of so many records are asked for at a time.
const RECORDS_AT_A_TIME: u64 = 2000;

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
    /// Since when nobody else may insert.
    pub(crate) raised: Instant,
    /// Which life of the topic it is.
    pub(crate) log: u32,
    /// When rollups were last made anew, in milliseconds since 1970.
    pub(crate) mended_at: i64,
    /// How far the takeover is.
    pub(crate) stage: Stage,
    pub(crate) cancelled: CancellationToken,
}

/// What came of following a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Followed {
    Stored,
    /// The server says that it had the block, and does not hold all its rows.
    Short,
}

impl Recovery {
    /// Makes a planned cut again and inserts it under its token, whoever owns its partitions now.
    pub(crate) async fn follow(&self, plan: &Plan, claim: &Claim) -> Result<Followed, ReadError> {
        claim
            .stage
            .set(format!("following the plan of cut {}", plan.id));
        let owners = self.fences.owners().await?;
        let mut slices = Vec::with_capacity(plan.ranges.len());
        let mut memories = Vec::with_capacity(plan.ranges.len());
        for range in &plan.ranges {
            let owner = owners.get(&range.partition).copied().unwrap_or(0);
            slices.push(Slice::new(range.partition, range.from, owner));
            let memory = self.memory(plan.log, *range, plan.repeat_window).await?;
            memories.push(memory);
        }
        let (slices, _) = self
            .read(plan.ranges.clone(), slices, memories, None, claim)
            .await?;
        let head = Head {
            id: plan.id,
            log: plan.log,
            made_at: plan.made_at,
            repeat_window: plan.repeat_window,
        };
        let cut = Cut::new(head, slices);
        self.dead_letters.deliver(&cut.dead_letters).await?;
        if cut.rows > 0 {
            self.writer
                .insert(plan.id, &cut.block)
                .await
                .with_context(|| format!("insert {} rows of a planned cut again", cut.rows))?;
        }
        // Another sink may be following the same plan: what it has in hand is not there yet.
        self.fences.drain(Instant::now()).await?;
        if !self.verify(plan, cut.rows as u64, claim).await? {
            return Ok(Followed::Short);
        }
        // Those who own the other partitions will find the plan too.
        let entries: Vec<Entry> = cut
            .entries
            .iter()
            .filter(|entry| entry.owner == claim.owner)
            .cloned()
            .collect();
        self.writer
            .enter(flight::page(&cut), &entries, Some(claim.owner))
            .await?;
        metrics::counter!("weir_sink_cuts_recovered_total").increment(1);
        info!(
            cut.id = %plan.id,
            cut.rows,
            cut.partitions = plan.ranges.len(),
            "followed a plan that was left behind: {} rows are stored once, whatever had landed of them",
            cut.rows
        );
        Ok(Followed::Stored)
    }

    /// Whether a token kept its word: ClickHouse notes it before the part it stands for is there, so
    /// a server that dies between the two drops the block when it is sent again, out of the rows or
    /// out of a rollup. False if rows are missing; rollups that differ are made anew.
    async fn verify(&self, plan: &Plan, expected: u64, claim: &Claim) -> anyhow::Result<bool> {
        let mut rows = 0;
        for range in &plan.ranges {
            rows += self.stored.rows(plan.log, *range).await?;
        }
        if rows > expected {
            error!(
                cut.id = %plan.id,
                "{rows} rows of a planned cut of {expected} are stored: run weir audit, which says which"
            );
        }
        if rows < expected {
            return Ok(false);
        }
        self.settle(plan.log, &plan.ranges, claim).await?;
        Ok(true)
    }

    /// Sees to it that rollups are right on every day that these ranges count on.
    async fn settle(&self, log: u32, ranges: &[Range], claim: &Claim) -> anyhow::Result<()> {
        let mut days = BTreeSet::new();
        for range in ranges {
            days.extend(self.stored.days(log, *range).await?);
        }
        claim.stage.set(format!(
            "comparing rollups of {} days with their rows",
            days.len()
        ));
        let reason = "a cut was stored, and nobody knew which rollups it had reached";
        self.mender.settle(&days, claim.owner, reason).await
    }

    /// Stores what is not stored yet of a range of a partition of `claim`, by asking which of its
    /// rows are there. Nobody knows which rollups those had reached that were, or those that were
    /// lost: their days are compared, and made anew where they differ.
    pub(crate) async fn repair(&self, range: Range, claim: &Claim) -> Result<(), ReadError> {
        self.fences.drain(claim.raised).await?;
        let partition = range.partition;
        let mut memory = self.memory(claim.log, range, self.repeat_window).await?;
        let mut cuts: Vec<Cut> = Vec::new();
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
            let slice = Slice::new(partition, from, claim.owner).beside(places);
            let (mut slices, mut memories) = self
                .read(
                    vec![part],
                    vec![slice],
                    vec![memory],
                    Some(self.limits),
                    claim,
                )
                .await?;
            memory = memories.remove(0);
            let slice = slices.remove(0);
            from = slice.end();
            let head = Head {
                id: Uuid::new_v4(),
                log: claim.log,
                made_at: flight::now_millis(),
                repeat_window: self.repeat_window,
            };
            let mut cut = Cut::new(head, vec![slice]);
            missing += cut.rows;
            self.dead_letters.deliver(&cut.dead_letters).await?;
            if cut.rows > 0 {
                self.writer
                    .insert(cut.plan.id, &cut.block)
                    .await
                    .with_context(|| format!("insert {} rows that were missing", cut.rows))?;
            }
            cut.block.parts.clear();
            cuts.push(cut);
        }
        self.settle(claim.log, &[range], claim).await?;
        for cut in &cuts {
            self.writer
                .enter(flight::page(cut), &cut.entries, Some(claim.owner))
                .await?;
        }
        metrics::counter!("weir_sink_ranges_repaired_total").increment(1);
        error!(
            kafka.partition = partition,
            "offsets {}..{} of partition {partition} are stored now: {missing} rows were missing",
            range.from,
            range.to
        );
        Ok(())
    }

    /// What is remembered where a range begins.
    pub(crate) async fn memory(
        &self,
        log: u32,
        range: Range,
        limit: u32,
    ) -> anyhow::Result<Memory> {
        self.stored
            .memory(log, range.partition, range.from, limit)
            .await
    }

    async fn read(
        &self,
        ranges: Vec<Range>,
        mut slices: Vec<Slice>,
        mut memories: Vec<Memory>,
        limits: Option<CutLimits>,
        claim: &Claim,
    ) -> Result<(Vec<Slice>, Vec<Memory>), ReadError> {
        let (reader, cancelled) = (self.reader.clone(), claim.cancelled.clone());
        tokio::task::spawn_blocking(move || {
            reader.read(
                &ranges,
                &mut slices,
                &mut memories,
                limits.as_ref(),
                &cancelled,
            )?;
            Ok((slices, memories))
        })
        .await
        .context("read ranges from Kafka")?
    }

    /// Takes partitions over in ClickHouse.
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
        let mends = self.mender.mends().await?;
        if mends.is_active {
            return Err(Mending.into());
        }
        Ok(Claim {
            owner,
            raised,
            log,
            mended_at: mends.last_at,
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
