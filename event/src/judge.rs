//! The step from a request to an event: every rule, and every fault at once.

use std::borrow::Cow;

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

use crate::fault::{Fault, InvalidEvent, quoted};
use crate::fields::{EventId, EventType, Path, SiteId};
use crate::limits::{
    CLOCK_SKEW_MAX, PROPS_BYTES_MAX, PROPS_KEYS_MAX, REFERRER_BYTES_MAX, TIMESTAMP_MIN,
    USER_ID_BYTES_MAX,
};
use crate::model::{Context, Event, EventRef, Props};
use crate::request::{EventRequest, Scalar, Value};

/// Judges a request. `edge_id` makes the id of an event that brought none. The event has no context
/// yet: that depends on who sent it.
///
/// # Errors
/// [`InvalidEvent`] with every rule the request breaks.
///
/// ```
/// let body = r#"{"site_id":"shop","event_type":"page_view","path":"/pricing?utm=x"}"#;
/// let request = event::EventRequest::from_json(body).unwrap();
/// let received_at = chrono::DateTime::from_timestamp_millis(1_763_200_000_000).unwrap();
/// let event = event::judge(&request, received_at, uuid::Uuid::nil).unwrap();
/// assert_eq!(event.path.as_str(), "/pricing");
/// ```
pub fn judge<'r>(
    request: &'r EventRequest<'_>,
    received_at: DateTime<Utc>,
    edge_id: impl FnOnce() -> Uuid,
) -> Result<EventRef<'r>, InvalidEvent> {
    let received_at = whole_millis(received_at);
    let mut faults = Faults::default();

    let site_id = faults.take(required(&request.site_id, "site_id").and_then(SiteId::new));
    let event_type = required(&request.event_type, "event_type").and_then(EventType::new);
    let event_type = faults.take(event_type);
    let path = faults.take(judge_path(&request.path, event_type));
    let user_id = faults.take(bounded(&request.user_id, "user_id", USER_ID_BYTES_MAX));
    let timestamp = faults.take(judge_timestamp(&request.timestamp, received_at));
    let id = faults.take(judge_id(&request.event_id, site_id));
    let referrer = faults.take(bounded(&request.referrer, "referrer", REFERRER_BYTES_MAX));
    let props = judge_props(&request.props, &mut faults);
    for (detail, value) in &request.details {
        faults.take(optional(value, detail.name()));
    }

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
    Ok(EventRef {
        id: id.unwrap_or_else(|| EventId::edge(edge_id())),
        site_id,
        event_type,
        path,
        user_id,
        timestamp,
        received_at,
        referrer,
        props,
        context: Context::default(),
    })
}

/// The same, kept.
///
/// # Errors
/// [`InvalidEvent`] with every rule the request breaks.
pub fn parse(
    request: &EventRequest<'_>,
    received_at: DateTime<Utc>,
    edge_id: impl FnOnce() -> Uuid,
) -> Result<Event, InvalidEvent> {
    judge(request, received_at, edge_id).map(Event::from)
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

fn bounded<'r>(
    value: &'r Value<'_>,
    name: &'static str,
    bytes_max: usize,
) -> Result<&'r str, Fault> {
    at_most(bytes_max, name, optional(value, name)?.unwrap_or_default())
}

/// A text within its limit, whichever way it came.
pub(crate) fn at_most<'t>(
    bytes_max: usize,
    name: &'static str,
    text: &'t str,
) -> Result<&'t str, Fault> {
    if text.len() > bytes_max {
        return Err(Fault::TooLong { name, bytes_max });
    }
    Ok(text)
}

fn judge_path<'r>(
    value: &'r Value<'_>,
    event_type: Option<EventType<&str>>,
) -> Result<Path<&'r str>, Fault> {
    let Some(text) = optional(value, "path")? else {
        return Ok(Path::default());
    };
    let path = Path::of(text)?;
    Ok(match event_type {
        Some(event_type) => path.or_root_of(event_type),
        None => path,
    })
}

fn judge_timestamp(value: &Value<'_>, received_at: DateTime<Utc>) -> Result<DateTime<Utc>, Fault> {
    let text = match value {
        Value::Absent => return Ok(received_at),
        Value::String(text) => text,
        _ => return Err(Fault::TimestampFormat),
    };
    let timestamp = DateTime::parse_from_rfc3339(text)
        .map_err(|_| Fault::TimestampFormat)?
        .with_timezone(&Utc);
    happened(whole_millis(timestamp), received_at)
}

/// When an event happened that was received, whichever way it came.
pub(crate) fn happened(
    timestamp: DateTime<Utc>,
    received_at: DateTime<Utc>,
) -> Result<DateTime<Utc>, Fault> {
    if timestamp < TIMESTAMP_MIN {
        return Err(Fault::TimestampTooOld);
    }
    if timestamp > received_at + CLOCK_SKEW_MAX {
        return Err(Fault::TimestampAhead);
    }
    Ok(timestamp.min(received_at))
}

fn whole_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    // Most are, and asking costs less than the calendar's arithmetic.
    if time.timestamp_subsec_nanos().is_multiple_of(1_000_000) {
        return time;
    }
    time.trunc_subsecs(3)
}

/// `None`: the client sent no id, or its site is at fault and the key alone is judged.
fn judge_id(value: &Value<'_>, site_id: Option<SiteId<&str>>) -> Result<Option<EventId>, Fault> {
    let key = match value {
        Value::Absent => return Ok(None),
        Value::String(key) => key,
        _ => return Err(Fault::EventId),
    };
    match site_id {
        Some(site_id) => EventId::client(key, &site_id).map(Some),
        None => EventId::check_key(key).map(|()| None),
    }
}

fn judge_props<'r>(value: &'r Value<'_>, faults: &mut Faults) -> Props<'r> {
    let entries: &[(Cow<'_, str>, Scalar<'_>)] = match value {
        Value::Absent => &[],
        Value::Object(entries) => entries,
        _ => {
            faults.0.push(Fault::PropsNotAnObject);
            &[]
        }
    };
    if entries.len() > PROPS_KEYS_MAX {
        faults.0.push(Fault::PropsKeys);
        return Props::Sent(&[]);
    }
    for (key, value) in entries {
        if *value == Scalar::Nested {
            faults.0.push(Fault::PropNotScalar(quoted(key)));
        }
    }
    let texts = entries.iter().filter_map(|(key, value)| match value {
        Scalar::Text(text) => Some((key.as_ref(), text.as_ref())),
        Scalar::Null | Scalar::Nested => None,
    });
    judge_texts(texts, |fault| faults.0.push(fault));
    Props::Sent(entries)
}

/// The rules of properties that have a text, whichever way they came.
pub(crate) fn judge_texts<'t>(
    texts: impl Iterator<Item = (&'t str, &'t str)> + Clone,
    mut set_aside: impl FnMut(Fault),
) {
    let mut bytes = 0;
    for (nth, (key, text)) in texts.clone().enumerate() {
        if nth == PROPS_KEYS_MAX {
            set_aside(Fault::PropsKeys);
            return;
        }
        if texts.clone().take(nth).any(|(known, _)| known == key) {
            set_aside(Fault::PropTwice(quoted(key)));
        } else {
            bytes += key.len() + text.len();
        }
    }
    if bytes > PROPS_BYTES_MAX {
        set_aside(Fault::PropsBytes);
    }
}
