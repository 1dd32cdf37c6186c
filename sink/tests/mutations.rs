//! Records of events, damaged in every way that comes to mind: each is stored as the crate event
//! reads it, or set aside with its reason.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

#[expect(dead_code, reason = "shared with the other tests of the sink")]
mod world;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use event::wire::{BatchEncoder, SCHEMA_HEADER};
use event::{Event, IdOrigin, UserOrigin};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;
use world::{DEADLINE, World, event, event_with_key};

const SEED: u64 = 20_261_201;
const RECORDS: usize = 5_000;
const PARTITIONS: u16 = 4;

/// Numbers that are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }
}

/// What is put into the topic.
#[derive(Clone)]
struct Record {
    partition: u16,
    key: Option<Vec<u8>>,
    schema: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// A record as ingest writes it, of one to six events.
fn plain(random: &mut Random) -> Record {
    let mut batch = BatchEncoder::new(Uuid::from_u64_pair(random.next(), random.next()));
    for _ in 0..=random.below(5) {
        let mut event = match random.below(3) {
            // Few keys, so that some come again.
            0 => event_with_key(&format!("key {}", random.below(500))),
            _ => event(random.next() % 1_000),
        };
        if event.id.origin == IdOrigin::Edge {
            event.id.uuid = Uuid::from_u64_pair(random.next(), random.next());
        }
        event.context.hostname = "example.com".to_owned();
        event.context.agent = "Firefox\t128\tLinux\tdesktop\t".to_owned();
        batch.push(&event::wire::encode(&event));
    }
    Record {
        partition: random.below(PARTITIONS.into()) as u16,
        key: None,
        schema: Some(event::wire::SCHEMA_VERSION.into()),
        value: Some(batch.finish()),
    }
}

const KINDS: usize = 17;

/// One of many ways to damage a record; some leave it readable.
fn mutated(kind: usize, before: Option<&Record>, random: &mut Random) -> Record {
    let mut record = plain(random);
    let value = record.value.as_mut().unwrap();
    let length = value.len();
    match kind {
        0 => {}
        1 => {
            for _ in 0..=random.below(8) {
                let at = random.below(length);
                value[at] ^= 1 << random.below(8);
            }
        }
        2 => value.truncate(random.below(length)),
        3 => {
            let doubled = value[random.range(length)].to_vec();
            let at = random.below(length);
            value.splice(at..at, doubled);
        }
        4 => {
            let frames = frames(value);
            let [a, b] = [random.below(frames.len()), random.below(frames.len())];
            let mut swapped: Vec<&[u8]> = frames.iter().map(|at| &value[at.clone()]).collect();
            swapped.swap(a, b);
            *value = swapped.concat();
        }
        5 => {
            let schemas: [Option<&[u8]>; 6] = [
                None,
                Some(b""),
                Some(b"2"),
                Some(b"01"),
                Some(&[0xFF; 9]),
                Some(&[b'1'; 3_000]),
            ];
            record.schema = schemas[random.below(schemas.len())].map(<[u8]>::to_vec);
        }
        // The second byte of a frame is its length, or the first byte of it.
        6 => {
            let frames = frames(value);
            let frame = frames[random.below(frames.len())].clone();
            value[frame.start + 1] = random.next() as u8;
        }
        7 => {
            let key = vec![random.next() as u8; random.below(40_000)];
            record.key = Some(key);
            if random.below(2) == 0 {
                value.truncate(length - 1);
            }
        }
        8 => record.value = [None, Some(Vec::new())][random.below(2)].clone(),
        9 => {
            let huge = [0xFF; 11];
            let at = random.below(length);
            value.splice(at..at, huge[..random.below(11)].iter().copied());
        }
        10 => {
            for byte in value.iter_mut() {
                *byte = random.next() as u8;
            }
        }
        // The same record again.
        11 => {
            if let Some(before) = before {
                return before.clone();
            }
        }
        // Two records in one, as protobuf joins messages.
        12 => value.extend(plain(random).value.unwrap()),
        // An unknown field: a text, and a number.
        13 => value.extend_from_slice(&[0x7A, 3, b'a', b'b', b'c', 0x70, 7]),
        // Groups within groups.
        14 => value.extend(vec![0x0B; random.below(30_000)]),
        // A length of 2^63.
        15 => {
            value.extend_from_slice(&[0x12, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1]);
        }
        // Bytes of another place.
        _ => {
            let (from, to) = (random.range(length), random.below(length));
            let moved: Vec<u8> = value.drain(from).collect();
            let to = to.min(value.len());
            value.splice(to..to, moved);
        }
    }
    record
}

/// Where the fields of a batch are: its id and its events.
fn frames(batch: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < batch.len() {
        let (mut length, mut shift, mut next) = (0, 0, at + 1);
        loop {
            let byte = usize::from(batch[next]);
            length |= (byte & 0x7F) << shift;
            (shift, next) = (shift + 7, next + 1);
            if byte < 0x80 {
                break;
            }
        }
        frames.push(at..next + length);
        at = next + length;
    }
    frames
}

/// Puts them into the topic in their order, compressed in one of three ways; returns their offsets.
async fn send(world: &World, records: &[Record], random: &mut Random) -> Vec<u64> {
    let producers = ["none", "gzip", "zstd"].map(|compression| {
        let mut client = world.kafka.client("test");
        client.set("enable.idempotence", "true");
        client.set("compression.type", compression);
        client.set("message.max.bytes", "20000000");
        client.create::<FutureProducer>().unwrap()
    });
    let mut sent = Vec::with_capacity(records.len());
    for record in records {
        let mut headers = OwnedHeaders::new();
        if let Some(schema) = &record.schema {
            headers = headers.insert(Header {
                key: SCHEMA_HEADER,
                value: Some(schema),
            });
        }
        let mut to_send: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&world.kafka.topic)
            .partition(record.partition.into())
            .headers(headers);
        to_send.key = record.key.as_deref();
        to_send.payload = record.value.as_deref();
        let large = record.key.as_ref().is_some_and(|key| key.len() > 1_000_000);
        let producer = &producers[if large { 1 } else { random.below(3) }];
        let delivery = producer.send_result(to_send).map_err(|(error, _)| error);
        sent.push(delivery.unwrap());
    }
    let mut offsets = Vec::with_capacity(sent.len());
    for delivery in sent {
        let delivered = delivery.await.unwrap().unwrap();
        offsets.push(delivered.offset.try_into().unwrap());
    }
    offsets
}

