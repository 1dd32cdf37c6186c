//! Every rollup against what the raw rows give, key by key, in spans of days that bound the memory
//! of each query.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{Datelike, NaiveDate};
use clickhouse::Row;
use serde::Deserialize;

use super::Options;
use super::report::{Finding, Findings, Key, Kind, Rollup, Subject};
use super::tables::{Patience, Tables};
use crate::mend::date;

/// A difference that stays the same over so many further looks is none that is on its way.
const STEADY_LOOKS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Day,
    Month,
}

struct Comparison {
    table: &'static str,
    period: Period,
    has_path: bool,
    sql: &'static str,
}

const COMPARISONS: [Comparison; 5] = [
    Comparison {
        table: "stats_quarter_hour",
        period: Period::Day,
        has_path: false,
        sql: include_str!("../../sql/audit/stats_quarter_hour.sql"),
    },
    Comparison {
        table: "stats_day",
        period: Period::Day,
        has_path: false,
        sql: include_str!("../../sql/audit/stats_day.sql"),
    },
    Comparison {
        table: "stats_month",
        period: Period::Month,
        has_path: false,
        sql: include_str!("../../sql/audit/stats_month.sql"),
    },
    Comparison {
        table: "paths_day",
        period: Period::Day,
        has_path: true,
        sql: include_str!("../../sql/audit/paths_day.sql"),
    },
    Comparison {
        table: "paths_month",
        period: Period::Month,
        has_path: true,
        sql: include_str!("../../sql/audit/paths_month.sql"),
    },
];

/// A day, and the most rows that a table has of it.
#[derive(Debug, Clone, Copy, Row, Deserialize)]
struct Day {
    /// Since 1970.
    day: u16,
    rows: u64,
    /// Rows of a month that begins with it.
    month_rows: u64,
}

/// Days that one query compares, or a share of one day's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// Days since 1970; both are part of it.
    from: u16,
    to: u16,
    periods: u64,
    /// Into so many shares the keys are divided.
    shares: u64,
}

/// What a query says of a span.
#[derive(Debug, Default, Row, Deserialize)]
struct Compared {
    keys: u64,
    events: u64,
    differing: u64,
    /// Some of those that differ.
    differences: Vec<Difference>,
}

/// Site, time, type, path; events expected and found, users expected and found.
type Difference = (String, String, String, String, u64, u64, u64, u64);
type KeyOf = (String, String, String, String);

/// Compares all rollups.
pub(super) struct Comparing<'a> {
    pub(super) tables: &'a Tables,
    pub(super) options: &'a Options,
    pub(super) findings: &'a mut Findings,
    pub(super) patience: &'a mut Patience,
    pub(super) progress: &'a (dyn Fn(&str) + Sync),
}

