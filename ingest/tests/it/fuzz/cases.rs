//! What is sent: requests that HTTP can read, with anything in them, and bytes that it cannot.

use std::fmt;
use std::io::Write;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::support::GOOD;

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) chunked: bool,
}

impl Case {
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name == header)
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: weir\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut bytes = head.into_bytes();
        if self.chunked {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(1 + self.body.len() / 3) {
                write!(bytes, "{:x}\r\n", chunk.len()).unwrap();
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            write!(bytes, "content-length: {}\r\n\r\n", self.body.len()).unwrap();
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    prop_oneof![
        8 => ("POST".prop_map(String::from), posts(), headers(), packed_bodies()),
        3 => ("GET".prop_map(String::from), pixels(), headers(), Just((None, Vec::new()))),
        2 => (methods(), targets(), headers(), packed_bodies()),
    ]
    .prop_flat_map(|parts| (Just(parts), prop::bool::weighted(0.1)))
    .prop_map(
        |((method, target, mut headers, (encoding, body)), chunked)| {
            if let Some(encoding) = encoding {
                headers.push(("content-encoding".to_owned(), encoding));
            }
            Case {
                method,
                target,
                headers,
                body,
                chunked,
            }
        },
    )
}

/// What no client would call HTTP, some of it nearly.
pub(super) fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let nearly = (cases(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8).prop_map(
        |(case, place, byte, how)| {
            let mut bytes = case.bytes();
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.truncate(place),
                2 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
            bytes
        },
    );
    prop_oneof![vec(any::<u8>(), 0..200), nearly]
}

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
            .prop_map(String::from),
        1 => "[A-Z!#$%&'*+.^_`|~-]{1,10}",
    ]
}

fn posts() -> impl Strategy<Value = String> {
    let key = option::weighted(0.1, select(vec!["wp_good", "ws_good", "bad", "", "%ff"]));
    (select(vec!["/event", "/events"]), key).prop_map(|(path, key)| match key {
        Some(key) => format!("{path}?key={key}"),
        None => path.to_owned(),
    })
}

fn pixels() -> impl Strategy<Value = String> {
    let name = select(vec![
        "site_id",
        "event_type",
        "path",
        "user_id",
        "timestamp",
        "event_id",
        "referrer",
        "key",
        "props",
        "x",
    ]);
    let value = prop_oneof![
        Just(String::new()),
        Just("shop".to_owned()),
        "[A-Za-z0-9%+.:_-]{0,40}",
        "(%[0-9a-f]{2}){0,20}",
        Just("%00".to_owned()),
        Just("2025-11-15T10:00:00Z".to_owned()),
        Just("a".repeat(3_000)),
    ];
    let pairs = vec((name, value), 0..6).prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("&")
    });
    let query = prop_oneof![
        3 => pairs.clone().prop_map(|pairs| format!("site_id=shop&{pairs}")),
        2 => pairs,
        1 => "[!-~&&[^#<>\"\\\\^`{|}]]{0,60}",
    ];
    query.prop_map(|query| format!("/pixel.gif?{query}"))
}

fn targets() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec![
            "/", "/event", "/events", "/event/", "//event", "/health", "/ready", "/metrics",
            "/openapi.json", "/api-docs", "/api-docs/x", "/pixel.gif", "/%65vent", "*",
        ])
        .prop_map(String::from),
        1 => "/[A-Za-z0-9%._~/:@!$&'()*+,;=-]{0,60}",
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = select(vec![
        "content-type",
        "origin",
        "referer",
        "authorization",
        "x-forwarded-for",
        "forwarded",
        "access-control-request-method",
        "access-control-request-headers",
        "accept",
        "accept-encoding",
        "cookie",
        "range",
        "if-none-match",
        "x-http-method-override",
    ]);
    let value = prop_oneof![
        select(vec![
            "application/json",
            "text/plain;charset=UTF-8",
            "https://shop.example",
            "null",
            "Bearer wp_good",
            "Bearer ws_good",
            "Bearer bad",
            "Basic eA==",
            "1.2.3.4",
            "for=1.2.3.4",
            "for=\"[2001:db8::1]:4711\"",
            "POST",
            "content-type",
            "bytes=0-0",
        ])
        .prop_map(String::from),
        "[ -~]{0,40}",
    ];
    vec((name.prop_map(String::from), value), 0..4)
}

fn packed_bodies() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let encoding = select(vec![
        "gzip", "deflate", "zstd", "br", "identity", "lzma", "",
    ]);
    prop_oneof![
        6 => bodies().prop_map(|body| (None, body)),
        2 => (bodies(), select(vec!["gzip", "deflate", "zstd"]))
            .prop_map(|(body, encoding)| (Some(encoding.to_owned()), pack(encoding, &body))),
        1 => (bodies(), encoding.clone())
            .prop_map(|(body, encoding)| (Some(encoding.to_owned()), body)),
        1 => (bodies(), encoding, any::<prop::sample::Index>(), any::<u8>()).prop_map(
            |(body, encoding, place, byte)| {
                let mut packed = pack(encoding, &body);
                if !packed.is_empty() {
                    let place = place.index(packed.len());
                    packed[place] ^= byte;
                }
                (Some(encoding.to_owned()), packed)
            }
        ),
    ]
}

