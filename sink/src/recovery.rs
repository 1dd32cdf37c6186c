//! Taking a partition over: where the group stands in it, the cut that somebody planned there and
//! may not have finished, and the window of repeats from there on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use infra::http::Readiness;
use infra::retry::Backoff;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::dead_letters::DeadLetters;
use crate::gather::{Cut, Record, Slice};
use crate::membership::{self, Committed, GroupConsumer};
use crate::plan::{Plan, Range};
use crate::window::Window;
use crate::writer::{NoWindow, Writer};

const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// A range that Kafka does not deliver for so long is asked for anew.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

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
    Ready(Start),
    /// A plan that cannot be followed: going on would skip or double what it covers.
    Refused(String),
}

#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) offset: u64,
    /// Whether that is further than what the group has committed.
    pub(crate) recovered: bool,
    pub(crate) window: Window,
}

/// What a takeover works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recovery {
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) group: String,
    pub(crate) consumer: Arc<GroupConsumer>,
    pub(crate) writer: Writer,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) readiness: Readiness,
    pub(crate) backoff: Backoff,
    pub(crate) repeat_window: u32,
}

/// Why a planned cut was not made again.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    /// No second attempt would help.
    #[error("{0}")]
    Lost(String),
    #[error(transparent)]
    Unavailable(#[from] anyhow::Error),
}

impl Recovery {
    /// Takes over partitions that were assigned together; tries until it succeeds or nobody wants
    /// to know any more.
    pub(crate) async fn take_over(
        self,
        partitions: BTreeMap<u16, u64>,
        cancelled: CancellationToken,
    ) -> anyhow::Result<Vec<Takeover>> {
        let mut failures = 0;
        loop {
            let attempt = tokio::select! {
                attempt = self.attempt(&partitions, &cancelled) => attempt,
                () = cancelled.cancelled() => return Ok(Vec::new()),
            };
            let error = match attempt {
                Ok(takeovers) => return Ok(takeovers),
                Err(error) if error.is::<NoWindow>() => return Err(error),
                Err(error) => error,
            };
            failures += 1;
            let dependency = if error.chain().any(|cause| cause.is::<KafkaError>()) {
                "kafka"
            } else {
                "clickhouse"
            };
            if self.readiness.unavailable(dependency, format!("{error:#}")) {
                warn!("cannot take partitions over yet, trying on: {error:#}");
            }
            tokio::select! {
                () = tokio::time::sleep(self.backoff.after(failures)) => {}
                () = cancelled.cancelled() => return Ok(Vec::new()),
            }
        }
    }

