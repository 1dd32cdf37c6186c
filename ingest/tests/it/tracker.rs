//! The script that websites load, and where it sends its events.

use std::io::Read as _;

use reqwest::Method;

use crate::support::{Answer, Edge, GOOD};

const ORIGIN: &str = "https://shop.example";

fn moved() -> ingest::Config {
    ingest::Config {
        tracker: ingest::TrackerConfig {
            path: "/assets/s.js".to_owned(),
        },
        ..Default::default()
    }
}

#[tokio::test]
async fn the_script_is_small_for_all_origins_and_kept_as_its_name_allows() {
    let (edge, _broker) = Edge::ready().await;
    let plain = edge.get("/w.js").await;
    plain.is(200);
    let name = plain.header("content-location").unwrap();
    assert!(name.starts_with("w.") && name.ends_with(".js"), "{name}");
    for (path, caching) in [
        ("/w.js".to_owned(), "public, max-age=3600"),
        (format!("/{name}"), "public, max-age=31536000, immutable"),
    ] {
        for origin in [None, Some(ORIGIN)] {
            let mut request = edge.request(Method::GET, &path);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = Answer::of(request).await;
            assert_eq!(answer.is(200).text, plain.text);
            for (header, value) in [
                ("content-type", "text/javascript; charset=utf-8"),
                ("x-content-type-options", "nosniff"),
                ("cross-origin-resource-policy", "cross-origin"),
                ("access-control-allow-origin", "*"),
                ("vary", "accept-encoding"),
                ("cache-control", caching),
            ] {
                assert_eq!(answer.header(header), Some(value), "{path}: {header}");
            }
        }
        let etag = plain.header("etag").unwrap();
        let again = edge
            .request(Method::GET, &path)
            .header("if-none-match", etag);
        let again = Answer::of(again).await;
        assert_eq!(again.is(304).header("cache-control"), Some(caching));
    }
    edge.get("/w.0000000000000000.js").await.refused(404);

    let packed = edge
        .request(Method::GET, "/w.js")
        .header("accept-encoding", "br, gzip");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() < 1000, "{} bytes", packed.len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.text);
    edge.stop().await;
}

#[tokio::test]
async fn events_come_to_where_the_script_is() {
    let (edge, broker) = Edge::ready_with(moved()).await;
    let name = edge.get("/assets/s.js").await;
    let name = name.is(200).header("content-location").unwrap().to_owned();
    edge.get("/w.js").await.refused(404);
    for path in ["/assets/s.js", &format!("/assets/{name}"), "/event"] {
        let request = edge.request(Method::POST, path).header("origin", ORIGIN);
        let answer = Answer::of(request.body(GOOD)).await;
        answer.is(202);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("retry-after"), "{exposed}");
        let preflight = edge
            .request(Method::OPTIONS, path)
            .header("origin", ORIGIN)
            .header("access-control-request-method", "POST");
        let preflight = Answer::of(preflight).await;
        assert_eq!(
            preflight.is(200).header("access-control-allow-origin"),
            Some(ORIGIN)
        );
    }
    assert_eq!(
        broker
            .read(3)
            .await
            .iter()
            .map(|(_, batch)| batch.events.len())
            .sum::<usize>(),
        3
    );
    edge.stop().await;
}

#[tokio::test]
async fn an_age_is_counted_back_from_the_time_of_receipt() {
    let (edge, broker) = Edge::ready().await;
    let ahead = GOOD.replace('}', r#","timestamp":"2199-01-01T00:00:00Z"}"#);
    for (query, body, status) in [
        ("age=60000", GOOD, 202),
        ("age=60000&key=", GOOD, 202),
        ("age=soon", GOOD, 400),
        ("age=0", &ahead, 400),
    ] {
        let request = edge.request(Method::POST, &format!("/event?{query}"));
        let answer = Answer::of(request.body(body.to_owned())).await;
        answer.is(status);
    }
    for (_, batch) in broker.read(2).await {
        for event in &batch.events {
            assert_eq!(
                (event.received_at - event.timestamp).num_milliseconds(),
                60_000
            );
        }
    }
    edge.stop().await;
}
