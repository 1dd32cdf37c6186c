//! The Kafka client: durable by its settings, and replaced once it is beyond repair.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use event::wire;
use infra::kafka::{ClientSettings, Config as Kafka, Wakeup};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tracing::{debug, error};

use super::PublishError;
use crate::config::Config;

/// The client's own limits stand above the publisher's, so that it never refuses what was taken.
const QUEUE_BYTES_HEADROOM: usize = 2;
/// The client gives up before the request does, so a request knows how its flush ended.
const DELIVERY_MARGIN: Duration = Duration::from_secs(1);

/// Sends records.
pub(super) struct Producer {
    settings: ClientSettings,
    doubted: Arc<Notify>,
    current: Mutex<Arc<Client>>,
}

/// A client and the task that hears from it.
pub(super) struct Client {
    producer: Arc<BaseProducer<Context>>,
    hearing: AbortHandle,
}

/// Hears of deliveries, and of librdkafka's troubles.
pub(super) struct Context {
    doubted: Arc<Notify>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("librdkafka: {error}: {reason}");
        self.doubted.notify_one();
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let outcome = delivery
            .as_ref()
            .map(|_| ())
            .map_err(|(error, _)| error.clone());
        // Whoever waited has gone on without it.
        let _ = sender.send(outcome);
    }
}

impl Client {
    fn create(settings: &ClientSettings, doubted: &Arc<Notify>) -> anyhow::Result<Self> {
        let doubted = doubted.clone();
        let producer: BaseProducer<Context> = settings
            .create_with_context(Context { doubted })
            .context("make a Kafka producer")?;
        let wakeup = Wakeup::of(producer.client()).context("listen to a Kafka producer")?;
        let producer = Arc::new(producer);
        let hearing = tokio::spawn(hear(wakeup, producer.clone())).abort_handle();
        Ok(Self { producer, hearing })
    }

    pub(super) fn native(&self) -> &rdkafka::client::Client<Context> {
        self.producer.client()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

/// Polls the client whenever it has something to say.
async fn hear(wakeup: Wakeup, producer: Arc<BaseProducer<Context>>) {
    // Declared in this order, so that the queue is let go of before the client.
    let client = Ending(Some(producer));
    let wakeup = wakeup;
    let queue = wakeup.queue();
    while let Some(producer) = &client.0 {
        while !queue.is_empty() {
            producer.poll(Duration::ZERO);
        }
        if let Err(fault) = wakeup.heard().await {
            error!("the Kafka client cannot be heard any more: {fault}");
            return;
        }
    }
}

/// The end of a client waits for its threads, which must not hold up a runtime.
struct Ending(Option<Arc<BaseProducer<Context>>>);

impl Drop for Ending {
    fn drop(&mut self) {
        let producer = self.0.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(producer))),
            Err(_) => drop(producer),
        }
    }
}

impl Producer {
    /// Reaches nobody yet: the client connects by itself, for as long as it takes. Its
    /// acknowledgements are heard in the runtime of the caller.
    ///
    /// # Errors
    /// If librdkafka does not take a setting.
    pub(super) fn new(
        kafka: &Kafka,
        config: &Config,
        doubted: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let settings = settings(kafka, config);
        let current = Mutex::new(Arc::new(Client::create(&settings, &doubted)?));
        Ok(Self {
            settings,
            doubted,
            current,
        })
    }

    /// The client in use now.
    pub(super) fn current(&self) -> Arc<Client> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns once Kafka has acknowledged the record, or has not.
    ///
    /// # Errors
    /// [`PublishError::Full`], [`PublishError::Refused`] or [`PublishError::Unacknowledged`].
    pub(super) async fn send(
        &self,
        topic: &str,
        partition: u32,
        record: &[u8],
    ) -> Result<(), PublishError> {
        let client = self.usable()?;
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
            key: wire::SCHEMA_HEADER,
            value: Some(wire::SCHEMA_VERSION),
        });
        let (delivered, delivery) = oneshot::channel();
        let record = BaseRecord::<(), _, _>::with_opaque_to(topic, Box::new(delivered))
            .partition(i32::try_from(partition).unwrap_or(i32::MAX))
            .payload(record)
            .headers(headers);
        let error = match client.producer.send(record) {
            Ok(()) => match delivery.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => return Err(unacknowledged("the Kafka client went away")),
            },
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                return Err(PublishError::Full);
            }
            Err((error, _)) => error,
        };
        Err(match error.rdkafka_error_code() {
            // These say something of the record, not of the broker.
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord,
            ) => PublishError::Refused(error.to_string()),
            _ => unacknowledged(error),
        })
    }

    fn usable(&self) -> Result<Arc<Client>, PublishError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // An idempotent producer that lost its place takes no records any more.
        if let Some((_, reason)) = current.native().fatal_error() {
            error!("the Kafka client is beyond repair and is replaced: {reason}");
            let fresh = Client::create(&self.settings, &self.doubted)
                .map_err(|error| unacknowledged(format!("{error:#}")))?;
            *current = Arc::new(fresh);
        }
        Ok(current.clone())
    }
}

fn unacknowledged(reason: impl ToString) -> PublishError {
    PublishError::Unacknowledged(reason.to_string())
}

/// What a 202 rests on is set last, whatever the operator's own settings say.
fn settings(kafka: &Kafka, config: &Config) -> ClientSettings {
    let delivery = config
        .ack_timeout
        .saturating_sub(DELIVERY_MARGIN)
        .max(DELIVERY_MARGIN);
    let queue_kbytes = (config.pending_bytes_max / 1024 * QUEUE_BYTES_HEADROOM).max(64 * 1024);
    let mut settings = kafka.client("weir-ingest");
    settings
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // The publisher gathers by itself; waiting here would only make answers later.
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true")
        // A topic that is missing is made by `weir migrate`, with its partitions.
        .set("allow.auto.create.topics", "false")
        .set("message.timeout.ms", delivery.as_millis().to_string())
        .set("queue.buffering.max.kbytes", queue_kbytes.to_string())
        .set(
            "message.max.bytes",
            (config.record_bytes_max + 64 * 1024).to_string(),
        )
        // A broker that comes back is to be found soon.
        .set("reconnect.backoff.max.ms", "1000");
    settings
}
