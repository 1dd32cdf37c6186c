//! What the embedded engine is told: where it keeps things, who may ask, and how much.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::Deserialize;

/// Configuration of the embedded engine. Secrets are never serialised, so neither is this.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that holds the engine's data; one process at a time (`WEIR_CLICKHOUSE__DATA_DIR`).
    pub data_dir: PathBuf,
    /// Address of the HTTP protocol (`WEIR_CLICKHOUSE__LISTEN`).
    pub listen: SocketAddr,
    /// A libchdb of one's own, used as it is instead of the fetched one
    /// (`WEIR_CLICKHOUSE__LIBRARY`).
    pub library: Option<PathBuf>,
    /// Folder the engine is fetched into, default `~/.cache/weir` (`WEIR_CLICKHOUSE__CACHE_DIR`).
    pub cache_dir: Option<PathBuf>,
    /// The npm program that fetches the engine, once (`WEIR_CLICKHOUSE__NPM`).
    pub npm: PathBuf,
    /// Name of the service's user, who may create, insert and read (`WEIR_CLICKHOUSE__USER`).
    pub user: String,
    /// Password of the service's user; none by default (`WEIR_CLICKHOUSE__PASSWORD`).
    pub password: Option<SecretString>,
    /// Name of the analysts' user, who may only read (`WEIR_CLICKHOUSE__READER`).
    pub reader: String,
    /// Password of the analysts' user; none by default (`WEIR_CLICKHOUSE__READER_PASSWORD`).
    pub reader_password: Option<SecretString>,
    /// Allows an address beyond loopback without passwords
    /// (`WEIR_CLICKHOUSE__ALLOW_OPEN_ACCESS=true`).
    pub allow_open_access: bool,
    /// A request's body may have this many bytes, decompressed too
    /// (`WEIR_CLICKHOUSE__BODY_BYTES_MAX`).
    pub body_bytes_max: usize,
    /// All bodies in memory together may have this many bytes
    /// (`WEIR_CLICKHOUSE__BODIES_BYTES_MAX`).
    pub bodies_bytes_max: usize,
    /// A body must have arrived within this time (`WEIR_CLICKHOUSE__BODY_TIME_MAX=60s`).
    #[serde(with = "humantime_serde")]
    pub body_time_max: Duration,
    /// Statements that run at once (`WEIR_CLICKHOUSE__QUERIES_MAX`).
    pub queries_max: usize,
    /// Statements that may wait for one of those places; one more is refused
    /// (`WEIR_CLICKHOUSE__QUERIES_WAITING_MAX`).
    pub queries_waiting_max: usize,
    /// A statement of the service may run this long (`WEIR_CLICKHOUSE__QUERY_TIME_MAX=10m`).
    #[serde(with = "humantime_serde")]
    pub query_time_max: Duration,
    /// All statements and caches together may take this much memory, in bytes
    /// (`WEIR_CLICKHOUSE__MEMORY_MAX`).
    pub memory_max: u64,
    /// A reader's statement may run this long (`WEIR_CLICKHOUSE__READER_TIME_MAX=60s`).
    #[serde(with = "humantime_serde")]
    pub reader_time_max: Duration,
    /// A reader's statement may take this much memory, in bytes
    /// (`WEIR_CLICKHOUSE__READER_MEMORY_MAX`).
    pub reader_memory_max: u64,
    /// A reader's answer may have this many rows (`WEIR_CLICKHOUSE__READER_ROWS_MAX`).
    pub reader_rows_max: u64,
    /// On shutdown, running statements may take this long to finish
    /// (`WEIR_CLICKHOUSE__GRACE=5s`).
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/clickhouse"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8123)),
            library: None,
            cache_dir: None,
            npm: PathBuf::from("npm"),
            user: "default".into(),
            password: None,
            reader: "analyst".into(),
            reader_password: None,
            allow_open_access: false,
            body_bytes_max: 256 << 20,
            bodies_bytes_max: 1 << 30,
            body_time_max: Duration::from_secs(60),
            queries_max: 16,
            queries_waiting_max: 256,
            query_time_max: Duration::from_secs(600),
            memory_max: 4_000_000_000,
            reader_time_max: Duration::from_secs(60),
            reader_memory_max: 2_000_000_000,
            reader_rows_max: 10_000_000,
            grace: Duration::from_secs(5),
        }
    }
}
