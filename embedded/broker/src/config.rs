//! What can be set about the broker. Environment names assume it is embedded as `broker`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Settings of the broker; those of a topic can be overridden when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept (`WEIR_BROKER__DATA_DIR=./data/broker`). One broker owns it at a time.
    pub data_dir: PathBuf,

    /// The address to listen on (`WEIR_BROKER__LISTEN=127.0.0.1:9092`). Beyond loopback it needs
    /// `allow_open_access`, since the broker has no passwords.
    pub listen: SocketAddr,

    /// Lets anyone who reaches `listen` read and write all events
    /// (`WEIR_BROKER__ALLOW_OPEN_ACCESS=true`).
    pub allow_open_access: bool,

    /// `host:port` that clients are told to connect to, if it differs from the address they reached
    /// (`WEIR_BROKER__ADVERTISED=broker:9092`).
    pub advertised: Option<String>,

    /// Whether asking for a missing topic makes it (`WEIR_BROKER__AUTO_CREATE_TOPICS=false`).
    pub auto_create_topics: bool,

    /// Partitions of a topic made without a number (`WEIR_BROKER__PARTITIONS=6`).
    pub partitions: i32,

    /// Records older than this are deleted, 0 keeps them (`WEIR_BROKER__RETENTION=7days`).
    #[serde(with = "humantime_serde")]
    pub retention: Duration,

    /// The oldest records of a partition beyond this size are deleted (`WEIR_BROKER__RETENTION_BYTES`).
    pub retention_bytes: Option<u64>,

    /// A segment file is closed at this size (`WEIR_BROKER__SEGMENT_BYTES=134217728`). After a crash
    /// one segment of each partition is read.
    pub segment_bytes: u64,

    /// A segment file is closed at this age (`WEIR_BROKER__SEGMENT_AGE=7days`).
    #[serde(with = "humantime_serde")]
    pub segment_age: Duration,

    /// How often retention is looked at (`WEIR_BROKER__RETENTION_CHECK=1m`).
    #[serde(with = "humantime_serde")]
    pub retention_check: Duration,

    /// Committed offsets of a group without members are kept this long
    /// (`WEIR_BROKER__OFFSETS_RETENTION=30days`).
    #[serde(with = "humantime_serde")]
    pub offsets_retention: Duration,

    /// A silent idempotent producer is remembered this long (`WEIR_BROKER__PRODUCER_RETENTION=1day`).
    #[serde(with = "humantime_serde")]
    pub producer_retention: Duration,

    /// The largest record batch (`WEIR_BROKER__MESSAGE_BYTES_MAX=1048588`).
    pub message_bytes_max: usize,

    /// The largest request (`WEIR_BROKER__REQUEST_BYTES_MAX=104857600`).
    pub request_bytes_max: usize,

    /// Requests held in memory at once, over all connections. One counts as its bytes arrive; who
    /// sends slowly is disconnected when others need the room
    /// (`WEIR_BROKER__REQUESTS_BYTES_MAX=268435456`).
    pub requests_bytes_max: usize,

    /// Answers held in memory at once, over all connections, until their clients have them; where
    /// they are many, a Fetch is answered with fewer records
    /// (`WEIR_BROKER__ANSWERS_BYTES_MAX=268435456`).
    pub answers_bytes_max: usize,

    /// The most a single Fetch is answered with (`WEIR_BROKER__FETCH_BYTES_MAX=57671680`).
    pub fetch_bytes_max: usize,

    /// Connections at once (`WEIR_BROKER__CONNECTIONS_MAX=1000`). Beyond it idle ones are closed for
    /// new ones, and those of the address that holds most.
    pub connections_max: usize,

    /// A connection silent for this long is closed (`WEIR_BROKER__CONNECTION_IDLE_MAX=10m`).
    #[serde(with = "humantime_serde")]
    pub connection_idle_max: Duration,

    /// Partitions over all topics (`WEIR_BROKER__PARTITIONS_MAX=2000`). Each holds a file open.
    pub partitions_max: usize,

    /// Consumer groups with members at once (`WEIR_BROKER__GROUPS_MAX=1000`).
    pub groups_max: usize,

    /// Members of one group (`WEIR_BROKER__GROUP_MEMBERS_MAX=500`).
    pub group_members_max: usize,

    /// Memory for one member of a group: its subscription and its share
    /// (`WEIR_BROKER__GROUP_MEMBER_BYTES_MAX=262144`).
    pub group_member_bytes_max: usize,

    /// Memory for the members of all groups (`WEIR_BROKER__GROUPS_BYTES_MAX=33554432`).
    pub groups_bytes_max: usize,

    /// The shortest session a member may ask for (`WEIR_BROKER__SESSION_MIN=1s`).
    #[serde(with = "humantime_serde")]
    pub session_min: Duration,

    /// The longest session a member may ask for (`WEIR_BROKER__SESSION_MAX=30m`).
    #[serde(with = "humantime_serde")]
    pub session_max: Duration,

    /// Committed offsets over all groups, one for each partition of a group
    /// (`WEIR_BROKER__OFFSETS_MAX=20000`).
    pub offsets_max: usize,

    /// The longest text committed beside an offset (`WEIR_BROKER__OFFSET_METADATA_BYTES_MAX=4096`).
    pub offset_metadata_bytes_max: usize,

    /// How long to wait for a predecessor to let go of the directory (`WEIR_BROKER__LOCK_WAIT=5s`).
    #[serde(with = "humantime_serde")]
    pub lock_wait: Duration,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data/broker"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            allow_open_access: false,
            advertised: None,
            auto_create_topics: false,
            partitions: 6,
            retention: Duration::from_secs(7 * DAY),
            retention_bytes: None,
            segment_bytes: 128 << 20,
            segment_age: Duration::from_secs(7 * DAY),
            retention_check: Duration::from_secs(60),
            offsets_retention: Duration::from_secs(30 * DAY),
            producer_retention: Duration::from_secs(DAY),
            message_bytes_max: 1_048_588,
            request_bytes_max: 100 << 20,
            requests_bytes_max: 256 << 20,
            answers_bytes_max: 256 << 20,
            fetch_bytes_max: 55 << 20,
            connections_max: 1000,
            connection_idle_max: Duration::from_secs(600),
            partitions_max: 2000,
            groups_max: 1000,
            group_members_max: 500,
            group_member_bytes_max: 256 << 10,
            groups_bytes_max: 32 << 20,
            session_min: Duration::from_secs(1),
            session_max: Duration::from_secs(HOUR / 2),
            offsets_max: 20_000,
            offset_metadata_bytes_max: 4096,
            lock_wait: Duration::from_secs(5),
        }
    }
}
