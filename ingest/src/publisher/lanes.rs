//! What is gathering: batches in the making, and who waits for them. Plain code, no I/O.
//!
//! There is a lane for each partition, for events whose client gave them an id, and a shared one
//! for all other events, whose record may go anywhere.

use std::collections::VecDeque;

use event::wire::{BatchEncoder, partition_of};
use tokio::sync::watch;
use uuid::Uuid;

use super::PublishError;
use super::outgoing::{Frame, Outgoing};

/// How a flush ended; `None` while it has not.
pub(super) type Outcome = Option<Result<(), PublishError>>;

/// One record, ready to be sent.
pub(super) struct Flush {
    pub(super) partition: u32,
    pub(super) record: Vec<u8>,
    pub(super) events: usize,
    /// What it counted for among the pending bytes.
    pub(super) bytes: usize,
    pub(super) outcome: watch::Sender<Outcome>,
}

pub(super) struct Lanes {
    record_bytes_max: usize,
    pending_bytes_max: usize,
    pending_bytes: usize,
    /// Batches that gather, the oldest first. Short: one a lane, and the full ones.
    gathering: VecDeque<Gathering>,
    /// Of the last record of the shared lane: the next one is likely to be as large.
    shared_record_bytes: usize,
}

struct Gathering {
    lane: Lane,
    id: Uuid,
    partitions: u32,
    batch: BatchEncoder,
    bytes: usize,
    full: bool,
    outcome: watch::Sender<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Partition(u32),
    Shared,
}

impl Lane {
    fn of(client_id: Option<Uuid>, partitions: u32) -> Self {
        client_id.map_or(Self::Shared, |id| {
            Self::Partition(partition_of(id, partitions))
        })
    }
}

impl Lanes {
    pub(super) fn new(record_bytes_max: usize, pending_bytes_max: usize) -> Self {
        Self {
            record_bytes_max,
            pending_bytes_max,
            pending_bytes: 0,
            gathering: VecDeque::new(),
            shared_record_bytes: 0,
        }
    }

    /// Adds all of `events`, or none. Returns the flushes that hold them.
    pub(super) fn append(
        &mut self,
        events: &Outgoing,
        partitions: u32,
    ) -> Result<Vec<watch::Receiver<Outcome>>, PublishError> {
        self.reserve(events.bytes())?;
        let record_bytes_max = self.record_bytes_max;
        let mut flushes = Vec::new();
        let mut held_by: Vec<Uuid> = Vec::new();
        let mut frames = events.frames().peekable();
        while let Some(Frame { range, client_id }) = frames.next() {
            let lane = Lane::of(client_id, partitions);
            let gathering = self.room_for(lane, range.len(), partitions);
            // Neighbours of the same lane go in one piece.
            let (mut piece, mut count) = (range, 1);
            while let Some(next) = frames.next_if(|next| {
                let bytes = next.range.end - piece.start;
                Lane::of(next.client_id, partitions) == lane
                    && gathering.batch.has_room(count + 1, bytes, record_bytes_max)
            }) {
                piece.end = next.range.end;
                count += 1;
            }
            gathering.bytes += piece.len();
            gathering.batch.extend(events.frames_in(piece), count);
            if !held_by.contains(&gathering.id) {
                held_by.push(gathering.id);
                flushes.push(gathering.outcome.subscribe());
            }
        }
        Ok(flushes)
    }

    /// Takes over all that gathered in `others`, or nothing: batches of their own, which no other
    /// request joins.
    pub(super) fn absorb(&mut self, others: Self) -> Result<(), PublishError> {
        self.reserve(others.pending_bytes)?;
        for mut gathering in others.gathering {
            gathering.full = true;
            self.gathering.push_back(gathering);
        }
        Ok(())
    }

    /// One request is taken however large it is if nothing else waits, or it would never be.
    fn reserve(&mut self, bytes: usize) -> Result<(), PublishError> {
        if self.pending_bytes > 0 && self.pending_bytes + bytes > self.pending_bytes_max {
            return Err(PublishError::Full);
        }
        self.pending_bytes += bytes;
        Ok(())
    }

    /// All that gathers, to be sent together, the oldest first. `any_partition` places batches of
    /// the shared lane.
    pub(super) fn take_all(&mut self, any_partition: impl Fn(Uuid, u32) -> u32) -> Vec<Flush> {
        std::iter::from_fn(|| self.take(&any_partition)).collect()
    }

    fn take(&mut self, any_partition: impl FnOnce(Uuid, u32) -> u32) -> Option<Flush> {
        let Gathering {
            lane,
            id,
            partitions,
            batch,
            bytes,
            outcome,
            ..
        } = self.gathering.pop_front()?;
        let partition = match lane {
            Lane::Partition(partition) => partition,
            Lane::Shared => any_partition(id, partitions),
        };
        let events = batch.events();
        let record = batch.finish();
        if lane == Lane::Shared {
            self.shared_record_bytes = record.len();
        }
        Some(Flush {
            partition,
            record,
            events,
            bytes,
            outcome,
        })
    }

