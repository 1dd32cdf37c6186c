//! The whole, tested from outside: the real binary, its real ports, and what a person sees.
//!
//! The tests stand in `tests/`; here is what they share.

mod binary;
pub mod chaos;
mod clickhouse;
mod environment;
mod fleet;
mod group;
mod kafka;
pub mod ledger;
mod process;
mod proxy;
mod wait;
mod weir;

pub use binary::weir;
pub use clickhouse::ClickHouse;
pub use environment::number;
pub use fleet::{Fleet, Plan, Sink};
pub use group::{Group, Standing};
pub use kafka::Kafka;
pub use process::{Door, Process, own_port};
pub use proxy::{Proxy, Seen, Way};
pub use wait::eventually;
pub use weir::{Finished, Weir, command, file, run};
