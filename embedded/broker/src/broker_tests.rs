//! The whole broker on a disk that fails, with librdkafka as the client.

use std::{net::SocketAddr, path::Path, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{Broker, Config, disk::Disk, topic_config::Overrides};

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    run: JoinHandle<anyhow::Result<()>>,
}

async fn start(dir: &Path, disk: &Disk) -> Running {
    let config = Config {
        data_dir: dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    let broker = Broker::bind_on(config, disk.clone()).await.unwrap();
    if broker.topics().get("events").is_none() {
        broker
            .topics()
            .create("events", 1, Overrides::new(), false)
            .unwrap();
    }
    let shutdown = CancellationToken::new();
    let (address, run) = (
        broker.local_addr(),
        tokio::spawn(broker.run(shutdown.clone())),
    );
    Running {
        address,
        shutdown,
        run,
    }
}

/// Gives up after `limit`, with the last error the broker gave.
fn producer(address: SocketAddr, limit: Duration) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", address.to_string())
        .set("message.timeout.ms", limit.as_millis().to_string())
        .create()
        .unwrap()
}

async fn send(producer: &FutureProducer, value: &str) -> Result<i64, KafkaError> {
    let record = FutureRecord::<(), _>::to("events")
        .partition(0)
        .payload(value);
    producer
        .send(record, PATIENCE)
        .await
        .map(|delivery| delivery.offset)
        .map_err(|(error, _)| error)
}

async fn values(address: SocketAddr) -> Vec<String> {
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address.to_string())
            .set("group.id", "reader")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut start = TopicPartitionList::new();
        start
            .add_partition_offset("events", 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&start).unwrap();
        let mut values = Vec::new();
        loop {
            match consumer.poll(PATIENCE).expect("a record or the end") {
                Ok(message) => {
                    values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap())
                }
                Err(KafkaError::PartitionEOF(_)) => return values,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_and_run_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let broker = start(dir.path(), &disk).await;
    let producer = producer(broker.address, Duration::from_secs(3));
    assert_eq!(send(&producer, "before").await.unwrap(), 0);

    disk.faults.fail_every_sync();
    assert!(send(&producer, "during").await.is_err());
    // The disk seems well again, but what it dropped is not known.
    disk.faults.repair_sync();
    let error = timeout(PATIENCE, broker.run)
        .await
        .expect("run ends")
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("fsync"), "{error:#}");
    assert!(!dir.path().join("topics/events/0/clean.snapshot").exists());
    assert!(disk.check().is_err());

    // A new process asks the disk itself what there is.
    let broker = start(dir.path(), &Disk::default()).await;
    assert_eq!(values(broker.address).await[0], "before");
    broker.shutdown.cancel();
    broker.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_records_keeps_serving_and_goes_on_once_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let broker = start(dir.path(), &disk).await;
    let patient = producer(broker.address, PATIENCE);
    let hasty = producer(broker.address, Duration::from_secs(1));
    assert_eq!(send(&patient, "before").await.unwrap(), 0);

    disk.faults.leave_room(30);
    let log = dir.path().join("topics/events/0/00000000000000000000.log");
    let before = std::fs::metadata(&log).unwrap().len();
    assert!(send(&hasty, "during").await.is_err());
    assert_eq!(
        std::fs::metadata(&log).unwrap().len(),
        before,
        "the part that fitted is taken back"
    );
    assert_eq!(values(broker.address).await, ["before"]);

    // It waits through the shortage by itself, since the answer says to try again.
    let waiting = tokio::spawn(async move { send(&patient, "after").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    disk.faults.give_space_back();
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    assert_eq!(values(broker.address).await, ["before", "after"]);
    broker.shutdown.cancel();
    broker.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_append_to_a_full_disk_is_answered_with_a_storage_error() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let broker = start(dir.path(), &disk).await;
    disk.faults.leave_room(0);
    let once: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address.to_string())
        .set("retries", "0")
        .create()
        .unwrap();
    let error = send(&once, "refused").await.unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::KafkaStorageError)
    );
    broker.shutdown.cancel();
    disk.faults.give_space_back();
    broker.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn offsets_that_a_group_has_committed_are_not_given_to_other_records() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let broker = start(dir.path(), &disk).await;
    let producer = producer(broker.address, PATIENCE);
    for value in ["one", "two", "three"] {
        send(&producer, value).await.unwrap();
    }
    let address = broker.address;
    let commit = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address.to_string())
            .set("group.id", "readers")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("events", 0, Offset::Offset(3))
            .unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    });
    commit.await.unwrap();
    broker.shutdown.cancel();
    broker.run.await.unwrap().unwrap();

    // As after a crash, and with the last record torn.
    let folder = dir.path().join("topics/events/0");
    std::fs::remove_file(folder.join("clean.snapshot")).unwrap();
    let log = folder.join("00000000000000000000.log");
    let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();

    let broker = start(dir.path(), &disk).await;
    let producer = self::producer(broker.address, PATIENCE);
    assert_eq!(send(&producer, "four").await.unwrap(), 3);
    assert_eq!(values(broker.address).await, ["one", "two", "four"]);
    broker.shutdown.cancel();
    broker.run.await.unwrap().unwrap();
}
