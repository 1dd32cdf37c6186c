//! How events are written into Kafka and read back: `event.proto`, schema version 1.
//!
//! A record's value is an `EventBatch`. Reading judges a record by its bytes and its schema
//! version alone, so the same record gives the same events, or the same error, at every replay.

use chrono::{DateTime, Utc};
use prost::Message;
use prost::encoding::{WireType, encode_varint, encoded_len_varint};
use uuid::Uuid;

use crate::fields::{EventId, EventType, IdOrigin, SiteId};
use crate::limits::{TIMESTAMP_MAX, TIMESTAMP_MIN};
use crate::model::{Event, EventRef};

/// `event.proto`, as published.
pub const PROTO: &str = include_str!("../event.proto");

/// The record header that names the schema version.
pub const SCHEMA_HEADER: &str = "weir-schema";
/// The value of [`SCHEMA_HEADER`] that this module writes and reads.
pub const SCHEMA_VERSION: &str = "1";
/// An event's index in its batch is stored in 16 bits.
pub const BATCH_EVENTS_MAX: usize = u16::MAX as usize;

/// The events of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Made once per flush; a repeat of it is the same flush sent again.
    pub id: Uuid,
    /// 1 to [`BATCH_EVENTS_MAX`].
    pub events: Vec<Event>,
}

/// Why a record is not an [`EventBatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record has no value")]
    Empty,
    #[error("the record has no {SCHEMA_HEADER} header")]
    NoSchema,
    #[error("unknown schema version {0:?}, this reader knows {SCHEMA_VERSION}")]
    Schema(String),
    #[error("the value is not an EventBatch: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("batch_id has {0} bytes, not 16")]
    BatchId(usize),
    #[error("the batch holds {0} events, not 1 to {BATCH_EVENTS_MAX}")]
    EventCount(usize),
    #[error("event {index}: {reason}")]
    Event { index: usize, reason: String },
}

/// One event as [`BatchEncoder::push`] takes it.
#[must_use]
pub fn encode(event: &Event) -> Vec<u8> {
    let mut value = Vec::new();
    put_event(&mut value, &event.into());
    value
}

/// Stands for any length of two bytes.
const LENGTH_EXPECTED: usize = 0x80;

/// Appends one event to `frames`, as [`BatchEncoder::extend`] takes them.
pub fn encode_frame(event: &EventRef<'_>, frames: &mut Vec<u8>) {
    // How long it is shows when it is written, and decides how long its length is: two bytes of
    // nearly all events, for which there is room; the others are moved.
    let begin = frames.len();
    put_head(frames, 2, LENGTH_EXPECTED);
    let event_begins = frames.len();
    put_event(frames, event);
    let bytes = frames.len() - event_begins;
    match frames[begin..].first_chunk_mut() {
        Some([_, low, high]) if encoded_len_varint(bytes as u64) == 2 => {
            (*low, *high) = (bytes as u8 | 0x80, (bytes >> 7) as u8);
        }
        Some([_, length, _]) if bytes < 0x80 => {
            *length = bytes as u8;
            frames.remove(begin + 2);
        }
        _ => {
            let mut head = Vec::new();
            put_head(&mut head, 2, bytes);
            frames.splice(begin..event_begins, head);
        }
    }
}

fn put_event(value: &mut Vec<u8>, event: &EventRef<'_>) {
    let id = event.id.uuid.as_bytes();
    put_head(value, 1, id.len());
    value.extend_from_slice(id);
    let origin = match event.id.origin {
        IdOrigin::Edge => 0,
        IdOrigin::Client => 1,
    };
    put_number(value, 2, origin);
    put_text(value, 3, event.site_id.as_str());
    put_text(value, 4, event.event_type.as_str());
    put_text(value, 5, event.path.as_str());
    put_text(value, 6, event.user_id);
    put_number(value, 7, event.timestamp.timestamp_millis() as u64);
    put_number(value, 8, event.received_at.timestamp_millis() as u64);
    put_text(value, 9, event.referrer);
    event.props.for_each(|key, text| {
        put_head(value, 10, text_bytes(key) + text_bytes(text));
        put_text(value, 1, key);
        put_text(value, 2, text);
    });
}

/// The key and the length of something with a length. Tags here are below 16, so a key is a byte.
#[inline]
fn put_head(value: &mut Vec<u8>, tag: u8, bytes: usize) {
    let key = tag << 3 | WireType::LengthDelimited as u8;
    // Written as one where it is known how many bytes that are.
    match bytes {
        ..0x80 => value.extend_from_slice(&[key, bytes as u8]),
        0x80..0x4000 => value.extend_from_slice(&[key, bytes as u8 | 0x80, (bytes >> 7) as u8]),
        _ => {
            value.push(key);
            encode_varint(bytes as u64, value);
        }
    }
}

