//! The tables a question can be served from, each as a relation with the same names.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use crate::days::{Pieces, Span};
use crate::statement::{Parameters, Reads};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Views and users by type: whole days in UTC from `stats_day`, and quarters of an hour for
    /// days that something begins or ends in the middle of.
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
    /// seconds, can be told from them.
    pub(super) fn select(
        self,
        span: Span,
        bounds: &[i64],
        wanted: &str,
        parameters: &mut Parameters,
    ) -> String {
        match self {
            Self::Totals => totals(span, bounds, wanted, parameters),
            Self::Paths => paths(span.pieces(), wanted, parameters),
            Self::Rows => rows(span, wanted, parameters),
        }
    }
}

fn rows(span: Span, wanted: &str, parameters: &mut Parameters) -> String {
    parameters.int("start_ms", span.start.timestamp_millis());
    parameters.int("end_ms", span.end.timestamp_millis());
    format!(
        "SELECT toInt64(toUnixTimestamp(timestamp)) AS at, path, event_type, referrer, user_id, props \
         FROM events WHERE {wanted} \
         AND timestamp >= fromUnixTimestamp64Milli({{start_ms:Int64}}, 'UTC') \
         AND timestamp < fromUnixTimestamp64Milli({{end_ms:Int64}}, 'UTC')"
    )
}

fn totals(span: Span, bounds: &[i64], wanted: &str, parameters: &mut Parameters) -> String {
    let whole = span.pieces().whole_days();
    let mut cut: Vec<NaiveDate> = bounds.iter().filter_map(|bound| cut_day(*bound)).collect();
    cut.dedup();
    let mut relations = Vec::new();
    // A day that is cut is read as quarters of an hour. `bounds` are in order, and so are these.
    let mut days = whole.first.iter_days().take_while(|day| *day <= whole.last);
    let all_are_cut = days.all(|day| cut.binary_search(&day).is_ok());
    if !all_are_cut {
        parameters.date("whole_first", whole.first);
        parameters.date("whole_last", whole.last);
        let apart = if cut.is_empty() {
            ""
        } else {
            "AND date NOT IN {cut_days:Array(Date)}"
        };
        relations.push(format!(
            "SELECT toInt64(toUInt16(date)) * 86400 AS at, event_type, events, users \
             FROM stats_day WHERE {wanted} \
             AND date BETWEEN {{whole_first:Date}} AND {{whole_last:Date}} {apart}"
        ));
    }
    if !cut.is_empty() {
        parameters.dates("cut_days", &cut);
        parameters.int("start_s", seconds(span.start));
        parameters.int("end_s", seconds(span.end));
        relations.push(format!(
            "SELECT toInt64(toUnixTimestamp(time)) AS at, event_type, events, users \
             FROM stats_quarter_hour WHERE {wanted} \
             AND time >= fromUnixTimestamp({{start_s:Int64}}) \
             AND time < fromUnixTimestamp({{end_s:Int64}}) \
             AND toDate(time) IN {{cut_days:Array(Date)}}"
        ));
    }
    if relations.is_empty() {
        // No time at all: a day that its zone left out.
        return format!(
            "SELECT toInt64(0) AS at, event_type, events, users FROM stats_day WHERE {wanted} AND 0"
        );
    }
    relations.join(" UNION ALL ")
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

fn paths(pieces: Pieces, wanted: &str, parameters: &mut Parameters) -> String {
    let Pieces {
        months,
        days,
        edges,
    } = pieces;
    let mut relations = Vec::new();
    if months.first <= months.last {
        parameters.date("months_first", months.first);
        parameters.date("months_last", months.last);
        relations.push(format!(
            "SELECT toString(path) AS page, event_type, events FROM paths_month \
             WHERE {wanted} AND month BETWEEN {{months_first:Date}} AND {{months_last:Date}}"
        ));
    }
    for (nth, days) in days.into_iter().enumerate() {
        if days.first <= days.last {
            parameters.date(&format!("days_first_{nth}"), days.first);
            parameters.date(&format!("days_last_{nth}"), days.last);
            relations.push(format!(
                "SELECT path AS page, event_type, events FROM paths_day \
                 WHERE {wanted} AND date BETWEEN {{days_first_{nth}:Date}} AND {{days_last_{nth}:Date}}"
            ));
        }
    }
    for (nth, edge) in edges.into_iter().enumerate() {
        if edge.start < edge.end {
            parameters.int(&format!("edge_start_{nth}"), edge.start.timestamp_millis());
            parameters.int(&format!("edge_end_{nth}"), edge.end.timestamp_millis());
            relations.push(format!(
                "SELECT toString(path) AS page, event_type, toUInt64(1) AS events FROM events \
                 WHERE {wanted} \
                 AND timestamp >= fromUnixTimestamp64Milli({{edge_start_{nth}:Int64}}, 'UTC') \
                 AND timestamp < fromUnixTimestamp64Milli({{edge_end_{nth}:Int64}}, 'UTC')"
            ));
        }
    }
    if relations.is_empty() {
        return format!(
            "SELECT path AS page, event_type, events FROM paths_day WHERE {wanted} AND 0"
        );
    }
    relations.join(" UNION ALL ")
}
