//! HTTP -> Kafka: takes events in, judges them by the contract, and answers 202 only once Kafka
//! has acknowledged them.
//!
//! The way of an event: [`api`] reads and unpacks the body under its limits, `event::parse` judges
//! it, the [`publisher`] appends it to the records being filled, one flush carries it to Kafka
//! together with whatever else arrived meanwhile, and the acknowledgement wakes the request.

mod api;
mod config;
mod publisher;
mod service;
mod topic;

pub use config::{Config, Limits, Queue};
pub use service::{Service, run};
