//! Fetch: whole batches as they lie on disk, waiting a while if there are none.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, FetchRequest, FetchResponse,
        fetch_request::FetchTopic,
        fetch_response::{FetchableTopicResponse, PartitionData},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{Request, blocking};
use crate::broker::Shared;

/// A client may ask to wait for hours; after this it is told that there is nothing.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn answer(request: Request, body: FetchRequest) -> anyhow::Result<FetchResponse> {
    if body.session_id != 0 {
        // Sessions are never handed out, so this one is from another broker's time.
        return Ok(
            FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code())
        );
    }
    let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let bytes_min = usize::try_from(body.min_bytes).unwrap_or(0);
    let bytes_max = usize::try_from(body.max_bytes)
        .unwrap_or(0)
        .clamp(1, request.broker.config.fetch_bytes_max);
    let topics = Arc::new(body.topics);
    let reader = Arc::new(Notify::new());
    loop {
        // Before looking, so that what arrives in between is not missed.
        let idle = register(&request.broker, &topics, &reader);
        let late = Instant::now() >= deadline;
        if late || bytes_min == 0 || !idle {
            // Where memory is short, fewer records are answered, but one batch at least.
            let least = bytes_max.min(request.broker.config.message_bytes_max);
            let mut room = request.room.lock().await;
            let bytes_max = room.between(least, bytes_max).await;
            let (broker, topics) = (request.broker.clone(), topics.clone());
            let read = blocking(move || read(&broker, &topics, bytes_max)).await?;
            room.shrink_to(read.bytes);
            if late || read.failed || read.bytes >= bytes_min {
                return Ok(FetchResponse::default().with_responses(read.topics));
            }
            room.shrink_to(0);
        }
        // Either way the loop looks again.
        let _ = timeout_at(deadline, reader.notified()).await;
    }
}

/// Asks all partitions to wake the reader; true if none has anything to say yet.
fn register(broker: &Shared, topics: &[FetchTopic], reader: &Arc<Notify>) -> bool {
    let mut idle = true;
    for topic in topics {
        let found = broker.topics.get(&topic.topic);
        for wanted in &topic.partitions {
            let Some(partition) = found
                .as_ref()
                .and_then(|topic| topic.partition(wanted.partition))
            else {
                idle = false;
                continue;
            };
            partition.wake_on_change(reader);
            idle &= partition.extent().end == wanted.fetch_offset;
        }
    }
    idle
}

struct Read {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    failed: bool,
}

fn read(broker: &Shared, topics: &[FetchTopic], bytes_max: usize) -> Read {
    let mut read = Read {
        topics: Vec::with_capacity(topics.len()),
        bytes: 0,
        failed: false,
    };
    for topic in topics {
        let found = broker.topics.get(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let answer = PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_preferred_read_replica(BrokerId(-1));
            let partition = found
                .as_ref()
                .and_then(|topic| topic.partition(wanted.partition));
            let share = usize::try_from(wanted.partition_max_bytes)
                .unwrap_or(0)
                .min(bytes_max.saturating_sub(read.bytes));
            // One batch in any case, or a batch larger than the limit would stop its reader for ever.
            let outcome = match &partition {
                Some(partition) => partition.read(wanted.fetch_offset, share, read.bytes == 0),
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            partitions.push(match outcome {
                Ok((records, extent)) => {
                    read.bytes += records.len();
                    answer
                        .with_high_watermark(extent.end)
                        .with_last_stable_offset(extent.end)
                        .with_log_start_offset(extent.start)
                        .with_records(Some(records))
                }
                Err(error) => {
                    read.failed = true;
                    let extent = partition.map(|partition| partition.extent());
                    answer
                        .with_error_code(error.code())
                        .with_high_watermark(extent.map_or(-1, |extent| extent.end))
                        .with_last_stable_offset(extent.map_or(-1, |extent| extent.end))
                        .with_log_start_offset(extent.map_or(-1, |extent| extent.start))
                        .with_records(Some(Bytes::new()))
                }
            });
        }
        read.topics.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions),
        );
    }
    read
}
