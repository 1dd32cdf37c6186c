//! The publisher against librdkafka's own mock cluster, which can be told to fail.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;

const TOPIC: &str = "events";
const PARTITIONS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(60);

struct Running {
    cluster: MockCluster<'static, DefaultProducerContext>,
    publisher: Publisher,
    flusher: JoinHandle<()>,
    closed: CancellationToken,
    topic: watch::Sender<Topic>,
}

impl Running {
    fn start(limits: Queue) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster
            .create_topic(TOPIC, i32::try_from(PARTITIONS).unwrap(), 1)
            .unwrap();
        let kafka = infra::kafka::Config {
            brokers: cluster.bootstrap_servers(),
            ..Default::default()
        };
        let producer = SharedProducer::new(&kafka, &limits, Arc::default()).unwrap();
        let (topic, seen) = watch::channel(Topic::Usable {
            partitions: PARTITIONS,
            led: (0..PARTITIONS).collect(),
        });
        let (publisher, flusher) = Publisher::new(limits, TOPIC.into(), seen, producer);
        let closed = CancellationToken::new();
        let flusher = tokio::spawn(flusher.run(closed.clone()));
        Self {
            cluster,
            publisher,
            flusher,
            closed,
            topic,
        }
    }

    /// Closes it and waits until it has nothing left.
    async fn finish(self) {
        self.closed.cancel();
        tokio::time::timeout(DEADLINE, self.flusher)
            .await
            .expect("it finishes what was appended")
            .unwrap();
    }

    fn slow(&self, round_trip: Duration) {
        self.cluster.broker_round_trip_time(1, round_trip).unwrap();
    }
}

fn limits() -> Queue {
    Queue {
        ack_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(40),
        ..Queue::default()
    }
}

