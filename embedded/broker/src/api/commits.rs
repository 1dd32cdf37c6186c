//! Committed offsets with their metadata: durable before the answer.

use std::{collections::HashSet, io};

use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
        TopicName,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
};
use tracing::error;

use super::{Request, blocking, once, text};
use crate::{
    clock,
    groups::{Caller, Committed, Key, NAME_BYTES_MAX, NotCommitted},
};

pub(super) async fn commit(
    request: Request,
    body: OffsetCommitRequest,
) -> anyhow::Result<OffsetCommitResponse> {
    let caller = Caller {
        member: &body.member_id,
        instance: body.group_instance_id.as_deref(),
    };
    let group_check = if !(1..=NAME_BYTES_MAX).contains(&body.group_id.len()) {
        Err(ResponseError::InvalidGroupId)
    } else {
        request.broker.groups.check_commit(
            &body.group_id,
            caller,
            body.generation_id_or_member_epoch,
        )
    };
    let now = clock::now();
    let mut accepted: Vec<(Key, Committed)> = Vec::new();
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let metadata = wanted.committed_metadata.as_deref().unwrap_or_default();
            let outcome = group_check.and_then(|()| {
                if request
                    .broker
                    .topics
                    .partition(&topic.name, wanted.partition_index)
                    .is_none()
                {
                    return Err(ResponseError::UnknownTopicOrPartition);
                }
                if metadata.len() > request.broker.config.offset_metadata_bytes_max {
                    return Err(ResponseError::OffsetMetadataTooLarge);
                }
                Ok(())
            });
            if outcome.is_ok() {
                let committed = Committed {
                    offset: wanted.committed_offset,
                    leader_epoch: wanted.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                    at: now,
                };
                accepted.push(((topic.name.to_string(), wanted.partition_index), committed));
            }
            partitions.push((wanted.partition_index, outcome));
        }
        topics.push((topic.name, partitions));
    }

    let stored = if accepted.is_empty() {
        Ok(())
    } else {
        let (broker, group) = (request.broker.clone(), body.group_id.to_string());
        blocking(move || broker.groups.offsets.commit(&group, accepted)).await?
    };
    let failed = match stored {
        Ok(()) => None,
        Err(NotCommitted::NoRoom) => {
            let groups = &request.broker.groups;
            groups.warn("a commit, since there are as many offsets as broker.offsets_max allows");
            Some(ResponseError::InvalidCommitOffsetSize)
        }
        Err(NotCommitted::Disk(error)) => Some(not_written(&request, &body.group_id, error)?),
    };
    if let Some(failed) = failed {
        for (_, outcome) in topics.iter_mut().flat_map(|(_, partitions)| partitions) {
            *outcome = outcome.and(Err(failed));
        }
    }
    Ok(response(topics))
}

fn not_written(request: &Request, group: &str, error: io::Error) -> anyhow::Result<ResponseError> {
    if request.broker.disk.failure().is_some() {
        // No answer at all: whether the commit will be there is not known any more.
        return Err(error.into());
    }
    error!(
        group.id = group,
        "refused a commit, since writing it failed: {error}"
    );
    Ok(ResponseError::CoordinatorNotAvailable)
}

type Outcomes = Vec<(i32, Result<(), ResponseError>)>;

fn response(topics: Vec<(TopicName, Outcomes)>) -> OffsetCommitResponse {
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, outcome)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(super::code(&outcome))
        });
        OffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Partitions by topic.
type Wanted = Vec<(TopicName, Vec<i32>)>;

/// What was asked for, or all there is, by topic.
type Found = Vec<(TopicName, Vec<(i32, Option<Committed>)>)>;

fn look_up(request: &Request, group: &str, wanted: Option<Wanted>) -> Found {
    let offsets = &request.broker.groups.offsets;
    let Some(mut wanted) = wanted else {
        let mut found: Found = Vec::new();
        for ((topic, partition), committed) in offsets.of_group(group) {
            match found.last_mut().filter(|(name, _)| name.as_str() == topic) {
                Some((_, partitions)) => partitions.push((partition, Some(committed))),
                None => found.push((TopicName(text(topic)), vec![(partition, Some(committed))])),
            }
        }
        return found;
    };
    // What is repeated is answered once.
    let mut seen = HashSet::new();
    for (topic, partitions) in &mut wanted {
        partitions.retain(|partition| seen.insert((topic.clone(), *partition)));
    }
    wanted
        .into_iter()
        .map(|(topic, partitions)| {
            let keys = partitions
                .into_iter()
                .map(|partition| (topic.to_string(), partition));
            let committed = offsets.get(group, keys);
            (
                topic,
                committed
                    .into_iter()
                    .map(|((_, partition), committed)| (partition, committed))
                    .collect(),
            )
        })
        .collect()
}

pub(super) async fn fetch(request: Request, body: OffsetFetchRequest) -> OffsetFetchResponse {
    let offsets = &request.broker.groups.offsets;
    if request.version >= 8 {
        let groups = once(body.groups, |group| group.group_id.clone());
        let bytes = groups.iter().map(|group| offsets.bytes(&group.group_id));
        request.reserve(bytes.sum()).await;
        let groups = groups.into_iter().map(|group| {
            let wanted = group.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|topic| (topic.name, topic.partition_indexes))
                    .collect()
            });
            fetched_group(look_up(&request, &group.group_id, wanted)).with_group_id(group.group_id)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    request.reserve(offsets.bytes(&body.group_id)).await;
    let wanted = body.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    let topics = look_up(&request, &body.group_id, wanted)
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, committed)| {
                let (offset, leader_epoch, metadata) = or_none(committed);
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(if request.version >= 5 {
                        leader_epoch
                    } else {
                        -1
                    })
                    .with_metadata(Some(text(metadata)))
            });
            OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn fetched_group(found: Found) -> OffsetFetchResponseGroup {
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, committed)| {
            let (offset, leader_epoch, metadata) = or_none(committed);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(leader_epoch)
                .with_metadata(Some(text(metadata)))
        });
        OffsetFetchResponseTopics::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default().with_topics(topics.collect())
}

fn or_none(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |committed| {
        (committed.offset, committed.leader_epoch, committed.metadata)
    })
}
