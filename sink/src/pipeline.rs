//! The loop: records in, cuts planned, inserted and finished, partitions taken over and given up.
//!
//! It runs on a thread of its own, because the Kafka client must be polled whatever happens and
//! its commits block. All decisions are made on this thread; only inserts and takeovers run beside
//! it, and both may be abandoned at any moment: their tokens make them harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use infra::http::Readiness;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::config::Config;
use crate::dead_letters::DeadLetters;
use crate::flight::{Flight, Progress};
use crate::gather::Gather;
use crate::membership::{self, Change, GroupConsumer, Position};
use crate::recovery::{self, Outcome, Recovery, Start, Takeover};
use crate::window::Window;
use crate::writer::Writer;

/// How long the loop waits for a record when nothing else is due.
const IDLE: Duration = Duration::from_millis(100);
/// ... and while a cut is on its way.
const BUSY: Duration = Duration::from_millis(5);
/// Records taken in before anything else gets its turn.
const RECORDS_A_TURN: usize = 1000;
/// A partition asked back waits this long for the cut it is part of.
const REVOKE_GRACE: Duration = Duration::from_secs(5);
/// What was gathered at shutdown is given this long to be stored; Kafka keeps the rest.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// A plan this old is committed again before its INSERT: the group answers whether this member may
/// still insert. Far below the time in which a deduplication window passes.
const PLAN_AGE_MAX: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// A partition that the group gave to this sink.
struct Owned {
    /// Its assignment's number: what was begun for an earlier one is not for this one.
    epoch: u64,
    state: State,
}

enum State {
    TakingOver,
    /// Taken over; the client has yet to be told where to begin.
    Placing(Start),
    Live {
        /// The next offset to be taken in.
        next: u64,
        window: Window,
    },
    /// Its plan cannot be followed.
    Refused,
}

type TakenOver = anyhow::Result<Vec<Takeover>>;

pub(crate) struct Pipeline {
    config: Config,
    topic: String,
    consumer: Arc<GroupConsumer>,
    writer: Writer,
    dead_letters: DeadLetters,
    recovery: Recovery,
    readiness: Readiness,
    runtime: Handle,

