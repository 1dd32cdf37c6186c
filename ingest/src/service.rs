//! The service's life: bind, serve, and at the end let open requests have their answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use infra::http::Readiness;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api;
use crate::config::Config;
use crate::publisher::{Flusher, Publisher, SharedProducer};
use crate::topic::{Topic, Watcher};

/// How long the last flushes may take once the last request is answered.
const GRACE: Duration = Duration::from_secs(5);

/// The edge, listening and not serving yet.
pub struct Service {
    listener: TcpListener,
    local_addr: SocketAddr,
    router: axum::Router,
    watcher: Watcher,
    flusher: Flusher,
    producer: SharedProducer,
}

impl Service {
    /// Checks the configuration and listens. Kafka need not be there yet: until it is, events are
    /// answered 503.
    ///
    /// # Errors
    /// If the configuration contradicts itself, a Kafka setting is unknown, or the address is in
    /// use: each in one line.
    pub async fn bind(config: Config, kafka: infra::kafka::Config) -> anyhow::Result<Self> {
        config.check()?;
        describe_metrics();
        let listener = infra::http::bind(config.listen, "ingest.listen").await?;
        let local_addr = listener
            .local_addr()
            .context("read the address listened on")?;

        let readiness = Readiness::default();
        readiness.unavailable("kafka", "Kafka has not answered yet");
        let doubted = Arc::new(Notify::new());
        let producer = SharedProducer::new(&kafka, &config.queue, doubted.clone())?;
        let (seen, topic) = watch::channel(Topic::not_asked_yet());
        let name: Arc<str> = kafka.topic.as_str().into();
        let watcher = Watcher {
            name: name.clone(),
            brokers: kafka.brokers,
            producer: producer.clone(),
            doubted,
            seen,
            readiness: readiness.clone(),
        };
        let (publisher, flusher) = Publisher::new(config.queue, name, topic, producer.clone());
        let router = api::routes(publisher, config.limits, readiness);
        Ok(Self {
            listener,
            local_addr,
            router,
            watcher,
            flusher,
            producer,
        })
    }

    /// Where it listens; the port is a real one also where the configuration says 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then finishes open requests and what they wait for.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        info!("ingest listens on http://{}", self.local_addr);
        let answered = CancellationToken::new();
        let mut watcher = tokio::spawn(self.watcher.run(answered.clone()));
        let mut flusher = tokio::spawn(self.flusher.run(answered.clone()));
        let served = tokio::select! {
            served = infra::http::serve(self.listener, self.router, shutdown) => served,
            _ = &mut watcher => bail!("the watch over the topic ended unasked"),
            _ = &mut flusher => bail!("the flusher ended unasked"),
        };
        // Only now: until the last request is answered, there may be something to send.
        answered.cancel();
        if let Ok(flushed) = tokio::time::timeout(GRACE, &mut flusher).await {
            flushed.context("the flusher panicked")?;
        } else {
            flusher.abort();
            warn!(
                "events that nobody waits for any more were still unacknowledged after {GRACE:?}"
            );
        }
        watcher.await.context("the watch over the topic panicked")?;
        // Ends librdkafka's threads, which takes its time.
        let producer = self.producer;
        tokio::task::spawn_blocking(move || drop(producer))
            .await
            .context("end the Kafka producer")?;
        served
    }
}

/// [`Service::bind`] and [`Service::run`] in one.
///
/// # Errors
/// As theirs.
pub async fn run(
    config: Config,
    kafka: infra::kafka::Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    Service::bind(config, kafka).await?.run(shutdown).await
}

fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("weir_ingest_events_accepted_total", "Events answered 202");
    describe_counter!(
        "weir_ingest_rejected_total",
        "Requests refused, and events rejected inside a batch, by the class of the reason"
    );
    describe_counter!("weir_ingest_answers_total", "Answers by route and status");
    describe_counter!("weir_ingest_body_bytes_total", "Bytes of bodies as sent");
    describe_counter!("weir_ingest_flushes_total", "Flushes sent to Kafka");
    describe_counter!("weir_ingest_records_total", "Records sent to Kafka");
    describe_counter!("weir_ingest_record_bytes_total", "Bytes of records' values");
    describe_counter!(
        "weir_ingest_records_failed_total",
        "Records that Kafka did not acknowledge"
    );
    describe_gauge!(
        "weir_ingest_queue_bytes",
        "Encoded events that wait for Kafka's acknowledgement"
    );
    describe_histogram!(
        "weir_ingest_ack_duration_seconds",
        "From the flush of a record to its acknowledgement"
    );
}
