//! `POST /event`, `POST /events` and `GET /pixel.gif`: from a request to an answer.

pub(crate) mod batch;
mod front;
mod intake;
pub(crate) mod pixel;
pub(crate) mod script;
pub(crate) mod single;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{ACCEPT_ENCODING, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use context::Describer;
use infra::http::error;
use metrics::{Counter, counter};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::body::{BodyError, BodyLimits, OpenBytes};
use crate::config::Config;
use crate::head::PlaceHeaders;
use crate::keys::{Denied, KeyRing};
use crate::limits::{Limited, Proxies, RateLimits};
use crate::publisher::{PublishError, Publisher};
use crate::tracker::Tracker;

pub(crate) use batch::{BatchAccepted, BatchRefused, Rejected};
pub(crate) use front::Front;
pub(crate) use single::Accepted;

use intake::Reading;

/// Browsers ask again earlier, each after a limit of its own.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, zstd, br");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What the handlers need.
pub(crate) struct Edge {
    publisher: Publisher,
    event_limits: BodyLimits,
    batch_limits: BodyLimits,
    batch_events_max: usize,
    open_bytes: OpenBytes,
    reading: Arc<Reading>,
    proxies: Proxies,
    place_headers: PlaceHeaders,
    keys: Option<KeyRing>,
    limits: Option<RateLimits>,
    accepted: Counter,
}

/// # Errors
/// If the configuration contradicts itself.
pub(crate) fn edge(
    publisher: Publisher,
    keys: Option<KeyRing>,
    describer: Arc<Describer>,
    config: &Config,
) -> anyhow::Result<Arc<Edge>> {
    let limits = RateLimits::new(
        &config.rate_limits,
        &config.trusted_proxies,
        config.forwarded_header,
    )?;
    let proxies = Proxies::new(&config.trusted_proxies, config.forwarded_header)?;
    Ok(Arc::new(Edge {
        publisher,
        event_limits: BodyLimits {
            bytes_max: config.event_bytes_max,
            unpacked_bytes_max: config.event_bytes_max,
            timeout: config.body_timeout,
        },
        batch_limits: BodyLimits {
            bytes_max: config.batch_bytes_max,
            unpacked_bytes_max: config.batch_unpacked_bytes_max,
            timeout: config.body_timeout,
        },
        batch_events_max: config.batch_events_max,
        open_bytes: OpenBytes::new(config.open_bytes_max, proxies.clone()),
        reading: Arc::new(Reading {
            referrer: config.referrer,
            describer,
        }),
        proxies,
        place_headers: PlaceHeaders::new(&config.geo)?,
        keys,
        limits,
        accepted: counter!("weir_ingest_events_total", "outcome" => "accepted"),
    }))
}

/// The routes that take events, and the tracker, which sends its own to where it came from.
pub(crate) fn routes(edge: Arc<Edge>, tracker: &Arc<Tracker>) -> Router {
    let script = |answer: fn(&Tracker, &HeaderMap) -> Response| {
        let tracker = tracker.clone();
        get(async move |headers: HeaderMap| answer(&tracker, &headers)).post(single::post_tracked)
    };
    Router::new()
        .route(&tracker.path, script(script::get_script))
        .route(&tracker.versioned_path, script(script::get_version))
        .route("/event", post(single::post_event))
        .route("/events", post(batch::post_events))
        .route("/pixel.gif", get(pixel::get_pixel).head(pixel::head_pixel))
        .with_state(edge)
}

/// Any site's pages send their events here. A beacon always comes with credentials, so the page's
/// origin is named and they are allowed; nothing here looks at cookies, and which origins a public key
/// is good for is judged with the event.
///
/// To be laid around the whole router: inside of it, the fallback for wrong methods would answer
/// the preflight.
pub(crate) fn cors(tracker: Arc<Tracker>) -> CorsLayer {
    let takes_events = move |_: &HeaderValue, request: &Parts| {
        let path = request.uri.path();
        matches!(path, "/event" | "/events" | "/pixel.gif") || tracker.is_at(path)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(takes_events))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([RETRY_AFTER, WWW_AUTHENTICATE])
        .max_age(PREFLIGHT_AGE_MAX)
}

/// Why nothing of a request was taken.
enum Failure {
    Limited(Limited),
    Unread(BodyError),
    /// Its only event was refused.
    Refused(Refusal),
    Unpublished(PublishError),
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self::Unread(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Limited(limited) => limited.into_response(),
            Self::Unread(error) => error.into_response(),
            Self::Refused(refusal) => refusal.into_response(),
            Self::Unpublished(error) => error.into_response(),
        }
    }
}

