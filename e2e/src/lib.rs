//! The whole, tested from outside: the real binary, its real ports, and what a person sees.
//!
//! The tests stand in `tests/`; here is what they share.

mod apache;
mod binary;
pub mod chaos;
mod choice;
mod chromium;
mod clickhouse;
mod command;
mod environment;
pub mod fixture;
mod fleet;
mod group;
mod kafka;
mod leash;
pub mod ledger;
pub mod maven;
pub mod pinned;
mod ports;
mod process;
mod proxy;
mod wait;
mod weir;

pub use apache::ApacheKafka;
pub use binary::weir;
pub use choice::is_apache;
pub use chromium::Chromium;
pub use clickhouse::ClickHouse;
pub use command::{Finished, command, file, run};
pub use environment::number;
pub use fleet::{Fleet, Plan, SMALL_DISK_BYTES, Sink};
pub use group::{Group, Standing};
pub use kafka::Kafka;
pub use leash::Leash;
pub use ports::free_port;
pub use process::{Door, Process};
pub use proxy::{Proxy, Seen, Way};
pub use wait::eventually;
pub use weir::{Topics, Weir};