    /// A flush that held `bytes` has ended.
    pub(super) fn done(&mut self, bytes: usize) {
        self.pending_bytes -= bytes;
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.gathering.is_empty()
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn room_for(&mut self, lane: Lane, bytes: usize, partitions: u32) -> &mut Gathering {
        let open = self
            .gathering
            .iter()
            .rposition(|gathering| gathering.lane == lane && !gathering.full);
        let at = match open {
            Some(at)
                if self.gathering[at]
                    .batch
                    .has_room(1, bytes, self.record_bytes_max) =>
            {
                at
            }
            open => {
                if let Some(at) = open {
                    self.gathering[at].full = true;
                }
                let id = Uuid::now_v7();
                let record_bytes = match lane {
                    Lane::Shared => self.shared_record_bytes,
                    Lane::Partition(_) => 0,
                };
                self.gathering.push_back(Gathering {
                    lane,
                    id,
                    partitions,
                    batch: BatchEncoder::with_capacity(id, record_bytes),
                    bytes: 0,
                    full: false,
                    outcome: watch::channel(None).0,
                });
                self.gathering.len() - 1
            }
        };
        &mut self.gathering[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: u32 = 8;

    fn anonymous(bytes: usize) -> Outgoing {
        Outgoing::of_bytes(&[bytes], None)
    }

    fn take(lanes: &mut Lanes) -> Option<Flush> {
        lanes.take(|_, _| 5)
    }

    #[test]
    fn requests_share_the_flush_that_gathers() {
        let mut lanes = Lanes::new(1000, 10_000);
        let first = lanes.append(&anonymous(10), PARTITIONS).unwrap();
        let second = lanes.append(&anonymous(10), PARTITIONS).unwrap();
        let flush = take(&mut lanes).unwrap();
        assert!(first[0].same_channel(&second[0]));
        assert_eq!((flush.events, flush.partition), (2, 5));
        assert!(take(&mut lanes).is_none());
    }

    #[test]
    fn an_event_with_a_clients_id_goes_to_the_partition_of_that_id() {
        let mut lanes = Lanes::new(1000, 10_000);
        for n in 0..50_u128 {
            let id = Uuid::from_u128(n * 7919);
            let event = Outgoing::of_bytes(&[10], Some(id));
            lanes.append(&event, PARTITIONS).unwrap();
            assert_eq!(
                take(&mut lanes).unwrap().partition,
                partition_of(id, PARTITIONS)
            );
        }
    }

    #[test]
    fn a_record_is_never_larger_than_allowed_and_nothing_is_left_behind() {
        let mut lanes = Lanes::new(1000, 1_000_000);
        let flushes = lanes
            .append(&Outgoing::of_bytes(&[90; 100], None), PARTITIONS)
            .unwrap();
        let mut events = 0;
        let mut records = 0;
        while let Some(flush) = take(&mut lanes) {
            assert!(flush.record.len() <= 1000);
            events += flush.events;
            records += 1;
        }
        assert_eq!((events, records), (100, flushes.len()));
    }

    #[test]
    fn what_does_not_fit_is_refused_whole_until_a_flush_ends() {
        let mut lanes = Lanes::new(1000, 100);
        lanes.append(&anonymous(60), PARTITIONS).unwrap();
        let refused = lanes.append(&Outgoing::of_bytes(&[20, 21], None), PARTITIONS);
        assert_eq!(refused.unwrap_err(), PublishError::Full);
        let flush = take(&mut lanes).unwrap();
        assert_eq!(flush.events, 1);
        lanes.done(flush.bytes);
        assert!(lanes.append(&anonymous(100), PARTITIONS).is_ok());
    }

    #[test]
    fn a_request_larger_than_the_limit_is_taken_if_nothing_else_waits() {
        let mut lanes = Lanes::new(1000, 100);
        lanes.append(&anonymous(101), PARTITIONS).unwrap();
        let refused = lanes.append(&anonymous(1), PARTITIONS);
        assert_eq!(refused.unwrap_err(), PublishError::Full);
        let flush = take(&mut lanes).unwrap();
        lanes.done(flush.bytes);
        lanes.append(&anonymous(101), PARTITIONS).unwrap();
    }

    #[test]
    fn what_gathered_apart_is_taken_over_whole_or_not_at_all() {
        let apart = || {
            let mut apart = Lanes::new(200, usize::MAX);
            let flushes = apart.append(&Outgoing::of_bytes(&[100, 100], None), PARTITIONS);
            (apart, flushes.unwrap())
        };
        let mut lanes = Lanes::new(200, 250);
        let (first, flushes) = apart();
        assert_eq!(flushes.len(), 2);
        lanes.absorb(first).unwrap();
        assert_eq!(lanes.absorb(apart().0).unwrap_err(), PublishError::Full);
        // Small as it is, it joins no batch of another request's own.
        lanes.append(&anonymous(10), PARTITIONS).unwrap();
        let events: Vec<usize> = std::iter::from_fn(|| take(&mut lanes))
            .map(|flush| flush.events)
            .collect();
        assert_eq!(events, [1, 1, 1]);
    }

    #[test]
    fn a_flush_tells_exactly_the_requests_it_held() {
        let mut lanes = Lanes::new(200, 10_000);
        let first = lanes.append(&anonymous(100), PARTITIONS).unwrap();
        let second = lanes.append(&anonymous(100), PARTITIONS).unwrap();
        take(&mut lanes)
            .unwrap()
            .outcome
            .send_replace(Some(Err(PublishError::Full)));
        assert_eq!(*first[0].borrow(), Some(Err(PublishError::Full)));
        assert_eq!(*second[0].borrow(), None);
    }
}
