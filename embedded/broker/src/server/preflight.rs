//! Walks over a request before it is decoded. The decoder reserves memory for as many elements as an
//! array claims to have, and a claim of two billion would end the process; here every claim is held
//! against the bytes that are there.

use anyhow::{Context, bail, ensure};
use bytes::Buf;
use kafka_protocol::messages::ApiKey;

/// More than any client sends, and few enough to decode at once.
const ELEMENTS_MAX: usize = 100_000;

/// One field of a request, present from a version on, and until another.
struct Field {
    since: i16,
    until: i16,
    kind: Kind,
}

enum Kind {
    /// That many bytes.
    Fixed(usize),
    Uuid,
    Text,
    Blob,
    /// An array of structures.
    Array(&'static [Field]),
    /// An array of plain values.
    List(&'static Kind),
}

use Kind::{Array, Blob, Fixed, List, Text, Uuid};

const fn always(kind: Kind) -> Field {
    Field {
        since: 0,
        until: i16::MAX,
        kind,
    }
}

const fn since(since: i16, kind: Kind) -> Field {
    Field {
        since,
        until: i16::MAX,
        kind,
    }
}

const fn between(since: i16, until: i16, kind: Kind) -> Field {
    Field { since, until, kind }
}

const INT8: Kind = Fixed(1);
const INT16: Kind = Fixed(2);
const INT32: Kind = Fixed(4);
const INT64: Kind = Fixed(8);

const PRODUCE: &[Field] = &[
    always(Text),
    always(INT16),
    always(INT32),
    always(Array(&[
        always(Text),
        always(Array(&[always(INT32), always(Blob)])),
    ])),
];
const FETCH: &[Field] = &[
    always(INT32),
    always(INT32),
    always(INT32),
    always(INT32),
    always(INT8),
    since(7, INT32),
    since(7, INT32),
    always(Array(&[
        always(Text),
        always(Array(&[
            always(INT32),
            since(9, INT32),
            always(INT64),
            since(12, INT32),
            since(5, INT64),
            always(INT32),
        ])),
    ])),
    since(7, Array(&[always(Text), always(List(&INT32))])),
    since(11, Text),
];
const LIST_OFFSETS: &[Field] = &[
    always(INT32),
    since(2, INT8),
    always(Array(&[
        always(Text),
        always(Array(&[always(INT32), since(4, INT32), always(INT64)])),
    ])),
];
const METADATA: &[Field] = &[
    always(Array(&[since(10, Uuid), always(Text)])),
    since(4, INT8),
    between(8, 10, INT8),
    since(8, INT8),
];
const OFFSET_COMMIT: &[Field] = &[
    always(Text),
    always(INT32),
    always(Text),
    since(7, Text),
    between(2, 4, INT64),
    always(Array(&[
        always(Text),
        always(Array(&[
            always(INT32),
            always(INT64),
            since(6, INT32),
            always(Text),
        ])),
    ])),
];
const OFFSET_FETCH: &[Field] = &[
    between(0, 7, Text),
    between(0, 7, Array(&[always(Text), always(List(&INT32))])),
    since(
        8,
        Array(&[
            always(Text),
            always(Array(&[always(Text), always(List(&INT32))])),
        ]),
    ),
    since(7, INT8),
];
const FIND_COORDINATOR: &[Field] = &[between(0, 3, Text), since(1, INT8), since(4, List(&Text))];
const JOIN_GROUP: &[Field] = &[
    always(Text),
    always(INT32),
    since(1, INT32),
    always(Text),
    since(5, Text),
    always(Text),
    always(Array(&[always(Text), always(Blob)])),
    since(8, Text),
];
const HEARTBEAT: &[Field] = &[always(Text), always(INT32), always(Text), since(3, Text)];
const LEAVE_GROUP: &[Field] = &[
    always(Text),
    between(0, 2, Text),
    since(3, Array(&[always(Text), always(Text), since(5, Text)])),
];
const SYNC_GROUP: &[Field] = &[
    always(Text),
    always(INT32),
    always(Text),
    since(3, Text),
    since(5, Text),
    since(5, Text),
    always(Array(&[always(Text), always(Blob)])),
];
const DESCRIBE_GROUPS: &[Field] = &[always(List(&Text)), since(3, INT8)];
const LIST_GROUPS: &[Field] = &[since(4, List(&Text)), since(5, List(&Text))];
const API_VERSIONS: &[Field] = &[since(3, Text), since(3, Text)];
const CREATE_TOPICS: &[Field] = &[
    always(Array(&[
        always(Text),
        always(INT32),
        always(INT16),
        always(Array(&[always(INT32), always(List(&INT32))])),
        always(Array(&[always(Text), always(Text)])),
    ])),
    always(INT32),
    since(1, INT8),
];
const DELETE_TOPICS: &[Field] = &[
    since(6, Array(&[always(Text), always(Uuid)])),
    between(0, 5, List(&Text)),
    always(INT32),
];
const DELETE_RECORDS: &[Field] = &[
    always(Array(&[
        always(Text),
        always(Array(&[always(INT32), always(INT64)])),
    ])),
    always(INT32),
];
const INIT_PRODUCER_ID: &[Field] = &[
    always(Text),
    always(INT32),
    since(3, INT64),
    since(3, INT16),
];
const DESCRIBE_CONFIGS: &[Field] = &[
    always(Array(&[always(INT8), always(Text), always(List(&Text))])),
    since(1, INT8),
    since(3, INT8),
];
const ALTER_CONFIGS: &[Field] = &[
    always(Array(&[
        always(INT8),
        always(Text),
        always(Array(&[always(Text), always(Text)])),
    ])),
    always(INT8),
];
const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    always(Array(&[
        always(INT8),
        always(Text),
        always(Array(&[always(Text), always(INT8), always(Text)])),
    ])),
    always(INT8),
];
const CREATE_PARTITIONS: &[Field] = &[
    always(Array(&[
        always(Text),
        always(INT32),
        always(Array(&[always(List(&INT32))])),
    ])),
    always(INT32),
    always(INT8),
];
const DELETE_GROUPS: &[Field] = &[always(List(&Text))];
const DESCRIBE_CLUSTER: &[Field] = &[always(INT8), since(1, INT8)];

/// The fields of a request, and the version from which it is written in the compact way.
fn shape(key: ApiKey) -> Option<(&'static [Field], i16)> {
    Some(match key {
        ApiKey::Produce => (PRODUCE, 9),
        ApiKey::Fetch => (FETCH, 12),
        ApiKey::ListOffsets => (LIST_OFFSETS, 6),
        ApiKey::Metadata => (METADATA, 9),
        ApiKey::OffsetCommit => (OFFSET_COMMIT, 8),
        ApiKey::OffsetFetch => (OFFSET_FETCH, 6),
        ApiKey::FindCoordinator => (FIND_COORDINATOR, 3),
        ApiKey::JoinGroup => (JOIN_GROUP, 6),
        ApiKey::Heartbeat => (HEARTBEAT, 4),
        ApiKey::LeaveGroup => (LEAVE_GROUP, 4),
        ApiKey::SyncGroup => (SYNC_GROUP, 4),
        ApiKey::DescribeGroups => (DESCRIBE_GROUPS, 5),
        ApiKey::ListGroups => (LIST_GROUPS, 3),
        ApiKey::ApiVersions => (API_VERSIONS, 3),
        ApiKey::CreateTopics => (CREATE_TOPICS, 5),
        ApiKey::DeleteTopics => (DELETE_TOPICS, 4),
        ApiKey::DeleteRecords => (DELETE_RECORDS, 2),
        ApiKey::InitProducerId => (INIT_PRODUCER_ID, 2),
        ApiKey::DescribeConfigs => (DESCRIBE_CONFIGS, 4),
        ApiKey::AlterConfigs => (ALTER_CONFIGS, 2),
        ApiKey::IncrementalAlterConfigs => (INCREMENTAL_ALTER_CONFIGS, 1),
        ApiKey::CreatePartitions => (CREATE_PARTITIONS, 2),
        ApiKey::DeleteGroups => (DELETE_GROUPS, 2),
        ApiKey::DescribeCluster => (DESCRIBE_CLUSTER, 0),
        _ => return None,
    })
}

/// Whether `body` begins with the whole form of this request. What follows is nobody's business:
/// librdkafka 2.0 leaves three bytes behind a Metadata request, and Apache Kafka never looks.
pub(super) fn check(key: ApiKey, version: i16, body: &[u8]) -> anyhow::Result<()> {
    let (fields, compact_since) =
        shape(key).with_context(|| format!("the form of {key:?} is not known"))?;
    let mut walk = Walk {
        rest: body,
        version,
        compact: version >= compact_since,
        elements: 0,
    };
    walk.structure(fields)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    compact: bool,
    elements: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> anyhow::Result<()> {
        for field in fields {
            if (field.since..=field.until).contains(&self.version) {
                self.value(&field.kind)?;
            }
        }
        if self.compact {
            self.tagged_fields()
        } else {
            Ok(())
        }
    }

    fn value(&mut self, kind: &Kind) -> anyhow::Result<()> {
        match kind {
            Fixed(bytes) => self.skip(*bytes),
            Uuid => self.skip(16),
            Text => {
                let len = if self.compact {
                    self.compact_len()?
                } else {
                    i64::from(self.rest.try_get_i16()?)
                };
                self.skip_len(len)
            }
            Blob => {
                let len = self.len()?;
                self.skip_len(len)
            }
            Array(fields) => {
                for _ in 0..self.count()? {
                    self.structure(fields)?;
                }
                Ok(())
            }
            List(kind) => {
                for _ in 0..self.count()? {
                    self.value(kind)?;
                }
                Ok(())
            }
        }
    }

    /// Elements of an array; a null array has none.
    fn count(&mut self) -> anyhow::Result<usize> {
        let count = usize::try_from(self.len()?.max(0))?;
        self.elements = self.elements.saturating_add(count);
        ensure!(
            self.elements <= ELEMENTS_MAX,
            "more than {ELEMENTS_MAX} elements in its arrays"
        );
        // Every element takes a byte at least.
        ensure!(
            count <= self.rest.len(),
            "an array of {count} elements in {} bytes",
            self.rest.len()
        );
        Ok(count)
    }

    fn len(&mut self) -> anyhow::Result<i64> {
        if self.compact {
            self.compact_len()
        } else {
            Ok(i64::from(self.rest.try_get_i32()?))
        }
    }

    /// One more than the length, 0 for null.
    fn compact_len(&mut self) -> anyhow::Result<i64> {
        Ok(i64::from(self.unsigned_varint()?) - 1)
    }

    fn unsigned_varint(&mut self) -> anyhow::Result<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a variable-length number that does not end")
    }

