//! The `ingest` section.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use context::page::Paths;
use context::{place, visitor};
use event::ReferrerPart;
use infra::http::ConnectionLimits;
use serde::{Deserialize, Serialize};

use crate::body::budget_for;
use crate::head::PlaceHeaders;
use crate::keys::KeysConfig;
use crate::limits::{ForwardedHeader, RateLimits, RateLimitsConfig};
use crate::spool;
use crate::tracker::TrackerConfig;

/// Settings of the ingest service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `WEIR_INGEST__LISTEN`.
    pub listen: SocketAddr,
    /// Where pages reach it, as the tag that the dashboard shows has it; `http://` and `listen` unless
    /// it is set (`WEIR_INGEST__PUBLIC_URL=https://weir.example`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<infra::url::ServerUrl>,
    /// Threads that serve requests; 0: half of the processors, at most 8. One thread does the most
    /// for each processor second (`WEIR_INGEST__THREADS`).
    pub threads: usize,
    /// Connections open at once; beyond it new ones wait, idle ones are closed after
    /// `header_timeout`, and the address that holds most gives way to others
    /// (`WEIR_INGEST__CONNECTIONS_MAX`).
    pub connections_max: usize,
    /// A request's head has this long to arrive, and so has the first one of a connection;
    /// otherwise the connection is closed (`WEIR_INGEST__HEADER_TIMEOUT=10s`).
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// A connection may stay without a request for this long (`WEIR_INGEST__IDLE_TIMEOUT=2m`).
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Who may send events of which site; anybody, unless keys are listed.
    pub keys: KeysConfig,
    /// How much one client address and one site may send; no limit unless set.
    pub rate_limits: RateLimitsConfig,
    /// Proxies, by address or network, that are believed when they say whose request they hand on
    /// (`WEIR_INGEST__TRUSTED_PROXIES=10.0.0.0/8,127.0.0.1`).
    #[serde(deserialize_with = "infra::config::list")]
    pub trusted_proxies: Vec<String>,
    /// The header in which they say it: `x-forwarded-for` or `forwarded`
    /// (`WEIR_INGEST__FORWARDED_HEADER`).
    pub forwarded_header: ForwardedHeader,
    /// How much of a referrer is kept: `path` (scheme, host and path), `host` (scheme and host) or
    /// `full`. User names and passwords in it are never kept (`WEIR_INGEST__REFERRER=host`).
    pub referrer: ReferrerPart,
    /// The largest body of `POST /event`, packed and unpacked (`WEIR_INGEST__EVENT_BYTES_MAX`).
    pub event_bytes_max: usize,
    /// The largest body of `POST /events` as it comes (`WEIR_INGEST__BATCH_BYTES_MAX`).
    pub batch_bytes_max: usize,
    /// The largest body of `POST /events` once unpacked
    /// (`WEIR_INGEST__BATCH_UNPACKED_BYTES_MAX`).
    pub batch_unpacked_bytes_max: usize,
    /// The most events of one `POST /events` (`WEIR_INGEST__BATCH_EVENTS_MAX`).
    pub batch_events_max: usize,
    /// A body that has not arrived by then is given up (`WEIR_INGEST__BODY_TIMEOUT=30s`).
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// All bodies being read, unpacked and judged at one time, in bytes. An eighth is for bodies up
    /// to 128 KiB alone. When it is full, the client address that holds most gives way to others,
    /// with 503 (`WEIR_INGEST__OPEN_BYTES_MAX`).
    pub open_bytes_max: usize,
    /// A request waits this long at most for its events to be safe; after it the answer is 503
    /// (`WEIR_INGEST__ACK_TIMEOUT=10s`).
    #[serde(with = "humantime_serde")]
    pub ack_timeout: Duration,
    /// Encoded events that may wait for Kafka, in bytes; beyond it the answer is 503 at once. One
    /// request is always taken when nothing waits (`WEIR_INGEST__PENDING_BYTES_MAX`).
    pub pending_bytes_max: usize,
    /// Requests that may wait for Kafka; beyond it the answer is 503 at once
    /// (`WEIR_INGEST__PENDING_REQUESTS_MAX`).
    pub pending_requests_max: usize,
    /// The largest record sent to Kafka; the topic must take as much
    /// (`WEIR_INGEST__RECORD_BYTES_MAX`).
    pub record_bytes_max: usize,
    /// Rounds of records under way to Kafka at once; a round is all that has gathered, and more
    /// gathers meanwhile (`WEIR_INGEST__ROUNDS_MAX`).
    pub rounds_max: usize,
    /// Where events wait on the disk while Kafka does not acknowledge.
    pub spool: spool::Config,
    /// The script that websites load.
    pub tracker: TrackerConfig,
    /// How visitors of a page that sends no `user_id` are recognised.
    pub visitors: visitor::Config,
    /// Where they are.
    pub geo: place::Config,
    /// Which paths are one page.
    pub paths: Paths,
}

