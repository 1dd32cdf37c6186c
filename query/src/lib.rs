//! ClickHouse -> HTTP.
