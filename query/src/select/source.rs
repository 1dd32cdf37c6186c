//! The tables a question can be served from, and which of their rows serve it.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};

use infra::clickhouse::rollups::{
    PATHS_DAY, PATHS_MONTH, STATS_DAY, STATS_MONTH, STATS_QUARTER_HOUR,
};

use super::relation::{AT, EVENT_TYPE, EVENTS, ONE_EVENT, PAGE, Relation, USERS};
use crate::days::{DayRange, Pieces, Span};
use crate::statement::{Parameters, Reads};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Views and users by type: whole months in UTC from `stats_month`, whole days from
    /// `stats_day`, and quarters of an hour for days that something begins or ends in the middle
    /// of.
    Totals,
    /// Views by type and path: months, days, and raw rows for what is less than a day.
    Paths,
    /// The raw rows: all there is to know.
    Rows,
}

impl Source {
    pub(super) fn reads(self) -> Reads {
        match self {
            Self::Totals | Self::Paths => Reads::Rollups,
            Self::Rows => Reads::Rows,
        }
    }

    /// Rows of `span` for which `wanted` holds. What begins or ends at one of `bounds`, in
    /// seconds, can be read from them.
    pub(super) fn relations(
        self,
        span: Span,
        bounds: &[i64],
        wanted: &str,
        parameters: &mut Parameters,
    ) -> Vec<Relation> {
        match self {
            Self::Totals => totals(span, bounds, wanted, parameters),
            Self::Paths => paths(span.pieces(), wanted, parameters),
            Self::Rows => vec![rows(span, wanted, parameters)],
        }
    }
}

fn rows(span: Span, wanted: &str, parameters: &mut Parameters) -> Relation {
    let within = within_span(span, "", parameters);
    Relation {
        table: "events",
        columns: &[
            ("toInt64(toUnixTimestamp(timestamp))", AT),
            (ONE_EVENT, EVENTS),
            ("toString(path)", PAGE),
        ],
        condition: format!("{wanted} AND {within}"),
    }
}

fn totals(span: Span, bounds: &[i64], wanted: &str, parameters: &mut Parameters) -> Vec<Relation> {
    let mut relations = Vec::new();
    let pieces = span.pieces();
    let mut days = vec![pieces.whole_days()];
    // A month that a point of a series cuts is read as its days.
    let is_whole = |months: &DayRange| !bounds.iter().any(|at| cuts_a_month(*at, *months));
    if let Some(months) = pieces.months.some().filter(is_whole) {
        let of_months = within_days(STATS_MONTH.time(), &[months], parameters);
        relations.push(Relation {
            table: STATS_MONTH.table,
            columns: &[
                ("toInt64(toUInt16(month)) * 86400", AT),
                ("event_type", EVENT_TYPE),
                ("events", EVENTS),
                ("users", USERS),
            ],
            condition: format!("{wanted} AND {of_months}"),
        });
        days = pieces.days.to_vec();
    }
    // A day that is cut is read as quarters of an hour. `bounds` are in order, and so are these.
    let mut cut: Vec<NaiveDate> = bounds.iter().filter_map(|bound| cut_day(*bound)).collect();
    cut.dedup();
    let is_cut = |day: NaiveDate| cut.binary_search(&day).is_ok();
    days.retain(|days| !days.days().all(is_cut));
    if !days.is_empty() {
        let of_days = within_days(STATS_DAY.time(), &days, parameters);
        let are_within = |day: &NaiveDate| days.iter().any(|days| days.contains(*day));
        let apart = if cut.iter().any(are_within) {
            "AND date NOT IN {cut_days:Array(Date)}"
        } else {
            ""
        };
        relations.push(Relation {
            table: STATS_DAY.table,
            columns: DAYS,
            condition: format!("{wanted} AND {of_days} {apart}"),
        });
    }
    if !cut.is_empty() {
        parameters.dates("cut_days", &cut);
        parameters.int("start_s", seconds(span.start));
        parameters.int("end_s", seconds(span.end));
        let of_cut = if span.days().days().all(is_cut) {
            ""
        } else {
            "AND toDate(time) IN {cut_days:Array(Date)}"
        };
        relations.push(Relation {
            table: STATS_QUARTER_HOUR.table,
            columns: &[
                ("toInt64(toUnixTimestamp(time))", AT),
                ("event_type", EVENT_TYPE),
                ("events", EVENTS),
                ("users", USERS),
            ],
            condition: format!(
                "{wanted} AND time >= fromUnixTimestamp({{start_s:Int64}}) \
                 AND time < fromUnixTimestamp({{end_s:Int64}}) {of_cut}"
            ),
        });
    }
    if relations.is_empty() {
        // No time at all: a day that its zone left out.
        relations.push(Relation {
            table: STATS_DAY.table,
            columns: DAYS,
            condition: format!("{wanted} AND 0"),
        });
    }
    relations
}

