//! Clients that mean ill or know no better: refused, and the others served on.

mod support;

use std::io::Write;

use bytes::{BufMut, BytesMut};
use embedded_broker::Config;
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, DescribeConfigsRequest, DescribeGroupsRequest, GroupId,
        MetadataRequest, OffsetFetchRequest, RequestKind, ResponseKind, TopicName,
        describe_configs_request::DescribeConfigsResource,
        metadata_request::MetadataRequestTopic,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    protocol::StrBytes,
};
use support::{wire::Wire, *};

fn is_well(broker: &TestBroker) {
    let request = RequestKind::Metadata(MetadataRequest::default().with_topics(None));
    let answer = Wire::connect(broker.address).call(ApiKey::Metadata, 9, &request);
    assert!(matches!(answer, ResponseKind::Metadata(metadata) if metadata.brokers.len() == 1));
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let patterns: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xff; 64],
        &[0x00; 64],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0],
        b"\x00\x00\x00\x08\x7f\xff\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x0c\x00\x03\x00\x09\x00\x00\x00\x01\x00\x05ab",
    ];
    for garbage in patterns {
        let mut wire = Wire::connect(broker.address);
        wire.stream.write_all(garbage).unwrap();
        wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(wire.is_closed(), "{garbage:?}");
    }
    is_well(&broker);
    broker.stop().unwrap();
}

#[test]
fn random_bodies_for_every_request_and_version_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for key in [
        0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 32, 33, 37, 42, 44, 60,
    ] {
        for version in 0..13 {
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_i32(7);
            frame.put_i16(-1);
            let len = random() % 60;
            frame.extend((0..len).map(|_| if random() % 2 == 0 { 0 } else { random() as u8 }));
            let mut wire = Wire::connect(broker.address);
            wire.stream
                .write_all(&(frame.len() as i32).to_be_bytes())
                .unwrap();
            wire.stream.write_all(&frame).unwrap();
            // Answered or closed: what counts is that the broker lives.
            wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
    }
    is_well(&broker);
    broker.stop().unwrap();
}

#[test]
fn an_array_that_claims_two_billion_elements_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    for claim in [i32::MAX, 1_000_000, 3] {
        let mut body = BytesMut::new();
        body.put_i32(claim);
        assert!(
            Wire::connect(broker.address)
                .exchange(ApiKey::Metadata, 1, &body)
                .is_none(),
            "{claim}"
        );
    }
    // The same claim in the compact form.
    let body = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0];
    assert!(
        Wire::connect(broker.address)
            .exchange(ApiKey::Metadata, 9, &body)
            .is_none()
    );
    is_well(&broker);
}

#[test]
fn a_request_beyond_the_limit_is_refused_by_its_length_alone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        request_bytes_max: 10_000,
        ..config(&dir)
    });
    for (len, refused) in [(10_001_i32, true), (10_000, false)] {
        let mut wire = Wire::connect(broker.address);
        wire.stream.write_all(&len.to_be_bytes()).unwrap();
        wire.stream
            .set_read_timeout(Some(std::time::Duration::from_millis(500)))
            .unwrap();
        assert_eq!(wire.is_closed(), refused, "{len}");
    }
}

#[test]
fn a_client_newer_than_the_broker_learns_which_versions_it_may_use() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let mut wire = Wire::connect(broker.address);
    // The body of a version that does not exist yet.
    let frame = wire.exchange(ApiKey::ApiVersions, 4, &[9, 9, 9]).unwrap();
    let ResponseKind::ApiVersions(answer) = wire.decode(ApiKey::ApiVersions, 0, frame) else {
        unreachable!()
    };
    assert_eq!(answer.error_code, 35);
    assert_eq!(
        (answer.api_keys[0].api_key, answer.api_keys[0].max_version),
        (18, 3)
    );

    let ResponseKind::ApiVersions(answer) = wire.call(
        ApiKey::ApiVersions,
        3,
        &RequestKind::ApiVersions(ApiVersionsRequest::default()),
    ) else {
        unreachable!()
    };
    assert!(answer.error_code == 0 && answer.api_keys.len() > 20);
}

#[test]
fn a_version_that_is_not_served_closes_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    assert!(
        Wire::connect(broker.address)
            .exchange(ApiKey::Produce, 2, &[0; 20])
            .is_none()
    );
    assert!(
        Wire::connect(broker.address)
            .exchange(ApiKey::Fetch, 13, &[0; 20])
            .is_none()
    );
    assert!(
        Wire::connect(broker.address)
            .exchange(ApiKey::EndTxn, 0, &[0; 20])
            .is_none()
    );
    is_well(&broker);
}

#[test]
fn a_name_that_a_request_repeats_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut wire = Wire::connect(broker.address);
    let mut ask = |key, version, request| wire.call(key, version, &request);
    let topic = TopicName(StrBytes::from_static_str("events"));
    let group = GroupId(StrBytes::from_static_str("sink"));

    let wanted = MetadataRequestTopic::default().with_name(Some(topic.clone()));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted; 1000]));
    let answer = ask(ApiKey::Metadata, 9, RequestKind::Metadata(request));
    assert!(matches!(answer, ResponseKind::Metadata(answer) if answer.topics.len() == 1));

    let request = DescribeGroupsRequest::default().with_groups(vec![group.clone(); 1000]);
    let request = RequestKind::DescribeGroups(request);
    let answer = ask(ApiKey::DescribeGroups, 1, request);
    assert!(matches!(answer, ResponseKind::DescribeGroups(answer) if answer.groups.len() == 1));

    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic.0.clone());
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 1000]);
    let request = RequestKind::DescribeConfigs(request);
    let answer = ask(ApiKey::DescribeConfigs, 1, request);
    assert!(matches!(answer, ResponseKind::DescribeConfigs(answer) if answer.results.len() == 1));

    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic)
        .with_partition_indexes(vec![0; 1000]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group)
        .with_topics(Some(vec![topic.clone(), topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted; 10]);
    let answer = ask(ApiKey::OffsetFetch, 8, RequestKind::OffsetFetch(request));
    let ResponseKind::OffsetFetch(answer) = answer else {
        unreachable!()
    };
    assert_eq!(answer.groups.len(), 1);
    let topics = answer.groups[0].topics.iter();
    assert_eq!(topics.map(|topic| topic.partitions.len()).sum::<usize>(), 1);
}
