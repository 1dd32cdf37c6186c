//! The `broker` section: the embedded broker's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of one broker. Times are written like `7d` or `30s`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where its log lies; `up` puts it below its own data directory.
    pub data_dir: PathBuf,
    /// Whoever reaches this address may read and write: there is no authentication.
    pub listen: SocketAddr,
    /// `host:port` that clients are told to come back to; the address it listens on if not set.
    pub advertised: Option<String>,
    /// Whether naming a topic makes it.
    pub create_topics: bool,
    pub partitions_default: i32,
    pub partitions_max: i32,
    /// A file of a partition's log is closed once it has this size.
    pub segment_bytes: u64,
    /// How long records are kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How many bytes a partition keeps at most, if limited.
    pub retention_bytes: Option<u64>,
    /// How often retention is applied.
    #[serde(with = "humantime_serde")]
    pub retention_every: Duration,
    /// How long the committed offsets of a group without members are kept.
    #[serde(with = "humantime_serde")]
    pub offsets_retention: Duration,
    /// How long a silent idempotent producer is remembered.
    #[serde(with = "humantime_serde")]
    pub producer_retention: Duration,
    /// The largest record batch taken.
    pub batch_bytes_max: u64,
    /// The largest request taken.
    pub request_bytes_max: usize,
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            data_dir: PathBuf::from("./data/kafka"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            advertised: None,
            create_topics: false,
            partitions_default: 1,
            partitions_max: 1000,
            segment_bytes: 64 << 20,
            retention: 7 * DAY,
            retention_bytes: None,
            retention_every: Duration::from_secs(30),
            offsets_retention: 30 * DAY,
            producer_retention: DAY,
            // Kafka's own default, with its allowance for a batch's header.
            batch_bytes_max: (1 << 20) + 12,
            request_bytes_max: 100 << 20,
            connections_max: 1000,
        }
    }
}
