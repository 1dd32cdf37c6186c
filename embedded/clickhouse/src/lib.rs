//! ClickHouse's own server in a process of its own, for one machine.
//!
//! [`Server::start`] finds the engine's library or fetches it once, starts a child process and
//! waits until it listens; [`Server::run`] starts it again whenever it dies. The child is a
//! program of the caller's that calls [`serve`]: it locks the data folder, gives up what it does
//! not need (`sandbox.rs`) and enters libchdb as `clickhouse-local` does, which opens ClickHouse's
//! own HTTP and native listeners. Who may do what is said in ClickHouse's own files (`files.rs`).

mod access;
mod child;
mod config;
pub mod fetch;
mod ffi;
mod files;
mod job;
mod lock;
mod ports;
mod process;
mod sandbox;

pub use access::Access;
pub use child::serve;
pub use config::Config;
pub use process::{Program, Server};
