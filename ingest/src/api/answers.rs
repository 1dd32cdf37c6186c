//! What clients are told. One enum, one table of statuses.

use axum::Json;
use axum::http::header::{ACCEPT_ENCODING, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::publisher::PublishError;

/// One event is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Always `true`.
    success: bool,
    #[schema(example = "accepted")]
    status: &'static str,
    #[schema(example = "Event queued for processing")]
    message: &'static str,
    /// The id under which it is stored.
    #[schema(value_type = String, format = "uuid")]
    event_id: Uuid,
}

impl Accepted {
    pub(super) fn new(event_id: Uuid) -> Self {
        Self {
            success: true,
            status: "accepted",
            message: "Event queued for processing",
            event_id,
        }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }
}

/// A batch is stored, but for the events rejected.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAccepted {
    /// Always `true`.
    success: bool,
    #[schema(example = "accepted")]
    status: &'static str,
    /// How many events are stored; at least one.
    #[schema(example = 98)]
    accepted: usize,
    rejected: Vec<Rejected>,
}

impl BatchAccepted {
    pub(super) fn new(accepted: usize, rejected: Vec<Rejected>) -> Self {
        Self {
            success: true,
            status: "accepted",
            accepted,
            rejected,
        }
    }
}

impl IntoResponse for BatchAccepted {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }
}

/// One event of a batch that was not stored.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Rejected {
    /// Its place among the events sent, from 0; in NDJSON empty lines do not count.
    #[schema(example = 3)]
    pub(super) index: usize,
    /// All that is wrong with it.
    #[schema(example = json!(["site_id is required and must be a string"]))]
    pub(super) errors: Vec<String>,
}

/// A batch of which nothing was stored: the shape of every error, and the events rejected if the
/// body could be cut into events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchRefused {
    /// Always `false`.
    success: bool,
    #[schema(example = "error")]
    status: &'static str,
    #[schema(example = json!(["none of the 2 events was accepted"]))]
    errors: Vec<String>,
    #[schema(required = false)]
    rejected: Vec<Rejected>,
}

/// Why a request was not accepted.
#[derive(Debug)]
pub(super) enum ApiError {
    NotAnEvent(Vec<String>),
    NotABatch(String),
    NoneGood(Vec<Rejected>),
    /// The body did not unpack.
    NotPacked(&'static str),
    /// The connection broke while the body was read.
    CutOff,
    Slow,
    TooLarge {
        bytes_max: usize,
        unpacked: bool,
    },
    TooMany {
        events_max: usize,
    },
    Encoding(String),
    /// All bodies being read together are too large.
    Busy,
    Stopping,
    Publish(PublishError),
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

/// Soon: what is queued drains within an acknowledgement or two.
const RETRY_WHEN_FULL: &str = "1";
/// Later: Kafka has to come back first.
const RETRY_WHEN_UNUSABLE: &str = "5";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        metrics::counter!("weir_ingest_rejected_total", "reason" => self.reason()).increment(1);
        match self {
            Self::NotAnEvent(errors) => infra::http::error(StatusCode::BAD_REQUEST, errors),
            Self::NotABatch(sentence) => error(StatusCode::BAD_REQUEST, sentence),
            Self::NoneGood(rejected) => {
                let refused = BatchRefused {
                    success: false,
                    status: "error",
                    errors: vec![format!(
                        "none of the {} events was accepted",
                        rejected.len()
                    )],
                    rejected,
                };
                (StatusCode::BAD_REQUEST, Json(refused)).into_response()
            }
            Self::NotPacked(encoding) => error(
                StatusCode::BAD_REQUEST,
                format!("the body is not valid {encoding}, as Content-Encoding says"),
            ),
            Self::CutOff => error(
                StatusCode::BAD_REQUEST,
                "the body broke off before its end".to_owned(),
            ),
            Self::Slow => error(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time".to_owned(),
            ),
            Self::TooLarge {
                bytes_max,
                unpacked,
            } => {
                let unpacked = if unpacked { " unpacked" } else { "" };
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body must be at most {bytes_max} bytes{unpacked}"),
                )
            }
            Self::TooMany { events_max } => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a batch must have at most {events_max} events"),
            ),
            Self::Encoding(named) => {
                let mut response = error(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!("Content-Encoding {named} is unknown: send gzip, zstd, br or none"),
                );
                response
                    .headers_mut()
                    .insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, br"));
                response
            }
            Self::Busy => retry(
                RETRY_WHEN_FULL,
                "too much is being received at the moment; nothing was stored".to_owned(),
            ),
            Self::Stopping => retry(
                RETRY_WHEN_FULL,
                "the service is stopping; nothing was stored".to_owned(),
            ),
            Self::Publish(PublishError::Full) => retry(
                RETRY_WHEN_FULL,
                "too many events wait for Kafka; nothing was stored".to_owned(),
            ),
            Self::Publish(PublishError::Unusable(reason)) => {
                retry(RETRY_WHEN_UNUSABLE, format!("{reason}; nothing was stored"))
            }
            // The cause is in the log: it names brokers, and a client can do nothing about it.
            Self::Publish(PublishError::Unacknowledged(_) | PublishError::Late) => retry(
                RETRY_WHEN_UNUSABLE,
                "Kafka did not acknowledge in time; whether this was stored is not known. \
                 Sent again under the same event_id it counts once"
                    .to_owned(),
            ),
        }
    }
}

impl ApiError {
    /// The class of it, for the metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::NotAnEvent(_) => "invalid",
            Self::NotABatch(_) => "not_a_batch",
            Self::NoneGood(_) => "none_good",
            Self::NotPacked(_) => "not_packed",
            Self::CutOff => "cut_off",
            Self::Slow => "slow",
            Self::TooLarge { .. } | Self::TooMany { .. } => "too_large",
            Self::Encoding(_) => "encoding",
            Self::Busy | Self::Publish(PublishError::Full) => "full",
            Self::Stopping => "stopping",
            Self::Publish(PublishError::Unusable(_)) => "kafka_unusable",
            Self::Publish(PublishError::Unacknowledged(_) | PublishError::Late) => {
                "not_acknowledged"
            }
        }
    }
}

fn error(status: StatusCode, sentence: String) -> Response {
    infra::http::error(status, vec![sentence])
}

fn retry(seconds: &'static str, sentence: String) -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, sentence);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}
