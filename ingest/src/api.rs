//! `POST /event` and `POST /events`: from a body to an answer.

pub(crate) mod batch;
pub(crate) mod single;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::Utc;
use event::{EventRequest, IdOrigin, InvalidEvent, wire};
use infra::http::error;
use metrics::counter;
use tower_http::cors::CorsLayer;
use tracing::warn;
use uuid::Uuid;

use crate::body::{BodyError, BodyLimits};
use crate::config::Config;
use crate::publisher::{Outgoing, PublishError, Publisher};

pub(crate) use batch::{BatchAccepted, BatchRefused, Rejected};
pub(crate) use single::Accepted;

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Edge {
    publisher: Publisher,
    event_limits: BodyLimits,
    batch_limits: BodyLimits,
    batch_events_max: usize,
}

pub(crate) fn routes(publisher: Publisher, config: &Config) -> Router {
    let edge = Edge {
        publisher,
        event_limits: BodyLimits {
            bytes_max: config.event_bytes_max,
            unpacked_bytes_max: config.event_bytes_max,
        },
        batch_limits: BodyLimits {
            bytes_max: config.batch_bytes_max,
            unpacked_bytes_max: config.batch_unpacked_bytes_max,
        },
        batch_events_max: config.batch_events_max,
    };
    Router::new()
        .route("/event", post(single::post_event))
        .route("/events", post(batch::post_events))
        // Bodies are limited where they are read, with an answer in the API's own shape.
        .layer(DefaultBodyLimit::disable())
        // Any site's pages send their events here.
        .layer(CorsLayer::permissive())
        .with_state(edge)
}

/// An event that obeys the rules, ready to go, and its id.
fn accept(request: &EventRequest<'_>) -> Result<(Outgoing, Uuid), InvalidEvent> {
    let event = event::parse(request, Utc::now(), Uuid::now_v7)?;
    let client_id = (event.id.origin == IdOrigin::Client).then_some(event.id.uuid);
    Ok((
        Outgoing {
            encoded: wire::encode(&event),
            client_id,
        },
        event.id.uuid,
    ))
}

fn sentences(invalid: &InvalidEvent) -> Vec<String> {
    invalid.faults.iter().map(ToString::to_string).collect()
}

fn count(outcome: &'static str, events: usize) {
    counter!("weir_ingest_events_total", "outcome" => outcome).increment(events as u64);
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        count("bad_body", 1);
        error(self.0, vec![self.1])
    }
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        let (status, sentence) = match &self {
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, self.to_string()),
            Self::Full | Self::NoTopic => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{self}; nothing was taken, try again"),
            ),
            Self::Unacknowledged(_) => {
                warn!("a request was answered with 503: {self}");
                let sentence = "Kafka did not acknowledge in time; the events may or may not be \
                                stored, so try again with the same event_id";
                (StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned())
            }
        };
        let mut response = error(status, vec![sentence]);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
