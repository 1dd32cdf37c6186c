//! Write keys: who may send events of which site, and from where.

use std::path::Path;

use ingest::{KeysConfig, SiteKeys, key_hash};
use serde_json::json;

use crate::support::{Answer, Edge};

const PUBLIC: &str = "wp_public";
const SECRET: &str = "ws_secret";
const SHOP: &str = "https://shop.example";

fn sites() -> KeysConfig {
    KeysConfig {
        sites: vec![
            SiteKeys {
                site_id: "shop".parse().unwrap(),
                origins: vec![SHOP.to_owned().try_into().unwrap()],
                public_keys: vec![key_hash("wp_old").into(), PUBLIC.parse().unwrap()],
                secret_keys: vec![key_hash(SECRET)],
            },
            SiteKeys {
                site_id: "anywhere".parse().unwrap(),
                origins: Vec::new(),
                public_keys: vec![key_hash("wp_anywhere").into()],
                secret_keys: Vec::new(),
            },
        ],
        ..KeysConfig::default()
    }
}

fn config(keys: KeysConfig) -> ingest::Config {
    ingest::Config {
        keys,
        ..ingest::Config::default()
    }
}

fn event_of(site: &str) -> String {
    json!({"site_id": site, "event_type": "x"}).to_string()
}

async fn send(edge: &Edge, site: &str, key: Option<&str>, origin: Option<&str>) -> Answer {
    let mut request = edge.post("/event", event_of(site));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn an_event_needs_a_key_of_its_site() {
    let (edge, broker) = Edge::ready_with(config(sites())).await;
    let missing = send(&edge, "shop", None, Some(SHOP)).await;
    let errors = missing.refused(401);
    assert!(errors[0].contains("write key is required"), "{errors:?}");
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    for wrong in ["wp_other", "wp_anywhere", "", "WP_PUBLIC"] {
        let answer = send(&edge, "shop", Some(wrong), Some(SHOP)).await;
        answer.refused(if wrong.is_empty() { 401 } else { 403 });
    }
    // A site without keys is closed, and reads like any other.
    send(&edge, "unlisted", None, None).await.refused(401);
    let unlisted = send(&edge, "unlisted", Some(SECRET), None)
        .await
        .refused(403);
    let wrong = send(&edge, "shop", Some("wp_other"), None)
        .await
        .refused(403);
    assert_eq!(unlisted, wrong);
    // Faults of the event come first: they need no key to be reported.
    edge.event("{}").await.refused(400);

    send(&edge, "shop", Some(PUBLIC), Some(SHOP)).await.is(202);
    send(&edge, "shop", Some("wp_old"), Some(SHOP))
        .await
        .is(202);
    send(&edge, "anywhere", Some("wp_anywhere"), None)
        .await
        .is(202);
    let basic = edge
        .post("/event", event_of("shop"))
        .header("authorization", "Basic d3A6cHVibGlj");
    Answer::of(basic).await.refused(401);
    broker.read(3).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_public_key_is_good_from_the_sites_origins_and_a_secret_one_from_anywhere() {
    let (edge, _broker) = Edge::ready_with(config(sites())).await;
    for origin in [Some(SHOP), Some("HTTPS://SHOP.EXAMPLE:443")] {
        send(&edge, "shop", Some(PUBLIC), origin).await.is(202);
    }
    for origin in [
        None,
        Some("null"),
        Some("http://shop.example"),
        Some("https://shop.example:8443"),
        Some("https://shop.example.evil.example"),
        Some("https://evil.example/https://shop.example"),
    ] {
        let errors = send(&edge, "shop", Some(PUBLIC), origin).await.refused(403);
        assert!(errors[0].contains("origin"), "{errors:?}");
        send(&edge, "shop", Some(SECRET), origin).await.is(202);
    }
    edge.stop().await;
}

#[tokio::test]
async fn beacons_and_pixels_bring_their_key_as_a_parameter() {
    let (edge, _broker) = Edge::ready_with(config(sites())).await;
    let beacon = |path: &str| {
        edge.post(path, event_of("shop"))
            .header("content-type", "text/plain;charset=UTF-8")
            .header("origin", SHOP)
    };
    for path in ["/event", "/events"] {
        let keyed = format!("{path}?key={PUBLIC}");
        let answer = Answer::of(beacon(&keyed)).await;
        answer.is(202);
        assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
        Answer::of(beacon(&format!("{path}?key=")))
            .await
            .refused(401);
        Answer::of(beacon(&format!("{path}?key=wp_other")))
            .await
            .refused(403);
        // A header is the stronger word.
        let both = beacon(&keyed).header("authorization", "Bearer wp_other");
        Answer::of(both).await.refused(403);
    }
    let pixel = |query: &str, page: &str| {
        edge.client
            .get(format!("{}/pixel.gif?site_id=shop{query}", edge.url))
            .header("referer", page)
    };
    let page = "https://shop.example/pricing?a=b";
    let keyed = format!("&key={PUBLIC}");
    Answer::of(pixel(&keyed, page)).await.is(200);
    Answer::of(pixel("", page)).await.refused(401);
    Answer::of(pixel("&key=wp_other", page)).await.refused(403);
    Answer::of(pixel(&keyed, "https://evil.example/"))
        .await
        .refused(403);
    Answer::of(pixel(&format!("&key={SECRET}"), "https://evil.example/"))
        .await
        .is(200);
    edge.stop().await;
}

#[tokio::test]
async fn in_a_batch_each_event_is_judged_by_its_own_site() {
    let (edge, broker) = Edge::ready_with(config(sites())).await;
    let batch = |lines: &[&str], key: Option<&str>| {
        let lines: Vec<String> = lines.iter().map(|site| event_of(site)).collect();
        let mut request = edge.post("/events", lines.join("\n"));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        request
    };
    let answer = Answer::of(batch(&["shop", "anywhere", "no site"], Some(SECRET))).await;
    answer.is(202);
    assert_eq!(answer.json["accepted"], 1);
    assert_eq!(
        answer.json["rejected"],
        json!([
            {"index": 1, "errors": ["the write key is not one of this site"]},
            {"index": 2, "errors": ["site_id must be 1 to 128 bytes of A-Z a-z 0-9 . _ : -"]},
        ])
    );
    let answer = Answer::of(batch(&["anywhere", "no site"], Some(SECRET))).await;
    assert_eq!(answer.refused(403), ["no event of the batch is good"]);
    assert_eq!(answer.json["rejected"].as_array().unwrap().len(), 2);
    let answer = Answer::of(batch(&["shop", "anywhere"], None)).await;
    answer.refused(401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.json["rejected"].as_array().unwrap().len(), 2);
    Answer::of(batch(&["no site"], None)).await.refused(400);
    broker.read(1).await;
    edge.stop().await;
}

#[tokio::test]
async fn sites_that_are_not_listed_may_be_left_open() {
    let keys = KeysConfig {
        unlisted_sites_open: true,
        ..sites()
    };
    let (edge, _broker) = Edge::ready_with(config(keys)).await;
    send(&edge, "unlisted", None, None).await.is(202);
    send(&edge, "shop", None, None).await.refused(401);
    edge.stop().await;
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_allows_to_send_one() {
    let (edge, _broker) = Edge::ready_with(config(sites())).await;
    let request = edge
        .client
        .request(reqwest::Method::OPTIONS, format!("{}/event", edge.url))
        .header("origin", SHOP)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let answer = Answer::of(request).await;
    answer.is(200);
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,content-type")
    );
    // The page can read why it was refused.
    let refused = send(&edge, "shop", Some("wp_other"), Some(SHOP)).await;
    refused.refused(403);
    assert_eq!(refused.header("access-control-allow-origin"), Some(SHOP));
    edge.stop().await;
}

fn write(path: &Path, site: &str, key: &str) {
    let text = format!(
        "[[sites]]\nsite_id = \"{site}\"\nsecret_keys = [\"{}\"]\n",
        key_hash(key)
    );
    std::fs::write(path, text).unwrap();
}

fn hang_up() {
    let pid = std::process::id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn the_file_of_keys_is_read_again_on_sighup_and_a_bad_one_changes_nothing() {
    // So that the signal never ends this process, whatever the service does.
    let _hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    write(&path, "shop", "first");
    let keys = KeysConfig {
        file: Some(path.clone()),
        ..KeysConfig::default()
    };
    let (edge, _broker) = Edge::ready_with(config(keys)).await;
    send(&edge, "shop", Some("first"), None).await.is(202);
    send(&edge, "shop", Some("second"), None).await.refused(403);

    write(&path, "shop", "second");
    hang_up();
    let begun_at = std::time::Instant::now();
    while send(&edge, "shop", Some("second"), None).await.status != 202 {
        assert!(
            begun_at.elapsed() < crate::support::DEADLINE,
            "not read again"
        );
    }
    send(&edge, "shop", Some("first"), None).await.refused(403);

    std::fs::write(
        &path,
        "[[sites]]\nsite_id = \"shop\"\nsecret_keys = [\"third\"]\n",
    )
    .unwrap();
    hang_up();
    // A good one after the bad one: once it is in force, the bad one has been read and left.
    send(&edge, "shop", Some("second"), None).await.is(202);
    std::fs::remove_file(&path).unwrap();
    hang_up();
    send(&edge, "shop", Some("second"), None).await.is(202);
    write(&path, "shop", "fourth");
    hang_up();
    while send(&edge, "shop", Some("fourth"), None).await.status != 202 {
        let old = send(&edge, "shop", Some("second"), None).await;
        assert!([202, 403].contains(&old.status));
        assert!(
            begun_at.elapsed() < crate::support::DEADLINE,
            "not read again"
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_bad_file_of_keys_stops_the_start_and_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let start = async || {
        let config = ingest::Config {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            keys: KeysConfig {
                file: Some(path.clone()),
                ..KeysConfig::default()
            },
            ..ingest::Config::default()
        };
        let refused = ingest::Service::bind(config, infra::kafka::Config::default()).await;
        format!("{:#}", refused.err().expect("it does not start"))
    };
    let missing = start().await;
    assert!(
        missing.contains("keys.toml") && missing.contains("ingest.keys.file"),
        "{missing}"
    );
    let site = "[[sites]]\nsite_id = \"shop\"\n";
    for (text, line, fault) in [
        (
            format!("{site}secret_keys = [\"my-secret-key\"]\n"),
            3,
            "64 hex digits",
        ),
        (format!("{site}public_keys = \"x\"\n"), 3, "sequence"),
        (
            format!("{site}origins = [\"shop.example\"]\n"),
            3,
            "no origin",
        ),
        (format!("{site}\nkeys = []\n"), 4, "unknown field"),
        (
            "[[sites]]\n\nsite_id = \"a b\"\n".to_owned(),
            3,
            "site_id must be",
        ),
        ("[[sites]]\norigins = []\n".to_owned(), 1, "missing field"),
        (format!("{site}= ?\n"), 3, ""),
    ] {
        std::fs::write(&path, &text).unwrap();
        let refused = start().await;
        let place = format!("keys.toml (ingest.keys.file) line {line}: ");
        assert!(
            refused.contains(&place) && refused.contains(fault),
            "{text}: {refused}"
        );
        assert!(
            !refused.contains("my-secret-key") && !refused.contains('\n'),
            "{refused}"
        );
    }
    std::fs::write(&path, format!("{site}{site}")).unwrap();
    let twice = start().await;
    assert!(twice.contains("site shop is listed twice"), "{twice}");
}
