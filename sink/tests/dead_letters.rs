//! Records that cannot be read: set aside whatever their size and number, each once.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use world::{DEADLINE, World, event};

/// One record of the dead letters' topic.
#[derive(Debug)]
struct Letter {
    headers: BTreeMap<String, String>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Letter {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("(none)", String::as_str)
    }

    fn offset(&self) -> u64 {
        self.header("offset").parse().unwrap()
    }
}

fn admin(world: &World) -> AdminClient<DefaultClientContext> {
    world.kafka.client("test").create().unwrap()
}

/// Deletes the topic of dead letters and makes it again, with records of at most so many bytes.
async fn limit_letters(world: &mut World, bytes_max: usize) {
    world.kafka.dead_letter_topic += "-limited";
    let bytes_max = bytes_max.to_string();
    let topic = NewTopic::new(
        &world.kafka.dead_letter_topic,
        1,
        TopicReplication::Fixed(1),
    )
    .set("max.message.bytes", &bytes_max);
    let created = admin(world)
        .create_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap();
    created[0].as_ref().unwrap();
}

/// All that are there, in their order.
fn letters(world: &World) -> Vec<Letter> {
    let mut client = world.kafka.client("test");
    client.set("group.id", "letters");
    client.set("fetch.message.max.bytes", "20000000");
    let consumer: BaseConsumer = client.create().unwrap();
    let topic = &world.kafka.dead_letter_topic;
    let (_, end) = consumer.fetch_watermarks(topic, 0, DEADLINE).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let mut letters = Vec::new();
    let mut next = 0;
    while next < end {
        assert!(Instant::now() < deadline, "{next} of {end}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        next = message.offset() + 1;
        let headers = message.headers().unwrap().iter().map(|header| {
            let value = String::from_utf8_lossy(header.value.unwrap());
            (header.key.to_owned(), value.into_owned())
        });
        letters.push(Letter {
            headers: headers.collect(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        });
    }
    letters
}

/// Puts records into partition 0, packed.
async fn send(world: &World, records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let mut client = world.kafka.client("test");
    client.set("enable.idempotence", "true");
    client.set("compression.type", "gzip");
    client.set("message.max.bytes", "20000000");
    client.set("linger.ms", "5");
    client.set("queue.buffering.max.messages", "1000000");
    let producer: FutureProducer = client.create().unwrap();
    let headers = || {
        OwnedHeaders::new().insert(Header {
            key: event::wire::SCHEMA_HEADER,
            value: Some(event::wire::SCHEMA_VERSION),
        })
    };
    let mut sent = Vec::new();
    for (key, value) in records {
        let record = FutureRecord::to(&world.kafka.topic)
            .partition(0)
            .headers(headers())
            .key(&key)
            .payload(&value);
        sent.push(
            producer
                .send_result(record)
                .map_err(|(error, _)| error)
                .unwrap(),
        );
    }
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_for_its_topic_is_cut_and_says_so() {
    const KEY: usize = 2_000_000;
    const VALUE: usize = 300_000;
    for (bytes_max, kept) in [
        // Kafka's default.
        (1_048_588, [64 * 1024, VALUE]),
        (50_000, [4 * 1024, 4 * 1024]),
        (2_000, [0, 0]),
    ] {
        let mut world = World::new(1).await;
        limit_letters(&mut world, bytes_max).await;
        world.send(0, &[event(0)]).await;
        let large = [
            (vec![b'k'; KEY], b"garbage".to_vec()),
            (b"key".to_vec(), vec![b'v'; VALUE]),
            (b"key".to_vec(), b"garbage".to_vec()),
        ];
        send(&world, large.into_iter()).await;
        let sink = world.start().await;
        world.wait_until_committed(&[(0, 4)]).await;
        world.assert_exactly(1).await;
        sink.stop().await;

        let mut letters = letters(&world);
        letters.sort_by_key(Letter::offset);
        let offsets: Vec<u64> = letters.iter().map(Letter::offset).collect();
        assert_eq!(offsets, [1, 2, 3]);
        for letter in &letters {
            assert_eq!(letter.header("topic"), world.kafka.topic);
            assert_eq!(letter.header("partition"), "0");
            let reason = letter.header("reason");
            assert!(reason.contains("not an EventBatch"), "{reason}");
        }
        let bytes = |body: &Option<Vec<u8>>| body.as_ref().map_or(0, Vec::len);
        let [long_key, long_value, whole] = &letters[..] else {
            panic!("{letters:?}");
        };
        assert_eq!(bytes(&long_key.key), kept[0], "of {bytes_max}");
        assert_eq!(long_key.header("key-bytes"), KEY.to_string());
        assert_eq!(long_key.header("value-bytes"), "7");
        assert_eq!(bytes(&long_key.value), kept[0].min(7));
        assert_eq!(bytes(&long_value.value), kept[1]);
        let said = if kept[1] == VALUE { "(none)" } else { "300000" };
        assert_eq!(long_value.header("value-bytes"), said);
        assert_eq!(whole.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(whole.value.as_deref(), Some(&b"garbage"[..]));
        assert_eq!(whole.header("key-bytes"), "(none)");
    }
}

/// Each of these offsets once.
fn assert_once(letters: &[Letter], offsets: std::ops::Range<u64>) {
    let mut found: Vec<u64> = letters.iter().map(Letter::offset).collect();
    found.sort_unstable();
    let count = found.len();
    found.dedup();
    assert_eq!((count, found.len()), (found.len(), offsets.clone().count()));
    assert!(found.into_iter().eq(offsets));
}

fn garbage(count: usize) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| (Vec::new(), format!("garbage {number}").into_bytes()))
}

/// A client holds 100,000 by default; the second one holds fewer than a portion.
#[tokio::test(flavor = "multi_thread")]
async fn more_dead_letters_than_the_client_holds_are_set_aside_once_each() {
    for (records, held) in [(100_001, None), (5_000, Some("300"))] {
        let mut world = World::new(1).await;
        send(&world, garbage(records)).await;
        world.config.cut.age_max = Duration::from_secs(20);
        world.config.cut.rows_max = records;
        if let Some(held) = held {
            let held = (
                "queue.buffering.max.messages".to_owned(),
                held.to_owned().into(),
            );
            world.kafka.properties.extend([held]);
        }
        let sink = world.start().await;
        let set_aside = "SELECT sum(dead_letters) FROM ledger";
        world.wait_for(set_aside, records as u64).await;
        sink.stop().await;
        world.kafka.properties.clear();
        assert_once(&letters(&world), 0..records as u64);
    }
}

/// Letters are written before rows, and rows are refused again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_is_tried_again_writes_no_letter_again() {
    let mut world = World::new(2).await;
    world.config.cut.age_max = Duration::from_secs(1);
    world.config.retry.max = Duration::from_millis(100);
    let refuse = "ALTER TABLE events ADD CONSTRAINT nothing CHECK 1 = 0";
    world.db.query(refuse).execute().await.unwrap();
    world.send(0, &[event(0)]).await;
    world
        .send_raw(1, Some("1"), b"garbage of the same cut")
        .await;
    send(&world, garbage(3_000)).await;
    let sink = world.start().await;
    let refused = "SELECT sum(value) FROM system.errors WHERE name = 'VIOLATED_CONSTRAINT'";
    let before = world.number(refused).await;
    let deadline = Instant::now() + DEADLINE;
    while world.number(refused).await < before + 5 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let accept = "ALTER TABLE events DROP CONSTRAINT nothing";
    world.db.query(accept).execute().await.unwrap();
    world.wait_until_committed(&[(0, 3_001), (1, 1)]).await;
    world.assert_exactly(1).await;
    sink.stop().await;
    let (first, second): (Vec<Letter>, Vec<Letter>) = letters(&world)
        .into_iter()
        .partition(|letter| letter.header("partition") == "0");
    assert_once(&first, 1..3_001);
    assert_once(&second, 0..1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_no_dead_letter_is_named_and_neither_kafka_nor_clickhouse_is() {
    let mut world = World::new(1).await;
    limit_letters(&mut world, 100).await;
    world.config.retry.max = Duration::from_millis(200);
    world.send_raw(0, Some("1"), b"garbage").await;
    world.send(0, &[event(0)]).await;
    let sink = world.start().await;
    let deadline = Instant::now() + DEADLINE;
    let mut told = 0;
    while told < 40 {
        assert!(Instant::now() < deadline);
        let (_, answer) = sink.ready().await;
        told += usize::from(answer.contains("\"dead_letters\":"));
        if told > 0 {
            assert!(answer.contains("\"dead_letters\":"), "{answer}");
            let expected = format!(
                "partition 0 offset 0 cannot be set aside in {}",
                world.kafka.dead_letter_topic
            );
            assert!(answer.contains(&expected), "{answer}");
            assert!(answer.contains("max.message.bytes"), "{answer}");
            assert!(!answer.contains("\"clickhouse\":"), "{answer}");
            assert!(!answer.contains("\"kafka\":"), "{answer}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let topic = ResourceSpecifier::Topic(&world.kafka.dead_letter_topic);
    let roomier = AlterConfig::new(topic).set("max.message.bytes", "100000");
    let altered = admin(&world)
        .alter_configs([&roomier], &AdminOptions::new())
        .await
        .unwrap();
    altered[0].as_ref().unwrap();
    world.wait_until_committed(&[(0, 2)]).await;
    world.assert_exactly(1).await;
    while sink.ready().await.0 != 200 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sink.stop().await;
    let letters = letters(&world);
    assert_once(&letters, 0..1);
    assert_eq!(letters[0].value.as_deref(), Some(&b"garbage"[..]));
}

/// A sink that is gone takes what it knew with it; its plan stays.
#[tokio::test(flavor = "multi_thread")]
async fn letters_that_a_sink_wrote_before_it_ended_are_not_written_by_the_next_one() {
    let world = World::new(1).await;
    let refuse = "ALTER TABLE events ADD CONSTRAINT nothing CHECK 1 = 0";
    world.db.query(refuse).execute().await.unwrap();
    world.send(0, &[event(0)]).await;
    send(&world, garbage(3_000)).await;
    let sink = world.start().await;
    let deadline = Instant::now() + DEADLINE;
    while letters(&world).len() < 3_000 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sink.stop().await;
    let planned = world.committed();
    assert!(planned[0].2.contains(" 0+3001 "), "{planned:?}");
    let accept = "ALTER TABLE events DROP CONSTRAINT nothing";
    world.db.query(accept).execute().await.unwrap();
    world.send_raw(0, Some("1"), b"more garbage").await;
    let sink = world.start().await;
    world.wait_until_committed(&[(0, 3_002)]).await;
    world.assert_exactly(1).await;
    sink.stop().await;
    assert_once(&letters(&world), 1..3_002);
}
