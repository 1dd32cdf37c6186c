//! The same question asked of the raw table, in SQL straight at ClickHouse: what `/stats` has to
//! agree with, and what it costs to answer without rollups.

use std::time::{Duration, Instant};

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::question::{Question, Range};

/// What `/stats` says, and what a straight count says.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Answer {
    #[serde(rename = "total_views")]
    pub(crate) views: u64,
    #[serde(rename = "unique_users")]
    pub(crate) users: u64,
    pub(crate) top_paths: Vec<TopPath>,
}

#[derive(Debug, PartialEq, Row, Deserialize)]
pub(crate) struct TopPath {
    path: String,
    views: u64,
}

#[derive(Row, Deserialize)]
struct Totals {
    views: u64,
    users: u64,
}

/// Counts, and says how long that took. Both halves at once, as the service asks them.
///
/// # Errors
/// If ClickHouse does not answer.
pub(super) async fn ask(
    client: &Client,
    question: Question,
    variant: u64,
) -> anyhow::Result<(Answer, Duration)> {
    let [first, last] = question.days(variant);
    let (start, end) = match question.range {
        // Without bounds, so that the zone makes no difference.
        Range::AllTime => ("2000-01-01".to_owned(), "2200-01-01".to_owned()),
        _ => (first.to_string(), (last + chrono::Days::new(1)).to_string()),
    };
    let asked = |sql: &str| {
        client
            .query(sql)
            .param("site_id", question.site)
            .param("start", format!("{start} 00:00:00"))
            .param("end", format!("{end} 00:00:00"))
            .param("zone", question.zone)
    };
    let begin = Instant::now();
    let totals = asked(include_str!("raw_totals.sql"));
    let paths = asked(include_str!("raw_paths.sql"));
    let (totals, top_paths) =
        tokio::try_join!(totals.fetch_one::<Totals>(), paths.fetch_all::<TopPath>())
            .context("ask the raw table")?;
    let took = begin.elapsed();
    let answer = Answer {
        views: totals.views,
        users: totals.users,
        top_paths,
    };
    Ok((answer, took))
}
