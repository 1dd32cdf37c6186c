//! Consumer groups on the wire.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ResponseKind, SyncGroupRequest,
    SyncGroupResponse, TopicName,
};
use tracing::warn;

use super::{Client, now_ms, text};
use crate::Shared;
use crate::groups::{Committed, GroupError, Join, Joined, METADATA_BYTES_MAX, Member, millis};

pub(super) async fn join(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: JoinGroupRequest,
) -> ResponseKind {
    let session_timeout = millis(request.session_timeout_ms);
    let rebalance_timeout = match request.rebalance_timeout_ms {
        // Version 0 had no such field.
        ..=0 => session_timeout,
        ms => millis(ms),
    };
    let join = Join {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client.id.clone(),
        client_host: client.host.clone(),
        knows_member_id_required: version >= 4,
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), protocol.metadata))
            .collect(),
    };
    let joined = match shared.groups.join(&request.group_id, join, Instant::now()) {
        // A sender that is dropped belonged to a member that is out.
        Ok(waiting) => waiting.await.unwrap_or(Err(GroupError::UnknownMember)),
        Err(error) => Err(error),
    };
    let response = match joined {
        Ok(joined) => joined_response(joined, request.protocol_type),
        Err(error) => {
            let member_id = match &error {
                GroupError::MemberIdRequired(member_id) => text(member_id.as_str()),
                _ => request.member_id,
            };
            JoinGroupResponse::default()
                .with_error_code(code(&error).code())
                .with_generation_id(-1)
                .with_protocol_name(Some(text("")))
                .with_member_id(member_id)
        }
    };
    ResponseKind::JoinGroup(response)
}

fn joined_response(
    joined: Joined,
    protocol_type: kafka_protocol::protocol::StrBytes,
) -> JoinGroupResponse {
    let members = joined
        .members
        .into_iter()
        .map(|(id, instance_id, metadata)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance_id.map(text))
                .with_metadata(metadata)
        })
        .collect();
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(protocol_type))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(members)
}

pub(super) async fn sync(shared: &Shared, request: SyncGroupRequest) -> ResponseKind {
    let assignments: Vec<(String, Bytes)> = request
        .assignments
        .into_iter()
        .map(|assignment| (assignment.member_id.to_string(), assignment.assignment))
        .collect();
    let waiting = shared.groups.sync(
        &request.group_id,
        &request.member_id,
        request.generation_id,
        assignments,
        Instant::now(),
    );
    let synced = match waiting {
        Ok(waiting) => waiting.await.unwrap_or(Err(GroupError::UnknownMember)),
        Err(error) => Err(error),
    };
    let response = match synced {
        Ok(assignment) => SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type)
            .with_protocol_name(request.protocol_name)
            .with_assignment(assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(code(&error).code()),
    };
    ResponseKind::SyncGroup(response)
}

pub(super) fn heartbeat(shared: &Shared, request: &HeartbeatRequest) -> ResponseKind {
    let beat = shared.groups.heartbeat(
        &request.group_id,
        &request.member_id,
        request.generation_id,
        Instant::now(),
    );
    ResponseKind::Heartbeat(HeartbeatResponse::default().with_error_code(outcome(beat)))
}

pub(super) fn leave(shared: &Shared, version: i16, request: LeaveGroupRequest) -> ResponseKind {
    let leave = |member: Member| {
        outcome(
            shared
                .groups
                .leave(&request.group_id, &member, Instant::now()),
        )
    };
    let response = LeaveGroupResponse::default();
    if version < 3 {
        let member = Member {
            id: request.member_id.to_string(),
            instance_id: None,
        };
        return ResponseKind::LeaveGroup(response.with_error_code(leave(member)));
    }
    let members = request
        .members
        .iter()
        .map(|member| {
            let left = leave(Member {
                id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
            });
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(left)
        })
        .collect();
    ResponseKind::LeaveGroup(response.with_members(members))
}

pub(super) fn commit(shared: &Shared, request: OffsetCommitRequest) -> ResponseKind {
    let now = now_ms();
    let mut commits = Vec::new();
    // The code of each partition before the group is asked; 0 for those that are handed on.
    let mut codes = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            let index = partition.partition_index;
            codes.push(if shared.topics.partition(&topic.name, index).is_none() {
                ResponseError::UnknownTopicOrPartition.code()
            } else if metadata.len() > METADATA_BYTES_MAX {
                ResponseError::OffsetMetadataTooLarge.code()
            } else {
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                    committed_at_ms: now,
                };
                commits.push((topic.name.to_string(), index, committed));
                0
            });
        }
    }
    let committed = shared.groups.commit(
        &request.group_id,
        &request.member_id,
        request.generation_id_or_member_epoch,
        commits,
        Instant::now(),
    );
    let group_code = match committed {
        Ok(committed) => outcome(committed),
        Err(error) => {
            warn!(
                "offsets of group {} could not be written: {error}",
                &**request.group_id
            );
            ResponseError::KafkaStorageError.code()
        }
    };
    let mut codes = codes.into_iter();
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .zip(&mut codes)
                .map(|(partition, code)| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(if code == 0 { group_code } else { code })
                })
                .collect();
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    ResponseKind::OffsetCommit(OffsetCommitResponse::default().with_topics(topics))
}

