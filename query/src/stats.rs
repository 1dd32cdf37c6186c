//! `GET /stats`: views, unique users and top paths of a site.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use chrono_tz::Tz;
use clickhouse::{Client, Row};
use infra::http::{Readiness, error};
use metrics::{counter, histogram};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::config::Config;
use crate::days::Pieces;
use crate::openapi::{Answers, Parameters};
use crate::params::{self, Asked, Question};

/// How long a ClickHouse that was found to be away is given: it may be back already.
const TIMEOUT_WHILE_AWAY: Duration = Duration::from_secs(1);
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Asks ClickHouse; cheap to clone.
#[derive(Clone)]
pub(crate) struct Stats {
    client: Client,
    view_types: Vec<String>,
    timeout: Duration,
    readiness: Readiness,
}

/// The answer of `/stats`.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct StatsAnswer {
    #[schema(example = "my-site")]
    site_id: String,
    /// The day asked for, or null.
    #[schema(value_type = Option<String>, format = Date, example = "2025-11-14")]
    date: Option<NaiveDate>,
    /// Only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = Date)]
    start_date: Option<NaiveDate>,
    /// Only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = Date)]
    end_date: Option<NaiveDate>,
    /// Events of the view types, or of the type asked for.
    #[schema(example = 1450)]
    total_views: u64,
    /// Distinct users among them; exact up to some thousands, within 1 % beyond.
    #[schema(example = 212)]
    unique_users: u64,
    /// By views, then by path.
    top_paths: Vec<PathViews>,
}

/// A path and its views.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct PathViews {
    #[schema(example = "/pricing")]
    path: String,
    #[schema(example = 700)]
    views: u64,
}

#[derive(Row, Deserialize)]
struct Totals {
    views: u64,
    users: u64,
}

impl Stats {
    pub(crate) fn new(client: Client, config: &Config, readiness: Readiness) -> Self {
        let seconds_max = config.timeout.as_secs().max(1);
        let client = client
            .with_setting("max_execution_time", seconds_max.to_string())
            .with_setting("max_memory_usage", config.memory_bytes_max.to_string());
        Self {
            client,
            view_types: config.view_types.clone(),
            timeout: config.timeout,
            readiness,
        }
    }

    fn timeout(&self) -> Duration {
        if self.readiness.is_ready() {
            self.timeout
        } else {
            self.timeout.min(TIMEOUT_WHILE_AWAY)
        }
    }

    async fn answer(&self, question: &Question) -> clickhouse::error::Result<StatsAnswer> {
        let types = match &question.event_type {
            Some(event_type) => vec![event_type.clone()],
            None => self.view_types.clone(),
        };
        let (totals, top_paths) = match &question.path {
            Some(path) => {
                let totals = self.totals_of_path(question, &types, path).await?;
                let views = PathViews {
                    path: path.clone(),
                    views: totals.views,
                };
                let top = if totals.views > 0 {
                    vec![views]
                } else {
                    Vec::new()
                };
                (totals, top)
            }
            None => {
                // Side by side: each takes a connection, and neither needs the other.
                let top_paths = self.top_paths(question, &types);
                tokio::try_join!(self.totals(question, &types), top_paths)?
            }
        };
        let (date, start_date, end_date) = match question.days {
            Asked::AllTime => (None, None, None),
            Asked::Day(day) => (Some(day), None, None),
            Asked::Range(first, last) => (None, first, last),
        };
        Ok(StatsAnswer {
            site_id: question.site_id.as_str().to_owned(),
            date,
            start_date,
            end_date,
            total_views: totals.views,
            unique_users: totals.users,
            top_paths,
        })
    }

