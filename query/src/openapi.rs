//! The API's own description, from the handlers and types it describes.

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "weir query", description = "Answers what the events say."),
    paths(crate::stats::get_stats, crate::stats::get_stats_aggregated),
    components(schemas(
        crate::stats::StatsAnswer,
        crate::stats::PathViews,
        infra::http::ErrorBody
    )),
    tags((name = "stats", description = "Figures of a site"))
)]
struct Document;

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
