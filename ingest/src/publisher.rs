//! Group commit: events of many requests share records, and each request waits for the records
//! that hold its events.
//!
//! A request appends its encoded events to the pending records under a short lock. The flusher
//! sends all that is pending as soon as another flush may be in flight. So an idle edge adds no
//! delay, and a busy one pays for one acknowledgement per flush and not per request.

mod flusher;
mod producer;
mod records;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

pub(crate) use flusher::Flusher;
pub(crate) use producer::SharedProducer;
pub(crate) use records::EncodedEvent;

use crate::config::Queue;
use crate::topic::Topic;
use records::{Records, Unacknowledged, Waiter};

/// A request beyond this fills records of its own, outside the lock.
const OWN_RECORDS_FROM: usize = 64 << 10;

/// Why events were not published, or are not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// Nothing was stored: too much waits already.
    #[error("too many events wait for Kafka")]
    Full,
    /// Nothing was stored: Kafka cannot be used, and why.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// It may have been stored.
    #[error(transparent)]
    Unacknowledged(#[from] Unacknowledged),
    /// It may still be stored: the answer's time is up.
    #[error("Kafka did not acknowledge in time")]
    Late,
}

/// Puts events into Kafka. Cheap to clone; clones share one queue.
#[derive(Clone)]
pub(crate) struct Publisher {
    pending: Arc<Pending>,
    topic: watch::Receiver<Topic>,
    limits: Queue,
}

impl Publisher {
    /// The publisher, and the task that sends for it, which the caller has to run.
    pub(crate) fn new(
        limits: Queue,
        topic_name: Arc<str>,
        topic: watch::Receiver<Topic>,
        producer: SharedProducer,
    ) -> (Self, Flusher) {
        let pending = Arc::new(Pending::default());
        let flusher = Flusher {
            pending: pending.clone(),
            producer,
            topic_name,
            topic: topic.clone(),
            flushes_max: limits.flushes_max,
            flushes: 0,
        };
        let publisher = Self {
            pending,
            topic,
            limits,
        };
        (publisher, flusher)
    }

    /// Appends one request's events. Never waits: what does not fit is refused.
    ///
    /// # Errors
    /// [`PublishError::Full`] or [`PublishError::Unusable`]; nothing was appended.
    pub(crate) fn append(&self, events: &[EncodedEvent]) -> Result<Ticket, PublishError> {
        let partitions = match &*self.topic.borrow() {
            Topic::Usable { partitions, .. } => *partitions,
            Topic::Unusable(reason) => return Err(PublishError::Unusable(reason.clone())),
        };
        let bytes = events.iter().map(EncodedEvent::len).sum();
        let (waiter, answered) = Waiter::new();
        self.pending.append(bytes, &self.limits, |records| {
            for event in events {
                records.append(event, partitions, &waiter);
            }
        })?;
        Ok(Ticket {
            answered,
            answer_timeout: self.limits.answer_timeout,
        })
    }
}

/// A request's events on their way.
pub(crate) struct Ticket {
    answered: oneshot::Receiver<Result<(), Unacknowledged>>,
    answer_timeout: Duration,
}

impl Ticket {
    /// Returns once Kafka has acknowledged every event of the request.
    ///
    /// # Errors
    /// [`PublishError::Unacknowledged`] or [`PublishError::Late`].
    pub(crate) async fn acknowledged(self) -> Result<(), PublishError> {
        match tokio::time::timeout(self.answer_timeout, self.answered).await {
            Ok(Ok(answer)) => Ok(answer?),
            // The record went away unsettled, with a producer that was dropped.
            Ok(Err(_)) | Err(_) => Err(PublishError::Late),
        }
    }
}

/// What has been appended and not been settled.
#[derive(Debug, Default)]
struct Pending {
    state: Mutex<State>,
    /// There is something to send, or room to send it.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    /// Appended since the last flush.
    new: Queued,
    /// Appended and not settled, the new included.
    queued: Queued,
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Queued {
    bytes: usize,
    requests: usize,
}

impl Pending {
    fn append(
        &self,
        bytes: usize,
        limits: &Queue,
        fill: impl FnOnce(&mut Records),
    ) -> Result<(), PublishError> {
        // Filled outside of the lock where it takes long; the bound is asked under it either way.
        let (fill, own) = if bytes < OWN_RECORDS_FROM {
            (Some(fill), Records::default())
        } else {
            let mut own = Records::default();
            fill(&mut own);
            (None, own)
        };
        let mut state = self.lock();
        let queued = state.queued;
        let room = queued.requests < limits.requests_max
            && (queued.requests == 0 || queued.bytes + bytes <= limits.bytes_max);
        if !room {
            return Err(PublishError::Full);
        }
        match fill {
            Some(fill) => fill(&mut state.records),
            None => state.records.absorb(own),
        }
        state.new.add(bytes, 1);
        state.queued.add(bytes, 1);
        metrics::gauge!("weir_ingest_queue_bytes").set(state.queued.bytes as f64);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// All that is pending, as one flush that is now in flight.
    fn take(&self) -> Option<(Records, Queued)> {
        let mut state = self.lock();
        if state.records.is_empty() {
            return None;
        }
        state.in_flight += 1;
        Some((
            std::mem::take(&mut state.records),
            std::mem::take(&mut state.new),
        ))
    }

    fn landed(&self, queued: Queued) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.queued.bytes -= queued.bytes;
        state.queued.requests -= queued.requests;
        metrics::gauge!("weir_ingest_queue_bytes").set(state.queued.bytes as f64);
        drop(state);
        self.changed.notify_one();
    }

    fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.records.is_empty() && state.in_flight == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queued {
    fn add(&mut self, bytes: usize, requests: usize) {
        self.bytes += bytes;
        self.requests += requests;
    }
}

#[cfg(test)]
mod tests;
