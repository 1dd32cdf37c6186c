//! The ClickHouse engine in a process of its own, behind ClickHouse's HTTP protocol.
//!
//! [`fetch::ensure`] finds the engine's library or fetches it once, [`Server::open`] loads it on
//! its folder and binds its address, [`Server::run`] answers until it is told to stop. A process
//! can hold one engine, for as long as it lives. Production talks to a ClickHouse server over the
//! same protocol instead.

mod config;
mod engine;
mod exception;
mod execute;
pub mod fetch;
mod ffi;
mod gate;
mod http;
mod lock;
mod server;
mod sql;
mod users;

pub use config::Config;
pub use server::Server;