/// An empty text is left out, as proto3 has it.
fn put_text(value: &mut Vec<u8>, tag: u8, text: &str) {
    if !text.is_empty() {
        put_head(value, tag, text.len());
        value.extend_from_slice(text.as_bytes());
    }
}

/// What [`put_text`] writes.
fn text_bytes(text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => 1 + encoded_len_varint(length as u64) + length,
    }
}

/// 0 is left out, as proto3 has it.
fn put_number(value: &mut Vec<u8>, tag: u8, number: u64) {
    if number != 0 {
        value.push(tag << 3 | WireType::Varint as u8);
        encode_varint(number, value);
    }
}

/// Builds the value of one record out of encoded events, without copying them apart again.
#[derive(Debug)]
pub struct BatchEncoder {
    value: Vec<u8>,
    events: usize,
}

impl BatchEncoder {
    /// An empty batch; `id` is the flush's own.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self::with_capacity(id, 0)
    }

    /// The same, with room for a record of so many bytes.
    #[must_use]
    pub fn with_capacity(id: Uuid, record_bytes: usize) -> Self {
        const CAPACITY_MIN: usize = 1024;
        let mut value = Vec::with_capacity(record_bytes.max(CAPACITY_MIN));
        proto::EventBatch {
            batch_id: id.as_bytes().to_vec(),
            events: Vec::new(),
        }
        .encode(&mut value)
        .expect("a Vec grows as it must");
        Self { value, events: 0 }
    }

    /// Adds one event as [`encode`] wrote it.
    ///
    /// # Panics
    /// If the batch is full: ask [`has_room`](Self::has_room) first.
    pub fn push(&mut self, encoded: &[u8]) {
        assert!(
            self.events < BATCH_EVENTS_MAX,
            "a batch holds {BATCH_EVENTS_MAX} events"
        );
        put_head(&mut self.value, 2, encoded.len());
        self.value.extend_from_slice(encoded);
        self.events += 1;
    }

    /// Adds `events` events as [`encode_frame`] wrote them, one after the other.
    ///
    /// # Panics
    /// If the batch has no room for them: ask [`has_room`](Self::has_room) first.
    pub fn extend(&mut self, frames: &[u8], events: usize) {
        assert!(
            self.events + events <= BATCH_EVENTS_MAX,
            "a batch holds {BATCH_EVENTS_MAX} events"
        );
        self.value.extend_from_slice(frames);
        self.events += events;
    }

    /// Whether `events` events of together `bytes` framed bytes still fit into a record of
    /// `record_bytes_max`.
    #[must_use]
    pub fn has_room(&self, events: usize, bytes: usize, record_bytes_max: usize) -> bool {
        self.events + events <= BATCH_EVENTS_MAX && self.value.len() + bytes <= record_bytes_max
    }

    /// How many events it holds.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }

    /// The record's value.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.value
    }
}

/// Reads a record's value. `schema` is the value of its [`SCHEMA_HEADER`].
///
/// # Errors
/// [`DecodeError`] if any part of it breaks the contract: a record is taken whole or not at all.
pub fn decode(schema: Option<&[u8]>, value: Option<&[u8]>) -> Result<EventBatch, DecodeError> {
    let schema = schema.ok_or(DecodeError::NoSchema)?;
    if schema != SCHEMA_VERSION.as_bytes() {
        let shown = schema.iter().take(32).copied().collect::<Vec<_>>();
        return Err(DecodeError::Schema(
            String::from_utf8_lossy(&shown).into_owned(),
        ));
    }
    let value = value
        .filter(|value| !value.is_empty())
        .ok_or(DecodeError::Empty)?;
    let batch = proto::EventBatch::decode(value)?;
    let id = Uuid::from_slice(&batch.batch_id)
        .map_err(|_| DecodeError::BatchId(batch.batch_id.len()))?;
    if batch.events.is_empty() || batch.events.len() > BATCH_EVENTS_MAX {
        return Err(DecodeError::EventCount(batch.events.len()));
    }
    let events = batch
        .events
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            event
                .try_into()
                .map_err(|reason| DecodeError::Event { index, reason })
        })
        .collect::<Result<_, _>>()?;
    Ok(EventBatch { id, events })
}

/// The partition of an event that brought its own id, so that its retry lands beside it. The
/// formula is part of the contract: the two halves of the UUID xor-ed, times 2^64 divided by the
/// golden ratio, its upper half modulo the number of partitions.
///
/// # Panics
/// If `partitions` is 0.
#[must_use]
pub fn partition_of(event_id: Uuid, partitions: u32) -> u32 {
    let (high, low) = event_id.as_u64_pair();
    let mixed = (high ^ low).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let upper = u32::try_from(mixed >> 32).expect("32 bits");
    upper % partitions
}

