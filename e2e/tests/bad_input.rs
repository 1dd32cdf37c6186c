//! What must be refused is refused clearly, and nothing else suffers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::time::Duration;

use e2e::{Weir, eventually};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Headers;
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn assert_unharmed(weir: &Weir) {
    let good = json!({"site_id": "after", "event_type": "page_view"});
    let (status, answer) = weir.post("/event", good.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
}

fn errors(answer: &Value) -> Vec<&str> {
    assert_eq!(answer["success"], false, "{answer}");
    assert_eq!(answer["status"], "error", "{answer}");
    answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error.as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn each_broken_rule_is_named() {
    let weir = Weir::up();
    let long = |bytes: usize| "x".repeat(bytes);
    let many_props: Value = (0..31)
        .map(|n| (n.to_string(), json!(n)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (field, value) in [
        ("site_id", json!(null)),
        ("site_id", json!(7)),
        ("site_id", json!("")),
        ("site_id", json!("a b")),
        ("site_id", json!(long(129))),
        ("event_type", json!(null)),
        ("event_type", json!("")),
        ("event_type", json!("a\u{0}b")),
        ("event_type", json!(long(65))),
        ("path", json!(7)),
        ("path", json!(long(2049))),
        ("user_id", json!(long(257))),
        ("timestamp", json!("yesterday")),
        ("timestamp", json!(1_763_200_000)),
        ("timestamp", json!("1999-12-31T23:59:59.999Z")),
        ("timestamp", json!("2999-01-01T00:00:00Z")),
        ("event_id", json!("")),
        ("event_id", json!(long(129))),
        ("referrer", json!(7)),
        ("url", json!(7)),
        ("user_agent", json!({})),
        ("props", json!([])),
        ("props", json!({"a": {}})),
        ("props", json!({"a": long(64 * 1024)})),
        ("props", many_props),
    ] {
        let mut event = json!({"site_id": "s", "event_type": "page_view"});
        event[field] = value;
        let (status, answer) = weir.post("/event", event.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field}: {answer}");
        let errors = errors(&answer);
        assert!(
            errors.len() == 1 && errors[0].starts_with(field),
            "{field}: {errors:?}"
        );
    }
    let (_, answer) = weir.post("/event", r#"{"event_type": "page_view"}"#).await;
    assert_eq!(
        errors(&answer),
        ["site_id is required and must be a string"]
    );
    let all = json!({"site_id": "", "event_type": 1, "path": [], "user_id": {}, "timestamp": "", "event_id": "", "referrer": 1, "props": 1});
    let (status, answer) = weir.post("/event", all.to_string()).await;
    assert_eq!(
        (status, errors(&answer).len()),
        (StatusCode::BAD_REQUEST, 8),
        "{answer}"
    );
    assert_unharmed(&weir).await;
}

#[tokio::test]
async fn bodies_that_are_no_event_get_a_clear_4xx() {
    let weir = Weir::up();
    let deep = "[".repeat(10_000);
    let deep_prop = format!(
        r#"{{"site_id":"s","event_type":"t","props":{{"a":{deep}{}}}}}"#,
        "]".repeat(10_000)
    );
    let long_path = json!({"site_id": "s", "event_type": "t", "path": "x".repeat(1 << 20)});
    let bodies: Vec<(&str, Vec<u8>, StatusCode)> = vec![
        ("nothing", vec![], StatusCode::BAD_REQUEST),
        ("not JSON", b"hello".to_vec(), StatusCode::BAD_REQUEST),
        (
            "cut short",
            br#"{"site_id":"s""#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        ("an array", b"[]".to_vec(), StatusCode::BAD_REQUEST),
        (
            "wrong UTF-8",
            b"{\"site_id\":\"\xff\"}".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "a lone surrogate",
            br#"{"site_id":"\ud800","event_type":"t"}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "a field twice",
            br#"{"site_id":"a","site_id":"b","event_type":"t"}"#.to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        ("deep", deep.into_bytes(), StatusCode::BAD_REQUEST),
        (
            "a deep property",
            deep_prop.into_bytes(),
            StatusCode::BAD_REQUEST,
        ),
        (
            "a long path",
            long_path.to_string().into_bytes(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            "100 MB",
            vec![b' '; 100_000_000],
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    for (what, body, expected) in bodies {
        let (status, answer) = weir.post("/event", body).await;
        assert_eq!(status, expected, "{what}: {answer}");
        assert_eq!(errors(&answer).len(), 1, "{what}");
    }
    assert_unharmed(&weir).await;
}

#[tokio::test]
async fn a_wrong_method_path_or_encoding_gets_a_clear_4xx() {
    let weir = Weir::up();
    let client = reqwest::Client::new();
    for (method, base, path, expected) in [
        (
            Method::GET,
            &weir.ingest,
            "/event",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::PUT,
            &weir.ingest,
            "/events",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::POST,
            &weir.query,
            "/stats",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (Method::GET, &weir.ingest, "/nowhere", StatusCode::NOT_FOUND),
        (
            Method::GET,
            &weir.query,
            "/stats/nothing",
            StatusCode::NOT_FOUND,
        ),
    ] {
        let response = client
            .request(method.clone(), format!("{base}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), expected, "{method} {path}");
        assert_eq!(
            errors(&response.json().await.unwrap()).len(),
            1,
            "{method} {path}"
        );
    }
    for (encoding, expected) in [
        ("lzma", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("gzip", StatusCode::BAD_REQUEST),
        ("zstd", StatusCode::BAD_REQUEST),
        ("br", StatusCode::BAD_REQUEST),
    ] {
        let request = client
            .post(format!("{}/events", weir.ingest))
            .body("[]plain");
        let response = request
            .header("content-encoding", encoding)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), expected, "{encoding}");
        assert_eq!(
            errors(&response.json().await.unwrap()).len(),
            1,
            "{encoding}"
        );
    }
    assert_unharmed(&weir).await;
}

#[tokio::test]
async fn a_question_with_faults_is_told_all_of_them() {
    let weir = Weir::up();
    let url = format!(
        "{}/stats?site_id=a%20b&date=2025-02-30&limit=0&timezone=Mars",
        weir.query
    );
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(errors(&response.json().await.unwrap()).len(), 4);
    // What looks like SQL is a literal.
    let injected =
        "site_id=s&event_type=%27%20OR%201%3D1%20--&path=%27)%3B%20DROP%20TABLE%20events";
    assert_eq!(weir.stats(injected).await["total_views"], 0);
}

#[tokio::test]
async fn garbage_in_the_topic_goes_to_the_dead_letters_and_its_partition_goes_on() {
    let weir = Weir::up();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &weir.kafka)
        .create()
        .unwrap();
    for partition in 0..8 {
        let record = FutureRecord::<(), _>::to(&weir.topics.events)
            .partition(partition)
            .payload("garbage");
        producer
            .send(record, Duration::from_secs(10))
            .await
            .unwrap();
    }
    let events: Vec<_> = (0..64)
        .map(|n| json!({"site_id": "g", "event_type": "view", "event_id": format!("{n}")}))
        .collect();
    weir.post("/events", json!(events).to_string()).await;
    eventually(json!(64), async || {
        weir.stats("site_id=g").await["total_views"].clone()
    })
    .await;

    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &weir.kafka)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&weir.topics.dead_letters]).unwrap();
    let mut partitions = Vec::new();
    while partitions.len() < 8 {
        let received = tokio::time::timeout(Duration::from_secs(30), consumer.recv()).await;
        let letter = received.expect("eight dead letters").unwrap();
        assert_eq!(letter.payload(), Some(&b"garbage"[..]));
        let headers = letter.headers().unwrap();
        let header = |name: &str| {
            let found = headers.iter().find(|header| header.key.ends_with(name));
            String::from_utf8(
                found
                    .unwrap_or_else(|| panic!("no {name}"))
                    .value
                    .unwrap()
                    .to_vec(),
            )
            .unwrap()
        };
        assert_eq!(header("topic"), weir.topics.events);
        assert_eq!(header("offset"), "0");
        assert!(
            header("reason").contains("weir-schema"),
            "{}",
            header("reason")
        );
        partitions.push(header("partition"));
    }
    partitions.sort();
    assert_eq!(partitions, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}