    fn tagged_fields(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let len = self.unsigned_varint()?;
            self.skip_len(i64::from(len))?;
        }
        Ok(())
    }

    fn skip_len(&mut self, len: i64) -> anyhow::Result<()> {
        ensure!(len >= -1, "a length of {len}");
        self.skip(usize::try_from(len.max(0))?)
    }

    fn skip(&mut self, bytes: usize) -> anyhow::Result<()> {
        ensure!(
            bytes <= self.rest.len(),
            "it ends {} bytes early",
            bytes - self.rest.len()
        );
        self.rest.advance(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::{
        FetchRequest, JoinGroupRequest, MetadataRequest, RequestKind, TopicName,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
        join_group_request::JoinGroupRequestProtocol,
        metadata_request::MetadataRequestTopic,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn topic() -> TopicName {
        TopicName(StrBytes::from_static_str("events"))
    }

    /// Every version of a request passes, and no shortened form of it.
    fn is_exact(
        key: ApiKey,
        versions: std::ops::RangeInclusive<i16>,
        request: impl Fn(i16) -> RequestKind,
    ) {
        for version in versions {
            let mut body = BytesMut::new();
            request(version).encode(&mut body, version).unwrap();
            check(key, version, &body)
                .unwrap_or_else(|error| panic!("{key:?} {version}: {error:#}"));
            for len in 0..body.len() {
                assert!(
                    check(key, version, &body[..len]).is_err(),
                    "{key:?} {version} cut to {len}"
                );
            }
        }
    }

    #[test]
    fn the_forms_are_those_of_the_encoder() {
        is_exact(ApiKey::Metadata, 0..=12, |_| {
            let wanted = MetadataRequestTopic::default().with_name(Some(topic()));
            RequestKind::Metadata(
                MetadataRequest::default().with_topics(Some(vec![wanted.clone(), wanted])),
            )
        });
        is_exact(ApiKey::Fetch, 4..=12, |version| {
            let partition = FetchPartition::default()
                .with_partition(3)
                .with_partition_max_bytes(9);
            let wanted = FetchTopic::default()
                .with_topic(topic())
                .with_partitions(vec![partition; 2]);
            let forgotten = ForgottenTopic::default()
                .with_topic(topic())
                .with_partitions(vec![1, 2]);
            let forgotten = if version >= 7 {
                vec![forgotten]
            } else {
                Vec::new()
            };
            let request = FetchRequest::default()
                .with_topics(vec![wanted])
                .with_forgotten_topics_data(forgotten);
            RequestKind::Fetch(request)
        });
        is_exact(ApiKey::JoinGroup, 0..=9, |_| {
            let protocol = JoinGroupRequestProtocol::default().with_metadata(vec![1, 2, 3].into());
            RequestKind::JoinGroup(JoinGroupRequest::default().with_protocols(vec![protocol]))
        });
    }

    #[test]
    fn an_array_may_claim_no_more_than_there_are_bytes() {
        let body = [&3_i32.to_be_bytes()[..], &[0, 0, 0, 0]].concat();
        assert!(check(ApiKey::DescribeGroups, 0, &body).is_err());
        let body = [&i32::MAX.to_be_bytes()[..], &[0; 20]].concat();
        let error = check(ApiKey::DescribeGroups, 0, &body).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        let body = [&100_000_i32.to_be_bytes()[..], &[0; 20]].concat();
        let error = check(ApiKey::DescribeGroups, 0, &body).unwrap_err();
        assert!(error.to_string().contains("in 20 bytes"), "{error}");
    }
}
