//! Whether Kafka can be reached, how far behind it the sink is, and how far it remembers.

use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{info, warn};

use super::{Owned, Pipeline, State};
use crate::window::Window;

const PROBE_EVERY: Duration = Duration::from_secs(2);

impl Pipeline {
    /// Whether Kafka can be reached, and how far behind it the sink is.
    pub(super) fn look_after_kafka(&mut self) {
        let now = Instant::now();
        if now < self.probe_at {
            return;
        }
        self.probe_at = now + PROBE_EVERY;
        self.tell_of_memories();
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

    /// How far back repeats are told, at the rate of late: of the partition that forgets first.
    pub(super) fn tell_of_memories(&self) {
        let memories = || {
            self.owned.values().filter_map(|owned| match &owned.state {
                State::Live { memory, .. } => Some(memory),
                _ => None,
            })
        };
        let tell = |kind: &'static str, windows: Vec<&Window>| {
            let hours = windows.iter().filter_map(|window| window.hours());
            let hours = hours.fold(f64::INFINITY, f64::min);
            metrics::gauge!("weir_sink_repeat_window_hours", "kind" => kind).set(hours);
            let ids: usize = windows.iter().map(|window| window.len()).sum();
            metrics::gauge!("weir_sink_repeat_window_ids", "kind" => kind).set(ids as f64);
        };
        tell(
            "event_ids",
            memories().map(|memory| &memory.events).collect(),
        );
        tell(
            "batch_ids",
            memories().map(|memory| &memory.batches).collect(),
        );
    }

    pub(super) fn judge(&mut self, error: &KafkaError) -> anyhow::Result<()> {
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
}
