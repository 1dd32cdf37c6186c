//! `POST /event`, and what every route answers to the wrong question.

use event::ReferrerPart;
use serde_json::json;

use crate::support::{Answer, Edge, GOOD};

#[tokio::test]
async fn a_good_event_is_answered_exactly_as_the_contract_says() {
    let (edge, broker) = Edge::ready().await;
    let answer = edge.event(GOOD).await;
    let event_id = answer.is(202).json["event_id"].as_str().unwrap().to_owned();
    assert_eq!(
        answer.json,
        json!({
            "success": true,
            "status": "accepted",
            "message": "Event queued for processing",
            "event_id": event_id,
        })
    );
    assert_eq!(answer.headers["content-type"], "application/json");

    // It is in Kafka by the time of the answer.
    let batches = broker.read(1).await;
    let event = &batches[0].1.events[0];
    assert_eq!(event.id.uuid.to_string(), event_id);
    assert_eq!(event.id.uuid.get_version_num(), 7);
    assert_eq!(event.id.origin, event::IdOrigin::Edge);
    assert_eq!(event.site_id.as_str(), "shop");
    assert_eq!(event.path.as_str(), "/pricing");
    edge.stop().await;
}

#[tokio::test]
async fn the_bytes_decide_whatever_the_content_type_says() {
    let (edge, _broker) = Edge::ready().await;
    edge.event(GOOD).await.is(202);
    for content_type in [
        "application/json",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        let request = edge
            .post("/event", GOOD)
            .header("content-type", content_type);
        Answer::of(request).await.is(202);
    }
    let marked = format!("\u{feff}{GOOD}");
    edge.event(marked).await.is(202);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_every_field_finds_them_all_in_kafka() {
    let (edge, broker) = Edge::ready().await;
    let key = "018f3f3e-7a1b-7c3d-8e4f-000000000001";
    let answer = edge
        .event(
            json!({
                "site_id": "shop", "event_type": "click", "path": "/a?b#c", "user_id": "user-1",
                "timestamp": "2001-02-03T04:05:06.789+02:00", "event_id": key,
                "referrer": "https://example.com/", "props": {"plan": "team", "seats": 5, "none": null},
                "unknown": [1, {"a": 2}],
            })
            .to_string(),
        )
        .await;
    assert_eq!(answer.is(202).json["event_id"], key);
    let batches = broker.read(1).await;
    let event = &batches[0].1.events[0];
    assert_eq!(event.path.as_str(), "/a");
    assert_eq!(event.user_id, "user-1");
    assert_eq!(event.timestamp.timestamp_millis(), 981_165_906_789);
    assert_eq!(event.id.origin, event::IdOrigin::Client);
    assert_eq!(event.referrer, "https://example.com/");
    let props = [("plan", "team"), ("seats", "5")];
    assert_eq!(
        event.props,
        props.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    edge.stop().await;
}

#[tokio::test]
async fn every_fault_is_told_in_one_answer() {
    let (edge, _broker) = Edge::ready().await;
    let errors = edge
        .event(
            json!({
                "site_id": "no spaces", "event_type": 5, "path": "/".repeat(2049), "user_id": {},
                "timestamp": "yesterday", "event_id": "", "referrer": [], "props": "none",
            })
            .to_string(),
        )
        .await
        .refused(400);
    let begins: Vec<&str> = errors
        .iter()
        .map(|error| error.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        begins,
        [
            "site_id",
            "event_type",
            "path",
            "user_id",
            "timestamp",
            "event_id",
            "referrer",
            "props"
        ]
    );
    assert_eq!(
        edge.event(r#"{"event_type":"x"}"#).await.refused(400),
        ["site_id is required and must be a string"]
    );
    edge.stop().await;
}

#[tokio::test]
async fn what_is_not_an_event_is_a_clear_400() {
    let (edge, _broker) = Edge::ready().await;
    let nested = |open: &str, close: &str| open.repeat(10_000) + "1" + &close.repeat(10_000);
    let in_event = |name: &str, value: &str| {
        format!(r#"{{"site_id":"shop","event_type":"x","{name}":{value}}}"#)
    };
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (b"".into(), "the body is empty"),
        (b" \n ".into(), "the body is empty"),
        (b"hello".into(), "not valid JSON"),
        (b"{\"site_id\":\"shop\"".into(), "not valid JSON"),
        ([GOOD, GOOD].concat().into(), "not valid JSON: trailing"),
        (
            b"{\"site_id\":\"\xff\"}".into(),
            "not UTF-8 from byte 12 on",
        ),
        (b"[]".into(), "an event must be a JSON object"),
        (b"null".into(), "an event must be a JSON object"),
        (
            format!("\"{}\"", "x".repeat(10_000)).into(),
            "an event must be a JSON object",
        ),
        (format!("[{GOOD}]").into(), "an event must be a JSON object"),
        (
            r#"{"site_id":"a","site_id":"b"}"#.into(),
            "an event must be a JSON object: site_id is given twice",
        ),
        (nested("[", "]").into(), "an event must be a JSON object"),
        (
            nested(r#"{"a":"#, "}").into(),
            "not valid JSON: recursion limit",
        ),
        (
            in_event("unknown", &nested("[", "]")).into(),
            "not valid JSON: recursion limit",
        ),
        (
            in_event("props", &nested(r#"{"a":"#, "}")).into(),
            "not valid JSON: recursion limit",
        ),
        (
            in_event("path", &nested("[", "]")).into(),
            "not valid JSON: recursion limit",
        ),
    ];
    for (body, begin) in bodies {
        let errors = edge.event(body.clone()).await.refused(400);
        assert!(
            errors[0].starts_with(begin) && errors[0].len() < 500,
            "{}: {errors:?}",
            String::from_utf8_lossy(&body[..body.len().min(80)])
        );
    }
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_common_shape() {
    let (edge, _broker) = Edge::ready().await;
    edge.get("/nothing").await.refused(404);
    let answer = edge.get("/event").await;
    answer.refused(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    for method in ["PUT", "DELETE", "PATCH", "QUERY"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = edge.client.request(method, format!("{}/events", edge.url));
        Answer::of(request.body(GOOD)).await.refused(405);
    }
    Answer::of(edge.post("/health", "")).await.refused(405);
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn who_is_no_page_is_told_nothing_of_origins() {
    let (edge, _broker) = Edge::ready().await;
    for answer in [
        Answer::of(edge.post("/event", GOOD)).await,
        Answer::of(edge.post("/events", "{}")).await,
        edge.get("/pixel.gif?site_id=shop").await,
        edge.get("/health").await,
    ] {
        for header in [
            "vary",
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-expose-headers",
        ] {
            assert_eq!(answer.header(header), None, "{header}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn any_page_may_send_after_a_preflight() {
    let (edge, _broker) = Edge::ready().await;
    for path in ["/event", "/events"] {
        let request = edge
            .client
            .request(reqwest::Method::OPTIONS, format!("{}{path}", edge.url))
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let answer = Answer::of(request).await;
        answer.is(200);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://shop.example")
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("content-type")
        );
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST"), "{methods}");
    }
    // A refusal has to be readable by the page as well.
    for (body, status) in [(GOOD, 202), ("{}", 400)] {
        let request = edge
            .post("/event", body)
            .header("content-type", "text/plain;charset=UTF-8")
            .header("origin", "https://shop.example");
        let answer = Answer::of(request).await;
        answer.is(status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://shop.example")
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn every_door_keeps_the_part_of_a_referrer_that_the_setting_says() {
    let full = "https://u:pw@r.example/p?token=SECRET#f";
    for (part, kept) in [
        (None, "https://r.example/p"),
        (Some(ReferrerPart::Host), "https://r.example"),
        (
            Some(ReferrerPart::Full),
            "https://r.example/p?token=SECRET#f",
        ),
    ] {
        let config = ingest::Config {
            referrer: part.unwrap_or_else(|| ingest::Config::default().referrer),
            ..ingest::Config::default()
        };
        let (edge, broker) = Edge::ready_with(config).await;
        let event = json!({"site_id": "s", "event_type": "click", "referrer": full}).to_string();
        // Without escapes, and with one, which another reader reads.
        let escaped = event.replace("https:", "https\\u003a");
        edge.event(event.clone()).await.is(202);
        edge.event(escaped.clone()).await.is(202);
        edge.events(format!("[{event},{escaped}]")).await.is(202);
        edge.events(format!("{event}\n{escaped}\n")).await.is(202);
        let pixel = "/pixel.gif?site_id=s&referrer=https%3A%2F%2Fu%3Apw%40r.example%2Fp%3Ftoken%3DSECRET%23f";
        edge.get(pixel).await.is(200);
        for (_, batch) in broker.read(7).await {
            for event in batch.events {
                assert_eq!(event.referrer, kept);
            }
        }
        // What is too long is cut.
        let long = format!("https://r.example/p?{}", "q".repeat(10_000));
        let long = json!({"site_id": "long", "event_type": "click", "referrer": long}).to_string();
        edge.event(long).await.is(202);
        for (_, batch) in broker.read(8).await {
            for event in batch.events {
                assert!(event.referrer.len() <= 2048);
            }
        }
        edge.stop().await;
    }
}
