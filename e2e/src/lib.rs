//! The whole, tested from outside: the real binary, its real ports, and what a person sees.
//!
//! The tests stand in `tests/`; here is what they share.

mod binary;
mod clickhouse;
mod wait;
mod weir;

pub use binary::weir;
pub use clickhouse::ClickHouse;
pub use wait::eventually;
pub use weir::{Finished, Weir, command, file, run};