impl Comparing<'_> {
    pub(super) async fn run(mut self) -> anyhow::Result<Vec<Rollup>> {
        (self.progress)("look which days there are");
        let days = self.days().await?;
        let mut rollups = Vec::with_capacity(COMPARISONS.len());
        for comparison in &COMPARISONS {
            rollups.push(self.rollup(comparison, &days).await?);
        }
        Ok(rollups)
    }

    /// Every day that `events` or a rollup knows.
    async fn days(&self) -> anyhow::Result<Vec<Day>> {
        let days: Vec<Day> = self
            .tables
            .client()
            .query(include_str!("../../sql/audit/days.sql"))
            .fetch_all()
            .await
            .context("look which days there are")?;
        Ok(days)
    }

    async fn rollup(&mut self, comparison: &Comparison, days: &[Day]) -> anyhow::Result<Rollup> {
        let periods = periods(
            days,
            comparison.period,
            (self.options.from, self.options.to),
        );
        let period = match comparison.period {
            Period::Day => "day",
            Period::Month => "month",
        };
        let mut rollup = Rollup {
            table: comparison.table,
            periods: 0,
            period,
            keys: 0,
            events: 0,
            keys_differing: 0,
            sound: true,
        };
        for span in spans(&periods, self.options.rows_at_once) {
            rollup.periods += span.periods;
            let (first, all) = (date(span.from), periods.len());
            let done = rollup.periods;
            let step = format!("{}: {first}, {period} {done} of {all}", comparison.table);
            (self.progress)(&step);
            for share in 0..span.shares {
                self.span(comparison, span, share, &mut rollup).await?;
            }
        }
        rollup.sound = rollup.keys_differing == 0;
        Ok(rollup)
    }

    /// Compares a span. A reader may see raw rows some milliseconds before their rollups, and the
    /// sink goes on: what differs is looked at again until it does not, or stays as it is.
    async fn span(
        &mut self,
        comparison: &Comparison,
        span: Span,
        share: u64,
        rollup: &mut Rollup,
    ) -> anyhow::Result<()> {
        let mut compared = self.compare(comparison, span, share).await?;
        let mut suspects = suspects(std::mem::take(&mut compared.differences));
        let mut steady = 0;
        while !suspects.is_empty() && steady < STEADY_LOOKS && self.patience.wait().await {
            compared = self.compare(comparison, span, share).await?;
            let now = self::suspects(std::mem::take(&mut compared.differences));
            let count = suspects.len();
            let is_same = |(key, figures): (&KeyOf, &Figures)| {
                now.get(key).is_some_and(|now| now.gap() == figures.gap())
            };
            let is_steady = count == now.len() && suspects.iter().all(is_same);
            steady = if is_steady { steady + 1 } else { 0 };
            suspects = now
                .into_iter()
                .filter(|(key, _)| suspects.contains_key(key))
                .collect();
        }
        rollup.keys += compared.keys;
        rollup.events += compared.events;
        if suspects.is_empty() {
            return Ok(());
        }
        rollup.keys_differing += compared.differing;
        self.findings.omitted += compared.differing.saturating_sub(suspects.len() as u64);
        for (key, figures) in suspects {
            self.findings.push(finding(comparison, key, figures));
        }
        Ok(())
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        span: Span,
        share: u64,
    ) -> anyhow::Result<Compared> {
        self.tables
            .client()
            .query(comparison.sql)
            .param("from", span.from)
            .param("to", span.to)
            .param("shares", span.shares)
            .param("share", share)
            .fetch_one()
            .await
            .with_context(|| {
                let (from, to) = (date(span.from), date(span.to));
                format!(
                    "compare {} from {from} to {to} with events",
                    comparison.table
                )
            })
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    events: (u64, u64),
    users: (u64, u64),
}

impl Figures {
    fn gap(self) -> (u64, u64) {
        let of = |(expected, found): (u64, u64)| expected.wrapping_sub(found);
        (of(self.events), of(self.users))
    }
}

fn suspects(differences: Vec<Difference>) -> BTreeMap<KeyOf, Figures> {
    let suspect = |(site, time, kind, path, events, events_found, users, users_found)| {
        let figures = Figures {
            events: (events, events_found),
            users: (users, users_found),
        };
        ((site, time, kind, path), figures)
    };
    differences.into_iter().map(suspect).collect()
}

fn finding(comparison: &Comparison, key: KeyOf, figures: Figures) -> Finding {
    let (site_id, time, event_type, path) = key;
    let Figures { events, users } = figures;
    let table = comparison.table;
    let what = if events.0 == 0 {
        format!("{} events that are not in events", events.1)
    } else if events.0 != events.1 {
        format!("{} events instead of {}", events.1, events.0)
    } else {
        format!("{} users instead of {}", users.1, users.0)
    };
    let named = if comparison.has_path {
        format!("{site_id} {event_type} {path:?}")
    } else {
        format!("{site_id} {event_type}")
    };
    let users = (!comparison.has_path).then_some(users);
    Finding {
        kind: Kind::Rollup,
        text: format!("{table}, {time}, {named}: {what}"),
        subject: Subject::Key(Box::new(Key {
            table,
            site_id,
            time,
            event_type,
            path: comparison.has_path.then_some(path),
            events_expected: events.0,
            events_found: events.1,
            users_expected: users.map(|users| users.0),
            users_found: users.map(|users| users.1),
        })),
    }
}

