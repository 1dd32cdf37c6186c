//! Cutting a batch into events and judging each: a JSON array, an object with an array `events`,
//! or a JSON object a line. The bytes decide which, and are gone through once.

use std::borrow::Cow;

use axum::http::StatusCode;
use event::EventRequest;
use serde::de::{Deserialize, Error as _, IgnoredAny};

use super::Rejected;
use crate::api::intake::Intake;
use crate::api::{Refusal, not_an_event, shown};
use crate::body::{BodyError, bad, not_utf8};

/// Takes in the good events; returns the others by their places.
///
/// # Errors
/// If the body cannot be cut into events, has none, or has more than `events_max`.
pub(super) fn judge(
    body: &[u8],
    events_max: usize,
    intake: &mut Intake,
) -> Result<Vec<Rejected>, BodyError> {
    let mut judge = Judge {
        events_max,
        intake,
        index: 0,
        rejected: Vec::new(),
    };
    judge.body(body)?;
    if judge.index == 0 {
        return Err(bad("the batch is empty"));
    }
    Ok(judge.rejected)
}

struct Judge<'a> {
    events_max: usize,
    intake: &'a mut Intake,
    /// Of the next event.
    index: usize,
    rejected: Vec<Rejected>,
}

impl Judge<'_> {
    fn body(&mut self, body: &[u8]) -> Result<(), BodyError> {
        match body.trim_ascii_start() {
            [] => Err(bad("the batch is empty")),
            [b'[', ..] => {
                let mut cursor = Cursor::new(body)?;
                self.array(&mut cursor)?;
                cursor.end()
            }
            [b'{', ..] => match Cursor::at_events(body) {
                Some(cursor) => self.envelope(cursor),
                // One object may stand on many lines; several stand on one each.
                None if is_one_value(body) => self.one(body),
                None => self.lines(body),
            },
            _ => self.lines(body),
        }
    }

    fn lines(&mut self, body: &[u8]) -> Result<(), BodyError> {
        for line in body.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.one(line)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, text: &[u8]) -> Result<(), BodyError> {
        let mut request = std::str::from_utf8(text)
            .map_err(|fault| not_utf8(&fault))
            .and_then(|text| EventRequest::from_json(text).map_err(|fault| not_an_event(&fault)));
        self.event(request.as_mut().map_err(|fault| fault.clone()))
    }

    /// From the value of `events` to the end of the body.
    fn envelope(&mut self, mut cursor: Cursor<'_>) -> Result<(), BodyError> {
        if cursor.peek() != Some(b'[') {
            return Err(bad("events must be an array"));
        }
        self.array(&mut cursor)?;
        while cursor.take(b',') {
            let key: Cow<'_, str> = cursor.value()?;
            if key == "events" {
                return Err(bad("events is given twice"));
            }
            cursor.expect(b':')?;
            cursor.value::<IgnoredAny>()?;
        }
        cursor.expect(b'}')?;
        cursor.end()
    }

    fn array(&mut self, cursor: &mut Cursor<'_>) -> Result<(), BodyError> {
        cursor.expect(b'[')?;
        if cursor.take(b']') {
            return Ok(());
        }
        let mut request = EventRequest::default();
        loop {
            let read = match cursor.try_request(&mut request) {
                Ok(()) => Ok(&mut request),
                Err(error) => {
                    // Rejected alone if it is JSON at all; otherwise nobody knows where the next
                    // one begins, and this says so.
                    cursor.value::<IgnoredAny>()?;
                    Err(not_an_event(&error))
                }
            };
            self.event(read)?;
            if cursor.take(b']') {
                return Ok(());
            }
            cursor.expect(b',')?;
        }
    }

    fn event(&mut self, request: Result<&mut EventRequest<'_>, String>) -> Result<(), BodyError> {
        let index = self.index;
        if index == self.events_max {
            let sentence = format!("the batch holds more than {} events", self.events_max);
            return Err(BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence));
        }
        self.index += 1;
        let judged = request
            .map_err(|fault| vec![fault])
            .and_then(|request| self.intake.accept(request).map_err(Refusal::errors));
        if let Err(errors) = judged {
            self.rejected.push(Rejected { index, errors });
        }
        Ok(())
    }
}

fn is_one_value(body: &[u8]) -> bool {
    Cursor::new(body)
        .is_ok_and(|mut cursor| cursor.try_value::<IgnoredAny>().is_ok() && cursor.peek().is_none())
}

