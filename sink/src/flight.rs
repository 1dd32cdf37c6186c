//! The cut under way: planned, its dead letters set aside, inserted, entered into the ledger. Tried
//! once: where that fails nobody knows what landed, and its partitions are taken over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::dead_letters::DeadLetters;
use crate::gather::Cut;
use crate::ledger::Page;
use crate::plan::{Plan, Range};
use crate::writer::{Fenced, Writer};

/// One cut from its plan to its landing.
pub(crate) struct Flight {
    cut: std::sync::Arc<Cut>,
    /// Under which assignment each partition was when the cut was made.
    epochs: BTreeMap<u16, u64>,
    begun_at: Instant,
    is_planned: bool,
    /// No step before this.
    not_before: Instant,
    /// Since when it has been refused because rollups are being seen to.
    waits_since: Option<Instant>,
    attempt: Attempt,
}

enum Attempt {
    None,
    UnderWay(oneshot::Receiver<anyhow::Result<()>>),
    Done(anyhow::Result<()>),
}

/// How an attempt stands.
pub(crate) enum Progress {
    UnderWay,
    Landed,
    /// The server refused the block as a whole: nothing of it landed.
    Fenced(Fenced),
    Failed(anyhow::Error),
}

impl Flight {
    pub(crate) fn new(cut: Cut, epochs: BTreeMap<u16, u64>) -> Self {
        let now = Instant::now();
        Self {
            cut: std::sync::Arc::new(cut),
            epochs,
            begun_at: now,
            is_planned: false,
            not_before: now,
            waits_since: None,
            attempt: Attempt::None,
        }
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = u16> {
        self.cut.ranges().map(|range| range.partition)
    }

    /// Whether it has rows of one of these partitions.
    pub(crate) fn concerns(&self, partitions: &[u16]) -> bool {
        self.partitions().any(|of| partitions.contains(&of))
    }

    pub(crate) fn ranges_with_epochs(&self) -> impl Iterator<Item = (Range, u64)> {
        let with_epoch = |range: Range| Some((range, *self.epochs.get(&range.partition)?));
        self.cut.ranges().filter_map(with_epoch)
    }

    /// What is committed of a range before the INSERT.
    pub(crate) fn plan(&self, range: Range) -> String {
        let plan = Plan {
            log: self.cut.log,
            made_at: now_millis(),
            range,
        };
        plan.encode()
    }

    /// Whether the group has its plans.
    pub(crate) fn is_planned(&self) -> bool {
        self.is_planned
    }

    pub(crate) fn planned(&mut self) {
        self.is_planned = true;
    }

    pub(crate) fn postpone(&mut self, until: Instant) {
        self.not_before = until;
    }

    /// Says that rollups are being seen to. Returns for how long that has been said.
    pub(crate) fn waits(&mut self, now: Instant) -> Duration {
        now - *self.waits_since.get_or_insert(now)
    }

    /// Whether the next step may be made.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        matches!(self.attempt, Attempt::None) && now >= self.not_before
    }

    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.attempt, Attempt::UnderWay(_))
    }

    /// How long ago the cut was made.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun_at)
    }

    /// Whether its last attempt has succeeded, and nobody has looked yet.
    pub(crate) fn has_landed(&self) -> bool {
        matches!(self.attempt, Attempt::Done(Ok(())))
    }

    /// Starts an attempt beside the loop.
    pub(crate) fn begin(&mut self, runtime: &Handle, writer: Writer, dead_letters: DeadLetters) {
        let (done, result) = oneshot::channel();
        let cut = self.cut.clone();
        self.attempt = Attempt::UnderWay(result);
        // Ends by itself: every step of it has a time limit.
        runtime.spawn(async move {
            let stored = store(&cut, &writer, &dead_letters).await;
            // Before it is told: who hears of it takes the cut's memory.
            drop(cut);
            // The loop may have dropped the flight meanwhile.
            let _ = done.send(stored);
        });
    }

    /// Waits for the attempt under way, if there is one, but not longer than `patience`.
    pub(crate) async fn wait(&mut self, patience: Duration) {
        if let Attempt::UnderWay(result) = &mut self.attempt
            && let Ok(result) = tokio::time::timeout(patience, result).await
        {
            self.attempt = Attempt::Done(flatten(result));
        }
    }

    pub(crate) fn progress(&mut self) -> Progress {
        if let Attempt::UnderWay(result) = &mut self.attempt {
            match result.try_recv() {
                Ok(result) => self.attempt = Attempt::Done(result),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => {
                    self.attempt = Attempt::Done(Err(anyhow!("an insert ended without a result")));
                }
            }
        }
        match std::mem::replace(&mut self.attempt, Attempt::None) {
            Attempt::Done(Ok(())) => Progress::Landed,
            Attempt::Done(Err(error)) => {
                let fenced = error
                    .chain()
                    .find_map(|cause| cause.downcast_ref::<Fenced>());
                match fenced.cloned() {
                    Some(fenced) => Progress::Fenced(fenced),
                    None => Progress::Failed(error),
                }
            }
            waiting => {
                self.attempt = waiting;
                Progress::UnderWay
            }
        }
    }

    /// The cut, unless an attempt still holds it.
    pub(crate) fn into_cut(self) -> Option<Cut> {
        std::sync::Arc::into_inner(self.cut)
    }

    /// Counts a cut that has landed.
    pub(crate) fn count(&self) {
        let cut = &self.cut;
        metrics::counter!("weir_sink_events_stored_total").increment(cut.rows as u64);
        metrics::counter!("weir_sink_repeats_dropped_total").increment(cut.repeats());
        metrics::counter!("weir_sink_dead_letters_total").increment(cut.dead_letters.len() as u64);
        metrics::counter!("weir_sink_cuts_total").increment(1);
        metrics::gauge!("weir_sink_cut_rows").set(cut.rows as f64);
        metrics::gauge!("weir_sink_cut_bytes").set(cut.block.bytes() as f64);
        metrics::histogram!("weir_sink_cut_duration_seconds").record(self.begun_at.elapsed());
        tracing::debug!(
            cut.rows,
            cut.bytes = cut.block.bytes(),
            cut.partitions = cut.entries.len(),
            cut.repeats = cut.repeats(),
            "stored a cut of {} rows",
            cut.rows
        );
    }
}

