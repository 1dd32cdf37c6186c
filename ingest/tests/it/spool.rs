//! The edge while Kafka is away: events are taken, kept on the disk, and go to Kafka later.

use std::path::Path;
use std::time::{Duration, Instant};

use event::wire;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{Broker, DEADLINE, Edge, GOOD, PARTITIONS};

fn config(dir: &Path) -> ingest::Config {
    ingest::Config {
        spool: ingest::SpoolConfig {
            dir: Some(dir.to_owned()),
            after: Duration::from_millis(300),
            ..Default::default()
        },
        ..Default::default()
    }
}

async fn edge_that_has_seen_kafka(dir: &TempDir) -> (Edge, Broker) {
    let (edge, broker) = Edge::ready_with(config(dir.path())).await;
    edge.is_unharmed().await;
    (edge, broker)
}

/// How many segments are in the folder.
fn segments(dir: &TempDir) -> usize {
    let names = std::fs::read_dir(dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".spool"))
        .count()
}

async fn until_empty(dir: &TempDir) {
    let begun_at = Instant::now();
    while segments(dir) > 0 {
        assert!(begun_at.elapsed() < DEADLINE, "the spool is not drained");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The ids of all events in Kafka, each as often as it stands there.
async fn stored(broker: &Broker) -> Vec<Uuid> {
    let batches = broker.read_all().await;
    let mut ids: Vec<_> = batches
        .into_iter()
        .flat_map(|(_, batch)| batch.events)
        .map(|event| event.id.uuid)
        .collect();
    ids.sort_unstable();
    ids
}

fn id(answer: &crate::support::Answer) -> Uuid {
    answer.json["event_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_taken_while_kafka_is_away_are_in_kafka_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, mut broker) = edge_that_has_seen_kafka(&dir).await;
    broker.stop().await;
    let mut promised = Vec::new();
    for nth in 0..200 {
        let body =
            json!({"site_id": "shop", "event_type": "x", "event_id": format!("order-{nth}")});
        promised.push(id(edge.event(body.to_string()).await.is(202)));
        promised.push(id(edge.event(GOOD).await.is(202)));
    }
    edge.get("/ready").await.is(200);
    assert!(segments(&dir) > 0);
    broker.resume().await;
    until_empty(&dir).await;
    edge.is_unharmed().await;
    edge.stop().await;
    let stored = stored(&broker).await;
    for id in promised {
        assert!(stored.binary_search(&id).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_id_keeps_its_partition_through_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, mut broker) = edge_that_has_seen_kafka(&dir).await;
    broker.stop().await;
    for nth in 0..40 {
        let body =
            json!({"site_id": "shop", "event_type": "x", "event_id": format!("order-{nth}")});
        edge.event(body.to_string()).await.is(202);
    }
    broker.resume().await;
    until_empty(&dir).await;
    edge.stop().await;
    for (partition, batch) in broker.read_all().await {
        for event in batch.events {
            if event.id.origin == event::IdOrigin::Client {
                let own = wire::partition_of(event.id.uuid, PARTITIONS.into());
                assert_eq!(own, partition);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_started_anew_while_kafka_is_away_takes_events_and_sends_the_old_ones_too() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, mut broker) = edge_that_has_seen_kafka(&dir).await;
    broker.stop().await;
    let before = id(edge.event(GOOD).await.is(202));
    edge.stop().await;
    let edge = Edge::start(config(dir.path()), broker.kafka()).await;
    edge.get("/ready").await.is(200);
    let after = id(edge.event(GOOD).await.is(202));
    broker.resume().await;
    until_empty(&dir).await;
    edge.stop().await;
    let stored = stored(&broker).await;
    assert!(stored.contains(&before) && stored.contains(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_has_never_seen_kafka_refuses_since_it_cannot_place_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start().await;
    broker.create_topics().await;
    broker.stop().await;
    let edge = Edge::start(config(dir.path()), broker.kafka()).await;
    edge.event(GOOD).await.refused(503);
    edge.wait_for("/ready", 503).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_answers_503_with_retry_after_and_takes_events_again_once_kafka_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    small.spool.bytes_max = 1 << 20;
    let (edge, mut broker) = Edge::ready_with(small).await;
    broker.stop().await;
    let large = json!({"site_id": "shop", "event_type": "x", "props": {"p": "x".repeat(60_000)}});
    let large = large.to_string();
    let mut taken = Vec::new();
    let refused = loop {
        let answer = edge.event(large.clone()).await;
        if answer.status != 202 {
            break answer;
        }
        taken.push(id(&answer));
        assert!(taken.len() < 100, "it has no end");
    };
    let errors = refused.refused(503);
    assert!(errors[0].contains("nothing was taken"), "{errors:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(taken.len() > 10);
    edge.wait_for("/ready", 503).await;
    broker.resume().await;
    until_empty(&dir).await;
    edge.wait_until_ready().await;
    edge.is_unharmed().await;
    edge.stop().await;
    let stored = stored(&broker).await;
    for id in taken {
        assert!(stored.binary_search(&id).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_edge_is_refused_the_folder_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, broker) = edge_that_has_seen_kafka(&dir).await;
    let mut second = config(dir.path());
    second.listen = ([127, 0, 0, 1], 0).into();
    let refused = ingest::Service::bind(second, broker.kafka()).await;
    let said = format!("{:#}", refused.err().unwrap());
    assert!(said.contains("ingest.spool.dir"), "{said}");
    edge.stop().await;
}
