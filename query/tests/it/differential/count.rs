//! The straight count: row by row, by what the zone's clocks showed.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::ask::{Asked, Condition, Endpoint};
use super::rows::{HOSTS, PACKED, REFERRERS};
use crate::world::EventRow;

const VIEW_TYPES: [&str; 3] = ["page_view", "pageview", "view"];

/// The rows, and when each was by the clocks of the zones asked for.
pub(super) struct Rows {
    rows: Vec<EventRow>,
    local: HashMap<&'static str, Vec<DateTime<FixedOffset>>>,
}

/// Rows of one kind.
#[derive(Default)]
struct Tally<'r> {
    views: u64,
    users: HashSet<&'r str>,
}

impl<'r> Tally<'r> {
    fn add(&mut self, row: &'r EventRow) {
        self.views += 1;
        if !row.user_id.is_empty() {
            self.users.insert(&row.user_id);
        }
    }

    fn users(&self) -> u64 {
        self.users.len() as u64
    }
}

type Range = (NaiveDate, NaiveDate);

impl Rows {
    pub(super) fn new(rows: Vec<EventRow>) -> Self {
        Self {
            rows,
            local: HashMap::new(),
        }
    }

    fn read_clocks(&mut self, zone: &'static str) {
        let rows = &self.rows;
        self.local.entry(zone).or_insert_with(|| {
            let zone: Tz = zone.parse().unwrap();
            let times = rows.iter().map(|row| {
                let time = DateTime::from_timestamp_millis(row.timestamp).unwrap();
                let offset = zone.offset_from_utc_datetime(&time.naive_utc()).fix();
                time.with_timezone(&offset)
            });
            times.collect()
        });
    }

    /// The rows asked for that lie within `days`, each with its local time.
    fn wanted<'r>(
        &'r self,
        asked: &'r Asked,
        (first, last): Range,
    ) -> impl Iterator<Item = (&'r EventRow, DateTime<FixedOffset>)> {
        let local = self.local[asked.zone].iter().copied();
        let typed = asked.event_type.is_some()
            || asked
                .conditions
                .iter()
                .any(|condition| condition.property == "event_type")
            || (asked.endpoint == Endpoint::Breakdown && asked.property == "event_type");
        self.rows.iter().zip(local).filter(move |(row, time)| {
            row.site_id == asked.site
                && counts(asked, row)
                && (first..=last).contains(&time.date_naive())
                && (typed || VIEW_TYPES.contains(&row.event_type.as_str()))
                && asked.event_type.is_none_or(|kind| row.event_type == kind)
                && asked.path.is_none_or(|path| row.path == path)
                && asked
                    .conditions
                    .iter()
                    .all(|condition| holds(condition, row))
        })
    }

    fn tally<'r>(&'r self, asked: &'r Asked, days: Range) -> Tally<'r> {
        let mut tally = Tally::default();
        for (row, _) in self.wanted(asked, days) {
            tally.add(row);
        }
        tally
    }
}

fn value_of<'r>(row: &'r EventRow, property: &str) -> &'r str {
    match property {
        "path" => &row.path,
        "event_type" => &row.event_type,
        "referrer" => &row.referrer,
        "user" => &row.user_id,
        "hostname" => &row.hostname,
        "language" => &row.language,
        "screen" => &row.screen,
        "referrer_host" => {
            let mut referrers = REFERRERS.iter();
            HOSTS[referrers.position(|one| *one == row.referrer).unwrap()]
        }
        _ => {
            for (column, names, _) in PACKED {
                if let Some(nth) = names.iter().position(|name| *name == property) {
                    let packed = match column {
                        "_agent" => &row._agent,
                        "_source" => &row._source,
                        _ => &row._place,
                    };
                    return packed.split('\t').nth(nth).unwrap_or_default();
                }
            }
            let key = property.strip_prefix("props.").unwrap();
            let found = row.props.iter().find(|(name, _)| name == key);
            found.map_or("", |(_, value)| value)
        }
    }
}

fn counts(asked: &Asked, row: &EventRow) -> bool {
    match asked.bots {
        None | Some("exclude") => value_of(row, "bot").is_empty(),
        Some("include") => true,
        Some("only") => !value_of(row, "bot").is_empty(),
        Some(other) => panic!("{other}"),
    }
}

fn holds(condition: &Condition, row: &EventRow) -> bool {
    let found = value_of(row, &condition.property);
    let value = condition.value.as_str();
    match condition.op {
        "is" => found == value,
        "is_not" => found != value,
        "contains" => found.contains(value),
        "starts_with" => found.starts_with(value),
        other => panic!("{other}"),
    }
}

