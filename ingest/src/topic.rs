//! What is known of the topic: its partitions, and whether events can be sent to it now. Asked at
//! the start and again and again, because Kafka comes and goes and topics grow.

use std::sync::Arc;
use std::time::Duration;

use infra::http::Readiness;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::publisher::SharedProducer;

const ASK_EVERY: Duration = Duration::from_secs(5);
/// While something stands in the way.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The topic as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topic {
    Usable {
        partitions: u32,
        /// Those that have a leader now; never empty.
        led: Arc<[u32]>,
    },
    /// Why not, for the client and for `/ready`.
    Unusable(Arc<str>),
}

impl Topic {
    pub(crate) fn not_asked_yet() -> Self {
        Self::Unusable("Kafka has not answered yet".into())
    }
}

/// Keeps [`Topic`] up to date.
pub(crate) struct Watcher {
    pub(crate) name: Arc<str>,
    pub(crate) brokers: String,
    pub(crate) producer: SharedProducer,
    /// Somebody has reason to think that things have changed.
    pub(crate) doubted: Arc<Notify>,
    pub(crate) seen: watch::Sender<Topic>,
    pub(crate) readiness: Readiness,
}

impl Watcher {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        loop {
            let topic = self.ask().await;
            self.tell(topic);
            let usable = matches!(*self.seen.borrow(), Topic::Usable { .. });
            let pause = if usable { ASK_EVERY } else { ASK_AGAIN_AFTER };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                // A doubt is worth a question at once only where all seemed well.
                () = self.doubted.notified(), if usable => {}
            }
        }
    }

    async fn ask(&self) -> Topic {
        let (producer, name) = (self.producer.current(), self.name.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = producer
                .client()
                .fetch_metadata(Some(&name), ANSWER_WITHIN)?;
            let Some(topic) = metadata
                .topics()
                .iter()
                .find(|topic| topic.name() == &*name)
            else {
                return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic));
            };
            if let Some(error) = topic.error() {
                return Err(KafkaError::MetadataFetch(error.into()));
            }
            let led = topic
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .filter_map(|partition| u32::try_from(partition.id()).ok())
                .collect::<Arc<[u32]>>();
            Ok((topic.partitions().len(), led))
        })
        .await;
        let unusable = |reason: String| Topic::Unusable(reason.into());
        match asked {
            Ok(Ok((0, _))) => unusable(self.missing()),
            Ok(Ok((_, led))) if led.is_empty() => {
                unusable(format!("no partition of topic {} has a leader", self.name))
            }
            Ok(Ok((partitions, led))) => Topic::Usable {
                partitions: u32::try_from(partitions).expect("Kafka counts partitions in 31 bits"),
                led,
            },
            Ok(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition,
                ) => unusable(self.missing()),
                Some(code) => {
                    unusable(format!("Kafka at {} does not answer: {code}", self.brokers))
                }
                None => unusable(format!(
                    "Kafka at {} does not answer: {error}",
                    self.brokers
                )),
            },
            Err(_) => unusable("the question to Kafka was cut off".to_owned()),
        }
    }

    fn missing(&self) -> String {
        format!(
            "topic {} does not exist at {}: run `weir migrate`",
            self.name, self.brokers
        )
    }

    fn tell(&self, topic: Topic) {
        match &topic {
            Topic::Usable { partitions, .. } => {
                if self.readiness.available("kafka") {
                    info!(
                        kafka.partitions = partitions,
                        "topic {} can be used, {partitions} partitions", self.name
                    );
                }
            }
            Topic::Unusable(reason) => {
                if self.readiness.unavailable("kafka", &**reason) {
                    warn!("events are refused: {reason}");
                }
            }
        }
        self.seen.send_if_modified(|seen| {
            let changed = *seen != topic;
            *seen = topic;
            changed
        });
    }
}
