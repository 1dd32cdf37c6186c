//! Which parts ClickHouse's tables consist of: while those that may hold a day are the same, so are
//! the figures of that day.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex as Shared, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use clickhouse::Row;
use infra::clickhouse::rollups::{self, Grain};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::database::{Database, Failure};
use crate::days::Span;
use crate::statement::{Parameters, Reads, Statement};

/// A server that refuses to tell is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Asks for the parts. All who want to know them at one time ask once.
pub(crate) struct Parts {
    database: Database,
    /// Held while asking.
    last: Mutex<Option<Asked>>,
    seen: Shared<Option<Arc<Snapshot>>>,
}

struct Asked {
    asked_at: Instant,
    answered_at: Instant,
    outcome: Outcome,
}

/// None: the server does not tell.
type Outcome = Result<Option<Arc<Snapshot>>, Failure>;

/// The parts that there were at one time.
#[derive(Debug)]
pub(crate) struct Snapshot(Vec<Part>);

/// Rows of some days.
#[derive(Debug)]
struct Part {
    /// Since 1970, both included.
    days: RangeInclusive<i64>,
    /// Its rows are of months, and lie at the first day of each.
    of_months: bool,
    hash: u64,
}

/// As ClickHouse tells it.
#[derive(Debug, Row, Deserialize)]
struct PartRow {
    table: String,
    /// Never used again: whatever changes becomes a part of another name.
    name: String,
    /// Tells a table from one that was there before under its name.
    modification_time: u32,
    /// 0 unless the table is partitioned by a date.
    min_date: u16,
    max_date: u16,
    /// 0 unless the table is partitioned by a time.
    min_time: u32,
    max_time: u32,
}

/// The parts that figures of some spans may be counted from. Two that are equal stand for the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    parts: usize,
    hash: u64,
}

