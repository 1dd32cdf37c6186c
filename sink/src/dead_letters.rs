//! Records that could not be read, set aside in a topic of their own with their place and the
//! reason.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::gather::DeadLetter;
use crate::reader::Reading;

/// So many letters are on their way to Kafka at a time, and so many bytes of them, or one letter.
const PORTION_LETTERS: usize = 2000;
const PORTION_BYTES: usize = 1024 * 1024;
/// Kafka has this long to acknowledge a letter. Whether one that it does not acknowledge is there
/// is unknown, and it may be written twice; so this is long.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// The client holds letters of portions that failed until their time is up.
const ROOM_TIMEOUT: Duration = Duration::from_secs(60);
const ROOM_RETRY: Duration = Duration::from_millis(50);
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// Letters that others have written meanwhile are read for this long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// What a letter keeps of its key, and as much of its value: all, or, where its topic refuses it for
/// its size, so much of their beginnings. Without either it is smaller than any topic's limit ought
/// to be.
const KEPT_BYTES: [usize; 4] = [usize::MAX, 64 * 1024, 4 * 1024, 0];

/// A letter that Kafka did not take, or did not acknowledge.
#[derive(Debug, thiserror::Error)]
#[error(
    "partition {partition} offset {offset} cannot be set aside in {topic}: {reason}{}",
    advice(reason)
)]
pub(crate) struct NotSetAside {
    partition: u16,
    offset: u64,
    /// Of dead letters.
    topic: String,
    reason: KafkaError,
}

fn advice(reason: &KafkaError) -> &'static str {
    match reason.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => ". Run weir migrate, which creates the topic",
        // Without key and value it was refused too.
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            ". Raise the topic's max.message.bytes"
        }
        _ => "",
    }
}

/// Writes to the topic of dead letters, each letter once. Cheap to clone; clones share what they
/// know.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    producer: FutureProducer,
    kafka: infra::kafka::Config,
    /// Held by the portion that is on its way.
    turn: Arc<tokio::sync::Mutex<()>>,
    delivered: Arc<Mutex<Delivered>>,
}

/// Letters that Kafka has acknowledged, and whose records are not in the ledger yet: their cut may
/// be made again.
#[derive(Debug, Default)]
struct Delivered {
    /// Of this life of the topic.
    log: u32,
    offsets: BTreeMap<u16, BTreeSet<u64>>,
}

impl Delivered {
    fn add(&mut self, log: u32, letter: &DeadLetter) {
        if self.log != log {
            *self = Self {
                log,
                ..Self::default()
            };
        }
        let offsets = self.offsets.entry(letter.partition).or_default();
        offsets.insert(letter.offset);
    }

    fn has(&self, log: u32, letter: &DeadLetter) -> bool {
        let offsets = self.offsets.get(&letter.partition);
        self.log == log && offsets.is_some_and(|offsets| offsets.contains(&letter.offset))
    }