pub(super) fn committed(
    shared: &Shared,
    version: i16,
    request: OffsetFetchRequest,
) -> ResponseKind {
    let response = OffsetFetchResponse::default();
    // From version 8 on one request asks for several groups.
    if version >= 8 {
        let groups = request
            .groups
            .into_iter()
            .map(|group| {
                let wanted = group.topics.map(|topics| {
                    topics
                        .into_iter()
                        .map(|topic| (topic.name, topic.partition_indexes))
                        .collect()
                });
                let topics = positions(shared, &group.group_id, wanted)
                    .into_iter()
                    .map(|(name, partitions)| {
                        let partitions = partitions
                            .into_iter()
                            .map(|(index, committed)| {
                                OffsetFetchResponsePartitions::default()
                                    .with_partition_index(index)
                                    .with_committed_offset(committed.offset)
                                    .with_committed_leader_epoch(committed.leader_epoch)
                                    .with_metadata(Some(text(committed.metadata)))
                            })
                            .collect();
                        OffsetFetchResponseTopics::default()
                            .with_name(name)
                            .with_partitions(partitions)
                    })
                    .collect();
                OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id)
                    .with_topics(topics)
            })
            .collect();
        return ResponseKind::OffsetFetch(response.with_groups(groups));
    }
    let wanted = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    let topics = positions(shared, &request.group_id, wanted)
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(index, committed)| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.leader_epoch)
                        .with_metadata(Some(text(committed.metadata)))
                })
                .collect();
            OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions)
        })
        .collect();
    ResponseKind::OffsetFetch(response.with_topics(topics))
}

/// What a group has committed for `wanted` (all if `None`); offset -1 where it has nothing.
fn positions(
    shared: &Shared,
    group_id: &str,
    wanted: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Vec<(TopicName, Vec<(i32, Committed)>)> {
    let committed = shared.groups.committed(group_id);
    let wanted = wanted.unwrap_or_else(|| {
        let mut all: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in committed.keys() {
            all.entry(topic).or_default().push(*partition);
        }
        all.into_iter()
            .map(|(topic, indexes)| (TopicName(text(topic)), indexes))
            .collect()
    });
    let nothing = || Committed {
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        committed_at_ms: 0,
    };
    wanted
        .into_iter()
        .map(|(name, indexes)| {
            let at = |index| committed.get(&(name.to_string(), index)).cloned();
            let found = indexes
                .into_iter()
                .map(|index| (index, at(index).unwrap_or_else(nothing)));
            let found = found.collect();
            (name, found)
        })
        .collect()
}

pub(super) fn describe(shared: &Shared, request: DescribeGroupsRequest) -> ResponseKind {
    let groups = request
        .groups
        .into_iter()
        .map(|group_id| {
            let described = shared.groups.describe(&group_id);
            let dead = described.is_none();
            let description = described.unwrap_or_default();
            let state = match description.state {
                _ if dead => "Dead",
                "" => "Empty",
                state => state,
            };
            let members = description
                .members
                .into_iter()
                .map(|member| {
                    DescribedGroupMember::default()
                        .with_member_id(text(member.member.id))
                        .with_group_instance_id(member.member.instance_id.map(text))
                        .with_client_id(text(member.client_id))
                        .with_client_host(text(member.client_host))
                        .with_member_metadata(member.metadata)
                        .with_member_assignment(member.assignment)
                })
                .collect();
            DescribedGroup::default()
                .with_group_id(group_id)
                .with_group_state(text(state))
                .with_protocol_type(text(description.protocol_type))
                .with_protocol_data(text(description.protocol))
                .with_members(members)
        })
        .collect();
    ResponseKind::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups))
}

pub(super) fn list(shared: &Shared, request: &ListGroupsRequest) -> ResponseKind {
    let groups = shared
        .groups
        .list()
        .into_iter()
        .map(|(group_id, description)| {
            let state = if description.state.is_empty() {
                "Empty"
            } else {
                description.state
            };
            (group_id, description.protocol_type, state)
        })
        .filter(|(.., state)| {
            request.states_filter.is_empty()
                || request
                    .states_filter
                    .iter()
                    .any(|wanted| &**wanted == *state)
        })
        .map(|(group_id, protocol_type, state)| {
            ListedGroup::default()
                .with_group_id(text(group_id).into())
                .with_protocol_type(text(protocol_type))
                .with_group_state(text(state))
        })
        .collect();
    ResponseKind::ListGroups(ListGroupsResponse::default().with_groups(groups))
}

pub(super) fn delete(shared: &Shared, request: DeleteGroupsRequest) -> ResponseKind {
    let results = request
        .groups_names
        .into_iter()
        .map(|group_id| {
            let code = match shared.groups.delete(&group_id) {
                Ok(deleted) => outcome(deleted),
                Err(error) => {
                    warn!("group {} could not be deleted: {error}", &**group_id);
                    ResponseError::KafkaStorageError.code()
                }
            };
            DeletableGroupResult::default()
                .with_group_id(group_id)
                .with_error_code(code)
        })
        .collect();
    ResponseKind::DeleteGroups(DeleteGroupsResponse::default().with_results(results))
}

fn outcome(result: Result<(), GroupError>) -> i16 {
    result.err().map_or(0, |error| code(&error).code())
}

fn code(error: &GroupError) -> ResponseError {
    match error {
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
        GroupError::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
        GroupError::UnknownMember => ResponseError::UnknownMemberId,
        GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupError::FencedInstance => ResponseError::FencedInstanceId,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::GroupFull => ResponseError::GroupMaxSizeReached,
        GroupError::NotEmpty => ResponseError::NonEmptyGroup,
        GroupError::UnknownGroup => ResponseError::GroupIdNotFound,
    }
}
