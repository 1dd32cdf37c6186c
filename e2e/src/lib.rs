//! The whole, tested from outside: the real binary, its real ports, and what a person sees.
//!
//! The tests stand in `tests/`; here is what they share.

mod apache;
mod binary;
mod choice;
mod clickhouse;
mod command;
mod kafka;
mod leash;
mod ports;
mod wait;
mod weir;

pub use apache::ApacheKafka;
pub use binary::weir;
pub use choice::is_apache;
pub use clickhouse::ClickHouse;
pub use command::{Finished, command, file, run};
pub use kafka::Kafka;
pub use leash::Leash;
pub use ports::free_port;
pub use wait::eventually;
pub use weir::{Topics, Weir};
