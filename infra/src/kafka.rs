//! Reaching Kafka: the `kafka` section, client settings, topics.

mod log_id;
mod settings;
mod wakeup;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};

use crate::config::Secret;

pub use log_id::log_id;
pub use settings::ClientSettings;
pub use wakeup::{Queue, Wakeup};

/// Where Kafka is and what weir calls its topics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Events on their way.
    pub topic: String,
    /// Records that could not be read, each with its place and the reason.
    pub dead_letter_topic: String,
    /// Partitions of a topic that `weir migrate` creates. An existing topic keeps its own.
    pub partitions: u16,
    /// Replicas of a topic that `weir migrate` creates; -1 leaves it to the brokers' default.
    pub replication: i32,
    /// Any further librdkafka setting: `security.protocol`, `sasl.username`, ...
    pub properties: BTreeMap<String, Secret>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic: "events".to_owned(),
            dead_letter_topic: "events.dlq".to_owned(),
            partitions: 8,
            replication: -1,
            properties: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Settings every client shares. `client_id` is what brokers show in their logs.
    #[must_use]
    pub fn client(&self, client_id: &str) -> ClientSettings {
        let mut client = ClientSettings::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id);
        for (key, value) in &self.properties {
            client.set(key, value.expose());
        }
        client
    }
}

const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates both topics; one that exists is left as it is.
///
/// # Errors
/// If Kafka cannot be reached or refuses.
pub async fn create_topics(config: &Config) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config
        .client("weir-migrate")
        .create()
        .context("create a Kafka admin client")?;
    let replication = || TopicReplication::Fixed(config.replication);
    let topics = [
        NewTopic::new(&config.topic, config.partitions.into(), replication()),
        NewTopic::new(&config.dead_letter_topic, 1, replication()),
    ];
    let options = AdminOptions::new()
        .request_timeout(Some(ADMIN_TIMEOUT))
        .operation_timeout(Some(ADMIN_TIMEOUT));
    let created = admin
        .create_topics(&topics, &options)
        .await
        .with_context(|| format!("create topics at {}", config.brokers))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => bail!("create topic {topic} at {}: {code}", config.brokers),
        }
    }
    Ok(())
}
