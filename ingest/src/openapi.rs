//! The API's own description, from the handlers and types it describes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// An event as a client sends it. Fields that are not listed are ignored.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Event, example = json!({
    "site_id": "my-site",
    "event_type": "page_view",
    "path": "/pricing",
    "user_id": "user-1",
    "timestamp": "2025-11-15T10:00:00Z",
    "props": {"plan": "pro", "seats": 3}
}))]
pub(crate) struct EventBody {
    /// Whose traffic it is.
    #[schema(
        example = "my-site",
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._:-]+$"
    )]
    site_id: String,
    /// What happened. `page_view`, `pageview` and `view` count as views.
    #[schema(
        example = "page_view",
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    event_type: String,
    /// At most 2048 bytes before `?` or `#`, where it is cut. Stored percent-decoded and without a
    /// host.
    #[schema(example = "/pricing", required = false, nullable)]
    path: Option<String>,
    #[serde(flatten)]
    context: ContextFields,
    /// The visitor, at most 256 bytes.
    #[schema(example = "user-1", max_length = 256, required = false, nullable)]
    user_id: Option<String>,
    /// When it happened; default: the time of receipt. Not before 2000 and not over 24 hours ahead.
    #[schema(example = "2025-11-15T10:00:00Z", required = false, nullable)]
    timestamp: Option<DateTime<Utc>>,
    /// Your idempotency key, a UUID or any string of at most 128 bytes: a repeat counts once.
    #[schema(
        example = "order-4711",
        min_length = 1,
        max_length = 128,
        required = false,
        nullable
    )]
    event_id: Option<String>,
    /// Where the visitor came from. Scheme, host and path are kept, unless `ingest.referrer` says
    /// otherwise, at most 2048 bytes; user names and passwords never are.
    #[schema(example = "https://example.com/", required = false, nullable)]
    referrer: Option<String>,
    /// At most 30 keys with strings, numbers, booleans or null; 64 KiB in all. Integers beyond 64
    /// bits are read as doubles.
    #[schema(value_type = Option<HashMap<String, Scalar>>, example = json!({"plan": "pro", "seats": 3}), required = false, nullable)]
    props: Option<serde_json::Value>,
}

/// Where an event happened. Each is a text; what is too long is cut.
#[derive(Serialize, utoipa::ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ContextFields {
    /// The page's address: host, path (where no `path` is sent), `utm_*` and `ref` are read from it.
    #[schema(
        example = "https://shop.example/pricing?utm_source=newsletter",
        required = false,
        nullable
    )]
    url: Option<String>,
    /// Host of the page; default: that of `url`, else of `Origin`.
    #[schema(required = false, nullable)]
    hostname: Option<String>,
    /// Who linked here, in place of the referrer.
    #[schema(required = false, nullable)]
    r#ref: Option<String>,
    /// Where the visitor came from, in place of what campaign and referrer say.
    #[schema(required = false, nullable)]
    source: Option<String>,
    #[schema(required = false, nullable)]
    utm_source: Option<String>,
    #[schema(required = false, nullable)]
    utm_medium: Option<String>,
    #[schema(required = false, nullable)]
    utm_campaign: Option<String>,
    #[schema(required = false, nullable)]
    utm_term: Option<String>,
    #[schema(required = false, nullable)]
    utm_content: Option<String>,
    /// By ISO 3166-1; default: by the address of a page's visitor.
    #[schema(example = "DE", required = false, nullable)]
    country: Option<String>,
    #[schema(required = false, nullable)]
    region: Option<String>,
    #[schema(required = false, nullable)]
    city: Option<String>,
    /// Default: by the user agent of a page's visitor. So for the next three.
    #[schema(example = "Firefox", required = false, nullable)]
    browser: Option<String>,
    #[schema(required = false, nullable)]
    browser_version: Option<String>,
    #[schema(required = false, nullable)]
    system: Option<String>,
    /// `desktop`, `mobile`, `tablet`, `tv`, `console`, `wearable` or `other`.
    #[schema(required = false, nullable)]
    device: Option<String>,
    /// As `en` or `en-US`; default: the first of a page's `Accept-Language`.
    #[schema(example = "de-DE", required = false, nullable)]
    language: Option<String>,
    /// Width, or width and height, in CSS pixels: stored as `small`, `medium`, `large` or `wide`.
    #[schema(example = "1440x900", required = false, nullable)]
    screen: Option<String>,
    /// The visitor's address, from a server with a secret key or where no keys are listed. Not stored.
    #[schema(required = false, nullable)]
    ip: Option<String>,
    /// The visitor's user agent; the same holds.
    #[schema(required = false, nullable)]
    user_agent: Option<String>,
}

