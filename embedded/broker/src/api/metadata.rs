//! What there is: versions, brokers, topics, coordinators.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse, ResponseKind, TopicName,
};
use uuid::Uuid;

use super::{NODE_ID, SUPPORTED, now_ms, text};
use crate::Shared;
use crate::topics::{CreateError, Topic};

const GROUP_KEY: i8 = 0;

pub(crate) fn api_versions(error: Option<ResponseError>) -> ResponseKind {
    let api_keys = SUPPORTED
        .iter()
        .map(|(key, min, max)| {
            let version = ApiVersion::default().with_api_key(*key as i16);
            version.with_min_version(*min).with_max_version(*max)
        })
        .collect();
    let response =
        ApiVersionsResponse::default().with_error_code(error.map_or(0, |error| error.code()));
    ResponseKind::ApiVersions(response.with_api_keys(api_keys))
}

pub(super) fn metadata(shared: &Shared, version: i16, request: &MetadataRequest) -> ResponseKind {
    // No topics: all of them. Version 0 says so by an empty list.
    let wanted = request
        .topics
        .as_ref()
        .filter(|topics| version > 0 || !topics.is_empty());
    let topics = match wanted {
        None => shared
            .topics
            .all()
            .into_iter()
            .map(|(name, topic)| known(&name, &topic))
            .collect(),
        Some(wanted) => wanted
            .iter()
            .map(|topic| match &topic.name {
                Some(name) => named(shared, name, request.allow_auto_topic_creation),
                None => by_id(shared, topic.topic_id),
            })
            .collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(text(&*shared.advertised.0))
        .with_port(shared.advertised.1.into());
    let response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&*shared.cluster_id)))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics);
    ResponseKind::Metadata(response)
}

fn named(shared: &Shared, name: &TopicName, create: bool) -> MetadataResponseTopic {
    let topic = match shared.topics.get(name) {
        None if create && shared.config.create_topics => {
            match shared.topics.create(name, -1, Default::default(), now_ms()) {
                Ok(topic) => Some(topic),
                Err(CreateError::Exists(_)) => shared.topics.get(name),
                Err(_) => None,
            }
        }
        found => found,
    };
    match topic {
        Some(topic) => known(name, &topic),
        None => MetadataResponseTopic::default()
            .with_name(Some(name.clone()))
            .with_error_code(ResponseError::UnknownTopicOrPartition.code()),
    }
}

fn by_id(shared: &Shared, id: Uuid) -> MetadataResponseTopic {
    let found = shared
        .topics
        .all()
        .into_iter()
        .find(|(_, topic)| topic.id == id);
    match found {
        Some((name, topic)) => known(&name, &topic),
        None => MetadataResponseTopic::default()
            .with_topic_id(id)
            .with_error_code(ResponseError::UnknownTopicId.code()),
    }
}

fn known(name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..)
        .zip(&topic.partitions)
        .map(|(index, _)| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(NODE_ID))
                .with_leader_epoch(0)
                .with_replica_nodes(vec![BrokerId(NODE_ID)])
                .with_isr_nodes(vec![BrokerId(NODE_ID)])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_topic_id(topic.id)
        .with_partitions(partitions)
}

pub(super) fn describe_cluster(shared: &Shared) -> ResponseKind {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(text(&*shared.advertised.0))
        .with_port(shared.advertised.1.into());
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(&*shared.cluster_id))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker]);
    ResponseKind::DescribeCluster(response)
}

pub(super) fn find_coordinator(shared: &Shared, request: &FindCoordinatorRequest) -> ResponseKind {
    // There are no transactions here; this code is final to a client, so it says so at once.
    let error = if request.key_type == GROUP_KEY {
        0
    } else {
        ResponseError::TransactionalIdAuthorizationFailed.code()
    };
    let (host, port) = (text(&*shared.advertised.0), i32::from(shared.advertised.1));
    let coordinators = request
        .coordinator_keys
        .iter()
        .map(|key| {
            Coordinator::default()
                .with_key(key.clone())
                .with_node_id(BrokerId(NODE_ID))
                .with_host(host.clone())
                .with_port(port)
                .with_error_code(error)
        })
        .collect();
    let response = FindCoordinatorResponse::default()
        .with_error_code(error)
        .with_node_id(BrokerId(NODE_ID))
        .with_host(host.clone())
        .with_port(port)
        .with_coordinators(coordinators);
    ResponseKind::FindCoordinator(response)
}
