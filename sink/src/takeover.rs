//! Taking partitions over: nobody else may insert from here on, what somebody planned or left half
//! done is stored, and the partition's memory is filled from what was stored before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clickhouse::Client;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use infra::http::Readiness;
use infra::retry::Backoff;
use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::fences;
use crate::membership::{self, Committed, GroupConsumer};
use crate::mend::Mending;
use crate::plan::{Plan, Range};
use crate::recovery::{self, Claim, Incomplete, Recovery};
use crate::stage::Stage;
use crate::tables;
use crate::window::Memory;

const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// So many partitions are asked about at a time.
const SIDE_BY_SIDE: usize = 8;
/// ... and of so many the ids are read, which take memory.
const MEMORIES_SIDE_BY_SIDE: usize = 2;
/// Where somebody else was quicker, the next attempt is made after this.
const CONTENTION_WAIT: Duration = Duration::from_millis(100);
const CONTENTION_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Everything a partition needs before its first record is taken in.
#[derive(Debug)]
pub(crate) struct Takeover {
    /// Whose assignment it is for; a later one has another number.
    pub(crate) epoch: u64,
    pub(crate) partition: u16,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Ready(Box<Start>),
    /// Going on would skip or double something.
    Refused(String),
    /// The topic has no such partition: it was made again with fewer.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) offset: u64,
    /// Whether the group has committed another one.
    pub(crate) moved: bool,
    pub(crate) memory: Memory,
    pub(crate) owner: u64,
    pub(crate) log: u32,
}

/// What a takeover finds of a partition.
enum Found {
    Ready {
        /// Where to begin, once these are completed.
        start: u64,
        incomplete: Vec<Incomplete>,
    },
    Refused(String),
}

impl Found {
    fn incomplete(&self) -> impl Iterator<Item = Incomplete> + use<'_> {
        let incomplete = match self {
            Self::Ready { incomplete, .. } => incomplete.as_slice(),
            Self::Refused(_) => &[],
        };
        incomplete.iter().copied()
    }
}

/// What a takeover works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Takeovers {
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) group: String,
    pub(crate) client: Client,
    pub(crate) consumer: Arc<GroupConsumer>,
    pub(crate) recovery: Recovery,
    pub(crate) readiness: Readiness,
    pub(crate) backoff: Backoff,
    /// One stage may take this long at first.
    pub(crate) patience: Duration,
    /// Off: begin where the group stands, whatever is stored.
    pub(crate) exactly_once: bool,
}

impl Takeovers {
    /// Takes over partitions that were assigned together; tries until it succeeds or nobody wants
    /// to know any more. Says on `stage` how far it is, and begins again where that does not change
    /// for long: an answer may be lost without an error.
    pub(crate) async fn take_over(
        self,
        partitions: BTreeMap<u16, u64>,
        stage: Stage,
        cancelled: CancellationToken,
    ) -> anyhow::Result<Vec<Takeover>> {
        let mut failures = 0;
        let mut told_at = None;
        let mut patience = self.patience;
        loop {
            let attempt = tokio::select! {
                attempt = self.attempt(&partitions, &stage, &cancelled) => attempt,
                () = stage.stands_for(patience) => {
                    let error = anyhow!("nothing came of it within {patience:?}: {stage}");
                    // It may have had that much to do.
                    patience = patience.saturating_mul(2);
                    Err(error)
                }
                () = cancelled.cancelled() => return Ok(Vec::new()),
            };
            let error = match attempt {
                Ok(takeovers) => return Ok(takeovers),
                Err(error) => error,
            };
            stage.set(format!("trying again, because: {error:#}"));
            let wait = if recovery::is_contention(&error) {
                // Somebody may see to the rollups for minutes.
                if told_at.is_none_or(|at: Instant| at.elapsed() > CONTENTION_TOLD_EVERY) {
                    told_at = Some(Instant::now());
                    info!("taking partitions over again: {error:#}");
                }
                CONTENTION_WAIT
            } else {
                failures += 1;
                let dependency = recovery::dependency(&error);
                if self.readiness.unavailable(dependency, format!("{error:#}")) {
                    warn!("cannot take partitions over yet, trying on: {error:#}");
                }
                self.backoff.after(failures)
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancelled.cancelled() => return Ok(Vec::new()),
            }
        }
    }

