//! weir as it runs beside: a broker, ingest and ClickHouse, then a sink; every service in a process
//! of its own, as the Node design's.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::ingest::world::is_ready;
use crate::process::Server;
use crate::sink::world::World;

/// Where accepted events go.
pub(super) const DATABASE: &str = "weir";
const ANY_PORT: &str = "127.0.0.1:0";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Weir {
    pub(super) ingest: Server,
    pub(super) address: SocketAddr,
    // After ingest: fields are dropped in order.
    pub(super) world: World,
}

impl Weir {
    /// Starts everything but the sink, before empty tables, and waits until ingest can take events.
    ///
    /// # Errors
    /// If something does not start; its log is part of the message.
    pub(super) async fn start(parent: &Path) -> anyhow::Result<Self> {
        let world = World::start(parent, infra::kafka::Config::default().partitions).await?;
        world.make_database(DATABASE).await?;
        let settings = [
            ("WEIR_KAFKA__BROKERS", world.brokers.as_str()),
            ("WEIR_INGEST__LISTEN", ANY_PORT),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut ingest = Server::start("ingest", world.folder(), &["ingest"], &settings)?;
        let address = ingest.address().await?;
        let give_up_at = Instant::now() + READY_WITHIN;
        while !is_ready(address).await {
            ingest.check_alive()?;
            if Instant::now() > give_up_at {
                let log = ingest.log_tail();
                bail!("ingest is not ready after {READY_WITHIN:?}:\n{log}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Self {
            ingest,
            address,
            world,
        })
    }
}
