//! A self-clocked group commit into Kafka.
//!
//! Events append to the batches that are gathering; as soon as a place among the rounds under way
//! is free, each batch goes out as one record and the next ones gather. There is no timer: an idle
//! edge adds no delay, and a busy one sends few large records, which is what makes an acknowledged
//! event cheap. A request waits for the flushes that hold its events, and for nothing else.

mod delivery;
mod lanes;
mod outgoing;
mod producer;
mod sparingly;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use event::wire;
use futures_util::future::join_all;
use infra::kafka::Config as Kafka;
use metrics::{Gauge, Histogram, counter, gauge, histogram};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use crate::spool::Spool;
use delivery::Delivered;
use lanes::{Flush, Lanes};
pub(crate) use outgoing::Outgoing;
use producer::Producer;
use sparingly::Sparingly;

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_ON_STOP: Duration = Duration::from_secs(10);

/// Turns that a round waits for at most; each has appended something, and takes microseconds.
const TURNS_MAX: usize = 64;

/// A request beyond this gathers its own records, outside the lock that all requests share.
const GATHERED_APART_FROM_BYTES: usize = 64 << 10;

/// Why events were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// Nothing was sent.
    #[error("too many events are waiting for Kafka")]
    Full,
    /// Nothing was sent or kept: why neither Kafka nor the spool can take events now.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// Kafka does not take this record, and will not take it later.
    #[error("Kafka refused the record: {0}")]
    Refused(String),
    /// Kafka did not say in time; it may have the events.
    #[error("Kafka did not acknowledge: {0}")]
    Unacknowledged(String),
}

/// Sends events to Kafka; cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Inner>);

struct Inner {
    producer: Producer,
    topic: String,
    lanes: Mutex<Lanes>,
    gathered: Notify,
    places: Arc<Semaphore>,
    waiting: Semaphore,
    /// The topic's partitions, or why it cannot take events.
    partitions: watch::Sender<Result<u32, Arc<str>>>,
    spool: Option<Spool>,
    /// How long Kafka has before a flush goes to the spool.
    spool_after: Duration,
    /// Flushes go to the spool, without asking Kafka, until it has taken one from there.
    is_kafka_away: AtomicBool,
    figures: Figures,
    failed_flushes: Sparingly,
    refusals_of_spool: Sparingly,
    /// Something went wrong on the way to Kafka: time to look how it is.
    doubted: Arc<Notify>,
    ack_timeout: Duration,
    record_bytes_max: usize,
    stopping: CancellationToken,
}

/// Figures of every request.
struct Figures {
    ack_seconds: Histogram,
    pending_bytes: Gauge,
}

impl Figures {
    fn new() -> Self {
        Self {
            ack_seconds: histogram!("weir_ingest_ack_seconds"),
            pending_bytes: gauge!("weir_ingest_pending_bytes"),
        }
    }
}

impl Publisher {
    /// Makes the client, which connects by itself, and starts flushing. The task ends after
    /// [`stop`](Self::stop).
    ///
    /// # Errors
    /// If librdkafka does not take a setting.
    pub(crate) fn start(
        kafka: &Kafka,
        config: &Config,
        spool: Option<Spool>,
    ) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let doubted = Arc::new(Notify::new());
        let publisher = Self(Arc::new(Inner {
            producer: Producer::new(kafka, config, doubted.clone())?,
            topic: kafka.topic.clone(),
            lanes: Mutex::new(Lanes::new(
                config.record_bytes_max,
                config.pending_bytes_max,
            )),
            gathered: Notify::new(),
            places: Arc::new(Semaphore::new(config.rounds_max)),
            waiting: Semaphore::new(config.pending_requests_max),
            partitions: watch::channel(Err("Kafka has not been reached yet".into())).0,
            is_kafka_away: AtomicBool::new(spool.as_ref().is_some_and(|spool| !spool.is_empty())),
            spool,
            spool_after: config.spool.after,
            doubted,
            figures: Figures::new(),
            failed_flushes: Sparingly::default(),
            refusals_of_spool: Sparingly::default(),
            ack_timeout: config.ack_timeout,
            record_bytes_max: config.record_bytes_max,
            stopping: CancellationToken::new(),
        }));
        let flushing = tokio::spawn(publisher.0.clone().flush_until_stopped());
        Ok((publisher, flushing))
    }

    /// Returns once all of `events` are acknowledged by Kafka or safe in the spool, or are not.
    ///
    /// # Errors
    /// [`PublishError`]: nothing of `events` may be taken for stored.
    pub(crate) async fn publish(&self, events: Outgoing) -> Result<(), PublishError> {
        let inner = &self.0;
        let partitions = inner.placement().map_err(PublishError::Unusable)?;
        let Ok(_waiting) = inner.waiting.try_acquire() else {
            return Err(PublishError::Full);
        };
        let flushes = inner.append(&events, partitions)?;
        drop(events);
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
        inner
            .figures
            .ack_seconds
            .record(asked_at.elapsed().as_secs_f64());
        Ok(())
    }

    /// Asks Kafka how many partitions the topic has. Blocks for up to five seconds.
    ///
    /// # Errors
    /// Why Kafka cannot take events, in words for `/ready`.
    pub(crate) fn look_up_partitions(&self) -> Result<u32, Arc<str>> {
        let partitions = self.ask_for_partitions().map_err(Arc::from);
        if let (Some(spool), Ok(partitions)) = (&self.0.spool, &partitions) {
            spool.remember(*partitions);
        }
        drop(self.0.partitions.send_replace(partitions.clone()));
        partitions
    }

    fn ask_for_partitions(&self) -> Result<u32, String> {
        let topic = &self.0.topic;
        let missing = || format!("Kafka has no topic {topic}: run `weir migrate`");
        let metadata = self
            .0
            .producer
            .current()
            .native()
            .fetch_metadata(Some(topic), METADATA_TIMEOUT)
            .map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => missing(),
                Some(code) => format!("Kafka cannot be reached: {code}"),
                None => format!("Kafka cannot be reached: {error}"),
            })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else {
            return Err(missing());
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(missing()),
            Some(code) => return Err(format!("Kafka cannot use topic {topic}: {code}")),
        }
        if found
            .partitions()
            .iter()
            .all(|partition| partition.leader() < 0)
        {
            return Err(format!("no partition of topic {topic} has a leader"));
        }
        u32::try_from(found.partitions().len()).map_err(|error| error.to_string())
    }

    /// Whether events are taken though Kafka cannot be reached.
    pub(crate) fn can_spool(&self) -> bool {
        let spool = self.0.spool.as_ref();
        spool.is_some_and(|spool| spool.partitions().is_some() && spool.has_room())
    }

    /// Returns when there is reason to look up the partitions again.
    pub(crate) async fn doubted(&self) {
        self.0.doubted.notified().await;
    }

    /// Sends what was gathered and waits for the flushes under way, which `flushing` keeps.
    pub(crate) async fn stop(&self, mut flushing: JoinHandle<()>) -> anyhow::Result<()> {
        self.0.stopping.cancel();
        if let Ok(flushed) = tokio::time::timeout(FLUSH_ON_STOP, &mut flushing).await {
            return Ok(flushed?);
        }
        flushing.abort();
        warn!("not all flushes ended within {FLUSH_ON_STOP:?}; their requests got no 202");
        Ok(())
    }
}