/// A place in a JSON text, so that its values can be taken one by one.
struct Cursor<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Cursor<'b> {
    fn new(body: &'b [u8]) -> Result<Self, BodyError> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(bad(not_utf8(&error))),
        }
    }

    /// Before the value of the key `events`, if the body is one object that has it. An object
    /// without it is an event, the first line of NDJSON.
    fn at_events(body: &'b [u8]) -> Option<Self> {
        // A line that is not UTF-8 is no reason to refuse the others.
        let first = std::str::from_utf8(body).unwrap_or_default();
        let mut cursor = Self { text: first, at: 0 };
        if !cursor.take(b'{') {
            return None;
        }
        let mut key_count = 0;
        loop {
            let Ok(key) = cursor.try_value::<Cow<'_, str>>() else {
                return None;
            };
            if !cursor.take(b':') {
                return None;
            }
            if key == "events" && (key_count == 0 || cursor.peek() == Some(b'[')) {
                return Some(cursor);
            }
            key_count += 1;
            if cursor.try_value::<IgnoredAny>().is_err() || !cursor.take(b',') {
                return None;
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

    fn expect(&mut self, byte: u8) -> Result<(), BodyError> {
        if self.take(byte) {
            return Ok(());
        }
        let expected = char::from(byte);
        Err(self.broken(&format!("expected `{expected}`")))
    }

    fn end(&mut self) -> Result<(), BodyError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.broken("characters after the end of the batch")),
        }
    }

    fn value<T: Deserialize<'b>>(&mut self) -> Result<T, BodyError> {
        self.try_value()
            .map_err(|error| self.broken(&shown(&error)))
    }

    /// On an error the cursor stays where it was.
    fn try_value<T: Deserialize<'b>>(&mut self) -> Result<T, serde_json::Error> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next().unwrap_or_else(|| {
            Err(serde_json::Error::custom(
                "the text ends where a value is due",
            ))
        })?;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// The same for an event.
    fn try_request(&mut self, request: &mut EventRequest<'b>) -> Result<(), serde_json::Error> {
        self.at += request.read(&self.text[self.at..])?;
        Ok(())
    }

    fn broken(&self, what: &str) -> BodyError {
        bad(format!(
            "the body is not valid JSON: {what}, at or after byte {}",
            self.at
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admission::Admission;

    const GOOD: &str = r#"{"site_id":"s","event_type":"t"}"#;

    fn intake() -> Intake {
        Intake::new(Arc::default(), Admission::default(), 0)
    }

    fn indexes(text: &str) -> (usize, Vec<usize>) {
        let mut intake = intake();
        let rejected = judge(text.as_bytes(), 10, &mut intake).unwrap();
        (
            intake.accepted(),
            rejected
                .into_iter()
                .map(|rejected| rejected.index)
                .collect(),
        )
    }

    fn judged(body: &[u8]) -> Result<(), BodyError> {
        judge(body, 10, &mut intake()).map(|_| ())
    }

    #[test]
    fn an_array_an_object_and_lines_are_the_same_batch() {
        let bad = r#"{"site_id":"s"}"#;
        assert_eq!(indexes(&format!("[{GOOD},{bad},{GOOD}]")), (2, vec![1]));
        assert_eq!(
            indexes(&format!(r#"{{"events":[{GOOD},{bad},{GOOD}]}}"#)),
            (2, vec![1])
        );
        assert_eq!(
            indexes(&format!("{GOOD}\n{bad}\r\n\n{GOOD}\n")),
            (2, vec![1])
        );
    }

    #[test]
    fn one_event_is_a_batch_of_one_on_any_number_of_lines() {
        assert_eq!(indexes(GOOD), (1, vec![]));
        assert_eq!(indexes(&GOOD.replace(',', ",\n")), (1, vec![]));
    }

    #[test]
    fn a_line_or_an_element_that_is_no_event_is_rejected_alone() {
        assert_eq!(indexes(&format!("{GOOD}\nnonsense\n{GOOD}")), (2, vec![1]));
        assert_eq!(
            indexes(&format!("[{GOOD},7,null,[],{GOOD}]")),
            (2, vec![1, 2, 3])
        );
    }

    #[test]
    fn an_array_that_is_not_json_is_refused_whole() {
        assert!(judged(format!("[{GOOD},").as_bytes()).is_err());
        assert!(judged(br#"{"events":7}"#).is_err());
        assert!(judged(b"[]").is_err());
        assert!(judged(b"  \n ").is_err());
    }

    #[test]
    fn a_batch_has_a_limit_on_its_events() {
        assert!(judged([GOOD; 10].join("\n").as_bytes()).is_ok());
        assert!(judged([GOOD; 11].join("\n").as_bytes()).is_err());
    }
}
