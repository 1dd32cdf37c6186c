//! Kafka -> ClickHouse.
