//! Records being filled, and who waits for them. Pure: knows neither Kafka nor a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use event::IdOrigin;
use event::wire::{self, BatchEncoder};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Kafka's default limit of a message is 1 MiB, librdkafka's a million bytes; both count their own
/// overhead in.
pub(crate) const RECORD_BYTES_MAX: usize = 900_000;

/// Why a request's events are not known to be in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unacknowledged {
    /// The record left for Kafka and may have arrived.
    #[error("Kafka did not acknowledge: {0}")]
    Unknown(String),
    /// The record never left.
    #[error("the event was not sent: {0}")]
    NotSent(String),
}

/// An event ready to be put into a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedEvent {
    bytes: Vec<u8>,
    /// The id the client gave it, which decides its partition.
    client_id: Option<Uuid>,
}

impl EncodedEvent {
    pub(crate) fn new(event: &event::Event) -> Self {
        Self {
            bytes: wire::encode(event),
            client_id: (event.id.origin == IdOrigin::Client).then_some(event.id.uuid),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// One request, waiting for every record that holds an event of it.
#[derive(Debug)]
pub(crate) struct Waiter(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    records: usize,
    answer: Option<oneshot::Sender<Result<(), Unacknowledged>>>,
}

impl Waiter {
    pub(crate) fn new() -> (Arc<Self>, oneshot::Receiver<Result<(), Unacknowledged>>) {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            records: 0,
            answer: Some(answer),
        };
        (Arc::new(Self(Mutex::new(waiting))), answered)
    }

    fn waits_for_one_more(&self) {
        self.lock().records += 1;
    }

    /// The first failure answers at once; success has to be complete.
    fn settle_one(&self, settled: &Result<(), Unacknowledged>) {
        let mut waiting = self.lock();
        waiting.records -= 1;
        if (waiting.records == 0 || settled.is_err())
            && let Some(answer) = waiting.answer.take()
        {
            // A client that went away no longer waits.
            let _ = answer.send(settled.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Events whose id the edge made lie together, on whichever partition is next.
    Any,
    /// Events with a client's id lie where their repeats will.
    Partition(u32),
}

/// A record on its way: closed, with all who wait for it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    pub(crate) events: usize,
    /// Empty once Kafka's client has its own copy.
    pub(crate) value: Vec<u8>,
    waiters: Vec<Arc<Waiter>>,
}

impl Record {
    /// Tells exactly those whose events are in it.
    pub(crate) fn settle(self, settled: &Result<(), Unacknowledged>) {
        for waiter in &self.waiters {
            waiter.settle_one(settled);
        }
    }
}

/// Records that are still taking events in, at most one a place, and those already full.
#[derive(Debug, Default)]
pub(crate) struct Records {
    open: BTreeMap<Place, Open>,
    full: Vec<Record>,
}

#[derive(Debug)]
struct Open {
    encoder: BatchEncoder,
    waiters: Vec<Arc<Waiter>>,
}

impl Open {
    fn new() -> Self {
        Self {
            // The batch's own id: whoever sends this record again sends the same one.
            encoder: BatchEncoder::new(Uuid::now_v7()),
            waiters: Vec::new(),
        }
    }

    fn close(self, place: Place) -> Record {
        Record {
            place,
            events: self.encoder.events(),
            value: self.encoder.finish(),
            waiters: self.waiters,
        }
    }
}

impl Records {
    /// Takes one event of `waiter`'s request in; `partitions` is the topic's number of them.
    pub(crate) fn append(&mut self, event: &EncodedEvent, partitions: u32, waiter: &Arc<Waiter>) {
        let place = event.client_id.map_or(Place::Any, |id| {
            Place::Partition(wire::partition_of(id, partitions))
        });
        let open = self.open.entry(place).or_insert_with(Open::new);
        if !open.encoder.has_room(event.len(), RECORD_BYTES_MAX) {
            let full = std::mem::replace(open, Open::new());
            self.full.push(full.close(place));
        }
        open.encoder.push(&event.bytes);
        // A request's events arrive in one go, so it can only be the last one.
        if open
            .waiters
            .last()
            .is_none_or(|last| !Arc::ptr_eq(last, waiter))
        {
            waiter.waits_for_one_more();
            open.waiters.push(waiter.clone());
        }
    }

    /// Takes over what was filled elsewhere, as records of their own.
    pub(crate) fn absorb(&mut self, others: Self) {
        self.full.extend(others.close());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    /// Everything taken in so far, closed.
    pub(crate) fn close(self) -> impl Iterator<Item = Record> {
        let open = self.open.into_iter();
        self.full
            .into_iter()
            .chain(open.map(|(place, open)| open.close(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize, client_id: Option<Uuid>) -> EncodedEvent {
        EncodedEvent {
            bytes: vec![b'x'; bytes],
            client_id,
        }
    }

    fn lost() -> Result<(), Unacknowledged> {
        Err(Unacknowledged::Unknown("lost".to_owned()))
    }

    #[test]
    fn events_of_the_edge_share_a_record_and_clients_ids_go_to_their_partition() {
        let mut records = Records::default();
        let (waiter, _) = Waiter::new();
        records.append(&event(10, None), 8, &waiter);
        records.append(&event(10, None), 8, &waiter);
        let ids: Vec<Uuid> = (0..100).map(Uuid::from_u128).collect();
        for id in &ids {
            records.append(&event(10, Some(*id)), 8, &waiter);
        }
        let mut counts = BTreeMap::new();
        for record in records.close() {
            assert!(counts.insert(record.place, record.events).is_none());
        }
        let mut expected = BTreeMap::from([(Place::Any, 2)]);
        for id in ids {
            *expected
                .entry(Place::Partition(wire::partition_of(id, 8)))
                .or_default() += 1;
        }
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_record_is_full_at_its_bytes_or_at_its_events() {
        let (waiter, _) = Waiter::new();
        let mut records = Records::default();
        for _ in 0..40 {
            records.append(&event(60_000, None), 1, &waiter);
        }
        let closed: Vec<Record> = records.close().collect();
        assert_eq!(closed.len(), 3);
        assert!(
            closed
                .iter()
                .all(|record| record.value.len() <= RECORD_BYTES_MAX)
        );
        assert_eq!(closed.iter().map(|record| record.events).sum::<usize>(), 40);

        let mut records = Records::default();
        for _ in 0..=wire::BATCH_EVENTS_MAX {
            records.append(&event(1, None), 1, &waiter);
        }
        let counts: Vec<usize> = records.close().map(|record| record.events).collect();
        assert_eq!(counts, [wire::BATCH_EVENTS_MAX, 1]);
    }

    #[test]
    fn a_request_is_answered_once_all_its_records_are_acknowledged() {
        let (waiter, mut answered) = Waiter::new();
        let mut records = Records::default();
        records.append(&event(10, None), 8, &waiter);
        records.append(&event(10, Some(Uuid::from_u128(1))), 8, &waiter);
        let [first, second] = records.close().collect::<Vec<_>>().try_into().unwrap();
        first.settle(&Ok(()));
        assert!(answered.try_recv().is_err());
        second.settle(&Ok(()));
        assert_eq!(answered.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn a_failed_record_tells_exactly_the_requests_it_held() {
        let (ours, mut ours_answered) = Waiter::new();
        let (both, mut both_answered) = Waiter::new();
        let (theirs, mut theirs_answered) = Waiter::new();
        let mut records = Records::default();
        records.append(&event(10, None), 8, &ours);
        records.append(&event(10, None), 8, &both);
        records.append(&event(10, Some(Uuid::from_u128(1))), 8, &both);
        records.append(&event(10, Some(Uuid::from_u128(1))), 8, &theirs);
        let [first, second] = records.close().collect::<Vec<_>>().try_into().unwrap();
        first.settle(&lost());
        assert_eq!(ours_answered.try_recv(), Ok(lost()));
        assert_eq!(both_answered.try_recv(), Ok(lost()));
        assert!(theirs_answered.try_recv().is_err());
        second.settle(&Ok(()));
        assert_eq!(theirs_answered.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn what_was_filled_elsewhere_keeps_its_records_and_its_waiters() {
        let (waiter, mut answered) = Waiter::new();
        let mut elsewhere = Records::default();
        elsewhere.append(&event(10, None), 8, &waiter);
        let mut records = Records::default();
        records.absorb(elsewhere);
        assert!(!records.is_empty());
        for record in records.close() {
            record.settle(&Ok(()));
        }
        assert_eq!(answered.try_recv(), Ok(Ok(())));
    }
}
