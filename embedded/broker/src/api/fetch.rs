//! Records going out, and where they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ResponseKind,
};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::Shared;
use crate::log::{PartitionLog, ReadError};

const WAIT_MAX: Duration = Duration::from_secs(60);
/// More than this is not put into one answer, whatever the client asks for.
const FETCH_BYTES_MAX: u64 = 64 << 20;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Waits until there are `min_bytes`, or an error to tell, or `max_wait_ms` are over.
pub(super) async fn fetch(
    shared: Arc<Shared>,
    request: FetchRequest,
) -> anyhow::Result<ResponseKind> {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default());
    let until = Instant::now() + wait.min(WAIT_MAX);
    let bytes_min = u64::try_from(request.min_bytes).unwrap_or_default();
    let request = Arc::new(request);
    let mut appended = shared.appended.subscribe();
    loop {
        appended.borrow_and_update();
        let read = {
            let (shared, request) = (shared.clone(), request.clone());
            tokio::task::spawn_blocking(move || read_all(&shared, &request)).await?
        };
        let enough = read.bytes >= bytes_min || read.failed;
        if enough || Instant::now() >= until || shared.shutdown.is_cancelled() {
            return Ok(ResponseKind::Fetch(
                FetchResponse::default().with_responses(read.responses),
            ));
        }
        // Over, appended to, or shut down: each is looked at above.
        let _ = timeout_at(until, async {
            tokio::select! {
                changed = appended.changed() => { let _ = changed; }
                () = shared.shutdown.cancelled() => {}
            }
        })
        .await;
    }
}

struct Read {
    responses: Vec<FetchableTopicResponse>,
    bytes: u64,
    failed: bool,
}

fn read_all(shared: &Shared, request: &FetchRequest) -> Read {
    let bytes_max = u64::try_from(request.max_bytes)
        .unwrap_or_default()
        .clamp(1, FETCH_BYTES_MAX);
    let mut read = Read {
        responses: Vec::new(),
        bytes: 0,
        failed: false,
    };
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let left = bytes_max.saturating_sub(read.bytes);
            let data = match shared.topics.partition(&topic.topic, wanted.partition) {
                None => failed(wanted, ResponseError::UnknownTopicOrPartition),
                Some((_, log)) => read_one(&log, wanted, left),
            };
            read.failed |= data.error_code != 0;
            read.bytes += data
                .records
                .as_ref()
                .map_or(0, |records| records.len() as u64);
            partitions.push(data);
        }
        read.responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions),
        );
    }
    read
}

fn read_one(log: &PartitionLog, wanted: &FetchPartition, left: u64) -> PartitionData {
    let partition_max = u64::try_from(wanted.partition_max_bytes).unwrap_or_default();
    let read = if left == 0 {
        Ok((Vec::new(), log.watermarks()))
    } else {
        log.read(wanted.fetch_offset, partition_max.min(left))
    };
    match read {
        Ok((records, watermarks)) => answered(wanted)
            .with_high_watermark(watermarks.high)
            .with_last_stable_offset(watermarks.high)
            .with_log_start_offset(watermarks.start)
            .with_records(Some(Bytes::from(records))),
        Err(ReadError::OutOfRange) => {
            let watermarks = log.watermarks();
            failed(wanted, ResponseError::OffsetOutOfRange)
                .with_high_watermark(watermarks.high)
                .with_log_start_offset(watermarks.start)
        }
        Err(ReadError::Disk(error)) => {
            warn!("records could not be read: {error}");
            failed(wanted, ResponseError::KafkaStorageError)
        }
    }
}

fn answered(wanted: &FetchPartition) -> PartitionData {
    PartitionData::default()
        .with_partition_index(wanted.partition)
        .with_preferred_read_replica(BrokerId(-1))
}

fn failed(wanted: &FetchPartition, error: ResponseError) -> PartitionData {
    answered(wanted)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_records(Some(Bytes::new()))
}

pub(super) fn list_offsets(shared: &Shared, request: &ListOffsetsRequest) -> ResponseKind {
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|wanted| {
                    let response = ListOffsetsPartitionResponse::default()
                        .with_partition_index(wanted.partition_index)
                        .with_timestamp(-1)
                        .with_offset(-1);
                    match shared.topics.partition(&topic.name, wanted.partition_index) {
                        None => {
                            response.with_error_code(ResponseError::UnknownTopicOrPartition.code())
                        }
                        Some((_, log)) => offset_at(&log, wanted.timestamp, response),
                    }
                })
                .collect();
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    ResponseKind::ListOffsets(ListOffsetsResponse::default().with_topics(topics))
}

fn offset_at(
    log: &PartitionLog,
    timestamp: i64,
    response: ListOffsetsPartitionResponse,
) -> ListOffsetsPartitionResponse {
    let watermarks = log.watermarks();
    let response = response.with_leader_epoch(0);
    match timestamp {
        EARLIEST => response.with_offset(watermarks.start),
        LATEST => response.with_offset(watermarks.high),
        timestamp => match log.first_at(timestamp) {
            Ok(Some((offset, found))) => response.with_offset(offset).with_timestamp(found),
            Ok(None) => response,
            Err(error) => {
                warn!("an offset could not be looked up by its time: {error}");
                response.with_error_code(ResponseError::KafkaStorageError.code())
            }
        },
    }
}
