//! A durable single-node broker that speaks the Kafka protocol.
//!
//! It is what a laptop runs on: an unmodified librdkafka produces to it and consumes from it, and
//! what it acknowledges has been through fsync. It has no replication, no transactions, no
//! authentication and no compacted topics; beyond one machine run Apache Kafka.
//!
//! A Produce takes this way: `server` reads the frame and checks its form, `api` finds the
//! partition, `log` checks the batch and writes it to the active segment, one fsync serves all
//! who wait for it, and only then the answer goes out and consumers see the records.
//!
//! Invariants:
//! - Nothing is acknowledged, and nothing shown to a consumer, before its fsync.
//! - After an fsync that failed nothing is acknowledged at all: [`Broker::run`] ends with an error.
//! - Only the last segment of a partition can have a torn tail, and it is cut off at the start.
//!   Whatever else is not whole is damage: its bytes are kept in a file beside the segment, an empty
//!   batch takes their place, and the batches around it stay at their offsets (`log::damage`). An
//!   offset whose record was lost so is not given to another.
//!   The journal of committed offsets has the same rule, by entries.
//! - No consumer gets a batch whose CRC is wrong or whose offset is not the next.
//! - Record batches are stored as they come. Nothing here decompresses.
//! - What a client can make grow has a limit (`Config`): connections, requests and answers in memory,
//!   partitions, and with them topics; groups, their members, what those bring along, and committed
//!   offsets. Producers remembered have one per partition (`log::producers`). Files of the log have
//!   none but retention. Nothing that is kept is a part of a request's memory.

mod api;
mod broker;
#[cfg(test)]
mod broker_tests;
mod clock;
mod config;
mod damaged;
mod disk;
mod frame;
mod groups;
#[cfg(test)]
mod lines;
mod lock;
mod log;
mod producer_ids;
mod server;
mod sometimes;
mod topic_config;
mod topics;

pub use broker::Broker;
pub use config::Config;