const DAYS: &[(&str, &str)] = &[
    ("toInt64(toUInt16(date)) * 86400", AT),
    ("event_type", EVENT_TYPE),
    ("events", EVENTS),
    ("users", USERS),
];

/// That `column` lies in one of `ranges`, of which there is one or more. ClickHouse takes a third of
/// a millisecond for each comparison of a statement, before it reads anything.
fn within_days(column: &str, ranges: &[DayRange], parameters: &mut Parameters) -> String {
    if let [DayRange { first, last }] = ranges {
        let (from, to) = (format!("{column}_first"), format!("{column}_last"));
        parameters.date(&from, *first);
        if first == last {
            return format!("{column} = {{{from}:Date}}");
        }
        parameters.date(&to, *last);
        return format!("{column} BETWEEN {{{from}:Date}} AND {{{to}:Date}}");
    }
    // What is left of the first month and of the last.
    let days: Vec<_> = ranges.iter().flat_map(|range| range.days()).collect();
    let name = format!("{column}_list");
    parameters.dates(&name, &days);
    format!("{column} IN {{{name}:Array(Date)}}")
}

/// Whether `second` lies within one of the months: after its begin, before its end.
fn cuts_a_month(second: i64, months: DayRange) -> bool {
    let Some(time) = DateTime::from_timestamp(second.clamp(0, TIME_MAX), 0) else {
        return false;
    };
    let is_begin = time.day() == 1 && time.time() == NaiveTime::MIN;
    months.contains(time.date_naive()) && !is_begin
}

/// The day in UTC that `second` lies within; none if it begins with it.
fn cut_day(second: i64) -> Option<NaiveDate> {
    let time = DateTime::from_timestamp(second.clamp(0, TIME_MAX), 0)?;
    (time.time() != NaiveTime::MIN).then(|| time.date_naive())
}

/// 2106-01-01: ClickHouse's `DateTime` ends soon after, and no event is that far ahead.
const TIME_MAX: i64 = 4_291_747_200;

fn seconds(time: DateTime<Utc>) -> i64 {
    time.timestamp().clamp(0, TIME_MAX)
}

fn paths(pieces: Pieces, wanted: &str, parameters: &mut Parameters) -> Vec<Relation> {
    let Pieces {
        months,
        days,
        edges,
    } = pieces;
    let mut relations = Vec::new();
    if let Some(months) = months.some() {
        let of_months = within_days(PATHS_MONTH.time(), &[months], parameters);
        relations.push(Relation {
            table: PATHS_MONTH.table,
            columns: &[
                ("toString(path)", PAGE),
                ("event_type", EVENT_TYPE),
                ("events", EVENTS),
            ],
            condition: format!("{wanted} AND {of_months}"),
        });
    }
    let days: Vec<_> = days.into_iter().filter_map(DayRange::some).collect();
    if !days.is_empty() {
        let of_days = within_days(PATHS_DAY.time(), &days, parameters);
        relations.push(Relation {
            table: PATHS_DAY.table,
            columns: PATHS_OF_DAYS,
            condition: format!("{wanted} AND {of_days}"),
        });
    }
    let edges = edges.into_iter().filter(|edge| edge.start < edge.end);
    let of_edges: Vec<_> = edges
        .zip(["head_", "tail_"])
        .map(|(edge, name)| within_span(edge, name, parameters))
        .collect();
    if !of_edges.is_empty() {
        let of_edges = of_edges.join(" OR ");
        relations.push(Relation {
            table: "events",
            columns: &[
                ("toString(path)", PAGE),
                ("event_type", EVENT_TYPE),
                (ONE_EVENT, EVENTS),
            ],
            condition: format!("{wanted} AND ({of_edges})"),
        });
    }
    if relations.is_empty() {
        relations.push(Relation {
            table: PATHS_DAY.table,
            columns: PATHS_OF_DAYS,
            condition: format!("{wanted} AND 0"),
        });
    }
    relations
}

const PATHS_OF_DAYS: &[(&str, &str)] = &[
    ("path", PAGE),
    ("event_type", EVENT_TYPE),
    ("events", EVENTS),
];

/// That the time of a raw row lies in `span`; `name` keeps its parameters apart from others'.
fn within_span(span: Span, name: &str, parameters: &mut Parameters) -> String {
    parameters.int(&format!("{name}start_ms"), span.start.timestamp_millis());
    parameters.int(&format!("{name}end_ms"), span.end.timestamp_millis());
    format!(
        "timestamp >= fromUnixTimestamp64Milli({{{name}start_ms:Int64}}, 'UTC') \
         AND timestamp < fromUnixTimestamp64Milli({{{name}end_ms:Int64}}, 'UTC')"
    )
}
