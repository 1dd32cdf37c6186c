//! The task that sends: whatever is pending leaves as soon as another flush may be in flight. No
//! timer; the acknowledgements are the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::producer::SharedProducer;
use super::records::{Place, Record, Unacknowledged};
use super::{Pending, Queued};
use crate::topic::Topic;

/// Sends what requests append.
pub(crate) struct Flusher {
    pub(super) pending: Arc<Pending>,
    pub(super) producer: SharedProducer,
    pub(super) topic_name: Arc<str>,
    pub(super) topic: watch::Receiver<Topic>,
    pub(super) flushes_max: usize,
    pub(super) flushes: usize,
}

/// A record in librdkafka's hands.
pub(crate) struct Flight {
    record: Record,
    flush: Arc<Flush>,
}

/// A record librdkafka would not take.
pub(super) struct Unsent {
    pub(super) flight: Box<Flight>,
    pub(super) reason: String,
}

/// Records that left together; the flush is over when the last of them is settled.
struct Flush {
    pending: Arc<Pending>,
    records: AtomicUsize,
    queued: Queued,
    begun_at: Instant,
}

impl Flusher {
    /// Runs until `closed`, and then until everything appended before is settled.
    pub(crate) async fn run(mut self, closed: CancellationToken) {
        loop {
            // The permit of a Notify is kept, so nothing that happens below is missed.
            while self.pending.in_flight() < self.flushes_max && self.flush() {}
            if closed.is_cancelled() && self.pending.is_idle() {
                return;
            }
            tokio::select! {
                () = self.pending.changed.notified() => {}
                () = closed.cancelled(), if !closed.is_cancelled() => {}
            }
        }
    }

    /// Sends all that is pending. Returns whether there was anything.
    fn flush(&mut self) -> bool {
        let Some((records, queued)) = self.pending.take() else {
            return false;
        };
        let records: Vec<Record> = records.close().collect();
        let flush = Arc::new(Flush {
            pending: self.pending.clone(),
            records: AtomicUsize::new(records.len()),
            queued,
            begun_at: Instant::now(),
        });
        metrics::counter!("weir_ingest_flushes_total").increment(1);
        for mut record in records {
            let partition = self.partition(record.place);
            metrics::counter!("weir_ingest_records_total").increment(1);
            metrics::counter!("weir_ingest_record_bytes_total")
                .increment(record.value.len() as u64);
            let value = std::mem::take(&mut record.value);
            let flight = Box::new(Flight {
                record,
                flush: flush.clone(),
            });
            match partition {
                Some(partition) => {
                    self.producer
                        .send(&self.topic_name, partition, flight, &value);
                }
                None => flight.land(&Err(Unacknowledged::NotSent(
                    "the topic has gone".to_owned(),
                ))),
            }
        }
        true
    }

    /// Fixed here and not left to librdkafka: a record sent again has to go to the same place.
    fn partition(&mut self, place: Place) -> Option<u32> {
        if let Place::Partition(partition) = place {
            return Some(partition);
        }
        if let Topic::Usable { led, .. } = &*self.topic.borrow() {
            self.flushes = self.flushes.wrapping_add(1);
            return Some(led[self.flushes % led.len()]);
        }
        None
    }
}

impl Flight {
    /// The record's fate is known: tells those who wait, and makes room.
    pub(super) fn land(self, settled: &Result<(), Unacknowledged>) {
        let Self { record, flush } = self;
        let ack_time = flush.begun_at.elapsed();
        match settled {
            Ok(()) => metrics::histogram!("weir_ingest_ack_duration_seconds").record(ack_time),
            Err(reason) => {
                metrics::counter!("weir_ingest_records_failed_total").increment(1);
                warn!(
                    record.events = record.events,
                    "a record of {} events failed after {ack_time:?}: {reason}", record.events
                );
            }
        }
        // Room first: a client that has its answer and sends again must find it.
        if flush.records.fetch_sub(1, Ordering::AcqRel) == 1 {
            flush.pending.landed(flush.queued);
        }
        record.settle(settled);
    }
}
