//! One event from HTTP to /stats, and all the doors that lead to it.

use std::time::Duration;

use e2e::{Weir, eventually};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use reqwest::StatusCode;
use serde_json::{Value, json};

const FOUR_EVENTS: [(&str, &str); 4] = [
    ("/pricing", "user-1"),
    ("/blog/post-1", "user-2"),
    ("/", "user-3"),
    ("/pricing", "user-1"),
];

async fn post_four_events(weir: &Weir) {
    for (path, user_id) in FOUR_EVENTS {
        let event = json!({
            "site_id": "site-abc-123",
            "event_type": "page_view",
            "path": path,
            "user_id": user_id,
            "timestamp": "2025-11-15T12:00:00Z",
        });
        let (status, answer) = weir.post("/event", event.to_string()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        assert_eq!(answer["success"], true);
        assert_eq!(answer["status"], "accepted");
        assert_eq!(answer["message"], "Event queued for processing");
        assert!(answer["event_id"].is_string());
    }
}

fn four_events(date: Value) -> Value {
    json!({
        "site_id": "site-abc-123",
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
}

#[tokio::test]
async fn four_events_are_four_views_of_three_users() {
    let weir = Weir::up();
    post_four_events(&weir).await;
    let day = "site_id=site-abc-123&date=2025-11-15";
    eventually(four_events(json!("2025-11-15")), async || {
        weir.stats(day).await
    })
    .await;
    // Of one INSERT the rollups that all time is read from may come a moment later.
    let mut of_all_time = four_events(Value::Null);
    of_all_time["visitors_period"] = json!("day");
    eventually(of_all_time, async || {
        weir.stats("site_id=site-abc-123").await
    })
    .await;

    let aggregated = format!("{}/stats/aggregated?{day}", weir.query);
    let aggregated: Value = reqwest::get(aggregated)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(aggregated, four_events(json!("2025-11-15")));

    // Noon in UTC is the same day in Kathmandu and the next one in Kiritimati.
    assert_eq!(
        weir.stats(&format!("{day}&timezone=Asia/Kathmandu")).await["total_views"],
        4
    );
    assert_eq!(
        weir.stats(&format!("{day}&timezone=Pacific/Kiritimati"))
            .await["total_views"],
        0
    );
    let next = "site_id=site-abc-123&date=2025-11-16&timezone=Pacific/Kiritimati";
    let mut expected = four_events(json!("2025-11-16"));
    // A day there has parts of two days in UTC.
    expected["visitors_period"] = json!("day");
    assert_eq!(weir.stats(next).await, expected);
    assert_eq!(weir.stats("site_id=nobody").await["total_views"], 0);
}

#[tokio::test]
async fn the_same_clients_event_id_counts_once() {
    let weir = Weir::up();
    let event = json!({"site_id": "s", "event_type": "view", "event_id": "order-1", "path": "/"});
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (status, answer) = weir.post("/event", event.to_string()).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        ids.push(answer["event_id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // Behind the repeats in every partition, so that they are through once these are.
    let markers: Vec<_> = (0..64)
        .map(|n| json!({"site_id": "m", "event_type": "view", "event_id": format!("{n}")}))
        .collect();
    weir.post("/events", json!(markers).to_string()).await;
    eventually(json!(64), async || {
        weir.stats("site_id=m").await["total_views"].clone()
    })
    .await;
    assert_eq!(weir.stats("site_id=s").await["total_views"], 1);
    assert_eq!(
        weir.clickhouse()
            .text("SELECT count() FROM weir.events WHERE site_id = 's'")
            .await,
        "1"
    );
}

#[tokio::test]
async fn two_hundred_months_in_one_request_are_all_stored() {
    let weir = Weir::up();
    let events: Vec<Value> = (0..200)
        .map(|month| {
            let timestamp = format!("{}-{:02}-03T04:05:06Z", 2003 + month / 12, month % 12 + 1);
            json!({"site_id": "old", "event_type": "view", "path": "/", "timestamp": timestamp})
        })
        .collect();
    let (status, answer) = weir.post("/events", json!(events).to_string()).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (StatusCode::ACCEPTED, &json!(200))
    );
    let stored = "SELECT count(), uniqExact(toYYYYMM(timestamp)) FROM weir.events";
    eventually("200\t200".to_owned(), async || {
        weir.clickhouse().text(stored).await
    })
    .await;
    // A reader may see the raw rows of a block before its rollups.
    eventually(json!(200), async || {
        weir.stats("site_id=old").await["total_views"].clone()
    })
    .await;
}

#[tokio::test]
async fn analysts_read_and_do_not_write() {
    let weir = Weir::up();
    post_four_events(&weir).await;
    let analyst = weir.analyst();
    eventually("4\t3".to_owned(), async || {
        analyst.text("SELECT events, users FROM weir.daily").await
    })
    .await;
    for refused in [
        "INSERT INTO weir.paths_day VALUES ('s', today(), 't', '/', 0, 1)",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "DROP TABLE weir.events",
        "CREATE TABLE weir.mine (x UInt8) ENGINE = MergeTree ORDER BY x",
        "SELECT 1; SELECT 2",
    ] {
        assert!(analyst.ask(refused).await.is_err(), "{refused}");
    }
    let described = "SELECT countIf(comment = '') FROM system.columns WHERE database = 'weir' AND table IN ('events', 'daily', 'daily_paths', 'stats_day')";
    assert_eq!(weir.clickhouse().text(described).await, "0");
}

#[tokio::test]
async fn kafkas_own_clients_see_the_topics() {
    let weir = Weir::up();
    let brokers = weir.kafka.clone();
    let (events, dead_letters) = (weir.topics.events.clone(), weir.topics.dead_letters.clone());
    let own = [events.clone(), dead_letters.clone()];
    let topics = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()
            .unwrap();
        let metadata = consumer
            .fetch_metadata(None, Duration::from_secs(10))
            .unwrap();
        let mut topics: Vec<_> = metadata
            .topics()
            .iter()
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            // Other tests may share this Kafka.
            .filter(|(name, _)| own.contains(name))
            .collect();
        topics.sort();
        topics
    })
    .await
    .unwrap();
    assert_eq!(topics, [(events, 8), (dead_letters, 1)]);
}

#[tokio::test]
async fn every_service_says_how_it_is_and_what_it_can_be_asked() {
    let weir = Weir::up();
    for (url, service) in [(&weir.ingest, "ingest"), (&weir.query, "query")] {
        let health: Value = reqwest::get(format!("{url}/health"))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(health, json!({"status": "ok", "service": service}));
        let ready = reqwest::get(format!("{url}/ready")).await.unwrap();
        let status = ready.status();
        assert_eq!(status, StatusCode::OK, "{}", ready.text().await.unwrap());
        let metrics = reqwest::get(format!("{url}/metrics")).await.unwrap();
        assert!(
            metrics.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/plain")
        );
        let openapi: Value = reqwest::get(format!("{url}/openapi.json"))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert!(
            openapi["openapi"].as_str().unwrap().starts_with("3.1"),
            "{}",
            openapi["openapi"]
        );
        let docs = reqwest::get(format!("{url}/api-docs")).await.unwrap();
        assert_eq!(docs.status(), StatusCode::OK);
        let page = docs.text().await.unwrap();
        assert!(page.contains("swagger-ui"), "{page}");
        assert!(
            !page.contains("https://"),
            "nothing comes from elsewhere: {page}"
        );
    }
    let metrics = reqwest::get(format!("{}/metrics", weir.ingest))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!metrics.contains("weir_ingest_events_total{outcome=\"accepted\"} 4"));
    post_four_events(&weir).await;
    let metrics = reqwest::get(format!("{}/metrics", weir.ingest))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("weir_ingest_events_total{outcome=\"accepted\"} 4"),
        "{metrics}"
    );
}
