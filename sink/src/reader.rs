//! Reads ranges of offsets from Kafka once more, outside the group.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::config::CutLimits;
use crate::gather::{Record, Slice};
use crate::plan::Range;
use crate::window::Memory;

/// A range that Kafka does not deliver for so long is asked for again.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// What a client that reads up to the end says beside its records.
pub(crate) struct Reading;

impl ClientContext for Reading {
    fn error(&self, error: KafkaError, reason: &str) {
        // That a partition is read to its end is asked for, and is reported as an error too.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        error!("read from Kafka: {error}: {reason}");
    }
}

impl ConsumerContext for Reading {}

/// Reads ranges. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) group: String,
}

impl Reader {
    /// Fills a slice up to the end of its range, remembering in `memory`. One that reaches the limits
    /// ends early, at a whole record.
    pub(crate) fn read(
        &self,
        range: Range,
        slice: &mut Slice,
        memory: &mut Memory,
        limits: &CutLimits,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<()> {
        let consumer = self.assign(range)?;
        let deadline = Instant::now() + FETCH_TIMEOUT;
        loop {
            if cancelled.is_cancelled() || Instant::now() > deadline {
                bail!("a range was not read from Kafka within {FETCH_TIMEOUT:?}");
            }
            let message = match consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) => message,
                // The end of the log: the range ends here, or in a gap before it.
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => {
                    return Err(anyhow::Error::new(error).context("read a range from Kafka"));
                }
            };
            let Some(record) = record(&message) else {
                continue;
            };
            let offset = record.offset;
            if offset < range.to {
                slice.accept(record, memory);
                if slice.is_full(limits) {
                    return Ok(());
                }
            }
            if offset + 1 >= range.to {
                break;
            }
        }
        slice.reach(range.to);
        Ok(())
    }

    fn assign(&self, range: Range) -> anyhow::Result<BaseConsumer<Reading>> {
        let topic = &self.kafka.topic;
        let consumer: BaseConsumer<Reading> = self
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
            .create_with_context(Reading)
            .context("create a Kafka consumer to read ranges with")?;
        let partition = i32::from(range.partition);
        let mut wanted = TopicPartitionList::with_capacity(1);
        wanted
            .add_partition_offset(topic, partition, Offset::Offset(range.from.cast_signed()))
            .context("name a range")?;
        consumer.assign(&wanted).context("ask for a range")?;
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
