use chrono_tz::Tz;

use super::*;
use crate::days::DayRange;

const TYPES: [&str; 1] = ["view"];

/// The tables that a question is served from.
fn tables(statement: &Statement) -> Vec<&'static str> {
    let tables = [
        "stats_month",
        "stats_day",
        "stats_quarter_hour",
        "paths_month",
        "paths_day",
        "events",
    ];
    let from = |table: &&str| statement.sql.contains(&format!("FROM {table} "));
    tables.into_iter().filter(from).collect()
}

fn asking<T>(zone: Tz, filters: &[Filter], ask: impl FnOnce(Select<'_>) -> T) -> T {
    let days = DayRange {
        first: "2025-01-15".parse().unwrap(),
        last: "2025-03-20".parse().unwrap(),
    };
    let site_id = "s".parse().unwrap();
    let types = TYPES.map(str::to_owned);
    ask(Select {
        site_id: &site_id,
        span: days.span(zone),
        filters,
        view_types: Some(&types),
        exact: false,
        bots: Bots::Exclude,
        users: true,
    })
}

fn filter(property: Property) -> Filter {
    Filter::is(property, "x")
}

#[test]
fn totals_come_from_months_and_days_and_only_what_cuts_a_day_from_quarters_of_an_hour() {
    let totals =
        |zone, filters: &[Filter]| asking(zone, filters, |select| tables(&select.totals()));
    let whole = ["stats_month", "stats_day"];
    assert_eq!(totals(Tz::UTC, &[]), whole);
    let all = ["stats_month", "stats_day", "stats_quarter_hour"];
    assert_eq!(totals(Tz::Asia__Kathmandu, &[]), all);
    assert_eq!(totals(Tz::UTC, &[filter(Property::EventType)]), whole);
    for property in [Property::Path, Property::Referrer, Property::User] {
        assert_eq!(totals(Tz::UTC, &[filter(property)]), ["events"]);
    }
}

#[test]
fn what_is_exact_comes_from_the_raw_rows() {
    let tables = asking(Tz::UTC, &[], |mut select| {
        select.exact = true;
        tables(&select.totals())
    });
    assert_eq!(tables, ["events"]);
}

#[test]
fn views_of_paths_come_from_rollups_and_raw_rows_where_a_day_is_cut() {
    let paths = |zone, users| {
        asking(zone, &[filter(Property::Path)], |mut select| {
            select.users = users;
            let among = Among::Page { limit: 1, page: 1 };
            tables(&select.breakdown(&Property::Path, among))
        })
    };
    assert_eq!(paths(Tz::UTC, false), ["paths_month", "paths_day"]);
    assert_eq!(
        paths(Tz::Asia__Kathmandu, false),
        ["paths_month", "paths_day", "events"]
    );
    assert_eq!(paths(Tz::UTC, true), ["events"]);
}

#[test]
fn a_series_reads_months_only_where_its_points_cut_none() {
    let series = |bounds: &[&str]| {
        asking(Tz::UTC, &[], |select| {
            let bounds = bounds.iter().map(|bound| {
                let day: chrono::NaiveDate = bound.parse().unwrap();
                day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
            });
            tables(&select.series(bounds.collect()))
        })
    };
    let months = ["2025-01-15", "2025-02-01", "2025-03-01"];
    assert_eq!(series(&months), ["stats_month", "stats_day"]);
    let weeks = ["2025-01-15", "2025-01-20", "2025-02-03"];
    assert_eq!(series(&weeks), ["stats_day"]);
}

#[test]
fn a_series_reads_quarters_of_an_hour_only_where_its_points_cut_days() {
    let series = |zone, bounds: Vec<i64>| {
        asking(zone, &[], |mut select| {
            let begin = select.span.start.timestamp();
            select.span.end = select.span.start + chrono::TimeDelta::days(3);
            tables(&select.series(bounds.iter().map(|bound| begin + bound).collect()))
        })
    };
    let day = 86_400;
    assert_eq!(series(Tz::UTC, vec![0, day, 2 * day]), ["stats_day"]);
    assert_eq!(
        series(Tz::UTC, vec![0, day + 3600]),
        ["stats_day", "stats_quarter_hour"]
    );
    assert_eq!(
        series(Tz::Europe__Berlin, vec![0, day, 2 * day]),
        ["stats_quarter_hour"]
    );
    assert_eq!(series(Tz::UTC, vec![0, 60]), ["events"]);
}

#[test]
fn a_day_is_read_from_one_table_without_a_subquery() {
    let day = |zone: Tz| {
        asking(zone, &[], |mut select| {
            let day = "2025-01-15".parse().unwrap();
            select.span = DayRange {
                first: day,
                last: day,
            }
            .span(zone);
            let totals = select.totals();
            select.users = false;
            [totals, select.top(&Property::Path, 10)].map(|statement| {
                assert!(!statement.sql.contains("FROM ("), "{}", statement.sql);
                tables(&statement)
            })
        })
    };
    assert_eq!(day(Tz::UTC), [["stats_day"], ["paths_day"]]);
    assert_eq!(
        day(Tz::Asia__Kathmandu),
        [["stats_quarter_hour"], ["events"]]
    );
}

#[test]
fn of_many_tables_only_what_is_counted_is_read() {
    let columns = |sql: &str| -> Vec<_> {
        let selects = sql.split("SELECT ").skip(2);
        let columns = selects.filter_map(|select| Some(select.split_once(" FROM")?.0.to_owned()));
        columns.collect()
    };
    asking(Tz::UTC, &[], |mut select| {
        let measured = "events AS events, users AS users";
        assert_eq!(columns(&select.totals().sql), [measured; 2]);
        select.users = false;
        let top = columns(&select.top(&Property::Path, 10).sql);
        assert_eq!(
            top,
            [
                "toString(path) AS page, events AS events",
                "path AS page, events AS events"
            ]
        );
    });
}

#[test]
fn nothing_that_was_sent_is_in_the_text() {
    let evil = "' OR 1=1 --";
    let filters: Vec<Filter> = [
        Property::Path,
        Property::EventType,
        Property::Referrer,
        Property::User,
        Property::Prop(evil.to_owned()),
    ]
    .into_iter()
    .map(|property| Filter::is(property, evil))
    .collect();
    asking(Tz::UTC, &filters, |select| {
        let among = Among::Page { limit: 1, page: 1 };
        for statement in [
            select.totals(),
            select.series(vec![select.span.start.timestamp()]),
            select.breakdown(&Property::Prop(evil.to_owned()), among),
            select.values(&Property::Prop(evil.to_owned())),
            select.top(&Property::Prop(evil.to_owned()), 1),
        ] {
            assert!(!statement.sql.contains("OR 1"), "{}", statement.sql);
            // It would stand for a value of the client's own.
            assert!(!statement.sql.contains('?'), "{}", statement.sql);
        }
    });
}
