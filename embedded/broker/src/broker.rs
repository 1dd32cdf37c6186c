//! The broker's life: open, serve, keep house, close.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use tokio::{
    net::TcpListener,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    clock,
    config::Config,
    disk::Disk,
    groups::{Groups, Offsets},
    lock::DirectoryLock,
    producer_ids::ProducerIds,
    server,
    topics::Topics,
};

/// How exactly sessions and rebalances end.
const GROUP_TICK: Duration = Duration::from_millis(50);

/// A broker that owns its directory and its port, and does not answer yet.
pub struct Broker {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    _lock: DirectoryLock,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) cluster_id: String,
}

impl Broker {
    /// Locks the directory, opens what is in it and binds the port.
    ///
    /// # Errors
    /// If another process owns the directory or the port, or what is on disk cannot be read.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        Self::bind_on(config, Disk::default()).await
    }

    pub(crate) async fn bind_on(config: Config, disk: Disk) -> anyhow::Result<Self> {
        check_access(&config)?;
        let dir = config.data_dir.clone();
        private_folder::make(&dir)?;
        let lock = DirectoryLock::acquire(&dir, config.lock_wait).await?;
        let listener = listen(config.listen).await?;
        let address = listener
            .local_addr()
            .context("read the address listened on")?;
        let begun = Instant::now();
        let shared = spawn_blocking(move || Shared::open(config, disk))
            .await
            .context("opening the log panicked")??;
        info!(
            broker.address = %address,
            broker.open_duration_ms = begun.elapsed().as_millis() as u64,
            "broker is open on {} with its log in {}", address, dir.display()
        );
        if !address.ip().to_canonical().is_loopback() {
            warn!(
                broker.address = %address,
                "anyone who reaches {address} can read and write all events: the broker has no passwords, and broker.allow_open_access is set"
            );
        }
        Ok(Self {
            listener,
            address,
            shared: Arc::new(shared),
            _lock: lock,
        })
    }

    /// The address clients can connect to; the port is the real one if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) fn topics(&self) -> &Topics {
        &self.shared.topics
    }

    /// Serves until `shutdown`, then leaves all on disk as the next start likes it best.
    ///
    /// # Errors
    /// If the disk fails: then nothing more was acknowledged, and nothing is written any more.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server::serve(
            self.listener,
            self.shared.clone(),
            stop.clone(),
        ));
        let sessions = tokio::spawn(watch_groups(self.shared.clone(), stop.clone()));
        let house = tokio::spawn(keep_house(self.shared.clone(), stop.clone()));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.shared.disk.failed() => {}
        }
        stop.cancel();
        for task in [serving, sessions, house] {
            task.await.context("a part of the broker panicked")?;
        }
        let shared = self.shared;
        spawn_blocking(move || shared.close())
            .await
            .context("closing the log panicked")?
    }
}

impl Shared {
    fn open(config: Config, disk: Disk) -> anyhow::Result<Self> {
        let dir = config.data_dir.clone();
        let topics = Topics::open(&dir, &disk, &config)?;
        let offsets = Offsets::open(&dir, &disk, config.offsets_max)?;
        go_on_behind_commits(&topics, &offsets)?;
        Ok(Self {
            groups: Groups::new(offsets, &config),
            producer_ids: ProducerIds::open(&dir, &disk)?,
            cluster_id: cluster_id(&dir, &disk)?,
            topics,
            disk,
            config,
        })
    }

    fn close(&self) -> anyhow::Result<()> {
        let closed = match self.disk.failure() {
            // A snapshot would claim to know what is on disk.
            Some(_) => Ok(()),
            None => self.topics.close(),
        };
        match self.disk.failure() {
            Some(cause) => Err(anyhow!("the disk failed: {cause}")),
            None => closed,
        }
    }
}

/// A group commits what it was given, so a log that ends before has lost records that were
/// acknowledged. Given to others, their offsets would be taken for what was read already.
fn go_on_behind_commits(topics: &Topics, offsets: &Offsets) -> anyhow::Result<()> {
    for ((topic, index), (committed, group)) in offsets.furthest() {
        let Some(partition) = topics.partition(&topic, index) else {
            continue;
        };
        let end = partition.extent().end;
        if end >= committed {
            continue;
        }
        let goes_on = partition
            .go_on_at(committed)
            .with_context(|| format!("write a gap to {}", partition.dir().display()))?;
        error!(
            group.id = group,
            kafka.partition = index,
            "group {group} has committed offset {committed} in partition {index} of topic {topic}, whose log ends at {end}: up to {} acknowledged records are lost, unless somebody has set that offset by hand. The log goes on at {}",
            committed - end,
            if goes_on { committed } else { end },
        );
    }
    Ok(())
}

/// Made once: clients notice by it when they have come to another cluster.
fn cluster_id(dir: &Path, disk: &Disk) -> anyhow::Result<String> {
    let path = dir.join("cluster-id");
    if path.exists() {
        return fs::read_to_string(&path).with_context(|| format!("read {}", path.display()));
    }
    let id = Uuid::new_v4().simple().to_string();
    disk.write_whole(&path, id.as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(id)
}

async fn watch_groups(broker: Arc<Shared>, stop: CancellationToken) {
    let mut tick = interval(GROUP_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => broker.groups.pass_time(Instant::now()),
        }
    }
}

/// Retention and compaction, one after the other and never twice at once.
async fn keep_house(broker: Arc<Shared>, stop: CancellationToken) {
    let mut tick = interval(broker.config.retention_check.max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let broker = broker.clone();
        let kept = spawn_blocking(move || {
            broker.topics.retain();
            let oldest =
                clock::now().saturating_sub(clock::millis(broker.config.offsets_retention));
            let offsets = &broker.groups.offsets;
            let kept = offsets
                .expire(oldest, |group| broker.groups.is_active(group))
                .and_then(|()| offsets.compact_if_grown());
            if let Err(error) = kept {
                error!("cannot tidy the committed offsets: {error}");
            }
        });
        if let Err(error) = kept.await {
            error!("keeping house panicked: {error}");
        }
    }
}

fn check_access(config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.allow_open_access || config.listen.ip().to_canonical().is_loopback(),
        "broker.listen is {}, where others reach it, and the broker has no passwords: set it to a loopback address, or set broker.allow_open_access = true to let anyone who reaches it read and write all events",
        config.listen
    );
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!(
                "{address} is already in use: stop what listens there, or set broker.listen to another address"
            )
        } else {
            anyhow::Error::new(error).context(format!("listen on {address} (broker.listen)"))
        }
    })
}
