//! `GET /stats/breakdown`: the values of a property, with views and users of each.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Cell, Csv};
use crate::api::{Api, Figures, Question};
use crate::database::Failure;
use crate::days::Span;
use crate::edge::period_within;
use crate::filter::Property;
use crate::openapi::{BreakdownAnswers, BreakdownPage, Common, Compared, CountedBots, CsvCells};
use crate::question::BreakdownQuestion;
use crate::select::{Among, Select};
use crate::uniques;

/// The answer of `/stats/breakdown`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct BreakdownAnswer {
    #[schema(example = "my-site")]
    site_id: String,
    #[schema(example = "referrer")]
    property: String,
    page: u32,
    limit: u16,
    /// Distinct values on all pages; the empty one, of events without a value, among them.
    total: u64,
    /// Every `unique_users` is at most this many percent off; 0: counted one by one.
    unique_users_error_pct: f64,
    /// `day` or `month` where the days are in more than one period of visitors: somebody whom the edge
    /// recognises by address and user agent (he has no `user_id` of his own) counts once in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = "day")]
    visitors_period: Option<&'static str>,
    /// By views, then by value.
    rows: Vec<BreakdownRow>,
}

/// A value, and the events that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct BreakdownRow {
    /// Empty: events without a value.
    #[schema(example = "https://example.com/")]
    value: String,
    #[schema(example = 700)]
    views: u64,
    #[schema(example = 212)]
    unique_users: u64,
    /// The same of the days to compare with; only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    comparison: Option<ValueComparison>,
}

/// The same value on other days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct ValueComparison {
    views: u64,
    unique_users: u64,
}

#[derive(Row, Deserialize)]
struct ValueRow {
    value: String,
    views: u64,
    users: u64,
    total: u64,
}

#[derive(Row, Deserialize)]
struct Total {
    total: u64,
}

/// The values of a property
///
/// With views and users of each. Of `event_type` all types are shown unless a filter names some;
/// `views` are then events of that type. As CSV: the rows.
#[utoipa::path(
    get,
    path = "/stats/breakdown",
    tag = "stats",
    params(Common, CountedBots, Compared, BreakdownPage, CsvCells),
    responses(BreakdownAnswers)
)]
pub(crate) async fn get_breakdown(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let question = BreakdownQuestion::parse(&pairs).map(Question::Breakdown);
    api.respond("/stats/breakdown", &headers, &pairs, question)
        .await
}

pub(crate) async fn answer(
    figures: &Figures,
    question: &BreakdownQuestion,
) -> Result<BreakdownAnswer, Failure> {
    let slice = &question.slice;
    let select = select(figures, question, slice.span());
    let (mut rows, total) = page(figures, question, &select).await?;
    let values: Vec<String> = rows.iter().map(|row| row.value.clone()).collect();
    let days = question.compare.zip(slice.days.closed());
    if let Some((compare, days)) = days
        && !values.is_empty()
    {
        let select = Select {
            span: slice.span_of(compare.with(days)),
            ..select
        };
        let others = of_values(figures, question, &select, &values).await?;
        for row in &mut rows {
            let other = others.get(&row.value);
            row.comparison = Some(ValueComparison {
                views: other.map_or(0, |other| other.views),
                unique_users: other.map_or(0, |other| other.users),
            });
        }
    }
    let users = rows.iter().flat_map(|row| {
        let other = row.comparison.as_ref().map(|other| other.unique_users);
        [row.unique_users, other.unwrap_or(0)]
    });
    let unique_users_error_pct = uniques::error_pct(slice.exact, users);
    Ok(BreakdownAnswer {
        site_id: slice.site_id.as_str().to_owned(),
        property: question.property.to_string(),
        page: question.page,
        limit: question.limit,
        total,
        unique_users_error_pct,
        visitors_period: period_within(figures.visitors_period, slice.span()),
        rows,
    })
}

fn select<'q>(figures: &'q Figures, question: &'q BreakdownQuestion, span: Span) -> Select<'q> {
    let select = Select::new(&question.slice, span, &figures.view_types);
    Select {
        view_types: select
            .view_types
            .filter(|_| question.property != Property::EventType),
        ..select
    }
}

/// The rows of the page asked for, and how many there are on all pages.
async fn page(
    figures: &Figures,
    question: &BreakdownQuestion,
    select: &Select<'_>,
) -> Result<(Vec<BreakdownRow>, u64), Failure> {
    let property = &question.property;
    // Rollups know the views of all paths: only the users of those shown cost raw rows.
    let apart = select.users_cost_rows(property);
    let first = Select {
        users: !apart,
        ..select.clone()
    };
    let among = Among::Page {
        limit: question.limit,
        page: question.page,
    };
    let rows: Vec<ValueRow> = figures
        .database
        .fetch(&first.breakdown(property, among))
        .await?;
    let total = match rows.first() {
        Some(row) => row.total,
        None if question.page == 1 => 0,
        None => {
            let total: Total = figures.database.fetch_one(&first.values(property)).await?;
            total.total
        }
    };
    let users = if apart && !rows.is_empty() {
        let values: Vec<String> = rows.iter().map(|row| row.value.clone()).collect();
        of_values(figures, question, select, &values).await?
    } else {
        HashMap::new()
    };
    let rows = rows.into_iter().map(|row| BreakdownRow {
        unique_users: users.get(&row.value).map_or(row.users, |row| row.users),
        value: row.value,
        views: row.views,
        comparison: None,
    });
    Ok((rows.collect(), total))
}

async fn of_values(
    figures: &Figures,
    question: &BreakdownQuestion,
    select: &Select<'_>,
    values: &[String],
) -> Result<HashMap<String, ValueRow>, Failure> {
    let statement = select.breakdown(&question.property, Among::Values(values));
    let rows: Vec<ValueRow> = figures.database.fetch(&statement).await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.value.clone(), row))
        .collect())
}

impl Answer for BreakdownAnswer {
    fn csv(&self, csv: &mut Csv) {
        csv.header(&["value", "views", "unique_users"]);
        for row in &self.rows {
            csv.line(&[
                Cell::Sent(&row.value),
                Cell::Own(&row.views),
                Cell::Own(&row.unique_users),
            ]);
        }
    }
}
