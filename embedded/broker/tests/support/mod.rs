//! A broker on a free port and a directory of its own, and librdkafka clients for it.
#![expect(dead_code, reason = "every test binary uses another part of this")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::mpsc::sync_channel,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use embedded_broker::{Broker, Config};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The longest any of these tests waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct TestBroker {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

pub(crate) fn config(dir: &TempDir) -> Config {
    Config {
        data_dir: data_dir(dir),
        listen: "127.0.0.1:0".parse().unwrap(),
        session_min: Duration::from_millis(100),
        ..Config::default()
    }
}

pub(crate) fn data_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("broker")
}

pub(crate) fn start(config: Config) -> TestBroker {
    let shutdown = CancellationToken::new();
    let stopped = shutdown.clone();
    let (bound, address) = sync_channel(1);
    let thread = std::thread::spawn(move || {
        // One thread only: the broker must not need more.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let broker = Broker::bind(config).await?;
            bound.send(broker.local_addr())?;
            broker.run(stopped).await
        })
    });
    let address = address.recv_timeout(PATIENCE).expect("the broker opens");
    TestBroker {
        address,
        shutdown,
        thread: Some(thread),
    }
}

impl TestBroker {
    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Stops it the clean way.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

pub(crate) fn producer(
    bootstrap: &str,
    settings: &[(&str, &str)],
) -> ThreadedProducer<rdkafka::producer::DefaultProducerContext> {
    let mut config = client(bootstrap);
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", "5");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

pub(crate) fn consumer(bootstrap: &str, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = client(bootstrap);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "3000")
        .set("heartbeat.interval.ms", "100")
        .set("fetch.wait.max.ms", "50");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

pub(crate) fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap).create().unwrap()
}

/// Waits for librdkafka's own threads, without a runtime of ours.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn create_topic(
    bootstrap: &str,
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let results = block_on(admin(bootstrap).create_topics([&topic], &AdminOptions::new())).unwrap();
    results[0].as_ref().unwrap();
}

/// Produces the texts to one partition and waits until all are acknowledged.
pub(crate) fn produce(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    texts: impl IntoIterator<Item = String>,
) {
    let producer = producer(bootstrap, &[]);
    for text in texts {
        producer
            .send(
                BaseRecord::<(), str>::to(topic)
                    .partition(partition)
                    .payload(&text),
            )
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// All of a topic as it stands: for each partition the offsets and values, in order.
pub(crate) fn read_all(bootstrap: &str, topic: &str) -> BTreeMap<i32, Vec<(i64, Vec<u8>)>> {
    let consumer = consumer(bootstrap, "reader", &[]);
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut left = BTreeMap::new();
    let mut positions = TopicPartitionList::new();
    let mut found = BTreeMap::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), PATIENCE)
            .unwrap();
        positions
            .add_partition_offset(topic, partition.id(), rdkafka::Offset::Offset(low))
            .unwrap();
        found.insert(partition.id(), Vec::new());
        if high > low {
            left.insert(partition.id(), high);
        }
    }
    consumer.assign(&positions).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "still to be read: {left:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        let values: &mut Vec<_> = found.get_mut(&message.partition()).unwrap();
        values.push((
            message.offset(),
            message.payload().unwrap_or_default().to_vec(),
        ));
        if left
            .get(&message.partition())
            .is_some_and(|high| message.offset() + 1 >= *high)
        {
            left.remove(&message.partition());
        }
    }
    found
}

/// Waits for a condition, and says what for if it does not come.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
