//! Events that come late, and imports, are found on the days they happened on, in any time zone.

use e2e::{Weir, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn get(weir: &Weir, path: &str) -> Value {
    let response = reqwest::get(format!("{}{path}", weir.query))
        .await
        .expect("query answers");
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.json().await.expect("query answers with JSON")
}

/// The day on which the clocks went from two to three.
const SERIES: &str =
    "/stats/timeseries?site_id=late&date=2025-03-30&timezone=Europe/Berlin&interval=hour";

#[tokio::test]
async fn late_events_and_imports_lie_on_the_days_they_happened_on() {
    let weir = Weir::up();
    // One of today first, so that the others are late.
    let now = json!({"site_id": "late", "event_type": "view", "user_id": "now"});
    weir.post("/event", now.to_string()).await;
    eventually(json!(1), async || {
        weir.stats("site_id=late").await["total_views"].clone()
    })
    .await;
    let late: Vec<_> = [
        // The last minute of the day before, and the first of the day, in Berlin.
        ("2025-03-29T22:59:59.999Z", "before"),
        ("2025-03-29T23:00:00Z", "first"),
        // The last before the clocks change, and the first after.
        ("2025-03-30T00:59:59.999Z", "u"),
        ("2025-03-30T01:00:00Z", "u"),
        // The last of the day.
        ("2025-03-30T21:59:59.999Z", "last"),
        ("2025-03-30T22:00:00Z", "after"),
    ]
    .map(|(time, user)| {
        json!({"site_id": "late", "event_type": "view", "path": "/p", "user_id": user,
            "timestamp": time, "referrer": "https://a.example/", "props": {"plan": "pro"}})
    })
    .to_vec();
    let (status, answer) = weir.post("/events", json!(late).to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    // And one by import, at noon.
    let log = weir.folder().join("access.log");
    let line = r#"10.0.0.1 - - [30/Mar/2025:12:00:00 +0200] "GET /imported HTTP/1.1" 200 1 "-" "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0""#;
    std::fs::write(&log, format!("{line}\n")).expect("the log is written");
    let imported = weir.import("late", &log);
    assert!(imported.success, "{imported:?}");

    let day = "site_id=late&date=2025-03-30&timezone=Europe/Berlin";
    eventually(json!([5, 4]), async || {
        let stats = weir.stats(day).await;
        json!([stats["total_views"], stats["unique_users"]])
    })
    .await;
    let exact = weir.stats(&format!("{day}&exact=true")).await;
    assert_eq!(exact["total_views"], 5);
    assert_eq!(exact["unique_users"], 4);
    let compared = weir.stats(&format!("{day}&compare=previous_period")).await;
    assert_eq!(compared["comparison"]["start_date"], "2025-03-29");
    assert_eq!(compared["comparison"]["total_views"], 1);

    let series = get(&weir, SERIES).await;
    let points = series["points"].as_array().expect("points");
    assert_eq!(points.len(), 23);
    let seen: Vec<_> = points.iter().filter(|point| point["views"] != 0).collect();
    let seen: Vec<_> = seen
        .iter()
        .map(|point| point["time"].as_str().expect("a time"))
        .collect();
    assert_eq!(
        seen,
        [
            "2025-03-30T00:00:00+01:00",
            "2025-03-30T01:00:00+01:00",
            "2025-03-30T03:00:00+02:00",
            "2025-03-30T12:00:00+02:00",
            "2025-03-30T23:00:00+02:00",
        ]
    );
    for (property, rows) in [
        (
            "path",
            json!([
                {"value": "/p", "views": 4, "unique_users": 3},
                {"value": "/imported", "views": 1, "unique_users": 1},
            ]),
        ),
        (
            "props.plan",
            json!([
                {"value": "pro", "views": 4, "unique_users": 3},
                {"value": "", "views": 1, "unique_users": 1},
            ]),
        ),
    ] {
        let answer = get(
            &weir,
            &format!("/stats/breakdown?{day}&property={property}"),
        )
        .await;
        assert_eq!(answer["rows"], rows, "{property}");
        assert_eq!(answer["total"], 2);
    }
    let sites = get(&weir, "/sites").await;
    assert_eq!(sites["sites"][0]["site_id"], "late");
    assert_eq!(sites["sites"][0]["total_views"], 8);
    assert_eq!(sites["sites"][0]["first_date"], "2025-03-29");
}
