//! The `query` section.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the query service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `WEIR_QUERY__LISTEN`.
    pub listen: SocketAddr,
    /// The event types that count as views (`WEIR_QUERY__VIEW_TYPES=page_view,screen_view`).
    #[serde(deserialize_with = "infra::config::list")]
    pub view_types: Vec<String>,
    /// ClickHouse has this long to answer; after it the answer is 503 (`WEIR_QUERY__TIMEOUT=5s`).
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What one question may take of ClickHouse's memory (`WEIR_QUERY__MEMORY_BYTES_MAX`).
    pub memory_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            view_types: ["page_view", "pageview", "view"]
                .map(str::to_owned)
                .to_vec(),
            timeout: Duration::from_secs(5),
            memory_bytes_max: 2 << 30,
        }
    }
}