fn days_of(asked: &Asked) -> Range {
    (
        asked.first.unwrap_or(NaiveDate::MIN),
        asked.last.unwrap_or(NaiveDate::MAX),
    )
}

fn other_days(asked: &Asked) -> Option<Range> {
    let (first, last) = asked.first.zip(asked.last)?;
    match asked.compare? {
        "previous_period" => {
            let mut days = 0;
            while first + Days::new(days) <= last {
                days += 1;
            }
            Some((first - Days::new(days), first - Days::new(1)))
        }
        _ => {
            let before = |day: NaiveDate| {
                let same = NaiveDate::from_ymd_opt(day.year() - 1, day.month(), day.day());
                same.unwrap_or_else(|| NaiveDate::from_ymd_opt(day.year() - 1, 2, 28).unwrap())
            };
            Some((before(first), before(last)))
        }
    }
}

/// Panics where an answer is not what the count says; how many rows it was about.
pub(super) fn compare(rows: &mut Rows, asked: &Asked, answer: &Value, told: &str) -> u64 {
    rows.read_clocks(asked.zone);
    match asked.endpoint {
        Endpoint::Stats => stats(rows, asked, answer, told),
        Endpoint::Series(interval) => series(rows, asked, interval, answer, told),
        Endpoint::Breakdown => breakdown(rows, asked, answer, told),
        Endpoint::Sites => sites(rows, asked, answer, told),
    }
}

/// Equal, or within the error that is told.
fn assert_users(found: &Value, expected: u64, error_pct: &Value, told: &str) {
    let found = found.as_u64().unwrap();
    let allowed = expected as f64 * error_pct.as_f64().unwrap() / 100.0;
    let off = found.abs_diff(expected) as f64;
    assert!(off <= allowed, "{found} users, not {expected}: {told}");
}

fn stats(rows: &Rows, asked: &Asked, answer: &Value, told: &str) -> u64 {
    let error = &answer["unique_users_error_pct"];
    let tally = rows.tally(asked, days_of(asked));
    assert_eq!(answer["total_views"], tally.views, "{told}");
    assert_users(&answer["unique_users"], tally.users(), error, told);
    let mut paths: BTreeMap<&str, u64> = BTreeMap::new();
    for (row, _) in rows.wanted(asked, days_of(asked)) {
        if !row.path.is_empty() {
            *paths.entry(&row.path).or_default() += 1;
        }
    }
    let mut paths: Vec<_> = paths.into_iter().collect();
    // Stable, so equal views stay in the order of their paths.
    paths.sort_by_key(|(_, views)| std::cmp::Reverse(*views));
    let paths: Vec<_> = paths
        .iter()
        .take(asked.limit)
        .map(|(path, views)| json!({"path": path, "views": views}))
        .collect();
    assert_eq!(answer["top_paths"], Value::from(paths), "{told}");
    let Some(days) = other_days(asked) else {
        assert_eq!(answer.get("comparison"), None, "{told}");
        return tally.views;
    };
    let other = rows.tally(asked, days);
    let comparison = &answer["comparison"];
    assert_eq!(comparison["start_date"], days.0.to_string(), "{told}");
    assert_eq!(comparison["end_date"], days.1.to_string(), "{told}");
    assert_eq!(comparison["total_views"], other.views, "{told}");
    assert_users(&comparison["unique_users"], other.users(), error, told);
    tally.views
}

/// What a point is named by: the local hour or day it begins in, and how far that is from UTC.
fn bucket(interval: &str, time: DateTime<FixedOffset>) -> (NaiveDate, u32, i32) {
    let day = time.date_naive();
    let offset = time.offset().local_minus_utc();
    match interval {
        "minute" => (day, time.hour() * 60 + time.minute(), offset),
        "hour" => (day, time.hour() * 60, offset),
        "day" => (day, 0, 0),
        "week" => (day.week(chrono::Weekday::Mon).first_day(), 0, 0),
        "month" => (day.with_day(1).unwrap(), 0, 0),
        other => panic!("{other}"),
    }
}

fn series(rows: &Rows, asked: &Asked, interval: &str, answer: &Value, told: &str) -> u64 {
    let error = &answer["unique_users_error_pct"];
    let views = points(rows, asked, interval, days_of(asked), answer, error, told);
    if let Some(days) = other_days(asked) {
        points(
            rows,
            asked,
            interval,
            days,
            &answer["comparison"],
            error,
            told,
        );
    }
    views
}