    async fn attempt(
        &self,
        partitions: &BTreeMap<u16, u64>,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Vec<Takeover>> {
        if let Some(sentence) = self.writer.check().await? {
            return Err(anyhow!(sentence));
        }
        let asked: Vec<u16> = partitions.keys().copied().collect();
        let (consumer, topic) = (self.consumer.clone(), self.kafka.topic.clone());
        let positions = blocking(move || {
            let committed = membership::committed(&consumer, &topic, &asked, KAFKA_TIMEOUT)?;
            let mut positions = Vec::with_capacity(committed.len());
            for committed in committed {
                let bounds = consumer
                    .fetch_watermarks(&topic, committed.partition.into(), KAFKA_TIMEOUT)
                    .with_context(|| {
                        format!("ask for the bounds of partition {}", committed.partition)
                    })?;
                positions.push((committed, bounds));
            }
            Ok(positions)
        })
        .await?;

        let mut takeovers = Vec::with_capacity(positions.len());
        // Partitions of one cut carry the same plan: it is followed once.
        let mut followed: BTreeMap<u128, Result<(), String>> = BTreeMap::new();
        for (committed, bounds) in positions {
            let partition = committed.partition;
            let outcome = match self
                .planned_range(&committed, &mut followed, cancelled)
                .await?
            {
                Err(refusal) => Outcome::Refused(refusal),
                Ok(planned) => {
                    let offset = match planned {
                        Some(range) => range.to,
                        None => {
                            let offset = start_without_plan(&committed, bounds);
                            self.warn_of_rows_ahead(partition, offset).await?;
                            offset
                        }
                    };
                    let window = self
                        .writer
                        .window(partition, offset, self.repeat_window)
                        .await?;
                    Outcome::Ready(Start {
                        offset,
                        recovered: planned.is_some(),
                        window,
                    })
                }
            };
            takeovers.push(Takeover {
                epoch: partitions[&partition],
                partition,
                outcome,
            });
        }
        for dependency in ["kafka", "clickhouse"] {
            if self.readiness.available(dependency) {
                info!("{dependency} can be reached");
            }
        }
        Ok(takeovers)
    }

    /// No row is stored before its plan, so rows ahead of a position without one are of another
    /// life of the topic or the group.
    async fn warn_of_rows_ahead(&self, partition: u16, offset: u64) -> anyhow::Result<()> {
        let rows = self.writer.rows_from(partition, offset).await?;
        if rows > 0 {
            error!(
                kafka.partition = partition,
                "{rows} rows of partition {partition} from offset {offset} on are stored already, and group {group} has no plan for them: \
                 topic {topic} was made anew, or the group's offsets were lost or reset. What is read a second time counts a second time",
                group = self.group,
                topic = self.kafka.topic,
            );
        }
        Ok(())
    }

    /// Follows the plan beside a committed offset, if there is one.
    async fn planned_range(
        &self,
        committed: &Committed,
        followed: &mut BTreeMap<u128, Result<(), String>>,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<Result<Option<Range>, String>> {
        let Committed {
            partition,
            offset,
            metadata,
        } = committed;
        if metadata.is_empty() {
            return Ok(Ok(None));
        }
        let refusal = |why: &str| {
            format!(
                "partition {partition} of {topic} stands still, because the plan in group {group}'s offset cannot be followed: {why}. \
                 Run the weir that wrote it, or, once it is known what was stored (weir audit), reset the group's offset of this partition",
                topic = self.kafka.topic,
                group = self.group,
            )
        };
        let plan = match Plan::parse(metadata) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(refusal(&error.to_string()))),
        };
        let Some(range) = plan
            .range(*partition)
            .filter(|range| Some(range.from) == *offset)
        else {
            let why = format!("it does not begin at this partition's offset {offset:?}");
            return Ok(Err(refusal(&why)));
        };
        let id = plan.id.as_u128();
        let done = match followed.get(&id) {
            Some(done) => done.clone(),
            None => {
                let done = match self.follow(plan, cancelled).await {
                    Ok(()) => Ok(()),
                    Err(RebuildError::Lost(why)) => Err(refusal(&why)),
                    Err(RebuildError::Unavailable(error)) => return Err(error),
                };
                followed.insert(id, done.clone());
                done
            }
        };
        Ok(done.map(|()| Some(range)))
    }

    /// Makes a planned cut again and inserts it under its token, whoever owns its partitions now.
    async fn follow(&self, plan: Plan, cancelled: &CancellationToken) -> Result<(), RebuildError> {
        let cut = self.rebuild(&plan, cancelled).await?;
        self.dead_letters.deliver(&cut.dead_letters).await?;
        if cut.rows > 0 {
            self.writer
                .insert(&cut.plan, cut.block)
                .await
                .with_context(|| format!("insert {} rows of a planned cut again", cut.rows))?;
        }
        metrics::counter!("weir_sink_cuts_recovered_total").increment(1);
        info!(
            cut.id = %plan.id,
            cut.rows,
            cut.partitions = plan.ranges.len(),
            "followed a plan that was left behind: {} rows are stored once, whatever had landed of them",
            cut.rows
        );
        Ok(())
    }

    async fn rebuild(
        &self,
        plan: &Plan,
        cancelled: &CancellationToken,
    ) -> Result<Cut, RebuildError> {
        let mut windows = Vec::with_capacity(plan.ranges.len());
        for range in &plan.ranges {
            let window = self
                .writer
                .window(range.partition, range.from, plan.repeat_window)
                .await?;
            windows.push(window);
        }
        let (recovery, plan, cancelled) = (self.clone(), plan.clone(), cancelled.clone());
        let read = move || recovery.read(&plan, windows, &cancelled);
        tokio::task::spawn_blocking(read)
            .await
            .context("read a planned cut")?
    }

