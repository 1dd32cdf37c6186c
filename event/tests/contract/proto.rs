//! `event.proto` as published describes what is written, field by field.

use event::wire::{BatchEncoder, PROTO, encode};
use event::{Context, Event, UserOrigin};
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{parse, received_at};

fn message(name: &str) -> MessageDescriptor {
    let root = env!("CARGO_MANIFEST_DIR");
    let files = protox::compile(["event.proto"], [root]).expect("event.proto compiles");
    let pool = DescriptorPool::from_file_descriptor_set(files).expect("its types are whole");
    pool.get_message_by_name(name).expect("the message exists")
}

#[test]
fn the_published_text_is_the_file() {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/event.proto"));
    assert_eq!(file.unwrap(), PROTO);
}

#[test]
fn a_reader_generated_from_event_proto_reads_every_field() {
    let key = Uuid::from_u128(0x018f_3f3e_7a1b_7c3d_8e4f_0000_0000_abcd);
    let event = parse(
        &json!({
            "site_id": "shop", "event_type": "page_view", "path": "/a", "user_id": "user-1",
            "timestamp": "2025-11-15T09:00:00Z", "event_id": key, "referrer": "https://x.example/",
            "props": {"plan": "team", "seats": 5},
        })
        .to_string(),
    )
    .unwrap();
    let event = Event {
        context: Context {
            hostname: "shop.example".to_owned(),
            source: "Referral\tx.example\t\t\t\t\t".to_owned(),
            agent: "Firefox\t145\tLinux\tdesktop\t".to_owned(),
            place: "DE\t\t".to_owned(),
            language: "de-DE".to_owned(),
            screen: "wide".to_owned(),
            user_origin: UserOrigin::Edge,
        },
        ..event
    };
    let batch_id = Uuid::from_u128(7);
    let mut encoder = BatchEncoder::new(batch_id);
    encoder.push(&encode(&event));
    encoder.push(&encode(&event));
    let record = encoder.finish();

    let batch = DynamicMessage::decode(message("weir.v1.EventBatch"), record.as_slice()).unwrap();
    nothing_is_unknown_or_unused(&batch);
    let bytes = |uuid: Uuid| Value::Bytes(uuid.as_bytes().to_vec().into());
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(*field(&batch, "batch_id"), bytes(batch_id));
    let events = field(&batch, "events");
    assert_eq!(events.as_list().unwrap().len(), 2);
    let event = events.as_list().unwrap()[1].as_message().unwrap();
    nothing_is_unknown_or_unused(event);
    for (name, value) in [
        ("event_id", bytes(key)),
        ("id_origin", Value::EnumNumber(1)),
        ("site_id", text("shop")),
        ("event_type", text("page_view")),
        ("path", text("/a")),
        ("user_id", text("user-1")),
        ("timestamp_ms", Value::I64(1_763_197_200_000)),
        (
            "received_at_ms",
            Value::I64(received_at().timestamp_millis()),
        ),
        ("referrer", text("https://x.example/")),
        ("hostname", text("shop.example")),
        ("source", text("Referral\tx.example\t\t\t\t\t")),
        ("agent", text("Firefox\t145\tLinux\tdesktop\t")),
        ("place", text("DE\t\t")),
        ("language", text("de-DE")),
        ("screen", text("wide")),
        ("user_origin", Value::EnumNumber(1)),
    ] {
        assert_eq!(*field(event, name), value, "{name}");
    }
    let props = field(event, "props");
    let props: Vec<(Value, Value)> = props
        .as_list()
        .unwrap()
        .iter()
        .map(|prop| {
            let prop = prop.as_message().unwrap();
            nothing_is_unknown_or_unused(prop);
            (
                field(prop, "key").into_owned(),
                field(prop, "value").into_owned(),
            )
        })
        .collect();
    assert_eq!(
        props,
        [(text("plan"), text("team")), (text("seats"), text("5"))]
    );
}

#[test]
fn the_origins_of_an_id_are_numbered_as_they_are_written() {
    let event = message("weir.v1.Event");
    let Kind::Enum(origins) = event.get_field_by_name("id_origin").unwrap().kind() else {
        panic!("id_origin is no enum");
    };
    let named: Vec<(i32, String)> = origins
        .values()
        .map(|value| (value.number(), value.name().to_owned()))
        .collect();
    assert_eq!(named, [(0, "EDGE".to_owned()), (1, "CLIENT".to_owned())]);
}

fn field<'m>(message: &'m DynamicMessage, name: &str) -> std::borrow::Cow<'m, Value> {
    message
        .get_field_by_name(name)
        .expect("event.proto has the field")
}

/// Neither side has a field that the other has not.
fn nothing_is_unknown_or_unused(message: &DynamicMessage) {
    assert_eq!(message.unknown_fields().count(), 0);
    for field in message.descriptor().fields() {
        assert!(
            message.has_field(&field),
            "{} is never written",
            field.full_name()
        );
    }
}
