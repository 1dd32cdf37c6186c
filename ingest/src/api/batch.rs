//! `POST /events`: many events, each judged by itself.

mod cut;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::intake::Intake;
use super::{Edge, Failure, count, denied_with};
use crate::body::{self, Body, BodyError};
use crate::head::Door;
use crate::keys::Denied;

/// A body up to this size is judged where it is; a larger one would hold up the requests beside it.
const JUDGED_IN_PLACE_BYTES_MAX: usize = 256 << 10;

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
    #[schema(example = json!(["no event of the batch is good"]))]
    errors: Vec<String>,
    /// What is wrong with each event, if the body could be cut into events.
    #[schema(required = false)]
    rejected: Vec<Rejected>,
}

/// An event of a batch that was refused.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Rejected {
    /// Its place in the batch, from 0; lines without content do not count.
    #[schema(example = 3)]
    index: usize,
    /// Every fault.
    #[schema(example = json!(["site_id is required and must be a string"]))]
    errors: Vec<String>,
}

/// Take many events
///
/// A JSON array, `{"events":[...]}`, or one JSON object a line. Good events are accepted, bad ones
/// reported one by one; a site over its limit refuses the whole. 202 means that all accepted ones are in Kafka or,
/// while it is away, synced to the disk here.
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    params(crate::openapi::KeyParameter),
    security((), ("write_key" = [])),
    request_body(
        content(
            (crate::openapi::BatchBody = "application/json"),
            (String = "application/x-ndjson", example = "{\"site_id\":\"my-site\",\"event_type\":\"page_view\"}\n{\"site_id\":\"my-site\",\"event_type\":\"click\"}\n"),
        ),
        description = "Events as a JSON array, as `{\"events\":[...]}`, or as NDJSON; plain or, said by `Content-Encoding`, gzip, deflate, zstd or br",
    ),
    responses(
        (status = 202, description = "The good ones are safe", body = BatchAccepted),
        (status = 400, description = "None was good, or the body cannot be read", body = BatchRefused),
        (status = 401, description = "None was good, and some lack a write key", body = BatchRefused),
        (status = 403, description = "None was good, and some are of a site that the write key is not for, or not from this origin", body = BatchRefused),
        (status = 408, description = "The body did not arrive in time", body = infra::http::ErrorBody),
        (status = 413, description = "The body is too large, or holds too many events", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 429, description = "Too much of this address, or of a site: nothing was taken, try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
        (status = 503, description = "Neither Kafka nor the spool can take them now: try again after `Retry-After` seconds", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(crate) async fn post_events(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    take(&edge, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn take(edge: &Edge, request: Request) -> Result<Response, Failure> {
    let (admission, request) = edge.admit_or_skip(request, Door::Api).await?;
    let body = body::read(request, edge.batch_limits, &edge.open_bytes).await?;
    let intake = Intake::new(edge.reading.clone(), admission, body.len());
    let (intake, rejected) = judge(body, intake, edge.batch_events_max).await?;
    let (accepted, denied_count) = (intake.accepted(), intake.admission.denied_count);
    count("rejected", rejected.len() - denied_count);
    count("denied", denied_count);
    if accepted == 0 {
        return Ok(refused(rejected, intake.admission.denied));
    }
    edge.keep(intake).await?;
    let answer = BatchAccepted {
        success: true,
        status: "accepted",
        accepted,
        rejected,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Takes in the good events; the others are reported by their places.
async fn judge(
    body: Body,
    mut intake: Intake,
    events_max: usize,
) -> Result<(Intake, Vec<Rejected>), BodyError> {
    let is_small = body.len() <= JUDGED_IN_PLACE_BYTES_MAX;
    let judging = move || {
        let rejected = cut::judge(body.content(), events_max, &mut intake)?;
        Ok((intake, rejected))
    };
    if is_small {
        return judging();
    }
    let stopping = |_| {
        let sentence = "the service is stopping; nothing was taken";
        BodyError(StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned())
    };
    tokio::task::spawn_blocking(judging)
        .await
        .map_err(stopping)?
}

/// The answer to a batch without a good event.
fn refused(rejected: Vec<Rejected>, denied: Option<Denied>) -> Response {
    let refused = BatchRefused {
        success: false,
        status: "error",
        errors: vec!["no event of the batch is good".to_owned()],
        rejected,
    };
    match denied {
        Some(denied) => denied_with(denied, (denied.status(), Json(refused)).into_response()),
        None => (StatusCode::BAD_REQUEST, Json(refused)).into_response(),
    }
}
