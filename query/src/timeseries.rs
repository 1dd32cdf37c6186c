//! `GET /stats/timeseries`: views and users from point to point, also where nothing happened.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Cell, Csv};
use crate::api::{Api, Figures, Question};
use crate::database::Failure;
use crate::days::{DayRange, Span};
use crate::edge::period_within;
use crate::openapi::{Common, Compared, CountedBots, CsvCells, SeriesAnswers, SeriesInterval};
use crate::question::{Asked, SeriesQuestion, Slice, too_many_points};
use crate::select::Select;
use crate::statement::{Parameters, Reads, Statement};
use crate::uniques;

/// The answer of `/stats/timeseries`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SeriesAnswer {
    #[schema(example = "my-site")]
    site_id: String,
    #[schema(example = "day")]
    interval: &'static str,
    #[schema(example = "Europe/Berlin")]
    timezone: &'static str,
    /// The first day; of all time, the one on which the site's events begin.
    #[schema(value_type = String, format = Date)]
    start_date: NaiveDate,
    /// The last day; today if it was left open.
    #[schema(value_type = String, format = Date)]
    end_date: NaiveDate,
    /// Every `unique_users` is at most this many percent off; 0: counted one by one.
    unique_users_error_pct: f64,
    /// `day` or `month` where the days are in more than one period of visitors: somebody whom the edge
    /// recognises by address and user agent (he has no `user_id` of his own) counts once in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "day")]
    visitors_period: Option<&'static str>,
    points: Vec<Point>,
    /// Only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    comparison: Option<SeriesComparison>,
}

/// The same of other days.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SeriesComparison {
    #[schema(value_type = String, format = Date)]
    start_date: NaiveDate,
    #[schema(value_type = String, format = Date)]
    end_date: NaiveDate,
    points: Vec<Point>,
}

/// What happened from `time` to the next point.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Point {
    /// By the clocks of the time zone. Weeks begin on Monday; a first week or month is named by
    /// its first day, and counts from the range's first day on.
    #[schema(value_type = String, format = DateTime, example = "2025-11-14T00:00:00+01:00")]
    time: String,
    views: u64,
    unique_users: u64,
}

#[derive(Row, Deserialize)]
struct BucketRow {
    bucket: i64,
    views: u64,
    users: u64,
}

/// Views and users over time
///
/// In any time zone, with days of 23 and 25 hours where its clocks change. As CSV: the points.
#[utoipa::path(
    get,
    path = "/stats/timeseries",
    tag = "stats",
    params(Common, CountedBots, Compared, SeriesInterval, CsvCells),
    responses(SeriesAnswers)
)]
pub(crate) async fn get_timeseries(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let question = SeriesQuestion::parse(&pairs).map(Question::Series);
    api.respond("/stats/timeseries", &headers, &pairs, question)
        .await
}

pub(crate) async fn answer(
    figures: &Figures,
    question: &SeriesQuestion,
) -> Result<SeriesAnswer, Failure> {
    let slice = &question.slice;
    let days = match slice.days.closed() {
        Some(days) => days,
        None => open_days(figures, slice, Utc::now()).await?,
    };
    let other_days = question.compare.map(|compare| compare.with(days));
    let (points, comparison) = tokio::try_join!(points(figures, question, days), async {
        match other_days {
            None => Ok(None),
            Some(days) => Ok(Some(SeriesComparison {
                start_date: days.first,
                end_date: days.last,
                points: points(figures, question, days).await?,
            })),
        }
    })?;
    let others = comparison.iter().flat_map(|other| &other.points);
    let users = points.iter().chain(others).map(|point| point.unique_users);
    let unique_users_error_pct = uniques::error_pct(slice.exact, users);
    Ok(SeriesAnswer {
        site_id: slice.site_id.as_str().to_owned(),
        interval: question.interval.name(),
        timezone: slice.zone.name(),
        start_date: days.first,
        end_date: days.last,
        unique_users_error_pct,
        visitors_period: period_within(figures.visitors_period, slice.span_of(days)),
        points,
        comparison,
    })
}

async fn points(
    figures: &Figures,
    question: &SeriesQuestion,
    days: DayRange,
) -> Result<Vec<Point>, Failure> {
    let slice = &question.slice;
    let buckets = question.interval.buckets(days, slice.zone);
    let buckets = buckets.map_err(|_| Failure::Parameter(too_many_points(question.interval)))?;
    let Some(first) = buckets.list.first() else {
        return Ok(Vec::new());
    };
    let span = Span {
        start: first.start,
        end: buckets.end,
    };
    let select = Select::new(slice, span, &figures.view_types);
    let statement = select.series(buckets.bounds());
    let rows: Vec<BucketRow> = figures.database.fetch(&statement).await?;
    let counted: HashMap<i64, BucketRow> = rows.into_iter().map(|row| (row.bucket, row)).collect();
    let points = buckets.list.iter().map(|bucket| {
        let row = counted.get(&bucket.start.timestamp());
        Point {
            time: bucket.time.to_rfc3339(),
            views: row.map_or(0, |row| row.views),
            unique_users: row.map_or(0, |row| row.users),
        }
    });
    Ok(points.collect())
}

/// Days whose begin or end was left open: from the site's first event, to today.
async fn open_days(
    figures: &Figures,
    slice: &Slice,
    now: DateTime<Utc>,
) -> Result<DayRange, Failure> {
    let (first, last) = match slice.days {
        Asked::Range(first, last) => (first, last),
        Asked::AllTime | Asked::Day(_) => (None, None),
    };
    let day_of = |time: DateTime<Utc>| time.with_timezone(&slice.zone).date_naive();
    let last = last.unwrap_or_else(|| day_of(now).max(first.unwrap_or(NaiveDate::MIN)));
    let first = match first {
        Some(first) => first,
        None => {
            let begin = begin(figures, slice).await?;
            begin.map_or(last, |begin| day_of(begin).min(last))
        }
    };
    Ok(DayRange { first, last })
}

/// When the site's first event was, to a quarter of an hour.
async fn begin(figures: &Figures, slice: &Slice) -> Result<Option<DateTime<Utc>>, Failure> {
    #[derive(Row, Deserialize)]
    struct Begin {
        /// 0: never.
        second: i64,
    }
    let mut parameters = Parameters::default();
    parameters.text("site_id", slice.site_id.as_str());
    let statement = Statement {
        sql: include_str!("sql/begin.sql").to_owned(),
        parameters,
        reads: Reads::Rollups,
    };
    let Begin { second } = figures.database.fetch_one(&statement).await?;
    Ok(DateTime::from_timestamp(second, 0).filter(|_| second != 0))
}

impl Answer for SeriesAnswer {
    fn csv(&self, csv: &mut Csv) {
        csv.header(&["time", "views", "unique_users"]);
        for point in &self.points {
            csv.line(&[
                Cell::Own(&point.time),
                Cell::Own(&point.views),
                Cell::Own(&point.unique_users),
            ]);
        }
    }
}
