//! Clients that take places and memory and do nothing with them: those who work are served on.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::{
    io::{ErrorKind, Write},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use embedded_broker::Config;
use kafka_protocol::{
    messages::{
        ApiKey, DescribeGroupsRequest, FetchRequest, GroupId, JoinGroupRequest, MetadataRequest,
        RequestKind, ResponseKind, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        join_group_request::JoinGroupRequestProtocol,
    },
    protocol::StrBytes,
};
use support::{wire::Wire, *};

/// A consumer's request that waits half a minute for records of a topic without any.
fn begin_to_wait(wire: &mut Wire) {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("events")))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(30_000)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic]);
    wire.send(ApiKey::Fetch, 4, &RequestKind::Fetch(request));
}

fn is_open(wire: &Wire) -> bool {
    wire.stream.set_nonblocking(true).unwrap();
    let read = wire.stream.peek(&mut [0; 1]);
    wire.stream.set_nonblocking(false).unwrap();
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn metadata() -> RequestKind {
    RequestKind::Metadata(MetadataRequest::default().with_topics(None))
}

/// Whether a new client is let in and answered.
fn is_answered(broker: &TestBroker) -> bool {
    let mut body = BytesMut::new();
    metadata().encode(&mut body, 9).unwrap();
    Wire::connect(broker.address)
        .exchange(ApiKey::Metadata, 9, &body)
        .is_some()
}

#[test]
fn connections_that_say_nothing_make_room_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        connections_max: 20,
        ..config(&dir)
    });
    let silent: Vec<_> = (0..40).map(|_| Wire::connect(broker.address)).collect();
    wait_until("a new client is answered", || is_answered(&broker));
    assert!(silent.iter().any(is_open), "no more than needed are closed");
}

#[test]
fn a_consumer_that_waits_keeps_its_place_before_those_that_idle() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        connections_max: 4,
        ..config(&dir)
    });
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut consumer = Wire::connect(broker.address);
    // The client that made the topic may not have left yet.
    wait_until("the consumer is let in", || {
        consumer = Wire::connect(broker.address);
        let mut body = BytesMut::new();
        metadata().encode(&mut body, 9).unwrap();
        consumer.exchange(ApiKey::Metadata, 9, &body).is_some()
    });
    begin_to_wait(&mut consumer);
    let _idle: Vec<_> = (0..10).map(|_| Wire::connect(broker.address)).collect();
    for _ in 0..10 {
        wait_until("a new client is answered", || is_answered(&broker));
    }
    assert!(is_open(&consumer));
}

#[test]
fn where_all_are_busy_the_address_that_holds_most_gives_way_and_its_own_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        connections_max: 4,
        ..config(&dir)
    });
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut greedy = Vec::new();
    wait_until("all places are taken by waiting consumers", || {
        let mut wire = Wire::connect_from("127.0.0.2", broker.address);
        begin_to_wait(&mut wire);
        greedy.push(wire);
        greedy.retain(is_open);
        greedy.len() == 4 && {
            std::thread::sleep(Duration::from_millis(50));
            greedy.retain(is_open);
            greedy.len() == 4
        }
    });
    assert!(Wire::connect_from("127.0.0.2", broker.address).is_closed());
    let mut other = Wire::connect(broker.address);
    other.call(ApiKey::Metadata, 9, &metadata());
    wait_until("one of the greedy ones is closed", || {
        greedy.iter().filter(|wire| is_open(wire)).count() == 3
    });
}

#[test]
fn lengths_without_bytes_take_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        requests_bytes_max: 1 << 20,
        ..config(&dir)
    });
    let mut announced: Vec<_> = (0..3).map(|_| Wire::connect(broker.address)).collect();
    for wire in &mut announced {
        wire.stream.write_all(&[0x06, 0x40, 0, 0]).unwrap();
    }
    let begun_at = Instant::now();
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    produce(&broker.bootstrap(), "events", 0, ["visible".to_owned()]);
    assert!(begun_at.elapsed() < Duration::from_secs(20));
    assert!(announced.iter().all(is_open));
}

#[test]
fn who_stops_in_the_middle_of_a_request_gives_its_memory_back_when_others_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        requests_bytes_max: 4 << 20,
        ..config(&dir)
    });
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut halves: Vec<_> = (0..4).map(|_| Wire::connect(broker.address)).collect();
    for wire in &mut halves {
        wire.stream.write_all(&[0x06, 0x40, 0, 0]).unwrap();
        // Some of it waits outside once the memory is full.
        wire.stream.set_nonblocking(true).unwrap();
        let _ = wire.stream.write(&[0; 1 << 20]);
        wire.stream.set_nonblocking(false).unwrap();
    }
    let begun_at = Instant::now();
    let text = "x".repeat(900_000);
    produce(&broker.bootstrap(), "events", 0, vec![text; 4]);
    assert!(
        begun_at.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun_at.elapsed()
    );
}

#[test]
fn who_takes_no_answers_gives_their_memory_back_when_others_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        answers_bytes_max: 8 << 20,
        ..config(&dir)
    });
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let text = "x".repeat(900_000);
    produce(&broker.bootstrap(), "events", 0, vec![text; 8]);
    let mut deaf: Vec<_> = (0..8).map(|_| Wire::connect(broker.address)).collect();
    for wire in &mut deaf {
        for _ in 0..8 {
            begin_to_wait(wire);
        }
    }
    let begun_at = Instant::now();
    let read = read_all(&broker.bootstrap(), "events");
    assert_eq!(read[&0].len(), 8);
    assert!(
        begun_at.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun_at.elapsed()
    );
}

/// Groups with one member each, of whom a description says all.
fn make_groups(broker: &TestBroker, count: usize, metadata: usize) -> RequestKind {
    let mut wire = Wire::connect(broker.address);
    let names = (0..count).map(|i| GroupId(StrBytes::from_string(format!("group-{i}"))));
    let names: Vec<_> = names.collect();
    for name in &names {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(vec![0; metadata].into());
        let request = JoinGroupRequest::default()
            .with_group_id(name.clone())
            .with_session_timeout_ms(60_000)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let request = RequestKind::JoinGroup(request);
        match wire.call(ApiKey::JoinGroup, 3, &request) {
            ResponseKind::JoinGroup(answer) => assert_eq!(answer.error_code, 0),
            _ => unreachable!(),
        }
    }
    RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(names))
}

#[test]
fn a_large_description_waits_for_memory_and_who_takes_none_of_it_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        answers_bytes_max: 1 << 20,
        ..config(&dir)
    });
    // More than the system holds of what a client does not read.
    let describe = make_groups(&broker, 100, 250_000);
    let mut deaf = Wire::connect(broker.address);
    deaf.send(ApiKey::DescribeGroups, 0, &describe);
    deaf.stream.peek(&mut [0; 1]).unwrap();
    Wire::connect(broker.address).call(ApiKey::DescribeGroups, 0, &describe);
    assert!(deaf.receive().is_none(), "it was closed before the end");
}

#[test]
fn a_consumer_that_names_a_partition_a_hundred_thousand_times_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let partition = FetchPartition::default().with_partition_max_bytes(1);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("events")))
        .with_partitions(vec![partition; 99_000]);
    let request = FetchRequest::default()
        .with_max_wait_ms(1)
        .with_min_bytes(1)
        .with_max_bytes(1)
        .with_topics(vec![topic]);
    let begun_at = Instant::now();
    Wire::connect(broker.address).call(ApiKey::Fetch, 4, &RequestKind::Fetch(request));
    assert!(
        begun_at.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun_at.elapsed()
    );
}
