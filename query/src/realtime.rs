//! `GET /stats/realtime`: who is there now, once as JSON, or again and again as server-sent events.

mod live;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clickhouse::Row;
use infra::http::error;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::answer::{Answer, Cell, Csv, wants_events};
use crate::api::{Api, Figures, Question, count};
use crate::database::Failure;
use crate::openapi::{CountedBots, CsvCells, RealtimeAnswers, RealtimeSite};
use crate::question::NowQuestion;
use crate::statement::{Parameters, Reads, Statement};
pub(crate) use live::Live;

const ROUTE: &str = "/stats/realtime";

/// The answer of `/stats/realtime`, and what each of its events holds.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct RealtimeAnswer {
    #[schema(example = "my-site")]
    site_id: String,
    /// When it was so.
    #[schema(value_type = String, format = DateTime)]
    at: String,
    /// Distinct users of the last five minutes.
    visitors_5m: u64,
    views_5m: u64,
    visitors_30m: u64,
    views_30m: u64,
}

#[derive(Row, Deserialize)]
struct RealtimeRow {
    views_5m: u64,
    visitors_5m: u64,
    views_30m: u64,
    visitors_30m: u64,
}

/// Visitors and views of the last 5 and 30 minutes
///
/// With `Accept: text/event-stream` an event `realtime` at once and every five seconds; while
/// ClickHouse cannot answer, an event `unavailable`.
#[utoipa::path(
    get,
    path = "/stats/realtime",
    tag = "stats",
    params(RealtimeSite, CountedBots, CsvCells),
    responses(RealtimeAnswers)
)]
pub(crate) async fn get_realtime(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let question = NowQuestion::parse(&pairs);
    if !wants_events(&headers) {
        let question = question.map(Question::Now);
        return api.respond(ROUTE, &headers, &pairs, question).await;
    }
    let asked_at = Instant::now();
    let response = match question {
        Err(faults) => error(axum::http::StatusCode::BAD_REQUEST, faults),
        Ok(question) => match api.keys.open(&headers, &question.site_id) {
            Ok(()) => api.live.listen(question),
            Err(refusal) => *refusal,
        },
    };
    count(ROUTE, asked_at, &response);
    response
}

pub(crate) async fn answer(
    figures: &Figures,
    question: &NowQuestion,
) -> Result<RealtimeAnswer, Failure> {
    let now = Utc::now();
    let before = |minutes| (now - TimeDelta::minutes(minutes)).timestamp_millis();
    let mut parameters = Parameters::default();
    parameters.text("site_id", question.site_id.as_str());
    parameters.ints("bots", question.bots.flags());
    parameters.texts("event_types", &figures.view_types);
    parameters.int("since_5m_ms", before(5));
    parameters.int("since_30m_ms", before(30));
    parameters.int("now_ms", now.timestamp_millis());
    let statement = Statement {
        sql: include_str!("sql/realtime.sql").to_owned(),
        parameters,
        reads: Reads::Rollups,
    };
    let row: RealtimeRow = figures.database.fetch_one(&statement).await?;
    Ok(RealtimeAnswer {
        site_id: question.site_id.as_str().to_owned(),
        at: text(now),
        visitors_5m: row.visitors_5m,
        views_5m: row.views_5m,
        visitors_30m: row.visitors_30m,
        views_30m: row.views_30m,
    })
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Answer for RealtimeAnswer {
    fn csv(&self, csv: &mut Csv) {
        csv.header(&["minutes", "views", "visitors"]);
        for (minutes, views, visitors) in [
            (5, self.views_5m, self.visitors_5m),
            (30, self.views_30m, self.visitors_30m),
        ] {
            csv.line(&[Cell::Own(&minutes), Cell::Own(&views), Cell::Own(&visitors)]);
        }
    }
}
