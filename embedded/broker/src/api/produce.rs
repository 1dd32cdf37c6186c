//! Produce: written at once, acknowledged after the fsync. And the ids of those who produce.

use std::{io, sync::Arc};

use kafka_protocol::{
    ResponseError,
    messages::{
        InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
        ResponseKind,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::error;

use super::{Pending, Request, blocking};
use crate::{
    broker::Shared,
    clock,
    log::{Appended, Partition},
};

/// A partition's share of a request.
struct Share {
    topic: usize,
    index: i32,
    outcome: Result<Appended, ResponseError>,
    partition: Option<Arc<Partition>>,
}

/// Writes the records; what is left is to wait for the fsync and to answer.
pub(super) async fn begin(request: Request, body: ProduceRequest) -> anyhow::Result<Pending> {
    let acks = body.acks;
    let names: Vec<_> = body
        .topic_data
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let broker = request.broker.clone();
    let (shares, syncing) = blocking(move || {
        let shares = append_all(&broker, body);
        let syncing = begin_sync(&shares);
        (shares, syncing)
    })
    .await?;
    if acks == 0 {
        return Ok(Box::pin(async { Ok(None) }));
    }
    Ok(Box::pin(async move {
        for synced in syncing {
            // No answer at all: whether the records will be there is not known any more.
            synced.await??;
        }
        Ok(Some(ResponseKind::Produce(response(names, shares))))
    }))
}

/// Begins the fsyncs. They go on if the client leaves, since others wait to see its records.
fn begin_sync(shares: &[Share]) -> Vec<JoinHandle<io::Result<()>>> {
    let appended = shares
        .iter()
        .filter_map(|share| Some((share.outcome.ok()?.sync_to, share.partition.clone()?)));
    appended
        .map(|(to, partition)| spawn_blocking(move || partition.sync(to)))
        .collect()
}

fn append_all(broker: &Shared, body: ProduceRequest) -> Vec<Share> {
    let refusal = if body.transactional_id.is_some() {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if ![-1, 0, 1].contains(&body.acks) {
        Some(ResponseError::InvalidRequiredAcks)
    } else {
        None
    };
    let now = clock::now();
    let mut shares = Vec::new();
    for (topic, sent) in body.topic_data.into_iter().enumerate() {
        let current = broker.topics.get(&sent.name).map(|topic| topic.current());
        for sent in sent.partition_data {
            let partition = usize::try_from(sent.index)
                .ok()
                .and_then(|index| current.as_ref()?.partitions.get(index))
                .cloned();
            let records = sent.records.unwrap_or_default();
            let outcome = match (refusal, &current, &partition) {
                (Some(refusal), ..) => Err(refusal),
                (None, Some(current), Some(partition)) => {
                    partition.append(&records, &current.config, now)
                }
                _ => Err(ResponseError::UnknownTopicOrPartition),
            };
            shares.push(Share {
                topic,
                index: sent.index,
                outcome,
                partition,
            });
        }
    }
    shares
}

fn response(
    names: Vec<kafka_protocol::messages::TopicName>,
    shares: Vec<Share>,
) -> ProduceResponse {
    let mut topics: Vec<_> = names
        .into_iter()
        .map(|name| TopicProduceResponse::default().with_name(name))
        .collect();
    for share in shares {
        let answer = PartitionProduceResponse::default()
            .with_index(share.index)
            .with_log_append_time_ms(-1);
        topics[share.topic]
            .partition_responses
            .push(match share.outcome {
                Ok(appended) => answer
                    .with_base_offset(appended.base_offset)
                    .with_log_start_offset(appended.start),
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_base_offset(-1)
                    .with_log_start_offset(-1),
            });
    }
    ProduceResponse::default().with_responses(topics)
}

pub(super) async fn init_producer_id(
    request: Request,
    body: InitProducerIdRequest,
) -> anyhow::Result<InitProducerIdResponse> {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if body.transactional_id.is_some() {
        return Ok(refused(ResponseError::TransactionalIdAuthorizationFailed));
    }
    Ok(
        match blocking(move || request.broker.producer_ids.next()).await? {
            Ok(id) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(0),
            Err(error) => {
                error!("cannot reserve producer ids: {error}");
                refused(ResponseError::CoordinatorNotAvailable)
            }
        },
    )
}
