//! Questions that cannot be answered, as the client sees them.

use serde_json::json;

use crate::world::{World, row};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_told_at_once_in_the_common_shape() {
    let world = World::new().await;
    let long = "x".repeat(129);
    let parameters = [
        ("site_id", long.as_str()),
        ("date", "2025-02-30"),
        ("start_date", "2025-01-02"),
        ("end_date", "2025-01-01"),
        ("timezone", "Mars/Olympus"),
        ("event_type", "a\u{1}"),
        ("path", &"/".repeat(2049)),
        ("limit", "0"),
        ("limit", "5"),
        ("from", "2025-01-01"),
        ("from", "2025-01-02"),
    ];
    for route in ["/stats", "/stats/aggregated"] {
        let (status, answer) = world.json(route, &parameters).await;
        assert_eq!(status, 400);
        assert_eq!(answer["success"], false);
        assert_eq!(answer["status"], "error");
        let errors: Vec<_> = answer["errors"].as_array().unwrap().clone();
        let named = |start: &str| {
            errors
                .iter()
                .filter(|error| error.as_str().unwrap().starts_with(start))
                .count()
        };
        for (name, faults) in [
            ("site_id", 1),
            // Not a day, and not beside a range.
            ("date", 2),
            ("end_date", 1),
            ("timezone", 1),
            ("event_type", 1),
            ("path", 1),
            // Twice, and the first is none.
            ("limit", 2),
            // Read by nobody.
            ("\"from\"", 1),
        ] {
            assert_eq!(named(name), faults, "{name}: {errors:?}");
        }
        assert_eq!(errors.len(), 10, "{errors:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_short_whatever_was_sent() {
    let world = World::new().await;
    let long = "x".repeat(20_000);
    for name in [
        "site_id",
        "date",
        "start_date",
        "timezone",
        "event_type",
        "path",
        "limit",
    ] {
        let mut parameters = vec![(name, long.as_str())];
        if name != "site_id" {
            parameters.push(("site_id", "s"));
        }
        let response = world.get("/stats", &parameters).await;
        assert_eq!(response.status(), 400, "{name}");
        let body = response.text().await.unwrap();
        assert!(body.len() < 500, "{name}: {body}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_do_not_harm() {
    let world = World::new().await;
    for query in [
        "site_id=%FF%FE",
        "site_id=%",
        "site_id=s&path=/%C3%28%00",
        "site_id=s&limit=%31%30&&&=&==",
        "%00=%00",
        "site_id",
    ] {
        let response = world.get(&format!("/stats?{query}"), &[]).await;
        let status = response.status().as_u16();
        let body: serde_json::Value = response.json().await.unwrap();
        match status {
            200 => assert_eq!(body["total_views"], 0, "{query}"),
            400 => assert_eq!(body["status"], "error", "{query}"),
            _ => panic!("{query}: {status} {body}"),
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_get_the_common_shape() {
    let world = World::new().await;
    let (status, answer) = world.json("/nowhere", &[]).await;
    assert_eq!(
        (status, answer),
        (
            404,
            json!({"success": false, "status": "error", "errors": ["there is no /nowhere"]})
        )
    );
    let posted = world.post("/stats").await;
    assert_eq!(posted.status(), 405);
    assert_eq!(posted.headers()["allow"], "GET,HEAD");
    world.stop().await;
}

/// What each endpoint can be asked.
const PARAMETERS: [(&str, &[&str]); 6] = [
    ("/stats", &["limit"]),
    ("/stats/aggregated", &["limit"]),
    ("/stats/timeseries", &["interval"]),
    ("/stats/breakdown", &["property", "limit", "page"]),
    ("/stats/realtime", &[]),
    ("/sites", &["limit", "page"]),
];
const COMMON: [&str; 10] = [
    "site_id",
    "date",
    "start_date",
    "end_date",
    "timezone",
    "event_type",
    "path",
    "exact",
    "compare",
    "filter",
];

fn known(route: &str) -> Vec<&'static str> {
    let (_, own) = PARAMETERS.iter().find(|(name, _)| *name == route).unwrap();
    let common: &[&str] = match route {
        "/stats/realtime" => &["site_id"],
        "/sites" => &[],
        _ => &COMMON,
    };
    [common, own].concat()
}

/// A question that is answered, with one parameter changed or added.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let sound = [("site_id", "s"), ("property", "path")];
    let mut parameters: Vec<_> = sound.into_iter().filter(|(key, _)| *key != name).collect();
    parameters.push((name, value));
    parameters
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_of_every_endpoint_is_judged_or_taken_literally() {
    // `-1` and `null` are names that a site can have, and anything is after `props.`.
    const LITERAL: [&str; 5] = ["site_id", "event_type", "path", "filter", "property"];
    let world = World::new().await;
    world
        .insert(&[row("s", "view", "/", "u", "2025-11-15T12:00:00Z")])
        .await;
    let huge = "9".repeat(30_000);
    let values = [
        "' OR 1=1 --",
        "x'; DROP TABLE events; --",
        "1 UNION ALL SELECT 1",
        "{site_id:String}",
        "\\",
        "\u{0}",
        "\u{1F30A}",
        "-1",
        "1e9",
        "99999999999999999999",
        "null",
        "[]",
        " ",
        "path:is:' OR 1=1 --",
        "props.x' OR '1'='1:contains:')) OR 1=1 --",
        "props.{key:String}:is_not:\\'",
        huge.as_str(),
    ];
    for (route, _) in PARAMETERS {
        for name in known(route) {
            for value in values {
                let (status, answer) = world.json(route, &with(name, value)).await;
                let shown: String = value.chars().take(50).collect();
                let told = format!("{route} {name}={shown:?}: {status} {answer}");
                if status == 400 {
                    assert!(answer.to_string().len() < 1000, "{told}");
                    let errors = answer["errors"].as_array().unwrap();
                    let names_it =
                        |error: &serde_json::Value| error.as_str().unwrap().starts_with(name);
                    assert!(errors.iter().all(names_it), "{told}");
                    continue;
                }
                assert_eq!(status, 200, "{told}");
                assert!(LITERAL.contains(&name), "{told}");
                // One event, which none of these is, and which has none of these properties.
                let without = value.contains("is_not") || name == "property";
                let lists = ["points", "rows"].map(|list| answer[list].as_array());
                let views = lists.into_iter().flatten().flatten();
                let views: u64 = views.map(|entry| entry["views"].as_u64().unwrap()).sum();
                let views = views + answer["total_views"].as_u64().unwrap_or(0);
                assert!(views <= u64::from(without), "{told}");
            }
        }
    }
    assert_eq!(world.stats(&[("site_id", "s")]).await["total_views"], 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_given_twice_is_named() {
    let world = World::new().await;
    for (route, _) in PARAMETERS {
        for name in known(route) {
            let value = match name {
                "site_id" => "s",
                "date" | "start_date" | "end_date" => "2025-11-15",
                "timezone" => "UTC",
                "exact" => "true",
                "compare" => "previous_year",
                "limit" | "page" => "1",
                "interval" => "day",
                "property" => "path",
                "filter" => continue,
                _ => "x",
            };
            let mut twice = with(name, value);
            twice.push((name, value));
            let (status, answer) = world.json(route, &twice).await;
            assert_eq!(status, 400, "{route} {name}: {answer}");
            let sentence = format!("{name} is given twice");
            assert!(answer.to_string().contains(&sentence), "{route}: {answer}");
        }
        for missing in ["site_id", "property"] {
            if known(route).contains(&missing) {
                let (status, answer) = world.json(route, &with(missing, "")).await;
                assert_eq!(status, 400, "{route}");
                let sentence = answer["errors"][0].as_str().unwrap();
                assert!(sentence.starts_with(missing), "{route}: {answer}");
            }
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_two_hundred_years_is_answered_or_refused_by_its_interval() {
    let world = World::new().await;
    world
        .insert(&[row("s", "view", "/", "u", "2025-11-15T12:00:00Z")])
        .await;
    for zone in ["UTC", "Asia/Kathmandu"] {
        let range = [
            ("site_id", "s"),
            ("start_date", "2000-01-01"),
            ("end_date", "2199-12-31"),
            ("timezone", zone),
            ("compare", "previous_period"),
            ("property", "path"),
        ];
        for route in ["/stats", "/stats/breakdown"] {
            let (status, answer) = world.json(route, &range).await;
            assert_eq!(status, 200, "{answer}");
        }
        for interval in ["minute", "hour", "day", "week"] {
            let asked = [&range[..], &[("interval", interval)]].concat();
            let (status, answer) = world.json("/stats/timeseries", &asked).await;
            assert_eq!(status, 400);
            let sentence = answer["errors"][0].as_str().unwrap();
            assert!(sentence.starts_with("interval"), "{sentence}");
        }
        let months = [&range[..], &[("interval", "month")]].concat();
        let (status, answer) = world.json("/stats/timeseries", &months).await;
        assert_eq!(status, 200);
        assert_eq!(answer["points"].as_array().unwrap().len(), 2400);
        let views = answer["points"].as_array().unwrap().iter();
        let views: u64 = views.map(|point| point["views"].as_u64().unwrap()).sum();
        assert_eq!(views, 1);
    }
    // All time begins with the first event.
    let days = [("site_id", "s"), ("interval", "minute")];
    let (status, answer) = world.json("/stats/timeseries", &days).await;
    assert_eq!(status, 400, "{answer}");
    let (_, answer) = world.json("/stats/timeseries", &days[..1]).await;
    assert_eq!(answer["start_date"], "2025-11-15");
    assert_eq!(answer["points"][0]["views"], 1);
    world.stop().await;
}
