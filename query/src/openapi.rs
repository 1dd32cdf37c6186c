//! The API's own description, from the handlers and types it describes.

use utoipa::{IntoParams, IntoResponses, OpenApi};

use crate::stats::StatsAnswer;

#[derive(OpenApi)]
#[openapi(
    info(title = "weir query", description = "Answers what the events say."),
    paths(crate::stats::get_stats, crate::stats::get_stats_aggregated),
    components(schemas(
        StatsAnswer,
        crate::stats::PathViews,
        infra::http::ErrorBody
    )),
    tags((name = "stats", description = "Figures of a site"))
)]
struct Document;

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// What `/stats` can be asked; `params` judges it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "a description: a derived parser would tell one fault at a time"
)]
pub(crate) struct Parameters {
    /// Whose traffic: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
    #[param(example = "my-site", min_length = 1, max_length = 128)]
    site_id: String,
    /// One day, from 2000-01-01 to 2199-12-31; all time if no day is given.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    date: Option<String>,
    /// First day of a range, not beside `date`; open if left out.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    start_date: Option<String>,
    /// Last day of a range, included, not beside `date`; open if left out.
    #[param(value_type = Option<String>, format = Date, nullable = false)]
    end_date: Option<String>,
    /// Whose days; UTC if left out.
    #[param(example = "Europe/Berlin", nullable = false)]
    timezone: Option<String>,
    /// Count events of this type instead of views.
    #[param(max_length = 64, nullable = false)]
    event_type: Option<String>,
    /// Count this path alone; what follows `?` or `#` is cut off, as it is from events.
    #[param(max_length = 2048, nullable = false)]
    path: Option<String>,
    /// How many top paths.
    #[param(minimum = 1, maximum = 1000, default = 10, nullable = false)]
    limit: Option<u16>,
}

/// What `/stats` can answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description: the handler writes the answers")]
pub(crate) enum Answers {
    /// The figures; zeros for a site without events
    #[response(status = 200)]
    Figures(#[to_schema] StatsAnswer),
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] infra::http::ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] infra::http::ErrorBody),
}
