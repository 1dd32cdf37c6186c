//! Each property of an event is read from its own place, and so is one that is not known.

use serde_json::json;

use crate::world::{EventRow, World, row};

#[tokio::test(flavor = "multi_thread")]
async fn each_property_has_its_own_value_and_an_unknown_one_is_empty() {
    let world = World::new().await;
    let time = "2025-11-15T12:00:00Z";
    let known = EventRow {
        _agent: "Firefox\t131\tLinux\tdesktop\tGooglebot".to_owned(),
        _source: "Email\tLetter\tu-source\tu-medium\tu-campaign\tu-term\tu-content".to_owned(),
        _place: "DE\tDE-BY\tMunich".to_owned(),
        hostname: "a.example".to_owned(),
        language: "de-DE".to_owned(),
        screen: "wide".to_owned(),
        referrer: "https://www.news.example/".to_owned(),
        ..row("s", "view", "/", "u", time)
    };
    // Nothing is known of this one, and nobody is named.
    world
        .insert(&[known, row("s", "view", "/", "", time)])
        .await;
    for (property, value) in [
        ("user", "u"),
        ("channel", "Email"),
        ("source", "Letter"),
        ("utm_source", "u-source"),
        ("utm_medium", "u-medium"),
        ("utm_campaign", "u-campaign"),
        ("utm_term", "u-term"),
        ("utm_content", "u-content"),
        ("browser", "Firefox"),
        ("browser_version", "131"),
        ("system", "Linux"),
        ("device", "desktop"),
        ("bot", "Googlebot"),
        ("country", "DE"),
        ("region", "DE-BY"),
        ("city", "Munich"),
        ("hostname", "a.example"),
        ("language", "de-DE"),
        ("screen", "wide"),
        ("referrer_host", "news.example"),
    ] {
        let asked = [
            ("site_id", "s"),
            ("bots", "include"),
            ("property", property),
        ];
        let (status, answer) = world.json("/stats/breakdown", &asked).await;
        assert_eq!(status, 200, "{property}: {answer}");
        let expected = json!([
            {"value": "", "views": 1, "unique_users": 0},
            {"value": value, "views": 1, "unique_users": 1},
        ]);
        assert_eq!(answer["rows"], expected, "{property}");
        for (value, users) in [(value, 1), ("", 0)] {
            let filter = format!("{property}:is:{value}");
            let asked = [("site_id", "s"), ("bots", "include"), ("filter", &filter)];
            let stats = world.stats(&asked).await;
            let found = (&stats["total_views"], &stats["unique_users"]);
            assert_eq!(found, (&json!(1), &json!(users)), "{filter}");
        }
    }
    world.stop().await;
}