impl Inner {
    fn append(
        &self,
        events: &Outgoing,
        partitions: u32,
    ) -> Result<Vec<watch::Receiver<lanes::Outcome>>, PublishError> {
        let (flushes, pending_bytes) = if events.bytes() < GATHERED_APART_FROM_BYTES {
            let mut lanes = self.lanes();
            (lanes.append(events, partitions)?, lanes.pending_bytes())
        } else {
            let mut apart = Lanes::new(self.record_bytes_max, usize::MAX);
            let flushes = apart.append(events, partitions)?;
            let mut lanes = self.lanes();
            lanes.absorb(apart)?;
            (flushes, lanes.pending_bytes())
        };
        self.figures.pending_bytes.set(pending_bytes as f64);
        Ok(flushes)
    }

    /// The flusher: one round of flushes, all that has gathered, for each place that becomes free.
    async fn flush_until_stopped(self: Arc<Self>) {
        let mut rounds = JoinSet::new();
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                break;
            };
            let round = loop {
                // Registered before the look, so that what is gathered in between is not missed.
                let gathered = self.gathered.notified();
                self.let_others_append().await;
                let round = self.lanes().take_all(any_partition);
                if !round.is_empty() || self.stopping.is_cancelled() {
                    break round;
                }
                tokio::select! {
                    () = gathered => {}
                    () = self.stopping.cancelled() => {}
                }
            };
            if round.is_empty() {
                break;
            }
            while rounds.try_join_next().is_some() {}
            let inner = self.clone();
            rounds.spawn(async move {
                // Each tells its own requests as soon as it is done.
                join_all(round.into_iter().map(|flush| inner.send(flush))).await;
                drop(place);
            });
        }
        while rounds.join_next().await.is_some() {}
    }

    /// Returns once a turn of everybody who was ready has appended nothing more. Requests come in
    /// bursts, since answers go out in bursts; a round that left with the first of them would make
    /// all others wait for it and for their own.
    async fn let_others_append(&self) {
        let mut pending_bytes = self.lanes().pending_bytes();
        for _ in 0..TURNS_MAX {
            if pending_bytes == 0 {
                return;
            }
            tokio::task::yield_now().await;
            let before = std::mem::replace(&mut pending_bytes, self.lanes().pending_bytes());
            if pending_bytes == before {
                return;
            }
        }
    }

    /// How many partitions events are placed on, or why no event can be.
    fn placement(&self) -> Result<u32, Arc<str>> {
        let partitions = self.partitions.borrow().clone();
        partitions.or_else(|reason| {
            let known = self.spool.as_ref().and_then(Spool::partitions);
            known.ok_or(reason)
        })
    }

    async fn send(&self, flush: Flush) {
        let Flush {
            partition,
            record,
            events,
            bytes,
            outcome,
        } = flush;
        let delivered = self.deliver(partition, Bytes::from(record)).await;
        let said = match &delivered {
            Ok(Delivered::ToKafka) => "acknowledged",
            Ok(Delivered::ToSpool) => "spooled",
            Err(error) => {
                if self.failed_flushes.may_tell() {
                    warn!(
                        flush.events = events,
                        kafka.partition = partition,
                        "a flush of {events} events failed: {error}"
                    );
                }
                "failed"
            }
        };
        counter!("weir_ingest_flushes_total", "outcome" => said).increment(1);
        counter!("weir_ingest_flushed_events_total").increment(events as u64);
        let mut lanes = self.lanes();
        lanes.done(bytes);
        self.figures.pending_bytes.set(lanes.pending_bytes() as f64);
        drop(lanes);
        // Nobody may be waiting any more; that is their affair.
        outcome.send_replace(Some(delivered.map(|_| ())));
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Any partition will do, and each as often as the others.
fn any_partition(batch_id: Uuid, partitions: u32) -> u32 {
    wire::partition_of(batch_id, partitions)
}

#[cfg(test)]
mod tests;
