//! Events made the only way there is: by parsing what a client sent.

use chrono::{DateTime, Utc};
use event::{Event, EventRequest};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// 2025-11-15T10:00:00.123Z
pub(crate) fn received_at() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_763_200_800_123).unwrap()
}

pub(crate) const EDGE_ID: Uuid = Uuid::from_u128(0x018f_3f3e_7a1b_7c3d_8e4f_0000_0000_0001);

/// The event, or all its faults as the API tells them.
pub(crate) fn parse(body: &str) -> Result<Event, Vec<String>> {
    let request: EventRequest<'_> = serde_json::from_str(body).expect("the body is an object");
    event::parse(&request, received_at(), || EDGE_ID)
        .map_err(|invalid| invalid.faults.iter().map(ToString::to_string).collect())
}

/// A good event with `field` set to `value`.
pub(crate) fn with(field: &str, value: impl Into<Value>) -> Result<Event, Vec<String>> {
    let mut body = json!({"site_id": "shop", "event_type": "click"});
    body[field] = value.into();
    parse(&body.to_string())
}

/// Any valid event.
pub(crate) fn events() -> impl Strategy<Value = Event> {
    let optional = |text: &'static str| prop::option::of(text);
    (
        "[A-Za-z0-9._:-]{1,128}",
        prop_oneof![Just("page_view".to_owned()), "\\PC{1,16}"],
        prop::option::of(".{0,400}"),
        optional("\\PC{0,64}"),
        // 2000-01-01 to 24 hours ahead.
        prop::option::of(946_684_800_000_i64..=1_763_287_200_123),
        prop::option::of(prop_oneof![
            "\\PC{1,32}",
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string())
        ]),
        optional("\\PC{0,300}"),
        prop::collection::btree_map("\\PC{0,20}", scalars(), 0..30),
    )
        .prop_map(
            |(site_id, event_type, path, user_id, timestamp, event_id, referrer, props)| {
                let timestamp = timestamp.map(|millis| {
                    DateTime::from_timestamp_millis(millis)
                        .unwrap()
                        .to_rfc3339()
                });
                let body = json!({
                    "site_id": site_id, "event_type": event_type, "path": path,
                    "user_id": user_id, "timestamp": timestamp, "event_id": event_id,
                    "referrer": referrer, "props": props.into_iter().collect::<Map<_, _>>(),
                });
                parse(&body.to_string()).expect("the strategy makes valid events")
            },
        )
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{0,40}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}
