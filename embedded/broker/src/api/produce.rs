//! Records coming in: appended, fsynced, then acknowledged.

use std::io;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
    ResponseKind,
};
use tracing::warn;

use super::{now_ms, text};
use crate::Shared;
use crate::log::{AppendError, PartitionLog};

pub(super) async fn produce(
    shared: Arc<Shared>,
    request: ProduceRequest,
) -> anyhow::Result<ResponseKind> {
    let appended = shared.appended.clone();
    let response = tokio::task::spawn_blocking(move || append_all(&shared, &request)).await?;
    appended.send_modify(|appends| *appends = appends.wrapping_add(1));
    Ok(ResponseKind::Produce(response))
}

fn append_all(shared: &Shared, request: &ProduceRequest) -> ProduceResponse {
    let mut touched: Vec<Arc<PartitionLog>> = Vec::new();
    let mut responses: Vec<TopicProduceResponse> = Vec::with_capacity(request.topic_data.len());
    for topic in &request.topic_data {
        let partitions = topic
            .partition_data
            .iter()
            .map(|data| {
                let records = data.records.as_deref().unwrap_or_default();
                let response = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_log_append_time_ms(-1);
                match shared.topics.partition(&topic.name, data.index) {
                    None => failed(response, ResponseError::UnknownTopicOrPartition, None),
                    Some((topic, log)) => match log.append(records, topic.limits(), now_ms()) {
                        Ok(offset) => {
                            let start = log.watermarks().start;
                            touched.push(log);
                            response
                                .with_base_offset(offset)
                                .with_log_start_offset(start)
                        }
                        Err(error) => failed(response, code(&error), Some(format!("{error}"))),
                    },
                }
            })
            .collect();
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(partitions),
        );
    }
    // After all appends, so that one request waits for one fsync a partition and no more.
    for log in touched {
        if let Err(error) = log.sync() {
            shared.fail(format!("fsync failed: {error}"));
            let partitions = responses
                .iter_mut()
                .flat_map(|topic| &mut topic.partition_responses);
            for partition in partitions {
                partition.error_code = ResponseError::KafkaStorageError.code();
                partition.base_offset = -1;
            }
            break;
        }
    }
    ProduceResponse::default().with_responses(responses)
}

fn failed(
    response: PartitionProduceResponse,
    error: ResponseError,
    message: Option<String>,
) -> PartitionProduceResponse {
    response
        .with_base_offset(-1)
        .with_error_code(error.code())
        .with_error_message(message.map(text))
}

fn code(error: &AppendError) -> ResponseError {
    match error {
        AppendError::Corrupt => ResponseError::CorruptMessage,
        AppendError::Unsupported => ResponseError::UnsupportedForMessageFormat,
        AppendError::TooLarge(_) => ResponseError::MessageTooLarge,
        AppendError::OutOfOrder => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Fenced => ResponseError::InvalidProducerEpoch,
        AppendError::Disk(error) => {
            warn!("a batch was refused, nothing was acknowledged: {error}");
            ResponseError::KafkaStorageError
        }
    }
}

pub(super) fn init_producer_id(shared: &Shared, request: &InitProducerIdRequest) -> ResponseKind {
    let response = InitProducerIdResponse::default();
    let refused = |error: ResponseError| {
        let response = InitProducerIdResponse::default().with_error_code(error.code());
        ResponseKind::InitProducerId(response.with_producer_id(ProducerId(-1)))
    };
    if request.transactional_id.is_some() {
        return refused(ResponseError::TransactionalIdAuthorizationFailed);
    }
    let (id, epoch) = match request.producer_epoch.checked_add(1) {
        // It had a batch refused and goes on under the next epoch.
        Some(epoch) if request.producer_id.0 >= 0 => (Ok(request.producer_id.0), epoch),
        _ => (next_producer_id(shared), 0),
    };
    match id {
        Ok(id) => ResponseKind::InitProducerId(
            response
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(epoch),
        ),
        Err(error) => {
            warn!("no producer id could be reserved: {error}");
            refused(ResponseError::KafkaStorageError)
        }
    }
}

fn next_producer_id(shared: &Shared) -> io::Result<i64> {
    let mut ids = shared
        .producer_ids
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    ids.next()
}
