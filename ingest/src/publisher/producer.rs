//! The Kafka client behind the publisher: durable by its settings, replaced when it is beyond
//! repair.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tracing::{debug, error};

use super::flusher::{Flight, Unsent};
use super::records::Unacknowledged;
use crate::config::Queue;

pub(crate) type Producer = ThreadedProducer<Context>;

/// librdkafka counts what it holds with its own overhead; the bound that answers 503 is ours.
const BUFFER_HEADROOM: usize = 2;

/// Gets the answers of librdkafka's own thread.
pub(crate) struct Context {
    doubted: Arc<Notify>,
    /// The idempotent producer met something after which it takes no more records.
    fatal: AtomicBool,
}

impl Context {
    /// Draws the conclusions of an error. Returns whether it is the producer's end.
    fn note(&self, error: &KafkaError) -> bool {
        let fatal = error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal);
        if fatal {
            self.fatal.store(true, Ordering::Release);
        }
        self.doubted.notify_one();
        fatal
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if self.note(&error) {
            error!("the Kafka producer is beyond repair and will be replaced: {reason}");
        } else {
            debug!("librdkafka: {error}: {reason}");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Flight>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, flight: Box<Flight>) {
        let settled = match delivered {
            Ok(_) => Ok(()),
            Err((error, _)) => {
                self.note(error);
                Err(Unacknowledged::Unknown(error.to_string()))
            }
        };
        flight.land(&settled);
    }
}

/// Hands the current producer out and puts a new one in its place when it has become useless.
#[derive(Clone)]
pub(crate) struct SharedProducer(Arc<Inner>);

struct Inner {
    settings: ClientConfig,
    doubted: Arc<Notify>,
    current: Mutex<Arc<Producer>>,
}

impl SharedProducer {
    /// Reaches nobody yet: librdkafka connects in the background, for as long as it takes.
    pub(crate) fn new(
        kafka: &infra::kafka::Config,
        queue: &Queue,
        doubted: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let settings = settings(kafka, queue);
        let current = Mutex::new(Arc::new(create(&settings, &doubted)?));
        Ok(Self(Arc::new(Inner {
            settings,
            doubted,
            current,
        })))
    }

    pub(crate) fn current(&self) -> Arc<Producer> {
        self.lock().clone()
    }

    /// Hands one record over; never blocks.
    pub(crate) fn send(&self, topic: &str, partition: u32, flight: Box<Flight>, value: &[u8]) {
        if let Err(unsent) = self.try_send(topic, partition, flight, value) {
            unsent
                .flight
                .land(&Err(Unacknowledged::NotSent(unsent.reason)));
        }
    }

    fn try_send(
        &self,
        topic: &str,
        partition: u32,
        flight: Box<Flight>,
        value: &[u8],
    ) -> Result<(), Unsent> {
        let producer = match self.usable() {
            Ok(producer) => producer,
            Err(error) => {
                let reason = format!("{error:#}");
                return Err(Unsent { flight, reason });
            }
        };
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
            key: event::wire::SCHEMA_HEADER,
            value: Some(event::wire::SCHEMA_VERSION),
        });
        let partition = i32::try_from(partition).expect("Kafka counts partitions in 31 bits");
        let record = BaseRecord::<(), [u8], Box<Flight>>::with_opaque_to(topic, flight)
            .partition(partition)
            .headers(headers)
            .payload(value);
        producer.send(record).map_err(|(error, record)| {
            producer.context().note(&error);
            Unsent {
                flight: record.delivery_opaque,
                reason: error.to_string(),
            }
        })
    }

    fn usable(&self) -> anyhow::Result<Arc<Producer>> {
        let mut current = self.lock();
        if current.context().fatal.load(Ordering::Acquire) {
            let fresh = Arc::new(create(&self.0.settings, &self.0.doubted)?);
            let useless = std::mem::replace(&mut *current, fresh);
            // Its end waits for its thread, and the answers of what it held come from there.
            tokio::task::spawn_blocking(move || drop(useless));
        }
        Ok(current.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Producer>> {
        self.0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(settings: &ClientConfig, doubted: &Arc<Notify>) -> anyhow::Result<Producer> {
    settings
        .create_with_context(Context {
            doubted: doubted.clone(),
            fatal: AtomicBool::new(false),
        })
        .context("create a Kafka producer")
}

/// The promise of a 202 rests on these, so they stand after the operator's own.
fn settings(kafka: &infra::kafka::Config, queue: &Queue) -> ClientConfig {
    let mut settings = kafka.client("weir-ingest");
    if !kafka.properties.contains_key("compression.type") {
        settings.set("compression.type", "lz4");
    }
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("allow.auto.create.topics", "false")
        .set(
            "message.timeout.ms",
            queue.ack_timeout.as_millis().to_string(),
        )
        // The publisher gathers by itself, so waiting here would only add to the answer's time.
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true")
        .set(
            "queue.buffering.max.kbytes",
            (BUFFER_HEADROOM * (queue.bytes_max >> 10) + (64 << 10)).to_string(),
        )
        .set("queue.buffering.max.messages", "0")
        // A broker that comes back is to be found soon.
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000");
    settings
}
