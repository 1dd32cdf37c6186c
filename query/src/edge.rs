//! What the service knows of the edge: where pages send events, with which key, and how long the
//! edge knows a visitor again.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Datelike;
use context::visitor::Period;
use event::SiteId;
use infra::http::error;
use serde::Serialize;

use crate::api::Api;
use crate::days::{DayRange, Span};
use crate::openapi::{RealtimeSite, TagAnswers};
use crate::question::NowQuestion;

/// As the `ingest` section has it.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Where pages reach ingest, without a slash at its end.
    pub public_url: String,
    /// Where the script is that pages load, with a slash at its front.
    pub script_path: String,
    /// A public key of each site that has one.
    pub public_keys: HashMap<SiteId, String>,
    pub visitors_period: Period,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:3000".to_owned(),
            script_path: "/w.js".to_owned(),
            public_keys: HashMap::new(),
            visitors_period: Period::default(),
        }
    }
}

/// The visitors' period, if `span` reaches over more than one: somebody who came in two is two.
pub(crate) fn period_within(period: Period, span: Span) -> Option<&'static str> {
    let DayRange { first, last } = span.days();
    match period {
        Period::Day => (first < last).then_some("day"),
        Period::Month => {
            let month = |day: chrono::NaiveDate| (day.year(), day.month());
            (month(first) < month(last)).then_some("month")
        }
        Period::Forever | Period::Off => None,
    }
}

/// The answer of `/tag`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TagAnswer {
    #[schema(example = "my-site")]
    site_id: String,
    /// Where pages reach ingest.
    #[schema(example = "https://weir.example")]
    public_url: String,
    /// The script that pages load.
    #[schema(example = "https://weir.example/w.js")]
    script: String,
    /// For `data-key`; null where the site has none.
    public_key: Option<String>,
}

/// What a site's pages need to send events
///
/// The address of ingest (`ingest.public_url`) and the site's public key, for
/// `<script defer src="SCRIPT" data-site="SITE" data-key="KEY"></script>`.
#[utoipa::path(
    get,
    path = "/tag",
    tag = "sites",
    params(RealtimeSite),
    responses(TagAnswers)
)]
pub(crate) async fn get_tag(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let site = match NowQuestion::parse(&pairs) {
        Ok(question) => question.site_id,
        Err(faults) => return error(StatusCode::BAD_REQUEST, faults),
    };
    if let Err(refusal) = api.keys.open(&headers, &site) {
        return *refusal;
    }
    let edge = &api.edge;
    Json(TagAnswer {
        public_url: edge.public_url.clone(),
        script: format!("{}{}", edge.public_url, edge.script_path),
        public_key: edge.public_keys.get(&site).cloned(),
        site_id: site.as_str().to_owned(),
    })
    .into_response()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn within(period: Period, first: &str, last: &str, zone: Tz) -> Option<&'static str> {
        let days = DayRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        period_within(period, days.span(zone))
    }

    #[test]
    fn only_what_reaches_over_more_than_one_period_says_so() {
        use Period::{Day, Forever, Month, Off};
        let day = "2025-03-31";
        assert_eq!(within(Day, day, day, Tz::UTC), None);
        assert_eq!(within(Day, day, "2025-04-01", Tz::UTC), Some("day"));
        // A day elsewhere has parts of two days in UTC.
        assert_eq!(within(Day, day, day, Tz::Europe__Berlin), Some("day"));
        assert_eq!(within(Month, "2025-03-01", day, Tz::UTC), None);
        assert_eq!(within(Month, day, "2025-04-01", Tz::UTC), Some("month"));
        for period in [Forever, Off] {
            assert_eq!(within(period, "2025-01-01", day, Tz::UTC), None);
        }
    }
}
