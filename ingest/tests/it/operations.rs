//! Health, readiness, metrics and the API's own description.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Edge, GOOD};

#[tokio::test]
async fn health_and_readiness_have_their_shapes() {
    let (edge, _broker) = Edge::ready().await;
    let health = edge.get("/health").await;
    assert_eq!(
        health.is(200).json,
        json!({"status": "ok", "service": "ingest"})
    );
    let ready = edge.get("/ready").await;
    assert_eq!(
        ready.is(200).json,
        json!({"status": "ready", "service": "ingest"})
    );
    edge.stop().await;
}

#[tokio::test]
async fn metrics_count_events_answers_reasons_and_acknowledgements() {
    infra::telemetry::init(&infra::telemetry::Config::default()).unwrap();
    let (edge, _broker) = Edge::ready().await;
    // Other tests of this process count as well: what is added is at least this edge's own.
    let before = edge.get("/metrics").await.text;
    edge.event(GOOD).await.is(202);
    edge.events(format!("[{GOOD},{GOOD},{{}}]")).await.is(202);
    edge.event("{}").await.refused(400);
    edge.get("/no-such-path-as-this").await.refused(404);
    let metrics = edge.get("/metrics").await;
    metrics.is(200);
    for (name, added) in [
        ("weir_ingest_events_total{outcome=\"accepted\"}", 3.0),
        ("weir_ingest_events_total{outcome=\"rejected\"}", 2.0),
        (
            "weir_ingest_answers_total{route=\"/event\",status=\"202\"}",
            1.0,
        ),
        (
            "weir_ingest_answers_total{route=\"/event\",status=\"400\"}",
            1.0,
        ),
        (
            "weir_ingest_answers_total{route=\"/events\",status=\"202\"}",
            1.0,
        ),
        (
            "weir_ingest_answers_total{route=\"other\",status=\"404\"}",
            1.0,
        ),
        ("weir_ingest_body_bytes_total", 3.0 * GOOD.len() as f64),
        ("weir_ingest_flushes_total{outcome=\"acknowledged\"}", 2.0),
        ("weir_ingest_ack_seconds_count", 2.0),
        ("weir_ingest_ack_seconds_bucket{le=\"+Inf\"}", 2.0),
    ] {
        let now =
            figure(&metrics.text, name).unwrap_or_else(|| panic!("no {name} in\n{}", metrics.text));
        let then = figure(&before, name).unwrap_or(0.0);
        assert!(now - then >= added, "{name}: {then}, then {now}");
    }
    assert!(!metrics.text.contains("no-such-path"));
    edge.stop().await;
}

fn figure(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_its_page_is_in_the_binary() {
    let (edge, _broker) = Edge::ready().await;
    let description = edge.get("/openapi.json").await;
    let version = description.is(200).json["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1"), "{version}");
    for path in [
        "/event",
        "/events",
        "/pixel.gif",
        "/health",
        "/ready",
        "/metrics",
    ] {
        assert!(description.json["paths"][path].is_object(), "{path}");
    }
    let page = edge.get("/api-docs/").await;
    assert!(page.is(200).text.contains("swagger"), "{}", page.text);
    let redirected = edge.get("/api-docs").await;
    redirected.is(200);
    edge.stop().await;
}

#[tokio::test]
async fn every_answer_says_that_it_is_no_script_and_the_descriptions_page_that_it_is_no_part() {
    let (edge, _broker) = Edge::ready().await;
    let pixel = "/pixel.gif?site_id=s";
    for path in ["/", "/event", "/health", "/metrics", "/openapi.json", pixel] {
        for origin in [None, Some("https://shop.example")] {
            let with_origin = |request: reqwest::RequestBuilder| match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            let got = Answer::of(with_origin(edge.request(Method::GET, path))).await;
            let posted = Answer::of(with_origin(edge.post(path, GOOD))).await;
            let refused = Answer::of(with_origin(edge.post(path, "{}"))).await;
            let asked = Answer::of(with_origin(edge.request(Method::OPTIONS, path))).await;
            for answer in [got, posted, refused, asked] {
                let nosniff = answer.header("x-content-type-options");
                assert_eq!(nosniff, Some("nosniff"), "{path} {}", answer.status);
            }
        }
    }
    // Pages everywhere show it.
    let pixel = edge.get(pixel).await;
    assert_eq!(pixel.is(200).header("cross-origin-resource-policy"), None);
    let docs = edge.get("/api-docs/").await;
    assert_eq!(docs.is(200).header("x-frame-options"), Some("DENY"));
    let policy = docs.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    edge.stop().await;
}

#[tokio::test]
async fn the_descriptions_own_examples_are_answered_as_it_says() {
    let (edge, _broker) = Edge::ready().await;
    let description = edge.get("/openapi.json").await.json;
    let schemas = &description["components"]["schemas"];
    for (path, schema) in [("/event", "Event"), ("/events", "BatchBody")] {
        let example = example(&schemas[schema]);
        let answer = Answer::of(edge.post(path, example.to_string())).await;
        answer.is(202);
        conforms(&answer.json, &description, path, "202");
        let answer = Answer::of(edge.post(path, "{}")).await;
        answer.refused(400);
        conforms(&answer.json, &description, path, "400");
    }
    let lines = &description["paths"]["/events"]["post"]["requestBody"]["content"]["application/x-ndjson"]
        ["example"];
    let answer = edge.events(lines.as_str().unwrap().to_owned()).await;
    assert_eq!(answer.is(202).json["accepted"], 2);
    edge.stop().await;
}

fn example(schema: &Value) -> &Value {
    let one = &schema["example"];
    if one.is_null() {
        &schema["examples"][0]
    } else {
        one
    }
}

/// The answer has exactly the fields that its schema names.
#[track_caller]
fn conforms(answer: &Value, description: &Value, path: &str, status: &str) {
    let schema = &description["paths"][path]["post"]["responses"][status]["content"]["application/json"]
        ["schema"];
    let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    let schema = &description["components"]["schemas"][name];
    let answered: Vec<&String> = answer.as_object().unwrap().keys().collect();
    let known = schema["properties"].as_object().unwrap();
    for field in &answered {
        assert!(known.contains_key(*field), "{name} does not know {field}");
    }
    for field in schema["required"].as_array().unwrap() {
        assert!(
            answered.iter().any(|answered| *answered == field),
            "{name} promises {field}"
        );
    }
}