/// What is to become of all records.
#[derive(Default)]
struct Expected {
    /// An event's row by partition, offset and index.
    rows: BTreeMap<(u16, u64, u16), String>,
    /// A dead letter's reason by partition and offset.
    letters: BTreeMap<(u16, u64), String>,
    repeats: u64,
}

fn expected(log: &BTreeMap<(u16, u64), Record>) -> Expected {
    let mut expected = Expected::default();
    let mut batches = HashSet::new();
    let mut ids = HashSet::new();
    for (&(partition, offset), record) in log {
        let batch = match event::wire::decode(record.schema.as_deref(), record.value.as_deref()) {
            Ok(batch) => batch,
            Err(error) => {
                let reason = error.to_string().chars().take(1_000).collect();
                expected.letters.insert((partition, offset), reason);
                continue;
            }
        };
        if !batches.insert((partition, batch.id)) {
            expected.repeats += batch.events.len() as u64;
            continue;
        }
        for (index, event) in (0..).zip(&batch.events) {
            let id = (partition, event.site_id.to_string(), event.id.uuid);
            if event.id.origin == IdOrigin::Client && !ids.insert(id) {
                expected.repeats += 1;
                continue;
            }
            let place = (partition, offset, index);
            expected.rows.insert(place, shown(event));
        }
    }
    expected
}

/// As [`ROWS`] shows it.
fn shown(event: &Event) -> String {
    let mut line = event.id.uuid.to_string();
    let context = &event.context;
    for text in [
        event.site_id.as_str(),
        event.event_type.as_str(),
        event.path.as_str(),
        &event.user_id,
        &event.referrer,
        &context.hostname,
        &context.source,
        &context.agent,
        &context.place,
        &context.language,
        &context.screen,
    ] {
        write!(line, " {}", hex(text)).unwrap();
    }
    for time in [event.timestamp, event.received_at] {
        write!(line, " {}", time.timestamp_millis()).unwrap();
    }
    let props = event
        .props
        .iter()
        .map(|(key, value)| format!("{}={}", hex(key), hex(value)));
    let props = props.collect::<Vec<_>>().join(",");
    let user_origin = match context.user_origin {
        UserOrigin::Client => "client",
        UserOrigin::Edge => "edge",
    };
    let id_origin = match event.id.origin {
        IdOrigin::Client => "client",
        IdOrigin::Edge => "edge",
    };
    write!(line, " {props} {id_origin} {user_origin}").unwrap();
    line
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02X}").unwrap();
        hex
    })
}

const ROWS: &str = "SELECT concat(toString(_partition), ' ', toString(_offset), ' ', toString(_index), ' ', toString(event_id), ' ', arrayStringConcat(arrayMap(text -> hex(text), [toString(site_id), toString(event_type), toString(path), toString(user_id), toString(referrer), toString(hostname), toString(_source), toString(_agent), toString(_place), toString(language), toString(screen)]), ' '), ' ', toString(toUnixTimestamp64Milli(timestamp)), ' ', toString(toUnixTimestamp64Milli(received_at)), ' ', arrayStringConcat(arrayMap((key, value) -> concat(hex(toString(key)), '=', hex(value)), mapKeys(props), mapValues(props)), ','), ' ', toString(_id_origin), ' ', toString(user_origin)) FROM events ORDER BY _partition, _offset, _index";

