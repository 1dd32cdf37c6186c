//! Events of bots: left out, counted too, or counted alone.

use chrono::{SecondsFormat, Utc};
use serde_json::Value;

use crate::world::{BOT, EventRow, PERSON, World, row};

const ROUTES: [&str; 6] = [
    "/stats",
    "/stats/aggregated",
    "/stats/timeseries",
    "/stats/breakdown",
    "/stats/realtime",
    "/sites",
];

fn of(agent: &str, user: &str, time: &str) -> EventRow {
    EventRow {
        _agent: agent.to_owned(),
        ..row("s", "view", "/", user, time)
    }
}

/// Views and users that an answer has in all; `/sites` knows no users.
fn figures(route: &str, answer: &Value) -> (u64, Option<u64>) {
    let all = |list: &str, name: &str| {
        let list = answer[list].as_array().unwrap().iter();
        list.map(|of| of[name].as_u64().unwrap()).sum()
    };
    let number = |name: &str| answer[name].as_u64().unwrap();
    match route {
        "/stats" | "/stats/aggregated" => (number("total_views"), Some(number("unique_users"))),
        "/stats/timeseries" => (all("points", "views"), Some(all("points", "unique_users"))),
        "/stats/breakdown" => (all("rows", "views"), Some(all("rows", "unique_users"))),
        "/stats/realtime" => (number("views_5m"), Some(number("visitors_5m"))),
        _ => (all("sites", "total_views"), None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_leave_bots_out_unless_they_are_asked_for() {
    let world = World::new().await;
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    world
        .insert(&[
            // From before anything was known of agents, and from after.
            of("", "a", &now),
            of(PERSON, "b", &now),
            of(PERSON, "b", &now),
            of(BOT, "c", &now),
            // Somebody whose browser also ran a robot is one user.
            of(BOT, "b", &now),
        ])
        .await;
    for route in ROUTES {
        for more in [
            &[][..],
            // Days that are cut are served from quarters of an hour and raw rows.
            &[("timezone", "Asia/Kathmandu")],
            &[("exact", "true")],
            &[("filter", "user:contains:")],
        ] {
            for (bots, views, users) in [
                (None, 3, 2),
                (Some("exclude"), 3, 2),
                (Some("include"), 5, 3),
                (Some("only"), 2, 2),
            ] {
                let mut parameters = vec![("site_id", "s"), ("property", "path")];
                if route == "/stats/timeseries" {
                    parameters.extend([("interval", "month"), ("end_date", "2099-12-31")]);
                    parameters.push(("start_date", "2025-01-01"));
                }
                parameters.extend(bots.map(|bots| ("bots", bots)));
                parameters.extend(more);
                let (status, answer) = world.json(route, &parameters).await;
                assert_eq!(status, 200, "{route} {parameters:?}: {answer}");
                let (found, found_users) = figures(route, &answer);
                assert_eq!(found, views, "{route} {parameters:?}: {answer}");
                let expected = found_users.map(|_| users);
                assert_eq!(found_users, expected, "{route} {parameters:?}: {answer}");
            }
        }
        for value in ["yes", "Only", "0", "exclude,only"] {
            let wrong = [("site_id", "s"), ("property", "path"), ("bots", value)];
            let (status, answer) = world.json(route, &wrong).await;
            assert_eq!(status, 400, "{route} {value}: {answer}");
            let fault = format!("bots must be exclude, include or only, not {value:?}");
            assert_eq!(answer["errors"], Value::from([fault.as_str()]), "{route}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_rollups_that_was_cut_off_is_applied_again() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    world
        .insert(&[of(BOT, "a", time), of(PERSON, "b", time)])
        .await;
    let tables = "SELECT groupArray((name, create_table_query)) FROM (SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name)";
    let tables = async || {
        let asked = world.db.query(tables).fetch_one::<Vec<(String, String)>>();
        asked.await.unwrap()
    };
    let before = tables().await;
    let forget = "DELETE FROM migrations WHERE version = 8";
    world.db.query(forget).execute().await.unwrap();
    let migrated = infra::clickhouse::migrate(&world.clickhouse).await.unwrap();
    assert_eq!(migrated.applied, 1);
    assert_eq!(tables().await, before);
    world
        .insert(&[of(BOT, "c", time), of(PERSON, "b", time)])
        .await;
    for (table, expected) in [
        ("stats_quarter_hour", (2, 2)),
        ("stats_day", (2, 2)),
        ("stats_month", (2, 2)),
        ("paths_day", (2, 2)),
        ("paths_month", (2, 2)),
    ] {
        let counted = format!("SELECT sumIf(events, bot = 0), sumIf(events, bot = 1) FROM {table}");
        let counted = world.db.query(&counted).fetch_one::<(u64, u64)>();
        assert_eq!(counted.await.unwrap(), expected, "{table}");
    }
    world.stop().await;
}

/// Of every view for people there are two.
#[tokio::test(flavor = "multi_thread")]
async fn views_leave_bots_out_and_their_sisters_do_not() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    world
        .insert(&[
            of("", "a", time),
            of(PERSON, "b", time),
            of(BOT, "b", time),
            of(BOT, "c", time),
        ])
        .await;
    let of_month = "(site='s', from='2025-11-01', to='2025-11-30')";
    let of_types = "(site='s', from='2025-11-01', to='2025-11-30', types=['view'])";
    for (view, arguments, columns, people, all) in [
        ("quarter_hourly", "", "events, users", (2, 2), (4, 3)),
        ("hourly", "", "events, users", (2, 2), (4, 3)),
        ("daily", "", "events, users", (2, 2), (4, 3)),
        ("daily_totals", "", "events, users", (2, 2), (4, 3)),
        ("daily_totals", "", "views, visitors", (2, 2), (4, 3)),
        ("monthly", "", "events, users", (2, 2), (4, 3)),
        ("daily_paths", "", "events, 0", (2, 0), (4, 0)),
        ("monthly_paths", "", "events, 0", (2, 0), (4, 0)),
        ("stats", of_month, "views, users", (2, 2), (4, 3)),
        ("stats_of_types", of_types, "events, users", (2, 2), (4, 3)),
        ("sessions", of_month, "sum(events), count()", (2, 2), (4, 3)),
    ] {
        for (suffix, expected) in [("", people), ("_with_bots", all)] {
            let asked = columns
                .split(", ")
                .map(|column| format!("toUInt64({column})"));
            let asked: Vec<_> = asked.collect();
            let sql = format!("SELECT {} FROM {view}{suffix}{arguments}", asked.join(", "));
            let found = world.db.query(&sql).fetch_all::<(u64, u64)>().await;
            assert_eq!(found.unwrap(), [expected], "{sql}");
        }
        let comments = "SELECT groupArray(comment) FROM (SELECT comment FROM system.tables WHERE database = currentDatabase() AND name IN (?, ?) ORDER BY name)";
        let comments = world
            .db
            .query(comments)
            .bind(view)
            .bind(format!("{view}_with_bots"));
        let comments = comments.fetch_one::<Vec<String>>().await.unwrap();
        assert!(comments[0].contains("without bots"), "{comments:?}");
        assert!(comments[1].contains("bots"), "{comments:?}");
    }
    let undescribed = "SELECT groupArray((table, name)) FROM system.columns WHERE database = currentDatabase() AND comment = ''";
    let undescribed = world
        .db
        .query(undescribed)
        .fetch_one::<Vec<(String, String)>>();
    assert_eq!(undescribed.await.unwrap(), []);
    world.stop().await;
}