    owned: BTreeMap<u16, Owned>,
    epochs: u64,
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
        let writer = Writer::new(clickhouse, &kafka.topic, config.insert_timeout);
        let dead_letters = DeadLetters::new(kafka)?;
        let recovery = Recovery {
            kafka: kafka.clone(),
            group: config.group.clone(),
            consumer: consumer.clone(),
            writer: writer.clone(),
            dead_letters: dead_letters.clone(),
            readiness: readiness.clone(),
            backoff: config.retry,
            repeat_window: config.repeat_window,
        };
        let (taken_over_to, taken_over) = mpsc::channel(64);
        readiness.unavailable("kafka", "not reached yet");
        Ok(Self {
            config: config.clone(),
            topic: kafka.topic.clone(),
            consumer,
            writer,
            dead_letters,
            recovery,
            readiness,
            runtime,
            owned: BTreeMap::new(),
            epochs: 0,
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
        for partition in partitions {
            let asked = self
                .consumer
                .fetch_watermarks(&self.topic, partition.into(), PATIENCE);
            if asked.is_err() {
                return;
            }
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
        let Some(record) = recovery::record(message) else {
            return;
        };
        let partition = record.partition;
        // Whatever arrives before a partition is live is fetched again once it is.
        let Some(Owned {
            state: State::Live { next, window },
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
        self.gather.accept(record, from, window, Instant::now());
    }

    fn judge(&mut self, error: &KafkaError) -> anyhow::Result<()> {
        let code = error.rdkafka_error_code();
        if let KafkaError::MessageConsumptionFatal(_) = error {
            bail!("read from Kafka: {error}");
        }
        let reason = match code {
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                "Kafka cannot be reached".to_owned()
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => format!("there is no topic {}: run weir migrate", self.topic),
            _ => {
                warn!("read from Kafka: {error}");
                return Ok(());
            }
        };
        // The client may tell of an outage after it has ended, so Kafka itself is asked.
        self.suspicion = Some(reason);
        Ok(())
    }

    /// Does what the group asks for, and only then tells it so.
    fn follow_the_group(&mut self) -> anyhow::Result<()> {
        while let Some(change) = self.consumer.context().next_change() {
            match change {
                Change::Assign(list) => {
                    self.consumer
                        .incremental_assign(&list)
                        .context("take partitions that the group assigned")?;
                    // Before the next poll, so nothing of them is delivered yet.
                    self.consumer
                        .pause(&list)
                        .context("pause partitions until they are taken over")?;
                    let partitions = partitions(&list);
                    info!("taking over partitions {partitions:?}");
                    self.begin_takeover(partitions);
                }
                Change::Revoke(list) => {
                    self.give_up(&partitions(&list));
                    self.consumer
                        .incremental_unassign(&list)
                        .context("give up partitions that the group took back")?;
                }
            }
        }
        Ok(())
    }

    fn begin_takeover(&mut self, partitions: impl IntoIterator<Item = u16>) {
        let mut epochs = BTreeMap::new();
        for partition in partitions {
            self.epochs += 1;
            epochs.insert(partition, self.epochs);
            let owned = Owned {
                epoch: self.epochs,
                state: State::TakingOver,
            };
            self.owned.insert(partition, owned);
        }
        if epochs.is_empty() {
            return;
        }
        let recovery = self.recovery.clone();
        let (results, abandon) = (self.taken_over_to.clone(), self.abandon.clone());
        // Owned by this loop: it ends with `abandon`, and its result counts only for its epochs.
        self.runtime.spawn(async move {
            let taken = recovery.take_over(epochs, abandon).await;
            let _ = results.send(taken).await;
        });
    }

    /// Forgets what is in memory of partitions that stay, and takes them over anew.
    fn restart(&mut self, partitions: impl IntoIterator<Item = u16>) {
        let partitions: Vec<u16> = partitions
            .into_iter()
            .filter(|partition| self.owned.contains_key(partition))
            .collect();
        for partition in &partitions {
            self.gather.forget(*partition);
            self.landed.remove(partition);
        }
        let list = self.list(partitions.iter().copied());
        if let Err(error) = self.consumer.pause(&list) {
            warn!("pause partitions {partitions:?}: {error}");
        }
        self.begin_takeover(partitions);
    }

    /// Finishes what can be finished of partitions the group takes back, and forgets the rest: it
    /// stands in Kafka, and a planned cut will be followed by whoever comes next.
    fn give_up(&mut self, partitions: &[u16]) {
        let lost = self.consumer.assignment_lost();
        info!(
            "giving up partitions {partitions:?}{}",
            if lost { ", which were lost" } else { "" }
        );
        let concerns = |flight: &Flight| {
            flight
                .ranges()
                .iter()
                .any(|r| partitions.contains(&r.partition))
        };
        if !lost && self.flight.as_ref().is_some_and(concerns) {
            if let Some(flight) = &mut self.flight {
                self.runtime.block_on(flight.wait(REVOKE_GRACE));
            }
            self.advance_landed();
        }
        if !lost
            && partitions
                .iter()
                .any(|partition| self.landed.contains_key(partition))
        {
            self.commit_landed();
        }
        for partition in partitions {
            self.owned.remove(partition);
            self.gather.forget(*partition);
            self.landed.remove(partition);
        }
        // Without its plan a cut must be made anew, from the partitions that are left. A planned
        // one may go on: its token is the same wherever it is inserted from.
        if let Some(flight) = self
            .flight
            .take_if(|flight| concerns(flight) && !flight.is_planned())
        {
            self.restart(flight.ranges().iter().map(|range| range.partition));
        }
    }

    /// Adopts partitions whose takeover is done, and tells the client where to begin in them.
    fn take_over(&mut self) -> anyhow::Result<()> {
        while let Ok(takeovers) = self.taken_over.try_recv() {
            for takeover in takeovers? {
                let Takeover {
                    epoch,
                    partition,
                    outcome,
                } = takeover;
                let Some(owned) = self
                    .owned
                    .get_mut(&partition)
                    .filter(|owned| owned.epoch == epoch)
                else {
                    continue;
                };
                owned.state = match outcome {
                    Outcome::Ready(start) => State::Placing(start),
                    Outcome::Refused(reason) => {
                        error!(kafka.partition = partition, "{reason}");
                        self.readiness.unavailable("plan", reason);
                        State::Refused
                    }
                };
            }
        }
        let placing: Vec<u16> = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned.state, State::Placing(_)))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in placing {
            self.place(partition);
        }
        Ok(())
    }

    fn place(&mut self, partition: u16) {
        let Some(owned) = self.owned.get_mut(&partition) else {
            return;
        };
        let State::Placing(start) = &owned.state else {
            return;
        };
        let offset = Offset::Offset(start.offset.cast_signed());
        let sought = self.consumer.seek(
            &self.topic,
            partition.into(),
            offset,
            Duration::from_secs(1),
        );
        if let Err(error) = sought {
            // Until the client has begun to fetch an assigned partition it cannot seek in it.
            tracing::debug!(kafka.partition = partition, "seek, trying again: {error}");
            return;
        }
        let State::Placing(start) = std::mem::replace(&mut owned.state, State::TakingOver) else {
            return;
        };
        if start.recovered {
            if self.landed.is_empty() {
                self.commit_landed_at = Instant::now();
            }
            self.landed.insert(partition, start.offset);
        }
        owned.state = State::Live {
            next: start.offset,
            window: start.window,
        };
        if !self.paused {
            let list = self.list([partition]);
            if let Err(error) = self.consumer.resume(&list) {
                warn!(
                    kafka.partition = partition,
                    "resume partition {partition}: {error}"
                );
            }
            self.wake([partition]);
        }
    }

    /// Moves the cut under way a step further.
    fn advance(&mut self) {
        self.advance_landed();
        let now = Instant::now();
        let Some(flight) = &mut self.flight else {
            return;
        };
        if !flight.is_ready(now) {
            return;
        }
        if flight.needs_plan(now, PLAN_AGE_MAX) {
            // Never for a partition that was given up, even if it came back since: its new
            // assignment has read the plan and follows it.
            let owned = |partition: u16| self.owned.get(&partition).map(|owned| owned.epoch);
            let metadata = flight.plan();
            let mut positions: BTreeMap<u16, Position> = flight
                .ranges_with_epochs()
                .filter(|(range, epoch)| owned(range.partition) == Some(*epoch))
                .map(|(range, _)| {
                    let metadata = metadata.clone();
                    (
                        range.partition,
                        Position::new(range.partition, range.from, metadata),
                    )
                })
                .collect();
            if positions.is_empty() {
                self.flight = None;
                return;
            }
            // One commit a cut: the ends of the one before ride along.
            for (&partition, &end) in &self.landed {
                positions
                    .entry(partition)
                    .or_insert_with(|| Position::new(partition, end, String::new()));
            }
            let positions: Vec<Position> = positions.into_values().collect();
            if let Err(error) = membership::commit(&self.consumer, &self.topic, &positions) {
                metrics::counter!("weir_sink_commit_failures_total").increment(1);
                tracing::debug!("commit a plan, trying again: {error}");
                // A member of an old generation ends up here until it learns that its partitions
                // are gone; an unreachable broker until it is back.
                if let Some(flight) = &mut self.flight {
                    flight.postpone(now + COMMIT_RETRY);
                }
                return;
            }
            self.landed.clear();
            if let Some(flight) = &mut self.flight {
                flight.planned(Instant::now());
            }
        }
        if let Some(flight) = &mut self.flight {
            flight.begin(
                &self.runtime,
                self.writer.clone(),
                self.dead_letters.clone(),
            );
        }
    }

    /// Looks whether the cut under way has landed.
    fn advance_landed(&mut self) {
        let Some(flight) = &mut self.flight else {
            return;
        };
        match flight.progress() {
            Progress::UnderWay => {}
            Progress::Failed(error) => {
                let wait = flight.failed(&self.config.retry);
                let reason = format!("{error:#}");
                if self.readiness.unavailable("clickhouse", &reason) {
                    warn!(
                        retry_ms = wait.as_millis(),
                        "a cut could not be stored, trying until it is: {reason}"
                    );
                }
            }
            Progress::Landed => {
                if self.readiness.available("clickhouse") {
                    info!("cuts are stored again");
                }
                flight.count();
                if self.landed.is_empty() {
                    self.commit_landed_at = Instant::now() + 2 * self.config.cut.age_max;
                }
                for (range, epoch) in flight.ranges_with_epochs() {
                    // Never for a partition that was given up, even if it came back since.
                    if self
                        .owned
                        .get(&range.partition)
                        .is_some_and(|owned| owned.epoch == epoch)
                    {
                        self.landed.insert(range.partition, range.to);
                    }
                }
                self.flight = None;
            }
        }
    }

    fn cut_if_due(&mut self) {
        if self.flight.is_none() && self.gather.is_due(&self.config.cut, Instant::now()) {
            self.cut();
            self.advance();
        }
    }

    fn cut(&mut self) {
        let cut = self.gather.cut(Uuid::new_v4(), self.config.repeat_window);
        let epoch = |partition: u16| Some((partition, self.owned.get(&partition)?.epoch));
        let ranges = &cut.plan.ranges;
        let epochs = ranges.iter().filter_map(|range| epoch(range.partition));
        let epochs = epochs.collect();
        self.flight = Some(Flight::new(cut, epochs));
    }

    /// Commits ends that no plan took along.
    fn commit_landed_if_due(&mut self) {
        if !self.landed.is_empty()
            && self.flight.is_none()
            && Instant::now() >= self.commit_landed_at
        {
            self.commit_landed();
        }
    }

    fn commit_landed(&mut self) {
        let positions: Vec<Position> = self
            .landed
            .iter()
            .map(|(&partition, &end)| Position::new(partition, end, String::new()))
            .collect();
        match membership::commit(&self.consumer, &self.topic, &positions) {
            Ok(()) => self.landed.clear(),
            Err(error) => {
                // Nothing is lost: the plan still stands, and following it again changes nothing.
                metrics::counter!("weir_sink_commit_failures_total").increment(1);
                tracing::debug!("commit the ends of a cut, trying again: {error}");
                self.commit_landed_at = Instant::now() + COMMIT_RETRY;
            }
        }
    }

    /// Whether Kafka can be reached, and how far behind it the sink is.
    fn look_after_kafka(&mut self) {
        let now = Instant::now();
        if now < self.probe_at {
            return;
        }
        self.probe_at = now + PROBE_EVERY;
        for (partition, end) in self.consumer.context().ends() {
            if let Some(Owned {
                state: State::Live { next, .. },
                ..
            }) = self.owned.get(&partition)
            {
                metrics::gauge!("weir_sink_lag_records", "partition" => partition.to_string())
                    .set(end.saturating_sub(*next) as f64);
            }
        }
        if self.suspicion.is_none() && self.readiness.is_ready() {
            return;
        }
        let answer = self
            .consumer
            .fetch_metadata(Some(&self.topic), Duration::from_millis(500));
        let is_there = answer.is_ok_and(|metadata| {
            let mut topics = metadata.topics().iter();
            topics.any(|topic| topic.error().is_none() && !topic.partitions().is_empty())
        });
        let suspicion = self.suspicion.take();
        if is_there {
            if self.readiness.available("kafka") {
                info!("Kafka can be reached");
            }
        } else if let Some(reason) = suspicion
            && self.readiness.unavailable("kafka", &reason)
        {
            warn!("waiting for Kafka: {reason}");
        }
    }

    /// Stores what was gathered, as far as the grace period allows; Kafka keeps the rest.
    fn store_the_rest(&mut self) {
        let deadline = Instant::now() + SHUTDOWN_GRACE;
        while Instant::now() < deadline {
            if self.flight.is_none() && !self.gather.is_empty() {
                self.cut();
            }
            self.advance();
            match &mut self.flight {
                None => break,
                // Tried once: what is planned will be followed at the next start.
                Some(flight) if flight.has_failed() => break,
                Some(flight) if flight.is_under_way() => self.runtime.block_on(flight.wait(BUSY)),
                Some(_) => std::thread::sleep(BUSY),
            }
        }
        if !self.landed.is_empty() {
            self.commit_landed();
        }
    }

    fn list(&self, partitions: impl IntoIterator<Item = u16>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.into());
        }
        list
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<u16> {
    list.elements()
        .iter()
        .filter_map(|element| u16::try_from(element.partition()).ok())
        .collect()
}
