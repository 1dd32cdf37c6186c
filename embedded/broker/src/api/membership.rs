//! Joining, staying in and leaving a group, and looking at groups from outside.

use std::time::Duration;

use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
        SyncGroupRequest, SyncGroupResponse,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::{DescribedGroup, DescribedGroupMember},
        join_group_response::JoinGroupResponseMember,
        leave_group_response::MemberResponse,
        list_groups_response::ListedGroup,
    },
};
use tokio::sync::oneshot;

use super::{Request, blocking, code, once, text};
use crate::groups::{Caller, Join, JoinRefusal, NAME_BYTES_MAX};

pub(super) async fn join(request: Request, body: JoinGroupRequest) -> JoinGroupResponse {
    let version = request.version;
    let protocol_type = body.protocol_type.clone();
    let outcome = match check_join(&request, &body) {
        Ok(session) => {
            let member = body.member_id.to_string();
            let (answer, answered) = oneshot::channel();
            request.broker.groups.join(
                &body.group_id.clone(),
                wish(&request, body, session),
                answer,
            );
            // Dropped without an answer only if the group is, with all of its members.
            answered.await.unwrap_or(Err(JoinRefusal {
                error: ResponseError::UnknownMemberId,
                member,
            }))
        }
        Err(error) => Err(JoinRefusal {
            error,
            member: body.member_id.to_string(),
        }),
    };
    if let Ok(joined) = &outcome {
        // The leader gets what all members have said.
        let members = joined.members.iter();
        let bytes = members.map(|listed| NAME_BYTES_MAX + listed.metadata.len());
        request.reserve(bytes.sum()).await;
    }
    match outcome {
        Ok(joined) => JoinGroupResponse::default()
            .with_generation_id(joined.generation)
            .with_protocol_type(Some(text(joined.protocol_type)))
            .with_protocol_name(Some(text(joined.protocol)))
            .with_leader(text(joined.leader))
            .with_skip_assignment(joined.skip_assignment)
            .with_member_id(text(joined.member))
            .with_members(
                joined
                    .members
                    .into_iter()
                    .map(|listed| {
                        JoinGroupResponseMember::default()
                            .with_member_id(text(listed.member))
                            .with_group_instance_id(listed.instance.map(text))
                            .with_metadata(listed.metadata)
                    })
                    .collect(),
            ),
        Err(refusal) => JoinGroupResponse::default()
            .with_error_code(refusal.error.code())
            .with_generation_id(-1)
            .with_protocol_type(Some(protocol_type).filter(|_| version >= 7))
            .with_protocol_name(Some(text("")))
            .with_member_id(text(refusal.member)),
    }
}

fn check_join(request: &Request, body: &JoinGroupRequest) -> Result<Duration, ResponseError> {
    if !(1..=NAME_BYTES_MAX).contains(&body.group_id.len()) {
        return Err(ResponseError::InvalidGroupId);
    }
    let instance = body.group_instance_id.as_ref().map_or(0, |id| id.len());
    let names = body.protocols.iter().map(|protocol| protocol.name.len());
    let longest = names
        .chain([instance, body.protocol_type.len(), request.client.id.len()])
        .max();
    if longest > Some(NAME_BYTES_MAX) {
        return Err(ResponseError::InvalidRequest);
    }
    let session = Duration::from_millis(u64::try_from(body.session_timeout_ms).unwrap_or(0));
    let allowed = request.broker.config.session_min..=request.broker.config.session_max;
    if allowed.contains(&session) {
        Ok(session)
    } else {
        Err(ResponseError::InvalidSessionTimeout)
    }
}

fn wish(request: &Request, body: JoinGroupRequest, session: Duration) -> Join {
    // The first version had one time-out for both.
    let rebalance = u64::try_from(body.rebalance_timeout_ms).map_or(session, Duration::from_millis);
    Join {
        member: body.member_id.to_string(),
        instance: body.group_instance_id.map(|instance| instance.to_string()),
        client: request.client.clone(),
        session,
        rebalance: rebalance.min(request.broker.config.session_max),
        protocol_type: body.protocol_type.to_string(),
        protocols: body
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), protocol.metadata))
            .collect(),
        id_first: request.version >= 4,
        can_skip_assignment: request.version >= 9,
    }
}

