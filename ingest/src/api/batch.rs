//! Cutting a batch into events and judging each by itself: a JSON array, an object with an array
//! `events`, or a JSON object a line. The bytes decide which.

use chrono::{DateTime, Utc};
use event::{EventRequest, InvalidEvent};
use serde::de::{Deserialize, IgnoredAny};
use uuid::Uuid;

use super::answers::{ApiError, Rejected};
use super::body::Body;
use crate::publisher::EncodedEvent;

/// A batch, judged.
pub(super) struct Judged {
    pub(super) events: Vec<EncodedEvent>,
    pub(super) rejected: Vec<Rejected>,
}

/// Judges every event of a batch.
///
/// # Errors
/// If the body cannot be cut into events, has none, or has too many.
pub(super) fn judge(
    body: &Body,
    events_max: usize,
    received_at: DateTime<Utc>,
) -> Result<Judged, ApiError> {
    let mut judge = Judge {
        events_max,
        received_at,
        index: 0,
        judged: Judged {
            events: Vec::new(),
            rejected: Vec::new(),
        },
    };
    judge.body(body.trimmed())?;
    if judge.index == 0 {
        return Err(ApiError::NotABatch("the batch has no events".to_owned()));
    }
    Ok(judge.judged)
}

struct Judge {
    events_max: usize,
    received_at: DateTime<Utc>,
    /// Of the next event.
    index: usize,
    judged: Judged,
}

impl Judge {
    fn body(&mut self, body: &[u8]) -> Result<(), ApiError> {
        match body.trim_ascii_start() {
            [] => Err(ApiError::NotABatch("the body is empty".to_owned())),
            [b'[', ..] => {
                let mut cursor = Cursor::new(body)?;
                self.array(&mut cursor)?;
                cursor.end()
            }
            [b'{', ..] => match Cursor::at_events(body)? {
                Some(cursor) => self.envelope(cursor),
                None => self.lines(body),
            },
            _ => self.lines(body),
        }
    }

    fn lines(&mut self, body: &[u8]) -> Result<(), ApiError> {
        for line in body.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let request = std::str::from_utf8(line)
                .map_err(|error| not_utf8(&error))
                .and_then(|line| serde_json::from_str(line).map_err(|error| not_an_event(&error)));
            self.event(request)?;
        }
        Ok(())
    }

    /// From the value of `events` to the end of the body.
    fn envelope(&mut self, mut cursor: Cursor<'_>) -> Result<(), ApiError> {
        if cursor.peek() != Some(b'[') {
            return Err(ApiError::NotABatch("events must be an array".to_owned()));
        }
        self.array(&mut cursor)?;
        while cursor.take(b',') {
            let key: std::borrow::Cow<'_, str> = cursor.value()?;
            if key == "events" {
                return Err(ApiError::NotABatch("events is given twice".to_owned()));
            }
            cursor.expect(b':')?;
            cursor.value::<IgnoredAny>()?;
        }
        cursor.expect(b'}')?;
        cursor.end()
    }

    fn array(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ApiError> {
        cursor.expect(b'[')?;
        if cursor.take(b']') {
            return Ok(());
        }
        loop {
            let request = match cursor.try_value::<EventRequest<'_>>() {
                Ok(request) => Ok(request),
                Err(error) => {
                    // Rejected alone if it is JSON at all; otherwise nobody knows where the next
                    // one begins, and this says so.
                    cursor.value::<IgnoredAny>()?;
                    Err(not_an_event(&error))
                }
            };
            self.event(request)?;
            if cursor.take(b']') {
                return Ok(());
            }
            cursor.expect(b',')?;
        }
    }

    fn event(&mut self, request: Result<EventRequest<'_>, String>) -> Result<(), ApiError> {
        let index = self.index;
        if index == self.events_max {
            return Err(ApiError::TooMany {
                events_max: self.events_max,
            });
        }
        self.index += 1;
        let judged = request.map_err(|error| vec![error]).and_then(|request| {
            event::parse(&request, self.received_at, Uuid::now_v7)
                .map_err(|invalid| sentences(&invalid))
        });
        match judged {
            Ok(event) => self.judged.events.push(EncodedEvent::new(&event)),
            Err(errors) => self.judged.rejected.push(Rejected { index, errors }),
        }
        Ok(())
    }
}

/// A place in a JSON text, so that its values can be taken one by one.
struct Cursor<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Cursor<'b> {
    fn new(body: &'b [u8]) -> Result<Self, ApiError> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(ApiError::NotABatch(not_utf8(&error))),
        }
    }

    /// Before the value of the key `events`, if the body is one object that has it. An object
    /// without it is an event, the first line of NDJSON.
    fn at_events(body: &'b [u8]) -> Result<Option<Self>, ApiError> {
        // A line that is not UTF-8 is no reason to refuse the others.
        let first = std::str::from_utf8(body).unwrap_or_default();
        let mut cursor = Self { text: first, at: 0 };
        if !cursor.take(b'{') {
            return Ok(None);
        }
        let mut key_count = 0;
        loop {
            let Ok(key) = cursor.try_value::<std::borrow::Cow<'_, str>>() else {
                return Ok(None);
            };
            if !cursor.take(b':') {
                return Ok(None);
            }
            if key == "events" && (key_count == 0 || cursor.peek() == Some(b'[')) {
                return Ok(Some(cursor));
            }
            key_count += 1;
            if cursor.try_value::<IgnoredAny>().is_err() || !cursor.take(b',') {
                return Ok(None);
            }
        }
    }

    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            .count();
        self.at += space;
        rest.get(space).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), ApiError> {
        if self.take(byte) {
            return Ok(());
        }
        let expected = char::from(byte);
        Err(self.broken(&format!("expected `{expected}`")))
    }

    fn end(&mut self) -> Result<(), ApiError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.broken("characters after the end of the batch")),
        }
    }

    fn value<T: Deserialize<'b>>(&mut self) -> Result<T, ApiError> {
        self.try_value()
            .map_err(|error| self.broken(&shown(&error)))
    }

    /// On an error the cursor stays where it was.
    fn try_value<T: Deserialize<'b>>(&mut self) -> Result<T, serde_json::Error> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next().unwrap_or_else(|| {
            Err(serde::de::Error::custom(
                "the text ends where a value is due",
            ))
        })?;
        self.at += values.byte_offset();
        Ok(value)
    }

    fn broken(&self, what: &str) -> ApiError {
        ApiError::NotABatch(format!(
            "the body is not valid JSON: {what}, at or after byte {}",
            self.at
        ))
    }
}

/// All that is wrong with an event.
pub(super) fn sentences(invalid: &InvalidEvent) -> Vec<String> {
    invalid.faults.iter().map(ToString::to_string).collect()
}

/// What to say of text that does not parse as one event.
pub(super) fn not_an_event(error: &serde_json::Error) -> String {
    if error.is_data() {
        format!("an event must be a JSON object: {}", shown(error))
    } else {
        format!("not valid JSON: {}", shown(error))
    }
}

pub(super) fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!("not valid UTF-8 after byte {}", error.valid_up_to())
}

/// serde's messages quote what they met, which may be a whole body.
fn shown(error: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 200;
    let sentence = error.to_string();
    match sentence.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &sentence[..end]),
        None => sentence,
    }
}
