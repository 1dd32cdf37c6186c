//! Reaching ClickHouse: the `clickhouse` section, the client, the migrations, the rollups and the
//! views that fill them.

mod migrations;
pub mod rollups;
mod views;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Secret;
use crate::url::ServerUrl;

pub use migrations::{Migrated, migrate};
pub use views::{FaultyView, faulty_views};

/// Where ClickHouse is and who weir is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP interface, without credentials (`WEIR_CLICKHOUSE__URL=http://127.0.0.1:8123`).
    pub url: ServerUrl,
    pub database: String,
    pub user: String,
    pub password: Option<Secret>,
    /// For the embedded engine alone: one's own `libchdb`, instead of the one fetched once.
    pub library: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: SocketAddr::from((Ipv4Addr::LOCALHOST, 8123)).into(),
            database: "weir".to_owned(),
            user: "default".to_owned(),
            password: None,
            library: None,
        }
    }
}

/// A client of the configured database. Cheap to clone; clones share their connections.
#[must_use]
pub fn client(config: &Config) -> clickhouse::Client {
    let client = clickhouse::Client::default()
        .with_url(config.url.as_str())
        .with_user(&config.user)
        .with_database(&config.database);
    match &config.password {
        Some(password) => client.with_password(password.expose()),
        None => client,
    }
}
