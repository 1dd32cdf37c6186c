//! Offsets by time: the first, the next, or the first record at or after a moment.

use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::{Request, blocking};
use crate::log::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LATEST_BY_TIME: i64 = -3;

pub(super) async fn answer(
    request: Request,
    body: ListOffsetsRequest,
) -> anyhow::Result<ListOffsetsResponse> {
    blocking(move || {
        let topics = body.topics.into_iter().map(|topic| {
            let found = request.broker.topics.get(&topic.name);
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index);
                let partition = found
                    .as_ref()
                    .and_then(|topic| topic.partition(wanted.partition_index));
                let outcome = match partition {
                    Some(partition) => look_up(&partition, wanted.timestamp),
                    None => Err(ResponseError::UnknownTopicOrPartition),
                };
                match outcome {
                    Ok((offset, timestamp)) => {
                        let epoch = if request.version >= 4 && offset >= 0 {
                            0
                        } else {
                            -1
                        };
                        answer
                            .with_offset(offset)
                            .with_timestamp(timestamp)
                            .with_leader_epoch(epoch)
                    }
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    })
    .await
}

/// Offset and timestamp, -1 for none.
fn look_up(partition: &Partition, timestamp: i64) -> Result<(i64, i64), ResponseError> {
    let found = match timestamp {
        LATEST => Some((partition.extent().end, -1)),
        EARLIEST => Some((partition.extent().start, -1)),
        LATEST_BY_TIME => partition.latest_by_time()?,
        _ if timestamp < 0 => return Err(ResponseError::InvalidRequest),
        _ => partition.first_at_or_after(timestamp)?,
    };
    Ok(found.unwrap_or((-1, -1)))
}
