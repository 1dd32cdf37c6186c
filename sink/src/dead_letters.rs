//! Records that could not be read, set aside in a topic of their own with their place and the
//! reason.

use anyhow::Context;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::gather::DeadLetter;

/// A value that the dead letters' topic refuses for its size keeps this much of its beginning.
const CUT_VALUE_BYTES: usize = 64 * 1024;

/// Writes to the topic of dead letters. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    producer: FutureProducer,
    /// Where they come from.
    topic: String,
    dead_letter_topic: String,
}

impl DeadLetters {
    pub(crate) fn new(kafka: &infra::kafka::Config) -> anyhow::Result<Self> {
        let producer = kafka
            .client("weir-sink-dead-letters")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", "10000")
            // A record that was just small enough grows by its headers.
            .set("message.max.bytes", "10000000")
            .set("queue.buffering.max.kbytes", "65536")
            .create()
            .context("create the Kafka producer of dead letters")?;
        Ok(Self {
            producer,
            topic: kafka.topic.clone(),
            dead_letter_topic: kafka.dead_letter_topic.clone(),
        })
    }

    /// Returns once all of them are safe in Kafka. Sent again after a crash, a dead letter may
    /// stand there twice, each time under the same place.
    pub(crate) async fn deliver(&self, letters: &[DeadLetter]) -> anyhow::Result<()> {
        let deliveries: Vec<_> = letters
            .iter()
            .map(|letter| (letter, self.send(letter, None)))
            .collect();
        for (letter, delivery) in deliveries {
            match delivery.await {
                Err(KafkaError::MessageProduction(
                    RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize,
                )) => self.send(letter, Some(CUT_VALUE_BYTES)).await,
                sent => sent,
            }
            .map_err(|error| {
                let context = format!(
                    "set partition {} offset {} aside in {}",
                    letter.partition, letter.offset, self.dead_letter_topic
                );
                anyhow::Error::new(error).context(context)
            })?;
        }
        Ok(())
    }

    /// Hands a letter to the client at once; the result comes with its delivery.
    fn send(
        &self,
        letter: &DeadLetter,
        cut: Option<usize>,
    ) -> impl Future<Output = Result<(), KafkaError>> + use<> {
        let partition = letter.partition.to_string();
        let offset = letter.offset.to_string();
        let mut headers = OwnedHeaders::new()
            .insert(header("topic", &self.topic))
            .insert(header("partition", &partition))
            .insert(header("offset", &offset))
            .insert(header("reason", &letter.reason));
        let mut value = letter.value.as_deref();
        if let (Some(whole), Some(cut)) = (value, cut) {
            let bytes = whole.len().to_string();
            headers = headers.insert(header("value-bytes", &bytes));
            value = Some(&whole[..whole.len().min(cut)]);
        }
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.dead_letter_topic).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = value;
        let sent = self
            .producer
            .send_result(record)
            .map_err(|(error, _)| error);
        async move {
            match sent?.await {
                Ok(delivered) => delivered.map(|_| ()).map_err(|(error, _)| error),
                Err(_) => Err(KafkaError::Canceled),
            }
        }
    }
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header {
        key,
        value: Some(value),
    }
}
