//! The HTTP side: routes, handlers and their order of steps. What an answer looks like is in
//! [`answers`], how a body is read in [`body`], how a batch is cut into events in [`batch`].

mod answers;
mod batch;
mod body;
mod openapi;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::{DateTime, Utc};
use infra::http::Readiness;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use uuid::Uuid;

use crate::config::Limits;
use crate::publisher::{EncodedEvent, Publisher};
use answers::{Accepted, ApiError, BatchAccepted};
use body::{Body, OpenBytes, Reading};

/// A body up to this size is parsed where it is; a larger one would hold up the requests beside it.
const PARSED_IN_PLACE_BYTES_MAX: usize = 256 << 10;
/// Browsers ask again after two hours at the latest.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What the handlers work with.
struct Edge {
    publisher: Publisher,
    limits: Limits,
    open_bytes: OpenBytes,
}

/// All routes of the service.
pub(crate) fn routes(publisher: Publisher, limits: Limits, readiness: Readiness) -> Router {
    let edge = Arc::new(Edge {
        publisher,
        limits,
        open_bytes: OpenBytes::new(limits.open_bytes_max),
    });
    let router = Router::new()
        .route("/event", post(accept_event))
        .route("/events", post(accept_events))
        .with_state(edge)
        .merge(infra::http::operations("ingest", readiness))
        .merge(infra::http::api_docs(openapi::Document::openapi()));
    infra::http::with_fallbacks(router)
        .layer(middleware::from_fn(count_answer))
        .layer(CatchPanicLayer::custom(|_| {
            infra::http::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                vec!["the service failed; whether the event was stored is not known".to_owned()],
            )
        }))
        .layer(cors())
}

/// Take one event
///
/// The content type does not matter, the bytes decide: a beacon may say `text/plain`. The answer
/// waits for Kafka's acknowledgement. To be able to send again after a 503 or a lost connection,
/// give the event an `event_id` of your own: the same id counts once.
#[utoipa::path(
    post,
    path = "/event",
    tag = "events",
    params(openapi::ContentEncoding),
    request_body(content((openapi::EventBody = "application/json"), (openapi::EventBody = "text/plain"))),
    responses(
        (status = 202, description = "Stored: all in-sync replicas of Kafka have it", body = Accepted),
        (status = 400, description = "Not an event; all that is wrong with it", body = infra::http::ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = infra::http::ErrorBody),
        (status = 413, description = "The body is too large", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 503, description = "Not taken, or its fate is unknown: the text says which", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
async fn accept_event(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Accepted, ApiError> {
    let reading = Reading {
        bytes_max: edge.limits.event_bytes_max,
        unpacked_bytes_max: edge.limits.event_bytes_max,
        timeout: edge.limits.body_timeout,
    };
    let body = body::read(request, &reading, &edge.open_bytes).await?;
    let event = parse_event(&body)?;
    let event_id = event.id.uuid;
    let ticket = edge.publisher.append(&[EncodedEvent::new(&event)])?;
    drop((event, body));
    ticket.acknowledged().await?;
    metrics::counter!("weir_ingest_events_accepted_total").increment(1);
    Ok(Accepted::new(event_id))
}

/// Take many events
///
/// A JSON array, an object `{"events":[..]}`, or NDJSON: one event a line. An event that breaks a
/// rule is rejected alone, by its index among the events sent; the others are stored.
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    params(openapi::ContentEncoding),
    request_body(content(
        (openapi::BatchBody = "application/json"),
        (String = "application/x-ndjson", example = "{\"site_id\":\"shop\",\"event_type\":\"page_view\"}\n{\"site_id\":\"shop\",\"event_type\":\"click\"}\n"),
    )),
    responses(
        (status = 202, description = "Stored, except for those rejected", body = BatchAccepted),
        (status = 400, description = "No event was good, or the body is not a batch", body = answers::BatchRefused),
        (status = 408, description = "The body did not arrive in time", body = infra::http::ErrorBody),
        (status = 413, description = "The body is too large or has too many events", body = infra::http::ErrorBody),
        (status = 415, description = "The content encoding is unknown", body = infra::http::ErrorBody),
        (status = 503, description = "Not taken, or its fate is unknown: the text says which", body = infra::http::ErrorBody,
            headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
async fn accept_events(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<BatchAccepted, ApiError> {
    let reading = Reading {
        bytes_max: edge.limits.events_bytes_max,
        unpacked_bytes_max: edge.limits.events_unpacked_bytes_max,
        timeout: edge.limits.body_timeout,
    };
    let body = body::read(request, &reading, &edge.open_bytes).await?;
    let events_max = edge.limits.events_max;
    let (body, judged) = if body.len() <= PARSED_IN_PLACE_BYTES_MAX {
        let judged = batch::judge(&body, events_max, now());
        (body, judged)
    } else {
        let judging = move || {
            let judged = batch::judge(&body, events_max, now());
            (body, judged)
        };
        tokio::task::spawn_blocking(judging)
            .await
            .map_err(|_| ApiError::Stopping)?
    };
    let judged = judged?;
    let accepted = judged.events.len();
    metrics::counter!("weir_ingest_rejected_total", "reason" => "invalid")
        .increment(judged.rejected.len() as u64);
    if accepted == 0 {
        return Err(ApiError::NoneGood(judged.rejected));
    }
    let ticket = edge.publisher.append(&judged.events)?;
    drop((judged.events, body));
    ticket.acknowledged().await?;
    metrics::counter!("weir_ingest_events_accepted_total").increment(accepted as u64);
    Ok(BatchAccepted::new(accepted, judged.rejected))
}

fn parse_event(body: &Body) -> Result<event::Event, ApiError> {
    let text = std::str::from_utf8(body.trimmed())
        .map_err(|error| ApiError::NotAnEvent(vec![batch::not_utf8(&error)]))?;
    if text.trim_ascii().is_empty() {
        return Err(ApiError::NotAnEvent(vec!["the body is empty".to_owned()]));
    }
    let request = serde_json::from_str(text)
        .map_err(|error| ApiError::NotAnEvent(vec![batch::not_an_event(&error)]))?;
    event::parse(&request, now(), Uuid::now_v7)
        .map_err(|invalid| ApiError::NotAnEvent(batch::sentences(&invalid)))
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Any page may send. The caller's origin is named and credentials are allowed, because a beacon
/// always comes with them; nothing here looks at them.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}

async fn count_answer(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    // A path nobody knows must not make a metric of its own.
    let route = route
        .as_ref()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await.into_response();
    let status = response.status().as_u16().to_string();
    metrics::counter!("weir_ingest_answers_total", "route" => route, "status" => status)
        .increment(1);
    response
}