/// The periods within bounds, by their first day, each with its last day and its rows. A month
/// that the bounds cut is taken whole.
fn periods(
    days: &[Day],
    period: Period,
    (from, to): (Option<NaiveDate>, Option<NaiveDate>),
) -> BTreeMap<u16, (u16, u64)> {
    let mut periods: BTreeMap<u16, (u16, u64)> = BTreeMap::new();
    for day in days {
        let at = date(day.day);
        let mut rows = day.rows;
        let (first, last) = match period {
            Period::Day if rows == 0 => continue,
            Period::Day => (at, at),
            Period::Month => {
                rows = rows.max(day.month_rows);
                let first = at.with_day(1).unwrap_or(at);
                let next = first.checked_add_months(chrono::Months::new(1));
                let last = next.and_then(|next| next.pred_opt());
                (first, last.unwrap_or(at))
            }
        };
        if from.is_some_and(|from| last < from) || to.is_some_and(|to| first > to) {
            continue;
        }
        let number = |at: NaiveDate| at.signed_duration_since(date(0)).num_days() as u16;
        let all = periods.entry(number(first)).or_insert((number(last), 0));
        all.1 = all.1.saturating_add(rows);
    }
    periods
}

/// Periods together, as far as they fit one query; one that is too large for it is divided.
fn spans(periods: &BTreeMap<u16, (u16, u64)>, rows_at_once: u64) -> Vec<Span> {
    let rows_at_once = rows_at_once.max(1);
    let mut spans: Vec<Span> = Vec::new();
    let mut room = 0;
    for (&from, &(to, rows)) in periods {
        match spans.last_mut() {
            Some(span) if rows <= room => {
                (span.to, span.periods) = (to, span.periods + 1);
                room -= rows;
            }
            _ => {
                spans.push(Span {
                    from,
                    to,
                    periods: 1,
                    shares: rows.div_ceil(rows_at_once).max(1),
                });
                room = rows_at_once.saturating_sub(rows);
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u64 = 100;

    fn day(text: &str) -> u16 {
        let date: NaiveDate = text.parse().unwrap();
        date.signed_duration_since(super::date(0)).num_days() as u16
    }

    #[test]
    fn small_periods_share_a_query_and_a_large_one_is_divided() {
        let periods = BTreeMap::from([
            (1, (1, ROWS - 1)),
            (2, (2, 1)),
            (5, (5, 1)),
            (6, (6, ROWS + 1)),
            (7, (7, 0)),
            (8, (8, 1)),
        ]);
        let spans: Vec<_> = spans(&periods, ROWS)
            .iter()
            .map(|span| (span.from, span.to, span.periods, span.shares))
            .collect();
        assert_eq!(
            spans,
            [(1, 2, 2, 1), (5, 5, 1, 1), (6, 7, 2, 2), (8, 8, 1, 1)]
        );
    }

    #[test]
    fn a_month_that_the_bounds_cut_is_taken_whole() {
        let days = [
            ("2025-10-31", 1, 0),
            ("2025-11-01", 0, 9),
            ("2025-11-03", 2, 0),
            ("2025-11-30", 3, 0),
            ("2025-12-01", 4, 0),
        ];
        let days = days.map(|(date, rows, month_rows)| Day {
            day: day(date),
            rows,
            month_rows,
        });
        let bounds = (
            Some("2025-11-10".parse().unwrap()),
            Some("2025-11-30".parse().unwrap()),
        );
        let november = (day("2025-11-01"), (day("2025-11-30"), 14));
        assert_eq!(
            periods(&days, Period::Month, bounds),
            BTreeMap::from([november])
        );
        let last = (day("2025-11-30"), (day("2025-11-30"), 3));
        assert_eq!(periods(&days, Period::Day, bounds), BTreeMap::from([last]));
    }
}
