//! What weir rests on in Kafka's protocol, the same on the embedded broker and on Apache Kafka
//! (`WEIR_E2E_KAFKA=apache`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod clients;
mod commits;
mod crash;
mod epochs;
mod fencing;
mod kafka;
mod rebalances;
mod topics;
mod wire;
