//! Every request in every version that is announced gets an answer that can be decoded.

mod support;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, FetchRequest, FindCoordinatorRequest, GroupId,
        ListOffsetsRequest, MetadataRequest, OffsetFetchRequest, RequestKind, ResponseKind,
        TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_fetch_request::{
            OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
    },
    protocol::StrBytes,
};
use support::{wire::Wire, *};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("events"))
}

fn announced(wire: &mut Wire) -> Vec<(i16, i16, i16)> {
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let ResponseKind::ApiVersions(answer) = wire.call(ApiKey::ApiVersions, 3, &request) else {
        unreachable!()
    };
    answer
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect()
}

#[test]
fn what_is_announced_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    produce(&broker.bootstrap(), "events", 0, ["value".to_owned()]);
    for (code, min, max) in announced(&mut Wire::connect(broker.address)) {
        let key = ApiKey::try_from(code).unwrap();
        if key == ApiKey::Produce {
            // An empty one asks for no answer; the real ones are all over the other tests.
            continue;
        }
        for version in min..=max {
            let mut wire = Wire::connect(broker.address);
            wire.call(key, version, &empty(key));
        }
    }
}

/// A request that asks for nothing in particular.
fn empty(key: ApiKey) -> RequestKind {
    macro_rules! of {
        ($($name:ident)*) => {
            match key {
                $(ApiKey::$name => RequestKind::$name(Default::default()),)*
                other => panic!("{other:?} is announced and not tested"),
            }
        };
    }
    of!(Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup
        SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId
        DescribeConfigs AlterConfigs IncrementalAlterConfigs CreatePartitions DeleteGroups DescribeCluster)
}

#[test]
fn what_consumers_ask_is_answered_the_same_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    produce(&broker.bootstrap(), "events", 0, ["value".to_owned()]);
    let mut wire = Wire::connect(broker.address);

    for version in 0..=12 {
        // The first version asks for all by an empty list.
        let all = if version == 0 { Some(Vec::new()) } else { None };
        let request = RequestKind::Metadata(MetadataRequest::default().with_topics(all));
        let ResponseKind::Metadata(answer) = wire.call(ApiKey::Metadata, version, &request) else {
            unreachable!()
        };
        assert_eq!(
            (answer.brokers.len(), answer.topics[0].partitions.len()),
            (1, 1),
            "Metadata {version}"
        );
    }
    for version in 4..=12 {
        let partition = FetchPartition::default().with_partition_max_bytes(1000);
        let wanted = FetchTopic::default()
            .with_topic(topic())
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(1000)
            .with_min_bytes(1)
            .with_topics(vec![wanted]);
        let ResponseKind::Fetch(answer) =
            wire.call(ApiKey::Fetch, version, &RequestKind::Fetch(request))
        else {
            unreachable!()
        };
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (0, 1),
            "Fetch {version}"
        );
        assert!(
            partition
                .records
                .as_ref()
                .is_some_and(|records| records.len() > 61),
            "Fetch {version}"
        );
    }
    for version in 1..=7 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let wanted = ListOffsetsTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition]);
        let request =
            RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(vec![wanted]));
        let ResponseKind::ListOffsets(answer) = wire.call(ApiKey::ListOffsets, version, &request)
        else {
            unreachable!()
        };
        assert_eq!(
            answer.topics[0].partitions[0].offset, 1,
            "ListOffsets {version}"
        );
    }
    for version in 1..=8 {
        let request = if version >= 8 {
            let wanted = OffsetFetchRequestTopics::default()
                .with_name(topic())
                .with_partition_indexes(vec![0]);
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text("g")))
                .with_topics(Some(vec![wanted]));
            OffsetFetchRequest::default().with_groups(vec![group])
        } else {
            let wanted = OffsetFetchRequestTopic::default()
                .with_name(topic())
                .with_partition_indexes(vec![0]);
            OffsetFetchRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_topics(Some(vec![wanted]))
        };
        let ResponseKind::OffsetFetch(answer) = wire.call(
            ApiKey::OffsetFetch,
            version,
            &RequestKind::OffsetFetch(request),
        ) else {
            unreachable!()
        };
        let offset = match answer.groups.first() {
            Some(group) => group.topics[0].partitions[0].committed_offset,
            None => answer.topics[0].partitions[0].committed_offset,
        };
        assert_eq!(offset, -1, "OffsetFetch {version}");
    }
    for version in 0..=4 {
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")])
        } else {
            FindCoordinatorRequest::default().with_key(text("g"))
        };
        let ResponseKind::FindCoordinator(answer) = wire.call(
            ApiKey::FindCoordinator,
            version,
            &RequestKind::FindCoordinator(request),
        ) else {
            unreachable!()
        };
        let port = answer
            .coordinators
            .first()
            .map_or(answer.port, |coordinator| coordinator.port);
        assert_eq!(
            port,
            i32::from(broker.address.port()),
            "FindCoordinator {version}"
        );
    }
}

#[test]
fn bytes_behind_a_request_are_overlooked() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let mut body = BytesMut::new();
    RequestKind::Metadata(MetadataRequest::default().with_topics(None))
        .encode(&mut body, 12)
        .unwrap();
    body.put_slice(&Bytes::from_static(&[1, 0, 0]));
    assert!(
        Wire::connect(broker.address)
            .exchange(ApiKey::Metadata, 12, &body)
            .is_some()
    );
}
