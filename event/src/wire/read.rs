//! Reading a record's value, in the record's own bytes: what an event's texts are is decided once,
//! and nothing is copied.

use std::ops::Range;

use chrono::{DateTime, Utc};
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field,
};
use uuid::Uuid;

use super::{BATCH_EVENTS_MAX, SCHEMA_HEADER, SCHEMA_VERSION};
use crate::fault::Fault;
use crate::fields::{EventId, EventType, IdOrigin, Path, SiteId};
use crate::judge::{at_most, happened, judge_texts};
use crate::limits::{REFERRER_BYTES_MAX, TIMESTAMP_MAX, TIMESTAMP_MIN, USER_ID_BYTES_MAX};
use crate::model::{Context, Event, EventRef, Props, UserOrigin};

/// The events of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// Made once per flush; a repeat of it is the same flush sent again.
    pub id: Uuid,
    /// 1 to [`BATCH_EVENTS_MAX`].
    pub events: Vec<Event>,
}

/// The same in the bytes of the record.
#[derive(Debug, Clone)]
pub struct BatchRef<'r> {
    /// Made once per flush; a repeat of it is the same flush sent again.
    pub id: Uuid,
    /// Without their properties, and where these stand.
    events: Vec<(EventRef<'r>, Range<usize>)>,
    /// Of all events.
    props: Vec<(&'r str, &'r str)>,
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
    #[error("the value is not an EventBatch: {0}")]
    Malformed(&'static str),
    #[error("batch_id has {0} bytes, not 16")]
    BatchId(usize),
    #[error("the batch holds {0} events, not 1 to {BATCH_EVENTS_MAX}")]
    EventCount(usize),
    #[error("event {index}: {reason}")]
    Event { index: usize, reason: String },
}

/// Reads a record's value. `schema` is the value of its [`SCHEMA_HEADER`].
///
/// # Errors
/// [`DecodeError`] if any part of it breaks the contract: a record is taken whole or not at all.
pub fn read<'r>(
    schema: Option<&[u8]>,
    value: Option<&'r [u8]>,
) -> Result<BatchRef<'r>, DecodeError> {
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

    let mut batch = BatchRef {
        id: Uuid::nil(),
        events: Vec::new(),
        props: Vec::new(),
    };
    let mut batch_id: &[u8] = &[];
    let mut events = 0;
    // Told only if all of it is protobuf.
    let mut fault = None;
    let mut fields = Fields(value);
    while let Some(field) = fields.next()? {
        match field.tag {
            1 => batch_id = fields.bytes(&field)?,
            2 => {
                let read = RawEvent::read(fields.bytes(&field)?, &mut batch.props)?;
                match read.judge(&batch.props[read.props.clone()]) {
                    Ok(event) => batch.events.push((event, read.props)),
                    Err(reason) => {
                        fault.get_or_insert(DecodeError::Event {
                            index: events,
                            reason,
                        });
                    }
                }
                events += 1;
            }
            _ => fields.skip(&field)?,
        }
    }
    batch.id = Uuid::from_slice(batch_id).map_err(|_| DecodeError::BatchId(batch_id.len()))?;
    if !(1..=BATCH_EVENTS_MAX).contains(&events) {
        return Err(DecodeError::EventCount(events));
    }
    fault.map_or(Ok(batch), Err)
}

/// [`read`], and kept.
///
/// # Errors
/// The same.
pub fn decode(schema: Option<&[u8]>, value: Option<&[u8]>) -> Result<EventBatch, DecodeError> {
    let batch = read(schema, value)?;
    Ok(EventBatch {
        id: batch.id,
        events: batch.events().map(Event::from).collect(),
    })
}

impl BatchRef<'_> {
    /// How many events it holds: 1 to [`BATCH_EVENTS_MAX`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// In the order of the record.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.events.iter().map(|(event, props)| EventRef {
            props: Props::Read(&self.props[props.clone()]),
            ..*event
        })
    }
}

/// An event as protobuf has it: what is not there is empty or 0, what is there twice counts as it
/// stands last.
struct RawEvent<'r> {
    id: &'r [u8],
    id_origin: i32,
    site_id: &'r str,
    event_type: &'r str,
    path: &'r str,
    user_id: &'r str,
    timestamp_ms: i64,
    received_at_ms: i64,
    referrer: &'r str,
    props: Range<usize>,
    context: Context<&'r str>,
    user_origin: i32,
}

