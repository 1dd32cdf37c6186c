//! All of weir in a folder and on ports of its own, each part in a process of its own, so that
//! what each of them costs can be told apart.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clickhouse::Client;
use infra::{clickhouse as database, kafka};
use tempfile::TempDir;

use super::each::Each;
use crate::process::Server;
use crate::query::http::Connection;

pub(super) const ANY_PORT: &str = "127.0.0.1:0";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const ACCEPTED: &str = "weir_ingest_events_total{outcome=\"accepted\"}";

pub(super) struct World {
    pub(super) servers: Each<Server>,
    pub(super) ingest: SocketAddr,
    pub(super) query: SocketAddr,
    pub(super) client: Client,
    pub(super) database: String,
    /// Where everything is, for a command that looks at it.
    pub(super) settings: Vec<(String, String)>,
    http: Connection,
    // Last, because fields are dropped in order: the servers end before their folder goes.
    folder: TempDir,
}

impl World {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// If a server does not start; its log is part of the message.
    pub(super) async fn start(
        parent: &Path,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("weir-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        let below = |name, data| {
            let arguments = [name, "--data-dir", data, "--listen", ANY_PORT];
            Server::start(name, folder.path(), &arguments, settings)
        };
        let mut broker = below("broker", "kafka")?;
        let mut clickhouse = below("clickhouse", "clickhouse")?;
        let kafka = kafka::Config {
            brokers: broker.address().await?.to_string(),
            ..kafka::Config::default()
        };
        let tables = database::Config {
            url: format!("http://{}", clickhouse.address().await?).parse()?,
            ..database::Config::default()
        };
        kafka::create_topics(&kafka).await?;
        database::migrate(&tables).await?;

        let mut settings = settings.to_vec();
        settings.extend(
            [
                ("WEIR_KAFKA__BROKERS", kafka.brokers.as_str()),
                ("WEIR_CLICKHOUSE__URL", tables.url.as_str()),
                ("WEIR_INGEST__LISTEN", ANY_PORT),
                ("WEIR_SINK__LISTEN", ANY_PORT),
                ("WEIR_QUERY__LISTEN", ANY_PORT),
                // What a question costs is taken off: each costs the same, asked again or not.
                ("WEIR_QUERY__KEPT_BYTES_MAX", "0"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let above = |name| Server::start(name, folder.path(), &[name], &settings);
        let (mut ingest, mut sink, mut query) = (above("ingest")?, above("sink")?, above("query")?);
        let http = Connection::new()?;
        let mut addresses = Vec::new();
        for server in [&mut ingest, &mut sink, &mut query] {
            let address = server.address().await?;
            ready(&http, address, server).await?;
            addresses.push(address);
        }
        Ok(Self {
            servers: Each {
                ingest,
                broker,
                sink,
                clickhouse,
                query,
            },
            ingest: addresses[0],
            query: addresses[2],
            client: database::client(&tables),
            database: tables.database,
            settings,
            http,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// # Errors
    /// If a server has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.servers.ingest.check_alive()?;
        self.servers.broker.check_alive()?;
        self.servers.sink.check_alive()?;
        self.servers.clickhouse.check_alive()?;
        self.servers.query.check_alive()
    }

    /// Rows of `events`.
    ///
    /// # Errors
    /// If ClickHouse does not tell.
    pub(super) async fn stored(&self) -> anyhow::Result<u64> {
        let counting = self.client.query("SELECT count() FROM events").fetch_one();
        counting.await.context("count the events")
    }

    /// Events that ingest has answered 202 for since it started.
    ///
    /// # Errors
    /// If ingest does not tell.
    pub(super) async fn accepted(&self) -> anyhow::Result<u64> {
        let url = format!("http://{}/metrics", self.ingest);
        let metrics = self.http.get(&url).await?;
        accepted_in(&String::from_utf8_lossy(&metrics))
            .with_context(|| format!("find {ACCEPTED} at {url}"))
    }
}

fn accepted_in(metrics: &str) -> Option<u64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(ACCEPTED))?;
    line.trim().parse().ok()
}

async fn ready(http: &Connection, address: SocketAddr, server: &mut Server) -> anyhow::Result<()> {
    let url = format!("http://{address}/ready");
    let give_up_at = Instant::now() + READY_WITHIN;
    while http.get(&url).await.is_err() {
        server.check_alive()?;
        if Instant::now() > give_up_at {
            let log = server.log_tail();
            bail!("{url} is not ready after {READY_WITHIN:?}:\n{log}");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_events_are_told_from_refused_ones() {
        let metrics = "# TYPE weir_ingest_events_total counter\nweir_ingest_events_total{outcome=\"rejected\"} 3\nweir_ingest_events_total{outcome=\"accepted\"} 170\n";
        assert_eq!(accepted_in(metrics), Some(170));
        assert_eq!(accepted_in(""), None);
    }
}
