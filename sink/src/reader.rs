//! Reads ranges of offsets from Kafka once more, outside the group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::config::CutLimits;
use crate::gather::{Record, Slice};
use crate::plan::Range;
use crate::window::Memory;

const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// A range that Kafka does not deliver for so long is asked for anew.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a range was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No second attempt would help.
    #[error("{0}")]
    Lost(String),
    /// Kafka has deleted some of it in order.
    #[error("{0}")]
    Eaten(String),
    #[error(transparent)]
    Unavailable(#[from] anyhow::Error),
}

/// Reads ranges. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) group: String,
}

impl Reader {
    /// Fills `slices`, each up to the end of its range, remembering in `memories`; all three are of
    /// the same partitions. With `limits`, a slice that reaches them ends early, at a whole record.
    pub(crate) fn read(
        &self,
        ranges: &[Range],
        slices: &mut [Slice],
        memories: &mut [Memory],
        limits: Option<&CutLimits>,
        cancelled: &CancellationToken,
    ) -> Result<(), ReadError> {
        let consumer = self.assign(ranges)?;
        let mut open: BTreeMap<u16, usize> = ranges
            .iter()
            .enumerate()
            .map(|(index, range)| (range.partition, index))
            .collect();
        let mut ends: Vec<u64> = ranges.iter().map(|range| range.to).collect();
        let deadline = Instant::now() + FETCH_TIMEOUT;
        while !open.is_empty() {
            if cancelled.is_cancelled() || Instant::now() > deadline {
                return Err(ReadError::Unavailable(anyhow!(
                    "a range was not read from Kafka within {FETCH_TIMEOUT:?}"
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
                    return Err(ReadError::Unavailable(
                        anyhow::Error::new(error).context("read a range from Kafka"),
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
            let slice = &mut slices[index];
            if record.offset < ends[index] {
                slice.accept(record, &mut memories[index]);
            }
            if limits.is_some_and(|limits| slice.is_full(limits)) {
                ends[index] = slice.end();
            }
            if record.offset + 1 >= ends[index] {
                open.remove(&record.partition);
            }
        }
        for (slice, end) in slices.iter_mut().zip(ends) {
            slice.reach(end);
        }
        Ok(())
    }

    fn assign(&self, ranges: &[Range]) -> Result<BaseConsumer, ReadError> {
        let topic = &self.kafka.topic;
        let consumer: BaseConsumer = self
            .kafka
            .client("weir-sink-reader")
            // Named because the client wants a name; it neither joins nor commits.
            .set("group.id", format!("{}-reader", self.group))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100")
            // An answer that got lost is asked for again within the time that a range has; the
            // default is all of it.
            .set("socket.timeout.ms", "10000")
            .create()
            .context("create a Kafka consumer to read ranges with")?;
        let metadata = consumer
            .fetch_metadata(Some(topic), KAFKA_TIMEOUT)
            .with_context(|| format!("ask for the partitions of topic {topic}"))?;
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let count = partitions.count();
        let mut wanted = TopicPartitionList::with_capacity(ranges.len());
        for range in ranges {
            let partition = i32::from(range.partition);
            if count > 0 && usize::from(range.partition) >= count {
                return Err(ReadError::Lost(format!(
                    "it names partition {partition}, and topic {topic} has {count}"
                )));
            }
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, KAFKA_TIMEOUT)
                .with_context(|| format!("ask for the bounds of partition {partition}"))?;
            let held = format!(
                "it covers {}..{} of partition {partition}, and Kafka holds only {low}..{high}",
                range.from, range.to
            );
            if high.cast_unsigned() < range.to {
                return Err(ReadError::Lost(held));
            }
            if low.cast_unsigned() > range.from {
                return Err(ReadError::Eaten(held));
            }
            wanted
                .add_partition_offset(topic, partition, Offset::Offset(range.from.cast_signed()))
                .context("name a range")?;
        }
        consumer.assign(&wanted).context("ask for ranges")?;
        Ok(consumer)
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
