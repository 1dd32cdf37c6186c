//! What the embedded engine is told: where it keeps things, who may ask, and how much.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use secrecy::SecretString;
use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sandbox;

/// The user that the engine starts its listeners as. ClickHouse leaves no choice of the name.
pub(crate) const STARTER: &str = "default";

/// The `engine` section. What the engine shares with those who connect to it (its library, the
/// service's user) stands in the `clickhouse` section and is put here by the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that holds the engine's data; one process at a time (`WEIR_ENGINE__DATA_DIR`).
    pub data_dir: PathBuf,
    /// Address of the HTTP protocol; port 0 is any free one (`WEIR_ENGINE__LISTEN`).
    pub listen: SocketAddr,
    /// Port of the native protocol, on the same address; 0 is any free one. Where it is taken, the
    /// engine goes on without it (`WEIR_ENGINE__NATIVE_PORT`).
    pub native_port: u16,
    /// A libchdb of one's own, used as it is instead of the fetched one
    /// (`WEIR_CLICKHOUSE__LIBRARY`).
    #[serde(skip)]
    pub library: Option<PathBuf>,
    /// Folder the engine and the file of countries are fetched into, default `~/.cache/weir`
    /// (`WEIR_ENGINE__CACHE_DIR`).
    pub cache_dir: Option<PathBuf>,
    /// The npm program that fetches the engine and the file of countries, once (`WEIR_ENGINE__NPM`).
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
    #[serde(serialize_with = "redacted", deserialize_with = "secret")]
    pub reader_password: Option<SecretString>,
    /// Allows users without passwords, on any address (`WEIR_ENGINE__ALLOW_OPEN_ACCESS=true`).
    pub allow_open_access: bool,
    /// Confines the engine's process to its own folder by the kernel's Landlock. Without it, or on
    /// a kernel without it, the engine listens on loopback alone (`WEIR_ENGINE__LANDLOCK=false`).
    pub landlock: bool,
    /// Statements of the service that run at once; one more is refused
    /// (`WEIR_ENGINE__QUERIES_MAX`).
    pub queries_max: u64,
    /// Statements of readers that run at once; one more is refused
    /// (`WEIR_ENGINE__READER_QUERIES_MAX`).
    pub reader_queries_max: u64,
    /// A statement of the service may run this long (`WEIR_ENGINE__QUERY_TIME_MAX=10m`).
    #[serde(with = "humantime_serde")]
    pub query_time_max: Duration,
    /// All statements and caches together may take this much memory, in bytes; readers' statements
    /// together half of it (`WEIR_ENGINE__MEMORY_MAX`).
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/clickhouse"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8123)),
            native_port: 9000,
            library: None,
            cache_dir: None,
            npm: PathBuf::from("npm"),
            user: STARTER.into(),
            password: None,
            database: "weir".into(),
            reader: "analyst".into(),
            reader_password: None,
            allow_open_access: false,
            landlock: true,
            queries_max: 256,
            reader_queries_max: 8,
            query_time_max: Duration::from_secs(600),
            memory_max: 4_000_000_000,
            reader_time_max: Duration::from_secs(60),
            reader_memory_max: 2_000_000_000,
            reader_rows_max: 10_000_000,
            reader_result_bytes_max: 1_000_000_000,
            reader_read_rows_max: 2_000_000_000,
        }
    }
}

impl Config {
    /// Refuses what would leave a door open, and names that no file of users can hold.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (setting, name) in [
            ("clickhouse.user", &self.user),
            ("engine.reader", &self.reader),
        ] {
            ensure!(
                is_name(name),
                "{setting} = {name:?}: the embedded engine takes names of up to 64 letters, digits, _ and -, the first one a letter"
            );
        }
        ensure!(
            self.user != self.reader && self.reader != STARTER,
            "clickhouse.user and engine.reader are two users, and engine.reader cannot be {STARTER:?}"
        );
        ensure!(
            !self.database.is_empty() && !self.database.contains(char::is_control),
            "clickhouse.database = {:?}: the embedded engine takes names without control characters",
            self.database
        );
        let is_local = self.listen.ip().is_loopback();
        if !is_local && !self.is_confined() {
            bail!(
                "{} can be reached from other machines, and this kernel does not confine the engine (it needs Landlock, Linux 5.13 or newer, and engine.landlock): set engine.listen to an address of loopback",
                self.listen
            );
        }
        if self.password.is_some() && self.user == STARTER {
            bail!(
                "the embedded engine keeps the user {STARTER:?} for itself where the service has a password: set WEIR_CLICKHOUSE__USER to another name, such as weir"
            );
        }
        if self.allow_open_access {
            return Ok(());
        }
        match (&self.password, &self.reader_password) {
            (Some(_), Some(_)) => Ok(()),
            (None, None) if is_local => Ok(()),
            (None, None) => bail!(
                "{} can be reached from other machines: set WEIR_CLICKHOUSE__PASSWORD and WEIR_ENGINE__READER_PASSWORD, or WEIR_ENGINE__ALLOW_OPEN_ACCESS=true",
                self.listen
            ),
            (None, Some(_)) => bail!(
                "WEIR_ENGINE__READER_PASSWORD is set and the service's user has no password, by whom everything can be read and written: set WEIR_CLICKHOUSE__PASSWORD, or WEIR_ENGINE__ALLOW_OPEN_ACCESS=true"
            ),
            (Some(_), None) => bail!(
                "WEIR_CLICKHOUSE__PASSWORD is set and the analysts' user has no password, by whom every event can be read: set WEIR_ENGINE__READER_PASSWORD, or WEIR_ENGINE__ALLOW_OPEN_ACCESS=true"
            ),
        }
    }

    pub(crate) fn is_confined(&self) -> bool {
        self.landlock && sandbox::is_available()
    }
}

fn is_name(text: &str) -> bool {
    let part = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 64
        && text.chars().all(part)
}

/// A text. Another kind of value is refused without a word of it, where serde would repeat it.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Other(IgnoredAny),
    }
    match Option::deserialize(deserializer)? {
        Some(Value::Text(text)) => Ok(Some(text.into())),
        Some(Value::Other(_)) => Err(de::Error::custom("a secret is text, in quotes")),
        None => Ok(None),
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