    async fn attempt(
        &self,
        partitions: &BTreeMap<u16, u64>,
        stage: &Stage,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Vec<Takeover>> {
        stage.set("looking at ClickHouse's tables");
        if let Some(unfit) = tables::check(&self.client).await? {
            return Err(anyhow!("{unfit}"));
        }
        // Nothing is written for an attempt that cannot succeed.
        if self.recovery.mender.is_under_way().await? {
            return Err(Mending.into());
        }
        stage.set("asking Kafka for the topic's id");
        let log = infra::kafka::log_id(&self.kafka).await?;
        stage.set("shutting other sinks out in ClickHouse");
        let claim = self
            .recovery
            .claim(partitions, log, stage, cancelled)
            .await?;
        stage.set("asking Kafka for the topic's partitions");
        let (there, gone) = self.divide(partitions.keys().copied().collect()).await?;
        stage.set("asking Kafka for the group's offsets");
        let positions = self.positions(there).await?;
        stage.set("finding out what is stored");
        let found = stream::iter(positions)
            .map(|(committed, bounds)| self.look(committed, bounds, &claim))
            .buffered(SIDE_BY_SIDE)
            .try_collect::<Vec<_>>()
            .await?;
        let incomplete = found.iter().flat_map(|(_, found)| found.incomplete());
        let incomplete = incomplete.collect();
        self.recovery.complete(incomplete, &claim).await?;
        stage.set("reading which ids are stored");
        let mut takeovers = stream::iter(found)
            .map(|(committed, found)| {
                let epoch = partitions[&committed.partition];
                self.takeover(epoch, committed, found, &claim)
            })
            .buffered(MEMORIES_SIDE_BY_SIDE)
            .try_collect::<Vec<_>>()
            .await?;
        takeovers.extend(gone.into_iter().map(|partition| Takeover {
            epoch: partitions[&partition],
            partition,
            outcome: Outcome::Gone,
        }));
        stage.set("letting this sink insert");
        // Done: whoever sees to the rollups from here on need not shut this sink out.
        let fences = &self.recovery.fences;
        if !fences
            .are_of(partitions.keys().copied(), claim.owner)
            .await?
        {
            return Err(Mending.into());
        }
        let owner = fences::settled(claim.owner);
        fences.raise(partitions.keys().copied(), owner).await?;
        for dependency in ["kafka", "clickhouse"] {
            if self.readiness.available(dependency) {
                info!("{dependency} can be reached");
            }
        }
        if self.readiness.available("dead_letters") {
            info!("dead letters are written again");
        }
        Ok(takeovers)
    }

    /// Those of these partitions that the topic has, and those that it has not.
    async fn divide(&self, partitions: Vec<u16>) -> anyhow::Result<(Vec<u16>, Vec<u16>)> {
        let (consumer, topic) = (self.consumer.clone(), self.kafka.topic.clone());
        let present = tokio::task::spawn_blocking(move || {
            membership::partitions(&consumer, &topic, KAFKA_TIMEOUT)
        });
        let present = present.await.context("ask Kafka")??;
        Ok(partitions
            .into_iter()
            .partition(|partition| present.contains(partition)))
    }

    /// Where the group stands in each partition, and the first and the next offset of its log.
    async fn positions(
        &self,
        partitions: Vec<u16>,
    ) -> anyhow::Result<Vec<(Committed, (u64, u64))>> {
        let (consumer, topic) = (self.consumer.clone(), self.kafka.topic.clone());
        tokio::task::spawn_blocking(move || {
            let committed = membership::committed(&consumer, &topic, &partitions, KAFKA_TIMEOUT)?;
            let mut positions = Vec::with_capacity(committed.len());
            for committed in committed {
                let (low, high) = consumer
                    .fetch_watermarks(&topic, committed.partition.into(), KAFKA_TIMEOUT)
                    .with_context(|| {
                        format!("ask for the bounds of partition {}", committed.partition)
                    })?;
                let bound = |offset: i64| u64::try_from(offset).unwrap_or(0);
                positions.push((committed, (bound(low), bound(high))));
            }
            Ok(positions)
        })
        .await
        .context("ask Kafka")?
    }

    /// Finds where to begin in a partition, and what has to be completed before it. Nobody else
    /// stores anything of it meanwhile.
    async fn look(
        &self,
        committed: Committed,
        (low, high): (u64, u64),
        claim: &Claim,
    ) -> anyhow::Result<(Committed, Found)> {
        let partition = committed.partition;
        if !self.exactly_once {
            let start = committed.offset.unwrap_or(low).clamp(low, high);
            let incomplete = Vec::new();
            return Ok((committed, Found::Ready { start, incomplete }));
        }
        let planned = match self.plan(&committed, claim) {
            Ok(planned) => planned,
            Err(why) => return Ok((committed, Found::Refused(why))),
        };
        let stored = &self.recovery.stored;
        let coverage = stored.coverage(claim.log, partition, low).await?;
        let ends = [coverage.end, planned.map(|plan| plan.range.to)];
        if let Some(end) = ends.into_iter().flatten().find(|end| *end > high) {
            let why = format!(
                "offsets up to {end} are stored or planned, and Kafka's log of it ends at {high}: Kafka lost records that it had acknowledged, and gives their offsets to others. Make the topic again, and nothing is skipped or doubled"
            );
            return Ok((committed, Found::Refused(why)));
        }
        let mut incomplete = Vec::new();
        for gap in coverage.gaps {
            incomplete.push(Incomplete {
                range: gap,
                planned_at: None,
            });
            error!(
                kafka.partition = partition,
                "the ledger has nothing of offsets {}..{} of partition {partition}: storing what is missing of them",
                gap.from,
                gap.to
            );
        }
        let mut start = coverage.end.unwrap_or(low);
        if start < low {
            error!(
                kafka.partition = partition,
                "Kafka deleted {start}..{low} of partition {partition} before it was stored: those events are lost"
            );
            start = low;
        }
        let planned_to = planned.map_or(start, |plan| plan.range.to);
        let reach = stored.rows_reach(claim.log, partition, start..high).await?;
        let rows_to = reach.unwrap_or(start);
        if rows_to > planned_to {
            error!(
                kafka.partition = partition,
                "rows of partition {partition} up to offset {rows_to} are stored, the ledger ends at {start}, and group {} has no plan for them: storing what is missing of them",
                self.group
            );
        }
        let range = Range {
            partition,
            from: start,
            to: planned_to.max(rows_to),
        };
        if range.from < range.to {
            incomplete.push(Incomplete {
                range,
                planned_at: planned.map(|plan| plan.made_at),
            });
            start = range.to;
        }
        self.tell_of_a_moved_group(&committed, planned.is_some(), start, coverage.end);
        Ok((committed, Found::Ready { start, incomplete }))
    }

    /// What a partition needs before its first record is taken in.
    async fn takeover(
        &self,
        epoch: u64,
        committed: Committed,
        found: Found,
        claim: &Claim,
    ) -> anyhow::Result<Takeover> {
        let partition = committed.partition;
        let offset = match found {
            Found::Ready { start, .. } => start,
            Found::Refused(why) => {
                return Ok(Takeover {
                    epoch,
                    partition,
                    outcome: Outcome::Refused(self.refusal(partition, &why)),
                });
            }
        };
        let limit = match self.exactly_once {
            true => self.recovery.repeat_window,
            false => 0,
        };
        let stored = &self.recovery.stored;
        let memory = stored.memory(claim.log, partition, offset, limit).await?;
        let is_where_the_group_is =
            committed.offset == Some(offset) && committed.metadata.is_empty();
        let start = Start {
            offset,
            moved: self.exactly_once && !is_where_the_group_is,
            memory,
            owner: fences::settled(claim.owner),
            log: claim.log,
        };
        Ok(Takeover {
            epoch,
            partition,
            outcome: Outcome::Ready(Box::new(start)),
        })
    }

    /// The plan beside a committed offset, if there is one of this life of the topic.
    fn plan(&self, committed: &Committed, claim: &Claim) -> Result<Option<Plan>, String> {
        if committed.metadata.is_empty() {
            return Ok(None);
        }
        let partition = committed.partition;
        let plan = Plan::parse(&committed.metadata, partition)
            .map_err(|error| unfollowed(&error.to_string()))?;
        if plan.log != claim.log {
            error!(
                kafka.partition = partition,
                "the plan in group {}'s offset of partition {partition} is of a topic {} that was made again since: what it covered and was not stored is lost with that topic",
                self.group,
                self.kafka.topic
            );
            return Ok(None);
        }
        if Some(plan.range.from) != committed.offset {
            let why = format!(
                "it does not begin at this partition's offset {:?}",
                committed.offset
            );
            return Err(unfollowed(&why));
        }
        Ok(Some(plan))
    }

    fn tell_of_a_moved_group(
        &self,
        committed: &Committed,
        had_plan: bool,
        start: u64,
        ledgered: Option<u64>,
    ) {
        let partition = committed.partition;
        let (group, topic) = (&self.group, &self.kafka.topic);
        match committed.offset {
            // Where the ledger ends it stands as it should, wherever that leaves what comes next:
            // what Kafka has deleted, or what is stored and not in the ledger, was logged.
            Some(offset) if offset != start && committed.offset != ledgered && !had_plan => error!(
                kafka.partition = partition,
                "group {group} stands at {offset} in partition {partition} of {topic}, and what is stored ends at {start}: \
                 its offset was reset, or the topic was made again. Going on at {start}: nothing is skipped or stored twice"
            ),
            None if ledgered.is_some() => error!(
                kafka.partition = partition,
                "group {group} has no offset in partition {partition} of {topic}, and what is stored ends at {start}: \
                 the group was deleted or has expired. Going on at {start}: nothing is skipped or stored twice"
            ),
            _ => {}
        }
    }

    fn refusal(&self, partition: u16, why: &str) -> String {
        format!(
            "partition {partition} of {} stands still: {why}",
            self.kafka.topic
        )
    }
}

fn unfollowed(why: &str) -> String {
    format!(
        "the plan beside the group's offset cannot be followed: {why}. \
         Run the weir that wrote it; or delete the group's offset of this partition, and what is stored will be asked row by row"
    )
}
