//! The sink's place in the consumer group: assignments handed to the loop, and offset commits that
//! carry a plan.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::Config;

pub(crate) type GroupConsumer = BaseConsumer<Membership>;

/// What the group asks for. librdkafka waits for the loop's answer: a change is acknowledged by
/// (un)assigning, which the loop does once it has let go of what it was doing.
#[derive(Debug)]
pub(crate) enum Change {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// Collects the group's changes. They arrive within `poll`, on the loop's own thread, but a
/// callback is no place to wait for an INSERT in.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    changes: Mutex<VecDeque<Change>>,
    ends: Mutex<BTreeMap<u16, u64>>,
    closing: AtomicBool,
}

impl Membership {
    pub(crate) fn next_change(&self) -> Option<Change> {
        lock(&self.changes).pop_front()
    }

    /// The log's end per partition, as of the last statistics.
    pub(crate) fn ends(&self) -> BTreeMap<u16, u64> {
        lock(&self.ends).clone()
    }

    /// From here on nobody takes changes: they are acknowledged at once.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        let mut ends = BTreeMap::new();
        for (partition, figures) in statistics.topics.into_values().flat_map(|t| t.partitions) {
            if let (Ok(partition), Ok(end)) =
                (u16::try_from(partition), u64::try_from(figures.hi_offset))
            {
                ends.insert(partition, end);
            }
        }
        *lock(&self.ends) = ends;
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = if assigned {
                consumer.incremental_assign(partitions)
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = answered {
                tracing::debug!("answer the group while leaving it: {error}");
            }
            return;
        }
        let partitions = partitions.clone();
        lock(&self.changes).push_back(if assigned {
            Change::Assign(partitions)
        } else {
            Change::Revoke(partitions)
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they hold is whole at every step, so a poisoned one is still right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins the group (at the first poll).
pub(crate) fn join(kafka: &infra::kafka::Config, config: &Config) -> anyhow::Result<GroupConsumer> {
    let session_ms = config.session_timeout.as_millis();
    let consumer: GroupConsumer = kafka
        .client("weir-sink")
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session_ms.to_string())
        .set("heartbeat.interval.ms", (session_ms / 4).to_string())
        // What waits in librdkafka is bounded, and a full queue is looked at again soon: the
        // default is a second's stall. An answer counts once it is unpacked, and is taken whole.
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.max.bytes", "8388608")
        .set("fetch.wait.max.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        // An answer that got lost holds its partitions up until this; the default is a minute.
        .set("socket.timeout.ms", "10000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("statistics.interval.ms", "5000")
        .create_with_context(Membership::default())
        .with_context(|| format!("create a Kafka consumer of group {}", config.group))?;
    consumer
        .subscribe(&[&kafka.topic])
        .with_context(|| format!("subscribe to topic {}", kafka.topic))?;
    Ok(consumer)
}

/// One offset of a commit, with what is to be remembered beside it.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) metadata: String,
}

impl Position {
    pub(crate) fn new(partition: u16, offset: u64, metadata: String) -> Self {
        Self {
            partition,
            offset,
            metadata,
        }
    }
}

/// Commits all positions in one request and waits for the answer.
///
/// librdkafka answers with an error if any partition's own code is one, so `Ok` means that every
/// position stands. After an error none, some or all may: the caller plans again or recovers.
pub(crate) fn commit(
    consumer: &GroupConsumer,
    topic: &str,
    positions: &[Position],
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for position in positions {
        let mut element = list.add_partition(topic, position.partition.into());
        element.set_offset(Offset::Offset(position.offset.cast_signed()))?;
        element.set_metadata(&position.metadata);
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// The partitions that a topic has.
pub(crate) fn partitions(
    consumer: &GroupConsumer,
    topic: &str,
    timeout: Duration,
) -> anyhow::Result<BTreeSet<u16>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), timeout)
        .context("ask for the topic's partitions")?;
    let described = metadata.topics().iter().find(|found| found.name() == topic);
    let described = described.filter(|found| !found.partitions().is_empty());
    let described = described.with_context(|| format!("there is no topic {topic}"))?;
    let numbers = described.partitions().iter();
    Ok(numbers
        .filter_map(|partition| u16::try_from(partition.id()).ok())
        .collect())
}

/// Where the group stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) partition: u16,
    /// None where the group never committed, or was forgotten.
    pub(crate) offset: Option<u64>,
    pub(crate) metadata: String,
}

/// Reads positions back.
pub(crate) fn committed(
    consumer: &GroupConsumer,
    topic: &str,
    partitions: &[u16],
    timeout: Duration,
) -> anyhow::Result<Vec<Committed>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        list.add_partition(topic, partition.into());
    }
    let list = consumer
        .committed_offsets(list, timeout)
        .context("read the group's offsets")?;
    let mut committed = Vec::with_capacity(partitions.len());
    for element in list.elements() {
        let partition = u16::try_from(element.partition()).context("a partition's number")?;
        element
            .error()
            .with_context(|| format!("read the group's offset of partition {partition}"))?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(u64::try_from(offset).context("an offset")?),
            _ => None,
        };
        committed.push(Committed {
            partition,
            offset,
            metadata: metadata(&element),
        });
    }
    Ok(committed)
}

/// Metadata as text. The client panics on bytes that are not UTF-8; another program may have
/// written some, and then they are simply no plan.
fn metadata(element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>) -> String {
    let read = std::panic::AssertUnwindSafe(|| element.metadata().to_owned());
    std::panic::catch_unwind(read).unwrap_or_else(|_| "(not text)".to_owned())
}