pub(super) async fn sync(request: Request, body: SyncGroupRequest) -> SyncGroupResponse {
    let (answer, answered) = oneshot::channel();
    let caller = Caller {
        member: &body.member_id,
        instance: body.group_instance_id.as_deref(),
    };
    let assignments = body
        .assignments
        .iter()
        .map(|share| (share.member_id.to_string(), share.assignment.clone()));
    request.broker.groups.sync(
        &body.group_id,
        caller,
        body.generation_id,
        body.protocol_name.as_deref(),
        assignments.collect(),
        answer,
    );
    match answered
        .await
        .unwrap_or(Err(ResponseError::UnknownMemberId))
    {
        Ok(assigned) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(assigned.protocol_type)))
            .with_protocol_name(Some(text(assigned.protocol)))
            .with_assignment(assigned.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

pub(super) fn heartbeat(request: &Request, body: &HeartbeatRequest) -> HeartbeatResponse {
    let caller = Caller {
        member: &body.member_id,
        instance: body.group_instance_id.as_deref(),
    };
    let outcome = request
        .broker
        .groups
        .heartbeat(&body.group_id, caller, body.generation_id);
    HeartbeatResponse::default().with_error_code(code(&outcome))
}

pub(super) fn leave(request: &Request, body: LeaveGroupRequest) -> LeaveGroupResponse {
    let groups = &request.broker.groups;
    if request.version < 3 {
        let outcome = groups.leave(
            &body.group_id,
            Caller {
                member: &body.member_id,
                instance: None,
            },
        );
        return LeaveGroupResponse::default().with_error_code(code(&outcome));
    }
    let members = body.members.into_iter().map(|member| {
        let caller = Caller {
            member: &member.member_id,
            instance: member.group_instance_id.as_deref(),
        };
        let outcome = groups.leave(&body.group_id, caller);
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(&outcome))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(super) async fn describe(
    request: Request,
    body: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = once(body.groups, GroupId::clone);
    let bytes = groups
        .iter()
        .map(|id| request.broker.groups.bytes(id))
        .sum();
    request.reserve(bytes).await;
    let groups = groups.into_iter().map(|id| {
        let group = request.broker.groups.describe(&id);
        let members = group.members.into_iter().map(|member| {
            DescribedGroupMember::default()
                .with_member_id(text(member.member))
                .with_group_instance_id(member.instance.map(text).filter(|_| request.version >= 4))
                .with_client_id(text(member.client.id))
                .with_client_host(text(format!("/{}", member.client.host)))
                .with_member_metadata(member.metadata)
                .with_member_assignment(member.assignment)
        });
        DescribedGroup::default()
            .with_group_id(id)
            .with_group_state(text(group.state))
            .with_protocol_type(text(group.protocol_type))
            .with_protocol_data(text(group.protocol))
            .with_members(members.collect())
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

pub(super) async fn list(request: Request, body: ListGroupsRequest) -> ListGroupsResponse {
    let wanted = |state: &str| {
        body.states_filter.is_empty()
            || body
                .states_filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(state))
    };
    let listed = request.broker.groups.list();
    request.reserve(listed.len() * NAME_BYTES_MAX).await;
    let groups = listed
        .into_iter()
        .filter(|group| wanted(group.state))
        .map(|group| {
            ListedGroup::default()
                .with_group_id(GroupId(text(group.id)))
                .with_protocol_type(text(group.protocol_type))
                .with_group_state(text(if request.version >= 4 {
                    group.state
                } else {
                    ""
                }))
        });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub(super) async fn delete(
    request: Request,
    body: DeleteGroupsRequest,
) -> anyhow::Result<DeleteGroupsResponse> {
    blocking(move || {
        let results = body.groups_names.into_iter().map(|group| {
            let outcome = request.broker.groups.delete(&group);
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(code(&outcome))
        });
        DeleteGroupsResponse::default().with_results(results.collect())
    })
    .await
}
