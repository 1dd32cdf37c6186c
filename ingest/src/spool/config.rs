//! The `ingest.spool` section.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Settings of the spool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the spool lies; a folder of one ingest service alone. By default `data/spool`, and
    /// `spool` in the data directory of `weir up` (`WEIR_INGEST__SPOOL__DIR`).
    pub dir: Option<PathBuf>,
    /// The most bytes it may take; beyond it the answer is 503 until Kafka is back. 0 means no
    /// spool: then the answer is 503 whenever Kafka does not acknowledge
    /// (`WEIR_INGEST__SPOOL__BYTES_MAX`).
    pub bytes_max: u64,
    /// A flush that Kafka has not acknowledged by then goes to the spool
    /// (`WEIR_INGEST__SPOOL__AFTER=1s`).
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    /// How fast it goes to Kafka beside live events, in bytes a second
    /// (`WEIR_INGEST__SPOOL__DRAIN_BYTES_PER_SECOND`).
    pub drain_bytes_per_second: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            bytes_max: 4 << 30,
            after: Duration::from_secs(1),
            drain_bytes_per_second: 32 << 20,
        }
    }
}

impl Config {
    /// The folder in force.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("data/spool"))
    }

    /// `ack_timeout` is how long a request may wait for Kafka.
    pub(crate) fn check(&self, ack_timeout: Duration) -> anyhow::Result<()> {
        if self.bytes_max == 0 {
            return Ok(());
        }
        ensure!(
            self.bytes_max >= BYTES_MIN,
            "ingest.spool.bytes_max must be 0, for no spool, or at least {BYTES_MIN}"
        );
        ensure!(
            self.after < ack_timeout,
            "ingest.spool.after must be less than ingest.ack_timeout, or no request would wait for the spool"
        );
        ensure!(
            self.drain_bytes_per_second >= DRAIN_RATE_MIN,
            "ingest.spool.drain_bytes_per_second must be at least {DRAIN_RATE_MIN}"
        );
        Ok(())
    }
}

/// Room for one record of any size that is allowed by default.
const BYTES_MIN: u64 = 1 << 20;
/// Slower, a single large record would hold up the others for seconds.
const DRAIN_RATE_MIN: u64 = 64 << 10;
