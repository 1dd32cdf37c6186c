//! The protocol by hand: what a member says that librdkafka would never let it say.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka_protocol::messages::{
    ApiKey, GroupId, HeartbeatRequest, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::clients::{PATIENCE, wait_until};

/// A connection to the only node.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn connect(bootstrap: &str) -> Self {
        let stream = TcpStream::connect(bootstrap).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn call(&mut self, key: ApiKey, version: i16, body: RequestKind) -> ResponseKind {
        let mut request = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(1)
            .with_client_id(Some(StrBytes::from_static_str("by-hand")))
            .encode(&mut request, key.request_header_version(version))
            .unwrap();
        body.encode(&mut request, version).unwrap();
        let len = u32::try_from(request.len()).unwrap();
        self.0.write_all(&len.to_be_bytes()).unwrap();
        self.0.write_all(&request).unwrap();

        let mut len = [0; 4];
        self.0.read_exact(&mut len).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut answer).unwrap();
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, key.response_header_version(version)).unwrap();
        ResponseKind::decode(key, &mut answer, version).unwrap()
    }

    /// Waits until the group has a coordinator: Apache Kafka makes its topic for offsets when it is
    /// first asked.
    pub(crate) fn await_coordinator(&mut self, group: &str) {
        wait_until("the group has a coordinator", || {
            let request = FindCoordinatorRequest::default().with_key(text(group));
            let ResponseKind::FindCoordinator(answer) = self.call(
                ApiKey::FindCoordinator,
                3,
                RequestKind::FindCoordinator(request),
            ) else {
                unreachable!()
            };
            // It may be named before it has read that topic.
            answer.error_code == 0 && ![14, 15, 16].contains(&self.heartbeat(group, "nobody", 1))
        });
    }

    /// A new member's id and generation.
    pub(crate) fn join(&mut self, group: &str, topic: &str, session_ms: i32) -> (String, i32) {
        self.join_as("", group, topic, session_ms)
    }

    /// A member joins again; its new generation.
    pub(crate) fn rejoin(&mut self, group: &str, topic: &str, member: &str) -> i32 {
        self.join_as(member, group, topic, 30_000).1
    }

    fn join_as(
        &mut self,
        member: &str,
        group: &str,
        topic: &str,
        session_ms: i32,
    ) -> (String, i32) {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(subscription(topic));
        let mut request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text(member))
            .with_session_timeout_ms(session_ms)
            .with_rebalance_timeout_ms(session_ms)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        loop {
            let ResponseKind::JoinGroup(answer) = self.call(
                ApiKey::JoinGroup,
                5,
                RequestKind::JoinGroup(request.clone()),
            ) else {
                unreachable!()
            };
            if answer.error_code == 0 {
                return (answer.member_id.to_string(), answer.generation_id);
            }
            assert_eq!(answer.error_code, 79, "only the member's id may be missing");
            request = request.with_member_id(answer.member_id);
        }
    }

    pub(crate) fn sync(&mut self, group: &str, member: &str, generation: i32) {
        let share = SyncGroupRequestAssignment::default().with_member_id(text(member));
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_assignments(vec![share]);
        let ResponseKind::SyncGroup(answer) =
            self.call(ApiKey::SyncGroup, 3, RequestKind::SyncGroup(request))
        else {
            unreachable!()
        };
        assert_eq!(answer.error_code, 0);
    }

    pub(crate) fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id(generation)
            .with_member_id(text(member));
        let ResponseKind::Heartbeat(answer) =
            self.call(ApiKey::Heartbeat, 3, RequestKind::Heartbeat(request))
        else {
            unreachable!()
        };
        answer.error_code
    }

    /// One request for all of them; the code of each partition, by their numbers.
    pub(crate) fn commit(
        &mut self,
        version: i16,
        (group, topic): (&str, &str),
        (member, generation): (&str, i32),
        positions: &[(i32, i64, &str)],
    ) -> Vec<i16> {
        let partitions = positions.iter().map(|(partition, offset, metadata)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(text(metadata)))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(member))
            .with_topics(vec![topic]);
        let ResponseKind::OffsetCommit(answer) = self.call(
            ApiKey::OffsetCommit,
            version,
            RequestKind::OffsetCommit(request),
        ) else {
            unreachable!()
        };
        let mut partitions = answer.topics[0].partitions.clone();
        // Apache Kafka answers those it refuses first.
        partitions.sort_by_key(|partition| partition.partition_index);
        partitions
            .iter()
            .map(|partition| partition.error_code)
            .collect()
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Version 0 of what a consumer says of itself: its topics and no data of its own.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}
