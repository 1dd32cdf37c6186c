//! The same questions about the same rows: PostgreSQL counting them, and weir's rollups.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use chrono::{Days, NaiveDate};
use clickhouse::Client;
use clickhouse::query::BytesCursor;
use tracing::{info, warn};

use super::node::{NodeDesign, make_database, make_indexes};
use super::report::{self, Asked, Sides};
use crate::process::Server;
use crate::query::Place;
use crate::query::asked::Tally;
use crate::query::http::Connection;
use crate::query::raw::Answer;
use crate::query::report::Timed;
use crate::query::rows::{self, FIRST_DAY, Shape};
use crate::query::world::World;

const DATABASE: &str = "history";
const COLUMNS: &str = "site_id, event_type, path, user_id, timestamp";
/// The same columns.
const DAY: &str = include_str!("day.sql");

/// More than there are weeks, and a prime: it shares no divisor with the days, so each gets its turn.
const STEP: u64 = 107;
const WARM_UP_REQUESTS: u64 = 3;
/// Of each half, however long they take, and however little.
const REQUESTS_MIN: u64 = 5;
const REQUESTS_MAX: u64 = 100;
/// So many variants of a question are compared.
const COMPARED: u64 = 3;
/// weir's count of users is allowed to be off by so much.
const USERS_ERROR_MAX: f64 = 0.01;

#[derive(Debug, Clone, Copy)]
struct Question {
    site: Site,
    range: report::Range,
    /// Of all that there are.
    days: u64,
}

/// Sites are numbered by size.
#[derive(Debug, Clone, Copy)]
struct Site {
    size: &'static str,
    number: u16,
}

/// Who answers, and what that costs whom.
struct Side<'w> {
    url: String,
    server: &'w Server,
    database: &'w Server,
    connection: Connection,
}

/// Loads `rows` events into both and asks. `budget` is how long each question is asked of each.
///
/// # Errors
/// If a side does not take the rows, or does not answer.
pub(super) async fn measure(
    design: &NodeDesign,
    parent: &Path,
    rows: u64,
    shape: Shape,
    budget: Duration,
) -> anyhow::Result<Vec<Asked>> {
    let world = World::start(&Place::In(parent.to_owned()), &[]).await?;
    let config = world.clickhouse(&rows::database(rows));
    rows::prepare(&config, world.folder(), rows, shape).await?;
    let client = infra::clickhouse::client(&config);
    load(design, client, rows, shape.days).await?;
    let service = world.serve_counting("query", &config.database, &[]).await?;
    let api = design.serve("api-history", DATABASE).await?;
    let sides = Sides {
        baseline: Side {
            url: format!("http://{}", api.address),
            server: &api.server,
            database: &design.postgres.server,
            connection: Connection::new()?,
        },
        weir: Side {
            url: service.url.clone(),
            server: &service.server,
            database: &world.engine,
            connection: Connection::new()?,
        },
    };
    let mut asked = Vec::new();
    for question in questions(shape) {
        asked.push(ask_both(question, &sides, budget / 2).await?);
    }
    Ok(asked)
}

/// Days, then all time, of the largest site and of the smallest.
fn questions(shape: Shape) -> Vec<Question> {
    let mut sites = vec![Site {
        size: "largest",
        number: 1,
    }];
    if shape.sites > 1 {
        sites.push(Site {
            size: "smallest",
            number: shape.sites,
        });
    }
    let ranges = [report::Range::Day, report::Range::AllTime].into_iter();
    let questions = ranges.flat_map(|range| {
        sites.iter().map(move |site| Question {
            site: *site,
            range,
            days: shape.days,
        })
    });
    questions.collect()
}

/// The very rows that ClickHouse made, in the order in which time passes.
async fn load(design: &NodeDesign, clickhouse: Client, rows: u64, days: u64) -> anyhow::Result<()> {
    info!("copying {rows} events to PostgreSQL");
    let postgres = &design.postgres;
    make_database(postgres, DATABASE).await?;
    let mut text = Text {
        clickhouse,
        days: 0..days,
        day: None,
    };
    postgres
        .copy(DATABASE, COLUMNS, async || text.next().await)
        .await?;
    make_indexes(postgres, DATABASE).await?;
    // What autovacuum does after a while: statistics, and the map that lets an index answer alone.
    postgres.ask(DATABASE, "VACUUM (ANALYZE) events").await?;
    postgres.ask(DATABASE, "CHECKPOINT").await?;
    let copied = postgres.count(DATABASE).await?;
    ensure!(
        copied == rows,
        "PostgreSQL has {copied} events, and ClickHouse {rows}"
    );
    Ok(())
}

/// Rows as tab-separated text, day by day, because ClickHouse sorts a day at a time in little
/// memory.
struct Text {
    clickhouse: Client,
    days: Range<u64>,
    day: Option<BytesCursor>,
}

impl Text {
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        let reading = "read rows from ClickHouse";
        loop {
            if let Some(day) = &mut self.day
                && let Some(piece) = day.next().await.context(reading)?
            {
                return Ok(Some(piece));
            }
            let Some(day) = self.days.next() else {
                return Ok(None);
            };
            let date = FIRST_DAY + Days::new(day);
            let rows = self.clickhouse.query(DAY).param("day", date.to_string());
            self.day = Some(rows.fetch_bytes("TabSeparated").context(reading)?);
        }
    }
}

