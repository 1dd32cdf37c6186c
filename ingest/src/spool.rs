//! Where flushes wait on the disk while Kafka does not acknowledge: bounded, durable, in order.
//!
//! Flushes are appended to segments of some megabytes, which go to Kafka whole and are deleted
//! whole. What stands twice in Kafka after a crash, or because an acknowledgement was lost, stands
//! there under the same batch id in the same partition, and the sink counts it once.

mod config;
mod frame;
mod segment;
mod writer;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info};

pub use config::Config;
pub(crate) use frame::Frame;
pub(crate) use segment::{Contents, Segment};

use segment::Placement;
use writer::{Append, Order, Writer};

/// Orders that may wait for the writer; flushes under way are fewer.
const ORDERS_MAX: usize = 64;
/// A predecessor that is ending gives the folder free within this.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Why a flush is not in the spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpoolError {
    /// Nothing of it is kept.
    #[error("the spool is full at {0} bytes")]
    Full(u64),
    /// Nothing of it is kept.
    #[error("{0}")]
    Disk(String),
    /// It may be kept, and then goes to Kafka.
    #[error("{0}")]
    Unsynced(String),
    /// Nothing of it is kept.
    #[error("the spool was closed")]
    Closed,
}

/// The spool in one folder; cheap to clone.
#[derive(Clone)]
pub(crate) struct Spool {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    bytes_max: u64,
    topic: String,
    /// How many partitions the topic had when Kafka last said; 0 while nobody knows.
    partitions: AtomicU32,
    state: Mutex<State>,
    /// A segment was closed, or the open one has grown.
    changed: Notify,
    _lock: File,
}

#[derive(Default)]
struct State {
    /// The oldest first.
    closed: VecDeque<Segment>,
    open: Option<Segment>,
    bytes: u64,
}

impl Spool {
    /// Opens the spool for `topic`; `None` if the configuration wants none. The writer's thread
    /// ends with the last clone.
    ///
    /// # Errors
    /// If the folder cannot be used, belongs to another process, or holds flushes for another topic.
    pub(crate) fn open(config: &Config, topic: &str) -> anyhow::Result<Option<Self>> {
        if config.bytes_max == 0 {
            return Ok(None);
        }
        let dir = config.dir();
        Self::open_in(dir.clone(), config.bytes_max, topic)
            .with_context(|| format!("open the spool in {} (ingest.spool.dir)", dir.display()))
            .map(Some)
    }

