use chrono_tz::Tz;

use super::*;
use crate::days::{DAY_MAX, DAY_MIN};
use crate::filter::{FILTERS_MAX, Op};

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn stats(pairs: &[(&str, &str)]) -> Result<StatsQuestion, Faults> {
    StatsQuestion::parse(&owned(pairs))
}

fn faults(pairs: &[(&str, &str)]) -> Faults {
    stats(pairs).unwrap_err()
}

#[test]
fn only_a_site_is_required() {
    let question = stats(&[("site_id", "s")]).unwrap();
    assert_eq!(question.slice.days, Asked::AllTime);
    assert_eq!(question.slice.zone, Tz::UTC);
    assert_eq!(question.limit, LIMIT_DEFAULT);
    assert_eq!(faults(&[]), ["site_id is required"]);
    assert_eq!(faults(&[("site_id", "")]), ["site_id is required"]);
}

#[test]
fn a_name_that_nobody_reads_is_a_fault() {
    let faults = faults(&[
        ("site_id", "s"),
        ("start", "2025-11-01"),
        ("start", "2025-11-02"),
        ("endDate", "2025-11-30"),
    ]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0]
            .starts_with("\"endDate\" is not a parameter; there are site_id, date, start_date")
    );
    assert!(faults[1].starts_with("\"start\" is not a parameter"));
    // Of other endpoints, and of nobody: `?site_id=s&&=`.
    stats(&[("site_id", "s"), ("property", "path"), ("", "")]).unwrap();
}

#[test]
fn of_many_names_that_nobody_reads_a_few_are_told() {
    let names: Vec<_> = (0..10_000).map(|nth| format!("{nth:0>1000}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let told: usize = faults(&pairs).iter().map(String::len).sum();
    assert!(told < 1000, "{told}");
}

#[test]
fn each_bad_parameter_is_named() {
    for (name, value) in [
        ("site_id", "a b"),
        ("date", "2025-02-30"),
        ("date", "2025-1-5"),
        ("date", "1999-12-31"),
        ("date", "2200-01-01"),
        ("start_date", "yesterday"),
        ("end_date", "2025-13-01"),
        ("timezone", "Mars/Olympus"),
        ("event_type", "a\nb"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("exact", "yes"),
        ("bots", "yes"),
        ("compare", "last_week"),
        ("compare", "previous_year"),
        ("filter", "path"),
        ("filter", "paths:is:/"),
        ("filter", "path:equals:/"),
    ] {
        let mut pairs = vec![(name, value)];
        if name != "site_id" {
            pairs.push(("site_id", "s"));
        }
        let faults = faults(&pairs);
        assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
        assert!(faults[0].starts_with(name), "{name}={value}: {faults:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = faults(&[
        ("date", "x"),
        ("timezone", "x"),
        ("limit", "x"),
        ("limit", "y"),
    ]);
    assert_eq!(faults.len(), 5, "{faults:?}");
}

#[test]
fn a_range_ends_after_it_starts_and_may_be_open() {
    let range = |first, last| stats(&[("site_id", "s"), ("start_date", first), ("end_date", last)]);
    let days = |first, last| range(first, last).unwrap().slice.days.range();
    assert!(range("2025-01-02", "2025-01-02").is_ok());
    assert!(range("2025-01-02", "2025-01-01").is_err());
    assert_eq!(days("2025-01-02", "").last, DAY_MAX);
    assert_eq!(days("", "2025-01-02").first, DAY_MIN);
    let both = [
        ("site_id", "s"),
        ("date", "2025-01-01"),
        ("end_date", "2025-01-01"),
    ];
    assert!(stats(&both).is_err());
}

#[test]
fn filters_may_repeat_and_their_order_does_not_matter() {
    let one = stats(&[
        ("site_id", "s"),
        ("filter", "path:is:/a"),
        ("filter", "user:is_not:u"),
        ("filter", "path:is:/a"),
    ])
    .unwrap();
    let other = stats(&[
        ("filter", "user:is_not:u"),
        ("path", "/a"),
        ("site_id", "s"),
    ])
    .unwrap();
    assert_eq!(one, other);
    let ops: Vec<_> = one.slice.filters.iter().map(|filter| filter.op).collect();
    assert_eq!(ops, [Op::Is, Op::IsNot]);
    let many = vec![("filter", "path:is:/a"); FILTERS_MAX + 1];
    let faults = faults(&[&many[..], &[("site_id", "s")]].concat());
    assert!(faults[0].starts_with("filter may be given"), "{faults:?}");
}

#[test]
fn a_series_of_too_many_points_names_the_interval() {
    let pairs = |interval| {
        owned(&[
            ("site_id", "s"),
            ("start_date", "2000-01-01"),
            ("end_date", "2199-12-31"),
            ("interval", interval),
        ])
    };
    for interval in ["minute", "hour", "day", "week", "fortnight"] {
        let faults = SeriesQuestion::parse(&pairs(interval)).unwrap_err();
        assert!(faults[0].starts_with("interval"), "{faults:?}");
    }
    SeriesQuestion::parse(&pairs("month")).unwrap();
}

#[test]
fn a_breakdown_needs_a_property_that_events_have() {
    let faults = |property| {
        let pairs = owned(&[("site_id", "s"), ("property", property), ("page", "0")]);
        BreakdownQuestion::parse(&pairs).unwrap_err()
    };
    for property in ["", "site_id", "props", "props.", "path, user"] {
        let faults = faults(property);
        assert!(faults[0].starts_with("property"), "{faults:?}");
        assert!(faults[1].starts_with("page"), "{faults:?}");
    }
}
