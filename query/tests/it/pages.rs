//! Pages in browsers: what those of other origins may do, and the headers of every answer.

use infra::keys::hash;
use query::{Config, ReadKeys, Service};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::world::{World, row};

const OWN: &str = "http://dashboards.example";
const OTHER: &str = "http://evil.example";
/// Everything there is, and some that is not.
const PATHS: [&str; 14] = [
    "/",
    "/dashboard/0/app.js",
    "/stats?site_id=shop",
    "/stats/aggregated?site_id=shop",
    "/stats/timeseries?site_id=shop",
    "/stats/breakdown?site_id=shop&property=path",
    "/stats/realtime?site_id=shop",
    "/stats",
    "/sites",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/nothing",
];
const FIGURES: [&str; 5] = [
    "/stats?site_id=shop",
    "/stats/timeseries?site_id=shop",
    "/stats/breakdown?site_id=shop&property=path",
    "/stats/realtime?site_id=shop",
    "/sites",
];
const OPERATIONS: [&str; 3] = ["/health", "/ready", "/metrics"];
const EVENTS: (&str, &str) = ("accept", "text/event-stream");

fn with_keys(config: Config) -> Config {
    Config {
        keys: vec![ReadKeys {
            site_id: "*".to_owned(),
            read_keys: vec![hash("key-of-all")],
        }],
        ..config
    }
}

async fn world(config: Config) -> World {
    let world = World::with(config).await;
    let view = row("shop", "view", "/", "u", "2025-11-15T12:00:00Z");
    world.insert(&[view]).await;
    world.wait_until_ready_is(200, "ready").await;
    world
}

async fn ask(world: &World, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("http://{}{path}", world.address);
    let request = headers.iter().fold(
        reqwest::Client::new().request(method, url),
        |request, (name, value)| request.header(*name, *value),
    );
    request.send().await.unwrap()
}

async fn status(world: &World, path: &str, headers: &[(&str, &str)]) -> u16 {
    ask(world, "GET", path, headers).await.status().as_u16()
}