/// Place, reason, key and value of all dead letters.
fn letters(world: &World) -> Vec<((u16, u64), String, Record)> {
    let mut client = world.kafka.client("test");
    client.set("group.id", "letters");
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
        let header = |name: &str| {
            let headers = message.headers().unwrap();
            let found = headers.iter().find(|header| header.key == name);
            String::from_utf8(found.unwrap().value.unwrap().to_vec()).unwrap()
        };
        let partition = header("partition").parse().unwrap();
        let record = Record {
            partition,
            key: message.key().map(<[u8]>::to_vec),
            schema: None,
            value: message.payload().map(<[u8]>::to_vec),
        };
        let place = (partition, header("offset").parse().unwrap());
        letters.push((place, header("reason"), record));
    }
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_stored_as_it_reads_or_set_aside_with_its_reason() {
    println!("seed {SEED}, {RECORDS} records");
    let mut random = Random(SEED);
    let mut records: Vec<Record> = Vec::with_capacity(RECORDS);
    for number in 0..RECORDS {
        let before = random.below(records.len());
        records.push(mutated(number % KINDS, records.get(before), &mut random));
    }
    // Small on the wire, and larger than a dead letter may be.
    for number in [100, 2_000, 4_900] {
        records[number].key = Some(vec![b'k'; 2_000_000]);
        records[number].value = Some(b"garbage".to_vec());
    }

    let world = World::new(PARTITIONS).await;
    let mut log = BTreeMap::new();
    let (first, second) = records.split_at(RECORDS / 2);
    for half in [first, second] {
        let sink = world.start().await;
        let offsets = send(&world, half, &mut random).await;
        for (record, offset) in half.iter().zip(offsets) {
            log.insert((record.partition, offset), record.clone());
        }
        let mut ends = BTreeMap::new();
        for (partition, offset) in log.keys() {
            ends.insert(*partition, offset + 1);
        }
        let ends: Vec<(u16, u64)> = ends.into_iter().collect();
        world.wait_until_committed(&ends).await;
        sink.stop().await;
    }
    assert_eq!(log.len(), RECORDS);

    let expected = expected(&log);
    let stored = world.db.query(ROWS).fetch_all::<String>().await.unwrap();
    let wanted = expected
        .rows
        .iter()
        .map(|((partition, offset, index), row)| format!("{partition} {offset} {index} {row}"));
    for (stored, wanted) in stored.iter().zip(wanted) {
        assert_eq!(*stored, wanted, "seed {SEED}");
    }
    assert_eq!(stored.len(), expected.rows.len(), "seed {SEED}");
    for table in [
        "stats_quarter_hour",
        "stats_day",
        "stats_month",
        "paths_day",
        "paths_month",
    ] {
        let events = world
            .number(&format!("SELECT sum(events) FROM {table}"))
            .await;
        assert_eq!(events, stored.len() as u64, "{table}, seed {SEED}");
    }

    let mut found = BTreeMap::new();
    for (place, reason, letter) in letters(&world) {
        let record = &log[&place];
        let bytes = |body: &Option<Vec<u8>>| body.as_ref().map_or(0, Vec::len);
        if bytes(&record.key) < 1_000_000 {
            assert_eq!(letter.key, record.key, "{place:?}, seed {SEED}");
            assert_eq!(letter.value, record.value, "{place:?}, seed {SEED}");
        } else {
            assert_eq!(bytes(&letter.key), 64 * 1024, "{place:?}, seed {SEED}");
        }
        let twice = found.insert(place, reason);
        assert_eq!(twice, None, "{place:?} twice, seed {SEED}");
    }
    assert_eq!(found, expected.letters, "seed {SEED}");
    for (what, count) in [
        ("records", RECORDS as u64),
        ("rows", stored.len() as u64),
        ("repeats", expected.repeats),
        ("dead_letters", found.len() as u64),
    ] {
        let ledgered = world
            .number(&format!("SELECT sum({what}) FROM ledger"))
            .await;
        assert_eq!(ledgered, count, "{what}, seed {SEED}");
    }
    println!(
        "{} rows stored, {} repeats dropped, {} letters for {} reasons",
        stored.len(),
        expected.repeats,
        found.len(),
        found.values().collect::<HashSet<_>>().len()
    );
    assert!(stored.len() > 1_000 && found.len() > 1_000);
}
