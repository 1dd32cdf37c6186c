//! `GET /sites`: the sites there are.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clickhouse::Row;
use event::SiteId;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Cell, Csv};
use crate::api::{Api, Figures, Question};
use crate::database::Failure;
use crate::openapi::{CountedBots, CsvCells, SitesAnswers, SitesPage};
use crate::question::SitesQuestion;
use crate::statement::{Parameters, Reads, Statement};

/// The answer of `/sites`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SitesAnswer {
    /// By views, then by name.
    sites: Vec<Site>,
    /// Sites on all pages.
    total: u64,
    page: u32,
    limit: u16,
}

/// A site that has events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Site {
    #[schema(example = "my-site")]
    site_id: String,
    /// Events of the view types, of all time.
    #[schema(example = 1450)]
    total_views: u64,
    /// Day in UTC of the first event of any type, of a person or a bot.
    #[schema(format = Date, example = "2025-11-14")]
    first_date: String,
    /// Day in UTC of the last event of any type, of a person or a bot.
    #[schema(format = Date, example = "2025-11-15")]
    last_date: String,
}

#[derive(Row, Deserialize)]
struct SiteRow {
    site_id: String,
    total_views: u64,
    first_date: String,
    last_date: String,
    total: u64,
}

#[derive(Row, Deserialize)]
struct Total {
    total: u64,
}

/// The sites there are
///
/// By views. Where read keys are asked for, those that the key opens.
#[utoipa::path(
    get,
    path = "/sites",
    tag = "sites",
    params(SitesPage, CountedBots, CsvCells),
    responses(SitesAnswers)
)]
pub(crate) async fn get_sites(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let question = SitesQuestion::parse(&pairs).map(Question::Sites);
    api.respond("/sites", &headers, &pairs, question).await
}

pub(crate) async fn answer(
    figures: &Figures,
    question: &SitesQuestion,
) -> Result<SitesAnswer, Failure> {
    let mut parameters = Parameters::default();
    let among = question.among.as_deref().unwrap_or_default();
    let among: Vec<String> = among.iter().map(name).collect();
    parameters.texts("among", &among);
    parameters.int("all", question.among.is_none().into());
    let counting = Statement {
        sql: include_str!("sql/sites_total.sql").to_owned(),
        parameters: parameters.clone(),
        reads: Reads::Rollups,
    };
    parameters.texts("event_types", &figures.view_types);
    parameters.ints("bots", question.bots.flags());
    parameters.int("limit", question.limit.into());
    let before = (i64::from(question.page) - 1) * i64::from(question.limit);
    parameters.int("offset", before);
    let listing = Statement {
        sql: include_str!("sql/sites.sql").to_owned(),
        parameters,
        reads: Reads::Rollups,
    };
    let rows: Vec<SiteRow> = figures.database.fetch(&listing).await?;
    let total = match rows.first() {
        Some(row) => row.total,
        None if question.page == 1 => 0,
        None => {
            let total: Total = figures.database.fetch_one(&counting).await?;
            total.total
        }
    };
    let sites = rows.into_iter().map(|row| Site {
        site_id: row.site_id,
        total_views: row.total_views,
        first_date: row.first_date,
        last_date: row.last_date,
    });
    Ok(SitesAnswer {
        sites: sites.collect(),
        total,
        page: question.page,
        limit: question.limit,
    })
}

fn name(site: &SiteId) -> String {
    site.as_str().to_owned()
}

impl Answer for SitesAnswer {
    fn csv(&self, csv: &mut Csv) {
        csv.header(&["site_id", "total_views", "first_date", "last_date"]);
        for site in &self.sites {
            csv.line(&[
                Cell::Sent(&site.site_id),
                Cell::Own(&site.total_views),
                Cell::Own(&site.first_date),
                Cell::Own(&site.last_date),
            ]);
        }
    }
}
