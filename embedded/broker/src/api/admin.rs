//! Topics and partitions made, grown, emptied and deleted.

use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DeleteTopicsResponse, TopicName,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        delete_topics_response::DeletableTopicResult,
    },
};
use tracing::error;
use uuid::Uuid;

use super::{Request, blocking, text, verdict};
use crate::{
    broker::Shared,
    topic_config::Overrides,
    topics::{Refusal, Topic},
};

/// Where a setting comes from, in Kafka's codes.
const FROM_TOPIC: i8 = 1;
const FROM_DEFAULT: i8 = 5;

pub(super) async fn create_topics(
    request: Request,
    body: CreateTopicsRequest,
) -> anyhow::Result<CreateTopicsResponse> {
    blocking(move || {
        let topics = body.topics.into_iter().map(|wanted| {
            let name = wanted.name.clone();
            let outcome = create(&request.broker, wanted, body.validate_only);
            let (error_code, message) = verdict(&outcome);
            let result = CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(error_code)
                .with_error_message(message);
            match outcome {
                Ok((topic, partitions)) if request.version >= 5 => result
                    .with_topic_id(if request.version >= 7 {
                        topic.id
                    } else {
                        Uuid::nil()
                    })
                    .with_num_partitions(partitions)
                    .with_replication_factor(1)
                    .with_configs(Some(settings(&topic))),
                _ => result,
            }
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    })
    .await
}

fn create(
    broker: &Shared,
    wanted: CreatableTopic,
    only_check: bool,
) -> Result<(std::sync::Arc<Topic>, i32), Refusal> {
    if ![-1, 1].contains(&wanted.replication_factor) {
        let message = format!(
            "there is one broker, so there cannot be {} replicas",
            wanted.replication_factor
        );
        return Err(Refusal::new(
            ResponseError::InvalidReplicationFactor,
            message,
        ));
    }
    if !wanted.assignments.is_empty() {
        let message = "there is one broker, so partitions cannot be assigned to others";
        return Err(Refusal::new(
            ResponseError::InvalidReplicaAssignment,
            message,
        ));
    }
    let partitions = if wanted.num_partitions == -1 {
        broker.config.partitions
    } else {
        wanted.num_partitions
    };
    let overrides: Overrides = wanted
        .configs
        .into_iter()
        .filter_map(|config| Some((config.name.to_string(), config.value?.to_string())))
        .collect();
    let topic = broker
        .topics
        .create(&wanted.name, partitions, overrides, only_check)?;
    Ok((topic, partitions))
}

fn settings(topic: &Topic) -> Vec<CreatableTopicConfigs> {
    let current = topic.current();
    let settings = current.config.describe().into_iter().map(|setting| {
        let own = current.overrides.contains_key(setting.name);
        CreatableTopicConfigs::default()
            .with_name(text(setting.name))
            .with_value(Some(text(setting.value)))
            .with_read_only(setting.read_only)
            .with_config_source(if own { FROM_TOPIC } else { FROM_DEFAULT })
    });
    settings.collect()
}

pub(super) async fn delete_topics(
    request: Request,
    body: DeleteTopicsRequest,
) -> anyhow::Result<DeleteTopicsResponse> {
    let wanted = body
        .topics
        .into_iter()
        .map(|topic| (topic.name, topic.topic_id))
        .chain(
            body.topic_names
                .into_iter()
                .map(|name| (Some(name), Uuid::nil())),
        );
    let wanted: Vec<(Option<TopicName>, Uuid)> = wanted.collect();
    blocking(move || {
        let responses = wanted.into_iter().map(|(name, id)| {
            let by_id = || {
                request
                    .broker
                    .topics
                    .by_id(id)
                    .map(|topic| topic.name.clone())
            };
            let outcome = match name.as_ref().map(|name| name.to_string()).or_else(by_id) {
                Some(name) => delete(&request.broker, &name),
                None => Err(Refusal::new(
                    ResponseError::UnknownTopicId,
                    format!("there is no topic {id}"),
                )),
            };
            let (error_code, message) = verdict(&outcome);
            DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(if request.version >= 6 {
                    id
                } else {
                    Uuid::nil()
                })
                .with_error_code(error_code)
                .with_error_message(message.filter(|_| request.version >= 5))
        });
        DeleteTopicsResponse::default().with_responses(responses.collect())
    })
    .await
}

fn delete(broker: &Shared, name: &str) -> Result<(), Refusal> {
    broker.topics.delete(name)?;
    broker.groups.offsets.forget_topic(name).map_err(|error| {
        error!("cannot forget the offsets of deleted topic {name}: {error}");
        Refusal::new(
            ResponseError::KafkaStorageError,
            format!("deleted {name}, but not its committed offsets: {error}"),
        )
    })
}

pub(super) async fn create_partitions(
    request: Request,
    body: CreatePartitionsRequest,
) -> anyhow::Result<CreatePartitionsResponse> {
    blocking(move || {
        let results = body.topics.into_iter().map(|wanted| {
            let outcome =
                request
                    .broker
                    .topics
                    .grow(&wanted.name, wanted.count, body.validate_only);
            let (error_code, message) = verdict(&outcome);
            CreatePartitionsTopicResult::default()
                .with_name(wanted.name)
                .with_error_code(error_code)
                .with_error_message(message)
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    })
    .await
}

pub(super) async fn delete_records(
    request: Request,
    body: DeleteRecordsRequest,
) -> anyhow::Result<DeleteRecordsResponse> {
    blocking(move || {
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = DeleteRecordsPartitionResult::default()
                    .with_partition_index(wanted.partition_index);
                let outcome = request
                    .broker
                    .topics
                    .partition(&topic.name, wanted.partition_index)
                    .ok_or(ResponseError::UnknownTopicOrPartition)
                    .and_then(|partition| partition.delete_before(wanted.offset));
                match outcome {
                    Ok(start) => answer.with_low_watermark(start),
                    Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
                }
            });
            DeleteRecordsTopicResult::default()
                .with_partitions(partitions.collect())
                .with_name(topic.name.clone())
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    })
    .await
}
