//! The sinks' consumer group as Kafka knows it: how far it is, and whether a plan is left.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

const TOPIC: &str = "events";
const GROUP: &str = "weir-sink";
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Reads the group's offsets; never a member of it. Cheap to clone.
#[derive(Clone)]
pub struct Group(Arc<BaseConsumer>);

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(GROUP)
    }
}

/// Where the group stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub partition: i32,
    /// None before the first commit.
    pub committed: Option<i64>,
    /// What stands beside the offset: a plan, or nothing.
    pub metadata: String,
    /// The next offset of the log.
    pub end: i64,
}

impl Standing {
    /// Everything is stored, and nobody has to be asked about it.
    fn is_settled(&self) -> bool {
        self.metadata.is_empty() && self.committed.unwrap_or(0) == self.end
    }
}

impl Group {
    /// # Panics
    /// If the client does not take its settings.
    #[must_use]
    pub fn of(brokers: &str) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .expect("a Kafka client");
        Self(Arc::new(consumer))
    }

    /// Asks for all partitions of the topic.
    ///
    /// # Errors
    /// While Kafka does not answer.
    pub async fn standings(&self) -> KafkaResult<Vec<Standing>> {
        let consumer = self.0.clone();
        let asked = tokio::task::spawn_blocking(move || standings(&consumer));
        asked.await.expect("a question to Kafka does not panic")
    }

    /// Waits until everything in Kafka is stored, committed, and no plan is left.
    ///
    /// # Panics
    /// If that has not come true in time.
    pub async fn settled(&self, within: Duration) {
        let give_up_at = Instant::now() + within;
        loop {
            let standings = self.standings().await;
            if let Ok(standings) = &standings
                && standings.iter().all(Standing::is_settled)
            {
                return;
            }
            assert!(
                Instant::now() < give_up_at,
                "not everything is stored and committed after {within:?}: {standings:#?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until so many brokers have found each other.
    ///
    /// # Panics
    /// If that has not come true in time.
    pub async fn brokers(&self, count: usize, within: Duration) {
        let give_up_at = Instant::now() + within;
        loop {
            let consumer = self.0.clone();
            let ask = move || consumer.fetch_metadata(None, ANSWER_WITHIN);
            let asked = tokio::task::spawn_blocking(ask).await;
            let answer = asked.expect("a question to Kafka does not panic");
            let found = answer.map(|metadata| metadata.brokers().len());
            if matches!(found, Ok(found) if found == count) {
                return;
            }
            assert!(
                Instant::now() < give_up_at,
                "{found:?} brokers of {count} after {within:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until every replica of every partition is in sync.
    ///
    /// # Panics
    /// If that has not come true in time.
    pub async fn replicated(&self, within: Duration) {
        let give_up_at = Instant::now() + within;
        loop {
            let consumer = self.0.clone();
            let asked = tokio::task::spawn_blocking(move || lagging(&consumer));
            let lagging = asked.await.expect("a question to Kafka does not panic");
            if matches!(lagging, Ok(0)) {
                return;
            }
            assert!(
                Instant::now() < give_up_at,
                "partitions with a replica out of sync after {within:?}: {lagging:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

fn standings(consumer: &BaseConsumer) -> KafkaResult<Vec<Standing>> {
    let metadata = consumer.fetch_metadata(Some(TOPIC), ANSWER_WITHIN)?;
    let partitions = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions());
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(TOPIC, partition.id());
    }
    assert!(list.count() > 0, "topic {TOPIC} has no partitions");
    let mut standings = Vec::with_capacity(list.count());
    for element in consumer.committed_offsets(list, ANSWER_WITHIN)?.elements() {
        element.error()?;
        let partition = element.partition();
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition, ANSWER_WITHIN)?;
        standings.push(Standing {
            partition,
            committed: match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            },
            metadata: element.metadata().to_owned(),
            end,
        });
    }
    Ok(standings)
}

fn lagging(consumer: &BaseConsumer) -> KafkaResult<usize> {
    let metadata = consumer.fetch_metadata(None, ANSWER_WITHIN)?;
    let partitions = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions());
    let out_of_sync = partitions.filter(|partition| {
        partition.leader() < 0 || partition.isr().len() < partition.replicas().len()
    });
    Ok(out_of_sync.count())
}
