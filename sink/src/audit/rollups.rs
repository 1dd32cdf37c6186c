//! Each rollup against its recomputation from the rows, key by key and month by month.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use super::{Findings, LOOK_AGAIN_AFTER, LOOKS, Options};

/// One rollup.
#[derive(Debug, Clone, Serialize)]
pub struct RollupReport {
    pub table: &'static str,
    /// Months compared.
    pub months: usize,
    /// Keys that stand in the rows or in the rollup.
    pub keys: u64,
    /// Events that the rollup counts.
    pub events: u64,
    /// Keys that differ.
    pub differing: u64,
}

/// How a rollup's rows follow from `events`.
pub(crate) struct Rollup {
    pub(crate) table: &'static str,
    /// Its key, from its own columns.
    key: &'static str,
    /// The same, from those of `events`.
    key_of_row: &'static str,
    month: &'static str,
    has_users: bool,
    /// Whether its keys are of months, not of days.
    is_of_months: bool,
}

static ROLLUPS: [Rollup; 4] = [
    Rollup {
        table: "stats_quarter_hour",
        key: "concat(site_id, ' ', toString(time), ' ', event_type)",
        key_of_row: "concat(site_id, ' ', toString(toStartOfFifteenMinutes(timestamp)), ' ', event_type)",
        month: "toYYYYMM(time)",
        has_users: true,
        is_of_months: false,
    },
    Rollup {
        table: "stats_day",
        key: "concat(site_id, ' ', toString(date), ' ', event_type)",
        key_of_row: "concat(site_id, ' ', toString(toDate(timestamp)), ' ', event_type)",
        month: "toYYYYMM(date)",
        has_users: true,
        is_of_months: false,
    },
    Rollup {
        table: "paths_day",
        key: "concat(site_id, ' ', toString(date), ' ', event_type, ' ', path)",
        key_of_row: "concat(site_id, ' ', toString(toDate(timestamp)), ' ', event_type, ' ', path)",
        month: "toYYYYMM(date)",
        has_users: false,
        is_of_months: false,
    },
    Rollup {
        table: "paths_month",
        key: "concat(site_id, ' ', toString(month), ' ', event_type, ' ', path)",
        key_of_row: "concat(site_id, ' ', toString(toDate(toStartOfMonth(timestamp))), ' ', event_type, ' ', path)",
        month: "toYYYYMM(month)",
        has_users: false,
        is_of_months: true,
    },
];

/// So many differing keys of a month are looked at; the others are counted.
const KEYS_LOOKED_AT: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
struct Difference {
    key: String,
    row_events: u64,
    events: u64,
    row_users: u64,
    users: u64,
}

impl Difference {
    /// What stays the same while events come in, if it is a fault.
    fn amount(&self) -> (i128, i128) {
        (
            i128::from(self.events) - i128::from(self.row_events),
            i128::from(self.users) - i128::from(self.row_users),
        )
    }

    fn fault(&self) -> String {
        let Self {
            row_events,
            events,
            row_users,
            users,
            ..
        } = self;
        let mut faults = Vec::new();
        if events != row_events {
            faults.push(format!(
                "it counts {events} events, the rows are {row_events}"
            ));
        }
        if users != row_users {
            faults.push(format!(
                "it counts {users} users, the rows have {row_users}"
            ));
        }
        faults.join("; ")
    }
}

#[derive(Row, Deserialize)]
struct Totals {
    keys: u64,
    counted: u64,
    differing: u64,
}

impl Rollup {
    /// Key by key, what the rows of a month say and what the rollup says.
    fn comparison(&self) -> String {
        let Self {
            table,
            key,
            key_of_row,
            month,
            has_users,
            is_of_months: _,
        } = self;
        let (row_users, users) = if *has_users {
            (
                "uniqCombined64If(17)(user_id, user_id != '')",
                "uniqCombined64Merge(17)(users)",
            )
        } else {
            ("toUInt64(0)", "toUInt64(0)")
        };
        format!(
            "SELECT key, sum(r) AS row_events, sum(e) AS events, sum(ru) AS row_users, sum(u) AS users \
             FROM ( \
                 SELECT {key_of_row} AS key, count() AS r, toUInt64(0) AS e, {row_users} AS ru, toUInt64(0) AS u \
                 FROM events WHERE toYYYYMM(timestamp) = {{month:UInt32}} GROUP BY key \
                 UNION ALL \
                 SELECT {key} AS key, toUInt64(0) AS r, sum({table}.events) AS e, toUInt64(0) AS ru, {users} AS u \
                 FROM {table} WHERE {month} = {{month:UInt32}} GROUP BY key \
             ) GROUP BY key"
        )
    }

    async fn totals(&self, client: &Client, month: u32) -> anyhow::Result<Totals> {
        let sql = format!(
            "SELECT count() AS keys, sum(events) AS counted, countIf(row_events != events OR row_users != users) AS differing FROM ({})",
            self.comparison()
        );
        let totals = client
            .query(&sql)
            .param("month", month)
            .fetch_all::<Totals>()
            .await
            .with_context(|| format!("compare {} of {month} with the rows", self.table))?;
        totals
            .into_iter()
            .next()
            .with_context(|| format!("no totals of {}", self.table))
    }