    fn forget(&mut self, partition: u16, below: u64) {
        if let Some(offsets) = self.offsets.get_mut(&partition) {
            *offsets = offsets.split_off(&below);
            if offsets.is_empty() {
                self.offsets.remove(&partition);
            }
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(kafka: &infra::kafka::Config) -> anyhow::Result<Self> {
        let producer = kafka
            .client("weir-sink-dead-letters")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set(
                "message.timeout.ms",
                DELIVERY_TIMEOUT.as_millis().to_string(),
            )
            // A record that was just small enough grows by its headers.
            .set("message.max.bytes", "10000000")
            // Its topic refuses a batch for its size as a whole, so small letters share small ones.
            .set("batch.size", "65536")
            .set("queue.buffering.max.kbytes", "65536")
            .create()
            .context("create the Kafka producer of dead letters")?;
        Ok(Self {
            producer,
            kafka: kafka.clone(),
            turn: Arc::default(),
            delivered: Arc::default(),
        })
    }

    /// Returns once all of them are safe in Kafka. Those that this process knows to be there, from
    /// an earlier attempt at their cut, are not written again.
    pub(crate) async fn deliver(&self, log: u32, letters: Arc<[DeadLetter]>) -> anyhow::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let (this, given_up) = (self.clone(), CancellationToken::new());
        let _given_up_with_this = given_up.clone().drop_guard();
        // Beside the caller, who may stop to wait at any moment: a portion that was begun is waited
        // for, and the next attempt knows what came of it.
        let delivered = tokio::spawn(async move {
            let mut rest = &letters[..];
            while !rest.is_empty() && !given_up.is_cancelled() {
                let (portion, after) = rest.split_at(portion(rest));
                this.deliver_portion(log, portion).await?;
                rest = after;
            }
            Ok(())
        });
        delivered.await.context("set dead letters aside")?
    }

    /// Looks which of these letters another sink has written since `since`, in milliseconds since
    /// 1970, and did not live to enter into the ledger. What cannot be found out in time is written
    /// once more.
    pub(crate) async fn recall(&self, log: u32, letters: &[DeadLetter], since: i64) {
        let mut wanted: HashSet<(u16, u64)> = HashSet::new();
        {
            let delivered = self.delivered();
            let missing = letters.iter().filter(|letter| !delivered.has(log, letter));
            wanted.extend(missing.map(|letter| (letter.partition, letter.offset)));
        }
        if wanted.is_empty() {
            return;
        }
        let kafka = self.kafka.clone();
        let look = move || {
            let mut found = HashSet::new();
            let looked = look(&kafka, log, &wanted, since, &mut found);
            (found, looked)
        };
        let (found, looked) = match tokio::task::spawn_blocking(look).await {
            Ok(looked) => looked,
            Err(error) => (HashSet::new(), Err(error.into())),
        };
        if let Err(error) = looked {
            warn!(
                "cannot find out which dead letters of a planned cut are in {}, some may be written once more: {error:#}",
                self.kafka.dead_letter_topic
            );
        }
        let mut delivered = self.delivered();
        for letter in letters {
            if found.contains(&(letter.partition, letter.offset)) {
                delivered.add(log, letter);
            }
        }
    }

    /// The ledger says what became of the records of a partition up to there: no letter of them will
    /// be asked for again.
    pub(crate) fn forget(&self, partition: u16, below: u64) {
        self.delivered().forget(partition, below);
    }

    async fn deliver_portion(&self, log: u32, letters: &[DeadLetter]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let mut missing: Vec<&DeadLetter> = letters.iter().collect();
        {
            let delivered = self.delivered();
            missing.retain(|letter| !delivered.has(log, letter));
        }
        let mut on_their_way = Vec::with_capacity(missing.len());
        for letter in missing {
            on_their_way.push((letter, self.send(log, letter, usize::MAX).await));
        }
        // All of them, whatever comes of the first: what is there is not sent again.
        let mut outcomes = Vec::with_capacity(on_their_way.len());
        for (letter, sent) in on_their_way {
            outcomes.push((letter, outcome(sent).await));
        }
        let mut failed = None;
        for (letter, mut outcome_of_it) in outcomes {
            // It may have been refused for its neighbours in a batch, so first as it is.
            for kept in KEPT_BYTES {
                if !is_of_its_size(&outcome_of_it) {
                    break;
                }
                outcome_of_it = outcome(self.send(log, letter, kept).await).await;
            }
            match outcome_of_it {
                Ok(()) => self.delivered().add(log, letter),
                Err(error) => {
                    failed.get_or_insert((letter, error));
                }
            }
        }
        let Some((letter, error)) = failed else {
            return Ok(());
        };
        metrics::counter!("weir_sink_dead_letter_failures_total").increment(1);
        Err(NotSetAside {
            partition: letter.partition,
            offset: letter.offset,
            topic: self.kafka.dead_letter_topic.clone(),
            reason: error,
        }
        .into())
    }

    fn delivered(&self) -> MutexGuard<'_, Delivered> {
        // Whole at every step, so a poisoned one is still right.
        self.delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a letter to the client, as soon as that has room, with at most `kept` bytes of its key
    /// and as many of its value.
    async fn send(
        &self,
        log: u32,
        letter: &DeadLetter,
        kept: usize,
    ) -> Result<DeliveryFuture, KafkaError> {
        let partition = letter.partition.to_string();
        let offset = letter.offset.to_string();
        let mut headers = OwnedHeaders::new()
            .insert(header("topic", &self.kafka.topic))
            .insert(header("partition", &partition))
            .insert(header("offset", &offset))
            .insert(header("reason", &letter.reason))
            .insert(header("log", &log.to_string()));
        let (mut key, mut value) = (letter.key.as_deref(), letter.value.as_deref());
        let is_cut = |body: &Option<&[u8]>| body.is_some_and(|body| body.len() > kept);
        if is_cut(&key) || is_cut(&value) {
            // Their sizes in the record, whichever of them was cut.
            for (name, body) in [("key-bytes", &mut key), ("value-bytes", &mut value)] {
                let Some(whole) = *body else { continue };
                headers = headers.insert(header(name, &whole.len().to_string()));
                *body = Some(&whole[..whole.len().min(kept)]);
            }
        }
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.kafka.dead_letter_topic).headers(headers);
        record.key = key;
        record.payload = value;
        let deadline = Instant::now() + ROOM_TIMEOUT;
        loop {
            match self.producer.send_result(record) {
                Ok(sent) => return Ok(sent),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), not_taken))
                    if Instant::now() < deadline =>
                {
                    record = not_taken;
                    tokio::time::sleep(ROOM_RETRY).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

/// Adds to `found` those of `wanted`, by partition and offset, that the topic of dead letters has
/// got since then.
fn look(
    kafka: &infra::kafka::Config,
    log: u32,
    wanted: &HashSet<(u16, u64)>,
    since: i64,
    found: &mut HashSet<(u16, u64)>,
) -> anyhow::Result<()> {
    let consumer: BaseConsumer<Reading> = kafka
        .client("weir-sink-dead-letters")
        // Named because the client wants a name; it neither joins nor commits.
        .set("group.id", "weir-sink-dead-letters")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("socket.timeout.ms", "10000")
        .create_with_context(Reading)?;
    let topic = &kafka.dead_letter_topic;
    let metadata = consumer.fetch_metadata(Some(topic), KAFKA_TIMEOUT)?;
    let mut times = TopicPartitionList::new();
    for partition in metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
    {
        times.add_partition_offset(topic, partition.id(), Offset::Offset(since))?;
    }
    let begins = consumer.offsets_for_times(times, KAFKA_TIMEOUT)?;
    let mut open = BTreeSet::new();
    let mut list = TopicPartitionList::new();
    for begin in begins.elements() {
        // Without an offset nothing was written since.
        if let Offset::Offset(_) = begin.offset() {
            open.insert(begin.partition());
            list.add_partition_offset(topic, begin.partition(), begin.offset())?;
        }
    }
    consumer.assign(&list)?;
    let deadline = Instant::now() + LOOK_TIMEOUT;
    while !open.is_empty() && found.len() < wanted.len() {
        if Instant::now() > deadline {
            bail!("it was not read to its end within {LOOK_TIMEOUT:?}");
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let written = place(&message, &kafka.topic, log);
                found.extend(written.filter(|written| wanted.contains(written)));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Partition and offset of the record that a letter is about, if that is of this life of this topic.
fn place(letter: &impl Message, topic: &str, log: u32) -> Option<(u16, u64)> {
    let headers = letter.headers()?;
    let text = |name: &str| {
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let is_of_this_log = text("topic")? == topic && text("log")?.parse() == Ok(log);
    is_of_this_log.then_some((
        text("partition")?.parse().ok()?,
        text("offset")?.parse().ok()?,
    ))
}

/// How many of the first letters go to Kafka together.
fn portion(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let fits = |letter: &&DeadLetter| {
        let bodies = [&letter.key, &letter.value].into_iter().flatten();
        bytes += bodies.map(Vec::len).sum::<usize>();
        bytes <= PORTION_BYTES
    };
    let fitting = letters.iter().take(PORTION_LETTERS).take_while(fits);
    fitting.count().max(1)
}

async fn outcome(sent: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    match sent?.await {
        Ok(delivered) => delivered.map(|_| ()).map_err(|(error, _)| error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

fn is_of_its_size(sent: &Result<(), KafkaError>) -> bool {
    matches!(
        sent,
        Err(KafkaError::MessageProduction(
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize,
        ))
    )
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header {
        key,
        value: Some(value),
    }
}
