//! What the embedded engine is told: where it keeps things, who may ask, and how much.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

/// The `engine` section. What the engine shares with those who connect to it (its library, the
/// service's user) stands in the `clickhouse` section and is put here by the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that holds the engine's data; one process at a time (`WEIR_ENGINE__DATA_DIR`).
    pub data_dir: PathBuf,
    /// Address of the HTTP protocol (`WEIR_ENGINE__LISTEN`).
    pub listen: SocketAddr,
    /// A libchdb of one's own, used as it is instead of the fetched one
    /// (`WEIR_CLICKHOUSE__LIBRARY`).
    #[serde(skip)]
    pub library: Option<PathBuf>,
    /// Folder the engine is fetched into, default `~/.cache/weir` (`WEIR_ENGINE__CACHE_DIR`).
    pub cache_dir: Option<PathBuf>,
    /// The npm program that fetches the engine, once (`WEIR_ENGINE__NPM`).
    pub npm: PathBuf,
    /// Name of the service's user, who may create, insert and read (`WEIR_CLICKHOUSE__USER`).
    #[serde(skip)]
    pub user: String,
    /// Password of the service's user; none by default (`WEIR_CLICKHOUSE__PASSWORD`).
    #[serde(skip)]
    pub password: Option<SecretString>,
    /// The one database that analysts see (`WEIR_CLICKHOUSE__DATABASE`).
    #[serde(skip)]
    pub database: String,
    /// Name of the analysts' user, who may only read (`WEIR_ENGINE__READER`).
    pub reader: String,
    /// Password of the analysts' user; none by default (`WEIR_ENGINE__READER_PASSWORD`).
    #[serde(serialize_with = "redacted")]
    pub reader_password: Option<SecretString>,
    /// Allows an address beyond loopback without passwords
    /// (`WEIR_ENGINE__ALLOW_OPEN_ACCESS=true`).
    pub allow_open_access: bool,
    /// A request's body may have this many bytes, decompressed too
    /// (`WEIR_ENGINE__BODY_BYTES_MAX`).
    pub body_bytes_max: usize,
    /// All bodies in memory together may have this many bytes
    /// (`WEIR_ENGINE__BODIES_BYTES_MAX`).
    pub bodies_bytes_max: usize,
    /// A body must have arrived within this time (`WEIR_ENGINE__BODY_TIME_MAX=60s`).
    #[serde(with = "humantime_serde")]
    pub body_time_max: Duration,
    /// Statements that run at once (`WEIR_ENGINE__QUERIES_MAX`).
    pub queries_max: usize,
    /// Statements that may wait for one of those places; one more is refused
    /// (`WEIR_ENGINE__QUERIES_WAITING_MAX`).
    pub queries_waiting_max: usize,
    /// Readers' statements that run at once, so that analysts leave the services their places; one
    /// more waits (`WEIR_ENGINE__READER_QUERIES_MAX`).
    pub reader_queries_max: usize,
    /// A statement of the service may run this long (`WEIR_ENGINE__QUERY_TIME_MAX=10m`).
    #[serde(with = "humantime_serde")]
    pub query_time_max: Duration,
    /// All statements and caches together may take this much memory, in bytes
    /// (`WEIR_ENGINE__MEMORY_MAX`).
    pub memory_max: u64,
    /// A reader's statement may run this long (`WEIR_ENGINE__READER_TIME_MAX=60s`).
    #[serde(with = "humantime_serde")]
    pub reader_time_max: Duration,
    /// A reader's statement may take this much memory, in bytes
    /// (`WEIR_ENGINE__READER_MEMORY_MAX`).
    pub reader_memory_max: u64,
    /// A reader's answer may have this many rows (`WEIR_ENGINE__READER_ROWS_MAX`).
    pub reader_rows_max: u64,
    /// A reader's answer may have this many bytes in the engine's memory
    /// (`WEIR_ENGINE__READER_RESULT_BYTES_MAX`).
    pub reader_result_bytes_max: u64,
    /// A reader's statement may read this many rows (`WEIR_ENGINE__READER_READ_ROWS_MAX`).
    pub reader_read_rows_max: u64,
    /// On shutdown, running statements may take this long to finish
    /// (`WEIR_ENGINE__GRACE=5s`).
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
            database: "weir".into(),
            reader: "analyst".into(),
            reader_password: None,
            allow_open_access: false,
            body_bytes_max: 256 << 20,
            bodies_bytes_max: 1 << 30,
            body_time_max: Duration::from_secs(60),
            queries_max: 16,
            queries_waiting_max: 256,
            reader_queries_max: 4,
            query_time_max: Duration::from_secs(600),
            memory_max: 4_000_000_000,
            reader_time_max: Duration::from_secs(60),
            reader_memory_max: 2_000_000_000,
            reader_rows_max: 10_000_000,
            reader_result_bytes_max: 1_000_000_000,
            reader_read_rows_max: 2_000_000_000,
            grace: Duration::from_secs(5),
        }
    }
}

fn redacted<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_some("[redacted]"),
        None => serializer.serialize_none(),
    }
}
