//! Texts nobody would send: the parser judges each and never panics, and what it takes obeys every
//! rule.

use event::limits::{
    CLOCK_SKEW_MAX, EVENT_TYPE_BYTES_MAX, PATH_BYTES_MAX, PROPS_BYTES_MAX, PROPS_KEYS_MAX,
    REFERRER_BYTES_MAX, SITE_ID_BYTES_MAX, TIMESTAMP_MIN, USER_ID_BYTES_MAX,
};
use event::wire::{BatchEncoder, SCHEMA_VERSION, decode, encode};
use event::{Event, EventRequest};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{EDGE_ID, received_at};

fn judge(text: &str) -> Option<Result<Event, usize>> {
    let request = read_in_every_way(text)?;
    let judged = event::parse(&request, received_at(), || EDGE_ID);
    Some(judged.map_err(|invalid| {
        for fault in &invalid.faults {
            assert!(fault.to_string().len() < 1_000, "{fault}");
        }
        invalid.faults.len()
    }))
}

/// Whichever way a text is read, and wherever it stands, serde has the last word on it.
fn read_in_every_way(text: &str) -> Option<EventRequest<'_>> {
    let by_serde = serde_json::from_str::<EventRequest<'_>>(text);
    match (EventRequest::from_json(text), &by_serde) {
        (Ok(request), Ok(by_serde)) => assert_eq!(request, *by_serde, "{text}"),
        (Err(error), Err(by_serde)) => assert_eq!(error.to_string(), by_serde.to_string()),
        (request, _) => panic!("{text} is {request:?} and by serde {by_serde:?}"),
    }
    let mut first_by_serde = serde_json::Deserializer::from_str(text).into_iter();
    let request = first_by_serde.next().and_then(Result::ok);
    let bytes = request.as_ref().map(|_| first_by_serde.byte_offset());
    // One that was read before leaves nothing behind.
    let before = r#"{"site_id":"before","user_id":"u","props":{"before":1},"path":7}"#;
    let mut again = EventRequest::from_json(before).unwrap();
    assert_eq!(again.read(text).ok(), bytes, "{text}");
    if let Some(request) = request {
        assert_eq!(again, request, "{text}");
    }
    by_serde.ok()
}

fn obeys_every_rule(event: &Event) {
    assert!((1..=SITE_ID_BYTES_MAX).contains(&event.site_id.as_str().len()));
    assert!((1..=EVENT_TYPE_BYTES_MAX).contains(&event.event_type.as_str().len()));
    assert!(event.path.as_str().len() <= PATH_BYTES_MAX);
    assert!(!event.path.as_str().contains(['?', '#']));
    assert!(event.user_id.len() <= USER_ID_BYTES_MAX);
    assert!(event.referrer.len() <= REFERRER_BYTES_MAX);
    assert!(event.timestamp >= TIMESTAMP_MIN && event.timestamp <= received_at());
    assert!(received_at() + CLOCK_SKEW_MAX > event.timestamp);
    assert!(event.props.len() <= PROPS_KEYS_MAX);
    let bytes = event
        .props
        .iter()
        .map(|(key, value)| key.len() + value.len());
    assert!(bytes.sum::<usize>() <= PROPS_BYTES_MAX);
    let mut keys: Vec<&String> = event.props.iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), event.props.len());
}

/// A field, or something like one.
fn fields() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "site_id",
            "event_type",
            "path",
            "user_id",
            "timestamp",
            "event_id",
            "referrer",
            "props",
            "pat\\u0068",
        ])
        .prop_map(String::from),
        "[a-z\\\\u0-9\"]{0,8}",
    ];
    let text = prop_oneof![
        "\"[ -~&&[^\"\\\\]]{0,30}\"",
        "\"(\\\\(u[0-9a-fd]{4}|[\"\\\\/bfnrtx])|[a-z0-9:TZ.-]){0,20}\"",
        "\"\\PC{0,20}\"",
        Just("\"2025-11-15T10:00:00Z\"".to_owned()),
    ];
    let number = "[+-]?[0-9]{1,25}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{0,4})?";
    let scalar = prop_oneof![
        3 => text,
        2 => number,
        1 => prop::sample::select(vec!["null", "true", "false", "nul", "", "{}", "[]"])
            .prop_map(String::from),
    ];
    let value = scalar.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-c]{0,2}", inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .into_iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    });
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn what_is_taken_obeys_every_rule_and_is_read_back_from_kafka_as_it_was(
        fields in prop::collection::vec(fields(), 0..8),
        good in any::<bool>(),
        comma in prop::sample::select(vec![",", " ,", ",\n\t", ", \r"]),
        rest in prop::sample::select(vec!["", "\n", "  ", ",{}", "}", "\u{a0}"]),
    ) {
        let mut fields = fields;
        if good {
            fields.push(r#""site_id":"shop","event_type":"page_view""#.to_owned());
        }
        let text = format!("{{{}}}{rest}", fields.join(comma));
        match judge(&text) {
            None => {}
            Some(Err(faults)) => prop_assert!(faults > 0),
            Some(Ok(event)) => {
                obeys_every_rule(&event);
                // Nothing is an event that other readers would not call JSON.
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
                let mut encoder = BatchEncoder::new(EDGE_ID);
                encoder.push(&encode(&event));
                let batch = decode(Some(SCHEMA_VERSION.as_bytes()), Some(&encoder.finish()));
                prop_assert_eq!(batch.unwrap().events, [event]);
            }
        }
    }

    #[test]
    fn any_text_at_all_is_judged(text in "\\PC{0,200}|[\\[\\]{}\",:a-z0-9\\\\ ]{0,200}") {
        let _ = judge(&text);
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn cases() -> u32 {
    std::env::var_os("WEIR_FUZZ_CASES")
        .map_or(2_000, |count| count.into_string().unwrap().parse().unwrap())
}