fn points(
    rows: &Rows,
    asked: &Asked,
    interval: &str,
    days: Range,
    answer: &Value,
    error: &Value,
    told: &str,
) -> u64 {
    let mut tallies: BTreeMap<(NaiveDate, u32, i32), Tally<'_>> = BTreeMap::new();
    let mut views = 0;
    for (row, time) in rows.wanted(asked, days) {
        tallies.entry(bucket(interval, time)).or_default().add(row);
        views += 1;
    }
    let mut before: Option<DateTime<Utc>> = None;
    for point in answer["points"].as_array().unwrap() {
        let time: DateTime<FixedOffset> = point["time"].as_str().unwrap().parse().unwrap();
        let tally = tallies.remove(&bucket(interval, time)).unwrap_or_default();
        assert_eq!(point["views"], tally.views, "{time}: {told}");
        assert_users(&point["unique_users"], tally.users(), error, told);
        // Without gaps: no point is further from the last than the longest that there is.
        let longest = match interval {
            "minute" => 60,
            "hour" => 3600,
            // Samoa's day before the one that it left out is as long as others.
            "day" => 25 * 3600,
            "week" => 7 * 86_400 + 3600,
            _ => 31 * 86_400 + 3600,
        };
        if let Some(before) = before {
            let seconds = (time.to_utc() - before).num_seconds();
            assert!(
                (1..=longest).contains(&seconds),
                "{before} to {time}: {told}"
            );
        }
        before = Some(time.to_utc());
    }
    let missing: Vec<_> = tallies.keys().collect();
    assert!(missing.is_empty(), "no points for {missing:?}: {told}");
    views
}

fn breakdown(rows: &Rows, asked: &Asked, answer: &Value, told: &str) -> u64 {
    let error = &answer["unique_users_error_pct"];
    let by_value = |days| {
        let mut tallies: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
        for (row, _) in rows.wanted(asked, days) {
            tallies
                .entry(value_of(row, &asked.property))
                .or_default()
                .add(row);
        }
        tallies
    };
    let tallies = by_value(days_of(asked));
    let others = other_days(asked).map(by_value);
    assert_eq!(answer["total"], tallies.len(), "{told}");
    let views = tallies.values().map(|tally| tally.views).sum();
    let mut sorted: Vec<_> = tallies.into_iter().collect();
    sorted.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.views));
    let page: Vec<_> = sorted
        .iter()
        .skip((asked.page - 1) * asked.limit)
        .take(asked.limit)
        .collect();
    let found = answer["rows"].as_array().unwrap();
    assert_eq!(found.len(), page.len(), "{told}");
    for (row, (value, tally)) in found.iter().zip(page) {
        assert_eq!(row["value"], *value, "{told}");
        assert_eq!(row["views"], tally.views, "{value}: {told}");
        assert_users(&row["unique_users"], tally.users(), error, told);
        let nothing = Tally::default();
        match &others {
            None => assert_eq!(row.get("comparison"), None, "{told}"),
            Some(others) => {
                let other = others.get(value).unwrap_or(&nothing);
                let comparison = &row["comparison"];
                assert_eq!(comparison["views"], other.views, "{value}: {told}");
                assert_users(&comparison["unique_users"], other.users(), error, told);
            }
        }
    }
    views
}

fn sites(rows: &Rows, asked: &Asked, answer: &Value, told: &str) -> u64 {
    let mut sites: BTreeMap<&str, (u64, NaiveDate, NaiveDate)> = BTreeMap::new();
    for row in &rows.rows {
        let time = DateTime::from_timestamp_millis(row.timestamp).unwrap();
        let day = time.date_naive();
        let (views, first, last) = sites.entry(&row.site_id).or_insert((0, day, day));
        let is_view = VIEW_TYPES.contains(&row.event_type.as_str());
        *views += u64::from(is_view && counts(asked, row));
        *first = day.min(*first);
        *last = day.max(*last);
    }
    assert_eq!(answer["total"], sites.len(), "{told}");
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by_key(|(_, (views, ..))| std::cmp::Reverse(*views));
    let page: Vec<_> = sites
        .iter()
        .skip((asked.page - 1) * asked.limit)
        .take(asked.limit)
        .map(|(site, (views, first, last))| {
            json!({"site_id": site, "total_views": views, "first_date": first, "last_date": last})
        })
        .collect();
    assert_eq!(answer["sites"], Value::from(page), "{told}");
    0
}
