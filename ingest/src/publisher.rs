//! A self-clocked group commit into Kafka.
//!
//! Events append to the batch that is gathering; as soon as a place among the flushes under way is
//! free, the batch goes out as one record and the next one gathers. There is no timer: an idle
//! edge adds no delay, and a busy one sends few large records, which is what makes an acknowledged
//! event cheap. A request waits for the flushes that hold its events, and for nothing else.

mod lanes;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use event::wire;
use infra::kafka::Config as Kafka;
use metrics::{counter, gauge, histogram};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use lanes::{Flush, Lanes};

/// The client's own limits stand above this part's, so that it never refuses what was taken.
const QUEUE_BYTES_HEADROOM: usize = 2;
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// The client gives up before the request does, so a request knows how its flush ended.
const DELIVERY_MARGIN: Duration = Duration::from_secs(1);
const FLUSH_ON_STOP: Duration = Duration::from_secs(10);

/// An encoded event and where it has to go.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) encoded: Vec<u8>,
    /// The client's own id decides the partition, so that its retry lands beside it.
    pub(crate) client_id: Option<Uuid>,
}

/// Why events were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// Nothing was sent.
    #[error("too many events are waiting for Kafka")]
    Full,
    /// Nothing was sent.
    #[error("Kafka has no topic to take events; it is made by `weir migrate`")]
    NoTopic,
    /// Nothing was sent: an event larger than a record may be.
    #[error("an event has {0} bytes encoded, more than a record may have")]
    TooLarge(usize),
    /// Kafka refused, or did not say in time; it may have the events.
    #[error("Kafka did not acknowledge: {0}")]
    Unacknowledged(String),
}

/// Sends events to Kafka; cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Inner>);

struct Inner {
    producer: FutureProducer,
    topic: String,
    lanes: Mutex<Lanes>,
    gathered: Notify,
    places: Arc<Semaphore>,
    /// 0: not known yet.
    partitions: AtomicU32,
    ack_timeout: Duration,
    record_bytes_max: usize,
    stopping: CancellationToken,
    stopped: watch::Sender<bool>,
}

impl Publisher {
    /// Makes the client, which connects by itself, and starts flushing.
    ///
    /// # Errors
    /// If librdkafka does not take a setting.
    pub(crate) fn start(kafka: &Kafka, config: &Config) -> anyhow::Result<Self> {
        let delivery = config
            .ack_timeout
            .saturating_sub(DELIVERY_MARGIN)
            .max(DELIVERY_MARGIN);
        let queue_kbytes = (config.pending_bytes_max * QUEUE_BYTES_HEADROOM / 1024).max(1024);
        let producer = kafka
            .client("weir-ingest")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", delivery.as_millis().to_string())
            .set("queue.buffering.max.kbytes", queue_kbytes.to_string())
            .set(
                "message.max.bytes",
                (config.record_bytes_max + 64 * 1024).to_string(),
            )
            .create()
            .context("make a Kafka producer")?;
        let publisher = Self(Arc::new(Inner {
            producer,
            topic: kafka.topic.clone(),
            lanes: Mutex::new(Lanes::new(
                config.record_bytes_max,
                config.pending_bytes_max,
            )),
            gathered: Notify::new(),
            places: Arc::new(Semaphore::new(config.flushes_max.max(1))),
            partitions: AtomicU32::new(0),
            ack_timeout: config.ack_timeout,
            record_bytes_max: config.record_bytes_max,
            stopping: CancellationToken::new(),
            stopped: watch::channel(false).0,
        }));
        tokio::spawn(publisher.0.clone().flush_forever());
        Ok(publisher)
    }

    /// Returns once Kafka has acknowledged all of `events`, or has not.
    ///
    /// # Errors
    /// [`PublishError`]: nothing of `events` may be taken for stored.
    pub(crate) async fn publish(&self, events: Vec<Outgoing>) -> Result<(), PublishError> {
        let inner = &self.0;
        let partitions = inner.partitions.load(Ordering::Relaxed);
        if partitions == 0 {
            return Err(PublishError::NoTopic);
        }
        for event in &events {
            if event.encoded.len() + lanes::RECORD_OVERHEAD_BYTES > inner.record_bytes_max {
                return Err(PublishError::TooLarge(event.encoded.len()));
            }
        }
        let flushes = inner.lanes().append(events, partitions)?;
        inner.gathered.notify_one();
        let asked_at = Instant::now();
        for mut flush in flushes {
            let outcome = tokio::time::timeout_at(
                asked_at + inner.ack_timeout,
                flush.wait_for(Option::is_some),
            )
            .await;
            match outcome {
                Err(_) => return Err(PublishError::Unacknowledged("no answer in time".to_owned())),
                Ok(Err(_)) => {
                    return Err(PublishError::Unacknowledged(
                        "the service stopped".to_owned(),
                    ));
                }
                Ok(Ok(outcome)) => {
                    if let Some(Err(error)) = &*outcome {
                        return Err(error.clone());
                    }
                }
            }
        }
        histogram!("weir_ingest_ack_seconds").record(asked_at.elapsed().as_secs_f64());
        Ok(())
    }