/// The Node design, weir, weir, the Node design.
async fn ask_both(
    question: Question,
    sides: &Sides<Side<'_>>,
    half: Duration,
) -> anyhow::Result<Asked> {
    let Sides { baseline, weir } = sides;
    let (mut of_baseline, mut of_weir) = (Tally::new()?, Tally::new()?);
    let (views, agree) = compare(question, sides).await?;
    for side in [baseline, weir] {
        side.warm_up(question).await;
    }
    for (side, tally) in [(baseline, &mut of_baseline), (weir, &mut of_weir)] {
        tally.add(&side.ask(question, 0, half).await?)?;
    }
    for (side, tally) in [(weir, &mut of_weir), (baseline, &mut of_baseline)] {
        let first = tally.latencies.len();
        tally.add(&side.ask(question, first, half).await?)?;
    }
    let sides = Sides {
        baseline: Timed::of(&of_baseline),
        weir: Timed::of(&of_weir),
    };
    info!(
        "{} of the {} site: p50 {:.1} ms, and weir {:.1} ms",
        question.range, question.site.size, sides.baseline.p50_ms, sides.weir.p50_ms
    );
    Ok(Asked::new(
        question.site.size,
        question.range,
        views,
        agree,
        sides,
    ))
}

/// How many views there are, on average of what was compared, and whether all answers agree.
async fn compare(question: Question, sides: &Sides<Side<'_>>) -> anyhow::Result<(u64, bool)> {
    let (mut views, mut agree) = (0, true);
    for variant in 0..COMPARED {
        let baseline = sides.baseline.answer(question, variant).await?;
        let weir = sides.weir.answer(question, variant).await?;
        let users_off = weir.users.abs_diff(baseline.users) as f64;
        let is_same = weir.views == baseline.views
            && weir.top_paths == baseline.top_paths
            && users_off <= USERS_ERROR_MAX * baseline.users as f64;
        if !is_same {
            warn!(
                "GET {} is answered {baseline:?} by the Node design and {weir:?} by weir",
                question.path(variant)
            );
        }
        views += baseline.views;
        agree &= is_same;
    }
    Ok((views / COMPARED, agree))
}

impl Question {
    fn path(self, variant: u64) -> String {
        // As the rows have it.
        let site = format!("site-{:02}", self.site.number);
        match self.range {
            report::Range::Day => format!("/stats?site_id={site}&date={}", self.day(variant)),
            report::Range::AllTime => format!("/stats?site_id={site}"),
        }
    }

    fn day(self, variant: u64) -> NaiveDate {
        FIRST_DAY + Days::new(variant * STEP % self.days)
    }
}

impl Side<'_> {
    async fn answer(&self, question: Question, variant: u64) -> anyhow::Result<Answer> {
        let url = self.url(question, variant);
        let body = self.connection.get(&url).await?;
        serde_json::from_slice(&body).with_context(|| format!("read the answer to GET {url}"))
    }

    async fn warm_up(&self, question: Question) {
        for variant in 0..WARM_UP_REQUESTS {
            // What fails here fails again where it is counted.
            let _ = self.connection.exchange(&self.url(question, variant)).await;
        }
    }

    async fn ask(&self, question: Question, first: u64, within: Duration) -> anyhow::Result<Tally> {
        let mut tally = Tally::new()?;
        let times = || anyhow::Ok((self.database.cpu_time()?, self.server.cpu_time()?));
        let (database_before, server_before) = times()?;
        let begin = Instant::now();
        for nth in 0..REQUESTS_MAX {
            if nth >= REQUESTS_MIN && begin.elapsed() >= within {
                break;
            }
            let url = self.url(question, first + nth);
            let asked_at = Instant::now();
            let answer = self.connection.exchange(&url).await;
            tally.answered(asked_at.elapsed(), matches!(answer, Ok((200, _))));
        }
        let (database_after, server_after) = times()?;
        tally.engine_cpu = database_after.saturating_sub(database_before);
        tally.query_cpu = server_after.saturating_sub(server_before);
        Ok(tally)
    }

    fn url(&self, question: Question, variant: u64) -> String {
        format!("{}{}", self.url, question.path(variant))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SHAPE: Shape = Shape {
        days: 28,
        sites: 10,
    };

    #[test]
    fn every_day_that_has_events_gets_its_turn_and_no_other() {
        for days in (1..=104).map(|weeks| weeks * 7) {
            let question = questions(Shape { days, ..SHAPE })[0];
            let asked: HashSet<_> = (0..days).map(|variant| question.day(variant)).collect();
            assert_eq!(asked.len() as u64, days);
            let end = FIRST_DAY + Days::new(days);
            assert!(asked.iter().all(|day| (FIRST_DAY..end).contains(day)));
        }
    }

    #[test]
    fn days_and_all_time_of_the_largest_and_the_smallest_site_are_asked() {
        let paths = |shape| -> Vec<String> {
            let questions = questions(shape).into_iter();
            questions.map(|question| question.path(1)).collect()
        };
        assert_eq!(
            paths(SHAPE),
            [
                "/stats?site_id=site-01&date=2024-01-24",
                "/stats?site_id=site-10&date=2024-01-24",
                "/stats?site_id=site-01",
                "/stats?site_id=site-10",
            ]
        );
        assert_eq!(paths(Shape { sites: 1, ..SHAPE }).len(), 2);
    }
}
