//! What can be wrong with an event, in words its sender can act on.

use crate::limits::{
    EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PATH_BYTES_MAX, PROPS_BYTES_MAX, PROPS_KEYS_MAX,
    SITE_ID_BYTES_MAX,
};

/// One broken rule. Its text is part of the API's answer and never quotes a whole value back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0} is required and must be a string")]
    Required(&'static str),
    #[error("{0} must be a string")]
    NotAString(&'static str),
    #[error("{0} is given twice")]
    GivenTwice(&'static str),
    #[error("site_id must be 1 to {SITE_ID_BYTES_MAX} bytes of A-Z a-z 0-9 . _ : -")]
    SiteId,
    #[error("event_type must be 1 to {EVENT_TYPE_BYTES_MAX} bytes without control characters")]
    EventType,
    #[error("path must be at most {PATH_BYTES_MAX} bytes before its query")]
    Path,
    #[error("{name} must be at most {bytes_max} bytes")]
    TooLong {
        name: &'static str,
        bytes_max: usize,
    },
    #[error("event_id must be a UUID or a string of 1 to {EVENT_ID_BYTES_MAX} bytes")]
    EventId,
    #[error("timestamp must be an RFC 3339 date and time, such as 2025-11-15T10:00:00Z")]
    TimestampFormat,
    #[error("timestamp must not be more than 24 hours ahead of the time of receipt")]
    TimestampAhead,
    #[error("timestamp must not be before 2000-01-01T00:00:00Z")]
    TimestampTooOld,
    #[error("props must be an object")]
    PropsNotAnObject,
    #[error("props must have at most {PROPS_KEYS_MAX} keys")]
    PropsKeys,
    #[error("props must be at most {PROPS_BYTES_MAX} bytes in all")]
    PropsBytes,
    #[error("props.{0} must be a string, a number, a boolean or null")]
    PropNotScalar(String),
    #[error("props.{0} is given twice")]
    PropTwice(String),
}

/// An event that was refused, with every rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidEvent {
    /// Never empty; in the order of the fields in the API's documentation.
    pub faults: Vec<Fault>,
}

/// At most this much of a client's own key is quoted back.
const QUOTED_BYTES_MAX: usize = 64;

pub(crate) fn quoted(key: &str) -> String {
    let end = whole_chars(key, QUOTED_BYTES_MAX);
    let ellipsis = if end < key.len() { "..." } else { "" };
    format!("{}{ellipsis}", key[..end].escape_debug())
}

/// How many bytes of a text, `bytes_max` at most, are whole characters.
pub(crate) fn whole_chars(text: &str, bytes_max: usize) -> usize {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}