mod proto {
    //! `event.proto` in Rust. A test holds the two together.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct EventBatch {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) batch_id: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub(super) events: Vec<Event>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) event_id: Vec<u8>,
        #[prost(enumeration = "IdOrigin", tag = "2")]
        pub(super) id_origin: i32,
        #[prost(string, tag = "3")]
        pub(super) site_id: String,
        #[prost(string, tag = "4")]
        pub(super) event_type: String,
        #[prost(string, tag = "5")]
        pub(super) path: String,
        #[prost(string, tag = "6")]
        pub(super) user_id: String,
        #[prost(int64, tag = "7")]
        pub(super) timestamp_ms: i64,
        #[prost(int64, tag = "8")]
        pub(super) received_at_ms: i64,
        #[prost(string, tag = "9")]
        pub(super) referrer: String,
        #[prost(message, repeated, tag = "10")]
        pub(super) props: Vec<Prop>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum IdOrigin {
        Edge = 0,
        Client = 1,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Prop {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }
}

// The error is the reason alone; the caller knows which event it was.
impl TryFrom<proto::Event> for Event {
    type Error = String;

    fn try_from(event: proto::Event) -> Result<Self, String> {
        let uuid = Uuid::from_slice(&event.event_id)
            .map_err(|_| format!("event_id has {} bytes, not 16", event.event_id.len()))?;
        let origin = match proto::IdOrigin::try_from(event.id_origin) {
            Ok(proto::IdOrigin::Edge) => IdOrigin::Edge,
            Ok(proto::IdOrigin::Client) => IdOrigin::Client,
            Err(_) => return Err(format!("unknown id_origin {}", event.id_origin)),
        };
        Ok(Self {
            id: EventId { uuid, origin },
            site_id: SiteId::new(event.site_id).map_err(|fault| fault.to_string())?,
            event_type: EventType::new(event.event_type).map_err(|fault| fault.to_string())?,
            path: event.path.parse().map_err(|fault| format!("{fault}"))?,
            user_id: event.user_id,
            timestamp: time("timestamp_ms", event.timestamp_ms)?,
            received_at: time("received_at_ms", event.received_at_ms)?,
            referrer: event.referrer,
            props: event
                .props
                .into_iter()
                .map(|prop| (prop.key, prop.value))
                .collect(),
        })
    }
}

fn time(name: &str, millis: i64) -> Result<DateTime<Utc>, String> {
    DateTime::from_timestamp_millis(millis)
        .filter(|time| (TIMESTAMP_MIN..TIMESTAMP_MAX).contains(time))
        .ok_or_else(|| format!("{name} {millis} is not between 2000 and 2200"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl From<&Event> for proto::Event {
        fn from(event: &Event) -> Self {
            Self {
                event_id: event.id.uuid.as_bytes().to_vec(),
                id_origin: match event.id.origin {
                    IdOrigin::Edge => proto::IdOrigin::Edge.into(),
                    IdOrigin::Client => proto::IdOrigin::Client.into(),
                },
                site_id: event.site_id.as_str().to_owned(),
                event_type: event.event_type.as_str().to_owned(),
                path: event.path.as_str().to_owned(),
                user_id: event.user_id.clone(),
                timestamp_ms: event.timestamp.timestamp_millis(),
                received_at_ms: event.received_at.timestamp_millis(),
                referrer: event.referrer.clone(),
                props: event
                    .props
                    .iter()
                    .map(|(key, value)| proto::Prop {
                        key: key.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            }
        }
    }

    fn some_event() -> impl Strategy<Value = Event> {
        let text = || "[a-zA-Z0-9 \u{e9}\u{4e2d}]{0,200}";
        (
            any::<u128>(),
            any::<bool>(),
            "[a-z]{1,20}",
            "[a-z]{1,20}",
            "/[a-z]{0,300}",
            text(),
            (
                946_684_800_000..4_102_444_800_000_i64,
                946_684_800_000..4_102_444_800_000_i64,
            ),
            text(),
            proptest::collection::vec((text(), text()), 0..4),
        )
            .prop_map(
                |(id, is_client, site, event_type, path, user_id, times, referrer, props)| Event {
                    id: EventId {
                        uuid: Uuid::from_u128(id),
                        origin: if is_client {
                            IdOrigin::Client
                        } else {
                            IdOrigin::Edge
                        },
                    },
                    site_id: site.parse().unwrap(),
                    event_type: event_type.parse().unwrap(),
                    path: path.parse().unwrap(),
                    user_id,
                    timestamp: DateTime::from_timestamp_millis(times.0).unwrap(),
                    received_at: DateTime::from_timestamp_millis(times.1).unwrap(),
                    referrer,
                    props,
                },
            )
    }

    proptest! {
        // Written by hand for speed, so held against prost.
        #[test]
        fn an_event_is_encoded_as_prost_would(event in some_event()) {
            prop_assert_eq!(encode(&event), proto::Event::from(&event).encode_to_vec());
        }
    }
}