    fn open_in(dir: PathBuf, bytes_max: u64, topic: &str) -> anyhow::Result<Self> {
        private_folder::make(&dir)?;
        let lock = lock(&dir)?;
        let closed: VecDeque<Segment> = segment::list(&dir)?.into();
        let bytes = closed.iter().map(|segment| segment.bytes).sum();
        let placement = Placement::load(&dir);
        if let Some(other) = placement.as_ref().filter(|known| known.topic != topic)
            && bytes > 0
        {
            bail!(
                "it holds {bytes} bytes for topic {}, not for {topic}: start once with kafka.topic = {:?} until it is empty, or name another folder",
                other.topic,
                other.topic
            );
        }
        if bytes > 0 {
            info!(
                spool.bytes = bytes,
                "the spool holds {bytes} bytes for Kafka from before"
            );
        }
        let partitions = placement
            .filter(|known| known.topic == topic)
            .map_or(0, |known| known.partitions);
        let next_number = segment::last_number(&dir)? + 1;
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            bytes_max,
            topic: topic.to_owned(),
            partitions: AtomicU32::new(partitions),
            state: Mutex::new(State {
                closed,
                open: None,
                bytes,
            }),
            changed: Notify::new(),
            _lock: lock,
        });
        shared.show();
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let writer = Writer::new(dir, shared.clone(), next_number);
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(received))
            .context("start its thread")?;
        Ok(Self { orders, shared })
    }

    /// Returns once the flush is on the disk.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) async fn append(&self, partition: u32, record: Bytes) -> Result<(), SpoolError> {
        let (done, outcome) = oneshot::channel();
        let append = Append {
            partition,
            record,
            done,
        };
        self.orders
            .send(Order::Append(append))
            .await
            .map_err(|_| SpoolError::Closed)?;
        let outcome = outcome.await.unwrap_or(Err(SpoolError::Closed));
        let said = if outcome.is_ok() { "kept" } else { "refused" };
        counter!("weir_ingest_spool_appends_total", "outcome" => said).increment(1);
        outcome
    }

    /// Whether nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.state().bytes == 0
    }

    /// Whether it would take an ordinary flush.
    pub(crate) fn has_room(&self) -> bool {
        const ORDINARY_BYTES: u64 = 64 << 10;
        self.shared.room() >= ORDINARY_BYTES
    }

    /// How many partitions the topic had when Kafka last said.
    pub(crate) fn partitions(&self) -> Option<u32> {
        match self.shared.partitions.load(Ordering::Relaxed) {
            0 => None,
            partitions => Some(partitions),
        }
    }

    /// Keeps what Kafka says of the topic, for a start without Kafka. Blocks for a write.
    pub(crate) fn remember(&self, partitions: u32) {
        if self.shared.partitions.swap(partitions, Ordering::Relaxed) == partitions {
            return;
        }
        let placement = Placement {
            topic: self.shared.topic.clone(),
            partitions,
        };
        if let Err(error) = placement.store(&self.shared.dir) {
            error!(
                "{}",
                self.shared.fault("keep the number of partitions", &error)
            );
        }
    }

    /// The oldest segment, once there is one. It stays until it is removed.
    pub(crate) async fn oldest(&self) -> Segment {
        loop {
            // Registered before the look, so that what changes in between is not missed.
            let changed = self.shared.changed.notified();
            let (oldest, open) = {
                let state = self.shared.state();
                (state.closed.front().copied(), state.open)
            };
            if let Some(oldest) = oldest {
                return oldest;
            }
            if open.is_some() {
                let (done, closed) = oneshot::channel();
                if self.orders.send(Order::Close(done)).await.is_ok() {
                    // An error means that the writer has gone, and has closed it.
                    let _ = closed.await;
                    continue;
                }
            }
            changed.await;
        }
    }

    /// Reads a segment. Blocks.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn read(&self, segment: Segment) -> io::Result<Contents> {
        segment.read(&self.shared.dir)
    }

    /// Deletes a segment that Kafka has, or keeps its file aside if `with_rest`: if it holds
    /// something that Kafka could not be given. Blocks.
    pub(crate) fn done_with(&self, segment: Segment, with_rest: bool) {
        let dir = &self.shared.dir;
        if with_rest {
            match segment.set_aside(dir) {
                Ok(path) => error!(
                    "not all of a segment of the spool could go to Kafka; it is kept as {}",
                    path.display()
                ),
                Err(error) => error!("{}", self.shared.fault("set a segment aside", &error)),
            }
        } else if let Err(error) = segment.remove(dir) {
            error!("{}", self.shared.fault("delete a segment", &error));
        }
        self.shared.forget(segment);
    }

    /// Shows how old the oldest flush is.
    pub(crate) fn show_age(&self) {
        self.shared.show();
    }
}

impl Shared {
    /// How many bytes it may still take.
    fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.state().bytes)
    }

    /// The open segment is now as `open` says, by `bytes`.
    fn grew(&self, bytes: u64, open: Segment) {
        let mut state = self.state();
        state.bytes += bytes;
        let is_first = state.open.replace(open).is_none();
        drop(state);
        self.show();
        if is_first {
            self.changed.notify_one();
        }
    }

    fn close(&self, segment: Segment) {
        let mut state = self.state();
        // One that took nothing is of no use to anybody.
        if state.open.take().is_some() {
            state.closed.push_back(segment);
        }
        drop(state);
        self.show();
        self.changed.notify_one();
    }

    fn forget(&self, segment: Segment) {
        let mut state = self.state();
        state.closed.retain(|other| other.number != segment.number);
        state.bytes = state.bytes.saturating_sub(segment.bytes);
        drop(state);
        self.show();
    }

    fn show(&self) {
        let state = self.state();
        let oldest = state.closed.front().or(state.open.as_ref());
        let age = oldest.map_or(0, |oldest| {
            segment::now_millis().saturating_sub(oldest.begun_at)
        });
        gauge!("weir_ingest_spool_bytes").set(state.bytes as f64);
        gauge!("weir_ingest_spool_age_seconds").set(age as f64 / 1000.0);
    }

    fn fault(&self, attempt: &str, error: &io::Error) -> String {
        format!("{attempt} in the spool {}: {error}", self.dir.display())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process a folder: two would delete what the other has not sent.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    let give_up_at = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                bail!("another ingest service that runs has it: give each a folder of its own")
            }
            Err(TryLockError::Error(error)) => return Err(error).context("lock it"),
        }
    }
}

#[cfg(test)]
mod tests;
