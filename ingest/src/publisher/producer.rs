//! The Kafka client: durable by its settings, and replaced once it is beyond repair.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use event::wire;
use infra::kafka::Config as Kafka;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::Notify;
use tracing::{debug, error};

use super::PublishError;
use crate::config::Config;

/// The client's own limits stand above the publisher's, so that it never refuses what was taken.
const QUEUE_BYTES_HEADROOM: usize = 2;
/// The client gives up before the request does, so a request knows how its flush ended.
const DELIVERY_MARGIN: Duration = Duration::from_secs(1);

/// Sends records.
pub(super) struct Producer {
    settings: ClientConfig,
    doubted: Arc<Notify>,
    current: Mutex<Client>,
}

pub(super) type Client = FutureProducer<Context>;

/// Hears of librdkafka's troubles.
pub(super) struct Context {
    doubted: Arc<Notify>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("librdkafka: {error}: {reason}");
        self.doubted.notify_one();
    }
}

impl Producer {
    /// Reaches nobody yet: the client connects by itself, for as long as it takes.
    ///
    /// # Errors
    /// If librdkafka does not take a setting.
    pub(super) fn new(
        kafka: &Kafka,
        config: &Config,
        doubted: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let settings = settings(kafka, config);
        let current = Mutex::new(create(&settings, &doubted)?);
        Ok(Self {
            settings,
            doubted,
            current,
        })
    }

    /// The client in use now.
    pub(super) fn current(&self) -> Client {
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
        let record = FutureRecord::<(), _>::to(topic)
            .partition(i32::try_from(partition).unwrap_or(i32::MAX))
            .payload(record)
            .headers(headers);
        // Not `send`: that one sleeps while the client's queue is full.
        let error = match client.send_result(record) {
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err((error, _))) => error,
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

    fn usable(&self) -> Result<Client, PublishError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // An idempotent producer that lost its place takes no records any more.
        if let Some((_, reason)) = current.client().fatal_error() {
            error!("the Kafka client is beyond repair and is replaced: {reason}");
            let fresh = create(&self.settings, &self.doubted)
                .map_err(|error| unacknowledged(format!("{error:#}")))?;
            let useless = std::mem::replace(&mut *current, fresh);
            // Its end waits for its thread.
            tokio::task::spawn_blocking(move || drop(useless));
        }
        Ok(current.clone())
    }
}

fn unacknowledged(reason: impl ToString) -> PublishError {
    PublishError::Unacknowledged(reason.to_string())
}

fn create(settings: &ClientConfig, doubted: &Arc<Notify>) -> anyhow::Result<Client> {
    let doubted = doubted.clone();
    settings
        .create_with_context(Context { doubted })
        .context("make a Kafka producer")
}

/// What a 202 rests on is set last, whatever the operator's own settings say.
fn settings(kafka: &Kafka, config: &Config) -> ClientConfig {
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