    async fn differences(&self, client: &Client, month: u32) -> anyhow::Result<Vec<Difference>> {
        let sql = format!(
            "SELECT * FROM ({}) WHERE row_events != events OR row_users != users ORDER BY key LIMIT {KEYS_LOOKED_AT}",
            self.comparison()
        );
        client
            .query(&sql)
            .param("month", month)
            .fetch_all::<Difference>()
            .await
            .with_context(|| format!("compare {} of {month} with the rows", self.table))
    }
}

/// A month of a rollup with keys that differ.
struct Suspect {
    rollup: &'static Rollup,
    month: u32,
    differences: Vec<Difference>,
}

/// What is left of `suspects` after they were looked at again and again: keys that differ by the
/// same amount each time. A row may be seen some milliseconds before its rollups, and more rows
/// come in meanwhile.
async fn lasting(client: &Client, mut suspects: Vec<Suspect>) -> anyhow::Result<Vec<Suspect>> {
    for _ in 1..LOOKS {
        suspects.retain(|suspect| !suspect.differences.is_empty());
        if suspects.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        for suspect in &mut suspects {
            let again = suspect.rollup.differences(client, suspect.month).await?;
            let again: BTreeMap<&str, &Difference> = again
                .iter()
                .map(|difference| (difference.key.as_str(), difference))
                .collect();
            suspect.differences.retain(|before| {
                again
                    .get(before.key.as_str())
                    .is_some_and(|now| now.amount() == before.amount())
            });
        }
    }
    Ok(suspects)
}

pub(super) async fn compare(
    client: &Client,
    options: &Options,
    findings: &mut Findings,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Vec<RollupReport>> {
    let months = months(client, options).await?;
    let mut reports = Vec::with_capacity(ROLLUPS.len());
    let mut suspects = Vec::new();
    for rollup in &ROLLUPS {
        let mut report = RollupReport {
            table: rollup.table,
            months: months.len(),
            keys: 0,
            events: 0,
            differing: 0,
        };
        for &month in &months {
            progress(&format!("{} of {month}", rollup.table));
            let totals = rollup.totals(client, month).await?;
            report.keys += totals.keys;
            report.events = report.events.wrapping_add(totals.counted);
            if totals.differing > 0 {
                let differences = rollup.differences(client, month).await?;
                suspects.push(Suspect {
                    rollup,
                    month,
                    differences,
                });
            }
        }
        reports.push(report);
    }
    progress("what differed, again");
    for suspect in lasting(client, suspects).await? {
        let table = suspect.rollup.table;
        for difference in suspect.differences {
            for report in reports.iter_mut().filter(|report| report.table == table) {
                report.differing += 1;
            }
            let fault = difference.fault();
            findings.add(table, difference.key, fault);
        }
    }
    Ok(reports)
}

/// Days since 1970, of a range of them, on which a rollup differs from the rows.
pub(crate) async fn differing_days(
    client: &Client,
    first: u16,
    last: u16,
) -> anyhow::Result<BTreeSet<u16>> {
    let months = client
        .query("SELECT DISTINCT toUInt32(toYYYYMM(toDate(day))) FROM (SELECT toUInt16({first:UInt16} + number) AS day FROM numbers(toUInt64({last:UInt16}) - {first:UInt16} + 1))")
        .param("first", first)
        .param("last", last)
        .fetch_all::<u32>()
        .await
        .context("list months")?;
    let mut suspects = Vec::new();
    for rollup in &ROLLUPS {
        for &month in &months {
            let differences = rollup.differences(client, month).await?;
            suspects.push(Suspect {
                rollup,
                month,
                differences,
            });
        }
    }
    let mut days = BTreeSet::new();
    let mut months = BTreeSet::new();
    for Suspect {
        rollup,
        month,
        differences,
    } in lasting(client, suspects).await?
    {
        if rollup.is_of_months && !differences.is_empty() {
            months.insert(month);
        } else {
            days.extend(differences.iter().filter_map(|found| day_of(&found.key)));
        }
    }
    days.retain(|day| (first..=last).contains(day));
    // Any day of a month stands for the month, where none does yet.
    let month_of = |day: u16| crate::mend::date(day).format("%Y%m").to_string();
    for month in months {
        let is_of_it = |day: &u16| month_of(*day) == month.to_string();
        if !days.iter().any(is_of_it) {
            days.extend((first..=last).find(is_of_it));
        }
    }
    Ok(days)
}

/// The day in a key, which follows the site: in days since 1970.
fn day_of(key: &str) -> Option<u16> {
    let date = key.split(' ').nth(1)?;
    let date: chrono::NaiveDate = date.parse().ok()?;
    let days = date.signed_duration_since(crate::mend::date(0)).num_days();
    u16::try_from(days).ok()
}

async fn months(client: &Client, options: &Options) -> anyhow::Result<Vec<u32>> {
    let months = client
        .query(include_str!("../../sql/audit/months.sql"))
        .fetch_all::<u32>()
        .await
        .context("list the months of rows and rollups")?;
    let first = options.from_month.unwrap_or(0);
    let last = options.to_month.unwrap_or(u32::MAX);
    Ok(months
        .into_iter()
        .filter(|month| (first..=last).contains(month))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_day() {
        assert_eq!(day_of("site 1970-01-03 00:15:00 view"), Some(2));
        assert_eq!(day_of("site 2025-01-01 view /a b"), Some(20_089));
        assert_eq!(day_of("nonsense"), None);
    }
}
