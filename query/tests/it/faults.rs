//! Questions that cannot be answered, as the client sees them.

use serde_json::json;

use crate::world::World;

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
        ("utm_source", "x"),
        ("utm_source", "y"),
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
        ] {
            assert_eq!(named(name), faults, "{name}: {errors:?}");
        }
        assert_eq!(errors.len(), 9, "{errors:?}");
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
