//! `GET /stats`: views, unique users and top paths of a site.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Cell, Csv};
use crate::api::{Api, Figures, Question};
use crate::database::Failure;
use crate::days::DayRange;
use crate::edge::period_within;
use crate::filter::{Filter, Op, Property};
use crate::openapi::{Common, Compared, CountedBots, CsvCells, LimitOfTen, StatsAnswers};
use crate::question::{Asked, StatsQuestion};
use crate::select::Select;
use crate::uniques;

/// The answer of `/stats`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
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
    /// Events of the view types, or of the types asked for.
    #[schema(example = 1450)]
    total_views: u64,
    /// Distinct users among them, over all days: never a sum of days.
    #[schema(example = 212)]
    unique_users: u64,
    /// `unique_users` are at most this many percent off; 0: counted one by one.
    #[schema(example = 0.0)]
    unique_users_error_pct: f64,
    /// `day` or `month` where the days are in more than one period of visitors: somebody whom the edge
    /// recognises by address and user agent (he has no `user_id` of his own) counts once in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "day")]
    visitors_period: Option<&'static str>,
    /// By views, then by path. Views without a path are left out.
    top_paths: Vec<PathViews>,
    /// Only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    comparison: Option<StatsComparison>,
}

/// A path and its views.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct PathViews {
    #[schema(example = "/pricing")]
    path: String,
    #[schema(example = 700)]
    views: u64,
}

/// The same figures of other days.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct StatsComparison {
    #[schema(value_type = String, format = Date)]
    start_date: NaiveDate,
    #[schema(value_type = String, format = Date)]
    end_date: NaiveDate,
    total_views: u64,
    unique_users: u64,
}

#[derive(Row, Deserialize)]
pub(crate) struct Totals {
    views: u64,
    users: u64,
}

#[derive(Row, Deserialize)]
struct TopRow {
    value: String,
    views: u64,
}

/// Views, unique users and top paths
///
/// Of a day, a range of days, or all time; in any time zone. As CSV: the top paths.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "stats",
    params(Common, CountedBots, Compared, LimitOfTen, CsvCells),
    responses(StatsAnswers)
)]
pub(crate) async fn get_stats(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let question = StatsQuestion::parse(&pairs).map(Question::Stats);
    api.respond("/stats", &headers, &pairs, question).await
}

/// The same as `/stats`
#[utoipa::path(
    get,
    path = "/stats/aggregated",
    tag = "stats",
    params(Common, CountedBots, Compared, LimitOfTen, CsvCells),
    responses(StatsAnswers)
)]
pub(crate) async fn get_stats_aggregated(
    api: State<Api>,
    headers: HeaderMap,
    pairs: Query<Vec<(String, String)>>,
) -> Response {
    get_stats(api, headers, pairs).await
}

pub(crate) async fn answer(
    figures: &Figures,
    question: &StatsQuestion,
) -> Result<StatsAnswer, Failure> {
    let slice = &question.slice;
    let select = Select::new(slice, slice.span(), &figures.view_types);
    // Side by side: each takes a connection, and none needs the others.
    let (totals, paths, compared) = tokio::try_join!(
        totals(figures, &select),
        top_paths(figures, &select, question),
        comparison(figures, question)
    )?;
    let top_paths = paths.unwrap_or_else(|path| {
        let views = totals.views;
        let seen = (views > 0).then_some(PathViews { path, views });
        Vec::from_iter(seen)
    });
    let (date, start_date, end_date) = match slice.days {
        Asked::AllTime => (None, None, None),
        Asked::Day(day) => (Some(day), None, None),
        Asked::Range(first, last) => (None, first, last),
    };
    let users = [
        totals.users,
        compared.as_ref().map_or(0, |other| other.unique_users),
    ];
    Ok(StatsAnswer {
        site_id: slice.site_id.as_str().to_owned(),
        date,
        start_date,
        end_date,
        total_views: totals.views,
        unique_users: totals.users,
        unique_users_error_pct: uniques::error_pct(slice.exact, users),
        visitors_period: period_within(figures.visitors_period, slice.span()),
        top_paths,
        comparison: compared,
    })
}

async fn totals(figures: &Figures, select: &Select<'_>) -> Result<Totals, Failure> {
    figures.database.fetch_one(&select.totals()).await
}

async fn comparison(
    figures: &Figures,
    question: &StatsQuestion,
) -> Result<Option<StatsComparison>, Failure> {
    let slice = &question.slice;
    let Some((compare, days)) = question.compare.zip(slice.days.closed()) else {
        return Ok(None);
    };
    let days @ DayRange { first, last } = compare.with(days);
    let select = Select::new(slice, slice.span_of(days), &figures.view_types);
    let totals = totals(figures, &select).await?;
    Ok(Some(StatsComparison {
        start_date: first,
        end_date: last,
        total_views: totals.views,
        unique_users: totals.users,
    }))
}

/// The top paths; or the only path there can be, whose views are all views.
async fn top_paths(
    figures: &Figures,
    select: &Select<'_>,
    question: &StatsQuestion,
) -> Result<Result<Vec<PathViews>, String>, Failure> {
    let only = |filter: &&Filter| filter.property == Property::Path && filter.op == Op::Is;
    if let Some(filter) = select.filters.iter().find(only)
        && !filter.value.is_empty()
    {
        return Ok(Err(filter.value.clone()));
    }
    let select = Select {
        users: false,
        ..select.clone()
    };
    // Views without a path have a path that is empty, which takes no place.
    let statement = select.top(&Property::Path, question.limit + 1);
    let rows: Vec<TopRow> = figures.database.fetch(&statement).await?;
    let paths = rows.into_iter().filter(|row| !row.value.is_empty());
    let paths = paths.take(question.limit.into()).map(|row| PathViews {
        path: row.value,
        views: row.views,
    });
    Ok(Ok(paths.collect()))
}

impl Answer for StatsAnswer {
    fn csv(&self, csv: &mut Csv) {
        csv.header(&["path", "views"]);
        for PathViews { path, views } in &self.top_paths {
            csv.line(&[Cell::Sent(path), Cell::Own(views)]);
        }
    }
}
