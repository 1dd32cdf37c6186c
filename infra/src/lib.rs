//! What every service runs on: configuration, telemetry, shutdown, HTTP, Kafka, ClickHouse.
