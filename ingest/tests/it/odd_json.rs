//! JSON that readers disagree about: here each case is decided, and the decision tested.

use serde_json::json;

use crate::support::{Answer, Edge, GOOD};

fn event_with(fields: &str) -> String {
    format!(r#"{{"site_id":"shop","event_type":"x",{fields}}}"#)
}

/// Refused by `POST /event`, and rejected alone in every form of batch.
async fn is_refused_alone(edge: &Edge, event: &str, begin: &str) {
    let errors = edge.event(event.to_owned()).await.refused(400);
    assert!(errors[0].starts_with(begin), "{event}: {errors:?}");
    for batch in [
        format!("[{GOOD},{event},{GOOD}]"),
        format!(r#"{{"events":[{GOOD},{event},{GOOD}]}}"#),
        format!("{GOOD}\r\n{event}\r\n{GOOD}"),
    ] {
        let answer = edge.events(batch).await;
        assert_eq!(answer.is(202).json["accepted"], 2, "{event}");
        let rejected = &answer.json["rejected"];
        assert_eq!(rejected.as_array().unwrap().len(), 1, "{event}");
        assert_eq!(rejected[0]["index"], 1, "{event}");
        let error = rejected[0]["errors"][0].as_str().unwrap();
        assert!(error.starts_with(begin), "{event}: {error}");
    }
}

#[tokio::test]
async fn a_key_given_twice_is_refused_where_it_would_matter() {
    let (edge, broker) = Edge::ready().await;
    for (fields, fault) in [
        (
            r#""site_id":"shop""#,
            "an event must be a JSON object: site_id is given twice",
        ),
        (
            r#""path":null,"path":null"#,
            "an event must be a JSON object: path is given twice",
        ),
        (
            r#""pa\u0074h":"a","path":"b""#,
            "an event must be a JSON object: path is given twice",
        ),
        (r#""props":{"a":1,"a":1}"#, "props.a is given twice"),
        (r#""props":{"a":1,"\u0061":2}"#, "props.a is given twice"),
    ] {
        is_refused_alone(&edge, &event_with(fields), fault).await;
    }
    let unknown = event_with(r#""more":1,"more":2,"other":{"a":1,"a":2}"#);
    edge.event(unknown).await.is(202);
    broker.read(31).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_number_no_double_holds_is_refused_and_one_beyond_64_bits_becomes_a_double() {
    let (edge, broker) = Edge::ready().await;
    for fields in [
        r#""props":{"a":1e999}"#,
        r#""props":{"a":-1e999}"#,
        r#""user_id":1e999"#,
        r#""unknown":[{"a":1e400}]"#,
    ] {
        let fault = "not valid JSON: number out of range";
        is_refused_alone(&edge, &event_with(fields), fault).await;
    }
    for fields in [
        r#""props":{"a":NaN}"#,
        r#""props":{"a":+1}"#,
        r#""props":{"a":01}"#,
    ] {
        let errors = edge.event(event_with(fields)).await.refused(400);
        assert!(errors[0].starts_with("not valid JSON"), "{errors:?}");
    }
    let key = "018f3f3e-7a1b-7c3d-8e4f-000000000001";
    let fields = format!(
        r#""event_id":"{key}","props":{{"a":18446744073709551615,"b":18446744073709551616,
            "c":-9223372036854775808,"d":123456789012345678901234567890,"e":1e-999,"f":-0}}"#
    );
    edge.event(event_with(&fields)).await.is(202);
    let batches = broker.read(25).await;
    let events = batches.iter().flat_map(|(_, batch)| &batch.events);
    let event = events
        .into_iter()
        .find(|event| event.id.uuid.to_string() == key)
        .expect("it is stored");
    let props: Vec<(&str, &str)> = event
        .props
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        props,
        [
            ("a", "18446744073709551615"),
            ("b", "18446744073709552000"),
            ("c", "-9223372036854775808"),
            ("d", "123456789012345680000000000000"),
            ("e", "0"),
            ("f", "-0"),
        ]
    );
    edge.stop().await;
}

#[tokio::test]
async fn half_a_surrogate_pair_is_no_text() {
    let (edge, broker) = Edge::ready().await;
    for half in [
        r"\ud800",
        r"\udc00",
        r"\ud800x",
        r"\ud800\ud800",
        r"\udc00\ud800",
    ] {
        for fields in [
            format!(r#""user_id":"{half}""#),
            format!(r#""props":{{"a":"{half}"}}"#),
            format!(r#""props":{{"{half}":1}}"#),
            format!(r#""unknown":"{half}""#),
        ] {
            is_refused_alone(&edge, &event_with(&fields), "not valid JSON").await;
        }
    }
    edge.event(event_with(r#""user_id":"\ud83d\ude00""#))
        .await
        .is(202);
    broker.read(121).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_nul_is_a_character_like_others_where_control_characters_are_taken() {
    let (edge, broker) = Edge::ready().await;
    for event in [
        r#"{"site_id":"a\u0000","event_type":"x"}"#,
        r#"{"site_id":"a","event_type":"x\u0000"}"#,
    ] {
        edge.event(event).await.refused(400);
    }
    // As a byte of its own it is not JSON, and nobody knows where the next event begins, but in
    // lines.
    let bare = event_with("\"user_id\":\"a\0b\"");
    edge.event(bare.clone()).await.refused(400);
    edge.events(format!("[{GOOD},{bare}]")).await.refused(400);
    let answer = edge.events(format!("{GOOD}\n{bare}")).await;
    assert_eq!(answer.is(202).json["rejected"][0]["index"], 1);

    let key = "018f3f3e-7a1b-7c3d-8e4f-000000000002";
    let fields = format!(
        r#""event_id":"{key}","user_id":"a\u0000b","path":"/\u0000","referrer":"\u0000","props":{{"\u0000":"\u0000"}}"#
    );
    edge.event(event_with(&fields)).await.is(202);
    let batches = broker.read(2).await;
    let events = batches.iter().flat_map(|(_, batch)| &batch.events);
    let event = events
        .into_iter()
        .find(|event| event.id.uuid.to_string() == key)
        .expect("it is stored");
    assert_eq!(event.user_id, "a\0b");
    assert_eq!(event.path.as_str(), "/%00");
    assert_eq!(event.referrer, "\0");
    assert_eq!(event.props, [("\0".to_owned(), "\0".to_owned())]);
    edge.stop().await;
}

#[tokio::test]
async fn a_hundred_thousand_levels_are_refused_and_cost_nothing() {
    let (edge, _broker) = Edge::ready().await;
    let deep = "[".repeat(100_000);
    let objects = r#"{"a":"#.repeat(40_000);
    for body in [&deep, &objects] {
        for path in ["/event", "/events"] {
            Answer::of(edge.post(path, body.clone())).await.refused(400);
        }
        let inside = event_with(&format!(r#""props":{{"a":{body}"#));
        for path in ["/event", "/events"] {
            Answer::of(edge.post(path, inside.clone()))
                .await
                .refused(400);
        }
    }
    let closed = deep.clone() + &"]".repeat(100_000);
    let answer = edge.events(format!("[{GOOD},{closed},{GOOD}]")).await;
    assert_eq!(answer.is(202).json["accepted"], 2);
    edge.is_unharmed().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped_at_the_begin_and_nowhere_else() {
    let (edge, _broker) = Edge::ready().await;
    for batch in [
        format!("\u{feff}[{GOOD},{GOOD}]"),
        format!("\u{feff}{{\"events\":[{GOOD},{GOOD}]}}"),
        format!("\u{feff}\r\n{GOOD}\r\n\r\n{GOOD}\r\n"),
    ] {
        let answer = edge.events(batch).await;
        assert_eq!(answer.is(202).json["accepted"], 2);
    }
    let answer = edge.events(format!("{GOOD}\n\u{feff}{GOOD}")).await;
    assert_eq!(answer.is(202).json["rejected"][0]["index"], json!(1));
    let twice = format!("\u{feff}\u{feff}{GOOD}");
    edge.event(twice.clone()).await.refused(400);
    edge.events(twice).await.refused(400);
    // UTF-16, as some Windows tools write.
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(GOOD.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    for path in ["/event", "/events"] {
        Answer::of(edge.post(path, wide.clone())).await.refused(400);
    }
    edge.stop().await;
}

#[tokio::test]
async fn lines_may_end_in_either_way_and_lines_without_content_have_no_index() {
    let (edge, _broker) = Edge::ready().await;
    let lines = format!("\r\n \t\r\n{GOOD}\r\n\n\r\n{{}}\n\t{GOOD}\t\r\n\r");
    let answer = edge.events(lines).await;
    assert_eq!(answer.is(202).json["accepted"], 2);
    assert_eq!(answer.json["rejected"][0]["index"], 1);
    assert_eq!(answer.json["rejected"].as_array().unwrap().len(), 1);
    edge.stop().await;
}
