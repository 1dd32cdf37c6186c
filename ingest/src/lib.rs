//! HTTP -> Kafka.
