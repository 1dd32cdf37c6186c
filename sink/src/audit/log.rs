//! Where Kafka and the sink's group stand. Asks without joining the group.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use crate::plan::{Plan, Range};

const TIMEOUT: Duration = Duration::from_secs(15);

/// One partition as Kafka has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// First offset that is there.
    pub(super) from: u64,
    /// First offset that is not there yet.
    pub(super) to: u64,
    /// Where the group stands; None where it never committed, or was forgotten.
    pub(super) committed: Option<u64>,
    /// The cut that is on its way from there on.
    pub(super) plan: Option<Range>,
}

/// The topic's present life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) id: u32,
    pub(super) partitions: BTreeMap<u16, Position>,
}

/// Asks for all of it.
pub(super) async fn ask(kafka: &infra::kafka::Config, group: &str) -> anyhow::Result<Log> {
    let id = infra::kafka::log_id(kafka).await?;
    let (config, group) = (kafka.clone(), group.to_owned());
    let partitions = tokio::task::spawn_blocking(move || positions(&config, &group, id))
        .await
        .context("ask Kafka")?
        .with_context(|| format!("ask Kafka at {} for offsets", kafka.brokers))?;
    Ok(Log { id, partitions })
}

fn positions(
    kafka: &infra::kafka::Config,
    group: &str,
    log: u32,
) -> anyhow::Result<BTreeMap<u16, Position>> {
    let topic = &kafka.topic;
    let consumer: BaseConsumer = kafka
        .client("weir-audit")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .context("create a Kafka consumer")?;
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .with_context(|| format!("look at topic {topic}"))?;
    let partitions = metadata.topics().iter().find(|t| t.name() == topic);
    let Some(partitions) = partitions.map(|topic| topic.partitions()) else {
        bail!("there is no topic {topic}: run weir migrate");
    };
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, partition.id());
    }
    // First: what was committed by now must be in the ledger that is read afterwards.
    let committed = consumer
        .committed_offsets(list, TIMEOUT)
        .with_context(|| format!("read the offsets of group {group}"))?;
    let mut positions = BTreeMap::new();
    for element in committed.elements() {
        let partition = u16::try_from(element.partition()).context("a partition's number")?;
        element
            .error()
            .with_context(|| format!("read the offset of group {group} in {partition}"))?;
        let (from, to) = consumer
            .fetch_watermarks(topic, element.partition(), TIMEOUT)
            .with_context(|| format!("ask where partition {partition} begins and ends"))?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(u64::try_from(offset).context("an offset")?),
            _ => None,
        };
        let plan = Plan::parse(&metadata_of(&element), partition).ok();
        let plan = plan.filter(|plan| plan.log == log);
        let position = Position {
            from: u64::try_from(from).context("an offset")?,
            to: u64::try_from(to).context("an offset")?,
            committed,
            plan: plan.map(|plan| plan.range),
        };
        positions.insert(partition, position);
    }
    Ok(positions)
}

/// Metadata as text. The client panics on bytes that are not UTF-8; such are simply no plan.
fn metadata_of(element: &TopicPartitionListElem<'_>) -> String {
    let read = AssertUnwindSafe(|| element.metadata().to_owned());
    std::panic::catch_unwind(read).unwrap_or_default()
}