impl<'r> RawEvent<'r> {
    fn read(message: &'r [u8], props: &mut Vec<(&'r str, &'r str)>) -> Result<Self, DecodeError> {
        let mut event = Self {
            id: &[],
            id_origin: 0,
            site_id: "",
            event_type: "",
            path: "",
            user_id: "",
            timestamp_ms: 0,
            received_at_ms: 0,
            referrer: "",
            props: props.len()..props.len(),
            context: Context::default(),
            user_origin: 0,
        };
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field.tag {
                1 => event.id = fields.bytes(&field)?,
                // As protobuf has it: what an int32 cannot hold is cut off.
                2 => event.id_origin = fields.number(&field)? as i32,
                3 => event.site_id = fields.text(&field)?,
                4 => event.event_type = fields.text(&field)?,
                5 => event.path = fields.text(&field)?,
                6 => event.user_id = fields.text(&field)?,
                7 => event.timestamp_ms = fields.number(&field)?.cast_signed(),
                8 => event.received_at_ms = fields.number(&field)?.cast_signed(),
                9 => event.referrer = fields.text(&field)?,
                10 => props.push(read_prop(fields.bytes(&field)?)?),
                11 => event.context.hostname = fields.text(&field)?,
                12 => event.context.source = fields.text(&field)?,
                13 => event.context.agent = fields.text(&field)?,
                14 => event.context.place = fields.text(&field)?,
                15 => event.context.language = fields.text(&field)?,
                16 => event.context.screen = fields.text(&field)?,
                17 => event.user_origin = fields.number(&field)? as i32,
                _ => fields.skip(&field)?,
            }
        }
        event.props.end = props.len();
        Ok(event)
    }

    /// Without its properties, which `props` are. By the rules of the edge: other programs may write
    /// records too. The error is the reason alone; the caller knows which event it was.
    fn judge(&self, props: &[(&str, &str)]) -> Result<EventRef<'r>, String> {
        let uuid = Uuid::from_slice(self.id)
            .map_err(|_| format!("event_id has {} bytes, not 16", self.id.len()))?;
        let origin = match self.id_origin {
            0 => IdOrigin::Edge,
            1 => IdOrigin::Client,
            other => return Err(format!("unknown id_origin {other}")),
        };
        let user_origin = match self.user_origin {
            0 => UserOrigin::Client,
            1 => UserOrigin::Edge,
            other => return Err(format!("unknown user_origin {other}")),
        };
        if let Some(fault) = self.context.fault() {
            return Err(fault);
        }
        let received_at = received_at(self.received_at_ms)?;
        let told = |fault: Fault| fault.to_string();
        let event = EventRef {
            id: EventId { uuid, origin },
            site_id: SiteId::new(self.site_id).map_err(told)?,
            event_type: EventType::new(self.event_type).map_err(told)?,
            path: Path::normal(self.path).map_err(told)?,
            user_id: at_most(USER_ID_BYTES_MAX, "user_id", self.user_id).map_err(told)?,
            timestamp: happened(time(self.timestamp_ms)?, received_at).map_err(told)?,
            received_at,
            referrer: at_most(REFERRER_BYTES_MAX, "referrer", self.referrer).map_err(told)?,
            props: Props::Read(&[]),
            context: Context {
                user_origin,
                ..self.context
            },
        };
        let mut fault = None;
        judge_texts(props.iter().copied(), |found| {
            fault.get_or_insert(found);
        });
        fault.map_or(Ok(event), |fault| Err(fault.to_string()))
    }
}

fn read_prop(message: &[u8]) -> Result<(&str, &str), DecodeError> {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.tag {
            1 => key = fields.text(&field)?,
            2 => value = fields.text(&field)?,
            _ => fields.skip(&field)?,
        }
    }
    Ok((key, value))
}

fn received_at(millis: i64) -> Result<DateTime<Utc>, String> {
    DateTime::from_timestamp_millis(millis)
        .filter(|time| (TIMESTAMP_MIN..TIMESTAMP_MAX).contains(time))
        .ok_or_else(|| format!("received_at_ms {millis} is not between 2000 and 2106"))
}

fn time(millis: i64) -> Result<DateTime<Utc>, String> {
    DateTime::from_timestamp_millis(millis)
        .ok_or_else(|| format!("timestamp_ms {millis} is no time"))
}

/// What is left of a message.
struct Fields<'r>(&'r [u8]);

/// The head of a field; its value has to be taken next.
struct Field {
    tag: u32,
    wire_type: WireType,
}

impl<'r> Fields<'r> {
    fn next(&mut self) -> Result<Option<Field>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, wire_type) = decode_key(&mut self.0)?;
        Ok(Some(Field { tag, wire_type }))
    }

    fn number(&mut self, field: &Field) -> Result<u64, DecodeError> {
        check_wire_type(WireType::Varint, field.wire_type)?;
        Ok(decode_varint(&mut self.0)?)
    }

    fn bytes(&mut self, field: &Field) -> Result<&'r [u8], DecodeError> {
        const CUT_SHORT: DecodeError = DecodeError::Malformed("a field is cut short");
        check_wire_type(WireType::LengthDelimited, field.wire_type)?;
        let length = decode_varint(&mut self.0)?;
        let length = usize::try_from(length).map_err(|_| CUT_SHORT)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self, field: &Field) -> Result<&'r str, DecodeError> {
        const NO_TEXT: DecodeError = DecodeError::Malformed("a text is not UTF-8");
        str::from_utf8(self.bytes(field)?).map_err(|_| NO_TEXT)
    }

    fn skip(&mut self, field: &Field) -> Result<(), DecodeError> {
        let context = DecodeContext::default();
        Ok(skip_field(
            field.wire_type,
            field.tag,
            &mut self.0,
            context,
        )?)
    }
}
