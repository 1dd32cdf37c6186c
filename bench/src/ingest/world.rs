//! The servers of one scenario, in a folder of their own: an embedded broker with the topics,
//! ingest before it, and the bare handler. Nothing of it is left after the scenario.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use infra::kafka;
use tempfile::TempDir;

use super::load::Connection;
use crate::process::Server;

const ANY_PORT: &str = "127.0.0.1:0";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const READY: &[u8] = b"GET /ready HTTP/1.1\r\nhost: weir\r\n\r\n";

pub(super) struct World {
    pub(super) bare: Measurable,
    pub(super) weir: Measurable,
    pub(super) kafka: kafka::Config,
    broker: Server,
    // Last, because fields are dropped in order: the servers end before their folder goes.
    _folder: TempDir,
}

/// A server that is put under load.
pub(super) struct Measurable {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl World {
    /// Starts everything and waits until ingest can take events.
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
        let in_folder = folder.path();
        let arguments = ["broker", "--data-dir", "kafka", "--listen", ANY_PORT];
        let mut broker = Server::start("broker", in_folder, &arguments, settings)?;
        let kafka = kafka::Config {
            brokers: broker.address().await?.to_string(),
            ..kafka::Config::default()
        };
        kafka::create_topics(&kafka).await?;

        let mut settings = settings.to_vec();
        settings.extend([
            ("WEIR_KAFKA__BROKERS".to_owned(), kafka.brokers.clone()),
            ("WEIR_INGEST__LISTEN".to_owned(), ANY_PORT.to_owned()),
        ]);
        let weir = Server::start("ingest", in_folder, &["ingest"], &settings)?;
        let bare = Server::start("bare", in_folder, &["bench", "bare"], &settings)?;
        let mut world = Self {
            bare: Measurable::new(bare).await?,
            weir: Measurable::new(weir).await?,
            kafka,
            broker,
            _folder: folder,
        };
        world.ready().await?;
        Ok(world)
    }

    /// # Errors
    /// If a server has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.broker.check_alive()?;
        self.weir.server.check_alive()?;
        self.bare.server.check_alive()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + READY_WITHIN;
        while !is_ready(self.weir.address).await {
            self.check_alive()?;
            if Instant::now() > give_up_at {
                let log = self.weir.server.log_tail();
                bail!("ingest is not ready after {READY_WITHIN:?}:\n{log}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Measurable {
    async fn new(mut server: Server) -> anyhow::Result<Self> {
        let address = server.address().await?;
        Ok(Self { server, address })
    }
}

/// Whether a service at this address says that it can take events.
pub(crate) async fn is_ready(address: SocketAddr) -> bool {
    let asking = async { Connection::open(address).await?.exchange(READY).await };
    match tokio::time::timeout(READY_WITHIN, asking).await {
        Ok(Ok(answer)) => answer.status == 200,
        _ => false,
    }
}