impl Parts {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            last: Mutex::new(None),
            seen: Shared::new(None),
        }
    }

    /// The parts at a moment after this is called; none if the server does not tell.
    pub(crate) async fn now(&self) -> Outcome {
        let wanted_at = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(asked) = last.as_ref().filter(|asked| asked.serves(wanted_at)) {
            return asked.outcome.clone();
        }
        let asked_at = Instant::now();
        let outcome = self.ask().await;
        if let Ok(snapshot) = &outcome {
            self.seen().clone_from(snapshot);
        }
        *last = Some(Asked {
            asked_at,
            answered_at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    /// The parts at some moment before; none if they were never read.
    pub(crate) fn before(&self) -> Option<Arc<Snapshot>> {
        self.seen().clone()
    }

    async fn ask(&self) -> Outcome {
        let statement = Statement {
            sql: include_str!("sql/parts.sql").to_owned(),
            parameters: Parameters::default(),
            reads: Reads::Rollups,
        };
        match self.database.fetch(&statement).await {
            Ok(rows) => Ok(Some(Arc::new(Snapshot::of(&rows)))),
            Err(failure @ Failure::Unavailable(_)) => Err(failure),
            Err(failure) => {
                warn!("answers are not kept, for ClickHouse does not tell its parts: {failure:?}");
                Ok(None)
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn serves(&self, wanted_at: Instant) -> bool {
        match &self.outcome {
            Ok(Some(_)) => self.asked_at >= wanted_at,
            Ok(None) => self.answered_at + ASK_AGAIN >= wanted_at,
            // Who came while ClickHouse did not answer need not wait for that again.
            Err(_) => self.answered_at >= wanted_at,
        }
    }
}

impl Part {
    /// None if no figures are counted from its table.
    fn of(row: &PartRow) -> Option<Self> {
        const DAY: u32 = 86_400;
        let of_months = match row.table.as_str() {
            "events" => false,
            table => rollups::named(table)?.grain == Grain::Month,
        };
        let days = match (row.max_time, row.max_date) {
            // It does not tell: any.
            (0, 0) => 0..=i64::MAX,
            (0, last) => row.min_date.into()..=last.into(),
            (last, _) => (row.min_time / DAY).into()..=(last / DAY).into(),
        };
        let mut hasher = DefaultHasher::new();
        (&row.table, &row.name, row.modification_time).hash(&mut hasher);
        Some(Self {
            days,
            of_months,
            hash: hasher.finish(),
        })
    }
}

impl Snapshot {
    fn of(rows: &[PartRow]) -> Self {
        Self(rows.iter().filter_map(Part::of).collect())
    }

    /// Of the parts that figures of these spans may be counted from.
    pub(crate) fn version(&self, spans: &[Span]) -> Version {
        let read = |span: &Span| {
            // Of months only those are read that lie within the span as a whole.
            let (days, months) = (span.days(), span.pieces().months);
            [(days, false), (months, true)].map(|(days, of_months)| {
                let days = days.some()?;
                Some((number(days.first)..=number(days.last), of_months))
            })
        };
        let read: Vec<_> = spans.iter().flat_map(read).flatten().collect();
        let mut version = Version { parts: 0, hash: 0 };
        for part in &self.0 {
            let is_read = read.iter().any(|(days, of_months)| {
                part.of_months == *of_months
                    && part.days.start() <= days.end()
                    && days.start() <= part.days.end()
            });
            if is_read {
                version.parts += 1;
                // They come in no order.
                version.hash = version.hash.wrapping_add(part.hash);
            }
        }
        version
    }
}

fn number(day: NaiveDate) -> i64 {
    (day - NaiveDate::default()).num_days()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::days::DayRange;

    fn days(first: &str, last: &str) -> DayRange {
        DayRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        }
    }

    fn part(days: DayRange, of_months: bool, hash: u64) -> Part {
        Part {
            days: number(days.first)..=number(days.last),
            of_months,
            hash,
        }
    }

    fn same(before: &Snapshot, after: &Snapshot, asked: &[DayRange]) -> bool {
        let spans: Vec<_> = asked.iter().map(|days| days.span(Tz::UTC)).collect();
        before.version(&spans) == after.version(&spans)
    }

    #[test]
    fn a_version_changes_with_the_parts_of_its_days_alone() {
        let november = days("2025-11-01", "2025-11-30");
        let december = days("2025-12-01", "2025-12-31");
        let parts = |december_hash| {
            let mut parts = vec![
                part(november, false, 1),
                part(december, false, december_hash),
            ];
            parts.rotate_left(december_hash as usize % 2);
            Snapshot(parts)
        };
        let same = |asked: &[DayRange]| same(&parts(2), &parts(3), asked);
        assert!(same(&[november]));
        assert!(same(&[days("2025-10-01", "2025-10-31")]));
        assert!(!same(&[december]));
        assert!(!same(&[november, december]));
        assert!(!same(&[days("2025-11-30", "2025-12-01")]));
        assert!(!same(&[DayRange::ALL]));
    }

    #[test]
    fn rows_of_a_month_count_where_all_of_it_is_asked_for() {
        let first = days("2025-11-01", "2025-11-01");
        let parts = |hash| Snapshot(vec![part(first, true, hash)]);
        let same = |asked| same(&parts(1), &parts(2), &[asked]);
        assert!(!same(days("2025-11-01", "2025-11-30")));
        assert!(!same(days("2025-10-31", "2025-12-01")));
        assert!(same(first));
        assert!(same(days("2025-10-15", "2025-11-29")));
    }

    #[test]
    fn a_part_more_is_another_version() {
        let day = days("2025-11-15", "2025-11-15");
        let one = Snapshot(vec![part(day, false, 1)]);
        let two = Snapshot(vec![part(day, false, 1), part(day, false, 0)]);
        assert!(!same(&one, &two, &[day]));
    }

    #[test]
    fn a_part_has_the_days_that_it_tells_or_any() {
        let row = |table: &str, dates: [u16; 2], times: [u32; 2]| PartRow {
            table: table.to_owned(),
            name: "2025_1_1_0".to_owned(),
            modification_time: 0,
            min_date: dates[0],
            max_date: dates[1],
            min_time: times[0],
            max_time: times[1],
        };
        let days = |row| Part::of(&row).map(|part| part.days);
        assert_eq!(days(row("stats_day", [10, 11], [0, 0])), Some(10..=11));
        let times = [10 * 86_400, 12 * 86_400 - 1];
        assert_eq!(days(row("events", [0, 0], times)), Some(10..=11));
        assert_eq!(days(row("events", [0, 0], [0, 0])), Some(0..=i64::MAX));
        assert_eq!(days(row("ledger", [10, 11], [0, 0])), None);
        let hash = |table| Part::of(&row(table, [10, 11], [0, 0])).map(|part| part.hash);
        assert_ne!(hash("stats_day"), hash("paths_day"));
    }
}