fn flatten(result: Result<anyhow::Result<()>, oneshot::error::RecvError>) -> anyhow::Result<()> {
    result.unwrap_or_else(|_| Err(anyhow!("an insert ended without a result")))
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The ledger's page of a cut that is stored now.
pub(crate) fn page(cut: &Cut) -> Page {
    Page {
        log: cut.log,
        cut: cut.id,
        stored_at: now_millis(),
    }
}

async fn store(cut: &Cut, writer: &Writer, dead_letters: &DeadLetters) -> anyhow::Result<()> {
    // First: once the cut has landed its records are never read again.
    set_aside(cut, dead_letters).await?;
    if cut.rows > 0 {
        let begun = Instant::now();
        writer
            .insert(cut.id, &cut.block)
            .await
            .with_context(|| format!("insert {} rows", cut.rows))?;
        metrics::histogram!("weir_sink_insert_duration_seconds").record(begun.elapsed());
    }
    // Last: what stands in the ledger is in every table.
    writer.enter(page(cut), &cut.entries).await?;
    for range in cut.ranges() {
        dead_letters.forget(range.partition, range.to);
    }
    Ok(())
}

async fn set_aside(cut: &Cut, dead_letters: &DeadLetters) -> anyhow::Result<()> {
    let letters = &cut.dead_letters;
    let Some(first) = letters.first() else {
        return Ok(());
    };
    dead_letters.deliver(cut.log, letters.clone()).await?;
    tracing::warn!(
        kafka.partition = first.partition,
        kafka.offset = first.offset,
        "set {} unreadable records aside; the first: {}",
        letters.len(),
        first.reason
    );
    Ok(())
}
