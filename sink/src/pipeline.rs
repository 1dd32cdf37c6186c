//! The loop: records in, cuts planned, inserted and finished, partitions taken over and given up.
//!
//! It runs on a thread of its own, because the Kafka client must be polled whatever happens and
//! its commits block. All decisions are made on this thread; only inserts and takeovers run beside
//! it, and both may be abandoned at any moment: fences make them harmless.

mod cuts;
mod look;
mod partitions;
mod stalls;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use infra::http::Readiness;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::fences::Fences;
use crate::flight::Flight;
use crate::gather::Gather;
use crate::membership::{self, GroupConsumer};
use crate::mend::Mender;
use crate::reader::{self, Reader};
use crate::recovery::Recovery;
use crate::stage::Stage;
use crate::stored::Stored;
use crate::takeover::{Start, Takeover, Takeovers};
use crate::window::Memory;
use crate::writer::Writer;
use look::Look;
use stalls::{Stalls, Trouble};

/// How long the loop waits for a record when nothing else is due.
const IDLE: Duration = Duration::from_millis(100);
/// ... and while a cut is on its way.
const BUSY: Duration = Duration::from_millis(5);
/// Records taken in before anything else gets its turn.
const RECORDS_A_TURN: usize = 1000;
/// A partition that the group gave to this sink.
struct Owned {
    /// Its assignment's number: what was begun for an earlier one is not for this one.
    epoch: u64,
    /// Ends its takeover, if that is still under way.
    abandon: CancellationToken,
    /// How far its takeover is, until it is live.
    stage: Stage,
    state: State,
}

enum State {
    TakingOver,
    /// Taken over; the client has yet to be told where to begin.
    Placing(Box<Start>),
    Live {
        /// The next offset to be taken in.
        next: u64,
        memory: Box<Memory>,
        /// Under this number the partition is owned in ClickHouse.
        owner: u64,
    },
    /// Going on would skip or double something: why.
    Refused(String),
    /// The topic has no such partition any more.
    Gone,
}

type TakenOver = anyhow::Result<Vec<Takeover>>;

pub(crate) struct Pipeline {
    config: Config,
    topic: String,
    consumer: Arc<GroupConsumer>,
    writer: Writer,
    dead_letters: DeadLetters,
    takeovers: Takeovers,
    readiness: Readiness,
    runtime: Handle,

    owned: BTreeMap<u16, Owned>,
    epochs: u64,
    /// Which life of the topic was met last.
    log: u32,
    taken_over: mpsc::Receiver<TakenOver>,
    taken_over_to: mpsc::Sender<TakenOver>,
    /// Cancels every takeover under way.
    abandon: CancellationToken,
    gather: Gather,
    flight: Option<Flight>,
    /// Ends of what has landed and is not committed yet, per partition.
    landed: BTreeMap<u16, u64>,
    commit_landed_at: Instant,
    paused: bool,
    probe_at: Instant,
    /// What the client said about Kafka since it was last asked.
    suspicion: Option<String>,
    stalls: Stalls,
    look: Look,
    failing_commits: Trouble,
    failing_seeks: Trouble,
}

impl Pipeline {
    /// Joins the group. `runtime` carries the inserts.
    pub(crate) fn new(
        config: &Config,
        kafka: &infra::kafka::Config,
        clickhouse: &infra::clickhouse::Config,
        readiness: Readiness,
        runtime: Handle,
    ) -> anyhow::Result<Self> {
        let consumer = Arc::new(membership::join(kafka, config)?);
        let client = infra::clickhouse::client(clickhouse);
        let writer = Writer::new(
            client.clone(),
            &kafka.topic,
            config.insert_timeout,
            config.exactly_once,
        );
        let dead_letters = DeadLetters::new(kafka)?;
        let fences = Fences::new(client.clone(), config.insert_timeout);
        let takeovers = Takeovers {
            kafka: kafka.clone(),
            group: config.group.clone(),
            client: client.clone(),
            consumer: consumer.clone(),
            recovery: Recovery {
                reader: Reader {
                    kafka: kafka.clone(),
                    group: config.group.clone(),
                },
                stored: Stored::new(client.clone()),
                writer: writer.clone(),
                fences: fences.clone(),
                mender: Mender::new(client, fences),
                dead_letters: dead_letters.clone(),
                limits: config.cut,
                repeat_window: config.repeat_window,
            },
            readiness: readiness.clone(),
            backoff: config.retry,
            // Within a stage it may have to wait for an INSERT of somebody else.
            patience: config.insert_timeout.saturating_mul(2),
            exactly_once: config.exactly_once,
        };
        let (taken_over_to, taken_over) = mpsc::channel(64);
        readiness.unavailable("kafka", "not reached yet");
        Ok(Self {
            config: config.clone(),
            topic: kafka.topic.clone(),
            consumer,
            writer,
            dead_letters,
            takeovers,
            readiness,
            runtime,
            owned: BTreeMap::new(),
            epochs: 0,
            log: 0,
            taken_over,
            taken_over_to,
            abandon: CancellationToken::new(),
            gather: Gather::default(),
            flight: None,
            landed: BTreeMap::new(),
            commit_landed_at: Instant::now(),
            paused: false,
            probe_at: Instant::now(),
            suspicion: None,
            stalls: Stalls::default(),
            look: Look::default(),
            failing_commits: Trouble::default(),
            failing_seeks: Trouble::default(),
        })
    }

