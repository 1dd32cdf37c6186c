//! The `ingest` section.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the ingest service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `WEIR_INGEST__LISTEN`.
    pub listen: SocketAddr,
    /// The largest body of `POST /event`, packed and unpacked (`WEIR_INGEST__EVENT_BYTES_MAX`).
    pub event_bytes_max: usize,
    /// The largest body of `POST /events` as it comes (`WEIR_INGEST__BATCH_BYTES_MAX`).
    pub batch_bytes_max: usize,
    /// The largest body of `POST /events` once unpacked
    /// (`WEIR_INGEST__BATCH_UNPACKED_BYTES_MAX`).
    pub batch_unpacked_bytes_max: usize,
    /// The most events of one `POST /events` (`WEIR_INGEST__BATCH_EVENTS_MAX`).
    pub batch_events_max: usize,
    /// Kafka has this long to acknowledge; after it the answer is 503
    /// (`WEIR_INGEST__ACK_TIMEOUT=10s`).
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// Encoded events that may wait for Kafka, in bytes; beyond it the answer is 503 at once
    /// (`WEIR_INGEST__PENDING_BYTES_MAX`).
    pub pending_bytes_max: usize,
    /// The largest record sent to Kafka; the topic must take as much
    /// (`WEIR_INGEST__RECORD_BYTES_MAX`).
    pub record_bytes_max: usize,
    /// Records under way to Kafka at once (`WEIR_INGEST__FLUSHES_MAX`).
    pub flushes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            event_bytes_max: 256 << 10,
            batch_bytes_max: 16 << 20,
            batch_unpacked_bytes_max: 64 << 20,
            batch_events_max: 50_000,
            ack_timeout: Duration::from_secs(10),
            pending_bytes_max: 64 << 20,
            record_bytes_max: 900_000,
            flushes_max: 8,
        }
    }
}