fn event(key: Option<u128>) -> EncodedEvent {
    let key = key.map(|key| format!(r#","event_id":"{}""#, Uuid::from_u128(key)));
    let body = format!(
        r#"{{"site_id":"shop","event_type":"x"{}}}"#,
        key.unwrap_or_default()
    );
    let request = serde_json::from_str(&body).unwrap();
    let received_at = chrono::DateTime::from_timestamp_millis(1_763_200_800_000).unwrap();
    EncodedEvent::new(&event::parse(&request, received_at, Uuid::now_v7).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_once_kafka_has_acknowledged_it() {
    let running = Running::start(limits());
    let ticket = running.publisher.append(&[event(None)]).unwrap();
    ticket.acknowledged().await.unwrap();
    assert_eq!(running.publisher.pending.lock().queued.bytes, 0);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_flush_tells_exactly_the_requests_it_held() {
    let running = Running::start(Queue {
        flushes_max: 1,
        ..limits()
    });
    // The first two share a flush; the third is appended while that one is in flight.
    running.slow(Duration::from_millis(300));
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
    );
    let first = running.publisher.append(&[event(None)]).unwrap();
    let began_at = Instant::now();
    while running.publisher.pending.in_flight() == 0 {
        assert!(began_at.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    let second = running.publisher.append(&[event(None)]).unwrap();
    let third = running.publisher.append(&[event(Some(1))]).unwrap();
    let failed = first.acknowledged().await;
    assert!(
        matches!(
            &failed,
            Err(PublishError::Unacknowledged(Unacknowledged::Unknown(_)))
        ),
        "{failed:?}"
    );
    second.acknowledged().await.unwrap();
    third.acknowledged().await.unwrap();
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_repeated_by_the_producer_and_nobody_hears_of_it() {
    let running = Running::start(limits());
    running.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    let ticket = running.publisher.append(&[event(None)]).unwrap();
    ticket.acknowledged().await.unwrap();
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_has_room_again_afterwards() {
    for full in [
        Queue {
            requests_max: 2,
            ..limits()
        },
        Queue {
            bytes_max: 2 * event(None).len(),
            ..limits()
        },
    ] {
        let running = Running::start(full);
        running.slow(Duration::from_millis(300));
        let taken =
            [event(None), event(None)].map(|event| running.publisher.append(&[event]).unwrap());
        let began_at = Instant::now();
        let refused = running.publisher.append(&[event(None)]).err();
        assert_eq!(refused, Some(PublishError::Full));
        assert!(began_at.elapsed() < Duration::from_millis(100));
        for ticket in taken {
            ticket.acknowledged().await.unwrap();
        }
        let ticket = running.publisher.append(&[event(None)]).unwrap();
        ticket.acknowledged().await.unwrap();
        running.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_the_queue_is_taken_when_nothing_else_waits() {
    let running = Running::start(Queue {
        bytes_max: 1,
        ..limits()
    });
    let many: Vec<EncodedEvent> = (0..30_000).map(|_| event(None)).collect();
    let ticket = running.publisher.append(&many).unwrap();
    ticket.acknowledged().await.unwrap();
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_arrive_during_a_flush_share_the_next_one() {
    let running = Running::start(Queue {
        flushes_max: 1,
        ..limits()
    });
    running.slow(Duration::from_millis(300));
    let first = running.publisher.append(&[event(None)]).unwrap();
    let began_at = Instant::now();
    while running.publisher.pending.in_flight() == 0 {
        assert!(began_at.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    let others: Vec<Ticket> = (0..100)
        .map(|_| running.publisher.append(&[event(None)]).unwrap())
        .collect();
    let (records, queued) = running.publisher.pending.take().unwrap();
    assert_eq!(queued.requests, 100);
    let records: Vec<_> = records.close().collect();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].events, 100);
    for record in records {
        record.settle(&Ok(()));
    }
    running.publisher.pending.landed(queued);
    for ticket in others {
        ticket.acknowledged().await.unwrap();
    }
    first.acknowledged().await.unwrap();
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_no_longer_than_its_answer_may_take() {
    let running = Running::start(Queue {
        answer_timeout: Duration::from_millis(100),
        ..limits()
    });
    running.slow(Duration::from_secs(2));
    let ticket = running.publisher.append(&[event(None)]).unwrap();
    assert_eq!(ticket.acknowledged().await, Err(PublishError::Late));
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_is_told_of_after_the_ack_timeout() {
    let running = Running::start(Queue {
        ack_timeout: Duration::from_millis(500),
        ..limits()
    });
    running.cluster.broker_down(1).unwrap();
    let failed = running
        .publisher
        .append(&[event(None)])
        .unwrap()
        .acknowledged()
        .await;
    assert!(
        matches!(
            &failed,
            Err(PublishError::Unacknowledged(Unacknowledged::Unknown(_)))
        ),
        "{failed:?}"
    );
    running.cluster.broker_up(1).unwrap();
    // The reconnect takes its own time, which may be longer than one timeout.
    let began_at = Instant::now();
    while running
        .publisher
        .append(&[event(None)])
        .unwrap()
        .acknowledged()
        .await
        .is_err()
    {
        assert!(began_at.elapsed() < DEADLINE);
    }
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_topic_refuses_at_once_with_its_reason() {
    let running = Running::start(limits());
    let reason: Arc<str> = "no such topic".into();
    running.topic.send_replace(Topic::Unusable(reason.clone()));
    let refused = running.publisher.append(&[event(None)]).err();
    assert_eq!(refused, Some(PublishError::Unusable(reason)));
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_before_the_end_is_still_sent() {
    let running = Running::start(limits());
    running.slow(Duration::from_millis(200));
    let tickets: Vec<Ticket> = (0..10)
        .map(|key| {
            running
                .publisher
                .append(&[event(Some(key)), event(None)])
                .unwrap()
        })
        .collect();
    running.finish().await;
    for ticket in tickets {
        ticket.acknowledged().await.unwrap();
    }
}
