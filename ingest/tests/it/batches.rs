//! `POST /events`: its three forms, and the events it rejects one by one.

use serde_json::{Value, json};

use crate::support::{Edge, GOOD};

#[tokio::test]
async fn a_batch_may_be_an_array_an_object_or_lines() {
    let (edge, broker) = Edge::ready().await;
    let forms = [
        format!("[{GOOD},{GOOD}]"),
        format!(" [ {GOOD} ,\n {GOOD} ] \n"),
        format!(r#"{{"events":[{GOOD},{GOOD}]}}"#),
        format!(r#"{{ "sent_at" : {{"a":[1]}}, "events" : [ {GOOD}, {GOOD} ] , "more": "x" }}"#),
        format!("{GOOD}\n{GOOD}"),
        format!("\n{GOOD}\r\n\r\n {GOOD} \n\n"),
        format!("\u{feff}{GOOD}\n{GOOD}"),
    ];
    for form in &forms {
        let answer = edge.events(form.clone()).await;
        answer.is(202);
        assert_eq!(
            answer.json,
            json!({"success": true, "status": "accepted", "accepted": 2, "rejected": []}),
            "{form}"
        );
    }
    let stored = broker.read(2 * forms.len()).await;
    let count: usize = stored.iter().map(|(_, batch)| batch.events.len()).sum();
    assert_eq!(count, 2 * forms.len());
    edge.stop().await;
}

#[tokio::test]
async fn a_bad_event_is_rejected_alone_by_its_index() {
    let (edge, broker) = Edge::ready().await;
    let twice = r#"{"site_id":"a","site_id":"b"}"#;
    let array = format!(r#"[{GOOD},{{}},5,"x",null,[{GOOD}],{twice},{GOOD}]"#);
    let answer = edge.events(array).await;
    answer.is(202);
    assert_eq!(answer.json["accepted"], 2);
    let rejected = answer.json["rejected"].as_array().unwrap();
    let indexes: Vec<&Value> = rejected.iter().map(|one| &one["index"]).collect();
    assert_eq!(indexes, [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        rejected[0]["errors"],
        json!([
            "site_id is required and must be a string",
            "event_type is required and must be a string"
        ])
    );
    for one in &rejected[1..] {
        let error = one["errors"][0].as_str().unwrap();
        assert!(
            error.starts_with("an event must be a JSON object"),
            "{error}"
        );
    }

    let mut lines = format!("{GOOD}\n{{\"site_id\":\n\n{GOOD}\nhello\n").into_bytes();
    lines.extend_from_slice(b"{\"site_id\":\"\xff\"}\n");
    lines.extend_from_slice(format!("{GOOD} {GOOD}\n{GOOD}").as_bytes());
    let answer = edge.events(lines).await;
    assert_eq!(answer.is(202).json["accepted"], 3);
    let rejected = answer.json["rejected"].as_array().unwrap();
    let indexes: Vec<&Value> = rejected.iter().map(|one| &one["index"]).collect();
    assert_eq!(indexes, [1, 3, 4, 5]);
    assert_eq!(
        broker
            .read(5)
            .await
            .iter()
            .map(|(_, batch)| batch.events.len())
            .sum::<usize>(),
        5
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_batch_without_a_good_event_is_refused_with_every_reason() {
    let (edge, _broker) = Edge::ready().await;
    for body in ["[{},{}]", r#"{"events":[{},{}]}"#, "{}\n{}"] {
        let answer = edge.events(body).await;
        assert_eq!(answer.refused(400), ["no event of the batch is good"]);
        let rejected = answer.json["rejected"].as_array().unwrap();
        assert_eq!(rejected.len(), 2);
        assert_eq!(rejected[1]["index"], 1);
        assert_eq!(rejected[1]["errors"].as_array().unwrap().len(), 2);
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_not_a_batch_is_a_clear_400() {
    let (edge, _broker) = Edge::ready().await;
    let mut not_utf8 = format!("[{GOOD},").into_bytes();
    not_utf8.extend_from_slice(b"\"\xff\"]");
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (b"".into(), "the batch is empty"),
        (b"\n \n".into(), "the batch is empty"),
        (b"[]".into(), "the batch is empty"),
        (br#"{"events":[]}"#.into(), "the batch is empty"),
        (br#"{"events":5}"#.into(), "events must be an array"),
        (br#"{"events":null}"#.into(), "events must be an array"),
        (format!("[{GOOD}").into(), "the body is not valid JSON"),
        (format!("[{GOOD},]").into(), "the body is not valid JSON"),
        (
            format!("[{GOOD} {GOOD}]").into(),
            "the body is not valid JSON",
        ),
        (format!("[{GOOD}] x").into(), "the body is not valid JSON"),
        (
            format!(r#"{{"events":[{GOOD}"#).into(),
            "the body is not valid JSON",
        ),
        (
            format!(r#"{{"events":[{GOOD}]}} x"#).into(),
            "the body is not valid JSON",
        ),
        (
            format!(r#"{{"events":[{GOOD}],"events":[]}}"#).into(),
            "events is given twice",
        ),
        (
            format!("{{\n\"events\": [\n{GOOD},\n{{\"site_id\"\n").into(),
            "the body is not valid JSON",
        ),
        (not_utf8, "not UTF-8"),
        (b"hello".into(), "no event of the batch is good"),
        (b"5".into(), "no event of the batch is good"),
        ("[".repeat(10_000).into(), "the body is not valid JSON"),
        (
            ("[".repeat(10_000) + &"]".repeat(10_000)).into(),
            "no event of the batch is good",
        ),
        (
            (r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000)).into(),
            "no event of the batch is good",
        ),
        (
            (r#"{"events":["#.repeat(10_000) + &"]}".repeat(10_000)).into(),
            "no event of the batch is good",
        ),
    ];
    for (body, begin) in bodies {
        let errors = edge.events(body.clone()).await.refused(400);
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
async fn a_batch_has_a_most_of_events() {
    let config = ingest::Config {
        batch_events_max: 3,
        ..ingest::Config::default()
    };
    let (edge, _broker) = Edge::ready_with(config).await;
    edge.events([GOOD; 3].join("\n")).await.is(202);
    for body in [[GOOD; 4].join("\n"), format!("[{}]", [GOOD; 4].join(","))] {
        assert_eq!(
            edge.events(body).await.refused(413),
            ["the batch holds more than 3 events"]
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn events_in_200_months_are_all_stored() {
    let (edge, broker) = Edge::ready().await;
    let events: Vec<Value> = (0..200)
        .map(|month| {
            let timestamp = format!("{}-{:02}-15T00:00:00Z", 2005 + month / 12, 1 + month % 12);
            json!({"site_id": "shop", "event_type": "page_view", "timestamp": timestamp})
        })
        .collect();
    let answer = edge.events(Value::from(events).to_string()).await;
    assert_eq!(answer.is(202).json["accepted"], 200);
    let batches = broker.read(200).await;
    // One record a flush is what makes the answer cheap.
    assert_eq!(batches.len(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_batch_larger_than_a_record_is_stored_in_several() {
    let (edge, broker) = Edge::ready().await;
    let props = json!({"text": "x".repeat(60_000)});
    let event = json!({"site_id": "shop", "event_type": "x", "props": props}).to_string();
    let answer = edge
        .events(format!("[{}]", vec![event; 50].join(",")))
        .await;
    assert_eq!(answer.is(202).json["accepted"], 50);
    let batches = broker.read(50).await;
    assert!(batches.len() >= 4, "{}", batches.len());
    let mut ids: Vec<_> = batches.iter().map(|(_, batch)| batch.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(
        ids.len(),
        batches.len(),
        "each record has a batch id of its own"
    );
    edge.stop().await;
}
