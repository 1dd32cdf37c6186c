//! How the service is, and what it says of itself.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::engine;
use crate::world::{DEADLINE, World, row};

#[tokio::test(flavor = "multi_thread")]
async fn health_names_the_service() {
    let world = World::new().await;
    let answer = world.json("/health", &[]).await;
    assert_eq!(answer, (200, json!({"status": "ok", "service": "query"})));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_told_until_it_is_migrated() {
    let world = World::on(engine::shared()).await;
    world.wait_until_ready_is(503, "weir migrate").await;
    let response = world.get("/stats", &[("site_id", "s")]).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    world.migrate().await;
    world.wait_until_ready_is(200, "ready").await;
    world.stats(&[("site_id", "s")]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_that_an_upgrade_left_empty_are_told_until_they_are_filled() {
    let filled = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    filled.insert(&[row("s", "view", "/", "u", time)]).await;
    let sql = async |sql: &str| filled.db.query(sql).execute().await.unwrap();
    sql("TRUNCATE TABLE stats_month").await;
    let world = filled.beside().await;
    world.wait_until_ready_is(503, "weir migrate").await;
    sql(
        "INSERT INTO stats_month SELECT site_id, toStartOfMonth(date), event_type, bot, events, users FROM stats_day",
    )
    .await;
    world.wait_until_ready_is(200, "ready").await;
    world.stop().await;
    filled.stop().await;
}

/// Parts of the rollups.
async fn parts_of_rollups(world: &World) -> u64 {
    let sql = "SELECT count() FROM system.parts \
               WHERE database = currentDatabase() AND active AND engine = 'AggregatingMergeTree'";
    world.db.query(sql).fetch_one().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_that_get_no_more_events_become_one_part_each() {
    let world = World::new().await;
    let rollups: Vec<String> = world
        .db
        .query(
            "SELECT name FROM system.tables \
             WHERE database = currentDatabase() AND engine = 'AggregatingMergeTree' \
             AND create_table_query LIKE '%min_age_to_force_merge_seconds = 3600%' \
             AND create_table_query LIKE '%min_age_to_force_merge_on_partition_only = 1%'",
        )
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(rollups.len(), 5, "{rollups:?}");
    let set = async |settings: &str| {
        for table in &rollups {
            let sql = format!("ALTER TABLE {table} MODIFY SETTING {settings}");
            world.db.query(&sql).execute().await.unwrap();
        }
    };
    // A minute is long, which ClickHouse may wait before it looks again, and so is an hour.
    set("merge_selecting_sleep_ms = 100, max_merge_selecting_sleep_ms = 500").await;
    for user in ["a", "b"] {
        let time = "2025-11-15T12:00:00Z";
        world.insert(&[row("s", "view", "/", user, time)]).await;
    }
    set("min_age_to_force_merge_seconds = 1").await;
    let deadline = Instant::now() + DEADLINE;
    while parts_of_rollups(&world).await > 5 {
        assert!(Instant::now() < deadline, "they are not merged");
        sleep(Duration::from_millis(100)).await;
    }
    // Made by merges, and read by each statement, for nothing.
    let statistics: u64 = world
        .db
        .query(
            "SELECT count() FROM system.parts_columns \
             WHERE database = currentDatabase() AND table != 'migrations' \
             AND active AND notEmpty(statistics)",
        )
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(statistics, 0);
    let answer = world.stats(&[("site_id", "s")]).await;
    assert_eq!(
        (&answer["total_views"], &answer["unique_users"]),
        (&json!(2), &json!(2))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_its_own_files_alone_and_its_links_lead_somewhere() {
    let world = World::new().await;
    let response = world.get("/", &[]).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["cache-control"], "no-cache");
    let page = response.text().await.unwrap();
    assert!(!page.contains("//") && !page.contains("style="), "{page}");
    let links: Vec<_> = ["href=\"/", "src=\"/"]
        .iter()
        .flat_map(|start| page.split(start).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(links.contains(&"api-docs"), "{links:?}");
    assert!(links.len() > 15, "{links:?}");
    world.wait_until_ready_is(200, "ready").await;
    for link in links {
        let path = format!("/{link}");
        let response = world.get(&path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        if path.starts_with("/dashboard/") {
            let caching = response.headers()["cache-control"].to_str().unwrap();
            assert!(caching.contains("immutable"), "{path}: {caching}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_api_holds() {
    let world = World::new().await;
    let (status, document) = world.json("/openapi.json", &[]).await;
    assert_eq!(status, 200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    const COMMON: [&str; 11] = [
        "site_id",
        "date",
        "start_date",
        "end_date",
        "timezone",
        "event_type",
        "path",
        "filter",
        "exact",
        "bots",
        "compare",
    ];
    for (path, common, own) in [
        ("/stats", &COMMON[..], &["limit"][..]),
        ("/stats/aggregated", &COMMON, &["limit"]),
        ("/stats/timeseries", &COMMON, &["interval"]),
        ("/stats/breakdown", &COMMON, &["property", "limit", "page"]),
        ("/stats/realtime", &["site_id", "bots"], &[]),
        ("/sites", &[], &["limit", "page", "bots"]),
    ] {
        let operation = &document["paths"][path]["get"];
        let parameters = operation["parameters"].as_array().unwrap();
        let names: Vec<_> = parameters
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, [common, own, &["raw_cells"]].concat(), "{path}");
        for parameter in parameters {
            let sentence = parameter["description"].as_str().unwrap_or_default();
            assert!(!sentence.is_empty(), "{path}: {parameter}");
        }
        for status in ["200", "304", "400", "401", "403", "503"] {
            assert!(
                operation["responses"][status].is_object(),
                "{path}: {status}"
            );
        }
        assert_eq!(
            operation["responses"]["503"]["headers"]["Retry-After"]["schema"]["type"], "integer",
            "{path}"
        );
    }
    world
        .insert(&[row("s", "view", "/", "u", "2025-11-15T00:00:00Z")])
        .await;
    let days = [
        ("site_id", "s"),
        ("start_date", "2025-11-01"),
        ("end_date", "2025-12-01"),
        ("compare", "previous_period"),
        ("property", "path"),
    ];
    for (path, schema, lists) in [
        ("/stats", "StatsAnswer", &[("top_paths", "PathViews")][..]),
        ("/stats/timeseries", "SeriesAnswer", &[("points", "Point")]),
        (
            "/stats/breakdown",
            "BreakdownAnswer",
            &[("rows", "BreakdownRow")],
        ),
        ("/stats/realtime", "RealtimeAnswer", &[]),
        ("/sites", "SitesAnswer", &[("sites", "Site")]),
    ] {
        let (status, answer) = world.json(path, &days).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_described(&document, schema, &answer);
        for (list, schema) in lists {
            assert_described(&document, schema, &answer[list][0]);
        }
    }
    let (_, refusal) = world.json("/stats", &[]).await;
    assert_described(&document, "ErrorBody", &refusal);
    world.stop().await;
}

/// Every field that is there is described, and every field that is required is there.
fn assert_described(document: &Value, schema: &str, answer: &Value) {
    let schema = &document["components"]["schemas"][schema];
    let answer = answer.as_object().unwrap();
    for field in answer.keys() {
        assert!(schema["properties"][field].is_object(), "{field}: {schema}");
    }
    for field in schema["required"].as_array().unwrap() {
        assert!(answer.contains_key(field.as_str().unwrap()), "{field}");
    }
}
