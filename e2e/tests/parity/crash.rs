//! kill -9 of the broker takes nothing back that it said.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::clients::{
    PATIENCE, client, commit, committed, consumer, create_topic, produce, wait_until,
};
use crate::kafka::Kafka;

#[test]
fn what_was_acknowledged_and_committed_is_there_after_a_kill() {
    let mut kafka = Kafka::start();
    let (topic, group) = ("crash", "crash");
    create_topic(&kafka.bootstrap(), topic, 2);
    let plan = "p".repeat(4096);
    for round in 1..=3 {
        produce(&kafka.bootstrap(), topic, 0, 1_000);
        produce(&kafka.bootstrap(), topic, 1, 1);
        let positions = [(0, round * 1_000, plan.as_str()), (1, round, "short")];
        commit(&consumer(&kafka.bootstrap(), group), topic, &positions).unwrap();
        kafka.kill9_and_restart();

        let watermarks = |partition| {
            let client = consumer(&kafka.bootstrap(), "onlooker");
            client.fetch_watermarks(topic, partition, PATIENCE).ok()
        };
        wait_until("both partitions are led again", || {
            watermarks(0).is_some() && watermarks(1).is_some()
        });
        assert_eq!(watermarks(0), Some((0, round * 1_000)));
        assert_eq!(watermarks(1), Some((0, round)));
        let expected = [
            Some((round * 1_000, plan.clone())),
            Some((round, "short".to_owned())),
        ];
        assert_eq!(committed(&kafka.bootstrap(), group, topic, 2), expected);
    }
    assert_eq!(
        values(&kafka, topic, 3_000),
        (0..3).flat_map(|_| 0..1_000).collect::<Vec<_>>()
    );
}

/// The first values of partition 0, in order.
fn values(kafka: &Kafka, topic: &str, count: usize) -> Vec<i32> {
    let reader: BaseConsumer = client(&kafka.bootstrap())
        .set("group.id", "reader")
        .set("check.crcs", "true")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    reader.assign(&from).unwrap();
    let mut values = Vec::new();
    while values.len() < count {
        let message = reader.poll(PATIENCE).expect("a record").unwrap();
        let text = std::str::from_utf8(rdkafka::Message::payload(&message).unwrap()).unwrap();
        values.push(text.parse().unwrap());
    }
    values
}
