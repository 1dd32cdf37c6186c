//! What endpoints can answer.
#![expect(dead_code, reason = "descriptions: the handlers write the answers")]

use infra::http::ErrorBody;
use utoipa::IntoResponses;

#[derive(IntoResponses)]
pub(crate) enum StatsAnswers {
    /// The figures; zeros for a site without events
    #[response(status = 200, headers(("ETag" = String, description = "Send it as If-None-Match to hear whether anything changed")))]
    Figures(#[to_schema] crate::stats::StatsAnswer),
    /// Nothing has changed since the answer with that tag
    #[response(status = 304)]
    Known,
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
    /// This costs more time, memory or rows than one question may: ask for less
    #[response(status = 422)]
    TooMuch(#[to_schema] ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] ErrorBody),
}

#[derive(IntoResponses)]
pub(crate) enum SeriesAnswers {
    /// All points, also those without events
    #[response(status = 200, headers(("ETag" = String, description = "Send it as If-None-Match to hear whether anything changed")))]
    Figures(#[to_schema] crate::timeseries::SeriesAnswer),
    /// Nothing has changed since the answer with that tag
    #[response(status = 304)]
    Known,
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
    /// This costs more time, memory or rows than one question may: ask for less
    #[response(status = 422)]
    TooMuch(#[to_schema] ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] ErrorBody),
}

#[derive(IntoResponses)]
pub(crate) enum BreakdownAnswers {
    /// A page of values
    #[response(status = 200, headers(("ETag" = String, description = "Send it as If-None-Match to hear whether anything changed")))]
    Figures(#[to_schema] crate::breakdown::BreakdownAnswer),
    /// Nothing has changed since the answer with that tag
    #[response(status = 304)]
    Known,
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
    /// This costs more time, memory or rows than one question may: ask for less
    #[response(status = 422)]
    TooMuch(#[to_schema] ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] ErrorBody),
}

#[derive(IntoResponses)]
pub(crate) enum RealtimeAnswers {
    /// The figures of this moment, or a stream of them
    #[response(status = 200, headers(("ETag" = String, description = "Send it as If-None-Match to hear whether anything changed")))]
    Figures(#[to_schema] crate::realtime::RealtimeAnswer),
    /// Nothing has changed since the answer with that tag
    #[response(status = 304)]
    Known,
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] ErrorBody),
}

#[derive(IntoResponses)]
pub(crate) enum SitesAnswers {
    /// A page of sites
    #[response(status = 200, headers(("ETag" = String, description = "Send it as If-None-Match to hear whether anything changed")))]
    Figures(#[to_schema] crate::sites::SitesAnswer),
    /// Nothing has changed since the answer with that tag
    #[response(status = 304)]
    Known,
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
    /// This costs more time, memory or rows than one question may: ask for less
    #[response(status = 422)]
    TooMuch(#[to_schema] ErrorBody),
    /// ClickHouse cannot answer now: try again after `Retry-After` seconds
    #[response(status = 503, headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(#[to_schema] ErrorBody),
}

#[derive(IntoResponses)]
pub(crate) enum TagAnswers {
    /// Address and key
    #[response(status = 200)]
    Tag(#[to_schema] crate::edge::TagAnswer),
    /// Every parameter that is at fault
    #[response(status = 400)]
    Faults(#[to_schema] ErrorBody),
    /// A read key is required
    #[response(status = 401)]
    NoKey(#[to_schema] ErrorBody),
    /// The read key is another's
    #[response(status = 403)]
    WrongKey(#[to_schema] ErrorBody),
}
