//! Read keys.

use infra::keys::hash;
use query::{Config, ReadKeys};
use serde_json::Value;

use crate::world::{World, row};

const ROUTES: [&str; 5] = [
    "/stats",
    "/stats/timeseries",
    "/stats/breakdown",
    "/stats/realtime",
    "/tag",
];

async fn world() -> World {
    let keys = [
        ("shop", "key-of-shop"),
        ("blog", "key-of-blog"),
        ("*", "key-of-all"),
    ];
    let keys = keys.map(|(site_id, key)| ReadKeys {
        site_id: site_id.to_owned(),
        read_keys: vec![hash(key)],
    });
    let config = Config {
        keys: keys.to_vec(),
        ..Config::default()
    };
    let world = World::with(config).await;
    let time = "2025-11-15T12:00:00Z";
    world
        .insert(&[
            row("shop", "view", "/", "u", time),
            row("blog", "view", "/", "u", time),
            row("else", "view", "/", "u", time),
        ])
        .await;
    world
}

async fn status(world: &World, route: &str, site: &str, key: Option<&str>) -> u16 {
    let parameters = [("site_id", site), ("property", "path")];
    let bearer = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<_> = bearer
        .iter()
        .map(|key| ("authorization", key.as_str()))
        .collect();
    let response = world.get_with(route, &parameters, &headers).await;
    if response.status() == 401 {
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    response.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_own_site_and_no_other() {
    let world = world().await;
    for route in ROUTES {
        for (site, key, expected) in [
            ("shop", Some("key-of-shop"), 200),
            ("shop", Some("key-of-all"), 200),
            ("else", Some("key-of-all"), 200),
            ("shop", None, 401),
            ("shop", Some("key-of-blog"), 403),
            ("else", Some("key-of-shop"), 403),
            ("shop", Some("KEY-OF-SHOP"), 403),
        ] {
            let found = status(&world, route, site, key).await;
            assert_eq!(found, expected, "{route} {site} {key:?}");
        }
    }
    let events = world
        .get_with(
            "/stats/realtime",
            &[("site_id", "shop")],
            &[("accept", "text/event-stream")],
        )
        .await;
    assert_eq!(events.status(), 401);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sites_listed_are_those_that_the_key_opens() {
    let world = world().await;
    for (key, sites) in [
        ("key-of-shop", &["shop"][..]),
        ("key-of-all", &["blog", "else", "shop"]),
    ] {
        let bearer = format!("Bearer {key}");
        let response = world
            .get_with("/sites", &[], &[("authorization", &bearer)])
            .await;
        let answer: Value = response.json().await.unwrap();
        let names = answer["sites"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|site| site["site_id"].as_str().unwrap())
            .collect();
        assert_eq!(names, sites);
        assert_eq!(answer["total"], sites.len());
    }
    assert_eq!(status(&world, "/sites", "", None).await, 401);
    assert_eq!(status(&world, "/sites", "", Some("x")).await, 403);
    // Who watches the service needs no key.
    assert_eq!(world.get("/health", &[]).await.status(), 200);
    world.stop().await;
}