/// The origin that a browser lets read the answer.
async fn reader(
    world: &World,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<String> {
    let response = ask(world, method, path, headers).await;
    let allowed = response.headers().get("access-control-allow-origin")?;
    Some(allowed.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_under_a_foreign_name() {
    let world = world(Config::default()).await;
    for path in PATHS.iter().chain(&["/api-docs", "/api-docs/"]) {
        for host in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
        ] {
            let response = ask(&world, "GET", path, &[("host", host)]).await;
            assert_eq!(response.status(), 421, "{path} {host}");
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["success"], false, "{path}");
            let sentence = answer["errors"][0].as_str().unwrap();
            assert!(sentence.contains("query.hosts") && sentence.contains(host));
        }
        for own in ["127.0.0.1:3001", "[::1]:3001", "LOCALHOST", "query"] {
            let status = status(&world, path, &[("host", own)]).await;
            assert_ne!(status, 421, "{path} {own}");
        }
    }
    for method in ["POST", "OPTIONS", "HEAD"] {
        let response = ask(&world, method, "/sites", &[("host", "evil.example")]).await;
        assert_eq!(response.status(), 421, "{method}");
    }
    let listening = [("host", "evil.example"), EVENTS];
    assert_eq!(status(&world, FIGURES[3], &listening).await, 421);
    // A key that nobody asks for guards nothing.
    let key = [
        ("host", "evil.example"),
        ("authorization", "Bearer key-of-all"),
    ];
    assert_eq!(status(&world, "/sites", &key).await, 421);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_listed_is_answered() {
    let config = Config {
        hosts: vec!["stats.example.com".to_owned()],
        ..Config::default()
    };
    let world = world(config).await;
    for path in ["/", "/sites", "/metrics"] {
        let listed = [("host", "Stats.Example.Com:8443")];
        assert_eq!(status(&world, path, &listed).await, 200, "{path}");
        let other = [("host", "x.stats.example.com")];
        assert_eq!(status(&world, path, &other).await, 421, "{path}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_guards_is_answered_under_any_name_and_operations_are_not() {
    let world = world(with_keys(Config::default())).await;
    let named = ("host", "stats.example.com");
    for path in FIGURES {
        assert_eq!(status(&world, path, &[named]).await, 401, "{path}");
        let key = ("authorization", "Bearer key-of-all");
        assert_eq!(status(&world, path, &[named, key]).await, 200, "{path}");
    }
    // Who has a key wants to see the page, which is the same everywhere.
    for path in ["/", "/openapi.json", "/api-docs/"] {
        assert_eq!(status(&world, path, &[named]).await, 200, "{path}");
    }
    for path in OPERATIONS {
        assert_eq!(status(&world, path, &[named]).await, 421, "{path}");
        assert_eq!(status(&world, path, &[]).await, 200, "{path}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_may_be_read_by_pages_of_the_origins_that_are_listed() {
    let config = Config {
        cors_origins: vec![OWN.to_owned()],
        ..Config::default()
    };
    let world = world(config).await;
    for path in FIGURES.iter().chain(&["/stats"]) {
        for headers in [&[][..], &[EVENTS]] {
            let from = |origin| [headers, &[("origin", origin)]].concat();
            let response = ask(&world, "GET", path, &from(OWN)).await;
            let told = response.headers();
            assert_eq!(told["access-control-allow-origin"], OWN, "{path}");
            let exposed = told["access-control-expose-headers"].to_str().unwrap();
            assert!(exposed.contains("etag") && exposed.contains("retry-after"));
            for origin in [
                OTHER,
                "https://dashboards.example",
                "http://dashboards.example:8080",
                "http://x.dashboards.example",
                "http://dashboards.example.evil.example",
                "null",
            ] {
                let found = reader(&world, "GET", path, &from(origin)).await;
                assert_eq!(found, None, "{path} {origin}");
            }
        }
        let preflight = |origin| {
            [
                ("origin", origin),
                ("access-control-request-method", "GET"),
                ("access-control-request-headers", "if-none-match"),
            ]
        };
        let allowed = reader(&world, "OPTIONS", path, &preflight(OWN)).await;
        assert_eq!(allowed.as_deref(), Some(OWN), "{path}");
        assert_eq!(
            reader(&world, "OPTIONS", path, &preflight(OTHER)).await,
            None
        );
    }
    // Nobody needs to read more.
    for path in OPERATIONS.iter().chain(&["/", "/openapi.json"]) {
        let found = reader(&world, "GET", path, &[("origin", OWN)]).await;
        assert_eq!(found, None, "{path}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_elsewhere_may_read_figures_unless_its_origin_is_listed() {
    let world = world(Config::default()).await;
    for path in PATHS {
        let plain = [("origin", OTHER)];
        assert_eq!(reader(&world, "GET", path, &plain).await, None, "{path}");
        let key = [("origin", OTHER), ("authorization", "Bearer x")];
        assert_eq!(reader(&world, "GET", path, &key).await, None, "{path}");
        let preflight = [
            ("origin", OTHER),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let found = reader(&world, "OPTIONS", path, &preflight).await;
        assert_eq!(found, None, "{path}");
    }
    world.stop().await;
    let any = Config {
        cors_origins: vec!["*".to_owned()],
        ..Config::default()
    };
    let world = World::with(any).await;
    let found = reader(&world, "GET", "/sites", &[("origin", OTHER)]).await;
    assert_eq!(found.as_deref(), Some(OTHER));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_a_key_may_read_with_it() {
    let world = world(with_keys(Config::default())).await;
    for path in FIGURES {
        let preflight = [
            ("origin", OTHER),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let response = ask(&world, "OPTIONS", path, &preflight).await;
        assert_eq!(response.status(), 200, "{path}");
        let told = response.headers();
        assert_eq!(told["access-control-allow-origin"], OTHER, "{path}");
        assert_eq!(told["access-control-allow-headers"], "authorization");
        for headers in [&[][..], &[EVENTS]] {
            let with = |more: &[(&'static str, &'static str)]| [headers, more].concat();
            let page = ("origin", OTHER);
            let key = with(&[page, ("authorization", "Bearer key-of-all")]);
            assert_eq!(status(&world, path, &key).await, 200, "{path}");
            let found = reader(&world, "GET", path, &key).await;
            assert_eq!(found.as_deref(), Some(OTHER), "{path}");
            // The answer says why it may not.
            let wrong = with(&[page, ("authorization", "Bearer another")]);
            assert_eq!(status(&world, path, &wrong).await, 403, "{path}");
            let found = reader(&world, "GET", path, &wrong).await;
            assert_eq!(found.as_deref(), Some(OTHER), "{path}");
            let none = with(&[page]);
            assert_eq!(status(&world, path, &none).await, 401, "{path}");
            assert_eq!(reader(&world, "GET", path, &none).await, None, "{path}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_elsewhere_asks_for_is_not_counted_at_all() {
    let config = Config {
        cors_origins: vec![OWN.to_owned()],
        ..Config::default()
    };
    let world = world(config).await;
    for site in ["cross-site", "same-site"] {
        let from = |mode, dest, origin: Option<&'static str>| {
            let mut headers = vec![
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            headers.extend(origin.map(|origin| ("origin", origin)));
            headers
        };
        for path in PATHS {
            for (mode, dest) in [
                ("no-cors", "script"),
                ("no-cors", "image"),
                ("no-cors", "style"),
                ("no-cors", "empty"),
                ("navigate", "iframe"),
                ("navigate", "object"),
                ("cors", "empty"),
            ] {
                let response = ask(&world, "GET", path, &from(mode, dest, None)).await;
                assert_eq!(response.status(), 403, "{path} {mode} {dest}");
                let answer = response.text().await.unwrap();
                assert!(answer.contains("query.cors_origins"), "{answer}");
            }
            let fetched = from("cors", "empty", Some(OTHER));
            assert_eq!(status(&world, path, &fetched).await, 403, "{path}");
        }
        for path in FIGURES.iter().chain(&["/"]) {
            // A link leads anywhere.
            let link = from("navigate", "document", None);
            assert_eq!(status(&world, path, &link).await, 200, "{path}");
            let listed = from("cors", "empty", Some(OWN));
            assert_eq!(status(&world, path, &listed).await, 200, "{path}");
        }
    }
    for site in ["same-origin", "none"] {
        let own = [("sec-fetch-site", site), ("sec-fetch-mode", "cors")];
        assert_eq!(status(&world, "/sites", &own).await, 200, "{site}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_that_it_is_no_script_and_no_part_of_another_page() {
    let world = world(Config::default()).await;
    let assert_told = |response: &Response, what: &str| {
        let told = response.headers();
        assert_eq!(told["x-content-type-options"], "nosniff", "{what}");
        assert_eq!(told["x-frame-options"], "DENY", "{what}");
        assert_eq!(told["cross-origin-resource-policy"], "same-origin");
        let policies: Vec<_> = told.get_all("content-security-policy").iter().collect();
        assert_eq!(policies.len(), 1, "{what}");
        let policy = policies[0].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}");
        assert!(!policy.contains("script-src 'unsafe"), "{what}");
    };
    for path in PATHS.iter().chain(&[
        "/api-docs",
        "/api-docs/",
        "/api-docs/swagger-ui-bundle.js",
        "/api-docs/nothing",
    ]) {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "TRACE"] {
            for headers in [
                &[][..],
                &[("accept", "text/csv")],
                &[EVENTS],
                &[("host", "evil.example")],
                &[("if-none-match", "*")],
                &[("sec-fetch-site", "cross-site")],
            ] {
                let response = ask(&world, method, path, headers).await;
                let what = format!("{method} {path} {headers:?} {}", response.status());
                assert_told(&response, &what);
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn names_and_origins_that_are_none_stop_the_start() {
    let start = async |config: Config| {
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..config
        };
        let refused = Service::bind(config, infra::clickhouse::Config::default()).await;
        format!("{:#}", refused.err().unwrap())
    };
    let hosts = start(Config {
        hosts: vec!["http://stats.example.com".to_owned()],
        ..Config::default()
    });
    let said = hosts.await;
    assert!(said.contains("query.hosts") && said.contains("http://stats.example.com"));
    for wrong in [
        "stats.example.com",
        "null",
        "https://stats.example.com/",
        "*.example.com",
    ] {
        let origins = start(Config {
            cors_origins: vec![wrong.to_owned()],
            ..Config::default()
        });
        let said = origins.await;
        assert!(
            said.contains("query.cors_origins") && said.contains(wrong),
            "{said}"
        );
    }
    let origins = start(Config {
        cors_origins: vec!["*".to_owned(), OWN.to_owned()],
        ..Config::default()
    });
    assert!(origins.await.contains("query.cors_origins"));
}
