//! What `/stats` counts, beside a count of the same rows by other means.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeZone};
use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::world::{EventRow, World, row};

const SITE: &str = "site-abc-123";
const VIEW_TYPES: [&str; 3] = ["page_view", "pageview", "view"];
/// More than any question here has paths.
const LIMIT: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn four_events_are_four_views_of_three_users() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    world
        .insert(&[
            row(SITE, "page_view", "/pricing", "user-1", time),
            row(SITE, "page_view", "/blog/post-1", "user-2", time),
            row(SITE, "page_view", "/", "user-3", time),
            row(SITE, "page_view", "/pricing", "user-1", time),
        ])
        .await;
    let expected = |date: Value| {
        json!({
            "site_id": SITE,
            "date": date,
            "total_views": 4,
            "unique_users": 3,
            "unique_users_error_pct": 0.0,
            "top_paths": [
                {"path": "/pricing", "views": 2},
                {"path": "/", "views": 1},
                {"path": "/blog/post-1", "views": 1},
            ],
        })
    };
    for route in ["/stats", "/stats/aggregated"] {
        let day = [("site_id", SITE), ("date", "2025-11-15")];
        assert_eq!(
            world.json(route, &day).await,
            (200, expected("2025-11-15".into()))
        );
        let all_time = [("site_id", SITE)];
        let mut of_all_time = expected(Value::Null);
        of_all_time["visitors_period"] = "day".into();
        assert_eq!(world.json(route, &all_time).await, (200, of_all_time));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_or_a_day_without_events_has_zeros() {
    let world = World::new().await;
    world
        .insert(&[row(SITE, "view", "/", "u", "2025-11-15T00:00:00Z")])
        .await;
    for parameters in [
        [("site_id", "nobody"), ("date", "2025-11-15")],
        [("site_id", SITE), ("date", "2025-11-14")],
        [("site_id", SITE), ("date", "2025-11-16")],
        [("site_id", SITE), ("date", "2199-12-31")],
        [("site_id", SITE), ("event_type", "signup")],
        [("site_id", SITE), ("path", "/none")],
    ] {
        let answer = world.stats(&parameters).await;
        assert_eq!(answer["total_views"], 0, "{parameters:?}");
        assert_eq!(answer["unique_users"], 0, "{parameters:?}");
        assert_eq!(answer["top_paths"], json!([]), "{parameters:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_told_as_it_was_asked_and_may_be_open() {
    let world = World::new().await;
    world
        .insert(&[
            row(SITE, "view", "/first", "u", "2000-01-01T00:00:00Z"),
            row(SITE, "view", "/last", "u", "2025-11-15T23:59:59.999Z"),
        ])
        .await;
    let first = ("start_date", "2025-11-15");
    let last = ("end_date", "2025-11-14");
    for zone in ["", "UTC", "America/Los_Angeles", "Asia/Tokyo"] {
        let site = [("site_id", SITE), ("timezone", zone)];
        let from = world.stats(&[site[0], site[1], first]).await;
        assert_eq!(from["date"], Value::Null);
        assert_eq!(from["start_date"], "2025-11-15");
        assert_eq!(from.get("end_date"), None);
        assert_eq!(
            from["top_paths"],
            json!([{"path": "/last", "views": 1}]),
            "{zone}"
        );
        assert_eq!(from["total_views"], 1, "{zone}");

        let until = world.stats(&[site[0], site[1], last]).await;
        assert_eq!(until.get("start_date"), None);
        assert_eq!(until["end_date"], "2025-11-14");
        // The first instant there is belongs to the day before it in America.
        let views = u64::from(zone != "America/Los_Angeles");
        assert_eq!(until["total_views"], views, "{zone}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_paths_are_cut_after_ordering_and_leave_out_the_empty_path() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    let mut rows = Vec::new();
    for (path, views) in [("/b", 3), ("/a", 3), ("/c", 5), ("", 9), ("/d", 1)] {
        for _ in 0..views {
            rows.push(row(SITE, "view", path, "", time));
        }
    }
    world.insert(&rows).await;
    for zone in ["UTC", "Asia/Kathmandu"] {
        let parameters = [
            ("site_id", SITE),
            ("date", "2025-11-15"),
            ("timezone", zone),
            ("limit", "2"),
        ];
        let answer = world.stats(&parameters).await;
        assert_eq!(
            answer["top_paths"],
            json!([{"path": "/c", "views": 5}, {"path": "/a", "views": 3}])
        );
        // Views without a path are views; nobody is no user.
        assert_eq!(answer["total_views"], 21);
        assert_eq!(answer["unique_users"], 0);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_are_taken_literally() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    let odd = [
        "/' OR 1=1 --",
        "/'); DROP TABLE events; --",
        "/\\' OR ''='",
        "/{site_id:String}",
        "/\\N\\t\\\\",
        "/tab\there\nand\0there",
        "/'\"`$${}()[],;/* */",
        "/ü\u{1F30A}\u{202e}",
        "/%27%20OR%201",
        "/a&b=c+d e",
        "/??",
    ];
    let mut rows = vec![row(SITE, "view", "/other", "u0", time)];
    for text in odd {
        rows.push(row(SITE, "view", text, text, time));
    }
    let types = ["x' OR '1'='1", "a\\", "['view','x']", "a','view"];
    for kind in types {
        rows.push(row(SITE, kind, "/typed", "u1", time));
    }
    world.insert(&rows).await;
    for path in odd {
        if path.contains('?') {
            // What follows a question mark is never part of a path.
            continue;
        }
        for zone in ["UTC", "Europe/Berlin"] {
            let answer = world
                .stats(&[("site_id", SITE), ("path", path), ("timezone", zone)])
                .await;
            assert_eq!(answer["total_views"], 1, "{path:?}");
            assert_eq!(answer["unique_users"], 1, "{path:?}");
            assert_eq!(
                answer["top_paths"],
                json!([{"path": path, "views": 1}]),
                "{path:?}"
            );
        }
    }
    for kind in types {
        let answer = world
            .stats(&[("site_id", SITE), ("event_type", kind)])
            .await;
        assert_eq!(answer["total_views"], 1, "{kind:?}");
        assert_eq!(answer["top_paths"], json!([{"path": "/typed", "views": 1}]));
    }
    for (name, value) in [
        ("site_id", "x' OR 1=1 --"),
        ("date", "2025-11-15' OR '1'='1"),
        ("timezone", "UTC' OR 1=1 --"),
        ("limit", "1; DROP TABLE events"),
    ] {
        let mut parameters = vec![(name, value)];
        if name != "site_id" {
            parameters.push(("site_id", SITE));
        }
        assert_eq!(world.json("/stats", &parameters).await.0, 400, "{name}");
    }
    let all = world.stats(&[("site_id", SITE)]).await;
    assert_eq!(all["total_views"], 1 + odd.len());
    world.stop().await;
}

const ZONES: [&str; 9] = [
    "UTC",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/Los_Angeles",
    "Europe/Berlin",
];
const SITES: [&str; 4] = ["a", "b", "b.", "nobody"];
const TYPES: [&str; 6] = ["page_view", "pageview", "view", "signup", "click", "views"];
const PATHS: [&str; 7] = ["/", "/a", "/A", "/a/", "/b", "", "/ü"];

/// First and last days with something odd among them: months' ends, clock changes, a day that
/// Samoa left out.
const RANGES: [(&str, &str); 16] = [
    ("", ""),
    ("2011-12-29", "2011-12-29"),
    ("2011-12-30", "2011-12-30"),
    ("2011-12-31", "2011-12-31"),
    ("2011-11-01", "2011-12-31"),
    ("2011-10-31", "2012-02-01"),
    ("2011-11-30", "2011-12-01"),
    ("2018-11-03", "2018-11-03"),
    ("2018-11-04", "2018-11-04"),
    ("2018-10-07", "2018-10-07"),
    ("2018-10-06", "2018-12-02"),
    ("2018-11-01", "2018-11-30"),
    ("2012-01-01", "2018-11-04"),
    ("2018-11-04", ""),
    ("", "2011-12-30"),
    ("2000-01-01", "2199-12-31"),
];

fn rows() -> Vec<EventRow> {
    const MINUTE_MS: i64 = 60_000;
    let start = |day: &str| {
        let day: NaiveDate = day.parse().unwrap();
        day.and_hms_opt(0, 0, 0)
            .unwrap()
            .and_utc()
            .timestamp_millis()
    };
    let dice = &mut Dice(7);
    let mut rows = Vec::new();
    for (first, days) in [("2011-10-25", 110), ("2018-10-01", 70)] {
        let first = start(first);
        for _ in 0..6000 {
            // Half of them lie on a quarter of an hour, or just before it.
            let quarters = dice.roll(days * 96) as i64 * 15 * MINUTE_MS;
            let within = [0, -1, 1, dice.roll(900_000) as i64][dice.roll(4)];
            rows.push(EventRow {
                site_id: dice.pick(&SITES[..3]).to_owned(),
                event_type: dice.pick(&TYPES).to_owned(),
                path: dice.pick(&PATHS).to_owned(),
                user_id: match dice.roll(60) {
                    0 => String::new(),
                    user => format!("user-{user}"),
                },
                timestamp: first + quarters + within,
                ..row("", "", "", "", "1970-01-01T00:00:00Z")
            });
        }
    }
    rows
}

/// The figures of a question, counted row by row: the day of a row is what the zone's clocks
/// showed.
fn counted(rows: &[EventRow], asked: &Asked) -> Value {
    let zone: Tz = asked.zone.parse().unwrap();
    let first = asked.first.parse().unwrap_or(NaiveDate::MIN);
    let last = asked.last.parse().unwrap_or(NaiveDate::MAX);
    let mut views = 0;
    let mut users = BTreeSet::new();
    let mut paths: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        let time = DateTime::from_timestamp_millis(row.timestamp).unwrap();
        let day = zone.from_utc_datetime(&time.naive_utc()).date_naive();
        let typed = if asked.event_type.is_empty() {
            VIEW_TYPES.contains(&row.event_type.as_str())
        } else {
            row.event_type == asked.event_type
        };
        let wanted = row.site_id == asked.site
            && typed
            && (first..=last).contains(&day)
            && (asked.path.is_empty() || row.path == asked.path);
        if !wanted {
            continue;
        }
        views += 1;
        if !row.user_id.is_empty() {
            users.insert(&row.user_id);
        }
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
    json!({"total_views": views, "unique_users": users.len(), "top_paths": paths})
}

#[derive(Debug)]
struct Asked {
    site: &'static str,
    zone: &'static str,
    first: &'static str,
    last: &'static str,
    event_type: &'static str,
    path: &'static str,
    limit: usize,
}

async fn assert_counted(world: &World, rows: &[EventRow], asked: &Asked) -> u64 {
    let limit = asked.limit.to_string();
    let mut parameters = vec![
        ("site_id", asked.site),
        ("timezone", asked.zone),
        ("event_type", asked.event_type),
        ("path", asked.path),
        ("limit", &limit),
    ];
    if asked.first == asked.last {
        parameters.push(("date", asked.first));
    } else {
        parameters.push(("start_date", asked.first));
        parameters.push(("end_date", asked.last));
    }
    let answer = world.stats(&parameters).await;
    let expected = counted(rows, asked);
    for figure in ["total_views", "unique_users", "top_paths"] {
        assert_eq!(answer[figure], expected[figure], "{figure} of {asked:?}");
    }
    expected["total_views"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_equals_a_count_of_the_raw_rows() {
    let world = World::new().await;
    let rows = rows();
    // In several blocks, so that the rollups hold parts that must be merged.
    for block in rows.chunks(3000) {
        world.insert(block).await;
    }
    let dice = &mut Dice(11);
    let mut views = 0;
    for zone in ZONES {
        for (first, last) in RANGES {
            for (event_type, path) in [
                ("", ""),
                (dice.pick(&TYPES), ""),
                ("", dice.pick(&PATHS[..5])),
                (dice.pick(&TYPES), dice.pick(&PATHS[..5])),
            ] {
                let asked = Asked {
                    site: SITES[dice.roll(SITES.len())],
                    zone,
                    first,
                    last,
                    event_type,
                    path,
                    limit: [1, 3, LIMIT][dice.roll(3)],
                };
                views += assert_counted(&world, &rows, &asked).await;
            }
        }
    }
    assert!(views > 50_000, "the questions met {views} rows only");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_of_one_host_are_one_value() {
    let world = World::new().await;
    let of = |referrer: &str| EventRow {
        referrer: referrer.to_owned(),
        ..row("s", "view", "/", "u", "2025-11-15T12:00:00Z")
    };
    let referrers = [
        ("https://www.a.example/", "a.example"),
        ("http://WWW.A.example:8080", "a.example"),
        ("https://a.example/x?y#z", "a.example"),
        ("android-app://com.app.mail/", "com.app.mail"),
        ("http://intranet/wiki", "intranet"),
        ("https://www.www.example/", "www.example"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("https://b\u{fc}cher.example/", "b\u{fc}cher.example"),
        ("about:blank", ""),
        ("", ""),
    ];
    let rows: Vec<_> = referrers.iter().map(|(referrer, _)| of(referrer)).collect();
    world.insert(&rows).await;
    for (_, host) in referrers {
        let expected = referrers.iter().filter(|(_, one)| *one == host).count();
        let filter = format!("referrer_host:is:{host}");
        let stats = world.stats(&[("site_id", "s"), ("filter", &filter)]).await;
        assert_eq!(stats["total_views"], expected, "{host}");
        let breakdown = [("site_id", "s"), ("property", "referrer_host")];
        let (_, answer) = world.json("/stats/breakdown", &breakdown).await;
        let rows = answer["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["value"] == host).unwrap();
        assert_eq!(row["views"], expected, "{answer}");
    }
    world.stop().await;
}