    /// Works until `shutdown`, then stores what it has within a grace period. However it ends, it
    /// leaves the group: a client dropped with the group's question unanswered would wait forever.
    pub(crate) fn run(mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let worked = self.work(shutdown);
        self.abandon.cancel();
        if worked.is_ok() {
            self.store_the_rest();
        }
        self.consumer.context().close();
        self.consumer.unsubscribe();
        worked
    }

    fn work(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        while !shutdown.is_cancelled() {
            self.poll()?;
            self.follow_the_group()?;
            self.take_over()?;
            self.advance();
            self.cut_if_due();
            self.commit_landed_if_due();
            self.look_after_kafka();
            self.look_for_stalls();
            self.look_around();
        }
        Ok(())
    }

    /// Takes records in, at most a turn's worth, and waits for the first one.
    fn poll(&mut self) -> anyhow::Result<()> {
        self.hold_back();
        let mut wait = self.wait();
        let consumer = self.consumer.clone();
        for _ in 0..RECORDS_A_TURN {
            match consumer.poll(wait) {
                None => return Ok(()),
                Some(Ok(message)) => self.accept(&message),
                Some(Err(error)) => self.judge(&error)?,
            }
            if self.gather.is_full(&self.config.cut) {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Memory is bounded by taking nothing in while a full cut waits for the one before it. A short
    /// wait is worth more than a pause, which throws away what the client has fetched.
    fn hold_back(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let is_full = self.gather.is_full(&self.config.cut);
        if is_full
            && !self.paused
            && let Some(flight) = &mut self.flight
        {
            self.runtime.block_on(flight.wait(PATIENCE));
            if !flight.has_landed() {
                self.paused = true;
                self.tell("pause", GroupConsumer::pause);
            }
        }
        if !is_full && self.paused {
            self.paused = false;
            self.tell("resume", GroupConsumer::resume);
            self.wake(self.live());
        }
    }

    fn tell(
        &self,
        what: &str,
        how: impl Fn(&GroupConsumer, &TopicPartitionList) -> rdkafka::error::KafkaResult<()>,
    ) {
        let list = self.list(self.live());
        if let Err(error) = how(&self.consumer, &list) {
            warn!("{what} the Kafka consumer: {error}");
        }
    }

    /// A partition that is resumed is not fetched before its broker's thread in the client turns
    /// round, which takes it up to a second when idle. A question to that broker wakes it.
    fn wake(&self, partitions: impl IntoIterator<Item = u16>) {
        const PATIENCE: Duration = Duration::from_millis(200);
        let mut list = self.list(partitions);
        if list.set_all_offsets(Offset::End).is_ok() {
            // What it says does not matter, nor whether it says anything.
            let _ = self.consumer.offsets_for_times(list, PATIENCE);
        }
    }

    fn live(&self) -> Vec<u16> {
        let live = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned.state, State::Live { .. }));
        live.map(|(partition, _)| *partition).collect()
    }

    fn wait(&self) -> Duration {
        let placing = |owned: &Owned| matches!(owned.state, State::Placing(_));
        if self.flight.is_some() || self.owned.values().any(placing) {
            return BUSY;
        }
        let due = self.gather.due_at(&self.config.cut);
        due.map_or(IDLE, |due| {
            due.saturating_duration_since(Instant::now()).min(IDLE)
        })
    }

    fn accept(&mut self, message: &impl Message) {
        let Some(record) = reader::record(message) else {
            return;
        };
        let partition = record.partition;
        // Whatever arrives before a partition is live is fetched again once it is.
        let Some(Owned {
            state:
                State::Live {
                    next,
                    memory,
                    owner,
                },
            ..
        }) = self.owned.get_mut(&partition)
        else {
            return;
        };
        if record.offset < *next {
            warn!(
                kafka.partition = partition,
                "partition {partition} went back from {next} to {}: finding out where it stands",
                record.offset
            );
            self.restart([partition]);
            return;
        }
        let from = std::mem::replace(next, record.offset + 1);
        if record.offset > from {
            // Compaction and transactions leave such gaps; so does a log deleted before it was read.
            metrics::counter!("weir_sink_offsets_missing_total").increment(record.offset - from);
            warn!(
                kafka.partition = partition,
                "Kafka has no records {from}..{} of partition {partition}", record.offset
            );
        }
        self.gather
            .accept(record, from, *owner, memory, Instant::now());
    }

    fn list(&self, partitions: impl IntoIterator<Item = u16>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.into());
        }
        list
    }
}
