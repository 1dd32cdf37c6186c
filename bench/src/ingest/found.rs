//! What is in Kafka after a load: every record read back and decoded as the sink would.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use event::wire;
use infra::kafka::Config;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

const ASK_WITHIN: Duration = Duration::from_secs(15);
/// Kafka has to deliver something at least this often.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// Counts the events of the topic; a flush that was sent twice counts once. Blocks.
///
/// # Errors
/// If Kafka does not deliver, or a record cannot be decoded.
pub(super) fn count_events(kafka: &Config) -> anyhow::Result<u64> {
    let partitions = partitions(kafka)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A repeat goes to the partition of the first, so partitions can be counted apart.
    let shares = partitions.chunks(partitions.len().div_ceil(threads).max(1));
    std::thread::scope(|scope| {
        let counting: Vec<_> = shares
            .map(|share| scope.spawn(|| count_share(kafka, share)))
            .collect();
        let mut events = 0;
        for thread in counting {
            events += thread
                .join()
                .map_err(|_| anyhow!("counting events panicked"))??;
        }
        Ok(events)
    })
}

fn partitions(kafka: &Config) -> anyhow::Result<Vec<i32>> {
    let topic = &kafka.topic;
    let metadata = consumer(kafka)?
        .fetch_metadata(Some(topic), ASK_WITHIN)
        .with_context(|| format!("ask for the partitions of {topic}"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.with_context(|| format!("Kafka has no topic {topic}"))?;
    Ok(found
        .partitions()
        .iter()
        .map(|partition| partition.id())
        .collect())
}

fn count_share(kafka: &Config, partitions: &[i32]) -> anyhow::Result<u64> {
    let consumer = consumer(kafka)?;
    let mut ends = HashMap::new();
    let mut from_start = TopicPartitionList::new();
    for partition in partitions {
        let (start, end) = consumer
            .fetch_watermarks(&kafka.topic, *partition, ASK_WITHIN)
            .with_context(|| format!("ask for the end of partition {partition}"))?;
        if start < end {
            ends.insert(*partition, end);
            from_start
                .add_partition_offset(&kafka.topic, *partition, Offset::Offset(start))
                .context("choose where to read from")?;
        }
    }
    consumer
        .assign(&from_start)
        .context("choose where to read from")?;
    let mut batches = HashSet::new();
    let mut events = 0;
    let mut heard_at = Instant::now();
    while !ends.is_empty() {
        let Some(message) = consumer.poll(POLL) else {
            if heard_at.elapsed() > SILENCE_MAX {
                bail!("Kafka delivered nothing for {SILENCE_MAX:?}, and not everything before");
            }
            continue;
        };
        let message = message.context("read from Kafka")?;
        heard_at = Instant::now();
        let (partition, offset) = (message.partition(), message.offset());
        let batch = wire::decode(schema(&message), message.payload())
            .with_context(|| format!("decode partition {partition}, offset {offset}"))?;
        if batches.insert(batch.id) {
            events += batch.events.len() as u64;
        }
        if ends.get(&partition).is_some_and(|end| offset + 1 >= *end) {
            ends.remove(&partition);
        }
    }
    Ok(events)
}

fn consumer(kafka: &Config) -> anyhow::Result<BaseConsumer> {
    kafka
        .client("weir-bench")
        // Nobody joins it and nothing is committed: librdkafka only wants to have one.
        .set("group.id", "weir-bench")
        .set("enable.auto.commit", "false")
        .create()
        .context("make a Kafka consumer")
}

fn schema<'m>(message: &'m BorrowedMessage<'_>) -> Option<&'m [u8]> {
    let headers = message.headers()?;
    let header = headers
        .iter()
        .find(|header| header.key == wire::SCHEMA_HEADER)?;
    header.value
}
