//! What is written and read by hand, beside what prost makes of `event.proto`.

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::fault::Fault;
use crate::fields::{EventId, EventType, Path, SiteId};
use crate::judge::{at_most, happened};
use crate::limits::*;
use crate::model::Context;

impl From<&Event> for proto::Event {
    fn from(event: &Event) -> Self {
        Self {
            event_id: event.id.uuid.as_bytes().to_vec(),
            id_origin: match event.id.origin {
                IdOrigin::Edge => proto::IdOrigin::Edge.into(),
                IdOrigin::Client => proto::IdOrigin::Client.into(),
            },
            site_id: event.site_id.as_str().to_owned(),
            event_type: event.event_type.as_str().to_owned(),
            path: event.path.as_str().to_owned(),
            user_id: event.user_id.clone(),
            timestamp_ms: event.timestamp.timestamp_millis(),
            received_at_ms: event.received_at.timestamp_millis(),
            referrer: event.referrer.clone(),
            props: event
                .props
                .iter()
                .map(|(key, value)| proto::Prop {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            hostname: event.context.hostname.clone(),
            source: event.context.source.clone(),
            agent: event.context.agent.clone(),
            place: event.context.place.clone(),
            language: event.context.language.clone(),
            screen: event.context.screen.clone(),
            user_origin: match event.context.user_origin {
                UserOrigin::Client => proto::UserOrigin::Client.into(),
                UserOrigin::Edge => proto::UserOrigin::Edge.into(),
            },
        }
    }
}

fn some_event() -> impl Strategy<Value = Event> {
    let text = || "[a-zA-Z0-9 \u{e9}\u{4e2d}]{0,200}";
    (
        any::<u128>(),
        any::<bool>(),
        "[a-z]{1,20}",
        "[a-z]{1,20}",
        "/[a-z]{0,300}",
        text(),
        (
            946_684_800_000..4_102_444_800_000_i64,
            0..90_000_000_000_i64,
        ),
        text(),
        some_props(text()),
        some_context(),
    )
        .prop_map(
            |(id, is_client, site, event_type, path, user_id, times, referrer, props, context)| {
                Event {
                    id: EventId {
                        uuid: Uuid::from_u128(id),
                        origin: if is_client {
                            IdOrigin::Client
                        } else {
                            IdOrigin::Edge
                        },
                    },
                    site_id: site.parse().unwrap(),
                    event_type: event_type.parse().unwrap(),
                    path: path.parse().unwrap(),
                    user_id,
                    timestamp: DateTime::from_timestamp_millis(times.0).unwrap(),
                    received_at: DateTime::from_timestamp_millis(times.0 + times.1).unwrap(),
                    referrer,
                    props,
                    context,
                }
            },
        )
}

/// Each key once.
fn some_props(text: &'static str) -> impl Strategy<Value = Vec<(String, String)>> {
    let props = proptest::collection::btree_map(text, text, 0..4);
    props.prop_map(|props| props.into_iter().collect())
}

fn some_context() -> impl Strategy<Value = Context> {
    let text = || "[a-z\u{e9}]{0,3}";
    let values =
        |pattern: &'static str| proptest::option::of(pattern).prop_map(Option::unwrap_or_default);
    (
        text(),
        values("[a-z\u{e9}]{0,3}(\t[a-z]{0,2}){6}"),
        values("[a-z]{0,3}(\t[a-z]{0,2}){4}"),
        values("[a-z]{0,3}(\t[a-z\u{e9}]{0,2}){2}"),
        text(),
        text(),
        any::<bool>(),
    )
        .prop_map(
            |(hostname, source, agent, place, language, screen, is_edge)| Context {
                hostname,
                source,
                agent,
                place,
                language,
                screen,
                user_origin: if is_edge {
                    UserOrigin::Edge
                } else {
                    UserOrigin::Client
                },
            },
        )
}

/// With texts so short that a change meets what is between them.
fn small_event() -> impl Strategy<Value = Event> {
    let text = || "[a-z\u{e9}]{0,3}";
    let props = some_props(text());
    (some_event(), text(), text(), props).prop_map(|(event, user_id, referrer, props)| Event {
        site_id: "s".parse().unwrap(),
        event_type: "view".parse().unwrap(),
        path: "/p".parse().unwrap(),
        user_id,
        referrer,
        props,
        ..event
    })
}

fn read_by_prost(value: &[u8]) -> Option<EventBatch> {
    let batch = proto::EventBatch::decode(value).ok()?;
    if !(1..=BATCH_EVENTS_MAX).contains(&batch.events.len()) {
        return None;
    }
    let events = batch.events.into_iter().map(Event::try_from);
    Some(EventBatch {
        id: Uuid::from_slice(&batch.batch_id).ok()?,
        events: events.collect::<Result<_, _>>().ok()?,
    })
}

fn record(events: &[Event]) -> Vec<u8> {
    let mut encoder = BatchEncoder::new(Uuid::from_u128(7));
    for event in events {
        encoder.push(&encode(event));
    }
    encoder.finish()
}

/// A change of a record that may well leave it one: bytes that mean something to protobuf.
fn mutation() -> impl Strategy<Value = (proptest::sample::Index, bool, Vec<u8>)> {
    let heads = (0_u64..19, 0_u64..8).prop_map(|(tag, wire_type)| {
        let mut key = Vec::new();
        encode_varint(tag << 3 | wire_type, &mut key);
        key
    });
    let bytes = prop_oneof![
        heads.clone(),
        (0_u8..24).prop_map(|length| vec![length]),
        (heads, 0_u8..4, "[a-z?#/\u{e9}]{0,4}").prop_map(|(mut field, length, text)| {
            field.push(length);
            field.extend(text.into_bytes());
            field
        }),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    (any::<proptest::sample::Index>(), any::<bool>(), bytes)
}

fn plain_event() -> Event {
    Event {
        id: EventId::edge(Uuid::nil()),
        site_id: "s".parse().unwrap(),
        event_type: "view".parse().unwrap(),
        path: "/first".parse().unwrap(),
        user_id: "first".to_owned(),
        timestamp: TIMESTAMP_MIN,
        received_at: TIMESTAMP_MIN,
        referrer: String::new(),
        props: Vec::new(),
        context: Context::default(),
    }
}

/// Other programs write records too: what the edge would refuse is refused, for the same reason.
#[test]
fn a_record_obeys_the_bounds_of_the_edge() {
    type Change<'c> = &'c dyn Fn(&mut proto::Event);
    let read = |change: Change<'_>| {
        let mut event = proto::Event::from(&plain_event());
        event.received_at_ms = TIMESTAMP_MIN.timestamp_millis() + 1000;
        change(&mut event);
        let batch = proto::EventBatch {
            batch_id: vec![7; 16],
            events: vec![event],
        };
        let value = batch.encode_to_vec();
        let read = decode(Some(SCHEMA_VERSION.as_bytes()), Some(&value));
        read.map(|batch| batch.events)
            .map_err(|error| error.to_string())
    };
    let long = |bytes: usize| "x".repeat(bytes);
    let prop = |key: &str, value: String| proto::Prop {
        key: key.to_owned(),
        value,
    };
    let props = |count: usize| {
        (0..count)
            .map(|n| prop(&n.to_string(), String::new()))
            .collect()
    };
    let min = TIMESTAMP_MIN.timestamp_millis();
    let max = TIMESTAMP_MAX.timestamp_millis();
    let day = CLOCK_SKEW_MAX.num_milliseconds();
    // What is right to the last byte, what is one beyond, and why that is wrong.
    let bounds: [(Change<'_>, Change<'_>, &str); 16] = [
        (
            &|e| e.timestamp_ms = min,
            &|e| e.timestamp_ms = min - 1,
            "timestamp must not be before 2000",
        ),
        (
            &|e| e.timestamp_ms = e.received_at_ms + day,
            &|e| e.timestamp_ms = e.received_at_ms + day + 1,
            "timestamp must not be more than 24 hours ahead of the time of receipt",
        ),
        (
            &|e| e.received_at_ms = max - 1,
            &|e| e.received_at_ms = max,
            "is not between 2000 and 2106",
        ),
        (&|_| (), &|e| e.timestamp_ms = i64::MAX, "is no time"),
        (
            &|e| e.user_id = long(256),
            &|e| e.user_id = long(257),
            "user_id must be at most 256 bytes",
        ),
        (
            &|e| e.referrer = long(2048),
            &|e| e.referrer = long(2049),
            "referrer must be at most 2048 bytes",
        ),
        (
            &|e| e.path = long(2048),
            &|e| e.path = long(2049),
            "path must be at most 2048 bytes",
        ),
        (
            &|e| e.site_id = long(128),
            &|e| e.site_id = long(129),
            "site_id must be 1 to 128 bytes",
        ),
        (
            &|_| (),
            &|e| e.site_id.clear(),
            "site_id must be 1 to 128 bytes",
        ),
        (
            &|_| (),
            &|e| e.site_id.push('\0'),
            "site_id must be 1 to 128 bytes",
        ),
        (
            &|e| e.event_type = long(64),
            &|e| e.event_type.push('\n'),
            "without control characters",
        ),
        (
            &|e| e.props = props(30),
            &|e| e.props = props(31),
            "props must have at most 30 keys",
        ),
        (
            &|e| e.props = vec![prop("k", long(64 * 1024 - 1))],
            &|e| e.props = vec![prop("k", long(64 * 1024))],
            "props must be at most 65536 bytes in all",
        ),
        (
            &|_| (),
            &|e| e.props = vec![prop("k", long(1)), prop("k", long(2))],
            "props.k is given twice",
        ),
        (
            &|e| e.agent = "Firefox\t\t\t\t".to_owned(),
            &|e| e.agent = "Firefox".to_owned(),
            "agent has 0 tabs between its values, not 4",
        ),
        (
            &|e| e.hostname = "h.example".to_owned(),
            &|e| e.hostname.push('\0'),
            "hostname has control characters",
        ),
    ];
    for (right, wrong, reason) in bounds {
        assert_eq!(read(right).map(|events| events.len()), Ok(1), "{reason}");
        let refused = read(wrong).unwrap_err();
        assert!(refused.starts_with("event 0: "), "{refused}");
        assert!(refused.contains(reason), "{refused}");
    }
    let ahead = read(&|e| e.timestamp_ms = e.received_at_ms + 5).unwrap();
    let received_at = TIMESTAMP_MIN + TimeDelta::seconds(1);
    assert_eq!(ahead[0].timestamp, received_at, "as the edge has it");
}

#[test]
fn a_field_that_is_there_again_counts_as_prost_takes_it() {
    let event = plain_event();
    let later = TIMESTAMP_MIN.timestamp_millis() as u64 + 1;
    let number = |tag: u8, number: u64| {
        let mut field = vec![tag << 3];
        encode_varint(number, &mut field);
        field
    };
    let fields = [
        vec![3 << 3 | 2, 1, b't'],
        vec![4 << 3 | 2, 1, b'c'],
        vec![5 << 3 | 2, 2, b'/', b'p'],
        vec![6 << 3 | 2, 1, b'u'],
        vec![9 << 3 | 2, 1, b'r'],
        vec![10 << 3 | 2, 6, 1 << 3 | 2, 1, b'k', 1 << 3 | 2, 1, b'l'],
        number(2, 1),
        // An int32 keeps what it can hold.
        number(2, 1 << 32),
        number(2, (1 << 32) + 1),
        number(7, later),
        number(8, later),
        vec![11 << 3 | 2, 1, b'h'],
        vec![15 << 3 | 2, 2, b'e', b'n'],
        vec![0x82, 1, 1, b'w'],
        vec![0x88, 1, 1],
        // Unknown, tags 18 to 22: a number, eight bytes, a text, a group, four bytes.
        vec![0x90, 1, 0xac, 2],
        vec![0x99, 1, 1, 2, 3, 4, 5, 6, 7, 8],
        vec![0xa2, 1, 1, b'x'],
        vec![0xab, 1, 1 << 3, 5, 0xac, 1],
        vec![0xb5, 1, 1, 2, 3, 4],
    ];
    let plain = encode(&event);
    for field in fields {
        let mut encoder = BatchEncoder::new(Uuid::nil());
        encoder.push(&[plain.as_slice(), &field].concat());
        let value = encoder.finish();
        let read = decode(Some(SCHEMA_VERSION.as_bytes()), Some(&value)).ok();
        assert!(read.is_some(), "{field:?}");
        assert_eq!(read, read_by_prost(&value), "{field:?}");
    }
}

proptest! {
    // Written by hand for speed, so held against prost.
    #[test]
    fn an_event_is_encoded_as_prost_would(event in some_event()) {
        prop_assert_eq!(encode(&event), proto::Event::from(&event).encode_to_vec());
    }

    #[test]
    fn a_record_is_read_as_prost_would(
        events in proptest::collection::vec(small_event(), 0..4),
        mutations in proptest::collection::vec(mutation(), 0..5),
        cut in proptest::option::weighted(0.1, any::<proptest::sample::Index>()),
    ) {
        let mut value = record(&events);
        for (at, inserted, bytes) in mutations {
            let at = at.index(value.len());
            let end = if inserted { at } else { (at + bytes.len()).min(value.len()) };
            value.splice(at..end, bytes);
        }
        if let Some(cut) = cut {
            value.truncate(cut.index(value.len()));
        }
        let read = decode(Some(SCHEMA_VERSION.as_bytes()), Some(&value)).ok();
        prop_assert_eq!(read, read_by_prost(&value));
    }
}

mod proto {
    //! `event.proto` as prost has it.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct EventBatch {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) batch_id: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub(super) events: Vec<Event>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Event {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) event_id: Vec<u8>,
        #[prost(enumeration = "IdOrigin", tag = "2")]
        pub(super) id_origin: i32,
        #[prost(string, tag = "3")]
        pub(super) site_id: String,
        #[prost(string, tag = "4")]
        pub(super) event_type: String,
        #[prost(string, tag = "5")]
        pub(super) path: String,
        #[prost(string, tag = "6")]
        pub(super) user_id: String,
        #[prost(int64, tag = "7")]
        pub(super) timestamp_ms: i64,
        #[prost(int64, tag = "8")]
        pub(super) received_at_ms: i64,
        #[prost(string, tag = "9")]
        pub(super) referrer: String,
        #[prost(message, repeated, tag = "10")]
        pub(super) props: Vec<Prop>,
        #[prost(string, tag = "11")]
        pub(super) hostname: String,
        #[prost(string, tag = "12")]
        pub(super) source: String,
        #[prost(string, tag = "13")]
        pub(super) agent: String,
        #[prost(string, tag = "14")]
        pub(super) place: String,
        #[prost(string, tag = "15")]
        pub(super) language: String,
        #[prost(string, tag = "16")]
        pub(super) screen: String,
        #[prost(enumeration = "UserOrigin", tag = "17")]
        pub(super) user_origin: i32,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum UserOrigin {
        Client = 0,
        Edge = 1,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum IdOrigin {
        Edge = 0,
        Client = 1,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Prop {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }
}

// The error is the reason alone; the caller knows which event it was.
impl TryFrom<proto::Event> for Event {
    type Error = String;

    fn try_from(event: proto::Event) -> Result<Self, String> {
        let uuid = Uuid::from_slice(&event.event_id)
            .map_err(|_| format!("event_id has {} bytes, not 16", event.event_id.len()))?;
        let origin = match proto::IdOrigin::try_from(event.id_origin) {
            Ok(proto::IdOrigin::Edge) => IdOrigin::Edge,
            Ok(proto::IdOrigin::Client) => IdOrigin::Client,
            Err(_) => return Err(format!("unknown id_origin {}", event.id_origin)),
        };
        let user_origin = match proto::UserOrigin::try_from(event.user_origin) {
            Ok(proto::UserOrigin::Client) => UserOrigin::Client,
            Ok(proto::UserOrigin::Edge) => UserOrigin::Edge,
            Err(_) => return Err(format!("unknown user_origin {}", event.user_origin)),
        };
        let told = |fault: Fault| fault.to_string();
        let time = |millis| DateTime::from_timestamp_millis(millis).ok_or("no time".to_owned());
        let received_at = time(event.received_at_ms)?;
        if !(TIMESTAMP_MIN..TIMESTAMP_MAX).contains(&received_at) {
            return Err("received_at".to_owned());
        }
        let user_id = at_most(USER_ID_BYTES_MAX, "user_id", &event.user_id).map_err(told)?;
        let referrer = at_most(REFERRER_BYTES_MAX, "referrer", &event.referrer).map_err(told)?;
        let mut props: Vec<(String, String)> = Vec::new();
        for prop in event.props {
            if props.iter().any(|(key, _)| *key == prop.key) {
                return Err("twice".to_owned());
            }
            props.push((prop.key, prop.value));
        }
        let context = Context {
            hostname: event.hostname,
            source: event.source,
            agent: event.agent,
            place: event.place,
            language: event.language,
            screen: event.screen,
            user_origin,
        };
        if let Some(fault) = context.as_deref().fault() {
            return Err(fault);
        }
        Ok(Self {
            id: EventId { uuid, origin },
            site_id: SiteId::new(event.site_id).map_err(told)?,
            event_type: EventType::new(event.event_type).map_err(told)?,
            path: Path::normal(&event.path).map_err(told)?.into(),
            user_id: user_id.to_owned(),
            timestamp: happened(time(event.timestamp_ms)?, received_at).map_err(told)?,
            received_at,
            referrer: referrer.to_owned(),
            props,
            context,
        })
    }
}