impl Default for Config {
    fn default() -> Self {
        let connections = ConnectionLimits::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            public_url: None,
            threads: 0,
            connections_max: connections.open_max,
            header_timeout: connections.header_timeout,
            idle_timeout: connections.idle_timeout,
            keys: KeysConfig::default(),
            rate_limits: RateLimitsConfig::default(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            referrer: ReferrerPart::default(),
            event_bytes_max: 256 << 10,
            batch_bytes_max: 16 << 20,
            batch_unpacked_bytes_max: 64 << 20,
            batch_events_max: 50_000,
            body_timeout: Duration::from_secs(30),
            open_bytes_max: 128 << 20,
            ack_timeout: Duration::from_secs(10),
            pending_bytes_max: 64 << 20,
            pending_requests_max: 20_000,
            record_bytes_max: 900_000,
            rounds_max: 1,
            spool: spool::Config::default(),
            tracker: TrackerConfig::default(),
            visitors: visitor::Config::default(),
            geo: place::Config::default(),
            paths: Paths::default(),
        }
    }
}

impl Config {
    /// Where pages reach it, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if self.listen.ip().is_unspecified() => {
                format!("http://localhost:{}", self.listen.port())
            }
            None => format!("http://{}", self.listen),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        const THREADS_MAX: usize = 8;
        match self.threads {
            0 => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                (processors / 2).clamp(1, THREADS_MAX)
            }
            threads => threads,
        }
    }

    /// What no single field can say for itself.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, limit) in [
            ("connections_max", self.connections_max),
            ("event_bytes_max", self.event_bytes_max),
            ("batch_bytes_max", self.batch_bytes_max),
            ("batch_events_max", self.batch_events_max),
            ("pending_bytes_max", self.pending_bytes_max),
            ("pending_requests_max", self.pending_requests_max),
            ("rounds_max", self.rounds_max),
        ] {
            ensure!(limit > 0, "ingest.{name} must be at least 1");
        }
        for (name, timeout) in [
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            ensure!(
                timeout > Duration::ZERO,
                "ingest.{name} must be more than nothing"
            );
        }
        self.rate_limits.check()?;
        self.tracker.check()?;
        PlaceHeaders::new(&self.geo)?;
        RateLimits::new(
            &self.rate_limits,
            &self.trusted_proxies,
            self.forwarded_header,
        )?;
        ensure!(
            self.ack_timeout >= ACK_TIMEOUT_MIN,
            "ingest.ack_timeout must be at least {ACK_TIMEOUT_MIN:?}"
        );
        ensure!(
            self.record_bytes_max >= RECORD_BYTES_MIN,
            "ingest.record_bytes_max must be at least {RECORD_BYTES_MIN}, or an event may not fit"
        );
        self.spool.check(self.ack_timeout)?;
        // A packed body stands twice while it is unpacked.
        let one_body =
            (self.batch_bytes_max + self.batch_unpacked_bytes_max).max(2 * self.event_bytes_max);
        ensure!(
            self.open_bytes_max >= budget_for(one_body),
            "ingest.open_bytes_max must be at least {}: one body packed and unpacked, and an eighth for small ones",
            budget_for(one_body)
        );
        Ok(())
    }
}

impl Config {
    pub(crate) fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            open_max: self.connections_max,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
        }
    }
}

/// librdkafka gives up before the answer does, and needs time for a second attempt.
const ACK_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// Above the largest event that the rules allow, 64 KiB of props with all the rest, encoded.
const RECORD_BYTES_MIN: usize = 96 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        Config::default().check().unwrap();
    }

    #[test]
    fn the_open_bytes_must_hold_one_body_packed_and_unpacked() {
        let mut config = Config::default();
        config.open_bytes_max =
            budget_for(config.batch_bytes_max + config.batch_unpacked_bytes_max);
        config.check().unwrap();
        config.open_bytes_max -= 1;
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("ingest.open_bytes_max"), "{refused}");
    }

    #[test]
    fn a_limit_of_nothing_is_refused_by_its_name() {
        let config = Config {
            rounds_max: 0,
            ..Config::default()
        };
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("ingest.rounds_max"), "{refused}");
    }
}
