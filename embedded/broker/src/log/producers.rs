//! What idempotent producers sent last, so that a batch sent again is told from a new one.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::batch::Batch;

/// librdkafka has at most five requests under way, so a repeat is among the last five batches.
const BATCHES_KEPT: usize = 5;

/// Why a batch does not follow the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceError {
    /// One before it is missing.
    OutOfOrder,
    /// A newer incarnation of the producer has been here.
    Fenced,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Producers(HashMap<i64, Producer>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Sent>,
    seen_at_ms: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Producers {
    /// `Some(base_offset)`: stored there already.
    pub(crate) fn check(&self, batch: &Batch<'_>) -> Result<Option<i64>, SequenceError> {
        let Some(producer) = self.0.get(&batch.producer_id()) else {
            // A producer never seen, or seen so long ago that it was forgotten.
            return Ok(None);
        };
        let (first, last) = sequences(batch);
        if batch.producer_epoch() < producer.epoch {
            return Err(SequenceError::Fenced);
        }
        if batch.producer_epoch() > producer.epoch {
            return if first == 0 {
                Ok(None)
            } else {
                Err(SequenceError::OutOfOrder)
            };
        }
        let repeat = |sent: &&Sent| sent.first_sequence == first && sent.last_sequence == last;
        if let Some(sent) = producer.recent.iter().find(repeat) {
            return Ok(Some(sent.base_offset));
        }
        match producer.recent.back() {
            Some(sent) if next(sent.last_sequence) != first => Err(SequenceError::OutOfOrder),
            _ => Ok(None),
        }
    }

    pub(crate) fn note(&mut self, batch: &Batch<'_>, now_ms: i64) {
        if batch.producer_id() < 0 {
            return;
        }
        let (first_sequence, last_sequence) = sequences(batch);
        let epoch = batch.producer_epoch();
        let producer = self
            .0
            .entry(batch.producer_id())
            .or_insert_with(|| Producer {
                epoch,
                recent: VecDeque::new(),
                seen_at_ms: now_ms,
            });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.recent.clear();
        }
        if producer.recent.len() == BATCHES_KEPT {
            producer.recent.pop_front();
        }
        let base_offset = batch.base_offset();
        producer.recent.push_back(Sent {
            first_sequence,
            last_sequence,
            base_offset,
        });
        producer.seen_at_ms = now_ms;
    }

    /// Forgets producers that were last seen before `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: i64) {
        self.0
            .retain(|_, producer| producer.seen_at_ms >= before_ms);
    }
}

fn sequences(batch: &Batch<'_>) -> (i32, i32) {
    let first = batch.base_sequence();
    (
        first,
        first.wrapping_add(batch.last_offset_delta()) & i32::MAX,
    )
}

fn next(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}