/// A property's value.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what props may hold")]
pub(crate) enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
    Nothing,
}

/// Events one after the other.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(min_items = 1)]
pub(crate) struct EventArray(Vec<EventBody>);

/// Many events.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(example = json!([
    {"site_id": "my-site", "event_type": "page_view", "path": "/pricing"},
    {"site_id": "my-site", "event_type": "click", "path": "/pricing"}
]))]
#[expect(dead_code, reason = "describes what the batch is cut from")]
pub(crate) enum BatchBody {
    Array(EventArray),
    Object {
        #[schema(min_items = 1)]
        events: Vec<EventBody>,
    },
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the query string is read for")]
pub(crate) struct KeyParameter {
    /// The write key, where no `Authorization` can be sent. Without a key in force it is ignored.
    #[param(required = false)]
    key: Option<String>,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the query string is read for")]
pub(crate) struct AgeParameter {
    /// How many milliseconds ago the event happened, in place of `timestamp`: for clients whose
    /// clock may be wrong. At most 366 days; less than 0 is 0.
    #[param(required = false, minimum = -9007199254740991.0, maximum = 31622400000.0, example = 1500)]
    age: Option<i64>,
}

/// The event, as text. `props` cannot be sent this way.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the query string is read for")]
pub(crate) struct PixelQuery {
    /// Whose traffic it is.
    #[param(
        example = "my-site",
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._:-]+$"
    )]
    site_id: String,
    /// What happened.
    #[param(
        required = false,
        default = "page_view",
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"
    )]
    event_type: Option<String>,
    /// At most 2048 bytes before `?` or `#`, where it is cut.
    #[param(required = false, example = "/pricing")]
    path: Option<String>,
    /// The visitor, at most 256 bytes.
    #[param(required = false, max_length = 256)]
    user_id: Option<String>,
    /// When it happened; default: the time of receipt.
    #[param(required = false, example = "2025-11-15T10:00:00Z")]
    timestamp: Option<DateTime<Utc>>,
    /// Your idempotency key: a repeat counts once.
    #[param(required = false, max_length = 128)]
    event_id: Option<String>,
    /// Where the visitor came from. Scheme, host and path are kept, unless `ingest.referrer` says
    /// otherwise, at most 2048 bytes; user names and passwords never are.
    #[param(required = false)]
    referrer: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "weir ingest",
        description = "Takes events. An accepted event is stored, and counts once."
    ),
    paths(
        crate::api::single::post_event,
        crate::api::batch::post_events,
        crate::api::pixel::get_pixel,
        crate::api::script::get_script,
        crate::api::script::get_version,
        health,
        ready,
        metrics
    ),
    components(schemas(
        EventBody,
        Scalar,
        BatchBody,
        crate::api::Accepted,
        crate::api::BatchAccepted,
        crate::api::BatchRefused,
        crate::api::Rejected,
        infra::http::ErrorBody
    )),
    tags(
        (name = "events", description = "Events coming in"),
        (name = "tracker", description = "The script that websites load"),
        (name = "operations", description = "Watching the service")
    ),
    modifiers(&WriteKey)
)]
struct Document;

struct WriteKey;

impl Modify for WriteKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A write key, where the service asks for one"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("write_key", SecurityScheme::Http(scheme));
    }
}

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Whether the service runs
#[utoipa::path(get, path = "/health", tag = "operations", responses(
    (status = 200, description = "It runs", body = serde_json::Value,
        example = json!({"status": "ok", "service": "ingest"})),
))]
#[expect(dead_code, reason = "describes a route that infra serves")]
fn health() {}

/// Whether the service can take events now
#[utoipa::path(get, path = "/ready", tag = "operations", responses(
    (status = 200, description = "It can", body = serde_json::Value,
        example = json!({"status": "ready", "service": "ingest"})),
    (status = 503, description = "It cannot, and why", body = serde_json::Value,
        example = json!({"status": "unavailable", "service": "ingest",
            "reasons": {"kafka": "topic events does not exist at 127.0.0.1:9092: run `weir migrate`"}})),
))]
#[expect(dead_code, reason = "describes a route that infra serves")]
fn ready() {}

/// Figures in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "All figures", body = String, content_type = "text/plain"),
))]
#[expect(dead_code, reason = "describes a route that infra serves")]
fn metrics() {}
