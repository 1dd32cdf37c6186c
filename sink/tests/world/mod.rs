//! A topic, a database and a group of one test's own, on servers that all tests of the process
//! share; and the checks that every test ends with.

mod circumstances;
pub(crate) mod proxy;
pub(crate) mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use event::{Event, EventId};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use sink::{Config, Service};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use circumstances::Sinks;

/// Nothing here takes longer unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) clickhouse: infra::clickhouse::Config,
    pub(crate) db: clickhouse::Client,
    pub(crate) config: Config,
    producer: FutureProducer,
    sinks: Arc<Sinks>,
}

/// A running sink.
pub(crate) struct Running {
    pub(crate) operations: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) async fn ready(&self) -> (u16, String) {
        let answer = ready(self.operations).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

/// What the sink whose operations are there answers about being ready, head and body.
async fn ready(operations: SocketAddr) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(operations).await?;
    let request = "GET /ready HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn producer(kafka: &infra::kafka::Config) -> FutureProducer {
    kafka
        .client("test")
        .set("enable.idempotence", "true")
        .create()
        .unwrap()
}

impl World {
    pub(crate) async fn new(partitions: u16) -> Self {
        Self::on(&servers::shared().brokers, partitions).await
    }

    /// On another broker than the shared one.
    pub(crate) async fn on(brokers: &str, partitions: u16) -> Self {
        let servers = servers::shared();
        let name = format!("t{}", Uuid::new_v4().simple());
        let kafka = infra::kafka::Config {
            brokers: brokers.to_owned(),
            topic: format!("events-{name}"),
            dead_letter_topic: format!("events.dlq-{name}"),
            partitions,
            replication: 1,
            ..Default::default()
        };
        let clickhouse = infra::clickhouse::Config {
            url: servers.clickhouse.parse().unwrap(),
            database: name.clone(),
            ..Default::default()
        };
        infra::kafka::create_topics(&kafka).await.unwrap();
        infra::clickhouse::migrate(&clickhouse).await.unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            group: format!("sink-{name}"),
            ..Default::default()
        };
        config.cut.age_max = Duration::from_millis(100);
        let producer = producer(&kafka);
        Self {
            db: infra::clickhouse::client(&clickhouse),
            kafka,
            clickhouse,
            config,
            producer,
            sinks: Arc::default(),
        }
    }

    /// From here on records go another way to the broker.
    pub(crate) fn reconnect(&mut self) {
        self.producer = producer(&self.kafka);
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(self.config.clone(), self.clickhouse.clone())
            .await
    }

    pub(crate) async fn start_with(
        &self,
        config: Config,
        clickhouse: infra::clickhouse::Config,
    ) -> Running {
        let service = Service::bind(config, self.kafka.clone(), clickhouse)
            .await
            .unwrap();
        let operations = service.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (sinks, stop) = (self.sinks.clone(), shutdown.clone());
        let task = tokio::spawn(async move {
            sinks.begun(operations);
            let ended = service.run(stop).await;
            sinks.ended(operations, &ended);
            ended
        });
        Running {
            operations,
            shutdown,
            task,
        }
    }

    /// Puts a record of these events into a partition; returns its offset.
    pub(crate) async fn send(&self, partition: u16, events: &[Event]) -> u64 {
        self.send_batch(partition, Uuid::new_v4(), events).await
    }

    /// The same, as the flush of this id.
    pub(crate) async fn send_batch(&self, partition: u16, id: Uuid, events: &[Event]) -> u64 {
        let mut batch = event::wire::BatchEncoder::new(id);
        for event in events {
            batch.push(&event::wire::encode(event));
        }
        let schema = Some(event::wire::SCHEMA_VERSION);
        self.send_raw(partition, schema, &batch.finish()).await
    }

    pub(crate) async fn send_raw(&self, partition: u16, schema: Option<&str>, value: &[u8]) -> u64 {
        let mut headers = OwnedHeaders::new();
        if schema.is_some() {
            headers = headers.insert(Header {
                key: event::wire::SCHEMA_HEADER,
                value: schema,
            });
        }
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.kafka.topic)
            .partition(partition.into())
            .headers(headers)
            .payload(value);
        let delivered = self.producer.send(record, DEADLINE).await;
        delivered.unwrap().offset.try_into().unwrap()
    }

    pub(crate) async fn number(&self, sql: &str) -> u64 {
        // To the end of the answer: one that is dropped before counts as given up.
        let rows = self.db.query(sql).fetch_all::<u64>().await.unwrap();
        rows[0]
    }

    /// Waits until `sql` gives `expected`.
    pub(crate) async fn wait_for(&self, sql: &str, expected: u64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.number(sql).await;
            if found == expected {
                return;
            }
            if Instant::now() > deadline {
                let circumstances = self.circumstances().await;
                panic!("{sql}: {found} instead of {expected}\n{circumstances}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the group has committed `ends`, with no plan left behind.
    pub(crate) async fn wait_until_committed(&self, ends: &[(u16, u64)]) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let committed = self.committed();
            let is_there = |(partition, end): &(u16, u64)| {
                committed.contains(&(*partition, i64::try_from(*end).unwrap(), String::new()))
            };
            if ends.iter().all(is_there) {
                return;
            }
            if Instant::now() > deadline {
                let circumstances = self.circumstances().await;
                panic!("{committed:?} instead of {ends:?}\n{circumstances}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Partition, offset and metadata of the sink's group; -1 without an offset.
    pub(crate) fn committed(&self) -> Vec<(u16, i64, String)> {
        let consumer = self.group_member();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.kafka.partitions {
            list.add_partition(&self.kafka.topic, partition.into());
        }
        let list = consumer.committed_offsets(list, DEADLINE).unwrap();
        let positions = list.elements().into_iter().map(|element| {
            let Offset::Offset(offset) = element.offset() else {
                return (element.partition() as u16, -1, String::new());
            };
            let partition = element.partition() as u16;
            (partition, offset, element.metadata().to_owned())
        });
        positions.collect()
    }

    /// Puts offsets and metadata into the sink's group, as a sink that then died would have.
    pub(crate) fn commit(&self, positions: &[(u16, u64)], metadata: &str) {
        let consumer = self.group_member();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let mut element = list.add_partition(&self.kafka.topic, (*partition).into());
            let offset = Offset::Offset(i64::try_from(*offset).unwrap());
            element.set_offset(offset).unwrap();
            element.set_metadata(metadata);
        }
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    fn group_member(&self) -> BaseConsumer {
        let mut client = self.kafka.client("test");
        client.set("group.id", &self.config.group);
        client.set("enable.auto.commit", "false");
        client.create().unwrap()
    }

    /// Reads one dead letter: its headers in one line, and its value.
    pub(crate) fn dead_letters(&self, count: usize) -> Vec<(String, Option<Vec<u8>>)> {
        let mut client = self.kafka.client("test");
        client.set("group.id", "dead-letter-reader");
        client.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = client.create().unwrap();
        let mut list = TopicPartitionList::new();
        let topic = &self.kafka.dead_letter_topic;
        list.add_partition_offset(topic, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + DEADLINE;
        let mut letters = Vec::new();
        while letters.len() < count {
            assert!(Instant::now() < deadline, "{letters:?} of {count}");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let headers = message.headers().unwrap().iter();
            let headers = headers.map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                format!("{}={value}", header.key)
            });
            let headers = headers.collect::<Vec<_>>().join("; ");
            letters.push((headers, message.payload().map(<[u8]>::to_vec)));
        }
        letters
    }

    /// Every event once, in the raw rows and in every rollup.
    pub(crate) async fn assert_exactly(&self, events: u64) {
        let questions = [
            "SELECT count() FROM events",
            "SELECT uniqExact(_partition, _offset, _index) FROM events",
            "SELECT sum(events) FROM stats_quarter_hour",
            "SELECT sum(events) FROM stats_day",
            "SELECT sum(events) FROM stats_month",
            "SELECT sum(events) FROM paths_day",
            "SELECT sum(events) FROM paths_month",
        ];
        for question in questions {
            assert_eq!(self.number(question).await, events, "{question}");
        }
        let users = self.number("SELECT uniqExact(user_id) FROM events").await;
        for table in ["stats_day", "stats_month"] {
            let merged = format!("SELECT uniqCombined64Merge(17)(users) FROM {table}");
            assert_eq!(self.number(&merged).await, users, "users of {table}");
        }
    }
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The `number`th event of a made-up site, its id made at the edge.
pub(crate) fn event(number: u64) -> Event {
    Event {
        id: EventId::edge(Uuid::new_v4()),
        site_id: "site-abc-123".parse().unwrap(),
        event_type: "page_view".parse().unwrap(),
        path: format!("/page/{}", number % 7).parse().unwrap(),
        user_id: format!("user-{}", number % 100),
        timestamp: time("2025-11-15T10:00:00Z")
            + chrono::TimeDelta::seconds((number % 86_400) as i64),
        received_at: time("2025-11-16T10:00:00Z"),
        referrer: "https://example.com/".to_owned(),
        props: vec![("plan".to_owned(), "free".to_owned())],
        context: event::Context::default(),
    }
}

pub(crate) fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(event).collect()
}

/// An event whose id the client chose.
pub(crate) fn event_with_key(key: &str) -> Event {
    let mut event = event(0);
    event.id = EventId::client(key, &event.site_id).unwrap();
    event
}
