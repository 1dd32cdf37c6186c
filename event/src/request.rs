//! What a client sent, and the step from there to an [`Event`]: every rule, every fault at once.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SubsecRound, Utc};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use uuid::Uuid;

use crate::fault::{Fault, InvalidEvent, quoted};
use crate::fields::{EventId, EventType, Path, SiteId};
use crate::limits::{
    CLOCK_SKEW_MAX, PROPS_BYTES_MAX, PROPS_KEYS_MAX, REFERRER_BYTES_MAX, TIMESTAMP_MIN,
    USER_ID_BYTES_MAX,
};
use crate::model::Event;

/// One event as JSON brought it: borrowed where it can be, and not yet judged, so that a wrong
/// type is one fault among others and not the end of parsing. Fields it does not know are ignored;
/// a known field given twice is a JSON error, and so is nesting deeper than serde_json's limit of
/// 128, in an unknown field too.
#[derive(Debug, Default)]
pub struct EventRequest<'a> {
    site_id: Value<'a>,
    event_type: Value<'a>,
    path: Value<'a>,
    user_id: Value<'a>,
    timestamp: Value<'a>,
    event_id: Value<'a>,
    referrer: Value<'a>,
    props: Value<'a>,
}

impl<'a> EventRequest<'a> {
    /// A request from names and values, as a query string brings them. Names it does not know are
    /// ignored, and `props` is one of them: its values are not texts. An empty value is a field
    /// left out, because a template fills in nothing where it knows nothing.
    ///
    /// # Errors
    /// If a name is given twice.
    ///
    /// ```
    /// let pairs = [("site_id", "shop"), ("event_type", "page_view"), ("user_id", "")];
    /// let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
    /// assert!(event::EventRequest::from_pairs(pairs).is_ok());
    /// ```
    pub fn from_pairs(
        pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<Self, Fault> {
        let mut request = Self::default();
        let mut seen = 0_u8;
        for (name, value) in pairs {
            let (bit, name, field) = match &*name {
                "site_id" => (0, "site_id", &mut request.site_id),
                "event_type" => (1, "event_type", &mut request.event_type),
                "path" => (2, "path", &mut request.path),
                "user_id" => (3, "user_id", &mut request.user_id),
                "timestamp" => (4, "timestamp", &mut request.timestamp),
                "event_id" => (5, "event_id", &mut request.event_id),
                "referrer" => (6, "referrer", &mut request.referrer),
                _ => continue,
            };
            if seen & (1 << bit) != 0 {
                return Err(Fault::GivenTwice(name));
            }
            seen |= 1 << bit;
            if !value.is_empty() {
                *field = Value::String(value);
            }
        }
        Ok(request)
    }
}

/// Judges a request. `edge_id` makes the id of an event that brought none.
///
/// # Errors
/// [`InvalidEvent`] with every rule the request breaks.
///
/// ```
/// let body = r#"{"site_id":"shop","event_type":"page_view","path":"/pricing?utm=x"}"#;
/// let event = event::parse(
///     &serde_json::from_str(body).unwrap(),
///     chrono::DateTime::from_timestamp_millis(1_763_200_000_000).unwrap(),
///     || uuid::Uuid::nil(),
/// )
/// .unwrap();
/// assert_eq!(event.path.as_str(), "/pricing");
/// ```
pub fn parse(
    request: &EventRequest<'_>,
    received_at: DateTime<Utc>,
    edge_id: impl FnOnce() -> Uuid,
) -> Result<Event, InvalidEvent> {
    let received_at = received_at.trunc_subsecs(3);
    let mut faults = Faults::default();

    let site_id = faults.take(required(&request.site_id, "site_id").and_then(str::parse));
    let event_type: Option<EventType> =
        faults.take(required(&request.event_type, "event_type").and_then(str::parse));
    let path = faults.take(parse_path(&request.path, event_type.as_ref()));
    let user_id = faults.take(bounded(&request.user_id, "user_id", USER_ID_BYTES_MAX));
    let timestamp = faults.take(parse_timestamp(&request.timestamp, received_at));
    let id = faults.take(parse_id(&request.event_id, site_id.as_ref()));
    let referrer = faults.take(bounded(&request.referrer, "referrer", REFERRER_BYTES_MAX));
    let props = parse_props(&request.props, &mut faults);

    let (
        Some(site_id),
        Some(event_type),
        Some(path),
        Some(user_id),
        Some(timestamp),
        Some(id),
        Some(referrer),
    ) = (site_id, event_type, path, user_id, timestamp, id, referrer)
    else {
        return Err(InvalidEvent { faults: faults.0 });
    };
    if !faults.0.is_empty() {
        return Err(InvalidEvent { faults: faults.0 });
    }
    Ok(Event {
        id: id.unwrap_or_else(|| EventId::edge(edge_id())),
        site_id,
        event_type,
        path,
        user_id,
        timestamp,
        received_at,
        referrer,
        props,
    })
}

/// Faults so far. `take` keeps a value and sets a fault aside, so that all rules are asked.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn take<T>(&mut self, judged: Result<T, Fault>) -> Option<T> {
        judged.map_err(|fault| self.0.push(fault)).ok()
    }
}

fn required<'r>(value: &'r Value<'_>, name: &'static str) -> Result<&'r str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Fault::Required(name)),
    }
}

fn optional<'r>(value: &'r Value<'_>, name: &'static str) -> Result<Option<&'r str>, Fault> {
    match value {
        Value::Absent => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Fault::NotAString(name)),
    }
}

