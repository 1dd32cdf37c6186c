//! Every rule, on both sides of each boundary.

use chrono::{DateTime, TimeDelta, Utc};
use event::limits::{
    CLOCK_SKEW_MAX, EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PATH_BYTES_MAX, PROPS_BYTES_MAX,
    PROPS_KEYS_MAX, REFERRER_BYTES_MAX, SITE_ID_BYTES_MAX, TIMESTAMP_MIN, USER_ID_BYTES_MAX,
};
use event::{Detail, EventRequest, IdOrigin, ReferrerPart};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::{EDGE_ID, parse, received_at, with};

const SITE_ID: &str = "site_id must be 1 to 128 bytes of A-Z a-z 0-9 . _ : -";
const EVENT_TYPE: &str = "event_type must be 1 to 64 bytes without control characters";
const EVENT_ID: &str = "event_id must be a UUID or a string of 1 to 128 bytes";
const TIMESTAMP: &str = "timestamp must be an RFC 3339 date and time, such as 2025-11-15T10:00:00Z";

fn refused(field: &str, value: impl Into<Value>) -> String {
    let [fault] = with(field, value)
        .expect_err("it breaks a rule")
        .try_into()
        .expect("it breaks one rule");
    fault
}

fn text_of(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn the_limits_are_those_of_the_contract() {
    assert_eq!(
        [
            SITE_ID_BYTES_MAX,
            EVENT_TYPE_BYTES_MAX,
            PATH_BYTES_MAX,
            USER_ID_BYTES_MAX,
            EVENT_ID_BYTES_MAX,
            REFERRER_BYTES_MAX,
            PROPS_KEYS_MAX,
            PROPS_BYTES_MAX
        ],
        [128, 64, 2048, 256, 128, 2048, 30, 65536]
    );
}

#[test]
fn the_smallest_event_has_defaults_for_all_the_rest() {
    let event = parse(r#"{"site_id":"s","event_type":"e"}"#).unwrap();
    assert_eq!(event.id.uuid, EDGE_ID);
    assert_eq!(event.id.origin, IdOrigin::Edge);
    assert_eq!(event.path.as_str(), "");
    assert_eq!((event.user_id.as_str(), event.referrer.as_str()), ("", ""));
    assert_eq!(event.timestamp, received_at());
    assert_eq!(event.received_at, received_at());
    assert!(event.props.is_empty());
}

#[test]
fn null_is_the_same_as_leaving_a_field_out() {
    let nulls = r#"{"site_id":"s","event_type":"e","path":null,"user_id":null,"timestamp":null,
        "event_id":null,"referrer":null,"props":null}"#;
    assert_eq!(parse(nulls), parse(r#"{"site_id":"s","event_type":"e"}"#));
    assert_eq!(
        parse(r#"{"site_id":null,"event_type":null}"#).unwrap_err(),
        [
            "site_id is required and must be a string",
            "event_type is required and must be a string"
        ]
    );
}

#[test]
fn a_field_of_the_wrong_type_is_a_fault_of_that_field() {
    for value in [
        json!(5),
        json!(-5),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"a": {"b": []}}),
    ] {
        let texts = [
            ("site_id", "site_id is required and must be a string"),
            ("event_type", "event_type is required and must be a string"),
            ("path", "path must be a string"),
            ("user_id", "user_id must be a string"),
            ("timestamp", TIMESTAMP),
            ("event_id", EVENT_ID),
            ("referrer", "referrer must be a string"),
        ];
        for (field, fault) in texts {
            assert_eq!(refused(field, value.clone()), fault);
        }
    }
    for value in [
        json!(5),
        json!("x"),
        json!(true),
        json!([]),
        json!([["a", "b"]]),
    ] {
        assert_eq!(refused("props", value), "props must be an object");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_fields() {
    let faults = parse(
        &json!({
            "props": {"a": [], "b": {}, "c": 1}, "referrer": text_of(2049), "event_id": "",
            "timestamp": "1999-12-31T23:59:59.999Z", "user_id": text_of(257),
            "path": text_of(2049), "event_type": "", "site_id": "",
        })
        .to_string(),
    )
    .unwrap_err();
    assert_eq!(
        faults,
        [
            SITE_ID,
            EVENT_TYPE,
            "path must be at most 2048 bytes before its query",
            "user_id must be at most 256 bytes",
            "timestamp must not be before 2000-01-01T00:00:00Z",
            EVENT_ID,
            "referrer must be at most 2048 bytes",
            "props.a must be a string, a number, a boolean or null",
            "props.b must be a string, a number, a boolean or null",
        ]
    );
}

#[test]
fn a_site_id_has_1_to_128_bytes_of_its_alphabet() {
    for good in ["s", "A-Z.a_z:0-9", &text_of(128)] {
        assert_eq!(with("site_id", good).unwrap().site_id.as_str(), good);
    }
    for bad in [
        "",
        " s",
        "s ",
        "a/b",
        "a b",
        "\u{e9}",
        "a\0",
        "a\n",
        &text_of(129),
    ] {
        assert_eq!(refused("site_id", bad), SITE_ID, "{bad:?}");
    }
}

#[test]
fn an_event_type_has_1_to_64_bytes_and_no_control_characters() {
    let umlauts = "\u{fc}".repeat(32);
    for good in ["e", "Sign up!", "\u{1f600}", &umlauts, &text_of(64)] {
        assert_eq!(with("event_type", good).unwrap().event_type.as_str(), good);
    }
    let too_many_bytes = format!("{umlauts}x");
    for bad in [
        "",
        "a\nb",
        "\0",
        "\u{7f}",
        "\u{85}",
        &too_many_bytes,
        &text_of(65),
    ] {
        assert_eq!(refused("event_type", bad), EVENT_TYPE, "{bad:?}");
    }
}

#[test]
fn a_path_is_cut_before_it_is_measured() {
    for (sent, path) in [
        ("/a?b=c", "/a"),
        ("/a#b", "/a"),
        ("/a#b?c", "/a"),
        ("/a?b#c", "/a"),
        ("?a", ""),
        ("#", ""),
        ("pricing", "pricing"),
        ("/\u{e9}?", "/\u{e9}"),
    ] {
        assert_eq!(with("path", sent).unwrap().path.as_str(), path, "{sent}");
    }
    let longest = text_of(2048);
    assert_eq!(
        with("path", longest.clone()).unwrap().path.as_str(),
        longest
    );
    let with_query = format!("{longest}?{}", text_of(100_000));
    assert_eq!(with("path", with_query).unwrap().path.as_str(), longest);
    for bad in [text_of(2049), text_of(2049) + "?", text_of(2049) + "#"] {
        assert_eq!(
            refused("path", bad),
            "path must be at most 2048 bytes before its query"
        );
    }
}

#[test]
fn an_empty_path_is_the_root_for_a_view_and_stays_empty_otherwise() {
    let path = |event_type: &str, path: Value| {
        let body = json!({"site_id": "s", "event_type": event_type, "path": path});
        parse(&body.to_string()).unwrap().path.as_str().to_owned()
    };
    for view in ["page_view", "pageview", "view"] {
        assert_eq!(path(view, json!("")), "/");
        assert_eq!(path(view, json!("?a=b")), "/");
        assert_eq!(path(view, json!("/a")), "/a");
    }
    for other in ["click", "Page_View", "views"] {
        assert_eq!(path(other, json!("")), "");
    }
}

#[test]
fn a_user_id_and_a_referrer_have_a_most_of_bytes() {
    for (field, bytes_max) in [("user_id", 256), ("referrer", 2048)] {
        for good in [
            "",
            "\0",
            &text_of(bytes_max),
            &"\u{e9}".repeat(bytes_max / 2),
        ] {
            let event = with(field, good).unwrap();
            let stored = if field == "user_id" {
                event.user_id
            } else {
                event.referrer
            };
            assert_eq!(stored, good);
        }
        for bad in [text_of(bytes_max + 1), "\u{e9}".repeat(bytes_max / 2) + "x"] {
            assert_eq!(
                refused(field, bad),
                format!("{field} must be at most {bytes_max} bytes")
            );
        }
    }
}

#[test]
fn a_timestamp_up_to_24_hours_ahead_takes_the_time_of_receipt_and_one_further_is_refused() {
    let millisecond = TimeDelta::milliseconds(1);
    let timestamp = |time: DateTime<Utc>| with("timestamp", time.to_rfc3339());
    for good in [
        received_at(),
        received_at() + millisecond,
        received_at() + CLOCK_SKEW_MAX,
        received_at() + TimeDelta::hours(24),
    ] {
        assert_eq!(timestamp(good).unwrap().timestamp, received_at());
    }
    let just_before = received_at() - millisecond;
    assert_eq!(timestamp(just_before).unwrap().timestamp, just_before);
    for bad in [
        received_at() + CLOCK_SKEW_MAX + millisecond,
        received_at() + TimeDelta::days(36_500),
    ] {
        assert_eq!(
            timestamp(bad).unwrap_err(),
            ["timestamp must not be more than 24 hours ahead of the time of receipt"]
        );
    }
}

#[test]
fn a_timestamp_as_old_as_2000_is_welcome_and_one_older_is_refused() {
    let event = with("timestamp", "2000-01-01T00:00:00Z").unwrap();
    assert_eq!(event.timestamp, TIMESTAMP_MIN);
    assert_eq!(event.timestamp.timestamp_millis(), 946_684_800_000);
    with("timestamp", "2000-01-01T02:00:00.000+02:00").unwrap();
    for bad in [
        "1999-12-31T23:59:59.999Z",
        "1999-12-31T23:59:59.999999999Z",
        "2000-01-01T01:59:59.999+02:00",
        "1970-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        assert_eq!(
            refused("timestamp", bad),
            "timestamp must not be before 2000-01-01T00:00:00Z",
            "{bad}"
        );
    }
}

#[test]
fn a_timestamp_is_rfc_3339_and_kept_in_milliseconds() {
    for (sent, millis) in [
        ("2025-11-15T09:00:00Z", 1_763_197_200_000),
        ("2025-11-15T09:00:00.1Z", 1_763_197_200_100),
        ("2025-11-15T09:00:00.123999Z", 1_763_197_200_123),
        ("2025-11-15T10:30:00+01:30", 1_763_197_200_000),
        ("2025-11-15t09:00:00z", 1_763_197_200_000),
    ] {
        let event = with("timestamp", sent).unwrap();
        assert_eq!(event.timestamp.timestamp_millis(), millis, "{sent}");
    }
    for bad in [
        "",
        "yesterday",
        "2025-11-15",
        "2025-11-15T09:00:00",
        "2025-13-15T09:00:00Z",
        "2025-02-30T09:00:00Z",
        "1763197200",
        "Sat, 15 Nov 2025 09:00:00 GMT",
    ] {
        assert_eq!(refused("timestamp", bad), TIMESTAMP, "{bad:?}");
    }
}

#[test]
fn a_clients_uuid_is_taken_as_it_is_in_either_case() {
    let uuid = "018f3f3e-7a1b-7c3d-8e4f-00000000abcd";
    for sent in [uuid.to_owned(), uuid.to_uppercase()] {
        let id = with("event_id", sent).unwrap().id;
        assert_eq!(id.uuid.to_string(), uuid);
        assert_eq!(id.origin, IdOrigin::Client);
    }
}

#[test]
fn a_clients_string_becomes_the_uuid_v5_of_site_and_string() {
    let id = |site: &str, key: &str| {
        let body = json!({"site_id": site, "event_type": "e", "event_id": key});
        let id = parse(&body.to_string()).unwrap().id;
        assert_eq!(id.origin, IdOrigin::Client);
        id.uuid
    };
    let namespace = Uuid::new_v5(&Uuid::nil(), b"shop");
    assert_eq!(id("shop", "order-1"), Uuid::new_v5(&namespace, b"order-1"));
    assert_eq!(id("shop", "order-1"), id("shop", "order-1"));
    assert_ne!(id("shop", "order-1"), id("shop", "order-2"));
    assert_ne!(id("shop", "order-1"), id("sho", "porder-1"));
    assert_ne!(id("shop", "order-1"), id("store", "order-1"));
    // Other spellings of a UUID are strings like any other: one key, one spelling.
    let uuid = "018f3f3e-7a1b-7c3d-8e4f-00000000abcd";
    for spelling in [
        uuid.replace('-', ""),
        format!("{{{uuid}}}"),
        format!("urn:uuid:{uuid}"),
    ] {
        assert_eq!(id("shop", &spelling).get_version_num(), 5, "{spelling}");
    }
    for good in ["x", &text_of(128), &"\u{e9}".repeat(64)] {
        with("event_id", good).unwrap();
    }
    for bad in ["", &text_of(129), &("\u{e9}".repeat(64) + "x")] {
        assert_eq!(refused("event_id", bad), EVENT_ID);
    }
}

#[test]
fn props_keep_scalars_as_json_writes_them_in_the_order_sent() {
    let event = parse(
        r#"{"site_id":"s","event_type":"e","props":{"z":"text","a":1,"b":-2,"c":1.5,"d":true,
            "e":false,"f":null,"":"","g":18446744073709551615,"\u0068":"\u00e9"}}"#,
    )
    .unwrap();
    let props = [
        ("z", "text"),
        ("a", "1"),
        ("b", "-2"),
        ("c", "1.5"),
        ("d", "true"),
        ("e", "false"),
        ("", ""),
        ("g", "18446744073709551615"),
        ("h", "\u{e9}"),
    ];
    assert_eq!(
        event.props,
        props.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[test]
fn props_have_at_most_30_keys() {
    let props = |count: usize| {
        (0..count)
            .map(|nth| (format!("key-{nth}"), json!(nth)))
            .collect::<Map<String, Value>>()
    };
    assert_eq!(with("props", props(0)).unwrap().props.len(), 0);
    assert_eq!(with("props", props(30)).unwrap().props.len(), 30);
    for count in [31, 32, 1000] {
        assert_eq!(
            refused("props", props(count)),
            "props must have at most 30 keys"
        );
    }
}

#[test]
fn props_have_at_most_64_kib_keys_and_values_together() {
    let fitting = json!({"a": text_of(30_000), "b": text_of(65_536 - 30_000 - 2)});
    with("props", fitting).unwrap();
    let beyond = json!({"a": text_of(30_000), "b": text_of(65_536 - 30_000 - 1)});
    assert_eq!(
        refused("props", beyond),
        "props must be at most 65536 bytes in all"
    );
    let long_key: Map<String, Value> = [(text_of(65_536), json!(""))].into_iter().collect();
    with("props", long_key).unwrap();
}

#[test]
fn a_prop_given_twice_or_nested_is_named_and_never_quoted_whole() {
    let twice = parse(r#"{"site_id":"s","event_type":"e","props":{"a":1,"a":2}}"#);
    assert_eq!(twice.unwrap_err(), ["props.a is given twice"]);
    let nested: Map<String, Value> = [("\u{e9}".repeat(1000), json!([]))].into_iter().collect();
    let fault = refused("props", nested);
    assert!(fault.contains("..."), "{fault}");
    assert!(fault.len() < 150, "{fault}");
}

#[test]
fn unknown_fields_are_ignored_unless_they_are_nested_without_end() {
    let plain = parse(r#"{"site_id":"s","event_type":"e"}"#);
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let body = |value: &str| format!(r#"{{"site_id":"s","a":{value},"event_type":"e","b":null}}"#);
    for value in [
        "5",
        "-1.5e3",
        "\"\\u0000\"",
        "{\"a\":{\"site_id\":5}}",
        &nested(100),
    ] {
        assert_eq!(parse(&body(value)), plain);
    }
    for value in [
        nested(200),
        nested(10_000),
        r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000),
    ] {
        let refused = serde_json::from_str::<EventRequest<'_>>(&body(&value)).unwrap_err();
        assert!(refused.to_string().contains("recursion limit"), "{refused}");
    }
}

#[test]
fn what_is_not_an_object_or_names_a_field_twice_is_not_a_request() {
    for body in [
        "[]",
        r#"["shop","page_view"]"#,
        "5",
        "null",
        r#""text""#,
        r#"{"site_id":"a","site_id":"a","event_type":"e"}"#,
        r#"{"props":null,"props":{}}"#,
    ] {
        let refused = serde_json::from_str::<EventRequest<'_>>(body).unwrap_err();
        assert!(refused.is_data(), "{refused}");
    }
}

#[test]
fn pairs_are_the_same_request_as_an_object_of_strings() {
    let pairs = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        EventRequest::from_pairs(pairs)
            .map(|request| event::parse(&request, received_at(), || EDGE_ID))
    };
    let all = [
        ("site_id", "shop"),
        ("event_type", "page_view"),
        ("path", "/a?b"),
        ("user_id", "u"),
        ("timestamp", "2025-11-15T09:00:00Z"),
        ("event_id", "e"),
        ("referrer", "r"),
    ];
    let object: Map<String, Value> = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    assert_eq!(
        pairs(&all).unwrap().unwrap(),
        parse(&Value::from(object).to_string()).unwrap()
    );
    // Unknown names are ignored however often they come, and so is an empty value.
    let more = [("x", "1"), ("x", "2"), ("props", "{}"), ("props", "")];
    let few = [("site_id", "shop"), ("event_type", "e"), ("event_id", "")];
    assert_eq!(
        pairs(&[&more[..], &few[..]].concat()).unwrap().unwrap(),
        parse(r#"{"site_id":"shop","event_type":"e"}"#).unwrap()
    );
    for (name, value) in all {
        let twice = pairs(&[(name, value), (name, "")]).unwrap_err();
        assert_eq!(twice.to_string(), format!("{name} is given twice"));
    }
    let empty = pairs(&[("site_id", "")]).unwrap().unwrap_err();
    assert_eq!(empty.faults.len(), 2);
}

#[test]
fn a_detail_is_a_text_and_any_text_is_one() {
    for (name, detail) in Detail::ALL {
        assert_eq!(detail.name(), name);
        let fault = format!("{name} must be a string");
        assert_eq!(refused(name, 5), fault);
        assert_eq!(refused(name, json!({"a": {}})), fault);
        with(name, Value::Null).unwrap();
        with(name, text_of(100_000)).unwrap();
        let body = json!({"site_id": "s", "event_type": "e", name: "x\ny"}).to_string();
        let request = EventRequest::from_json(&body).unwrap();
        assert_eq!(request.detail(detail), Some("x\ny"));
        assert!(request.has_details());
        let twice = format!(r#"{{"site_id":"s","event_type":"e","{name}":"a","{name}":"b"}}"#);
        let refused = EventRequest::from_json(&twice).unwrap_err().to_string();
        assert!(refused.contains("given twice"), "{refused}");
    }
}

#[test]
fn a_referrer_that_is_too_long_is_cut() {
    let long = format!(
        "https://r.example/{}\u{e9}",
        "x".repeat(REFERRER_BYTES_MAX - 19)
    );
    assert_eq!(long.len(), REFERRER_BYTES_MAX + 1);
    for escape in ["", "\\/"] {
        let body = format!(r#"{{"site_id":"s","event_type":"e","referrer":"{long}{escape}"}}"#);
        let mut request = EventRequest::from_json(&body).unwrap();
        request.cut_referrer(ReferrerPart::Path);
        let event = event::parse(&request, received_at(), || EDGE_ID).unwrap();
        assert_eq!(event.referrer, long[..REFERRER_BYTES_MAX - 1]);
    }
}
