//! What every service runs on: configuration, telemetry, shutdown, HTTP, Kafka, ClickHouse.
//! Knows nothing about events.

pub mod clickhouse;
pub mod config;
pub mod http;
pub mod kafka;
pub mod keys;
pub mod retry;
pub mod shutdown;
pub mod telemetry;
pub mod threads;
pub mod url;
