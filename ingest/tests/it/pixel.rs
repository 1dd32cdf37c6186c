//! `GET /pixel.gif`: an event without a script.

use std::time::Duration;

use crate::support::{Answer, Broker, DEADLINE, Edge, GOOD};

const ALL: &str = "/pixel.gif?site_id=shop&event_type=click&path=%2Fa%3Fb&user_id=u+1\
                   &timestamp=2001-02-03T04:05:06.789Z&event_id=order-1\
                   &referrer=https%3A%2F%2Fexample.com%2F%C3%A9&other=x&other=y";

#[tokio::test]
async fn a_pixel_is_a_gif_of_one_point_and_an_event_in_kafka() {
    let (edge, broker) = Edge::ready().await;
    let url = format!("{}{ALL}", edge.url);
    let response = edge
        .client
        .get(&url)
        .timeout(DEADLINE)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "image/gif");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let image = response.bytes().await.unwrap();
    assert_eq!(image.len(), 43);
    assert!(image.starts_with(b"GIF89a\x01\0\x01\0") && image.ends_with(b";"));

    // It is in Kafka by the time of the answer.
    let batches = broker.read(1).await;
    let event = &batches[0].1.events[0];
    assert_eq!(event.site_id.as_str(), "shop");
    assert_eq!(event.event_type.as_str(), "click");
    assert_eq!(event.path.as_str(), "/a");
    assert_eq!(event.user_id, "u 1");
    assert_eq!(event.timestamp.timestamp_millis(), 981_173_106_789);
    assert_eq!(event.referrer, "https://example.com/\u{e9}");
    let namespace = uuid::Uuid::new_v5(&uuid::Uuid::nil(), b"shop");
    assert_eq!(event.id.uuid, uuid::Uuid::new_v5(&namespace, b"order-1"));
    edge.stop().await;
}

#[tokio::test]
async fn a_pixel_is_a_page_view_unless_it_says_otherwise_and_head_is_none() {
    let (edge, broker) = Edge::ready().await;
    for query in ["site_id=shop&path=", "site_id=shop&event_type=&path=/a"] {
        let head = edge.client.head(format!("{}/pixel.gif?{query}", edge.url));
        let head = Answer::of(head).await;
        assert_eq!(head.is(200).header("content-type"), Some("image/gif"));
        assert_eq!(head.header("content-length"), Some("43"));
        assert_eq!(head.text, "");
        edge.get(&format!("/pixel.gif?{query}")).await.is(200);
    }
    edge.event(GOOD).await.is(202);
    let batches = broker.read(3).await;
    let events = batches.iter().flat_map(|(_, batch)| &batch.events);
    let events: Vec<_> = events.collect();
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|event| event.event_type.as_str() == "page_view")
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_bad_pixel_is_refused_in_the_common_shape() {
    let (edge, _broker) = Edge::ready().await;
    for (query, fault) in [
        ("", "site_id is required and must be a string"),
        ("?", "site_id is required and must be a string"),
        ("?site_id=", "site_id is required and must be a string"),
        ("?site_id=a&site_id=a", "site_id is given twice"),
        ("?site_id=a&path=x&path=", "path is given twice"),
        (
            "?site_id=a&event_type=&event_type=",
            "event_type is given twice",
        ),
        (
            "?site_id=a%20b",
            "site_id must be 1 to 128 bytes of A-Z a-z 0-9 . _ : -",
        ),
        (
            "?site_id=a&user_id=%ff",
            "a parameter of the query is not UTF-8",
        ),
        (
            "?site_id=a&timestamp=yesterday",
            "timestamp must be an RFC 3339 date and time, such as 2025-11-15T10:00:00Z",
        ),
    ] {
        let answer = edge.get(&format!("/pixel.gif{query}")).await;
        assert_eq!(answer.refused(400), [fault], "{query}");
    }
    let answer = Answer::of(edge.post("/pixel.gif?site_id=a", "")).await;
    answer.refused(405);
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn without_kafka_and_a_spool_a_pixel_is_a_503_and_any_page_may_read_it() {
    let mut broker = Broker::start().await;
    broker.create_topics().await;
    let config = ingest::Config {
        spool: ingest::SpoolConfig {
            bytes_max: 0,
            ..Default::default()
        },
        ack_timeout: Duration::from_secs(2),
        ..ingest::Config::default()
    };
    let edge = Edge::start(config, broker.kafka()).await;
    edge.wait_until_ready().await;
    broker.stop().await;
    let request = edge
        .client
        .get(format!("{}/pixel.gif?site_id=shop", edge.url))
        .header("origin", "https://shop.example");
    let answer = Answer::of(request).await;
    answer.refused(503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
    broker.resume().await;
    edge.wait_for("/pixel.gif?site_id=shop", 200).await;
    edge.stop().await;
}
