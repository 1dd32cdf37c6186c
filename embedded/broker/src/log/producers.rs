//! What a partition remembers of its idempotent producers, to tell a repeated batch from a new one.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BufMut};
use kafka_protocol::ResponseError;

use super::batch::Header;
use crate::{clock::UnixMs, frame};

/// A producer has at most this many requests under way, so a repeat is among its last ones.
const BATCHES_KEPT: usize = 5;

/// The most sequence numbers that lost batches can have had: half of all, or what is old would be new.
const SKIPPED_MAX: i32 = i32::MAX / 2;

/// Producers remembered for a partition; beyond it the one silent for longest is forgotten, by which
/// only a repeat of its last batches would no longer be noticed. As many as may be connected at once:
/// any client may make up ids, and over 2,000 partitions these take some 400 MB.
const PRODUCERS_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Seen>,
    last_seen: UnixMs,
    /// Batches of it may have been lost since the last one that is known. Not kept over a clean stop.
    may_skip: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It is in the log already, at this offset.
    Repeated(i64),
}

impl Producers {
    /// The rules of Apache Kafka's `ProducerAppendInfo`.
    pub(crate) fn check(&self, batch: &Header) -> Result<Verdict, ResponseError> {
        if batch.producer_id < 0 {
            return Ok(Verdict::Append);
        }
        // Unknown means expired or never seen here: any sequence number may open the account.
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Ok(Verdict::Append);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if batch.producer_epoch > producer.epoch {
            return match batch.base_sequence {
                0 => Ok(Verdict::Append),
                _ => Err(ResponseError::OutOfOrderSequenceNumber),
            };
        }
        let same = |seen: &&Seen| {
            seen.first_sequence == batch.base_sequence
                && seen.last_sequence == batch.last_sequence()
        };
        if let Some(seen) = producer.recent.iter().find(same) {
            return Ok(Verdict::Repeated(seen.base_offset));
        }
        let expected = producer
            .recent
            .back()
            .map(|last| last.last_sequence.wrapping_add(1) & i32::MAX);
        let skipped =
            expected.map(|expected| batch.base_sequence.wrapping_sub(expected) & i32::MAX);
        match skipped {
            // What it skips was acknowledged and is lost: refused, it could not write any more.
            Some(1..=SKIPPED_MAX) if producer.may_skip => Ok(Verdict::Append),
            Some(1..) => Err(ResponseError::OutOfOrderSequenceNumber),
            _ => Ok(Verdict::Append),
        }
    }

