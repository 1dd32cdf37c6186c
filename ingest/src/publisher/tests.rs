//! The publisher against librdkafka's own mock cluster, which can be told to fail.

use event::EventRequest;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const TOPIC: &str = "events";
const PARTITIONS: i32 = 4;
const DEADLINE: Duration = Duration::from_secs(60);

struct Running {
    cluster: MockCluster<'static, DefaultProducerContext>,
    publisher: Publisher,
    flushing: JoinHandle<()>,
}

impl Running {
    async fn start(config: Config) -> Self {
        Self::start_with(config, None).await
    }

    async fn start_with(config: Config, spool: Option<Spool>) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let kafka = Kafka {
            brokers: cluster.bootstrap_servers(),
            topic: TOPIC.to_owned(),
            ..Kafka::default()
        };
        let (publisher, flushing) = Publisher::start(&kafka, &config, spool).unwrap();
        let asking = publisher.clone();
        tokio::task::spawn_blocking(move || asking.look_up_partitions())
            .await
            .unwrap()
            .unwrap();
        Self {
            cluster,
            publisher,
            flushing,
        }
    }

    async fn stop(self) {
        tokio::time::timeout(DEADLINE, self.publisher.stop(self.flushing))
            .await
            .expect("it stops in time")
            .unwrap();
    }

    fn slow(&self, round_trip: Duration) {
        self.cluster.broker_round_trip_time(1, round_trip).unwrap();
    }

    fn publish(&self, events: Outgoing) -> JoinHandle<Result<(), PublishError>> {
        let publisher = self.publisher.clone();
        tokio::spawn(async move { publisher.publish(events).await })
    }

    async fn until(&self, condition: impl Fn(&Inner) -> bool) {
        let begun_at = Instant::now();
        while !condition(&self.publisher.0) {
            assert!(begun_at.elapsed() < DEADLINE);
            tokio::task::yield_now().await;
        }
    }
}

fn event(client_id: Option<u128>) -> Outgoing {
    events([client_id])
}

