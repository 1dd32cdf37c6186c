//! `POST /event`, and the same at the address of the tracker: one event.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event::EventRequest;
use serde::Serialize;
use uuid::Uuid;

use super::intake::Intake;
use super::{Edge, Failure, Refusal, not_an_event};
use crate::age;
use crate::body::{self, Body, not_utf8};
use crate::head::Door;

/// The answer to an accepted event.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Accepted {
    /// Always `true`.
    success: bool,
    /// Always `accepted`.
    #[schema(example = "accepted")]
    status: &'static str,
    #[schema(example = "Event queued for processing")]
    message: &'static str,
    /// The event's id, the client's own or one made here.
    #[schema(value_type = String, format = Uuid, example = "0195f3c0-6b5e-7cc3-98c4-dc0c0c07398f")]
    event_id: Uuid,
}

/// Take one event
///
/// The bytes decide, not the content type: `application/json`, `text/plain` (as sendBeacon sends)
/// and none are all taken. 202 means that Kafka has acknowledged the event or, while it is
/// away, that the event is synced to the disk here and goes there by itself.
#[utoipa::path(
    post,
    path = "/event",
    tag = "events",
    params(crate::openapi::KeyParameter, crate::openapi::AgeParameter),
    security((), ("write_key" = [])),
    request_body(
        content((crate::openapi::EventBody = "application/json"), (crate::openapi::EventBody = "text/plain")),
        description = "One event as a JSON object; plain or, said by `Content-Encoding`, gzip, deflate, zstd or br",
    ),
    responses(
        (status = 202, description = "Accepted: the event is safe", body = Accepted),
        (status = 400, description = "Refused, with every fault", body = infra::http::ErrorBody),
        (status = 401, description = "A write key is required", body = infra::http::ErrorBody),
        (status = 403, description = "The write key is not one of this site, or not good from this origin", body = infra::http::ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = infra::http::ErrorBody),
        (status = 413, description = "The body is too large", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 429, description = "Too much of this address, or of this site: try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
        (status = 503, description = "Neither Kafka nor the spool can take it now: try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(crate) async fn post_event(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    answer(&edge, request, Door::Api).await
}

/// As [`post_event`], from the tracker.
pub(crate) async fn post_tracked(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    answer(&edge, request, Door::Tracker).await
}

async fn answer(edge: &Edge, request: Request, door: Door) -> Response {
    let taken = take(edge, request, door).await;
    taken.map_or_else(IntoResponse::into_response, |event_id| {
        let accepted = Accepted {
            success: true,
            status: "accepted",
            message: "Event queued for processing",
            event_id,
        };
        (StatusCode::ACCEPTED, Json(accepted)).into_response()
    })
}

async fn take(edge: &Edge, request: Request, door: Door) -> Result<Uuid, Failure> {
    let (admission, request) = edge.admit_or_skip(request, door).await?;
    let age = age::of(&request);
    let body = body::read(request, edge.event_limits, &edge.open_bytes).await?;
    let mut intake = Intake::new(edge.reading.clone(), admission, body.len());
    intake.age = age.map_err(|fault| Refusal::sentence(fault.to_string()))?;
    let event_id = judge(&body, &mut intake)?;
    drop(body);
    edge.keep(intake).await?;
    Ok(event_id)
}

/// The event's id, or every fault.
fn judge(body: &Body, intake: &mut Intake) -> Result<Uuid, Refusal> {
    let text =
        std::str::from_utf8(body.content()).map_err(|fault| Refusal::sentence(not_utf8(&fault)))?;
    if text.trim_ascii().is_empty() {
        return Err(Refusal::sentence("the body is empty".to_owned()));
    }
    let mut request =
        EventRequest::from_json(text).map_err(|fault| Refusal::sentence(not_an_event(&fault)))?;
    intake.accept(&mut request)
}