/// Why an event is refused.
enum Refusal {
    Invalid(Vec<String>),
    Denied(Denied),
}

impl Refusal {
    fn sentence(fault: String) -> Self {
        Self::Invalid(vec![fault])
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "rejected",
            Self::Denied(_) => "denied",
        }
    }

    fn errors(self) -> Vec<String> {
        match self {
            Self::Invalid(errors) => errors,
            Self::Denied(denied) => vec![denied.to_string()],
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        count(self.outcome(), 1);
        match self {
            Self::Invalid(errors) => error(StatusCode::BAD_REQUEST, errors),
            Self::Denied(denied) => denied_with(denied, error(denied.status(), self.errors())),
        }
    }
}

/// A refusal for want of a key says which kind of key is wanted.
fn denied_with(denied: Denied, mut response: Response) -> Response {
    if denied == Denied::Missing {
        response.headers_mut().insert(WWW_AUTHENTICATE, BEARER);
    }
    response
}

fn count(outcome: &'static str, events: usize) {
    counter!("weir_ingest_events_total", "outcome" => outcome).increment(events as u64);
}

/// What to say of a text that is not one event.
fn not_an_event(fault: &serde_json::Error) -> String {
    if fault.is_data() {
        format!("an event must be a JSON object: {}", shown(fault))
    } else {
        format!("not valid JSON: {}", shown(fault))
    }
}

/// serde's sentences quote what they met, which may be a whole body.
fn shown(fault: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 200;
    let sentence = fault.to_string();
    match sentence.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &sentence[..end]),
        None => sentence,
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let Self(status, sentence) = self;
        let outcome = match status {
            StatusCode::REQUEST_TIMEOUT => "slow_body",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unknown_encoding",
            StatusCode::SERVICE_UNAVAILABLE => "busy",
            _ => "bad_body",
        };
        count(outcome, 1);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return unavailable(sentence);
        }
        let mut response = error(status, vec![sentence]);
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(ACCEPT_ENCODING, ENCODINGS);
        }
        response
    }
}

impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        unavailable(match self {
            Self::Full | Self::Unusable(_) => format!("{self}; nothing was taken, try again"),
            Self::Refused(_) => "Kafka refused the events; nothing was taken".to_owned(),
            // The reason is in the log, once a flush: it names brokers, and there may be many
            // requests in one flush.
            Self::Unacknowledged(_) => "Kafka did not acknowledge in time; the events may or may \
                                        not be stored, so try again with the same event_id"
                .to_owned(),
        })
    }
}

fn unavailable(sentence: String) -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, vec![sentence]);
    response
        .headers_mut()
        .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

/// The answer of a handler that panicked, which is a defect of this service.
pub(crate) fn failed(_: Box<dyn Any + Send>) -> Response {
    let sentence = "the service failed; the events may or may not be stored";
    error(StatusCode::INTERNAL_SERVER_ERROR, vec![sentence.to_owned()])
}

/// Counts answers. A path nobody knows must not make a metric of its own.
pub(crate) async fn count_answer(
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = route
        .as_ref()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    counter!("weir_ingest_answers_total", "route" => route, "status" => status).increment(1);
    response
}