    /// Reads a plan's ranges from Kafka, outside the group.
    fn read(
        &self,
        plan: &Plan,
        mut windows: Vec<Window>,
        cancelled: &CancellationToken,
    ) -> Result<Cut, RebuildError> {
        let topic = &self.kafka.topic;
        let consumer: BaseConsumer = self
            .kafka
            .client("weir-sink-recovery")
            // Named because the client wants a name; it neither joins nor commits.
            .set("group.id", format!("{}-recovery", self.group))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100")
            .create()
            .context("create a Kafka consumer for recovery")?;
        let mut slices = Vec::with_capacity(plan.ranges.len());
        let mut wanted = TopicPartitionList::with_capacity(plan.ranges.len());
        for range in &plan.ranges {
            let partition = i32::from(range.partition);
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, KAFKA_TIMEOUT)
                .with_context(|| format!("ask for the bounds of partition {partition}"))?;
            if low.cast_unsigned() > range.from || high.cast_unsigned() < range.to {
                return Err(RebuildError::Lost(format!(
                    "it covers {}..{} of partition {partition}, and Kafka holds only {low}..{high}",
                    range.from, range.to
                )));
            }
            wanted
                .add_partition_offset(topic, partition, Offset::Offset(range.from.cast_signed()))
                .context("name a range")?;
            slices.push(Slice::new(range.partition, range.from));
        }
        consumer
            .assign(&wanted)
            .context("ask for a plan's ranges")?;

        let mut open: BTreeMap<u16, usize> = plan
            .ranges
            .iter()
            .enumerate()
            .map(|(index, range)| (range.partition, index))
            .collect();
        let deadline = Instant::now() + FETCH_TIMEOUT;
        while !open.is_empty() {
            if cancelled.is_cancelled() || Instant::now() > deadline {
                return Err(RebuildError::Unavailable(anyhow!(
                    "a planned cut was not read from Kafka within {FETCH_TIMEOUT:?}"
                )));
            }
            let message = match consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) => message,
                // The end of the log: the range ends here, or in a gap before it.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Ok(partition) = u16::try_from(partition) {
                        open.remove(&partition);
                    }
                    continue;
                }
                Some(Err(error)) => {
                    return Err(RebuildError::Unavailable(
                        anyhow::Error::new(error).context("read a planned cut"),
                    ));
                }
            };
            let Some(record) = record(&message) else {
                continue;
            };
            // Order of arrival among partitions does not matter: each has its own slice.
            let Some(&index) = open.get(&record.partition) else {
                continue;
            };
            if record.offset < plan.ranges[index].to {
                slices[index].accept(record, &mut windows[index]);
            }
            if record.offset + 1 >= plan.ranges[index].to {
                open.remove(&record.partition);
            }
        }
        for (slice, range) in slices.iter_mut().zip(&plan.ranges) {
            slice.reach(range.to);
        }
        Ok(Cut::new(plan.id, plan.repeat_window, slices))
    }
}

/// A Kafka message as the cut sees it; None for a place outside what Kafka has.
pub(crate) fn record<'a>(message: &'a impl Message) -> Option<Record<'a>> {
    let schema = message.headers().and_then(|headers| {
        headers
            .iter()
            .find(|header| header.key == event::wire::SCHEMA_HEADER)
            .and_then(|header| header.value)
    });
    Some(Record {
        partition: u16::try_from(message.partition()).ok()?,
        offset: u64::try_from(message.offset()).ok()?,
        key: message.key(),
        schema,
        value: message.payload(),
    })
}

/// Where to begin in a partition without a plan. `bounds` are the first and the next offset of its
/// log.
fn start_without_plan(committed: &Committed, bounds: (i64, i64)) -> u64 {
    let partition = committed.partition;
    let (low, high) = (
        u64::try_from(bounds.0).unwrap_or(0),
        u64::try_from(bounds.1).unwrap_or(0),
    );
    match committed.offset {
        None => low,
        Some(offset) if offset < low => {
            error!(
                kafka.partition = partition,
                "Kafka deleted {}..{low} of partition {partition} before it was stored: those events are lost",
                offset
            );
            low
        }
        Some(offset) if offset > high => {
            error!(
                kafka.partition = partition,
                "partition {partition} ends at {high}, before the committed offset {offset}: the topic was made anew, beginning at {low}"
            );
            low
        }
        Some(offset) => offset,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("ask Kafka")?
}