    async fn totals(
        &self,
        question: &Question,
        types: &[String],
    ) -> clickhouse::error::Result<Totals> {
        let range = question.days.range();
        // All time is the same in every zone.
        if question.zone == Tz::UTC || question.days == Asked::AllTime {
            return self
                .client
                .query(include_str!("sql/totals_by_day.sql"))
                .param("site_id", question.site_id.as_str())
                .param("event_types", types)
                .param("first", range.first.to_string())
                .param("last", range.last.to_string())
                .fetch_one()
                .await;
        }
        let span = range.span(question.zone);
        self.client
            .query(include_str!("sql/totals_by_quarter_hour.sql"))
            .param("site_id", question.site_id.as_str())
            .param("event_types", types)
            .param("start_s", span.start.timestamp())
            .param("end_s", span.end.timestamp())
            .fetch_one()
            .await
    }

    async fn totals_of_path(
        &self,
        question: &Question,
        types: &[String],
        path: &str,
    ) -> clickhouse::error::Result<Totals> {
        let span = question.days.range().span(question.zone);
        self.client
            .query(include_str!("sql/totals_of_path.sql"))
            .param("site_id", question.site_id.as_str())
            .param("event_types", types)
            .param("path", path)
            .param("start_ms", span.start.timestamp_millis())
            .param("end_ms", span.end.timestamp_millis())
            .fetch_one()
            .await
    }

    async fn top_paths(
        &self,
        question: &Question,
        types: &[String],
    ) -> clickhouse::error::Result<Vec<PathViews>> {
        let zone = if question.days == Asked::AllTime {
            Tz::UTC
        } else {
            question.zone
        };
        let Pieces {
            months,
            days: [before, after],
            edges: [head, tail],
        } = question.days.range().span(zone).pieces();
        self.client
            .query(include_str!("sql/top_paths.sql"))
            .param("site_id", question.site_id.as_str())
            .param("event_types", types)
            .param("months_first", months.first.to_string())
            .param("months_last", months.last.to_string())
            .param("before_first", before.first.to_string())
            .param("before_last", before.last.to_string())
            .param("after_first", after.first.to_string())
            .param("after_last", after.last.to_string())
            .param("head_start_ms", head.start.timestamp_millis())
            .param("head_end_ms", head.end.timestamp_millis())
            .param("tail_start_ms", tail.start.timestamp_millis())
            .param("tail_end_ms", tail.end.timestamp_millis())
            .param("limit", question.limit)
            .fetch_all()
            .await
    }
}

/// Views, unique users and top paths
///
/// Of a day, a range of days, or all time; in any time zone.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "stats",
    params(Parameters),
    responses(Answers)
)]
pub(crate) async fn get_stats(
    State(stats): State<Stats>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let asked_at = Instant::now();
    let response = respond(&stats, &pairs).await;
    histogram!("weir_query_seconds", "route" => "/stats").record(asked_at.elapsed().as_secs_f64());
    counter!("weir_query_requests_total", "route" => "/stats", "status" => response.status().as_str().to_owned())
        .increment(1);
    response
}

/// The same as `/stats`
#[utoipa::path(
    get,
    path = "/stats/aggregated",
    tag = "stats",
    params(Parameters),
    responses(Answers)
)]
pub(crate) async fn get_stats_aggregated(
    stats: State<Stats>,
    pairs: Query<Vec<(String, String)>>,
) -> Response {
    get_stats(stats, pairs).await
}

async fn respond(stats: &Stats, pairs: &[(String, String)]) -> Response {
    let question = match params::parse(pairs) {
        Ok(question) => question,
        Err(faults) => return error(StatusCode::BAD_REQUEST, faults),
    };
    let patience = stats.timeout();
    match timeout(patience, stats.answer(&question)).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(failure)) => {
            warn!("/stats was answered with 503: {failure}");
            unavailable("ClickHouse cannot answer now")
        }
        Err(_) => {
            warn!("/stats was answered with 503: no answer of ClickHouse in {patience:?}");
            unavailable("ClickHouse did not answer in time")
        }
    }
}

fn unavailable(sentence: &str) -> Response {
    let mut response = error(
        StatusCode::SERVICE_UNAVAILABLE,
        vec![format!("{sentence}; try again")],
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}