    /// Takes note of a batch that is now in the log.
    pub(crate) fn note(&mut self, batch: &Header, now: UnixMs) {
        if batch.is_gap() {
            // Whose batches it covers is not known.
            for producer in self.by_id.values_mut() {
                producer.may_skip = true;
            }
            return;
        }
        if batch.producer_id < 0 {
            return;
        }
        while self.by_id.len() >= PRODUCERS_MAX && !self.by_id.contains_key(&batch.producer_id) {
            self.forget_the_most_silent();
        }
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                recent: VecDeque::with_capacity(BATCHES_KEPT),
                last_seen: now,
                may_skip: false,
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.recent.clear();
        }
        if producer.recent.len() == BATCHES_KEPT {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Seen {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
        });
        producer.last_seen = now;
        producer.may_skip = false;
    }

    /// Forgets producers that have not written since `oldest`.
    pub(crate) fn expire(&mut self, oldest: UnixMs) {
        self.by_id
            .retain(|_, producer| producer.last_seen >= oldest);
    }

    fn forget_the_most_silent(&mut self) {
        let silent = self
            .by_id
            .iter()
            .min_by_key(|(_, producer)| producer.last_seen)
            .map(|(id, _)| *id);
        if let Some(id) = silent {
            self.by_id.remove(&id);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(self.by_id.len() as u32);
        for (id, producer) in &self.by_id {
            out.put_i64(*id);
            out.put_i16(producer.epoch);
            out.put_i64(producer.last_seen);
            out.put_u8(producer.recent.len() as u8);
            for seen in &producer.recent {
                out.put_i32(seen.first_sequence);
                out.put_i32(seen.last_sequence);
                out.put_i64(seen.base_offset);
            }
        }
        frame::of(&out)
    }

    /// Takes one snapshot off the front; `None` if it is damaged.
    pub(crate) fn decode(file: &mut &[u8]) -> Option<Self> {
        let mut bytes = frame::next(file)?;
        let mut by_id = HashMap::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            let id = bytes.try_get_i64().ok()?;
            let epoch = bytes.try_get_i16().ok()?;
            let last_seen = bytes.try_get_i64().ok()?;
            let mut recent = VecDeque::with_capacity(BATCHES_KEPT);
            for _ in 0..bytes.try_get_u8().ok()? {
                recent.push_back(Seen {
                    first_sequence: bytes.try_get_i32().ok()?,
                    last_sequence: bytes.try_get_i32().ok()?,
                    base_offset: bytes.try_get_i64().ok()?,
                });
            }
            by_id.insert(
                id,
                Producer {
                    epoch,
                    recent,
                    last_seen,
                    may_skip: false,
                },
            );
        }
        Some(Self { by_id })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::batch::samples, *};

    const NOW: UnixMs = 1_000;

    fn header(epoch: i16, sequence: i32, records: usize, offset: i64) -> Header {
        let mut batch = samples::batch((9, epoch, sequence), &vec![0; records], b"");
        super::super::batch::place(&mut batch, offset);
        Header::parse(&batch).unwrap()
    }

    fn after(batches: &[Header]) -> Producers {
        let mut producers = Producers::default();
        for batch in batches {
            assert_eq!(producers.check(batch), Ok(Verdict::Append));
            producers.note(batch, NOW);
        }
        producers
    }

    #[test]
    fn a_repeat_of_one_of_the_last_five_batches_is_answered_with_its_offset() {
        let batches: Vec<_> = (0..6)
            .map(|i| header(0, i * 2, 2, 100 + i64::from(i) * 2))
            .collect();
        let producers = after(&batches);
        for batch in &batches[1..] {
            assert_eq!(
                producers.check(batch),
                Ok(Verdict::Repeated(batch.base_offset))
            );
        }
        assert_eq!(
            producers.check(&batches[0]),
            Err(ResponseError::OutOfOrderSequenceNumber)
        );
    }

    #[test]
    fn a_gap_in_the_sequence_is_refused() {
        let producers = after(&[header(0, 0, 3, 0)]);
        assert_eq!(producers.check(&header(0, 3, 1, 0)), Ok(Verdict::Append));
        assert_eq!(
            producers.check(&header(0, 4, 1, 0)),
            Err(ResponseError::OutOfOrderSequenceNumber)
        );
    }

    #[test]
    fn behind_a_gap_a_producer_may_skip_what_was_lost_once_and_repeats_are_still_known() {
        let mut producers = after(&[header(0, 0, 3, 0)]);
        let gap = super::super::batch::gap(3, 4, 61);
        producers.note(&Header::parse(&gap).unwrap(), NOW);
        assert_eq!(
            producers.check(&header(0, 0, 3, 0)),
            Ok(Verdict::Repeated(0))
        );
        assert!(producers.check(&header(0, 2, 1, 0)).is_err());
        assert_eq!(producers.check(&header(0, 3, 1, 0)), Ok(Verdict::Append));
        let next = header(0, 7, 1, 7);
        assert_eq!(producers.check(&next), Ok(Verdict::Append));
        producers.note(&next, NOW);
        assert!(producers.check(&header(0, 9, 1, 0)).is_err());
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        let producers = after(&[header(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&header(0, 0, 1, 0)), Ok(Verdict::Append));
        assert_eq!(
            producers.check(&header(0, 1, 1, 0)),
            Err(ResponseError::OutOfOrderSequenceNumber)
        );
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
        let mut producers = after(&[header(0, 0, 3, 0)]);
        assert_eq!(
            producers.check(&header(1, 3, 1, 0)),
            Err(ResponseError::OutOfOrderSequenceNumber)
        );
        producers.note(&header(1, 0, 1, 3), NOW);
        assert_eq!(
            producers.check(&header(0, 3, 1, 0)),
            Err(ResponseError::InvalidProducerEpoch)
        );
    }

    #[test]
    fn a_producer_is_forgotten_once_it_has_been_silent_too_long() {
        let mut producers = after(&[header(0, 0, 3, 0)]);
        producers.expire(NOW);
        assert!(producers.check(&header(0, 9, 1, 0)).is_err());
        producers.expire(NOW + 1);
        assert_eq!(producers.check(&header(0, 9, 1, 0)), Ok(Verdict::Append));
    }

    #[test]
    fn beyond_the_limit_the_producer_silent_for_longest_is_forgotten() {
        let mut producers = Producers::default();
        let max = PRODUCERS_MAX as i64;
        let mut batch = header(0, 0, 1, 0);
        for id in 0..=max {
            batch.producer_id = id;
            producers.note(&batch, id);
        }
        assert_eq!(producers.by_id.len() as i64, max);
        let is_known = |id| producers.by_id.contains_key(&id);
        assert!(!is_known(0) && is_known(1) && is_known(max));
    }

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let producers = after(&[header(0, 0, 3, 0), header(0, 3, 1, 3)]);
        let file = producers.encode();
        assert_eq!(Producers::decode(&mut &file[..]), Some(producers));
        for len in 0..file.len() {
            assert_eq!(Producers::decode(&mut &file[..len]), None);
        }
    }
}
