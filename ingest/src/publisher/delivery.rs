//! One flush on its way: to Kafka, or else to the spool.

use std::pin::pin;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Inner, PublishError, Publisher};
use crate::spool::{Spool, SpoolError};

/// Where a flush is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    ToKafka,
    ToSpool,
}

impl Inner {
    /// Returns once the flush is safe, or is not. What goes to the spool may be in Kafka as well:
    /// it keeps its partition and its batch id, so it counts once.
    pub(super) async fn deliver(
        &self,
        partition: u32,
        record: Bytes,
    ) -> Result<Delivered, PublishError> {
        let sending = self.producer.send(&self.topic, partition, &record);
        let Some(spool) = &self.spool else {
            let sent = sending.await;
            self.doubt(&sent);
            return sent.map(|()| Delivered::ToKafka);
        };
        if self.is_kafka_away() {
            let kept = self.keep(spool, partition, &record).await;
            return kept.map_err(|error| without_kafka(&error));
        }
        let mut sending = pin!(sending);
        let in_time = timeout(self.spool_after, &mut sending).await;
        let refused = match in_time {
            Ok(Ok(())) => return Ok(Delivered::ToKafka),
            Ok(Err(error @ PublishError::Refused(_))) => return Err(error),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        self.doubted.notify_one();
        match (self.keep(spool, partition, &record).await, refused) {
            (Ok(delivered), _) => Ok(delivered),
            (Err(_), Some(refused)) => Err(refused),
            // Kafka may still take it.
            (Err(_), None) => sending.await.map(|()| Delivered::ToKafka),
        }
    }

    fn is_kafka_away(&self) -> bool {
        self.is_kafka_away.load(Ordering::Acquire) || self.partitions.borrow().is_err()
    }

    /// Whoever says that Kafka is away also puts something into the spool, and Kafka is back once
    /// it has taken that: there is always something to try it with.
    async fn keep(
        &self,
        spool: &Spool,
        partition: u32,
        record: &Bytes,
    ) -> Result<Delivered, SpoolError> {
        if !self.is_kafka_away.swap(true, Ordering::AcqRel) {
            warn!("Kafka does not acknowledge: events go to the spool");
        }
        let kept = spool.append(partition, record.clone()).await;
        if let Err(error) = &kept {
            if self.refusals_of_spool.may_tell() {
                warn!("the spool does not take a flush: {error}");
            }
            if spool.is_empty() {
                self.is_kafka_away.store(false, Ordering::Release);
            }
        }
        kept.map(|()| Delivered::ToSpool)
    }

    fn doubt(&self, sent: &Result<(), PublishError>) {
        if sent.is_err() {
            self.doubted.notify_one();
        }
    }
}

/// What clients are told, who need not know where the spool lies.
fn without_kafka(error: &SpoolError) -> PublishError {
    let why = match error {
        SpoolError::Full(_) => "the spool is full",
        SpoolError::Disk(_) => "the disk of the spool takes no more",
        SpoolError::Closed => "the service is stopping",
        SpoolError::Unsynced(_) => return PublishError::Unacknowledged(error.to_string()),
    };
    PublishError::Unusable(format!("Kafka is away, and {why}").into())
}

impl Publisher {
    /// Sends a flush from the spool again, as it was. Returns once Kafka has acknowledged it.
    ///
    /// # Errors
    /// [`PublishError::Refused`] if Kafka will never take it; any other: try again.
    pub(crate) async fn send_again(
        &self,
        partition: u32,
        record: &[u8],
    ) -> Result<(), PublishError> {
        let inner = &self.0;
        // A topic that was made again may have fewer partitions.
        let partitions = inner.partitions.borrow().clone();
        let partitions = partitions.map_err(PublishError::Unusable)?;
        let partition = partition % partitions.max(1);
        let sent = inner.producer.send(&inner.topic, partition, record).await;
        if matches!(sent, Ok(()) | Err(PublishError::Refused(_))) {
            self.kafka_is_back();
        } else {
            inner.doubt(&sent);
        }
        sent
    }

    /// From now on flushes go to Kafka first.
    pub(crate) fn kafka_is_back(&self) {
        if self.0.is_kafka_away.swap(false, Ordering::AcqRel) {
            info!("Kafka acknowledges again");
        }
    }

    /// Returns once Kafka says that it has the topic.
    pub(crate) async fn reached(&self) {
        let mut partitions = self.0.partitions.subscribe();
        // The sender lives as long as this publisher.
        let _ = partitions.wait_for(Result::is_ok).await;
    }
}
