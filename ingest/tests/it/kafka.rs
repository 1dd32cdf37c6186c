//! The edge and Kafka: where events go, and what clients are told while it is away.

use std::time::{Duration, Instant};

use event::wire;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Broker, DEADLINE, Edge, GOOD, PARTITIONS};

#[tokio::test]
async fn events_with_a_clients_id_go_to_the_partition_of_that_id() {
    let (edge, broker) = Edge::ready().await;
    let with_key = |key: &str| json!({"site_id": "shop", "event_type": "x", "event_id": key});
    let mut events: Vec<Value> = (0..50)
        .map(|nth| with_key(&Uuid::from_u128(nth * 7919).to_string()))
        .collect();
    events.extend((0..50).map(|nth| with_key(&format!("order-{nth}"))));
    let answer = edge.events(Value::from(events).to_string()).await;
    assert_eq!(answer.is(202).json["accepted"], 100);
    let single = edge.event(with_key("order-0").to_string()).await;
    let repeated: Uuid = single.is(202).json["event_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();

    let mut repeats = 0;
    let mut partitions = std::collections::BTreeSet::new();
    for (partition, batch) in broker.read(101).await {
        partitions.insert(partition);
        for event in batch.events {
            assert_eq!(event.id.origin, event::IdOrigin::Client);
            assert_eq!(
                wire::partition_of(event.id.uuid, PARTITIONS.into()),
                partition
            );
            repeats += usize::from(event.id.uuid == repeated);
        }
    }
    assert_eq!(repeats, 2, "the same key is the same id");
    assert_eq!(partitions.len(), usize::from(PARTITIONS));
    edge.stop().await;
}

#[tokio::test]
async fn every_answer_of_202_is_in_kafka_once_under_the_id_it_names() {
    let (edge, broker) = Edge::ready().await;
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, url) = (edge.client.clone(), format!("{}/event", edge.url));
        sending.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..50 {
                let answer = Answer::of(client.post(&url).body(GOOD)).await;
                ids.push(answer.is(202).json["event_id"].as_str().unwrap().to_owned());
            }
            ids
        });
    }
    let mut promised = sending.join_all().await.concat();
    let batches = broker.read(promised.len()).await;
    assert!(batches.len() < promised.len(), "no record was ever shared");
    let mut stored: Vec<String> = batches
        .into_iter()
        .flat_map(|(_, batch)| batch.events)
        .map(|event| event.id.uuid.to_string())
        .collect();
    promised.sort();
    stored.sort();
    assert_eq!(promised, stored);
    edge.stop().await;
}

#[tokio::test]
async fn without_the_topic_it_starts_says_what_to_do_and_recovers() {
    let broker = Broker::start().await;
    let edge = Edge::start(ingest::Config::default(), broker.kafka()).await;
    edge.get("/health").await.is(200);
    let begun_at = Instant::now();
    loop {
        let answer = edge.get("/ready").await;
        answer.is(503);
        if answer.json["reasons"]["kafka"]
            .as_str()
            .unwrap()
            .contains("weir migrate")
        {
            break;
        }
        assert!(begun_at.elapsed() < DEADLINE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in ["/event", "/events"] {
        let answer = Answer::of(edge.post(path, GOOD)).await;
        let errors = answer.refused(503);
        assert!(errors[0].contains("weir migrate"), "{errors:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // A fault of the client's own comes first.
    edge.event("{}").await.refused(400);
    broker.create_topics().await;
    edge.wait_until_ready().await;
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn without_a_spool_events_are_answered_503_while_kafka_is_away_and_afterwards_202() {
    let config = ingest::Config {
        ack_timeout: Duration::from_secs(3),
        spool: ingest::SpoolConfig {
            bytes_max: 0,
            ..Default::default()
        },
        ..ingest::Config::default()
    };
    let (edge, mut broker) = Edge::ready_with(config).await;
    edge.is_unharmed().await;
    broker.stop().await;

    let answer = edge.event(GOOD).await;
    answer.refused(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    edge.wait_for("/ready", 503).await;
    // From then on nobody has to wait for the refusal.
    let begun_at = Instant::now();
    let answer = edge.event(GOOD).await;
    let errors = answer.refused(503);
    assert!(errors[0].contains("nothing was taken"), "{errors:?}");
    assert!(begun_at.elapsed() < Duration::from_secs(1));
    edge.get("/health").await.is(200);

    broker.resume().await;
    edge.wait_until_ready().await;
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn it_starts_before_kafka_does() {
    let mut broker = Broker::start().await;
    broker.create_topics().await;
    broker.stop().await;
    let edge = Edge::start(ingest::Config::default(), broker.kafka()).await;
    edge.get("/ready").await.is(503);
    edge.event(GOOD).await.refused(503);
    broker.resume().await;
    edge.wait_until_ready().await;
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn requests_open_at_shutdown_have_their_answers() {
    let (edge, broker) = Edge::ready().await;
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, url) = (edge.client.clone(), format!("{}/event", edge.url));
        sending.spawn(async move {
            let mut accepted = 0;
            // Until the listener is gone; an answer of 202 counts however late it comes.
            while let Ok(response) = client.post(&url).body(GOOD).send().await {
                assert_eq!(response.status(), 202);
                accepted += 1;
            }
            accepted
        });
    }
    broker.read(20).await;
    edge.stop().await;
    let accepted: usize = sending.join_all().await.into_iter().sum();
    let stored = broker.read(accepted).await;
    let stored: usize = stored.iter().map(|(_, batch)| batch.events.len()).sum();
    assert!(
        accepted >= 20 && stored >= accepted,
        "{stored} of {accepted}"
    );
}

/// The quickest of many: a machine that is busy delays some, a timer (a producer that lingers, an
/// acknowledgement that is delayed, a poll that sleeps) delays all.
#[tokio::test(flavor = "multi_thread")]
async fn no_timer_stands_between_a_lone_event_and_its_answer() {
    let (edge, _broker) = Edge::ready().await;
    let mut quickest = Duration::MAX;
    for _ in 0..200 {
        let begun_at = Instant::now();
        edge.event(GOOD).await.is(202);
        quickest = quickest.min(begun_at.elapsed());
    }
    assert!(quickest < Duration::from_millis(10), "{quickest:?}");
    edge.stop().await;
}
