//! A durable single-node broker that speaks the Kafka protocol, for a laptop and for tests.
//!
//! What it promises is Kafka's `acks=all` with one replica: a record is acknowledged, and shown to
//! consumers, once an fsync covers it. It has idempotent producers, consumer groups of the classic
//! protocol, and committed offsets with their metadata. It has no replication, no transactions, no
//! compaction and no authentication: beyond one machine run Apache Kafka.

mod api;
mod config;
mod file;
mod groups;
mod log;
mod server;
mod topics;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use config::Config;

use groups::Groups;
use topics::{ProducerIds, Topics};

/// How often members' sessions are looked at.
const TICK: Duration = Duration::from_millis(100);

/// A broker that owns its directory and listens, and does not serve yet.
pub struct Broker {
    shared: Arc<Shared>,
    listener: TcpListener,
    local_addr: SocketAddr,
    _lock: File,
}

/// What every connection works on.
struct Shared {
    config: Config,
    /// Where clients are told to come.
    advertised: (String, u16),
    cluster_id: String,
    topics: Topics,
    groups: Groups,
    producer_ids: Mutex<ProducerIds>,
    /// Counts produce requests, so that a fetch that waits looks again.
    appended: watch::Sender<u64>,
    /// Set once: why the broker cannot go on.
    failure: Mutex<Option<String>>,
    shutdown: CancellationToken,
}

impl Shared {
    /// Ends the broker: it promised durability and can no longer keep it.
    fn fail(&self, reason: String) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
        self.shutdown.cancel();
    }
}

impl Broker {
    /// Takes the data directory, reads what is there and listens.
    ///
    /// # Errors
    /// If another process has the directory, what is there cannot be read, or the address is in
    /// use: each in one line.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let directory = config.data_dir.clone();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let lock = file::lock(&directory).await?;
        let listener = listen(config.listen).await?;
        let local_addr = listener
            .local_addr()
            .context("read the address listened on")?;
        let advertised = match &config.advertised {
            None => (local_addr.ip().to_string(), local_addr.port()),
            Some(address) => address
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
                .ok_or_else(|| anyhow!("broker.advertised {address:?} is not host:port"))?,
        };
        let opened = Instant::now();
        let at = directory.clone();
        let (config, topics, groups, producer_ids, cluster_id) =
            tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
                let reading = || format!("read the broker's data in {}", at.display());
                let topics = Topics::open(&config, api::now_ms()).with_context(reading)?;
                let groups = Groups::open(&at).with_context(reading)?;
                let producer_ids = ProducerIds::open(&at).with_context(reading)?;
                let cluster_id = cluster_id(&at).with_context(reading)?;
                Ok((config, topics, groups, producer_ids, cluster_id))
            })
            .await
            .context("open the broker's data")??;
        info!("opened {} in {:?}", directory.display(), opened.elapsed());
        let shared = Arc::new(Shared {
            config,
            advertised,
            cluster_id,
            topics,
            groups,
            producer_ids: Mutex::new(producer_ids),
            appended: watch::channel(0).0,
            failure: Mutex::new(None),
            shutdown: CancellationToken::new(),
        });
        Ok(Self {
            shared,
            listener,
            local_addr,
            _lock: lock,
        })
    }

    /// Where it listens; the port is a real one also where the configuration says 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then writes down what makes the next start short.
    ///
    /// # Errors
    /// If the disk failed an fsync: nothing was acknowledged after that.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let shared = self.shared;
        let ends = async {
            shutdown.cancelled().await;
            shared.shutdown.cancel();
            Ok(())
        };
        let keeping = tokio::spawn(keep_house(shared.clone()));
        let served = tokio::try_join!(server::serve(shared.clone(), self.listener), async {
            tokio::select! {
                ended = ends => ended,
                () = shared.shutdown.cancelled() => Ok(()),
            }
        });
        keeping.await.context("a background task panicked")?;
        served?;
        if let Some(reason) = shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            return Err(anyhow!(
                "the broker stopped, what was acknowledged is safe: {reason}"
            ));
        }
        tokio::task::spawn_blocking(move || close(&shared))
            .await
            .context("close the broker's data")?
            .context("close the broker's data")
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            anyhow!(
                "{address} is already in use: stop what listens there, or set broker.listen to another address"
            )
        } else {
            anyhow::Error::new(error).context(format!("listen on {address} (broker.listen)"))
        }
    })
}

fn cluster_id(directory: &std::path::Path) -> io::Result<String> {
    let path = directory.join("cluster-id");
    if let Some(id) = file::read_checked(&path)? {
        return String::from_utf8(id).map_err(io::Error::other);
    }
    let id = uuid::Uuid::new_v4().to_string();
    file::write_checked(&path, id.as_bytes())?;
    Ok(id)
}

/// Sessions, retention, expiry: everything that time does.
async fn keep_house(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retention = tokio::time::interval(shared.config.retention_every.max(TICK));
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            _ = tick.tick() => shared.groups.tick(Instant::now()),
            _ = retention.tick() => {
                let shared = shared.clone();
                let kept = tokio::task::spawn_blocking(move || retain(&shared)).await;
                if let Err(panic) = kept {
                    warn!("retention panicked: {panic}");
                }
            }
        }
    }
}

fn retain(shared: &Shared) {
    let now_ms = api::now_ms();
    let before = |age: Duration| now_ms - i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
    for (name, topic) in shared.topics.all() {
        for log in &topic.partitions {
            match log.retain(topic.retention_ms(), topic.retention_bytes(), now_ms) {
                Ok(0) => {}
                Ok(dropped) => info!("dropped {dropped} segments of {name}"),
                Err(error) => warn!("retention of {name} failed: {error}"),
            }
            log.expire_producers(before(shared.config.producer_retention));
        }
    }
    if let Err(error) = shared
        .groups
        .expire_offsets(before(shared.config.offsets_retention))
    {
        warn!("offsets could not be expired: {error}");
    }
}

fn close(shared: &Shared) -> io::Result<()> {
    for (_, topic) in shared.topics.all() {
        for log in &topic.partitions {
            log.close()?;
        }
    }
    Ok(())
}
