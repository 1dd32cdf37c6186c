//! `POST /event`: one event.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use event::EventRequest;
use infra::http::error;
use serde::Serialize;
use uuid::Uuid;

use super::{Edge, accept, count, sentences};
use crate::body;

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
/// and none are all taken. 202 means that Kafka has acknowledged the event.
#[utoipa::path(
    post,
    path = "/event",
    tag = "events",
    request_body(
        content = inline(crate::openapi::EventBody),
        description = "One event as a JSON object; plain, gzip, deflate, zstd or br",
    ),
    responses(
        (status = 202, description = "Accepted: the event is stored in Kafka", body = Accepted),
        (status = 400, description = "Refused, with every fault", body = infra::http::ErrorBody),
        (status = 413, description = "The body is too large", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 503, description = "Kafka cannot take it now: try again after `Retry-After` seconds", body = infra::http::ErrorBody),
    ),
)]
pub(crate) async fn post_event(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let bytes = match body::read(&headers, body, edge.event_limits).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let (outgoing, event_id) = {
        let text = match body::text(&bytes) {
            Ok(text) => text,
            Err(refusal) => return refusal.into_response(),
        };
        let request: EventRequest<'_> = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(fault) => {
                count("rejected", 1);
                let sentence = format!("the body is not an event in JSON: {fault}");
                return error(StatusCode::BAD_REQUEST, vec![sentence]);
            }
        };
        match accept(&request) {
            Ok(accepted) => accepted,
            Err(invalid) => {
                count("rejected", 1);
                return error(StatusCode::BAD_REQUEST, sentences(&invalid));
            }
        }
    };
    if let Err(failure) = edge.publisher.publish(vec![outgoing]).await {
        count("unavailable", 1);
        return failure.into_response();
    }
    count("accepted", 1);
    let accepted = Accepted {
        success: true,
        status: "accepted",
        message: "Event queued for processing",
        event_id,
    };
    (StatusCode::ACCEPTED, Json(accepted)).into_response()
}
