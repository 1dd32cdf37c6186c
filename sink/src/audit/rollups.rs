//! Every rollup against what the raw rows give, key by key, in spans of days that bound the memory
//! of each query.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{Datelike, NaiveDate};
use clickhouse::Row;
use infra::clickhouse::rollups::{self, Figures as Counted, Grain, Rollup, Source};
use serde::Deserialize;

use super::Options;
use super::report::{self, Finding, Findings, Key, Kind, Subject};
use super::tables::{Patience, Tables};
use crate::mend::date;

/// A difference that stays the same over so many further looks is none that is on its way.
const STEADY_LOOKS: u32 = 2;

/// The keys that a query compares.
const WANTED: &str = "toDate(period) BETWEEN toDate({from:UInt16}) AND toDate({to:UInt16})
        AND cityHash64(site, page) % {shares:UInt64} = {share:UInt64}";

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

/// Site, time, type, path, whether of bots; events expected and found, users expected and found.
type Difference = (String, String, String, String, bool, u64, u64, u64, u64);
type KeyOf = (String, String, String, String, bool);

/// Compares all rollups.
pub(super) struct Comparing<'a> {
    pub(super) tables: &'a Tables,
    pub(super) options: &'a Options,
    pub(super) findings: &'a mut Findings,
    pub(super) patience: &'a mut Patience,
    pub(super) progress: &'a (dyn Fn(&str) + Sync),
}

impl Comparing<'_> {
    pub(super) async fn run(mut self) -> anyhow::Result<Vec<report::Rollup>> {
        (self.progress)("look which days there are");
        let days = self.days().await?;
        let mut results = Vec::with_capacity(rollups::ALL.len());
        for rollup in rollups::ALL {
            results.push(self.rollup(rollup, &days).await?);
        }
        Ok(results)
    }

    /// Every day that `events` or a rollup knows.
    async fn days(&self) -> anyhow::Result<Vec<Day>> {
        let of_rollups = rollups::union_all(include_str!("../../sql/rollup/days.sql"));
        let sql = include_str!("../../sql/audit/days.sql").replace("{of_rollups}", &of_rollups);
        let days = self.tables.client().query(&sql).fetch_all().await;
        days.context("look which days there are")
    }

    async fn rollup(&mut self, rollup: &Rollup, days: &[Day]) -> anyhow::Result<report::Rollup> {
        let bounds = (self.options.from, self.options.to);
        let periods = periods(days, rollup.grain, bounds);
        let mut result = report::Rollup {
            table: rollup.table,
            periods: 0,
            period: rollup.unit(),
            keys: 0,
            events: 0,
            keys_differing: 0,
            sound: true,
        };
        for span in spans(&periods, self.options.rows_at_once) {
            result.periods += span.periods;
            let (first, all) = (date(span.from), periods.len());
            let (done, period) = (result.periods, result.period);
            let step = format!("{}: {first}, {period} {done} of {all}", rollup.table);
            (self.progress)(&step);
            for share in 0..span.shares {
                self.span(rollup, span, share, &mut result).await?;
            }
        }
        result.sound = result.keys_differing == 0;
        Ok(result)
    }

    /// Compares a span. A reader may see raw rows some milliseconds before their rollups, and the
    /// sink goes on: what differs is looked at again until it does not, or stays as it is.
    async fn span(
        &mut self,
        rollup: &Rollup,
        span: Span,
        share: u64,
        result: &mut report::Rollup,
    ) -> anyhow::Result<()> {
        let mut compared = self.compare(rollup, span, share).await?;
        let mut suspects = suspects(std::mem::take(&mut compared.differences));
        let mut steady = 0;
        while !suspects.is_empty() && steady < STEADY_LOOKS && self.patience.wait().await {
            compared = self.compare(rollup, span, share).await?;
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
        result.keys += compared.keys;
        result.events += compared.events;
        if suspects.is_empty() {
            return Ok(());
        }
        result.keys_differing += compared.differing;
        self.findings.omitted += compared.differing.saturating_sub(suspects.len() as u64);
        for (key, figures) in suspects {
            self.findings.push(finding(rollup, key, figures));
        }
        Ok(())
    }

    async fn compare(&self, rollup: &Rollup, span: Span, share: u64) -> anyhow::Result<Compared> {
        let compared = include_str!("../../sql/rollup/compared.sql").replace("{wanted}", WANTED);
        let sql = include_str!("../../sql/rollup/audit.sql").replace("{compared}", &compared);
        self.tables
            .client()
            .query(&rollup.sql(&sql, Source::Events))
            .param("from", span.from)
            .param("to", span.to)
            .param("shares", span.shares)
            .param("share", share)
            .fetch_one()
            .await
            .with_context(|| {
                let (from, to) = (date(span.from), date(span.to));
                format!("compare {} from {from} to {to} with events", rollup.table)
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
    let suspect = |(site, time, kind, path, bot, events, events_found, users, users_found)| {
        let figures = Figures {
            events: (events, events_found),
            users: (users, users_found),
        };
        ((site, time, kind, path, bot), figures)
    };
    differences.into_iter().map(suspect).collect()
}

fn finding(rollup: &Rollup, key: KeyOf, figures: Figures) -> Finding {
    let (site_id, time, event_type, path, bot) = key;
    let Figures { events, users } = figures;
    let table = rollup.table;
    let has_path = rollup.figures == Counted::Paths;
    let what = if events.0 == 0 {
        format!("{} events that are not in events", events.1)
    } else if events.0 != events.1 {
        format!("{} events instead of {}", events.1, events.0)
    } else {
        format!("{} users instead of {}", users.1, users.0)
    };
    let path = has_path.then_some(path);
    let mut named = format!("{site_id} {event_type}");
    if let Some(path) = &path {
        named.push_str(&format!(" {path:?}"));
    }
    if bot {
        named.push_str(" of bots");
    }
    let users = (!has_path).then_some(users);
    Finding {
        kind: Kind::Rollup,
        text: format!("{table}, {time}, {named}: {what}"),
        subject: Subject::Key(Box::new(Key {
            table,
            site_id,
            time,
            event_type,
            path,
            bot,
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
    grain: Grain,
    (from, to): (Option<NaiveDate>, Option<NaiveDate>),
) -> BTreeMap<u16, (u16, u64)> {
    let mut periods: BTreeMap<u16, (u16, u64)> = BTreeMap::new();
    for day in days {
        let at = date(day.day);
        let mut rows = day.rows;
        let (first, last) = match grain {
            Grain::QuarterHour | Grain::Day if rows == 0 => continue,
            Grain::QuarterHour | Grain::Day => (at, at),
            Grain::Month => {
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
            periods(&days, Grain::Month, bounds),
            BTreeMap::from([november])
        );
        let last = (day("2025-11-30"), (day("2025-11-30"), 3));
        assert_eq!(periods(&days, Grain::Day, bounds), BTreeMap::from([last]));
    }
}