fn bounded(value: &Value<'_>, name: &'static str, bytes_max: usize) -> Result<String, Fault> {
    let text = optional(value, name)?.unwrap_or_default();
    if text.len() > bytes_max {
        return Err(Fault::TooLong { name, bytes_max });
    }
    Ok(text.to_owned())
}

fn parse_path(value: &Value<'_>, event_type: Option<&EventType>) -> Result<Path, Fault> {
    let Some(text) = optional(value, "path")? else {
        return Ok(Path::default());
    };
    let path: Path = text.parse()?;
    Ok(if event_type.is_some_and(EventType::is_view) {
        path.or_root()
    } else {
        path
    })
}

fn parse_timestamp(value: &Value<'_>, received_at: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    let text = match value {
        Value::Absent => return Ok(received_at),
        Value::String(text) => text,
        _ => return Err(Fault::TimestampFormat),
    };
    let timestamp = DateTime::parse_from_rfc3339(text)
        .map_err(|_| Fault::TimestampFormat)?
        .with_timezone(&Utc)
        .trunc_subsecs(3);
    if timestamp < TIMESTAMP_MIN {
        return Err(Fault::TimestampTooOld);
    }
    if timestamp > received_at + CLOCK_SKEW_MAX {
        return Err(Fault::TimestampAhead);
    }
    Ok(timestamp.min(received_at))
}

/// `None`: the client sent no id, or its site is at fault and the key alone is judged.
fn parse_id(value: &Value<'_>, site_id: Option<&SiteId>) -> Result<Option<EventId>, Fault> {
    let key = match value {
        Value::Absent => return Ok(None),
        Value::String(key) => key,
        _ => return Err(Fault::EventId),
    };
    match site_id {
        Some(site_id) => EventId::client(key, site_id).map(Some),
        None => EventId::check_key(key).map(|()| None),
    }
}

fn parse_props(value: &Value<'_>, faults: &mut Faults) -> Vec<(String, String)> {
    let entries = match value {
        Value::Absent => return Vec::new(),
        Value::Object(entries) => entries,
        _ => {
            faults.0.push(Fault::PropsNotAnObject);
            return Vec::new();
        }
    };
    if entries.len() > PROPS_KEYS_MAX {
        faults.0.push(Fault::PropsKeys);
        return Vec::new();
    }
    let mut props: Vec<(String, String)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match value {
            Scalar::Null => {}
            Scalar::Text(text) if props.iter().all(|(known, _)| known != key) => {
                props.push((key.to_string(), text.to_string()));
            }
            Scalar::Text(_) => faults.0.push(Fault::PropTwice(quoted(key))),
            Scalar::Nested => faults.0.push(Fault::PropNotScalar(quoted(key))),
        }
    }
    if props
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum::<usize>()
        > PROPS_BYTES_MAX
    {
        faults.0.push(Fault::PropsBytes);
    }
    props
}

/// A JSON value as far as the contract cares for it. JSON null reads as absent.
#[derive(Debug, Default)]
enum Value<'a> {
    #[default]
    Absent,
    String(Cow<'a, str>),
    Object(Vec<(Cow<'a, str>, Scalar<'a>)>),
    Other,
}

/// A value inside `props`. Numbers and booleans are kept as JSON writes them.
#[derive(Debug)]
enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Nested,
}

impl<'de: 'a, 'a> Deserialize<'de> for EventRequest<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestVisitor)
    }
}

// By hand, because a derived struct would also take a JSON array for its fields in order.
struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = EventRequest<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut request = EventRequest::default();
        let mut seen = 0_u8;
        while let Some(BorrowedKey(key)) = entries.next_key()? {
            let (bit, field) = match &*key {
                "site_id" => (0, &mut request.site_id),
                "event_type" => (1, &mut request.event_type),
                "path" => (2, &mut request.path),
                "user_id" => (3, &mut request.user_id),
                "timestamp" => (4, &mut request.timestamp),
                "event_id" => (5, &mut request.event_id),
                "referrer" => (6, &mut request.referrer),
                "props" => (7, &mut request.props),
                _ => {
                    entries.next_value::<Ignored>()?;
                    continue;
                }
            };
            if seen & (1 << bit) != 0 {
                return Err(de::Error::custom(format_args!("{key} is given twice")));
            }
            seen |= 1 << bit;
            *field = entries.next_value()?;
        }
        Ok(request)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Absent)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        while items.next_element::<Ignored>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        let mut kept = Vec::new();
        while let Some(BorrowedKey(key)) = entries.next_key()? {
            let value = entries.next_value::<Scalar<'de>>()?;
            // One more than allowed is enough to say so; the rest is read past, not kept.
            if kept.len() <= PROPS_KEYS_MAX {
                kept.push((key, value));
            }
        }
        Ok(Value::Object(kept))
    }
}

/// A key, borrowed where JSON has no escapes in it.
struct BorrowedKey<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for BorrowedKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ValueVisitor)? {
            Value::String(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("a key must be a string")),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(if value {
            "true"
        } else {
            "false"
        })))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_string())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_string())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar<'de>, A::Error> {
        while items.next_element::<Ignored>()?.is_some() {}
        Ok(Scalar::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar<'de>, A::Error> {
        while entries.next_entry::<de::IgnoredAny, Ignored>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}

/// A value that is read past. Unlike serde's own, it goes down level by level, so that serde_json's
/// limit on nesting holds for what is ignored too.
struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(|_| Self)
    }
}
