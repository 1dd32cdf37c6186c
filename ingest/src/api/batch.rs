//! `POST /events`: many events, each judged by itself.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use event::EventRequest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Edge, accept, count, sentences};
use crate::body::{self, BodyError};
use crate::publisher::Outgoing;

/// The answer to a batch of which at least one event was good.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct BatchAccepted {
    /// Always `true`.
    success: bool,
    /// Always `accepted`.
    #[schema(example = "accepted")]
    status: &'static str,
    /// How many events were accepted.
    #[schema(example = 98)]
    accepted: usize,
    /// The others.
    rejected: Vec<Rejected>,
}

/// The answer to a batch without a good event.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct BatchRefused {
    /// Always `false`.
    success: bool,
    /// Always `error`.
    #[schema(example = "error")]
    status: &'static str,
    /// What is wrong with the batch.
    errors: Vec<String>,
    /// What is wrong with each event.
    rejected: Vec<Rejected>,
}

/// An event of a batch that was refused.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Rejected {
    /// Its place in the batch, from 0; lines without content do not count.
    #[schema(example = 3)]
    index: usize,
    /// Every fault.
    errors: Vec<String>,
}

/// Take many events
///
/// A JSON array, `{"events":[...]}`, or one JSON object a line. Good events are accepted, bad ones
/// told one by one. 202 means that Kafka has acknowledged all accepted ones.
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    request_body(
        content = inline(Vec<crate::openapi::EventBody>),
        description = "Events as a JSON array, as `{\"events\":[...]}`, or as NDJSON; plain, gzip, deflate, zstd or br",
    ),
    responses(
        (status = 202, description = "The good ones are stored in Kafka", body = BatchAccepted),
        (status = 400, description = "None was good, or the body cannot be read", body = BatchRefused),
        (status = 413, description = "The body is too large, or holds too many events", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 503, description = "Kafka cannot take them now: try again after `Retry-After` seconds", body = infra::http::ErrorBody),
    ),
)]
pub(crate) async fn post_events(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let bytes = match body::read(&headers, body, edge.batch_limits).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let judged = body::text(&bytes).and_then(|text| judge(text, edge.batch_events_max));
    let (outgoing, rejected) = match judged {
        Ok(judged) => judged,
        Err(refusal) => return refusal.into_response(),
    };
    drop(bytes);
    let accepted = outgoing.len();
    count("rejected", rejected.len());
    if accepted == 0 {
        let errors = vec!["no event of the batch is good".to_owned()];
        let refused = BatchRefused {
            success: false,
            status: "error",
            errors,
            rejected,
        };
        return (StatusCode::BAD_REQUEST, Json(refused)).into_response();
    }
    if let Err(failure) = edge.publisher.publish(outgoing).await {
        count("unavailable", accepted);
        return failure.into_response();
    }
    count("accepted", accepted);
    let answer = BatchAccepted {
        success: true,
        status: "accepted",
        accepted,
        rejected,
    };
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

fn judge(text: &str, events_max: usize) -> Result<(Vec<Outgoing>, Vec<Rejected>), BodyError> {
    let elements = split(text)?;
    if elements.is_empty() {
        return Err(bad("the batch is empty"));
    }
    if elements.len() > events_max {
        let sentence = format!("the batch holds more than {events_max} events");
        return Err(BodyError(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    let mut outgoing = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        let judged = serde_json::from_str::<EventRequest<'_>>(element)
            .map_err(|fault| vec![format!("not an event in JSON: {fault}")])
            .and_then(|request| accept(&request).map_err(|invalid| sentences(&invalid)));
        match judged {
            Ok((event, _)) => outgoing.push(event),
            Err(errors) => rejected.push(Rejected { index, errors }),
        }
    }
    Ok((outgoing, rejected))
}

/// `{"events":[...]}`; other fields are ignored.
#[derive(Deserialize)]
struct Wrapped<'t> {
    #[serde(borrow)]
    events: Option<Vec<&'t RawValue>>,
}

/// The texts of a batch's events. The first character decides between an array and objects.
fn split(text: &str) -> Result<Vec<&str>, BodyError> {
    let text = text.trim_ascii();
    if text.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|fault| bad(format!("the body is not a JSON array: {fault}")))?;
        return Ok(elements.into_iter().map(RawValue::get).collect());
    }
    match serde_json::from_str::<Wrapped<'_>>(text) {
        Ok(Wrapped {
            events: Some(events),
        }) => {
            return Ok(events.into_iter().map(RawValue::get).collect());
        }
        // One object, be it on one line or many.
        Ok(Wrapped { events: None }) => return Ok(vec![text]),
        Err(fault) if fault.is_data() => {
            return Err(bad(format!(
                "the body is neither events nor an array of them: {fault}"
            )));
        }
        Err(_) => {}
    }
    Ok(text
        .lines()
        .map(str::trim_ascii)
        .filter(|line| !line.is_empty())
        .collect())
}

fn bad(sentence: impl Into<String>) -> BodyError {
    BodyError(StatusCode::BAD_REQUEST, sentence.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"site_id":"s","event_type":"t"}"#;

    fn indexes(text: &str) -> (usize, Vec<usize>) {
        let (outgoing, rejected) = judge(text, 10).unwrap();
        (
            outgoing.len(),
            rejected
                .into_iter()
                .map(|rejected| rejected.index)
                .collect(),
        )
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
        assert!(judge(&format!("[{GOOD},"), 10).is_err());
        assert!(judge(r#"{"events":7}"#, 10).is_err());
        assert!(judge("[]", 10).is_err());
        assert!(judge("  \n ", 10).is_err());
    }

    #[test]
    fn a_batch_has_a_limit_on_its_events() {
        assert!(judge(&[GOOD; 10].join("\n"), 10).is_ok());
        assert!(judge(&[GOOD; 11].join("\n"), 10).is_err());
    }
}
