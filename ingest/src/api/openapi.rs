//! The API's description. Answers describe themselves; what is here is what a client sends, since
//! the contract's own parser takes wrong types too, to be able to tell of them.

use utoipa::{IntoParams, OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "weir ingest",
        description = "Takes events in. 202 is a promise: what was answered so is stored durably."
    ),
    paths(super::accept_event, super::accept_events, health, ready, metrics),
    tags(
        (name = "events", description = "Sending events"),
        (name = "operations", description = "Watching the service"),
    ),
)]
pub(super) struct Document;

/// One event. Fields not named here are ignored; null is the same as leaving a field out.
#[derive(ToSchema)]
#[schema(example = json!({
    "site_id": "shop",
    "event_type": "page_view",
    "path": "/pricing",
    "user_id": "user-1",
    "timestamp": "2025-11-15T10:00:00Z",
    "props": {"plan": "team", "seats": 5}
}))]
#[expect(dead_code, reason = "describes what event::EventRequest parses")]
pub(super) struct EventBody {
    /// Whose traffic it is.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[A-Za-z0-9._:-]+$",
        example = "shop"
    )]
    site_id: String,
    /// What happened. `page_view`, `pageview` and `view` count as views. Bytes, without control
    /// characters.
    #[schema(min_length = 1, max_length = 64, example = "page_view")]
    event_type: String,
    /// Cut at `?` and `#`, then at most 2048 bytes; `""` means `/` for a view.
    #[schema(example = "/pricing")]
    path: Option<String>,
    #[schema(max_length = 256, example = "user-1")]
    user_id: Option<String>,
    /// RFC 3339, from 2000-01-01 on; the time of receipt if left out. Up to 24 hours ahead is
    /// corrected to the time of receipt, further is refused.
    #[schema(value_type = Option<String>, format = DateTime, example = "2025-11-15T10:00:00Z")]
    timestamp: Option<String>,
    /// Your own key: an event sent again under the same one counts once. A UUID, or any string,
    /// which is then stored as the UUIDv5 of site and string.
    #[schema(min_length = 1, max_length = 128, example = "order-4711-paid")]
    event_id: Option<String>,
    #[schema(max_length = 2048, example = "https://example.com/")]
    referrer: Option<String>,
    /// At most 30 keys and 64 KiB in all; values are strings, numbers or booleans.
    #[schema(value_type = Option<Object>, example = json!({"plan": "team", "seats": 5}))]
    props: Option<()>,
}

#[derive(ToSchema)]
#[schema(example = json!([
    {"site_id": "shop", "event_type": "page_view", "path": "/pricing"},
    {"site_id": "shop", "event_type": "click", "path": "/pricing"}
]))]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what batch::judge cuts")]
pub(super) enum BatchBody {
    Array(Vec<EventBody>),
    Object { events: Vec<EventBody> },
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that body::read looks at")]
pub(super) struct ContentEncoding {
    /// How the body is packed: `gzip`, `zstd` or `br`.
    #[param(rename = "Content-Encoding", required = false, example = "gzip")]
    content_encoding: Option<String>,
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
