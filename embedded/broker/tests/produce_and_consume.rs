//! What goes in comes out, by an unmodified librdkafka.

mod support;

use std::{process::Command, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    producer::{BaseRecord, FutureProducer, FutureRecord, Producer},
};
use support::*;

#[test]
fn an_idempotent_producer_is_read_back_under_every_compression() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        create_topic(&broker.bootstrap(), codec, 3, &[]);
        let producer = producer(&broker.bootstrap(), &[("compression.type", codec)]);
        let value = |i: u32| format!("{codec} {i} {}", "squeeze me ".repeat(20));
        for i in 0..3000 {
            let value = value(i);
            let record = BaseRecord::<(), str>::to(codec)
                .partition((i % 3) as i32)
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let found = read_all(&broker.bootstrap(), codec);
        for (partition, values) in found {
            let expected: Vec<_> = (0..1000)
                .map(|i| (i64::from(i), value(i * 3 + partition as u32).into_bytes()))
                .collect();
            assert!(
                values == expected,
                "{codec}, partition {partition}: {} records",
                values.len()
            );
        }
    }
    broker.stop().unwrap();
}

#[test]
fn a_consumer_that_waits_is_woken_by_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 1, &[]);
    let consumer = consumer(
        &broker.bootstrap(),
        "waiting",
        &[("fetch.wait.max.ms", "30000")],
    );
    let mut position = TopicPartitionList::new();
    position
        .add_partition_offset("events", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&position).unwrap();
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    let begun = std::time::Instant::now();
    produce(&broker.bootstrap(), "events", 0, ["now".to_owned()]);
    while consumer.poll(Duration::from_millis(50)).is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "the record came no sooner than the wait would end"
        );
    }
}

#[test]
fn offsets_are_found_by_time_to_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(
        &broker.bootstrap(),
        "events",
        1,
        &[("segment.bytes", "20000")],
    );
    let producer = producer(&broker.bootstrap(), &[]);
    for i in 0..2000 {
        let record = BaseRecord::<(), str>::to("events")
            .partition(0)
            .payload("some value")
            .timestamp(1_000_000 + i * 10);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        if i % 300 == 0 {
            producer.flush(PATIENCE).unwrap();
        }
    }
    producer.flush(PATIENCE).unwrap();
    let consumer = consumer(&broker.bootstrap(), "by-time", &[]);
    let find = |timestamp| {
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset("events", 0, Offset::Offset(timestamp))
            .unwrap();
        consumer
            .offsets_for_times(wanted, PATIENCE)
            .unwrap()
            .elements()[0]
            .offset()
    };
    assert_eq!(find(0), Offset::Offset(0));
    for i in [1, 7, 299, 300, 301, 1234, 1999] {
        assert_eq!(find(1_000_000 + i * 10), Offset::Offset(i), "at record {i}");
        assert_eq!(
            find(1_000_000 + i * 10 - 9),
            Offset::Offset(i),
            "just before record {i}"
        );
    }
    assert_eq!(find(1_000_000 + 2000 * 10), Offset::End);
}

#[test]
fn an_oversized_message_is_refused_and_the_next_one_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(
        &broker.bootstrap(),
        "small",
        1,
        &[("max.message.bytes", "10000")],
    );
    let producer: FutureProducer = client(&broker.bootstrap()).create().unwrap();
    let send = |value: String| {
        let record = FutureRecord::<(), _>::to("small")
            .partition(0)
            .payload(&value);
        block_on(producer.send(record, PATIENCE)).map_err(|(error, _)| error)
    };
    let error = send("x".repeat(10_001)).unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(rdkafka::types::RDKafkaErrorCode::MessageSizeTooLarge)
    );
    assert_eq!(send("x".repeat(9_000)).unwrap().offset, 0);
}

#[test]
fn a_transactional_producer_is_told_that_there_are_no_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let producer = producer(&broker.bootstrap(), &[("transactional.id", "mine")]);
    let error = producer.init_transactions(PATIENCE).unwrap_err();
    let code = error.rdkafka_error_code();
    assert_eq!(
        code,
        Some(rdkafka::types::RDKafkaErrorCode::TransactionalIdAuthorizationFailed)
    );
}

#[test]
fn a_missing_topic_is_made_only_if_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    let allowed = [("allow.auto.create.topics", "true")];
    let ask = |broker: &TestBroker| {
        let consumer = consumer(&broker.bootstrap(), "asking", &allowed);
        consumer
            .fetch_metadata(Some("missing"), PATIENCE)
            .unwrap()
            .topics()[0]
            .partitions()
            .len()
    };
    assert_eq!(ask(&broker), 0);
    broker.stop().unwrap();
    let broker = start(embedded_broker::Config {
        auto_create_topics: true,
        partitions: 4,
        ..config(&dir)
    });
    wait_until("the topic is made", || ask(&broker) == 4);
}

#[test]
fn kcat_lists_the_topics() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(config(&dir));
    create_topic(&broker.bootstrap(), "events", 6, &[]);
    let Ok(listed) = Command::new("kcat")
        .args(["-b", &broker.bootstrap(), "-L"])
        .output()
    else {
        eprintln!("SKIPPED: kcat is not installed");
        return;
    };
    let complaints = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(listed.status.success(), "{complaints}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("topic \"events\" with 6 partitions"),
        "{listed}"
    );
    assert!(listed.contains(&broker.bootstrap()), "{listed}");
}
