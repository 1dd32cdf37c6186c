//! Topics coming and going.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    ResponseKind,
};
use tracing::{info, warn};

use super::{now_ms, text};
use crate::Shared;
use crate::topics::CreateError;

/// Only one broker, so only one replica; -1 is the broker's default.
const REPLICATION: [i16; 2] = [-1, 1];

pub(super) fn create(shared: &Shared, request: CreateTopicsRequest) -> ResponseKind {
    let validate_only = request.validate_only;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| create_one(shared, topic, validate_only))
        .collect();
    ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(topics))
}

fn create_one(
    shared: &Shared,
    wanted: CreatableTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(wanted.name.clone());
    let refuse = |error: ResponseError, reason: String| {
        CreatableTopicResult::default()
            .with_name(wanted.name.clone())
            .with_error_code(error.code())
            .with_error_message(Some(text(reason)))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
    };
    if !REPLICATION.contains(&wanted.replication_factor) && wanted.assignments.is_empty() {
        let reason = "this broker is alone: the replication factor can be 1 or -1";
        return refuse(ResponseError::InvalidReplicationFactor, reason.to_owned());
    }
    if validate_only {
        let reason = "this broker does not validate without creating";
        return refuse(ResponseError::InvalidRequest, reason.to_owned());
    }
    let partitions = if wanted.assignments.is_empty() {
        wanted.num_partitions
    } else {
        i32::try_from(wanted.assignments.len()).unwrap_or(i32::MAX)
    };
    let settings: BTreeMap<String, String> = wanted
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    match shared
        .topics
        .create(&wanted.name, partitions, settings, now_ms())
    {
        Ok(topic) => {
            let partitions = topic.partitions.len();
            info!("created topic {} of {partitions} partitions", &*wanted.name);
            result
                .with_topic_id(topic.id)
                .with_num_partitions(i32::try_from(partitions).unwrap_or(i32::MAX))
                .with_replication_factor(1)
                .with_configs(Some(Vec::new()))
        }
        Err(error) => {
            let code = match &error {
                CreateError::Exists(_) => ResponseError::TopicAlreadyExists,
                CreateError::Name(_) => ResponseError::InvalidTopicException,
                CreateError::Partitions(..) => ResponseError::InvalidPartitions,
                CreateError::Setting(_) => ResponseError::InvalidConfig,
                CreateError::Disk(error) => {
                    warn!("topic {} could not be created: {error}", &*wanted.name);
                    ResponseError::KafkaStorageError
                }
            };
            refuse(code, error.to_string())
        }
    }
}

pub(super) fn delete(shared: &Shared, request: DeleteTopicsRequest) -> ResponseKind {
    let responses = request
        .topic_names
        .into_iter()
        .map(|name| {
            let deleted = shared.topics.delete(&name);
            let forgotten = match deleted {
                Ok(true) => shared.groups.forget_topic(&name).map(|()| true),
                other => other,
            };
            let error = match forgotten {
                Ok(true) => {
                    info!("deleted topic {}", &*name);
                    0
                }
                Ok(false) => ResponseError::UnknownTopicOrPartition.code(),
                Err(error) => {
                    warn!("topic {} could not be deleted: {error}", &*name);
                    ResponseError::KafkaStorageError.code()
                }
            };
            DeletableTopicResult::default()
                .with_name(Some(name))
                .with_error_code(error)
        })
        .collect();
    ResponseKind::DeleteTopics(DeleteTopicsResponse::default().with_responses(responses))
}
