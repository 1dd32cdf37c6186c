//! The API's own description, from the handlers and types it describes.

mod answers;
mod parameters;

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

pub(crate) use answers::{
    BreakdownAnswers, RealtimeAnswers, SeriesAnswers, SitesAnswers, StatsAnswers, TagAnswers,
};
pub(crate) use parameters::{
    BreakdownPage, Common, Compared, CountedBots, CsvCells, LimitOfTen, RealtimeSite,
    SeriesInterval, SitesPage,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "weir query", description = "Answers what the events say. A parameter that is not described here is refused.

Every request can also be refused with 421, if its `Host` is a name that the setting `query.hosts` does not list, and with 403, if a page of another origin sends it that `query.cors_origins` does not list and that presents no read key."),
    paths(
        crate::stats::get_stats,
        crate::stats::get_stats_aggregated,
        crate::timeseries::get_timeseries,
        crate::breakdown::get_breakdown,
        crate::realtime::get_realtime,
        crate::sites::get_sites,
        crate::edge::get_tag
    ),
    components(schemas(
        crate::stats::StatsAnswer,
        crate::stats::StatsComparison,
        crate::stats::PathViews,
        crate::timeseries::SeriesAnswer,
        crate::timeseries::SeriesComparison,
        crate::timeseries::Point,
        crate::breakdown::BreakdownAnswer,
        crate::breakdown::BreakdownRow,
        crate::breakdown::ValueComparison,
        crate::realtime::RealtimeAnswer,
        crate::sites::SitesAnswer,
        crate::sites::Site,
        crate::edge::TagAnswer,
        infra::http::ErrorBody
    )),
    tags(
        (name = "stats", description = "Figures of a site"),
        (name = "sites", description = "The sites there are")
    )
)]
struct Document;

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A read key, where the service asks for one"))
        .build();
    components.add_security_scheme("read_key", SecurityScheme::Http(bearer));
    document
}
