//! The `query` section.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use infra::http::ConnectionLimits;
use serde::{Deserialize, Serialize};

use crate::keys::ReadKeys;

/// Settings of the query service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `WEIR_QUERY__LISTEN`.
    pub listen: SocketAddr,
    /// The event types that count as views (`WEIR_QUERY__VIEW_TYPES=page_view,screen_view`).
    #[serde(deserialize_with = "infra::config::list")]
    pub view_types: Vec<String>,
    /// ClickHouse has this long to answer from rollups; after it the answer is 503
    /// (`WEIR_QUERY__TIMEOUT=5s`).
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// ClickHouse has this long to answer from raw rows; after it the answer is 422
    /// (`WEIR_QUERY__RAW_TIMEOUT=15s`).
    #[serde(with = "humantime_serde")]
    pub raw_timeout: Duration,
    /// What one statement may take of ClickHouse's memory (`WEIR_QUERY__MEMORY_BYTES_MAX`).
    pub memory_bytes_max: u64,
    /// Rows that one statement may read; beyond it the answer is 422 (`WEIR_QUERY__ROWS_MAX`).
    pub rows_max: u64,
    /// Statements that read rollups, at one time; more wait (`WEIR_QUERY__QUESTIONS_MAX`).
    pub questions_max: usize,
    /// Statements that read raw rows, at one time; more wait (`WEIR_QUERY__RAW_QUESTIONS_MAX`).
    pub raw_questions_max: usize,
    /// What answers may take of memory that are given again while the rows they were counted from
    /// are the rows there are (`WEIR_QUERY__KEPT_BYTES_MAX`); 0: every answer is counted.
    pub kept_bytes_max: u64,
    /// Who may listen to `/stats/realtime` at one time; beyond it the answer is 503
    /// (`WEIR_QUERY__LISTENERS_MAX`).
    pub listeners_max: usize,
    /// Connections open at once (`WEIR_QUERY__CONNECTIONS_MAX`).
    pub connections_max: usize,
    /// A connection may stay without a request, and a client without taking a byte of its
    /// answer, for this long (`WEIR_QUERY__IDLE_TIMEOUT=1m`).
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// The names under which it answers, beside addresses, names of one label and Kubernetes' own
    /// (`WEIR_QUERY__HOSTS=stats.example.com`). What a read key guards is answered under any name.
    #[serde(deserialize_with = "infra::config::list")]
    pub hosts: Vec<String>,
    /// The origins whose pages may read figures; `*`: all. Where keys are listed, so may pages that
    /// present one (`WEIR_QUERY__CORS_ORIGINS=https://intranet.example.com`).
    #[serde(deserialize_with = "infra::config::list")]
    pub cors_origins: Vec<String>,
    /// Who may read which site, as `[[query.keys]]`; anybody, unless keys are listed.
    pub keys: Vec<ReadKeys>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            view_types: ["page_view", "pageview", "view"]
                .map(str::to_owned)
                .to_vec(),
            timeout: Duration::from_secs(5),
            raw_timeout: Duration::from_secs(15),
            memory_bytes_max: 2 << 30,
            rows_max: 500_000_000,
            // The embedded engine runs 16 statements at once; those beyond wait there.
            questions_max: 32,
            raw_questions_max: 4,
            kept_bytes_max: 32 << 20,
            listeners_max: 5_000,
            connections_max: 10_000,
            idle_timeout: Duration::from_secs(60),
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl Config {
    /// What no single field can say for itself.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, limit) in [
            ("questions_max", self.questions_max),
            ("raw_questions_max", self.raw_questions_max),
            ("connections_max", self.connections_max),
        ] {
            ensure!(limit > 0, "query.{name} must be at least 1");
        }
        for (name, time) in [
            ("timeout", self.timeout),
            ("raw_timeout", self.raw_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            ensure!(
                time > Duration::ZERO,
                "query.{name} must be more than nothing"
            );
        }
        // 0 would be no limit to ClickHouse.
        ensure!(self.rows_max > 0, "query.rows_max must be at least 1");
        ensure!(
            self.memory_bytes_max > 0,
            "query.memory_bytes_max must be at least 1"
        );
        Ok(())
    }

    pub(crate) fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            open_max: self.connections_max,
            idle_timeout: self.idle_timeout,
            ..ConnectionLimits::default()
        }
    }
}
