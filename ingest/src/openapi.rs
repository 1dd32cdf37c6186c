//! The API's own description, from the handlers and types it describes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::OpenApi;

/// An event as a client sends it. Fields that are not listed are ignored.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
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
    #[schema(example = "page_view", min_length = 1, max_length = 64)]
    event_type: String,
    /// At most 2048 bytes before `?` or `#`, where it is cut.
    #[schema(example = "/pricing", required = false, nullable)]
    path: Option<String>,
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
    /// Where the visitor came from, at most 2048 bytes.
    #[schema(
        example = "https://example.com/",
        max_length = 2048,
        required = false,
        nullable
    )]
    referrer: Option<String>,
    /// At most 30 keys with strings, numbers, booleans or null; 64 KiB in all.
    #[schema(value_type = Option<Object>, example = json!({"plan": "pro", "seats": 3}), required = false, nullable)]
    props: Option<serde_json::Value>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "weir ingest",
        description = "Takes events. An accepted event is stored in Kafka, and counts once."
    ),
    paths(crate::api::single::post_event, crate::api::batch::post_events),
    components(schemas(
        EventBody,
        crate::api::Accepted,
        crate::api::BatchAccepted,
        crate::api::BatchRefused,
        crate::api::Rejected,
        infra::http::ErrorBody
    )),
    tags((name = "events", description = "Events coming in"))
)]
struct Document;

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
