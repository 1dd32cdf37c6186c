//! A broker, an edge before it, and a reader of what the edge wrote.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use event::wire::{self, EventBatch};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a machine under load; no test waits for it when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const PARTITIONS: u16 = 4;

/// Something that runs until its token is cancelled.
struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("it stops in time")
            .expect("it does not panic")
            .expect("it ends well");
    }
}

/// The embedded broker on its own directory and port.
pub(crate) struct Broker {
    config: embedded_broker::Config,
    running: Option<Running>,
    _directory: TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut broker = Self {
            config: embedded_broker::Config {
                data_dir: directory.path().to_owned(),
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                ..Default::default()
            },
            running: None,
            _directory: directory,
        };
        broker.resume().await;
        broker
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts it again where it was.
    pub(crate) async fn resume(&mut self) {
        let broker = embedded_broker::Broker::bind(self.config.clone())
            .await
            .unwrap();
        self.config.listen = broker.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(broker.run(shutdown.clone()));
        self.running = Some(Running { task, shutdown });
    }

    pub(crate) fn kafka(&self) -> infra::kafka::Config {
        infra::kafka::Config {
            brokers: self.config.listen.to_string(),
            partitions: PARTITIONS,
            ..Default::default()
        }
    }

    pub(crate) async fn create_topics(&self) {
        infra::kafka::create_topics(&self.kafka()).await.unwrap();
    }

    /// Everything in the topic, once it holds `events` events: partition and batch.
    pub(crate) async fn read(&self, events: usize) -> Vec<(u32, EventBatch)> {
        let kafka = self.kafka();
        let enough =
            move |batches: &[(u32, EventBatch)], _: &BaseConsumer| count_events(batches) >= events;
        tokio::task::spawn_blocking(move || read(&kafka, enough))
            .await
            .unwrap()
    }

    /// Everything in the topic at this time: partition and batch.
    pub(crate) async fn read_all(&self) -> Vec<(u32, EventBatch)> {
        let kafka = self.kafka();
        let topic = kafka.topic.clone();
        let mut records = None;
        let all = move |batches: &[(u32, EventBatch)], consumer: &BaseConsumer| {
            let records = *records.get_or_insert_with(|| count_records(consumer, &topic));
            batches.len() >= records
        };
        tokio::task::spawn_blocking(move || read(&kafka, all))
            .await
            .unwrap()
    }
}

fn count_events(batches: &[(u32, EventBatch)]) -> usize {
    batches.iter().map(|(_, batch)| batch.events.len()).sum()
}

fn count_records(consumer: &BaseConsumer, topic: &str) -> usize {
    let end = |partition: u16| {
        let marks = consumer.fetch_watermarks(topic, partition.into(), DEADLINE);
        usize::try_from(marks.unwrap().1).unwrap()
    };
    (0..PARTITIONS).map(end).sum()
}

fn read(
    kafka: &infra::kafka::Config,
    mut is_enough: impl FnMut(&[(u32, EventBatch)], &BaseConsumer) -> bool,
) -> Vec<(u32, EventBatch)> {
    let consumer: BaseConsumer = kafka
        .client("test-reader")
        .set("group.id", "test-reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut places = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        places
            .add_partition_offset(&kafka.topic, partition.into(), Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&places).unwrap();
    let begun_at = Instant::now();
    let mut batches: Vec<(u32, EventBatch)> = Vec::new();
    while !is_enough(&batches, &consumer) {
        assert!(begun_at.elapsed() < DEADLINE, "the events are not in Kafka");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        let headers = message.headers().expect("a record has headers");
        assert_eq!(headers.count(), 1);
        let header = headers.get(0);
        assert_eq!(header.key, wire::SCHEMA_HEADER);
        let batch = wire::decode(header.value, message.payload()).unwrap();
        batches.push((message.partition().try_into().unwrap(), batch));
    }
    batches
}

/// The edge, on a port of its own.
pub(crate) struct Edge {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    running: Running,
    /// Where its spool lies, unless the test has named a folder.
    _spool: TempDir,
}

impl Edge {
    /// With a broker and its topics, ready.
    pub(crate) async fn ready() -> (Self, Broker) {
        Self::ready_with(ingest::Config::default()).await
    }

    pub(crate) async fn ready_with(config: ingest::Config) -> (Self, Broker) {
        let broker = Broker::start().await;
        broker.create_topics().await;
        let edge = Self::start(config, broker.kafka()).await;
        edge.wait_until_ready().await;
        (edge, broker)
    }

    pub(crate) async fn start(mut config: ingest::Config, kafka: infra::kafka::Config) -> Self {
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let spool = tempfile::tempdir().unwrap();
        config
            .spool
            .dir
            .get_or_insert_with(|| spool.path().to_owned());
        config
            .visitors
            .dir
            .get_or_insert_with(|| spool.path().to_owned());
        // A test says itself where addresses are, and fetches nothing.
        config.geo.enabled = config.geo.database.is_some() || config.geo.country_header.is_some();
        let service = ingest::Service::bind(config, kafka).await.unwrap();
        let address = service.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(service.run(shutdown.clone()));
        Self {
            url: format!("http://{address}"),
            address,
            client: reqwest::Client::new(),
            running: Running { task, shutdown },
            _spool: spool,
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.client);
        self.running.stop().await;
    }

    pub(crate) fn post(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path).body(body)
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(reqwest::Method::GET, path)).await
    }

    pub(crate) async fn event(&self, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.post("/event", body)).await
    }

    pub(crate) async fn events(&self, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.post("/events", body)).await
    }

    pub(crate) async fn wait_until_ready(&self) {
        self.wait_for("/ready", 200).await;
    }

    pub(crate) async fn wait_for(&self, path: &str, status: u16) -> Answer {
        let begun_at = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == status {
                return answer;
            }
            assert!(begun_at.elapsed() < DEADLINE, "{path}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The service is alive and takes a good event.
    pub(crate) async fn is_unharmed(&self) {
        self.get("/health").await.is(200);
        self.event(GOOD).await.is(202);
    }
}

pub(crate) const GOOD: &str = r#"{"site_id":"shop","event_type":"page_view","path":"/pricing"}"#;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// Null if the text is not JSON.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(DEADLINE).send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self {
            status,
            headers,
            text,
            json,
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The common shape, and its sentences.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> Vec<String> {
        self.is(status);
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.json["success"], false, "{}", self.text);
        assert_eq!(self.json["status"], "error", "{}", self.text);
        let errors: Vec<String> = serde_json::from_value(self.json["errors"].clone()).unwrap();
        assert!(!errors.is_empty());
        errors
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
