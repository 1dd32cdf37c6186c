//! An embedded broker with the topics and an engine, in processes and a folder of their own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clickhouse::Client;
use infra::url::ServerUrl;
use infra::{clickhouse as database, kafka};
use tempfile::TempDir;

use super::report::Drained;
use crate::process::Server;

const ANY_PORT: &str = "127.0.0.1:0";
const ENTERED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub(crate) struct World {
    pub(crate) engine: Server,
    pub(crate) brokers: String,
    url: ServerUrl,
    pub(crate) broker: Server,
    // Last, because fields are dropped in order: the servers end before their folder goes.
    folder: TempDir,
}

impl World {
    pub(crate) async fn start(parent: &Path, partitions: u16) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("weir-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        let server = |name, data| {
            let arguments = [name, "--data-dir", data, "--listen", ANY_PORT];
            Server::start(name, folder.path(), &arguments, &[])
        };
        let mut broker = server("broker", "kafka")?;
        let mut engine = server("clickhouse", "engine")?;
        let brokers = broker.address().await?.to_string();
        let url: ServerUrl = format!("http://{}", engine.address().await?).parse()?;
        kafka::create_topics(&kafka::Config {
            brokers: brokers.clone(),
            partitions,
            ..kafka::Config::default()
        })
        .await?;
        Ok(Self {
            engine,
            brokers,
            url,
            broker,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.broker.check_alive()?;
        self.engine.check_alive()
    }

    fn config(&self, name: &str) -> database::Config {
        database::Config {
            url: self.url.clone(),
            database: name.to_owned(),
            ..database::Config::default()
        }
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        database::client(&self.config(name))
    }

    /// With all of weir's tables.
    pub(crate) async fn make_database(&self, name: &str) -> anyhow::Result<()> {
        database::migrate(&self.config(name)).await?;
        Ok(())
    }

    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.client(name)
            .query(&format!("DROP DATABASE {name} SYNC"))
            .execute()
            .await
            .with_context(|| format!("drop database {name}"))
    }

    /// A sink of the group and for the database of this name.
    pub(crate) fn sink(&self, name: &str) -> anyhow::Result<Server> {
        let settings = [
            ("WEIR_KAFKA__BROKERS", self.brokers.as_str()),
            ("WEIR_CLICKHOUSE__URL", self.url.as_str()),
            ("WEIR_CLICKHOUSE__DATABASE", name),
            ("WEIR_SINK__GROUP", name),
            ("WEIR_SINK__LISTEN", ANY_PORT),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Server::start("sink", self.folder.path(), &["sink"], &settings)
    }

    /// Waits until the ledger has all `events`.
    pub(crate) async fn until_entered(&self, name: &str, events: u64) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + ENTERED_WITHIN;
        loop {
            let entered: u64 = self
                .client(name)
                .query("SELECT sum(rows) FROM ledger")
                .fetch_one()
                .await
                .context("read the ledger")?;
            if entered >= events {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up_at,
                "the ledger has {entered} of {events} events"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a sink made of them.
    pub(crate) async fn drained(&self, name: &str) -> anyhow::Result<Drained> {
        let client = self.client(name);
        let number = async |sql: &str| -> anyhow::Result<u64> {
            client
                .query(sql)
                .bind(name)
                .fetch_one()
                .await
                .with_context(|| format!("ask {sql}"))
        };
        let bytes =
            "SELECT sum(data_compressed_bytes) FROM system.parts WHERE active AND database = ?";
        let raw = number(&format!("{bytes} AND table = 'events'")).await?;
        let rollups = number(&format!(
            "{bytes} AND table IN ('stats_quarter_hour', 'stats_day', 'stats_month', 'paths_day', 'paths_month')"
        ))
        .await?;
        Ok(Drained {
            cuts: number("SELECT uniqExact(cut) FROM ledger WHERE currentDatabase() = ?").await?,
            parts: number(
                "SELECT toUInt64(max(max_block_number)) FROM system.parts WHERE database = ? AND table = 'events'",
            )
            .await?,
            raw_bytes: raw,
            rollup_bytes: rollups,
        })
    }
}
