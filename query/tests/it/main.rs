//! The query service against the real engine.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers they share")]

mod bots;
mod dice;
mod differential;
mod engine;
mod faults;
mod figures;
mod forms;
mod gate;
mod kept;
mod keys;
mod limits;
mod live;
mod operations;
mod outage;
mod pages;
mod properties;
mod world;
