//! How events are written into Kafka and read back: `event.proto`, schema version 1.
//!
//! A record's value is an `EventBatch`. Reading judges a record by its bytes and its schema
//! version alone, so the same record gives the same events, or the same error, at every replay.

mod read;

use prost::encoding::{WireType, encode_varint, encoded_len_varint};
use uuid::Uuid;

use crate::fields::IdOrigin;
use crate::model::{Event, EventRef, UserOrigin};
pub use read::{BatchRef, DecodeError, EventBatch, decode, read};

/// `event.proto`, as published.
pub const PROTO: &str = include_str!("../event.proto");

/// The record header that names the schema version.
pub const SCHEMA_HEADER: &str = "weir-schema";
/// The value of [`SCHEMA_HEADER`] that this module writes and reads.
pub const SCHEMA_VERSION: &str = "1";
/// An event's index in its batch is stored in 16 bits.
pub const BATCH_EVENTS_MAX: usize = u16::MAX as usize;

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
    let context = &event.context;
    put_text(value, 11, context.hostname);
    put_text(value, 12, context.source);
    put_text(value, 13, context.agent);
    put_text(value, 14, context.place);
    put_text(value, 15, context.language);
    if !context.screen.is_empty() {
        put_key_above_15(value, 16, WireType::LengthDelimited);
        encode_varint(context.screen.len() as u64, value);
        value.extend_from_slice(context.screen.as_bytes());
    }
    if context.user_origin == UserOrigin::Edge {
        put_key_above_15(value, 17, WireType::Varint);
        value.push(1);
    }
}

/// The key of a tag from 16 to 2047.
fn put_key_above_15(value: &mut Vec<u8>, tag: u32, wire_type: WireType) {
    encode_varint((tag << 3 | wire_type as u32).into(), value);
}

/// The key and the length of something with a length. The tag is below 16, so its key is a byte.
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
        put_head(&mut value, 1, id.as_bytes().len());
        value.extend_from_slice(id.as_bytes());
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

#[cfg(test)]
mod tests;
