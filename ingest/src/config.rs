//! The `ingest` section of the configuration.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Settings of the edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the edge listens (`WEIR_INGEST__LISTEN=0.0.0.0:3000`).
    pub listen: SocketAddr,
    /// How large a request may be.
    pub limits: Limits,
    /// What waits for Kafka.
    pub queue: Queue,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            limits: Limits::default(),
            queue: Queue::default(),
        }
    }
}

/// How large a request may be, and how long it may take to arrive.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The body of `POST /event`, as sent and unpacked
    /// (`WEIR_INGEST__LIMITS__EVENT_BYTES_MAX=262144`).
    pub event_bytes_max: usize,
    /// The body of `POST /events` as sent (`WEIR_INGEST__LIMITS__EVENTS_BYTES_MAX=16777216`).
    pub events_bytes_max: usize,
    /// The body of `POST /events` unpacked
    /// (`WEIR_INGEST__LIMITS__EVENTS_UNPACKED_BYTES_MAX=67108864`).
    pub events_unpacked_bytes_max: usize,
    /// Events in one `POST /events` (`WEIR_INGEST__LIMITS__EVENTS_MAX=50000`).
    pub events_max: usize,
    /// All bodies being read, unpacked and parsed at one time; beyond it a request is answered 503
    /// (`WEIR_INGEST__LIMITS__OPEN_BYTES_MAX=134217728`).
    pub open_bytes_max: usize,
    /// A body that has not arrived by then is given up
    /// (`WEIR_INGEST__LIMITS__BODY_TIMEOUT=30s`).
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 256 << 10,
            events_bytes_max: 16 << 20,
            events_unpacked_bytes_max: 64 << 20,
            events_max: 50_000,
            open_bytes_max: 128 << 20,
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// What waits for Kafka, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Encoded events not yet acknowledged; beyond it a request is answered 503. One request is
    /// always taken when nothing waits (`WEIR_INGEST__QUEUE__BYTES_MAX=67108864`).
    pub bytes_max: usize,
    /// Requests not yet acknowledged; beyond it a request is answered 503
    /// (`WEIR_INGEST__QUEUE__REQUESTS_MAX=20000`).
    pub requests_max: usize,
    /// Flushes on their way to Kafka at one time; what arrives meanwhile forms the next one
    /// (`WEIR_INGEST__QUEUE__FLUSHES_MAX=4`).
    pub flushes_max: usize,
    /// Kafka has this long to acknowledge a record (`WEIR_INGEST__QUEUE__ACK_TIMEOUT=10s`).
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// A request is answered by then whatever happens. Above `ack_timeout`, or clients would give
    /// up on what is then stored (`WEIR_INGEST__QUEUE__ANSWER_TIMEOUT=15s`).
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            requests_max: 20_000,
            flushes_max: 4,
            ack_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// What no single field can say for itself.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Limits {
            event_bytes_max,
            events_bytes_max,
            events_unpacked_bytes_max,
            events_max,
            open_bytes_max,
            body_timeout: _,
        } = self.limits;
        ensure!(
            event_bytes_max > 0 && events_bytes_max > 0 && events_max > 0,
            "ingest.limits must not be 0"
        );
        ensure!(
            events_unpacked_bytes_max >= events_bytes_max,
            "ingest.limits.events_unpacked_bytes_max must not be below events_bytes_max"
        );
        // A body stands twice while it is unpacked, as sent and unpacked.
        ensure!(
            open_bytes_max >= events_bytes_max + events_unpacked_bytes_max
                && open_bytes_max >= 2 * event_bytes_max,
            "ingest.limits.open_bytes_max must hold one body as sent and unpacked: at least {}",
            (events_bytes_max + events_unpacked_bytes_max).max(2 * event_bytes_max)
        );
        let queue = self.queue;
        ensure!(
            queue.bytes_max > 0 && queue.requests_max > 0 && queue.flushes_max > 0,
            "ingest.queue must not be 0"
        );
        ensure!(
            queue.ack_timeout >= Duration::from_millis(1),
            "ingest.queue.ack_timeout must be at least 1ms"
        );
        ensure!(
            queue.ack_timeout < queue.answer_timeout,
            "ingest.queue.ack_timeout must be below answer_timeout"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        Config::default().check().unwrap();
    }

    #[test]
    fn an_answer_must_wait_longer_than_kafka_may_take() {
        let mut config = Config::default();
        config.queue.answer_timeout = config.queue.ack_timeout;
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("ack_timeout"), "{refused}");
    }

    #[test]
    fn the_open_bytes_must_hold_one_body_packed_and_unpacked() {
        let mut config = Config::default();
        config.limits.open_bytes_max =
            config.limits.events_bytes_max + config.limits.events_unpacked_bytes_max;
        config.check().unwrap();
        config.limits.open_bytes_max -= 1;
        assert!(config.check().is_err());
    }
}
