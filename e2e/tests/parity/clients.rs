//! The Kafka these tests share, and librdkafka clients for it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::Kafka;

/// The longest any of these tests waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Never dropped; its leash ends it. Every test has topics and groups of its own.
pub(crate) static KAFKA: LazyLock<Kafka> = LazyLock::new(Kafka::start);

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

pub(crate) fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    client(bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .unwrap()
}

pub(crate) fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap).create().unwrap()
}

/// Waits for librdkafka's own threads.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

pub(crate) fn create_topic(bootstrap: &str, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let created = block_on(admin(bootstrap).create_topics([&topic], &AdminOptions::new())).unwrap();
    created[0].as_ref().unwrap();
    // A moment later every node knows of it.
    let client = consumer(bootstrap, "onlooker");
    wait_until("the topic has leaders", || {
        let metadata = client.fetch_metadata(Some(name), PATIENCE).unwrap();
        let found = metadata.topics()[0].partitions();
        found.len() == partitions as usize && found.iter().all(|found| found.leader() >= 0)
    });
}

/// As weir's ingest produces.
pub(crate) fn producer(
    bootstrap: &str,
) -> ThreadedProducer<rdkafka::producer::DefaultProducerContext> {
    client(bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create()
        .unwrap()
}

/// Produces to one partition and waits until all are acknowledged.
pub(crate) fn produce(bootstrap: &str, topic: &str, partition: i32, count: usize) {
    let producer = producer(bootstrap);
    for number in 0..count {
        let text = number.to_string();
        let record = BaseRecord::<(), str>::to(topic).partition(partition);
        producer
            .send(record.payload(&text))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Commits from outside of the group, all in one request.
pub(crate) fn commit(
    consumer: &BaseConsumer,
    topic: &str,
    positions: &[(i32, i64, &str)],
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for (partition, offset, metadata) in positions {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(*offset)).unwrap();
        element.set_metadata(*metadata);
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// Where the group stands: offset and metadata of each partition, none where it never committed.
pub(crate) fn committed(
    bootstrap: &str,
    group: &str,
    topic: &str,
    partitions: i32,
) -> Vec<Option<(i64, String)>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let found = consumer(bootstrap, group).committed_offsets(list, PATIENCE);
    let found = found.unwrap();
    let positions = found.elements().into_iter().map(|element| {
        element.error().unwrap();
        match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        }
    });
    positions.collect()
}

/// Waits for a condition, and says what for if it does not come.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
