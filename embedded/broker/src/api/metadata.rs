//! Who is there: the one broker, its topics, and itself as everybody's coordinator.

use std::sync::Arc;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse,
        MetadataRequest, MetadataResponse, TopicName,
        describe_cluster_response::DescribeClusterBroker,
        find_coordinator_response::Coordinator,
        metadata_request::MetadataRequestTopic,
        metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
    protocol::StrBytes,
};

use super::{NODE, Request, blocking, once, text};
use crate::{
    broker::Shared,
    topic_config::Overrides,
    topics::{Refusal, Topic},
};

const GROUP: i8 = 0;

pub(super) async fn answer(
    request: Request,
    body: MetadataRequest,
) -> anyhow::Result<MetadataResponse> {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(request.host.clone()))
        .with_port(request.port);
    let cluster = request.broker.cluster_id.clone();
    let (shared, version) = (request.broker, request.version);
    // May create topics, so it may touch the disk.
    let topics = blocking(move || match body.topics {
        // The first version had no other way to ask for all.
        Some(wanted) if !(version == 0 && wanted.is_empty()) => {
            let create = body.allow_auto_topic_creation && shared.config.auto_create_topics;
            once(wanted, |wanted| (wanted.name.clone(), wanted.topic_id))
                .into_iter()
                .map(|wanted| describe_wanted(&shared, wanted, create))
                .collect()
        }
        _ => shared
            .topics
            .all()
            .iter()
            .map(describe_topic)
            .collect::<Vec<_>>(),
    })
    .await?;
    Ok(MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(cluster)))
        .with_controller_id(BrokerId(NODE))
        .with_topics(topics))
}

fn describe_wanted(
    broker: &Shared,
    wanted: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let missing = MetadataResponseTopic::default();
    let Some(name) = wanted.name else {
        return match broker.topics.by_id(wanted.topic_id) {
            Some(topic) => describe_topic(&topic),
            None => missing
                .with_topic_id(wanted.topic_id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        };
    };
    if let Some(topic) = broker.topics.get(&name) {
        return describe_topic(&topic);
    }
    let created = if create {
        broker
            .topics
            .create(&name, broker.config.partitions, Overrides::new(), false)
    } else {
        Err(Refusal::new(ResponseError::UnknownTopicOrPartition, ""))
    };
    match created {
        Ok(topic) => describe_topic(&topic),
        Err(refusal) => missing
            .with_name(Some(name))
            .with_error_code(refusal.error.code()),
    }
}

fn describe_topic(topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partitions = (0..topic.current().partitions.len() as i32).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(NODE))
            .with_leader_epoch(0)
            .with_replica_nodes(vec![BrokerId(NODE)])
            .with_isr_nodes(vec![BrokerId(NODE)])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}

pub(super) fn describe_cluster(request: &Request) -> DescribeClusterResponse {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE))
        .with_host(text(request.host.clone()))
        .with_port(request.port);
    DescribeClusterResponse::default()
        .with_cluster_id(text(request.broker.cluster_id.clone()))
        .with_controller_id(BrokerId(NODE))
        .with_brokers(vec![broker])
}

pub(super) fn find_coordinator(
    request: &Request,
    body: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let refusal = match body.key_type {
        GROUP => None,
        // Said here, so that a transactional producer fails with a reason instead of trying for ever.
        _ => Some((
            ResponseError::TransactionalIdAuthorizationFailed.code(),
            StrBytes::from_static_str("this broker has no transactions"),
        )),
    };
    let (error_code, message) = refusal.map_or((0, None), |(code, message)| (code, Some(message)));
    if request.version >= 4 {
        let coordinators = body.coordinator_keys.into_iter().map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_node_id(BrokerId(NODE))
                .with_host(text(request.host.clone()))
                .with_port(request.port)
                .with_error_code(error_code)
                .with_error_message(message.clone())
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    FindCoordinatorResponse::default()
        .with_error_code(error_code)
        .with_error_message(message.filter(|_| request.version >= 1))
        .with_node_id(BrokerId(NODE))
        .with_host(text(request.host.clone()))
        .with_port(request.port)
}