    /// Asks Kafka how many partitions the topic has. Blocks for up to five seconds.
    ///
    /// # Errors
    /// Why Kafka cannot take events, in words for `/ready`.
    pub(crate) fn look_up_partitions(&self) -> Result<u32, String> {
        let inner = &self.0;
        let metadata = inner
            .producer
            .client()
            .fetch_metadata(Some(&inner.topic), METADATA_TIMEOUT)
            .map_err(|error| format!("Kafka cannot be reached: {error}"))?;
        let partitions = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == inner.topic && topic.error().is_none())
            .map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Err(format!(
                "Kafka has no topic {}: run `weir migrate`",
                inner.topic
            ));
        }
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        inner.partitions.store(partitions, Ordering::Relaxed);
        Ok(partitions)
    }

    /// Sends what was gathered and waits for the flushes under way.
    pub(crate) async fn stop(&self) {
        self.0.stopping.cancel();
        let mut stopped = self.0.stopped.subscribe();
        if tokio::time::timeout(FLUSH_ON_STOP, stopped.wait_for(|stopped| *stopped))
            .await
            .is_err()
        {
            warn!("not all flushes ended within {FLUSH_ON_STOP:?}; their requests got no 202");
        }
    }
}

impl Inner {
    /// The flusher: one flush for each place that becomes free while something is gathered.
    async fn flush_forever(self: Arc<Self>) {
        let mut flushes = JoinSet::new();
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                break;
            };
            let flush = loop {
                // Registered before the look, so that what is gathered in between is not missed.
                let gathered = self.gathered.notified();
                if let Some(flush) = self.lanes().take(random_partition) {
                    break Some(flush);
                }
                if self.stopping.is_cancelled() {
                    break None;
                }
                tokio::select! {
                    () = gathered => {}
                    () = self.stopping.cancelled() => {}
                }
            };
            let Some(flush) = flush else { break };
            while flushes.try_join_next().is_some() {}
            let inner = self.clone();
            flushes.spawn(async move {
                inner.send(flush).await;
                drop(place);
            });
        }
        while flushes.join_next().await.is_some() {}
        self.stopped.send_replace(true);
    }

    async fn send(&self, flush: Flush) {
        let Flush {
            partition,
            record,
            events,
            bytes,
            outcome,
        } = flush;
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
            key: wire::SCHEMA_HEADER,
            value: Some(wire::SCHEMA_VERSION),
        });
        let record = FutureRecord::<(), _>::to(&self.topic)
            .partition(i32::try_from(partition).unwrap_or(i32::MAX))
            .payload(&record)
            .headers(headers);
        let sent = match self.producer.send_result(record) {
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((error, _))) => Err(unacknowledged(&error)),
                Err(_) => Err(PublishError::Unacknowledged(
                    "the Kafka client went away".to_owned(),
                )),
            },
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(PublishError::Full)
            }
            Err((error, _)) => Err(unacknowledged(&error)),
        };
        counter!("weir_ingest_flushes_total", "outcome" => if sent.is_ok() { "acknowledged" } else { "failed" })
            .increment(1);
        counter!("weir_ingest_flushed_events_total").increment(events as u64);
        self.lanes().done(bytes);
        // Nobody may be waiting any more; that is their affair.
        outcome.send_replace(Some(sent));
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        gauge!("weir_ingest_pending_bytes").set(lanes.pending_bytes() as f64);
        lanes
    }
}

fn unacknowledged(error: &KafkaError) -> PublishError {
    PublishError::Unacknowledged(error.to_string())
}

/// Any partition will do, and each as often as the others.
fn random_partition(batch_id: Uuid, partitions: u32) -> u32 {
    wire::partition_of(batch_id, partitions)
}