fn pack(encoding: &str, body: &[u8]) -> Vec<u8> {
    let fast = flate2::Compression::fast();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(body, 1).unwrap(),
        _ => body.to_vec(),
    }
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let events = || vec(texts(), 0..5);
    let batch = prop_oneof![
        events().prop_map(|events| format!("[{}]", events.join(","))),
        events().prop_map(|events| format!(r#"{{"events":[{}]}}"#, events.join(","))),
        events().prop_map(|events| format!(r#"{{"a":1,"events":[{}],"b":2}}"#, events.join(","))),
        events().prop_map(|events| events.join("\r\n")),
        events().prop_map(|events| format!("\u{feff}{}\n\n", events.join("\n"))),
    ];
    let text = prop_oneof![2 => texts(), 2 => batch];
    let torn = (
        text.clone(),
        any::<prop::sample::Index>(),
        any::<u8>(),
        0..3_u8,
    )
        .prop_map(|(text, place, byte, how)| {
            let mut bytes = text.into_bytes();
            if bytes.is_empty() {
                return bytes;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.truncate(place),
                _ => bytes.insert(place, byte),
            }
            bytes
        });
    prop_oneof![
        6 => text.prop_map(String::into_bytes),
        3 => torn,
        1 => vec(any::<u8>(), 0..100),
    ]
}

/// One event as text, or what was meant to be one.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(GOOD.to_owned()),
        6 => events().prop_map(|event| event.to_string()),
        1 => json_values().prop_map(|value| value.to_string()),
        2 => oddities().prop_map(|odd| {
            format!(r#"{{"site_id":"shop","event_type":"x",{odd}}}"#)
        }),
        1 => "\\PC{0,40}",
    ]
}

/// Objects with the right names and anything for values.
fn events() -> impl Strategy<Value = Value> {
    let site_id = prop_oneof![
        4 => Just(json!("shop")),
        2 => "[A-Za-z0-9._:-]{1,130}".prop_map(Value::from),
        1 => json_values(),
    ];
    let event_type = prop_oneof![
        4 => Just(json!("page_view")),
        2 => "\\PC{0,66}".prop_map(Value::from),
        1 => json_values(),
    ];
    let timestamp = prop_oneof![
        Just(json!("2025-11-15T10:00:00.123Z")),
        "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-5][0-9])"
            .prop_map(Value::from),
        json_values(),
    ];
    let text = || {
        prop_oneof![
            3 => ".{0,40}".prop_map(Value::from),
            1 => (0..3_000_usize).prop_map(|length| "x".repeat(length).into()),
            1 => json_values(),
        ]
    };
    let props = prop_oneof![
        3 => prop::collection::btree_map(".{0,10}", scalars(), 0..32)
            .prop_map(|props| props.into_iter().collect::<Map<_, _>>().into()),
        1 => json_values(),
    ];
    (
        option::weighted(0.9, site_id),
        option::weighted(0.9, event_type),
        option::of(text()),
        option::of(text()),
        option::weighted(0.3, timestamp),
        option::weighted(0.3, text()),
        option::weighted(0.3, text()),
        option::weighted(0.4, props),
    )
        .prop_map(
            |(site_id, event_type, path, user_id, timestamp, event_id, referrer, props)| {
                let fields = [
                    ("site_id", site_id),
                    ("event_type", event_type),
                    ("path", path),
                    ("user_id", user_id),
                    ("timestamp", timestamp),
                    ("event_id", event_id),
                    ("referrer", referrer),
                    ("props", props),
                ];
                fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                    .collect::<Map<_, _>>()
                    .into()
            },
        )
}

/// Fields that only a text can say.
fn oddities() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        select(vec![
            "1e999",
            "-1e999",
            "1e-999",
            "NaN",
            "+1",
            "01",
            "1.",
            "18446744073709551616",
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            r#""\u0000""#,
            "\"\0\"",
            r#""\x""#,
            "'a'",
            "{,}",
            "[1,]",
            "tru",
            "null null",
            "/**/1",
            "",
        ])
        .prop_map(String::from),
        "-?[0-9]{1,40}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        (1..300_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        (1..300_usize).prop_map(|depth| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth)),
        (1..200_usize).prop_map(|depth| "[".repeat(depth)),
    ];
    let name = select(vec![
        "site_id",
        "path",
        "user_id",
        "props",
        "x",
        "pa\\u0074h",
        "\\ud800",
    ]);
    (name, value, any::<bool>()).prop_map(|(name, value, inside)| {
        if inside {
            format!(r#""props":{{"{name}":{value}}}"#)
        } else {
            format!(r#""{name}":{value}"#)
        }
    })
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,20}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn json_values() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}
