//! What Kafka's tools ask of a broker.

mod support;

use std::{fs, time::Duration};

use embedded_broker::Config;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{
        AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
    },
    consumer::{CommitMode, Consumer},
    producer::{BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use support::*;

#[test]
fn topics_are_made_described_changed_grown_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let (admin, options) = (admin(&broker.bootstrap()), AdminOptions::new());
    create_topic(
        &broker.bootstrap(),
        "events",
        2,
        &[("retention.ms", "1234567")],
    );

    let topic = || {
        let described =
            block_on(admin.describe_configs([&ResourceSpecifier::Topic("events")], &options))
                .unwrap();
        let described = described.into_iter().next().unwrap().unwrap();
        let value = |name| described.get(name).and_then(|entry| entry.value.clone());
        (
            value("retention.ms"),
            value("max.message.bytes"),
            value("cleanup.policy"),
        )
    };
    assert_eq!(
        topic(),
        (
            Some("1234567".into()),
            Some("1048588".into()),
            Some("delete".into())
        )
    );

    let change =
        AlterConfig::new(ResourceSpecifier::Topic("events")).set("max.message.bytes", "2000");
    block_on(admin.alter_configs([&change], &options)).unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(
        topic(),
        (
            Some("604800000".into()),
            Some("2000".into()),
            Some("delete".into())
        )
    );
    let nonsense = AlterConfig::new(ResourceSpecifier::Topic("events")).set("nonsense", "1");
    // The Rust client does not hand out the refusal, so it is seen by what stays as it was.
    drop(block_on(admin.alter_configs([&nonsense], &options)));
    assert_eq!(topic().1, Some("2000".into()));

    block_on(admin.create_partitions([&NewPartitions::new("events", 4)], &options)).unwrap()[0]
        .as_ref()
        .unwrap();
    produce(
        &broker.bootstrap(),
        "events",
        3,
        ["in a new one".to_owned()],
    );
    assert_eq!(read_all(&broker.bootstrap(), "events")[&3].len(), 1);

    block_on(admin.delete_topics(&["events"], &options)).unwrap()[0]
        .as_ref()
        .unwrap();
    let again = block_on(admin.delete_topics(&["events"], &options)).unwrap();
    assert_eq!(
        again[0].as_ref().unwrap_err().1,
        RDKafkaErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(
        fs::read_dir(data_dir(&dir).join("topics")).unwrap().count(),
        0
    );
    broker.stop().unwrap();
}

#[test]
fn a_topic_that_cannot_be_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "there", 1, &[]);
    let refusal = |topic: NewTopic<'_>| {
        let made =
            block_on(admin(&broker.bootstrap()).create_topics([&topic], &AdminOptions::new()))
                .unwrap();
        made[0].as_ref().unwrap_err().1
    };
    let plain = |name| NewTopic::new(name, 1, TopicReplication::Fixed(1));
    assert_eq!(
        refusal(plain("there")),
        RDKafkaErrorCode::TopicAlreadyExists
    );
    assert_eq!(refusal(plain("no/slash")), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(
        refusal(NewTopic::new("a", 1, TopicReplication::Fixed(3))),
        RDKafkaErrorCode::InvalidReplicationFactor
    );
    assert_eq!(
        refusal(plain("a").set("cleanup.policy", "compact")),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        refusal(NewTopic::new("a", 100_000, TopicReplication::Fixed(1))),
        RDKafkaErrorCode::PolicyViolation
    );
}

#[test]
fn groups_are_listed_described_and_deleted_once_empty() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 2, &[]);
    let member = consumer(&broker.bootstrap(), "workers", &[("client.id", "worker-1")]);
    member.subscribe(&["events"]).unwrap();
    wait_until("it has its partitions", || {
        drop(member.poll(Duration::from_millis(20)));
        member.assignment().unwrap().count() == 2
    });
    let groups = member.fetch_group_list(None, PATIENCE).unwrap();
    let group = &groups.groups()[0];
    assert_eq!(
        (
            group.name(),
            group.state(),
            group.protocol_type(),
            group.protocol()
        ),
        ("workers", "Stable", "consumer", "range")
    );
    assert_eq!(group.members()[0].client_id(), "worker-1");
    assert_eq!(group.members()[0].client_host(), "/127.0.0.1");
    assert!(!group.members()[0].assignment().unwrap().is_empty());

    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("events", 0, Offset::Offset(5))
        .unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
    let delete = || {
        let deleted =
            block_on(admin(&broker.bootstrap()).delete_groups(&["workers"], &AdminOptions::new()))
                .unwrap();
        deleted[0].as_ref().map(drop).map_err(|(_, code)| *code)
    };
    assert_eq!(delete(), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(member);
    wait_until("the group is empty and goes", || delete().is_ok());
    assert_eq!(delete(), Err(RDKafkaErrorCode::GroupIdNotFound));
}

#[test]
fn committed_offsets_of_a_deleted_topic_do_not_come_back_with_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let committer = consumer(&broker.bootstrap(), "sink", &[]);
    let committed = || {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition("events", 0);
        committer
            .committed_offsets(wanted, PATIENCE)
            .unwrap()
            .elements()[0]
            .offset()
    };
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("events", 0, Offset::Offset(5))
        .unwrap();
    committer.commit(&offsets, CommitMode::Sync).unwrap();
    assert_eq!(committed(), Offset::Offset(5));
    block_on(admin(&broker.bootstrap()).delete_topics(&["events"], &AdminOptions::new())).unwrap();
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    assert_eq!(committed(), Offset::Invalid);
}

#[test]
fn retention_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Config {
        retention_check: Duration::from_millis(50),
        ..config(&dir)
    });
    create_topic(
        &broker.bootstrap(),
        "by-time",
        1,
        &[("retention.ms", "300")],
    );
    create_topic(
        &broker.bootstrap(),
        "by-size",
        1,
        &[("retention.bytes", "100000"), ("segment.bytes", "16384")],
    );
    let producer = producer(
        &broker.bootstrap(),
        &[("batch.num.messages", "20"), ("linger.ms", "1")],
    );
    let value = "v".repeat(500);
    for topic in ["by-time", "by-size"] {
        for _ in 0..2000 {
            let record = BaseRecord::<(), str>::to(topic)
                .partition(0)
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let watcher = consumer(&broker.bootstrap(), "watcher", &[]);
    let extent = |topic: &str| watcher.fetch_watermarks(topic, 0, PATIENCE).unwrap();
    wait_until("all of it is too old", || extent("by-time") == (2000, 2000));
    wait_until("what is beyond the size is gone", || {
        extent("by-size").0 > 0
    });
    let left = || -> u64 {
        let dir = fs::read_dir(data_dir(&dir).join("topics/by-size/0")).unwrap();
        dir.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
            .sum()
    };
    wait_until("the files are gone too", || left() < 140_000);
    assert_eq!(extent("by-size").1, 2000);
}

#[test]
fn records_deleted_by_hand_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    produce(
        &broker.bootstrap(),
        "events",
        0,
        (0..10).map(|i| i.to_string()),
    );
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset("events", 0, Offset::Offset(7))
        .unwrap();
    block_on(admin(&broker.bootstrap()).delete_records(&before, &AdminOptions::new())).unwrap();
    let watcher = consumer(&broker.bootstrap(), "watcher", &[]);
    assert_eq!(
        watcher.fetch_watermarks("events", 0, PATIENCE).unwrap(),
        (7, 10)
    );
}