fn events(client_ids: impl IntoIterator<Item = Option<u128>>) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for client_id in client_ids {
        let key = client_id.map(|id| format!(r#","event_id":"{}""#, Uuid::from_u128(id)));
        let body = format!(
            r#"{{"site_id":"shop","event_type":"x"{}}}"#,
            key.unwrap_or_default()
        );
        let request = EventRequest::from_json(&body).unwrap();
        let received_at = chrono::DateTime::from_timestamp_millis(1_763_200_800_000).unwrap();
        outgoing.push(&event::judge(&request, received_at, Uuid::now_v7).unwrap());
    }
    outgoing
}

fn one_at_a_time() -> Config {
    Config {
        rounds_max: 1,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_once_kafka_has_acknowledged_it() {
    let running = Running::start(Config::default()).await;
    running.publisher.publish(event(None)).await.unwrap();
    assert_eq!(running.publisher.0.lanes().pending_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_flush_tells_exactly_the_requests_it_held() {
    let running = Running::start(one_at_a_time()).await;
    running.slow(Duration::from_millis(300));
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
    );
    let first = running.publish(event(None));
    running
        .until(|inner| {
            let lanes = inner.lanes();
            lanes.pending_bytes() > 0 && lanes.is_empty()
        })
        .await;
    // Appended while the first flush is under way, so these go with the next.
    let second = running.publish(event(None));
    let third = running.publish(events([None, Some(1)]));
    let failed = first.await.unwrap();
    assert!(
        matches!(failed, Err(PublishError::Refused(_))),
        "{failed:?}"
    );
    second.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_repeated_by_the_client_and_nobody_hears_of_it() {
    let running = Running::start(Config::default()).await;
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    running.publisher.publish(event(None)).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_beyond_repair_is_replaced() {
    let running = Running::start(Config::default()).await;
    running.publisher.publish(event(None)).await.unwrap();
    // Where an idempotent producer gives up: what it sent does not follow what Kafka has.
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    let broken = running.publisher.0.producer.current();
    running.publisher.publish(event(None)).await.unwrap_err();
    assert!(broken.native().fatal_error().is_some());
    drop(broken);
    let mut outcome = running.publisher.publish(event(None)).await;
    let begun_at = Instant::now();
    while outcome.is_err() {
        assert!(begun_at.elapsed() < DEADLINE, "{outcome:?}");
        outcome = running.publisher.publish(event(None)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_has_room_again_afterwards() {
    for full in [
        Config {
            pending_requests_max: 2,
            ..Config::default()
        },
        Config {
            pending_bytes_max: 2 * event(None).bytes(),
            ..Config::default()
        },
    ] {
        let running = Running::start(full).await;
        running.slow(Duration::from_millis(500));
        let pending = event(None).bytes();
        let first = running.publish(event(None));
        running
            .until(|inner| inner.lanes().pending_bytes() == pending)
            .await;
        let second = running.publish(event(None));
        running
            .until(|inner| inner.lanes().pending_bytes() == 2 * pending)
            .await;
        let begun_at = Instant::now();
        let refused = running.publisher.publish(event(None)).await;
        assert_eq!(refused, Err(PublishError::Full));
        assert!(begun_at.elapsed() < Duration::from_millis(200));
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        running.publisher.publish(event(None)).await.unwrap();
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_is_published_whole_in_several_records() {
    let running = Running::start(Config {
        pending_bytes_max: 1,
        ..Config::default()
    })
    .await;
    let many = events((0..30_000).map(|nth| (nth % 3 == 0).then_some(nth)));
    running.publisher.publish(many).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_no_longer_than_its_ack_timeout() {
    let running = Running::start(Config {
        ack_timeout: Duration::from_secs(2),
        ..Config::default()
    })
    .await;
    running.cluster.broker_down(1).unwrap();
    let begun_at = Instant::now();
    let failed = running.publisher.publish(event(None)).await;
    assert!(
        matches!(failed, Err(PublishError::Unacknowledged(_))),
        "{failed:?}"
    );
    assert!(begun_at.elapsed() < Duration::from_millis(2500));
    running.cluster.broker_up(1).unwrap();
    let begun_at = Instant::now();
    while running.publisher.publish(event(None)).await.is_err() {
        assert!(begun_at.elapsed() < DEADLINE);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_cannot_take_is_refused_at_once_with_the_reason() {
    let running = Running::start(Config::default()).await;
    let reason: Arc<str> = "no such topic".into();
    let partitions = &running.publisher.0.partitions;
    drop(partitions.send_replace(Err(reason.clone())));
    let refused = running.publisher.publish(event(None)).await;
    assert_eq!(refused, Err(PublishError::Unusable(reason)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_before_the_stop_is_still_sent() {
    let running = Running::start(one_at_a_time()).await;
    running.slow(Duration::from_millis(100));
    let length = event(None).bytes();
    let publishing: Vec<_> = (0..10).map(|_| running.publish(event(None))).collect();
    running
        .until(|inner| inner.lanes().pending_bytes() == 10 * length)
        .await;
    running.stop().await;
    for published in publishing {
        published.await.unwrap().unwrap();
    }
}

fn spool_in(dir: &tempfile::TempDir, bytes_max: u64) -> Spool {
    let config = crate::spool::Config {
        dir: Some(dir.path().to_owned()),
        bytes_max,
        ..Default::default()
    };
    Spool::open(&config, TOPIC).unwrap().unwrap()
}

/// Less than a flush waits for Kafka before it goes to the spool.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn soon() -> Config {
    Config {
        spool: crate::spool::Config {
            after: Duration::from_secs(2),
            ..Default::default()
        },
        ..Config::default()
    }
}

/// What stands in the spool: the partition, batch id and number of events of each flush.
async fn spooled(spool: &Spool) -> Vec<(u32, Uuid, usize)> {
    let segment = spool.oldest().await;
    let contents = spool.read(segment).unwrap();
    let frames = contents.frames();
    let flushes = frames.frames.iter().map(|frame| {
        let schema = Some(wire::SCHEMA_VERSION.as_bytes());
        let batch = wire::decode(schema, Some(frame.record)).unwrap();
        (frame.partition, batch.id, batch.events.len())
    });
    flushes.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_silent_flushes_go_to_the_spool_and_later_ones_do_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 1 << 20);
    let running = Running::start_with(soon(), Some(spool.clone())).await;
    running.cluster.broker_down(1).unwrap();
    running.publisher.publish(event(None)).await.unwrap();
    let begun_at = Instant::now();
    running
        .publisher
        .publish(events([Some(9), Some(9)]))
        .await
        .unwrap();
    assert!(begun_at.elapsed() < AT_ONCE);
    let flushes = spooled(&spool).await;
    assert_eq!(flushes.len(), 2);
    assert_eq!((flushes[0].2, flushes[1].2), (1, 2));
    let placed = wire::partition_of(Uuid::from_u128(9), PARTITIONS as u32);
    assert_eq!(flushes[1].0, placed);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_asked_first_again_once_it_has_taken_a_flush_from_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 1 << 20);
    let running = Running::start_with(soon(), Some(spool.clone())).await;
    running.cluster.broker_down(1).unwrap();
    running.publisher.publish(event(None)).await.unwrap();
    running.cluster.broker_up(1).unwrap();
    assert!(
        running
            .publisher
            .0
            .is_kafka_away
            .load(std::sync::atomic::Ordering::Acquire)
    );
    let stop = CancellationToken::new();
    let drain = crate::drain::run(
        spool.clone(),
        running.publisher.clone(),
        1 << 20,
        stop.clone(),
    );
    let draining = tokio::spawn(drain);
    running.until(|_| spool.is_empty()).await;
    assert!(
        !running
            .publisher
            .0
            .is_kafka_away
            .load(std::sync::atomic::Ordering::Acquire)
    );
    let delivered = running
        .publisher
        .0
        .deliver(0, Bytes::from_static(b"live"))
        .await;
    assert_eq!(delivered, Ok(Delivered::ToKafka));
    stop.cancel();
    draining.await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_kafka_will_never_take_is_refused_and_not_spooled() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 1 << 20);
    let mut patient = soon();
    patient.spool.after = Duration::from_secs(5);
    let running = Running::start_with(patient, Some(spool.clone())).await;
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
    );
    let refused = running.publisher.publish(event(None)).await;
    assert!(
        matches!(refused, Err(PublishError::Refused(_))),
        "{refused:?}"
    );
    assert!(spool.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_without_a_place_in_the_spool_still_waits_for_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let mut impatient = soon();
    impatient.spool.after = Duration::from_millis(200);
    let running = Running::start_with(impatient, Some(spool_in(&dir, 10))).await;
    running.slow(Duration::from_millis(600));
    let delivered = running
        .publisher
        .0
        .deliver(0, Bytes::from_static(b"slow"))
        .await;
    assert_eq!(delivered, Ok(Delivered::ToKafka));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_away_and_the_spool_full_events_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 200);
    let running = Running::start_with(soon(), Some(spool.clone())).await;
    running.cluster.broker_down(1).unwrap();
    running.publisher.publish(event(None)).await.unwrap();
    let begun_at = Instant::now();
    let refused = running.publisher.publish(events([None, None])).await;
    assert!(begun_at.elapsed() < AT_ONCE);
    let Err(PublishError::Unusable(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("the spool is full"), "{why}");
    assert!(!running.publisher.can_spool());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_read_for_a_while_is_still_sent() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 1 << 20);
    let running = Running::start_with(soon(), Some(spool.clone())).await;
    let kept = Bytes::from_static(b"kept");
    spool.append(0, kept).await.unwrap();
    let segment = spool.oldest().await;
    let path = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|is| is == "spool"))
        .unwrap();
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    assert!(spool.read(segment).is_err());
    let stop = CancellationToken::new();
    let drain = crate::drain::run(
        spool.clone(),
        running.publisher.clone(),
        1 << 20,
        stop.clone(),
    );
    let draining = tokio::spawn(drain);
    // Long enough for the first attempt, and far from the last.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!spool.is_empty(), "it was given up at once");
    std::fs::rename(&away, &path).unwrap();
    running.until(|_| spool.is_empty()).await;
    assert!(!path.with_extension("aside").exists());
    stop.cancel();
    draining.await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_does_not_take_now_stays_in_the_spool_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool_in(&dir, 1 << 20);
    let running = Running::start_with(soon(), Some(spool.clone())).await;
    // Nothing that librdkafka would try again by itself.
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    spool.append(0, Bytes::from_static(b"kept")).await.unwrap();
    let stop = CancellationToken::new();
    let drain = crate::drain::run(
        spool.clone(),
        running.publisher.clone(),
        1 << 20,
        stop.clone(),
    );
    let draining = tokio::spawn(drain);
    running.until(|_| spool.is_empty()).await;
    let names = std::fs::read_dir(dir.path()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name());
    assert!(!names.any(|name| name.to_string_lossy().ends_with(".aside")));
    stop.cancel();
    draining.await.unwrap();
    running.stop().await;
}
