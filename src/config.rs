//! The whole configuration: one section a component, each documented where it is used.

use std::collections::HashMap;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{demo, import};

#[cfg(test)]
mod advised_tests;
mod gone;

pub(crate) use gone::GONE;

/// What `weir.toml` may hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) log: infra::telemetry::Config,
    pub(crate) kafka: infra::kafka::Config,
    pub(crate) clickhouse: infra::clickhouse::Config,
    pub(crate) ingest: ingest::Config,
    pub(crate) sink: sink::Config,
    pub(crate) query: query::Config,
    pub(crate) import: import::Config,
    pub(crate) demo: demo::Config,
    pub(crate) broker: embedded_broker::Config,
    engine: embedded_clickhouse::Config,
}

impl Config {
    /// What the query service knows of the edge.
    pub(crate) fn edge(&self) -> query::Edge {
        // Figures need no write key. The file of them may be for ingest's user alone.
        let public_keys = ingest::public_keys(&self.ingest.keys).unwrap_or_else(|error| {
            warn!("the dashboard shows sites' tags without their public keys: {error:#}");
            HashMap::new()
        });
        query::Edge {
            public_url: self.ingest.public_url(),
            public_keys,
            script_path: self.ingest.tracker.path.clone(),
            visitors_period: self.ingest.visitors.period,
        }
    }

    /// The ingest service's settings: its own section, and how the engine is fetched, as it fetches
    /// the file of countries.
    pub(crate) fn ingest(&self) -> ingest::Config {
        let mut ingest = self.ingest.clone();
        ingest.geo.cache_dir.clone_from(&self.engine.cache_dir);
        ingest.geo.npm.clone_from(&self.engine.npm);
        ingest
    }

    /// The embedded engine's settings: its own section, and what it shares with its clients.
    pub(crate) fn engine(&self) -> embedded_clickhouse::Config {
        embedded_clickhouse::Config {
            library: self.clickhouse.library.clone(),
            user: self.clickhouse.user.clone(),
            database: self.clickhouse.database.clone(),
            password: self.clickhouse.password.clone().map(Into::into),
            ..self.engine.clone()
        }
    }
}

/// `weir config`: what is in force, as TOML; secrets stand as `[redacted]`.
#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) fn print(config: &Config) -> anyhow::Result<()> {
    print!(
        "{}",
        toml::to_string_pretty(config).context("write the configuration as TOML")?
    );
    Ok(())
}
